"""Mail on a real SMTP server: what it says and to whom, what it cannot be made to say, and who is trusted with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fixtures.offline import stored
from fixtures.product import Product, ProductMaker, TestClock
from rigs.certificates import CertificateAuthority
from rigs.mail_server import HANG_UP, SILENCE, MailServer, Security

from iam.directory.base import Identity
from iam.models import Notice, Person, db
from iam.notify.base import Letter, NotDelivered
from iam.notify.mail import SmtpSender
from iam.services.base import WORKER
from iam.services.telling.notices import Told
from iam.settings import Mail

LOGIN = ("kube-iam", "mail-secret-of-ours")
FACTS: dict[str, Any] = {
    "title": "Edit the shop", "cluster": "demo", "requester": "erin", "requester_name": "Erin Ek", "role": "ClusterRole/edit",
    "namespaces": ["shop"], "seconds": 3600, "reason": "The shop is down.", "ticket": "OPS-1", "risks": ["reads Secrets"],
}
NASTY = {
    "line breaks": "Lee\r\nBcc: eve@example.org\r\n\r\nHello", "other line breaks": "Lee\u2028Bcc: eve@example.org\x85x\x0bx\x0cx\x1ex",
    "commas and quotes": 'Lee, "the" <eve@example.org>, eve@example.org;', "backslashes": '\\"Lee\\', "a group": "Lee: eve@example.org;",
    "long": "L" * 300, "long words": "Lee Long " * 40, "Chinese": "李雷，" * 100, "emoji": "👩🏽‍💻" * 60,
    "percent signs": "100% %(secret)s %s", "braces": "{{ 7 * 7 }} {0}", "nothing": " ",
}  # fmt: skip
pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")  # aiosmtpd overlooks implicit TLS


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MailServer]:
    with MailServer(tmp_path / "mail") as server:
        yield server


@pytest.fixture
def product(make_product: ProductMaker, server: MailServer) -> Product:
    return make_product(mail=server.settings(), server={"public_url": "https://iam.example.org/"})


def remember(product: Product, name: str = "lee", **more: Any) -> None:
    """Somebody with an address, as their directory knows them."""
    known = {"display_name": name.title(), "email": f"{name}@example.org", **more}
    with product.app.app_context():
        product.services.people.remember(WORKER, Identity("local", f"id-{name}", name, **known))
        db.session.commit()


def tell(product: Product, name: str = "lee", what: Told = Told.REQUEST_WAITS, **facts: Any) -> None:
    with product.app.app_context():
        person = product.services.people.by_username(name)
        product.services.notices.tell(what, [person], {**FACTS, **facts}, "/requests/r-1")
        db.session.commit()


def sender(server: MailServer, **more: Any) -> SmtpSender:
    return SmtpSender(Mail(**server.settings(**more)), TestClock())


def letter(**more: str) -> Letter:
    values = {"id": "n-1", "to": "lee@example.org", "to_name": "Lee", "subject": "Hello", "text": "Hello", "html": "<p>Hello</p>"}
    return Letter(**(values | more))


@pytest.mark.parametrize("nasty", NASTY.values(), ids=NASTY)
def test_the_sender_itself_takes_any_name_and_subject(server: MailServer, nasty: str) -> None:
    sender(server).send(letter(to_name=nasty, subject=nasty, text=nasty, html=nasty))
    _only_to_lee(server)


def test_a_line_with_a_single_dot_does_not_end_the_letter(server: MailServer) -> None:
    text = "before\n.\nMAIL FROM:<eve@example.org>\nRCPT TO:<eve@example.org>\nDATA\n..\nafter\n"
    sender(server).send(letter(text=text))
    assert server.letters[0].part("plain").replace("\r\n", "\n") == text
    _only_to_lee(server)


def _only_to_lee(server: MailServer) -> None:
    (received,) = server.letters
    message = received.message
    assert received.recipients == ("lee@example.org",)
    assert sorted(message.keys()) == sorted(
        ["Subject", "From", "To", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"]
    )
    assert [one.addr_spec for one in message["To"].addresses] == ["lee@example.org"]
    assert not message.defects


@pytest.mark.parametrize("fault", [HANG_UP, SILENCE, "500 what?"])
def test_a_bad_farewell_does_not_send_it_twice(server: MailServer, fault: str) -> None:
    server.faults["QUIT"] = fault
    sender(server, timeout_seconds=0.2).send(letter())
    assert len(server.letters) == 1


@pytest.mark.parametrize("fault", [HANG_UP, SILENCE])
@pytest.mark.parametrize("command", ["EHLO", "MAIL", "RCPT", "DATA"])
def test_a_server_that_fails_on_the_way_is_tried_again(server: MailServer, command: str, fault: str) -> None:
    server.faults[command] = fault
    with pytest.raises(NotDelivered) as refused:
        sender(server, timeout_seconds=0.2).send(letter())
    assert not refused.value.for_good


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_mail_is_encrypted_and_logs_in(tmp_path: Path, security: Security) -> None:
    with MailServer(tmp_path / "safe", security=security, login=LOGIN) as server:
        sender(server).send(letter())
        assert (len(server.letters), server.logins) == (1, [True])


@pytest.mark.parametrize("security", ["starttls", "tls"])
@pytest.mark.parametrize("wrong", ["authority", "name"])
def test_a_wrong_certificate_learns_neither_password_nor_letter(tmp_path: Path, security: Security, wrong: str) -> None:
    hosts = ["elsewhere.example.org"] if wrong == "name" else ["localhost"]
    more = {"ca_file": CertificateAuthority(tmp_path).ca_file} if wrong == "authority" else {}
    with MailServer(tmp_path / "safe", security=security, hosts=hosts, login=LOGIN) as server:
        with pytest.raises(NotDelivered, match="SSLCertVerificationError") as refused:
            sender(server, **more).send(letter())
        assert not refused.value.for_good
        assert (server.letters, server.logins) == ([], [])


def test_a_server_that_offers_no_encryption_is_refused(server: MailServer) -> None:
    with pytest.raises(NotDelivered):
        sender(server, security="starttls", username=LOGIN[0], password=LOGIN[1]).send(letter())
    assert (server.letters, server.logins) == ([], [])


def test_a_person_without_address_and_one_who_left_are_not_mailed(product: Product, server: MailServer) -> None:
    remember(product, email="")
    remember(product, "mei")
    with product.app.app_context():
        mei = db.session.scalar(db.select(Person).filter_by(username="mei"))
        assert mei is not None
        product.services.people.disable(product.operator, mei.id)
    for name in ("lee", "mei"):
        tell(product, name)
    assert stored(product, Notice) == []
