"""Secrets at rest: Fernet (AES-128-CBC with HMAC-SHA-256) under the settings' keys, the first one current."""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterable
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from iam.errors import Unavailable


class Vault:
    """Seals small JSON documents."""

    def __init__(self, keys: Iterable[str]) -> None:
        found = list(keys)
        self._fernets = [Fernet(key) for key in found]
        self._markers = [hmac.digest(key.encode(), b"kube-iam audit event", "sha256") for key in found]
        self._all = MultiFernet(self._fernets)

    def seal(self, document: Any) -> bytes:
        """Encrypt under the current key."""
        return self._all.encrypt(json.dumps(document).encode())

    def open(self, sealed: bytes) -> Any:
        """Decrypt under any key. Raises Unavailable when none fits."""
        try:
            return json.loads(self._all.decrypt(sealed))
        except InvalidToken:
            raise Unavailable(
                "A stored secret was encrypted under a key that is not in encryption_keys any more; put the old key back."
            ) from None

    def mark(self, text: bytes) -> str:
        """Proves that whoever wrote this holds our keys: HMAC-SHA-256, cut to 128 bits (RFC 2104, section 5), hex."""
        return _mark(self._markers[0], text)

    def has_marked(self, text: bytes, mark: str) -> bool:
        """Whether a mark is ours, under any key."""
        return any(hmac.compare_digest(_mark(marker, text).encode(), mark.encode("utf-8", "replace")) for marker in self._markers)

    def is_current(self, sealed: bytes) -> bool:
        """Whether the current key sealed this (else it is due for rotation)."""
        try:
            self._fernets[0].decrypt(sealed)
        except InvalidToken:
            return False
        return True


def _mark(marker: bytes, text: bytes) -> str:
    return hmac.digest(marker, text, "sha256")[:16].hex()
