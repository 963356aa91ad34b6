"""Keys that sign the chain (Ed25519, RFC 8032), and how trust goes from one to the next."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from iam.evidence.strict import is_hash

_INTRODUCTION = b"kube-iam audit key 1\n"
_SIGNATURE = re.compile(r"[0-9a-f]{128}")
_PEM = "-----END PUBLIC KEY-----"


class NotAKey(ValueError):
    """What was given is no Ed25519 public key in PEM."""


@dataclass(frozen=True, slots=True)
class Introduction:
    """A public key, and the signature of the key before it (both empty for the first)."""

    key: str
    """Fingerprint: SHA-256 over the 32 raw bytes of the key, hex."""
    public: str
    """The raw key, hex."""
    introduced_by: str = ""
    signature: str = ""


class SigningKey:
    """A private key."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = private.public_key().public_bytes_raw()
        self.fingerprint = fingerprint(self.public)

    @classmethod
    def new(cls) -> SigningKey:
        """A fresh one."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_hex(cls, private: str) -> SigningKey:
        """One that was kept."""
        return cls(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(private)))

    def to_hex(self) -> str:
        """To be kept under lock."""
        return self._private.private_bytes_raw().hex()

    def sign(self, text: bytes) -> str:
        """The signature, hex."""
        return self._private.sign(text).hex()

    def introduce(self, other: SigningKey) -> Introduction:
        """Say that what the other key signs from now on is ours."""
        return Introduction(other.fingerprint, other.public.hex(), self.fingerprint, self.sign(_INTRODUCTION + other.public))

    def __repr__(self) -> str:
        return f"SigningKey({self.fingerprint!r})"


class KeyRing:
    """The keys that the auditor trusts, and those that a file or a database names."""

    def __init__(self, trusted: Iterable[bytes], named: Iterable[Introduction] = ()) -> None:
        """``trusted`` are raw public keys; what they introduced, and so on, is trusted as well."""
        self._keys: dict[str, Ed25519PublicKey] = {}
        self._trusted: set[str] = set()
        for public in trusted:
            self._trusted.add(self._learn(public))
        self.name(named)

    def name(self, named: Iterable[Introduction]) -> None:
        """More keys. Raises NotAKey."""
        introductions = list(named)
        for one in introductions:
            self._learn(_raw(one.public))
        while newly := {one.key for one in introductions if one.key not in self._trusted and self._is_introduced(one)}:
            self._trusted |= newly

    def is_trusted(self, key: str) -> bool:
        """Whether this fingerprint is one of the trusted, or was introduced by one."""
        return key in self._trusted

    def has_signed(self, key: str, text: bytes, signature: str) -> bool:
        """Whether this key made the signature; False for keys that nobody named."""
        return key in self._keys and _verify(self._keys[key], signature, text)

    @property
    def known(self) -> Mapping[str, Ed25519PublicKey]:
        """All keys by fingerprint."""
        return self._keys

    def _learn(self, public: bytes) -> str:
        name = fingerprint(public)
        self._keys[name] = Ed25519PublicKey.from_public_bytes(public)
        return name

    def _is_introduced(self, one: Introduction) -> bool:
        if one.key != fingerprint(_raw(one.public)) or one.introduced_by not in self._trusted:
            return False
        return _verify(self._keys[one.introduced_by], one.signature, _INTRODUCTION + _raw(one.public))


def fingerprint(public: bytes) -> str:
    """SHA-256 over the raw key, hex."""
    return hashlib.sha256(public).hexdigest()


def to_pem(public: bytes) -> str:
    """As auditors keep it (RFC 8410); ``openssl pkey -pubin`` reads it."""
    return (
        Ed25519PublicKey.from_public_bytes(public)
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def from_pem(text: str) -> list[bytes]:
    """The raw keys of a PEM file, one or many. Raises NotAKey."""
    blocks = [part.strip() + "\n" + _PEM + "\n" for part in text.split(_PEM)[:-1]]
    if not blocks:
        raise NotAKey("there is no PUBLIC KEY in PEM in it")
    return [_one_from_pem(block[block.find("-----BEGIN") :]) for block in blocks]


def _one_from_pem(block: str) -> bytes:
    try:
        key = serialization.load_pem_public_key(block.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise NotAKey("a public key in it cannot be read") from error
    if not isinstance(key, Ed25519PublicKey):
        raise NotAKey("a key in it is not of the kind Ed25519")
    return key.public_bytes_raw()


def _raw(public: str) -> bytes:
    if not is_hash(public):
        raise NotAKey("a named key is not 32 bytes in hex")
    return bytes.fromhex(public)


def _verify(key: Ed25519PublicKey, signature: str, text: bytes) -> bool:
    if not _SIGNATURE.fullmatch(signature):
        return False
    try:
        key.verify(bytes.fromhex(signature), text)
    except InvalidSignature:
        return False
    return True
