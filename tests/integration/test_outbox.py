"""The outbox: told at least once, with growing pauses, in nobody's way; over crashes, two workers, and servers that are away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fixtures.house import enter_all, inhabit
from fixtures.offline import events, stored
from fixtures.product import Product, ProductMaker
from rigs.mail_server import MailServer
from rigs.webhook_receiver import Answer, WebhookReceiver

from iam.directory.base import Identity
from iam.errors import Forbidden, Invalid
from iam.models import AccessRequest, Notice, db
from iam.models.request import APPROVED
from iam.services.base import WORKER, Actor
from iam.services.requests.asking import Ask
from iam.services.requests.catalogue import NewEntry
from iam.services.requests.deciding import Verdict
from iam.services.requests.rules import NewRule
from iam.services.requests.shown import digest
from iam.services.telling.notices import ALWAYS, Told
from iam.services.telling.outbox import ATTEMPTS, KEPT, Outbox
from iam.services.telling.webhooks import NewWebhook
from iam.worker import Worker

FACTS: dict[str, Any] = {"title": "Edit the shop", "cluster": "demo", "requester": "erin", "requester_name": "Erin Ek", "seconds": 3600}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MailServer]:
    with MailServer(tmp_path / "mail") as server:
        yield server


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[WebhookReceiver]:
    with WebhookReceiver(tmp_path / "receiver") as receiver:
        yield receiver


@pytest.fixture
def product(make_product: ProductMaker, server: MailServer, receiver: WebhookReceiver) -> Product:
    product = make_product(mail=server.settings(), webhooks=receiver.settings())
    with product.app.app_context():
        for name in ("lee", "mei"):
            product.services.people.remember(WORKER, Identity("far", f"id-{name}", name, name.title(), email=f"{name}@example.org"))
        db.session.commit()
    return product


def actor(product: Product, name: str) -> Actor:
    """Somebody in front of a page. Needs an app context."""
    person = product.services.people.by_username(name)
    roles = product.services.people.roles_of(person)
    return Actor(name, "page", person.id, person.display_name, roles, frozenset({"read", "write"}))


def tell(product: Product, *names: str, what: Told = Told.REQUEST_WAITS) -> None:
    with product.app.app_context():
        people = [product.services.people.by_username(name) for name in names]
        product.services.notices.tell(what, people, FACTS, "/requests/r-1")
        db.session.commit()


def hook(product: Product, receiver: WebhookReceiver, *what: Told) -> None:
    with product.app.app_context():
        product.services.webhooks.create(product.operator, NewWebhook("chat", receiver.url(), "json", what or (Told.REQUEST_WAITS,)))


def deliver(product: Product, destination: str = "mail") -> int:
    with product.app.app_context():
        return product.services.outbox.deliver(destination)


def the_notice(product: Product) -> Notice:
    (notice,) = stored(product, Notice)
    assert isinstance(notice, Notice)
    return notice


def test_nothing_is_told_of_what_was_not_decided(product: Product, receiver: WebhookReceiver) -> None:
    hook(product, receiver)
    with product.app.app_context():
        lee = product.services.people.by_username("lee")
        product.services.notices.tell(Told.REQUEST_WAITS, [lee], FACTS, "/requests/r-1")
        db.session.flush()
        db.session.rollback()
    assert stored(product, Notice) == []


def test_pauses_grow_until_it_is_given_up_and_audited(product: Product, server: MailServer) -> None:
    server.stop()
    tell(product, "lee")
    pauses = []
    for attempt in range(1, ATTEMPTS):
        assert deliver(product) == 0
        notice = the_notice(product)
        assert (notice.attempts, notice.sent_at) == (attempt, None)
        assert notice.next_attempt_at is not None
        pauses.append((notice.next_attempt_at - product.clock()).total_seconds())
        product.clock.moment = notice.next_attempt_at - timedelta(seconds=1)
        assert deliver(product) == 0
        assert the_notice(product).attempts == attempt  # too early
        product.clock.forward(seconds=1)
    assert pauses == [30, 60, 120, 240, 480, 960, 1920, *[3600] * (ATTEMPTS - 8)]
    assert not events(product, action="notice.lost")
    deliver(product)
    assert (the_notice(product).next_attempt_at, the_notice(product).attempts) == (None, ATTEMPTS)
    (lost,) = events(product, action="notice.lost")
    assert (lost.result, lost.target_name, lost.reason) == ("failed", "lee", the_notice(product).error)
    server.start()
    product.clock.forward(days=2)
    assert deliver(product) == 0
    assert (server.letters, len(events(product, action="notice.lost"))) == ([], 1)


def test_a_server_that_comes_back_gets_what_waited(product: Product, server: MailServer) -> None:
    server.stop()
    tell(product, "lee", "mei")
    product.work()
    with product.app.app_context():
        assert product.services.outbox.held_up() == 2
    server.start()
    product.work()
    assert server.letters == []  # not yet
    product.clock.forward(seconds=30)
    product.work()
    assert sorted(one.recipients[0] for one in server.letters) == ["lee@example.org", "mei@example.org"]
    assert [(one.error, one.attempts) for one in stored(product, Notice)] == [("", 2)] * 2
    with product.app.app_context():
        assert product.services.outbox.held_up() == 0


def test_a_crash_between_sending_and_noting_sends_again(product: Product, server: MailServer, monkeypatch: pytest.MonkeyPatch) -> None:
    tell(product, "lee")

    def crash(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Outbox, "_note", crash)
        with pytest.raises(KeyboardInterrupt):
            deliver(product)
    assert len(server.letters) == 1
    assert deliver(product) == 0  # a pause, and no flood
    product.clock.forward(seconds=30)
    assert deliver(product) == 1
    assert deliver(product) == 0
    first, second = server.letters
    assert first.message["Message-ID"] == second.message["Message-ID"]
    assert the_notice(product).sent_at == product.clock()


@pytest.mark.parametrize("other", ["thread", "itself"])
def test_two_workers_deliver_once(product: Product, server: MailServer, other: str) -> None:
    tell(product, "lee", "mei")
    server.go_on.clear()
    first = Worker(product.app)
    first.tick()
    assert server.at_data.wait(10)  # the first is in the middle of it
    if other == "thread":
        product.work()
    else:
        first.tick()
    assert server.connections == 1
    server.go_on.set()
    first.wait()
    assert len(server.letters) == 2
    product.work()
    assert [one.attempts for one in stored(product, Notice)] == [1, 1]


def test_a_webhook_that_hangs_does_not_hold_up_mail(product: Product, server: MailServer, receiver: WebhookReceiver) -> None:
    receiver.answer = Answer(how="hang")
    hook(product, receiver)
    tell(product, "lee")
    worker = Worker(product.app)
    worker.tick()
    assert receiver.called.wait(10)
    assert [one.recipients for one in server.wait_for(1)] == [("lee@example.org",)]
    worker._running["outbox mail"].result()
    tell(product, "mei")
    product.work()
    assert len(server.letters) == 2
    assert len(receiver.calls) == 1  # still the first
    receiver.release.set()
    worker.wait()


def test_muted_events_are_not_mailed(product: Product, server: MailServer) -> None:
    with product.app.app_context():
        notices, lee = product.services.notices, actor(product, "lee")
        notices.mute(lee, [Told.REQUEST_WAITS, Told.GRANT_GONE])
        assert notices.muted(lee) == {"request.waits", "grant.gone"}
        assert notices.muted(actor(product, "mei")) == set()
        (changed,) = events(product, action="notices.changed")
        assert changed.target_name == "lee"
    tell(product, "lee", "mei")
    tell(product, "lee", what=Told.REQUEST_DENIED)
    deliver(product)
    assert sorted(one.recipients[0] for one in server.letters) == ["lee@example.org", "mei@example.org"]
    with product.app.app_context():
        product.services.notices.mute(actor(product, "lee"), [])
    tell(product, "lee")
    assert deliver(product) == 1


@pytest.mark.parametrize("what", [*sorted(ALWAYS), "nothing", ""])
def test_break_glass_cannot_be_muted(product: Product, what: str) -> None:
    with product.app.app_context(), pytest.raises(Invalid):
        product.services.notices.mute(actor(product, "lee"), [Told.GRANT_GONE, what])
    with product.app.app_context():
        assert product.services.notices.muted(actor(product, "lee")) == set()
    if what in ALWAYS:
        tell(product, "lee", what=Told(what))
        assert the_notice(product).event == what


def test_housekeeping_drops_what_is_long_over(product: Product, server: MailServer) -> None:
    server.faults["mei@example.org"] = "550 no"
    tell(product, "lee", "mei")
    deliver(product)
    server.faults["lee@example.org"] = "451 later"
    tell(product, "lee", what=Told.GRANT_GONE)  # waits
    with product.app.app_context():
        product.clock.forward(seconds=KEPT.total_seconds())
        product.services.housekeeping.sweep()
        assert len(stored(product, Notice)) == 3
        product.clock.forward(seconds=1)
        product.services.housekeeping.sweep()
    assert the_notice(product).event == "grant.gone"


def test_administrators_and_auditors_see_what_was_sent(product: Product) -> None:
    tell(product, "lee", "mei")
    with product.app.app_context():
        outbox = product.services.outbox
        assert len(outbox.latest(product.operator)) == 2
        assert len(outbox.latest(product.operator, most=1)) == 1
        with pytest.raises(Forbidden):
            outbox.latest(actor(product, "lee"))


def test_without_a_mail_server_nothing_waits(make_product: ProductMaker) -> None:
    product = make_product()
    product.account("lee")
    product.logged_in("lee")
    tell(product, "lee")
    assert stored(product, Notice) == []
    product.work()


def test_a_decision_never_waits_for_a_server(make_product: ProductMaker, server: MailServer, receiver: WebhookReceiver) -> None:
    """From asking to using it while both servers are away; both hear of all of it later."""
    product = make_product(mail=server.settings(), webhooks=receiver.settings())
    inhabit(product)
    enter_all(product)
    hook(product, receiver, *Told)
    server.stop()
    receiver.answer = Answer(503)
    with product.app.app_context():
        ours = product.services
        ours.catalogue.save(actor(product, "ada"), NewEntry("edit", "Edit", role_name="edit", clusters=("*",), namespaces=("shop*",)))
        ours.rules.save(actor(product, "ada"), NewRule("leads", "1 of local:leads"))
        (asked,) = ours.requests.submit(actor(product, "erin"), Ask("edit", ("demo",), ("shop",), 3600, None, "The shop is down."))
        asked_id = asked.id
    product.work()
    with product.app.app_context():
        request = db.session.get(AccessRequest, asked_id)
        assert request is not None
        ours.decisions.decide(actor(product, "lee"), request.id, Verdict("approve", digest(request, request.rules_digest)))
        assert db.session.get_one(AccessRequest, asked_id).state == APPROVED
    product.work()
    assert server.letters == []
    server.start()
    receiver.answer = Answer()
    receiver.calls.clear()
    for _ in range(2):
        product.clock.forward(minutes=5)
        product.work()
    told = {(one.recipients[0], one.message["Subject"]) for one in server.letters}
    assert told == {
        ("lee@example.org", "Erin Engel asks for Edit in demo"), ("erin@example.org", "Approved: Edit in demo"),
        ("erin@example.org", "You can use it now: Edit in demo"),
    }  # fmt: skip
    types = [json.loads(one.body)["type"] for one in receiver.calls]
    assert sorted(types) == ["grant.applied", "request.approved", "request.waits"]
