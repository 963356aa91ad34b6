"""Webhooks on a real HTTPS server: what is sent, how it is signed, where it cannot be led, and what it gives away."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from fixtures.house import enter_all, inhabit
from fixtures.offline import events, stored
from fixtures.product import Product, ProductMaker, TestClock
from fixtures.stored import database_bytes
from rigs.certificates import CertificateAuthority
from rigs.webhook_receiver import Answer, Received, WebhookReceiver

from iam.errors import Conflict, Forbidden, Invalid, NotFound, Unavailable
from iam.models import Notice, db
from iam.notify.base import Call, NotDelivered
from iam.notify.webhook import HttpWebhookSender, new_secret
from iam.services.base import Actor
from iam.services.telling.notices import Told
from iam.services.telling.webhooks import NewWebhook
from iam.settings import Webhooks

PUBLIC = "93.184.215.14"
SECRET_PATH = "/services/T012/B034/part-that-is-secret?key=another-secret"
VALID: dict[str, Any] = {"name": "chat", "url": f"https://{PUBLIC}/", "format": "json", "events": ("review.due",)}
MARKUP = [
    "<!channel>", "<!here|here>", "<@U012AB3CD>", "<#C123ABC456|general>", "<https://evil.example.org|click here>", "a > b < c & d &lt;",
    "*bold* `code` ```pre```", "line\nbreak\r\n> quote", "x|y>",
]  # fmt: skip
FACTS: dict[str, Any] = {
    "title": "Edit the shop", "cluster": "demo", "requester": "erin", "requester_name": "Erin Ek", "namespaces": ["shop"],
    "seconds": 3600, "reason": "The shop is down.",
}
Wires = Callable[..., list[tuple[str, int]]]


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[WebhookReceiver]:
    with WebhookReceiver(tmp_path / "receiver", hosts=["localhost", "127.0.0.1", "hooks.example.org"]) as receiver:
        yield receiver


@pytest.fixture
def product(make_product: ProductMaker, receiver: WebhookReceiver) -> Product:
    return make_product(webhooks=receiver.settings(), server={"public_url": "https://iam.example.org"})


def hook(product: Product, url: str, format: str = "json", name: str = "chat") -> str:  # noqa: A002 - the field's name
    """Add a webhook that is told of waiting requests; returns its secret."""
    with product.app.app_context():
        command = NewWebhook(name, url, format, (Told.REQUEST_WAITS,))
        return product.services.webhooks.create(product.operator, command)[1]


def tell(product: Product, what: Told = Told.REQUEST_WAITS, **facts: Any) -> None:
    with product.app.app_context():
        product.services.notices.tell(what, [], {**FACTS, **facts}, "/requests/r-1")
        db.session.commit()


def sender(receiver: WebhookReceiver, **more: Any) -> HttpWebhookSender:
    return HttpWebhookSender(Webhooks(**receiver.settings(**more)), TestClock())


def call(url: str) -> Call:
    return Call("n-1", url, new_secret(), b"{}")


def expected_signature(secret: str, received: Received) -> str:
    """By the specification: HMAC-SHA256 of ``id.timestamp.body`` with the bytes behind ``whsec_``."""
    assert secret.startswith("whsec_")
    signed = b".".join([received.headers["webhook-id"].encode(), received.headers["webhook-timestamp"].encode(), received.body])
    return "v1," + base64.b64encode(hmac.digest(base64.b64decode(secret[6:], validate=True), signed, hashlib.sha256)).decode()


def test_a_webhook_is_told_in_json_and_signed(product: Product, receiver: WebhookReceiver) -> None:
    secret = hook(product, receiver.url(SECRET_PATH))
    tell(product, reason='数据库 is <down> & "out"\n')
    tell(product, Told.REQUEST_DENIED)  # it did not ask for these
    product.work()
    (received,) = receiver.calls
    assert (received.method, received.path) == ("POST", SECRET_PATH)
    assert (received.headers["host"], received.headers["content-type"]) == (f"localhost:{receiver.port}", "application/json")
    assert received.headers["webhook-timestamp"] == str(int(product.clock().timestamp()))
    assert received.headers["webhook-id"] == stored(product, Notice)[0].id
    assert received.headers["webhook-signature"] == expected_signature(secret, received)
    body = json.loads(received.body)
    assert (body["type"], body["timestamp"]) == ("request.waits", product.clock().isoformat())
    assert body["data"]["reason"] == '数据库 is <down> & "out"\n'
    assert body["data"]["link"] == "https://iam.example.org/requests/r-1"
    assert 24 <= len(base64.b64decode(secret[6:])) <= 64


def test_a_retry_has_the_same_id_and_a_signature_of_its_own_time(product: Product, receiver: WebhookReceiver) -> None:
    secret = hook(product, receiver.url())
    receiver.answer = Answer(500)
    tell(product)
    product.work()
    receiver.answer = Answer(204)
    product.clock.forward(minutes=1)
    product.work()
    first, second = receiver.calls
    assert (first.headers["webhook-id"], first.body) == (second.headers["webhook-id"], second.body)
    assert first.headers["webhook-timestamp"] < second.headers["webhook-timestamp"]
    assert [expected_signature(secret, one) for one in (first, second)] == [one.headers["webhook-signature"] for one in (first, second)]


@pytest.mark.parametrize("written", MARKUP)
def test_slack_text_holds_no_mention_link_or_markup(product: Product, receiver: WebhookReceiver, written: str) -> None:
    hook(product, receiver.url(), "slack")
    tell(product, reason=written, title=written, requester_name=written, cluster=written)
    product.work()
    text = json.loads(receiver.calls[0].body)["text"]
    link = "*<https://iam.example.org/requests/r-1|"
    assert text.startswith(link)
    headline, *lines = text.removeprefix(link).split("\n")
    assert headline.endswith(">*")
    assert all(line.startswith("*") for line in lines)
    for said in (headline.removesuffix(">*"), *(line.split(":*", 1)[1] for line in lines)):
        assert not set("<>|*`") & set(said)
        assert all(rest.startswith(("amp;", "lt;", "gt;")) for rest in said.split("&")[1:])


def test_a_redirect_is_not_followed(product: Product, receiver: WebhookReceiver, tmp_path: Path) -> None:
    with WebhookReceiver(tmp_path / "inner", tls=False) as inner:
        for status in (301, 302, 303, 307, 308):
            receiver.answer = Answer(status, {"Location": inner.url("/latest/meta-data")})
            with pytest.raises(NotDelivered, match="redirects"):
                sender(receiver).send(call(receiver.url()))
        assert (inner.calls, len(receiver.calls)) == ([], 5)


def test_gone_is_for_good_and_audited_by_name(product: Product, receiver: WebhookReceiver) -> None:
    hook(product, receiver.url(SECRET_PATH))
    receiver.answer = Answer(410)
    tell(product)
    product.work()
    assert [(one.next_attempt_at, one.sent_at) for one in stored(product, Notice)] == [(None, None)]
    (lost,) = events(product, action="notice.lost")
    assert (lost.target_name, lost.reason) == ("chat", "the webhook answers 410")


@pytest.mark.parametrize("answer", [*map(Answer, (400, 401, 404, 429, 500, 503)), Answer(how="close"), Answer(how="hang")])
def test_whatever_else_is_tried_again(receiver: WebhookReceiver, answer: Answer) -> None:
    receiver.answer = answer
    with pytest.raises(NotDelivered) as lost:
        sender(receiver, timeout_seconds=0.2).send(call(receiver.url(SECRET_PATH)))
    assert not lost.value.for_good
    assert "secret" not in str(lost.value)


def test_a_long_answer_is_not_read(receiver: WebhookReceiver) -> None:
    receiver.answer = Answer(200, {"Content-Length": str(10**12)}, b"x" * 10**6)
    sender(receiver).send(call(receiver.url()))
    assert len(receiver.calls) == 1


@pytest.fixture
def wires(monkeypatch: pytest.MonkeyPatch, receiver: WebhookReceiver) -> Wires:
    """Names lead where a test says, one answer after the other; PUBLIC leads to the receiver. Returns who was connected to."""
    answers: list[str] = []
    connected: list[tuple[str, int]] = []
    lookup, connect = socket.getaddrinfo, socket.socket.connect

    def getaddrinfo(host: str, port: int, *arguments: Any, **more: Any) -> list[Any]:
        if host.endswith(".example.org"):
            host = answers.pop(0) if len(answers) > 1 else answers[0]
        return lookup(host, port, *arguments, **more)

    def connecting(one: socket.socket, address: tuple[str, int]) -> None:
        connected.append((address[0], address[1]))
        connect(one, ("127.0.0.1", receiver.port) if address[0] == PUBLIC else address)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(socket.socket, "connect", connecting)

    def lead(*addresses: str) -> list[tuple[str, int]]:
        answers[:] = addresses
        return connected

    return lead


def test_a_name_that_changes_its_mind_gains_nothing(receiver: WebhookReceiver, wires: Wires) -> None:
    connected = wires(PUBLIC, "127.0.0.1")
    sender(receiver, inside_networks=[]).send(call("https://hooks.example.org/hook"))
    assert connected == [(PUBLIC, 443)]
    assert receiver.calls[0].headers["host"] == "hooks.example.org"
    with pytest.raises(NotDelivered, match="not public"):  # the second answer
        sender(receiver, inside_networks=[]).send(call("https://hooks.example.org/hook"))
    assert connected == [(PUBLIC, 443)]


def test_a_webhook_that_moved_inside_is_not_called(make_product: ProductMaker, receiver: WebhookReceiver, wires: Wires) -> None:
    product = make_product(webhooks=receiver.settings(inside_networks=[]))
    connected = wires(PUBLIC, "127.0.0.1")
    hook(product, f"https://hooks.example.org:{receiver.port}/hook")
    tell(product)
    product.work()
    assert (connected, receiver.calls) == ([], [])
    assert "not public" in stored(product, Notice)[0].error


def test_the_certificate_fits_the_name_and_not_the_address(receiver: WebhookReceiver, wires: Wires, tmp_path: Path) -> None:
    wires("127.0.0.1")
    sender(receiver).send(call(receiver.url(host="hooks.example.org")))
    with WebhookReceiver(tmp_path / "numbered", hosts=["127.0.0.1", "localhost"]) as numbered:
        with pytest.raises(NotDelivered, match=r"SSL|Certificate"):
            sender(numbered).send(call(numbered.url(host="hooks.example.org")))
        assert numbered.calls == []
        sender(numbered).send(call(numbered.url(host="127.0.0.1")))


def test_a_certificate_of_nobody_is_refused(receiver: WebhookReceiver, tmp_path: Path) -> None:
    for trusted in (CertificateAuthority(tmp_path).ca_file, None):
        with pytest.raises(NotDelivered, match=r"SSL|Certificate"):
            sender(receiver, ca_file=trusted).send(call(receiver.url()))
    assert receiver.calls == []


def test_without_encryption_only_our_own_networks(tmp_path: Path) -> None:
    with WebhookReceiver(tmp_path / "plain", tls=False) as plain:
        with pytest.raises(NotDelivered):
            sender(plain, inside_networks=[]).send(call(plain.url()))
        sender(plain).send(call(plain.url()))
    assert len(plain.calls) == 1


def test_address_and_secret_are_sealed_and_shown_once(make_product: ProductMaker, receiver: WebhookReceiver) -> None:
    with redirect_stderr(StringIO()) as log:
        product = make_product(webhooks=receiver.settings(), log_level="debug")
        inhabit(product)
        ada = enter_all(product)["ada"]
        secret = hook(product, receiver.url(SECRET_PATH))
        with pytest.raises(Conflict), product.app.app_context():
            product.services.webhooks.create(product.operator, NewWebhook("chat", receiver.url(SECRET_PATH), "json", ("review.due",)))
        for answer in (Answer(500), Answer(301, {"Location": receiver.url(SECRET_PATH)}), Answer(how="close"), Answer()):
            receiver.answer = answer
            tell(product)
            product.work()
            product.clock.forward(hours=2)
        receiver.answer = Answer(503)
        with product.app.app_context(), pytest.raises(Unavailable, match="chat: the webhook answers 503") as refused:
            product.services.webhooks.test(product.operator, "chat")
    assert "notice not delivered" in log.getvalue()
    raw = base64.b64decode(secret[6:])
    said = [log.getvalue(), str(refused.value), *(ada.get(page).text for page in ("/audit", "/notifications"))]
    said += [str(vars(event)) for event in events(product)] + [one.error + json.dumps(one.facts) for one in stored(product, Notice)]
    for hidden in (secret, secret[6:], raw.hex(), "part-that-is-secret", "another-secret", "/services/T012"):
        assert not [text for text in said if hidden in text]
        assert hidden.encode() not in database_bytes(product)
    assert raw not in database_bytes(product)


def test_who_may_add_try_and_remove_a_webhook(product: Product, receiver: WebhookReceiver) -> None:
    auditor = Actor("aude", "page", roles=frozenset({"auditor"}), scopes=frozenset({"read", "write"}))
    secret = hook(product, receiver.url())
    with product.app.app_context():
        ours = product.services.webhooks
        assert [one.name for one in ours.listed(auditor)] == ["chat"]
        with pytest.raises(Forbidden):
            ours.remove(auditor, "chat")
        with pytest.raises(Forbidden):
            ours.test(auditor, "chat")
        with pytest.raises(Forbidden):
            ours.create(auditor, NewWebhook("mine", receiver.url(), "json", ("review.due",)))
        assert receiver.calls == []
        ours.test(product.operator, "chat")
    assert receiver.calls[0].headers["webhook-signature"] == expected_signature(secret, receiver.calls[0])
    tell(product)
    with product.app.app_context():
        ours.remove(product.operator, "chat")
    with product.app.app_context(), pytest.raises(NotFound):
        ours.remove(product.operator, "chat")
    product.work()
    assert (len(receiver.calls), stored(product, Notice)) == (1, [])
    assert [event.action for event in events(product) if event.action.startswith("webhook.")] == ["webhook.removed", "webhook.created"]


@pytest.mark.parametrize("wrong", [
    {"url": "https://169.254.169.254/"}, {"url": f"http://{PUBLIC}/"}, {"format": "xml"}, {"events": ()}, {"events": ("no",)},
    {"name": "A b"},
])  # fmt: skip
def test_what_makes_no_webhook(make_product: ProductMaker, wrong: dict[str, Any]) -> None:
    product = make_product()
    with product.app.app_context():
        with pytest.raises(Invalid):
            product.services.webhooks.create(product.operator, NewWebhook(**VALID | wrong))
        assert list(product.services.webhooks.listed(product.operator)) == []
