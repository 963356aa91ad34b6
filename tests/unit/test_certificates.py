"""Requests that are let through, and certificates that are what was asked for."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from functools import cache

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes as Key
from cryptography.x509.oid import ExtendedKeyUsageOID as Eku
from cryptography.x509.oid import NameOID

from iam.errors import Invalid
from iam.kube import certificates
from iam.kube.certificates import Mismatch, read_request, verify_issued

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER
RSA_512_BITS = b"""\
-----BEGIN CERTIFICATE REQUEST-----
MIHJMHUCAQAwEDEOMAwGA1UEAwwFYWxpY2UwXDANBgkqhkiG9w0BAQEFAANLADBI
AkEA2vMmrVjroUNifFW4mfhV5CDHnPb3AMJuD/zbn+wbv7lKwLqZp24jA99tDaA4
S40KPnL9Bc/iVKILHCnu8NlNZQIDAQABoAAwDQYJKoZIhvcNAQELBQADQQAjKeM9
YeqfuN/daq6tV0kW3BvcPgq5VWej5PVnwtYqwAS1z9T4dS6qudb+l6fx6dCyjuia
IPu4x+SKSfubuqYt
-----END CERTIFICATE REQUEST-----
"""
Extensions = tuple[x509.ExtensionType, ...]
Attributes = tuple[tuple[x509.ObjectIdentifier, str], ...]
CN, O = NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME  # noqa: E741 - as subjects write it
ALICE = ((CN, "alice"),)
SAN = x509.SubjectAlternativeName([x509.DNSName("kubernetes.default")])
A_CA = x509.BasicConstraints(ca=True, path_length=None)
ODD = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"\5\0")
NO_CA = x509.BasicConstraints(ca=False, path_length=None)
CLIENT = x509.ExtendedKeyUsage([Eku.CLIENT_AUTH])
KEY = certificates.new_key()
ASKED = certificates.new_request(KEY, "alice")


def name(attributes: Attributes) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes])


def csr(subject: Attributes = ALICE, extensions: Extensions = (), key: Key | None = None) -> bytes:
    key = key or certificates.new_key()
    builder = x509.CertificateSigningRequestBuilder().subject_name(name(subject))
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    hashed = None if isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey) else hashes.SHA256()
    return builder.sign(key, hashed).public_bytes(PEM)


@cache
def authority() -> tuple[bytes, bytes]:
    return certificates.new_ca("the cluster's", NOW, timedelta(days=30))


def issued(
    key: Key, subject: Attributes = ALICE, extensions: Extensions = (NO_CA, CLIENT),
    start: timedelta = -timedelta(minutes=5), end: timedelta = HOUR,
) -> bytes:
    ca, ca_key = certificates.read_ca(*authority())
    builder = (
        x509.CertificateBuilder().subject_name(name(subject)).issuer_name(ca.subject).public_key(key.public_key())
        .serial_number(7).not_valid_before(NOW + start).not_valid_after(NOW + end)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(ca_key, hashes.SHA256()).public_bytes(PEM)


def openssl(*arguments: str, stdin: bytes) -> str:
    program = shutil.which("openssl") or pytest.skip("no openssl on the PATH")
    return subprocess.run([program, *arguments], input=stdin, capture_output=True, check=True).stdout.decode()


def test_our_own_request_carries_a_name_and_nothing_else() -> None:
    assert openssl("req", "-noout", "-subject", stdin=ASKED.pem).split() == ["subject=CN", "=", "alice"]
    assert not list(x509.load_pem_x509_csr(ASKED.pem).extensions)
    assert read_request(ASKED.pem, "alice") == ASKED


@pytest.mark.parametrize("username", ["alice@example.com", "oidc:王小明", "a" * 64, "*)(uid=*", "a/b+c=d"])
def test_a_request_says_exactly_the_username(username: str) -> None:
    request = certificates.new_request(KEY, username)
    assert read_request(request.pem, username).username == username


@pytest.mark.filterwarnings("ignore:Attribute's length")
@pytest.mark.parametrize("username", ["a" * 65, "a" * 200, "王" * 22, "王" * 200], ids=len)
def test_a_username_longer_than_x520_allows_gets_a_certificate_all_the_same(username: str) -> None:
    """X.520 ends it at 64 characters; Kubernetes (seen on 1.36) signs and logs in longer names whole."""
    request = certificates.new_request(KEY, username)
    assert read_request(request.pem, username) == request
    pem = certificates.sign(request, *authority(), HOUR, NOW)
    verify_issued(pem, request, HOUR, NOW)
    assert x509.load_pem_x509_certificate(pem).subject.get_attributes_for_oid(CN)[0].value == username


STRONG_KEYS: list[Key] = [
    *map(ec.generate_private_key, (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1())),
    ed25519.Ed25519PrivateKey.generate(), rsa.generate_private_key(65537, 2048),
]


@pytest.mark.parametrize("key", STRONG_KEYS, ids=lambda key: type(key).__name__)
def test_a_request_with_a_strong_key_is_taken(key: Key) -> None:
    request = read_request(csr(key=key), "alice")
    assert request.key_fingerprint == certificates.key_fingerprint(key.public_key())
    verify_issued(certificates.sign(request, *authority(), HOUR, NOW), request, HOUR, NOW)


WEAK_KEYS: list[Key] = [
    rsa.generate_private_key(65537, 1024), dsa.generate_private_key(1024), ed448.Ed448PrivateKey.generate(),
    *map(ec.generate_private_key, (ec.BrainpoolP256R1(), ec.SECP192R1(), ec.SECP224R1(), ec.SECP256K1())),
]


@pytest.mark.parametrize("pem", [RSA_512_BITS, *(csr(key=key) for key in WEAK_KEYS)], ids=range(8))
def test_a_weak_or_unusual_key_is_refused_with_advice(pem: bytes) -> None:
    with pytest.raises(Invalid, match="use P-256") as caught:
        read_request(pem, "alice")
    assert caught.value.field == "csr"


NO_REQUESTS = [
    b"", b"\0", b"\xff\xfe", b"hello", csr()[:-40], csr()[40:], *authority(),
    x509.load_pem_x509_csr(csr()).public_bytes(DER),
    b"-----BEGIN CERTIFICATE REQUEST-----\nMAA=\n-----END CERTIFICATE REQUEST-----\n",
]


@pytest.mark.parametrize("pem", NO_REQUESTS, ids=range(10))
def test_what_is_no_request_is_refused(pem: bytes) -> None:
    with pytest.raises(Invalid, match="not a PEM certificate signing request"):
        read_request(pem, "alice")


def test_more_than_64_kib_are_not_even_read() -> None:
    assert read_request(csr() + b"\n" * 60_000, "alice").username == "alice"
    with pytest.raises(Invalid, match="64 KiB"):
        read_request(csr() + b"\n" * 65_536, "alice")


def test_a_request_that_was_tampered_with_is_refused() -> None:
    good = x509.load_pem_x509_csr(csr())
    der = good.public_bytes(DER)
    for broken in (der.replace(b"alice", b"root!"), der[:-1] + bytes([der[-1] ^ 1])):
        pem = x509.load_der_x509_csr(broken).public_bytes(PEM)
        with pytest.raises(Invalid, match="not signed by its own key"):
            read_request(pem, "root!" if b"root!" in broken else "alice")


OTHER_SUBJECTS: list[Attributes] = [
    (*ALICE, (O, "system:masters")), ((O, "system:masters"), *ALICE), (*ALICE, (CN, "bob")), (*ALICE, *ALICE),
    ((CN, "bob"),), ((CN, "Alice"),), ((CN, "alice "),), ((O, "alice"),), (), (*ALICE, (NameOID.TITLE, "0")),
]


@pytest.mark.parametrize("subject", OTHER_SUBJECTS, ids=range(10))
def test_a_subject_that_is_not_exactly_the_person_is_refused(subject: Attributes) -> None:
    with pytest.raises(Invalid, match="must be exactly /CN=alice"):
        read_request(csr(subject), "alice")


def test_two_names_in_one_component_are_refused_too() -> None:
    both = x509.RelativeDistinguishedName([*name(ALICE), *name(((O, "system:masters"),))])
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([both]))
    with pytest.raises(Invalid, match="must be exactly"):
        read_request(request.sign(certificates.new_key(), hashes.SHA256()).public_bytes(PEM), "alice")


@pytest.mark.parametrize("extension", [SAN, A_CA, ODD], ids=["a name", "a CA", "an unknown one"])
def test_a_request_for_more_than_a_login_is_refused(extension: x509.ExtensionType) -> None:
    with pytest.raises(Invalid, match="beyond client authentication"):
        read_request(csr(extensions=(extension,)), "alice")


def test_a_request_that_says_what_we_would_say_is_taken() -> None:
    assert read_request(csr(extensions=(NO_CA, CLIENT)), "alice").username == "alice"


def test_a_certificate_as_asked_for_is_taken_with_the_fingerprint_that_kubernetes_reports() -> None:
    pem = certificates.sign(ASKED, *authority(), HOUR, NOW)
    result = verify_issued(pem, ASKED, HOUR, NOW)
    shown = openssl("x509", "-noout", "-fingerprint", "-sha256", stdin=pem).strip().split("=")[1]
    assert result.fingerprint == shown.replace(":", "").lower()
    assert result.not_before <= NOW < result.not_after == NOW + HOUR
    x509.load_pem_x509_certificate(result.pem).verify_directly_issued_by(certificates.read_ca(*authority())[0])


@pytest.mark.parametrize("end", [timedelta(minutes=1), HOUR, HOUR + timedelta(minutes=9)], ids=str)
def test_a_signer_may_shorten_the_life_and_differ_by_its_clock(end: timedelta) -> None:
    assert verify_issued(issued(KEY, end=end), ASKED, HOUR, NOW).not_after == NOW + end


MORE = "more than client authentication"
REFUSED = [
    (issued(certificates.new_key()), "another key"),
    (issued(KEY, ((CN, "bob"),)), "another subject"),
    (issued(KEY, (*ALICE, (O, "dev"))), "another subject"),
    (issued(KEY, extensions=(A_CA, CLIENT)), MORE),
    (issued(KEY, extensions=(NO_CA, CLIENT, SAN)), MORE),
    (issued(KEY, extensions=(NO_CA,)), MORE),
    (issued(KEY, extensions=(NO_CA, x509.ExtendedKeyUsage([Eku.CLIENT_AUTH, Eku.SERVER_AUTH]))), MORE),
    (issued(KEY, extensions=(NO_CA, x509.ExtendedKeyUsage([Eku.ANY_EXTENDED_KEY_USAGE]))), MORE),
    (issued(KEY, end=2 * HOUR), "lives longer"),
    (issued(KEY, start=-2 * HOUR, end=-HOUR), "not valid now"),
    (issued(KEY, end=timedelta()), "not valid now"),
    (issued(KEY, start=timedelta(minutes=11)), "not valid now"),
    (b"", "not a certificate"),
    (csr(), "not a certificate"),
]


@pytest.mark.parametrize(("pem", "why"), REFUSED, ids=range(14))
def test_a_certificate_that_was_not_asked_for_is_refused(pem: bytes, why: str) -> None:
    with pytest.raises(Mismatch, match=why):
        verify_issued(pem, ASKED, HOUR, NOW)


def test_what_we_sign_ends_with_its_ca() -> None:
    ca = certificates.new_ca("short", NOW, timedelta(minutes=20))
    result = verify_issued(certificates.sign(ASKED, *ca, HOUR, NOW), ASKED, HOUR, NOW)
    assert result.not_after == NOW + timedelta(minutes=20)


def test_a_ca_that_does_not_work_is_refused() -> None:
    certificate, key = authority()
    _, other = certificates.new_ca("other", NOW, HOUR)
    lock = serialization.BestAvailableEncryption(b"x")
    locked = KEY.private_bytes(PEM, serialization.PrivateFormat.PKCS8, lock)
    leaf = issued(KEY), certificates.key_pem(KEY)
    for pair in ((key, certificate), (b"", key), (certificate, other), (certificate, locked), leaf):
        with pytest.raises(Invalid):
            certificates.sign(ASKED, *pair, HOUR, NOW)


def test_a_bundle_is_read_whole_and_an_empty_one_refused() -> None:
    assert len(certificates.read_ca_bundle(authority()[0] * 2)) == 2
    with pytest.raises(Invalid):
        certificates.read_ca_bundle(b"")
