"""Mail on a real SMTP server: what it says and to whom, what it cannot be made to say, and who is trusted with it."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from fixtures.offline import events, stored
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
    "encoded word": "=?utf-8?q?Lee=0D=0ABcc:_eve?=", "percent signs": "100% %(secret)s %s", "braces": "{{ 7 * 7 }} {0}", "nothing": " ",
}  # fmt: skip
NO_ADDRESS = ["lee", "lee@", "lee@example.org, eve@example.org", "lee@x\r\nRCPT TO:<eve@x>", "a..b@x"]
pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")  # aiosmtpd overlooks implicit TLS


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MailServer]:
    with MailServer(tmp_path / "mail") as server:
        yield server


@pytest.fixture
def product(make_product: ProductMaker, server: MailServer) -> Product:
    return make_product(mail=server.settings(), server={"public_url": "https://iam.example.org/"})


def remember(product: Product, name: str = "lee", **more: Any) -> None:
    """Somebody with an address, as a directory knows them that no worker syncs here."""
    known = {"display_name": name.title(), "email": f"{name}@example.org", **more}
    with product.app.app_context():
        product.services.people.remember(WORKER, Identity("far", f"id-{name}", name, **known))
        db.session.commit()


def tell(product: Product, name: str = "lee", what: Told = Told.REQUEST_WAITS, **facts: Any) -> None:
    with product.app.app_context():
        person = product.services.people.by_username(name)
        product.services.notices.tell(what, [person], {**FACTS, **facts}, "/requests/r-1")
        db.session.commit()


def deliver(product: Product) -> int:
    with product.app.app_context():
        return product.services.outbox.deliver("mail")


def sender(server: MailServer, **more: Any) -> SmtpSender:
    return SmtpSender(Mail(**server.settings(**more)), TestClock())


def letter(**more: str) -> Letter:
    values = {"id": "n-1", "to": "lee@example.org", "to_name": "Lee", "subject": "Hello", "text": "Hello", "html": "<p>Hello</p>"}
    return Letter(**(values | more))


def test_a_mail_says_what_happened_and_leads_to_the_page(product: Product, server: MailServer) -> None:
    remember(product)
    tell(product)
    product.work()
    (received,) = server.letters
    message = received.message
    assert message.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    assert (received.sender, received.recipients) == ("kube-iam@example.org", ("lee@example.org",))
    assert (message["To"], message["From"]) == ("Lee <lee@example.org>", "kube-iam <kube-iam@example.org>")
    assert message["Subject"] == "Erin Ek asks for Edit the shop in demo"
    assert message["Date"].datetime == product.clock()
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Message-ID"] == f"<{stored(product, Notice)[0].id}@example.org>"
    for said in (received.part("plain"), received.part("html")):
        for fact in ("Erin Ek (erin)", "ClusterRole/edit", "demo", "shop", "1h", "The shop is down.", "OPS-1", "reads Secrets"):
            assert fact in said
    sent = stored(product, Notice)[0]
    assert (sent.sent_at, sent.next_attempt_at, sent.error, sent.attempts) == (product.clock(), None, "", 1)


def test_a_mail_holds_one_link_which_decides_nothing(product: Product, server: MailServer) -> None:
    remember(product)
    for what in Told:
        tell(product, what=what, by="Ada", until="2026-12-01T10:00:00+00:00", comment="Later.")
    assert deliver(product) == len(Told)
    for received in server.letters:
        html, text = received.part("html"), received.part("plain")
        assert re.findall(r"""(?:href|src|action)=["']?([^"'> ]*)""", html) == ["https://iam.example.org/requests/r-1"]
        assert re.findall(r"https?://\S+", text) == ["https://iam.example.org/requests/r-1"]
        assert not re.search(r"<(form|script|img|link|input|button)\b", html)


def test_a_mail_is_in_the_language_of_its_reader(product: Product, server: MailServer) -> None:
    remember(product, "lee")
    remember(product, "mei")
    with product.app.app_context():
        product.services.people.by_username("mei").language = "zh_Hans"
        db.session.commit()
    for name in ("mei", "lee"):
        tell(product, name)
    deliver(product)
    sent = {received.recipients[0]: received for received in server.letters}
    for address, language, said in (("mei@example.org", "zh-Hans", "集群: demo"), ("lee@example.org", "en", "Cluster: demo")):
        assert f'<html lang="{language}">' in sent[address].part("html")
        assert said in sent[address].part("plain")


@pytest.mark.parametrize("where", ["reason", "ticket", "title", "requester_name", "comment", "by"])
def test_what_people_write_stays_text(product: Product, server: MailServer, where: str) -> None:
    remember(product)
    written = """<script>alert(1)</script><a href="https://evil.example.org" onclick='x'>&amp; {{ 7*7 }}"""
    tell(product, what=Told.REQUEST_COMMENTED, **{where: written})
    deliver(product)
    (received,) = server.letters
    html = received.part("html")
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&lt;a href=&#34;https://evil.example.org&#34; onclick=&#39;x&#39;&gt;&amp;amp;" in html
    assert written in received.part("plain")  # nothing is escaped twice


@pytest.mark.parametrize("nasty", NASTY.values(), ids=NASTY)
def test_no_name_makes_a_header_or_another_recipient(product: Product, server: MailServer, nasty: str) -> None:
    remember(product, display_name=nasty)
    tell(product, title=nasty, requester_name=nasty, cluster=nasty)
    deliver(product)
    _only_to_lee(server)
    assert len(server.letters[0].message["Subject"]) <= 200
    assert all(len(line) <= 998 for line in server.letters[0].raw.splitlines())  # RFC 5322, 2.1.1


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


@pytest.mark.parametrize("address", NO_ADDRESS)
def test_what_is_no_address_is_given_up_at_once_and_audited(product: Product, server: MailServer, address: str) -> None:
    remember(product, email=address)
    tell(product)
    assert deliver(product) == 0
    (notice,) = stored(product, Notice)
    assert (notice.next_attempt_at, notice.sent_at, notice.error) == (None, None, "this is not an e-mail address")
    (lost,) = events(product, action="notice.lost")
    assert (lost.result, lost.target_name, lost.reason) == ("failed", "lee", "this is not an e-mail address")
    assert server.connections == 0


def test_a_refused_address_is_given_up_and_others_are_served(product: Product, server: MailServer) -> None:
    server.faults["lee@example.org"] = "550 No such user: lee@example.org"
    for name in ("lee", "mei"):
        remember(product, name)
        tell(product, name)
    assert deliver(product) == 1
    assert [received.recipients for received in server.letters] == [("mei@example.org",)]
    lost, sent = sorted(stored(product, Notice), key=lambda one: one.sent_at is not None)
    assert (lost.next_attempt_at, lost.error) == (None, "the mail server refuses this address (550)")
    assert sent.error == ""
    assert [event.target_name for event in events(product, action="notice.lost")] == ["lee"]


@pytest.mark.parametrize("command", ["MAIL", "RCPT", "DATA"])
def test_a_mail_that_may_come_later_is_sent_later(product: Product, server: MailServer, command: str) -> None:
    server.faults[command] = "451 Try again later"
    remember(product)
    tell(product)
    assert deliver(product) == 0
    (notice,) = stored(product, Notice)
    assert "451" in notice.error
    assert notice.next_attempt_at > product.clock()
    server.faults.clear()
    assert deliver(product) == 0  # not yet
    product.clock.forward(minutes=1)
    assert deliver(product) == 1
    assert not events(product, action="notice.lost")


def test_a_mail_that_came_twice_can_be_told_by_its_id(product: Product, server: MailServer) -> None:
    server.faults["DATA"] = HANG_UP  # it keeps the letter and does not say so
    remember(product)
    tell(product)
    assert deliver(product) == 0
    server.faults.clear()
    product.clock.forward(minutes=1)
    assert deliver(product) == 1
    first, second = (received.message["Message-ID"] for received in server.letters)
    assert first == second


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


def test_the_password_is_in_no_error_log_notice_or_audit(make_product: ProductMaker, tmp_path: Path) -> None:
    wrong = "wrong-" + LOGIN[1]
    with redirect_stderr(StringIO()) as log, MailServer(tmp_path / "safe", security="starttls", login=LOGIN) as server:
        product = make_product(mail=server.settings(password=wrong), log_level="debug")
        remember(product)
        tell(product)
        product.work()
        assert server.logins
        assert not any(server.logins)
    (notice,) = stored(product, Notice)
    assert "535" in notice.error
    said = [log.getvalue(), notice.error, repr(product.services.world.settings), *(str(vars(event)) for event in events(product))]
    secret = [wrong, base64.b64encode(wrong.encode()).decode(), base64.b64encode(f"\0{LOGIN[0]}\0{wrong}".encode()).decode()]
    assert not [one for one in secret for text in said if one in text]
    assert "notice not delivered" in log.getvalue()


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
