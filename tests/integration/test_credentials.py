"""Downloading a kubeconfig: own requests checked, lifetimes kept within limits, keys kept nowhere, refusals on record."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from fixtures.offline import events, give, offline, request_of, signing_request, stored
from fixtures.product import Browser, Product
from werkzeug.test import TestResponse

from iam.models import Credential

CN, O = NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME  # noqa: E741 - as subjects write it
RSA_512_BITS = b"""\
-----BEGIN CERTIFICATE REQUEST-----
MIHJMHUCAQAwEDEOMAwGA1UEAwwFYWxpY2UwXDANBgkqhkiG9w0BAQEFAANLADBI
AkEA2vMmrVjroUNifFW4mfhV5CDHnPb3AMJuD/zbn+wbv7lKwLqZp24jA99tDaA4
S40KPnL9Bc/iVKILHCnu8NlNZQIDAQABoAAwDQYJKoZIhvcNAQELBQADQQAjKeM9
YeqfuN/daq6tV0kW3BvcPgq5VWej5PVnwtYqwAS1z9T4dS6qudb+l6fx6dCyjuia
IPu4x+SKSfubuqYt
-----END CERTIFICATE REQUEST-----
"""


def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def unsigned() -> bytes:
    """A request whose signature belongs to another one."""
    one, other = (x509.load_pem_x509_csr(request_of("alice")).public_bytes(serialization.Encoding.DER) for _ in range(2))
    swapped = base64.encodebytes(one[:-64] + other[-64:]).decode()
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{swapped}-----END CERTIFICATE REQUEST-----\n".encode()


BAD_REQUESTS: dict[str, tuple[Callable[[], bytes], str]] = {
    "not a request": (lambda: b"hello", "not a PEM certificate signing request"),
    "binary rubbish": (lambda: b"\xff\x00\xfe", "not a PEM certificate signing request"),
    "half a request": (lambda: request_of("alice")[:200], "not a PEM certificate signing request"),
    "512-bit RSA": (lambda: RSA_512_BITS, "too weak"),
    "1024-bit RSA": (lambda: signing_request(rsa.generate_private_key(65537, 1024), (CN, "alice")), "too weak"),
    "O=system:masters": (lambda: signing_request(key(), (O, "system:masters"), (CN, "alice")), "exactly /CN=alice"),
    "two names": (lambda: signing_request(key(), (CN, "alice"), (CN, "root")), "exactly /CN=alice"),
    "another's name": (lambda: request_of("root"), "exactly /CN=alice"),
    "a reserved name": (lambda: request_of("system:kube-controller-manager"), "exactly /CN=alice"),
    "no name": (lambda: signing_request(key()), "exactly /CN=alice"),
    "more names": (
        lambda: signing_request(key(), (CN, "alice"), extensions=[x509.SubjectAlternativeName([x509.DNSName("kubernetes")])]),
        "beyond client authentication",
    ),
    "a CA": (
        lambda: signing_request(key(), (CN, "alice"), extensions=[x509.BasicConstraints(ca=True, path_length=None)]),
        "beyond client authentication",
    ),
    "somebody else's signature": (unsigned, "not signed by its own key"),
    "over 64 KiB": (lambda: request_of("alice") + b"\n" * 65536, "larger than 64 KiB"),
}


@pytest.fixture
def ready(product: Product) -> Product:
    """Alice is an engineer and edits in shop; olga holds nothing."""
    product.account("alice", "engineers")
    product.account("olga")
    offline(product)
    give(product, "local:engineers", "edit", "shop")
    return product


@pytest.fixture
def alice(ready: Product) -> Browser:
    return ready.logged_in("alice")


def upload(browser: Browser, csr: bytes, cluster: str = "prod", **more: str) -> TestResponse:
    return browser.post(f"/kubeconfig/{cluster}", key="theirs", csr=(BytesIO(csr), "alice.csr"), **more)


def user_of(answer: TestResponse) -> dict[str, str]:
    assert answer.status_code == 200, answer.text
    found: dict[str, str] = yaml.safe_load(answer.text)["users"][0]["user"]
    return found


def certificate_of(answer: TestResponse) -> x509.Certificate:
    return x509.load_pem_x509_certificate(base64.b64decode(user_of(answer)["client-certificate-data"]))


def refusal(product: Product) -> Any:
    """The one thing that an attempt left behind: an event, and no certificate."""
    assert stored(product, Credential) == []
    (event,) = events(product, result="refused")
    return event


@pytest.mark.parametrize(("make", "words"), BAD_REQUESTS.values(), ids=BAD_REQUESTS)
def test_a_bad_signing_request_is_refused_with_advice_on_the_page_and_audited(
    ready: Product, alice: Browser, make: Callable[[], bytes], words: str
) -> None:
    answer = upload(alice, make())
    assert answer.status_code == 422
    assert words in answer.text
    event = refusal(ready)
    assert (event.actor_name, event.action) == ("alice", "credential.issued")
    assert words in event.reason


@pytest.mark.parametrize("name", ["not a request", "512-bit RSA", "O=system:masters", "another's name", "over 64 KiB"])
def test_a_bad_signing_request_is_refused_by_the_api_too(ready: Product, name: str) -> None:
    make, words = BAD_REQUESTS[name]
    answer = ready.api("POST", "/kubeconfig", ready.token("alice", "kubeconfig"), {"csr": make().decode()})
    assert answer.status_code == 422
    assert answer.get_json()["field"] == "csr"
    assert words in answer.get_json()["detail"]
    refusal(ready)


def test_choosing_an_own_request_without_sending_one_is_not_answered_with_a_key_of_ours(ready: Product, alice: Browser) -> None:
    answer = alice.post("/kubeconfig/prod", key="theirs")
    assert answer.status_code == 422
    assert "Choose the file" in answer.text
    assert stored(ready, Credential) == []


def test_an_own_request_is_signed_for_its_own_key_and_the_file_names_where_that_is(ready: Product, alice: Browser) -> None:
    mine = key()
    answer = upload(alice, signing_request(mine, (CN, "alice")), key_path="/home/alice/alice.key")
    assert user_of(answer).keys() == {"client-certificate-data", "client-key"}
    assert user_of(answer)["client-key"] == "/home/alice/alice.key"
    assert certificate_of(answer).public_key() == mine.public_key()
    assert stored(ready, Credential)[0].key_origin == "theirs"


def test_the_same_key_is_not_signed_a_second_time(ready: Product, alice: Browser) -> None:
    mine = key()
    assert upload(alice, signing_request(mine, (CN, "alice"))).status_code == 200
    ready.clock.forward(hours=2)
    again = upload(ready.logged_in("alice"), signing_request(mine, (CN, "alice")))
    assert again.status_code == 422
    assert "This key has had a certificate before" in again.text
    assert len(stored(ready, Credential)) == 1


def test_the_same_key_is_not_signed_for_another_person(ready: Product, alice: Browser) -> None:
    stolen = key()
    assert upload(alice, signing_request(stolen, (CN, "alice"))).status_code == 200
    ready.account("bob", "engineers")
    assert upload(ready.logged_in("bob"), signing_request(stolen, (CN, "bob"))).status_code == 422


@pytest.mark.parametrize("minutes", ["0", "9", "721", "-60", "999999999999", "ten", "10.5"])
def test_a_lifetime_outside_of_the_limits_is_refused_on_the_page(ready: Product, alice: Browser, minutes: str) -> None:
    answer = alice.post("/kubeconfig/prod", key="ours", minutes=minutes)
    assert answer.status_code == 422
    assert "minutes" in answer.text
    assert stored(ready, Credential) == []


@pytest.mark.parametrize("seconds", [0, 599, 43201, -600, 10**18])
def test_a_lifetime_outside_of_the_limits_is_refused_by_the_api(ready: Product, seconds: int) -> None:
    answer = ready.api("POST", "/kubeconfig", ready.token("alice", "kubeconfig"), {"lifetime_seconds": seconds})
    assert answer.status_code == 422
    assert answer.get_json()["field"] == "lifetime_seconds"
    assert "between 10 and 720 minutes" in refusal(ready).reason


@pytest.mark.parametrize(("asked", "minutes"), [("10", 10), ("720", 720), ("", 60)])
def test_a_certificate_lives_as_long_as_asked_or_the_clusters_default(ready: Product, alice: Browser, asked: str, minutes: int) -> None:
    answer = alice.post("/kubeconfig/prod", key="ours", minutes=asked)
    assert certificate_of(answer).not_valid_after_utc == ready.clock() + timedelta(minutes=minutes)


@pytest.mark.parametrize("cluster", ["prod", "never-heard-of", "all", "x" * 300])
def test_without_access_there_is_no_certificate_and_an_event(ready: Product, cluster: str) -> None:
    answer = ready.logged_in("olga").post(f"/kubeconfig/{cluster}", key="ours")
    assert answer.status_code == 403
    event = refusal(ready)
    assert (event.actor_name, event.action) == ("olga", "access.denied")


def test_a_cluster_that_exists_and_one_that_does_not_are_refused_alike(ready: Product) -> None:
    headers = ready.token("olga", "kubeconfig")
    answers = [ready.api("POST", "/kubeconfig", headers, {"clusters": [name]}) for name in ("prod", "nope")]
    assert [answer.status_code for answer in answers] == [403, 403]
    assert answers[0].get_json()["detail"].replace("prod", "nope") == answers[1].get_json()["detail"]


def test_access_ends_with_the_mapping_although_the_page_was_open(ready: Product, alice: Browser) -> None:
    alice.get("/kubeconfig/prod")
    with ready.app.app_context():
        (mapping,) = ready.services.access.mappings(ready.operator)
        ready.services.access.remove(ready.operator, mapping.id)
    assert alice.post("/kubeconfig/prod", key="ours").status_code == 403


def test_the_certificate_carries_the_name_and_nothing_else_and_is_archived(ready: Product, alice: Browser) -> None:
    answer = alice.post("/kubeconfig/prod", key="ours")
    certificate = certificate_of(answer)
    assert [(one.oid, one.value) for one in certificate.subject] == [(CN, "alice")]
    (credential,) = stored(ready, Credential)
    assert credential.fingerprint == hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()
    (event,) = events(ready, action="credential.issued")
    assert event.details["fingerprint"] == credential.fingerprint


def test_a_key_made_here_is_sent_once_and_found_nowhere(
    ready: Product, alice: Browser, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    answer = alice.post("/kubeconfig/prod", key="ours")
    assert answer.headers["Cache-Control"] == "no-store"
    pem = base64.b64decode(user_of(answer)["client-key-data"])
    private = serialization.load_pem_private_key(pem, None)
    assert certificate_of(answer).public_key() == private.public_key()
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    number = private.private_numbers().private_value.to_bytes(32)
    forms = [pem.splitlines()[1], base64.b64encode(pem)[40:80], number, number.hex().encode()]
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    written = "".join(capfd.readouterr()).encode()
    assert stored(ready, Credential)[0].fingerprint.encode() in kept, "the search reads what the database holds"
    assert [form for form in forms if form in kept + written] == []


def test_every_download_has_a_key_of_its_own(ready: Product, alice: Browser) -> None:
    keys = {user_of(alice.post("/kubeconfig/prod", key="ours"))["client-key-data"] for _ in range(3)}
    assert len(keys) == 3


def test_all_clusters_come_in_one_file_and_each_is_on_record(ready: Product, alice: Browser) -> None:
    offline(ready, "stage")
    offline(ready, "unmapped")
    give(ready, "local:engineers", "view", cluster="stage")
    document = yaml.safe_load(alice.post("/kubeconfig/all", key="ours").text)
    assert [cluster["name"] for cluster in document["clusters"]] == ["prod", "stage"]
    assert {event.cluster for event in events(ready, action="credential.issued")} == {"prod", "stage"}


def test_a_cluster_without_a_signer_says_so(ready: Product, alice: Browser) -> None:
    with ready.app.app_context():
        from iam.services.clusters import Registration

        ready.services.clusters.register(
            ready.operator, Registration("elsewhere", access="offline", server="https://elsewhere.invalid", signer="none")
        )
    give(ready, "local:engineers", "view", cluster="elsewhere")
    answer = alice.post("/kubeconfig/elsewhere", key="ours")
    assert answer.status_code == 422
    assert "takes credentials from elsewhere" in answer.text


def test_a_visitor_is_sent_to_the_login_page(ready: Product) -> None:
    assert ready.browser().post("/kubeconfig/prod", key="ours").location.startswith("/login")
    assert stored(ready, Credential) == []
