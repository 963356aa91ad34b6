"""What an OpenID Provider publishes and answers: discovery, keys, code exchange, userinfo.

Sources: OpenID Connect Discovery 1.0; RFC 8414; RFC 7517 (JWKS); RFC 7636 (PKCE).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import requests
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from urllib3.exceptions import HTTPError

from iam import log
from iam.directory.base import LoginRefused, Step, silent
from iam.errors import Unavailable
from iam.settings.directories import OidcSettings

_log = log.get(__name__)
_METADATA_SECONDS = 3600.0
_KEYS_SECONDS = 3600.0
_KEYS_AGAIN_SECONDS = 5.0
"""An unknown key id makes us fetch the keys again, but a flood of forged tokens no flood of requests."""
_BROKEN_SECONDS = 3.0
_MAX_ANSWER = 1024 * 1024


class Provider:
    """One provider, its documents cached for an hour, its keys fetched anew when a token names an unknown one."""

    def __init__(self, settings: OidcSettings) -> None:
        self._settings = settings
        self._metadata: tuple[dict[str, Any], float] | None = None
        """The document, and until when it is fresh; replaced whole, so threads need no lock."""
        self._keys: tuple[KeySet, float] | None = None
        self._broken_until = 0.0

    def metadata(self, step: Step = silent) -> Mapping[str, Any]:
        """The discovery document. Raises Unavailable when it is missing, foreign or unencrypted."""
        known = self._metadata
        if known and time.monotonic() < known[1]:
            return known[0]
        self._refuse_while_broken()
        try:
            document = self._discover(step)
        except Unavailable:
            self._broken_until = time.monotonic() + _BROKEN_SECONDS
            raise
        self._metadata = (document, time.monotonic() + _METADATA_SECONDS)
        return document

    def _discover(self, step: Step) -> dict[str, Any]:
        url = self._settings.issuer.rstrip("/") + "/.well-known/openid-configuration"
        document = self._get(url)
        step("discovery", url)
        if document.get("issuer") != self._settings.issuer:
            raise self._broken(f"discovery names another issuer: {document.get('issuer')!r}")
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            self._check_endpoint(name, document.get(name))
        for name in ("userinfo_endpoint", "end_session_endpoint"):
            if document.get(name):
                self._check_endpoint(name, document[name])
        return document

    def keys(self, *, unknown_key: bool = False) -> KeySet:
        """The signing keys; ``unknown_key`` asks for a fresh copy."""
        known = self._keys
        age = time.monotonic() - known[1] if known else float("inf")
        if known and age <= _KEYS_SECONDS and not (unknown_key and age > _KEYS_AGAIN_SECONDS):
            return known[0]
        document = self._get(self.metadata()["jwks_uri"])
        try:
            keys = KeySet.import_key_set({"keys": [key for key in document.get("keys", ()) if _is_usable(key)]})
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise self._broken(f"its keys cannot be read: {error}") from None
        self._keys = (keys, time.monotonic())
        return keys

    def _refuse_while_broken(self) -> None:
        """A silent provider must not hold every thread: after a failure, a few seconds of saying so at once."""
        if time.monotonic() < self._broken_until:
            raise self._broken("it did not answer a moment ago")

    def authorization_url(self, redirect_uri: str, state: str, nonce: str, verifier: str) -> str:
        """Where to send the browser: code flow with PKCE S256."""
        with self._session(redirect_uri) as session:
            url, _ = session.create_authorization_url(
                self.metadata()["authorization_endpoint"], state=state, nonce=nonce, code_verifier=verifier
            )
        return str(url)

    def exchange(self, redirect_uri: str, code: str, verifier: str) -> Mapping[str, Any]:
        """The code for tokens. Raises LoginRefused when the provider refuses the code, Unavailable otherwise."""
        try:
            with self._session(redirect_uri) as session:
                token = session.fetch_token(
                    self.metadata()["token_endpoint"], code=code, code_verifier=verifier, grant_type="authorization_code",
                    timeout=self._settings.timeout_seconds, allow_redirects=False,
                )
        except OAuthError as refused:
            raise LoginRefused(f"the provider refused the code: {refused.error}") from None
        except (requests.RequestException, ValueError) as error:
            raise self._broken(f"token endpoint: {type(error).__name__}") from None
        if not isinstance(token, dict) or not isinstance(token.get("id_token"), str):
            raise LoginRefused("the provider sent no ID token")
        return token

    def userinfo(self, access_token: str) -> Mapping[str, Any]:
        """The claims at the userinfo endpoint, nothing when there is none."""
        url = self.metadata().get("userinfo_endpoint")
        if not url or not access_token:
            return {}
        return self._get(url, headers={"Authorization": f"Bearer {access_token}"})

    def _session(self, redirect_uri: str) -> OAuth2Session:
        settings = self._settings
        secret = settings.client_secret.get_secret_value()
        session = OAuth2Session(
            settings.client_id, secret or None, scope=" ".join(settings.scopes), redirect_uri=redirect_uri,
            code_challenge_method="S256", token_endpoint_auth_method="client_secret_basic" if secret else "none",
        )
        session.verify = str(settings.ca_file) if settings.ca_file else True
        session.trust_env = False
        return session

    def _get(self, url: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        settings = self._settings
        try:
            with requests.Session() as session:
                session.trust_env = False
                session.verify = str(settings.ca_file) if settings.ca_file else True
                answer = session.get(url, headers=headers, timeout=settings.timeout_seconds, allow_redirects=False, stream=True)
                body = answer.raw.read(_MAX_ANSWER + 1, decode_content=True)
            answer._content = body  # noqa: SLF001  # a bounded read, then requests' own decoding
            document = answer.json() if answer.status_code == 200 and len(body) <= _MAX_ANSWER else None
        except (requests.RequestException, HTTPError, ValueError, OSError) as error:  # the raw read raises urllib3's own
            raise self._broken(f"{url}: {type(error).__name__}") from None
        if not isinstance(document, dict):
            raise self._broken(f"{url}: HTTP {answer.status_code}, not a JSON object")
        return document

    def _check_endpoint(self, name: str, url: object) -> None:
        parts = urlsplit(url) if isinstance(url, str) else None
        allowed = {"https", "http"} if self._settings.insecure_http else {"https"}
        if parts is None or parts.scheme not in allowed or not parts.hostname:
            raise self._broken(f"{name} is missing or not https: {url!r}")

    def _broken(self, why: str) -> Unavailable:
        _log.warning("openid provider failed", directory=self._settings.name, error=why)
        return Unavailable("The directory %(directory)s does not answer. Try again later.", directory=self._settings.label)


def _is_usable(key: object) -> bool:
    """Public signing keys of asymmetric kinds; a symmetric key in a JWKS would let anybody sign."""
    return isinstance(key, dict) and key.get("kty") in {"RSA", "EC", "OKP"} and key.get("use", "sig") == "sig"
