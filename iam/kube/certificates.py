"""Key pairs, certificate signing requests, and what a returned certificate must match.

Sources: RFC 2986 (PKCS #10), RFC 5280; the signer kubernetes.io/kube-apiserver-client
(https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#kubernetes-signers).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from iam.errors import Invalid

MAX_REQUEST_BYTES = 64 * 1024
MIN_RSA_BITS = 2048
MIN_LIFETIME = timedelta(minutes=10)
"""Kubernetes refuses expirationSeconds below 600."""
CLOCK_SKEW = timedelta(minutes=10)
_STRONG_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
UNREADABLE = (
    ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature, x509.DuplicateExtension, x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What reading somebody else's DER can raise."""


class Mismatch(Exception):
    """A returned certificate is not the one that was asked for."""


@dataclass(frozen=True, slots=True)
class SigningRequest:
    """A checked request: its PEM, and the fingerprint of its public key (SHA-256 of the SPKI, hex)."""

    pem: bytes
    username: str
    key_fingerprint: str


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate that matches its request. ``fingerprint`` is what Kubernetes reports as X509SHA256."""

    pem: bytes
    fingerprint: str
    not_before: datetime
    not_after: datetime


def new_key() -> ec.EllipticCurvePrivateKey:
    """A fresh P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The key as unencrypted PKCS #8, for the one kubeconfig it is made for."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def new_request(key: ec.EllipticCurvePrivateKey, username: str) -> SigningRequest:
    """A request for CN=username and nothing else."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, username, _validate=len(username.encode()) <= 64)])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return SigningRequest(
        request.public_bytes(serialization.Encoding.PEM), username, key_fingerprint(request.public_key())
    )


def read_request(pem: bytes, username: str) -> SigningRequest:
    """Check a request that somebody brought. Raises Invalid, saying what to do instead.

    The cluster's signer takes the subject from the request, so only the exact subject that we would write ourselves
    (CN = the person's Kubernetes name) is let through.
    """
    if len(pem) > MAX_REQUEST_BYTES:
        raise Invalid("The signing request is larger than 64 KiB.", field="csr")
    try:
        request = x509.load_pem_x509_csr(pem)
        key = request.public_key()
        signed = request.is_signature_valid
        extensions = list(request.extensions)
        subject = _subject(request.subject)
    except UNREADABLE:
        raise Invalid("This is not a PEM certificate signing request (PKCS #10).", field="csr") from None
    refuse_weak_key(key)
    if not signed:
        raise Invalid("The signing request is not signed by its own key.", field="csr")
    if subject != [(NameOID.COMMON_NAME, username)]:
        raise Invalid(
            "The subject of the signing request must be exactly /CN=%(username)s: no organisation, no other field.",
            field="csr", username=username,
        )
    if not all(_is_harmless(extension.value) for extension in extensions):
        raise Invalid("The signing request asks for names or powers beyond client authentication.", field="csr")
    return SigningRequest(request.public_bytes(serialization.Encoding.PEM), username, key_fingerprint(key))


def refuse_weak_key(key: PublicKeyTypes) -> None:
    """Let RSA from 2048 bits, NIST P-256/384/521 and Ed25519 through; raise Invalid for the rest."""
    strong = (
        (isinstance(key, rsa.RSAPublicKey) and key.key_size >= MIN_RSA_BITS)
        or (isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _STRONG_CURVES))
        or isinstance(key, ed25519.Ed25519PublicKey)
    )
    if not strong:
        raise Invalid("The key is too weak: use P-256, Ed25519, or RSA with at least 2048 bits.", field="csr")


def key_fingerprint(key: PublicKeyTypes) -> str:
    """SHA-256 over the SubjectPublicKeyInfo, hex."""
    spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()


def verify_issued(pem: bytes, request: SigningRequest, lifetime: timedelta, now: datetime) -> Issued:
    """Compare a returned certificate with what was asked for: key, CN, no O, usages, lifetime.

    A signer may shorten the lifetime (the API allows it) but not lengthen it. Raises Mismatch.
    """
    try:
        chain = x509.load_pem_x509_certificates(pem)
        certificate = chain[0]
        fingerprint = key_fingerprint(certificate.public_key())
        subject = _subject(certificate.subject)
        has_names = any(isinstance(extension.value, x509.SubjectAlternativeName) for extension in certificate.extensions)
        is_for_clients_only = not _is_ca(certificate) and _purposes(certificate) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    except UNREADABLE:
        raise Mismatch("what the cluster returned is not a certificate") from None
    if fingerprint != request.key_fingerprint:
        raise Mismatch("the returned certificate is for another key")
    if subject != [(NameOID.COMMON_NAME, request.username)]:
        raise Mismatch("the returned certificate is for another subject")
    if has_names or not is_for_clients_only:
        raise Mismatch("the returned certificate is good for more than client authentication")
    before, after = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if before > now + CLOCK_SKEW or after <= now:
        raise Mismatch("the returned certificate is not valid now; compare the clocks")
    if after > now + lifetime + CLOCK_SKEW:
        raise Mismatch("the returned certificate lives longer than was asked for")
    der = certificate.public_bytes(serialization.Encoding.DER)
    bundle = b"".join(one.public_bytes(serialization.Encoding.PEM) for one in chain)
    return Issued(bundle, hashlib.sha256(der).hexdigest(), before, after)


def sign(
    request: SigningRequest, ca_certificate_pem: bytes, ca_key_pem: bytes, lifetime: timedelta, now: datetime
) -> bytes:
    """Sign a checked request with a CA's own key, as kube-controller-manager would; returns PEM.

    Raises Invalid when the CA's files do not work.
    """
    ca, ca_key = read_ca(ca_certificate_pem, ca_key_pem)
    if ca.not_valid_after_utc <= now + MIN_LIFETIME:
        raise Invalid("The CA's certificate has expired, or is about to.", field="signer_ca_pem")
    asked = x509.load_pem_x509_csr(request.pem)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, request.username, _validate=False)]))
        .issuer_name(ca.subject)
        .public_key(asked.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(min(now + lifetime, ca.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, None if isinstance(ca_key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)


SigningKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def read_ca(certificate_pem: bytes, private_key_pem: bytes) -> tuple[x509.Certificate, SigningKey]:
    """A CA certificate and the key that belongs to it. Raises Invalid."""
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
        key: PrivateKeyTypes = serialization.load_pem_private_key(private_key_pem, password=None)
        belongs = key_fingerprint(key.public_key()) == key_fingerprint(certificate.public_key())
        is_ca = _is_ca(certificate)
    except UNREADABLE:
        raise Invalid("The CA's certificate or key is not unencrypted PEM.", field="signer_ca_key") from None
    if not isinstance(key, SigningKey):
        raise Invalid("The CA's key is neither RSA, EC nor Ed25519.", field="signer_ca_key")
    if not belongs:
        raise Invalid("The CA's key does not belong to its certificate.", field="signer_ca_key")
    if not is_ca:
        raise Invalid("The certificate given as CA is not one.", field="signer_ca_pem")
    return certificate, key


def read_ca_bundle(pem: bytes, *, field: str = "ca_pem") -> list[x509.Certificate]:
    """The certificates of a CA bundle. Raises Invalid when there is none."""
    try:
        return x509.load_pem_x509_certificates(pem)
    except UNREADABLE:
        raise Invalid("This is not a PEM certificate.", field=field) from None


def new_ca(common_name: str, now: datetime, lifetime: timedelta) -> tuple[bytes, bytes]:
    """A throwaway CA: (certificate PEM, key PEM)."""
    key = new_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now.astimezone(UTC) - timedelta(minutes=5)).not_valid_after(now + lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM), key_pem(key)


def _subject(name: x509.Name) -> list[tuple[x509.ObjectIdentifier, str | bytes]]:
    return [(attribute.oid, attribute.value) for attribute in name]


def _is_harmless(extension: x509.ExtensionType) -> bool:
    """What OpenSSL's default settings put into a request for a client, and no more."""
    if isinstance(extension, x509.KeyUsage):
        return not (extension.key_cert_sign or extension.crl_sign)
    if isinstance(extension, x509.ExtendedKeyUsage):
        return set(extension) <= {ExtendedKeyUsageOID.CLIENT_AUTH}
    if isinstance(extension, x509.BasicConstraints):
        return not extension.ca
    return isinstance(extension, x509.SubjectKeyIdentifier)


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _purposes(certificate: x509.Certificate) -> list[x509.ObjectIdentifier]:
    try:
        return list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return []
