"""The outbox: told at least once, with growing pauses, in nobody's way; over crashes, two workers, and servers that are away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fixtures.offline import stored
from fixtures.product import Product, ProductMaker
from rigs.mail_server import MailServer
from rigs.webhook_receiver import WebhookReceiver

from iam.directory.base import Identity
from iam.errors import Forbidden, Invalid
from iam.models import Notice, db
from iam.services.base import WORKER, Actor
from iam.services.telling.notices import ALWAYS, Told
from iam.services.telling.webhooks import NewWebhook

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


@pytest.mark.parametrize("what", [*sorted(ALWAYS), "nothing", ""])
def test_break_glass_cannot_be_muted(product: Product, what: str) -> None:
    with product.app.app_context(), pytest.raises(Invalid):
        product.services.notices.mute(actor(product, "lee"), [Told.GRANT_GONE, what])
    with product.app.app_context():
        assert product.services.notices.muted(actor(product, "lee")) == set()
    if what in ALWAYS:
        tell(product, "lee", what=Told(what))
        assert the_notice(product).event == what


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
