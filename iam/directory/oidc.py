"""OpenID Connect: code flow with PKCE, the answer bound to the browser that asked.

Sources: OpenID Connect Core 1.0 section 3.1.3.7 (ID token validation), RFC 7636, RFC 9207 (``iss`` in the answer),
RFC 8725 (JWT best practice: algorithms by allow-list), OpenID Connect RP-Initiated Logout 1.0.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

from iam.directory.base import Identity, Login, LoginRefused, Redirection, Step, silent
from iam.directory.oidc_provider import Provider
from iam.errors import Invalid
from iam.kube import names
from iam.settings.directories import OidcSettings

Claims = Mapping[str, Any]


class OidcDirectory:
    """A redirect directory at an OpenID Provider."""

    def __init__(self, settings: OidcSettings) -> None:
        self._settings = settings
        self._provider = Provider(settings)
        self.name = settings.name
        self.label = settings.label

    def begin(self, redirect_uri: str) -> Redirection:
        """A fresh state, nonce and PKCE verifier for each attempt."""
        transaction = {"state": secrets.token_urlsafe(24), "nonce": secrets.token_urlsafe(24), "verifier": secrets.token_urlsafe(48)}
        url = self._provider.authorization_url(redirect_uri, **transaction)
        return Redirection(url, transaction)

    def finish(self, redirect_uri: str, answer: Mapping[str, str], transaction: Mapping[str, str]) -> Login:
        """Check the answer against the transaction, then the token against everything."""
        self._check_answer(answer, transaction)
        token = self._provider.exchange(redirect_uri, answer.get("code", ""), transaction["verifier"])
        claims = self._verified(token["id_token"], transaction["nonce"])
        return Login(self._identity(self._with_userinfo(claims, token)), {"id_token": token["id_token"]})

    def logout_url(self, login_hint: Mapping[str, Any], return_to: str) -> str | None:
        """RP-initiated logout, where the provider has it."""
        endpoint = self._provider.metadata().get("end_session_endpoint")
        if not endpoint:
            return None
        query = {"client_id": self._settings.client_id, "post_logout_redirect_uri": return_to}
        if login_hint.get("id_token"):
            query["id_token_hint"] = str(login_hint["id_token"])
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}"

    def check(self, step: Step = silent) -> None:
        """Discovery and keys."""
        self._provider.metadata(step)
        step("keys", f"{len(self._provider.keys().keys)} usable")

    def _check_answer(self, answer: Mapping[str, str], transaction: Mapping[str, str]) -> None:
        if not hmac.compare_digest(answer.get("state", "").encode(), transaction["state"].encode()):
            raise LoginRefused("state is not the one that this browser was given")
        promised = self._provider.metadata().get("authorization_response_iss_parameter_supported") is True
        issuer = answer.get("iss")
        if (issuer is None and promised) or (issuer is not None and issuer != self._settings.issuer):
            raise LoginRefused("the answer comes from another issuer (RFC 9207)")
        if answer.get("error"):
            raise LoginRefused(f"the provider says {answer['error'][:100]!r}")
        if not answer.get("code"):
            raise LoginRefused("the answer has no code")

    def _verified(self, id_token: str, nonce: str) -> Claims:
        claims = self._signed_claims(id_token)
        registry = jwt.JWTClaimsRegistry(
            now=lambda: int(time.time()),
            leeway=self._settings.leeway_seconds,
            iss={"essential": True, "value": self._settings.issuer},
            aud={"essential": True, "value": self._settings.client_id},
            sub={"essential": True}, exp={"essential": True}, iat={"essential": True},
            nonce={"essential": True},
        )
        try:
            registry.validate(dict(claims))
        except JoseError as error:
            raise LoginRefused(f"ID token: {error}") from None
        if not isinstance(claims["nonce"], str) or not hmac.compare_digest(claims["nonce"].encode(), nonce.encode()):
            raise LoginRefused("ID token: nonce is not ours")
        audience = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
        if audience != [self._settings.client_id] and claims.get("azp") != self._settings.client_id:
            raise LoginRefused("ID token: for several audiences and not issued to us (azp)")
        if not isinstance(claims["sub"], str) or not 0 < len(claims["sub"]) <= 255:
            raise LoginRefused("ID token: sub is not a string of 1 to 255 characters")
        return claims

    def _signed_claims(self, id_token: str) -> Claims:
        """The claims of a token with a good signature; a key we do not know makes us ask once more."""
        try:
            return self._decode(id_token, self._provider.keys())
        except InvalidKeyIdError:
            pass
        except (JoseError, ValueError, TypeError) as error:
            raise LoginRefused(f"ID token: {type(error).__name__}: {error}"[:200]) from None
        try:
            return self._decode(id_token, self._provider.keys(unknown_key=True))
        except (JoseError, ValueError, TypeError) as error:
            raise LoginRefused(f"ID token: {type(error).__name__}: {error}"[:200]) from None

    def _decode(self, id_token: str, keys: KeySet) -> Claims:
        return jwt.decode(id_token, keys, algorithms=list(self._settings.algorithms)).claims

    def _with_userinfo(self, claims: Claims, token: Mapping[str, Any]) -> Claims:
        """Add what only userinfo tells, if it tells of the same person (OpenID Connect Core, 5.3.2)."""
        wanted = {self._settings.username_claim, self._settings.groups_claim, "name", "email"}
        if wanted <= claims.keys():
            return claims
        more = self._provider.userinfo(str(token.get("access_token") or ""))
        if more and more.get("sub") != claims["sub"]:
            raise LoginRefused("userinfo is about somebody else")
        said_by = claims if "email" in claims else more  # whether it is verified is for the same source to say
        verified = {"email_verified": said_by["email_verified"]} if "email_verified" in said_by else {}
        return {name: value for name, value in {**more, **claims}.items() if name != "email_verified"} | verified

    def _identity(self, claims: Claims) -> Identity:
        settings = self._settings
        raw = claims.get(settings.username_claim)
        if not isinstance(raw, str):
            raise LoginRefused(f"the claim {settings.username_claim!r} is missing")
        if settings.username_claim == "email" and settings.email_verified_required and claims.get("email_verified") is not True:
            raise LoginRefused("the provider has not verified this e-mail address")
        try:
            username = settings.username_prefix + names.canonical_username(raw)
        except Invalid as problem:
            raise LoginRefused(f"{settings.username_claim}: {problem}") from None
        return Identity(
            directory=self.name,
            subject=claims["sub"],
            username=username,
            display_name=_text(claims.get("name")) or username,
            email=_text(claims.get("email")) if claims.get("email_verified", True) is True else "",  # it tells who is one person
            groups=self._groups(claims),
        )

    def _groups(self, claims: Claims) -> frozenset[str]:
        """The groups claim: one string or a list. Missing is not the same as empty."""
        claim = self._settings.groups_claim
        overage = claims.get("_claim_names")
        if claims.get("hasgroups") or (isinstance(overage, dict) and claim in overage):
            raise LoginRefused(
                f"too many groups for the token (overage): let the provider send only groups assigned to the application in {claim!r}"
            )
        if claim not in claims:
            if self._settings.groups_required:
                raise LoginRefused(f"the claim {claim!r} is missing; configure the provider or groups_required = false")
            return frozenset()
        value = claims[claim]
        listed = [value] if isinstance(value, str) else value
        if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
            raise LoginRefused(f"the claim {claim!r} is neither a string nor a list of strings")
        return frozenset(filter(None, map(_legal_group, listed)))


def _legal_group(name: str) -> str:
    """Nothing for a name that no mapping can use, ``system:masters`` among them."""
    try:
        return names.group_name(name)
    except Invalid:
        return ""


def _text(value: object) -> str:
    return value[:255] if isinstance(value, str) else ""
