"""Webhooks: addresses that are told of events. Address and secret are sealed, and shown once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from iam.errors import Conflict, Invalid, NotFound, Unavailable
from iam.kube import names
from iam.models import Webhook, db, new_id
from iam.notify.base import Call, NotDelivered
from iam.notify.webhook import new_secret
from iam.services.audit import Audit, Event, Target
from iam.services.base import READ, WRITE, Actor, World, transaction
from iam.services.telling.notices import Told

FORMATS = ("json", "slack")


@dataclass(frozen=True, slots=True)
class NewWebhook:
    """A webhook as an administrator writes it."""

    name: str
    url: str
    format: str = "json"
    events: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"NewWebhook({self.name!r})"


class Webhooks:
    """Use cases about webhooks."""

    def __init__(self, world: World, audit: Audit) -> None:
        self._world = world
        self._audit = audit

    def listed(self, actor: Actor) -> Sequence[Webhook]:
        """All, by name."""
        self._audit.require(actor, "administrator", "auditor", scope=READ)
        return db.session.scalars(select(Webhook).order_by(Webhook.name)).all()

    def create(self, actor: Actor, command: NewWebhook) -> tuple[Webhook, str]:
        """Add one; returns it and the secret that signs, which is shown this once. Raises Invalid, Conflict."""
        self._audit.require(actor, "administrator", scope=WRITE, target=Target("webhook", command.name))
        name = names.object_name(command.name.strip())
        if command.format not in FORMATS:
            raise Invalid("The format is one of %(formats)s.", field="format", formats=", ".join(FORMATS))
        unknown = sorted(set(command.events) - set(Told))
        if unknown or not command.events:
            raise Invalid("Choose from these events: %(events)s.", field="events", events=", ".join(Told))
        host = self._world.webhooks.check(command.url.strip())
        secret = new_secret()
        webhook = Webhook(
            name=name, url=self._world.vault.seal({"url": command.url.strip()}), host=host[:255], format=command.format,
            secret=self._world.vault.seal({"secret": secret}), events=sorted(set(command.events)), created_at=self._world.now(),
            created_by=actor.name,
        )
        with transaction():
            db.session.add(webhook)
            try:
                db.session.flush()
            except IntegrityError:
                raise Conflict("There is a webhook %(name)s already.", name=name, field="name") from None
            self._audit.record(actor, Event.WEBHOOK_CREATED, Target("webhook", name), host=host, events=webhook.events)
        return webhook, secret

    def remove(self, actor: Actor, name: str) -> None:
        """It is told nothing any more. Raises NotFound."""
        self._audit.require(actor, "administrator", scope=WRITE, target=Target("webhook", name))
        with transaction():
            db.session.delete(self._named(name))
            self._audit.record(actor, Event.WEBHOOK_REMOVED, Target("webhook", name))

    def test(self, actor: Actor, name: str) -> None:
        """Call it once, now, with an event that means nothing. Raises NotFound, Unavailable."""
        self._audit.require(actor, "administrator", scope=WRITE, target=Target("webhook", name))
        webhook = self._named(name)
        words = "A test from kube-iam."
        body = {"text": words} if webhook.format == "slack" else {"type": "test", "data": {"text": words}}
        url, secret = self._world.vault.open(webhook.url)["url"], self._world.vault.open(webhook.secret)["secret"]
        db.session.commit()  # no transaction stays open while it answers
        try:
            self._world.webhooks.send(Call(new_id(), url, secret, json.dumps(body).encode()))
        except NotDelivered as problem:
            raise Unavailable("%(name)s: %(why)s.", name=name, why=str(problem)) from None

    def _named(self, name: str) -> Webhook:
        webhook = db.session.scalar(select(Webhook).filter_by(name=name))
        if webhook is None:
            raise NotFound("There is no webhook %(name)s.", name=name)
        return webhook
