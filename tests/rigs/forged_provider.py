"""An OpenID Provider for fault injection only: every login succeeds at once, and one thing can be forged.

What works is tested against the real provider (openid_provider.py); this one is for what must not work.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import http.server
import json
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from functools import partial
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl, urlencode, urlsplit

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from .forgeries import HOUR, Forgery
from .processes import LOOPBACK

_KEY_ID = "published"


class ForgedProvider:
    """An OpenID Provider whose answers are flawless until a `forgery` is set."""

    client_id = "kube-iam"
    client_secret = "forged-client-secret-of-decent-length"

    def __init__(self) -> None:
        self.account: dict[str, object] = {
            "sub": "anna-1",
            "name": "Anna Ek",
            "preferred_username": "anna",
            "email": "anna@example.org",
            "email_verified": True,
            "groups": ["developers"],
        }
        self.forgery = Forgery()
        self.requests: list[str] = []  # "GET /jwks", in the order of arrival
        self._key = rsa.generate_private_key(65537, 2048)
        self._unpublished_key = rsa.generate_private_key(65537, 2048)
        self._logins: dict[str, dict[str, str]] = {}  # parameters of the request, by code
        self._server = http.server.ThreadingHTTPServer((LOOPBACK, 0), partial(_Handler, self))
        self.issuer = f"http://{LOOPBACK}:{self._server.server_port}"

    def __enter__(self) -> Self:
        serve = partial(self._server.serve_forever, poll_interval=0.02)
        threading.Thread(target=serve, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    @contextlib.contextmanager
    def forging(self, forgery: Forgery) -> Iterator[None]:
        """Answer with a forgery until the block ends."""
        self.forgery = forgery
        try:
            yield
        finally:
            self.forgery = Forgery()

    def id_token(self, nonce: str | None = None) -> str:
        """An ID token for the account, with the forgery in it."""
        forgery, now = self.forgery, int(time.time())
        claims: dict[str, object] = {
            **self.account, "iss": self.issuer, "aud": self.client_id, "iat": now, "exp": now + HOUR,
            **({} if nonce is None else {"nonce": nonce}),
            **{name: now + seconds for name, seconds in forgery.seconds.items()},
            **forgery.claims,
        }  # fmt: skip
        return self._sign({name: value for name, value in claims.items() if name not in forgery.without})

    def discovery(self) -> dict[str, object]:
        """The discovery document."""
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "jwks_uri": f"{self.issuer}/jwks",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
            "scopes_supported": ["openid", "profile", "email", "groups"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
            **self.forgery.discovery,
        }

    def jwks(self) -> dict[str, object]:
        """The published key."""
        return {"keys": [_jwk(self._key)]}

    def userinfo(self) -> dict[str, object]:
        """The account's claims, with the forgery in them."""
        claims = {**self.account, **self.forgery.userinfo}
        return {name: value for name, value in claims.items() if name not in self.forgery.userinfo_without}

    def authorize(self, query: Mapping[str, str]) -> str:
        """Log the account in without a question and return where the browser goes next."""
        code = secrets.token_urlsafe()
        self._logins[code] = dict(query)
        answer = {"code": code, "state": query.get("state"), "iss": self.issuer, **self.forgery.answer}
        return f"{query['redirect_uri']}?{urlencode({k: v for k, v in answer.items() if v is not None})}"

    def token(self, form: Mapping[str, str]) -> dict[str, object] | None:
        """Redeem a code, once and with the right PKCE verifier; None if that fails."""
        login = self._logins.pop(form.get("code", ""), None)
        if login is None:
            return None
        verifier = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if login.get("code_challenge", _base64url(verifier)) != _base64url(verifier):
            return None
        return {
            "access_token": secrets.token_urlsafe(),
            "token_type": "Bearer",
            "expires_in": HOUR,
            "id_token": self.id_token(login.get("nonce")),
        }

    def _sign(self, claims: Mapping[str, object]) -> str:
        forgery = self.forgery
        key = self._unpublished_key if forgery.key == "unpublished" else self._key
        header: dict[str, object] = {"alg": forgery.algorithm, "kid": _KEY_ID, "typ": "JWT", **forgery.header}
        if header.get("jwk") == "own":
            header["jwk"] = _jwk(key)
        header = {name: value for name, value in header.items() if value is not None}
        text = ".".join(_base64url(json.dumps(part).encode()) for part in (header, claims))
        signature = b""
        if forgery.algorithm == "RS256":
            signature = key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
        elif forgery.algorithm == "HS256":
            signature = hmac.digest(self._shared_secret(), text.encode(), "sha256")
        if forgery.spoil_signature:
            signature = bytes([signature[0] ^ 1]) + signature[1:]
        return f"{text}.{_base64url(signature)}"

    def _shared_secret(self) -> bytes:
        if self.forgery.key == "public key as secret":
            return self._key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        return self.client_secret.encode()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, provider: ForgedProvider, *args: object) -> None:
        self._provider = provider
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        provider, url = self._provider, urlsplit(self.path)
        if self._refused(url.path):
            return
        if url.path == "/authorize":
            self._answer(302, {}, location=provider.authorize(dict(parse_qsl(url.query))))
            return
        pages = {
            "/.well-known/openid-configuration": provider.discovery,
            "/jwks": provider.jwks,
            "/userinfo": provider.userinfo,
        }
        make = pages.get(url.path)
        self._answer(200 if make else 404, make() if make else {})

    def do_POST(self) -> None:
        form = dict(parse_qsl(self.rfile.read(int(self.headers.get("content-length", 0))).decode()))
        if self._refused(self.path):
            return
        answer = self._provider.token(form) if self.path == "/token" else None
        self._answer(200 if answer else 400, answer or {"error": "invalid_grant"})

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class' name
        """Say nothing: a test that wants to know reads `requests`."""

    def _refused(self, path: str) -> bool:
        self._provider.requests.append(f"{self.command} {path}")
        status = self._provider.forgery.status.get(path)
        if status is not None:
            self._answer(status, {"error": "server_error"})
        return status is not None

    def _answer(self, status: int, body: Mapping[str, object], *, location: str | None = None) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        if location is not None:
            self.send_header("Location", location)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _jwk(key: rsa.RSAPrivateKey) -> dict[str, object]:
    numbers = key.public_key().public_numbers()
    n, e = (_base64url(x.to_bytes((x.bit_length() + 7) // 8)) for x in (numbers.n, numbers.e))
    return {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": _KEY_ID, "n": n, "e": e}


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
