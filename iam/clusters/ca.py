"""Signing with a CA's own files, for clusters whose API signs no client certificates but trusts such a CA."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from iam.clusters.base import Signed
from iam.errors import Unavailable
from iam.kube.certificates import SigningRequest, sign


class CaSigner:
    """Signs here, at once."""

    def __init__(self, certificate_pem: str, key_pem: str, now: Callable[[], datetime]) -> None:
        self._certificate_pem = certificate_pem.encode()
        self._key_pem = key_pem.encode()
        self._now = now

    def sign(self, request: SigningRequest, lifetime: timedelta) -> Signed:
        """Raises Invalid when the CA's files do not work."""
        return Signed(sign(request, self._certificate_pem, self._key_pem, lifetime, self._now()))


class NoSigner:
    """For clusters that take people's credentials from elsewhere."""

    def sign(self, request: SigningRequest, lifetime: timedelta) -> Signed:
        """Raises Unavailable, always."""
        raise Unavailable("This cluster is registered without a signer, so there are no certificates to download.")
