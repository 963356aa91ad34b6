"""What there is to tell, put into the outbox in the transaction of the change; delivered later, and never in its way."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import delete, select

from iam.errors import Invalid
from iam.models import AccessRequest, Grant, Mute, Notice, Person, Webhook, db
from iam.services.audit import Audit, Event, Target
from iam.services.base import READ, WRITE, Actor, World, transaction

MOST_TOLD = 200
"""So many of a group are mailed; a mail to a thousand is read by nobody."""


class Told(StrEnum):
    """Everything that is told, each of which can be subscribed to on its own."""

    REQUEST_WAITS = "request.waits"
    REQUEST_CHANGED = "request.changed"
    REQUEST_COMMENTED = "request.commented"
    REQUEST_APPROVED = "request.approved"
    REQUEST_DENIED = "request.denied"
    REQUEST_CANCELLED = "request.cancelled"
    REQUEST_LAPSED = "request.lapsed"
    REQUEST_CLOSED = "request.closed"
    GRANT_APPLIED = "grant.applied"
    GRANT_ENDING = "grant.ending"
    GRANT_REVOKED = "grant.revoked"
    GRANT_GONE = "grant.gone"
    EMERGENCY_WAITS = "emergency.waits"
    EMERGENCY_OPENED = "emergency.opened"
    REVIEW_DUE = "review.due"
    REVIEW_OVERDUE = "review.overdue"
    REVIEW_DONE = "review.done"


ALWAYS = frozenset({Told.EMERGENCY_OPENED, Told.EMERGENCY_WAITS, Told.REVIEW_DUE, Told.REVIEW_OVERDUE})
"""Nobody can choose not to hear of break-glass."""


@dataclass(frozen=True, slots=True)
class Audience:
    """Who hears of one kind of thing."""

    mails: bool
    muted: frozenset[str]
    """Ids of people who chose not to."""
    webhooks: tuple[str, ...]


class Notices:
    """Puts notices into the outbox, and keeps who does not want which."""

    def __init__(self, world: World, audit: Audit) -> None:
        self._world = world
        self._audit = audit

    def audience(self, what: Told) -> Audience:
        """Who hears of this kind of thing: asked once for many."""
        mails = bool(self._world.settings.mail.host)
        muted = db.session.scalars(select(Mute.person_id).where(Mute.event == what)).all() if mails and what not in ALWAYS else ()
        webhooks = db.session.execute(select(Webhook.id, Webhook.events))
        return Audience(mails, frozenset(muted), tuple(webhook_id for webhook_id, events in webhooks if what in events))

    def tell(self, what: Told, people: Iterable[Person], facts: dict[str, Any], link: str, audience: Audience | None = None) -> None:
        """In the caller's transaction: a mail for each of these people, and each webhook that wants to know."""
        hears, now = audience or self.audience(what), self._world.now()
        told: list[dict[str, str]] = [{"webhook_id": webhook_id} for webhook_id in hears.webhooks]
        if hears.mails:
            reached = {one.id: one for one in people if one.email and not one.is_disabled and one.id not in hears.muted}
            most = len(reached) if what in ALWAYS else MOST_TOLD
            told += [{"person_id": person_id} for person_id in list(reached)[:most]]
        db.session.add_all(Notice(event=what, facts=facts, link=link, created_at=now, next_attempt_at=now, **whom) for whom in told)

    def about_request(
        self, what: Told, request: AccessRequest, people: Iterable[Person], audience: Audience | None = None, **more: Any
    ) -> None:
        """Something about a request."""
        link = f"/emergency/{request.id}" if request.kind == "emergency" else f"/requests/{request.id}"
        self.tell(what, people, {**facts_of(request), **more}, link, audience)

    def about_grant(self, what: Told, grant: Grant, audience: Audience | None = None, **more: Any) -> None:
        """Something about a grant, to its holder."""
        until = grant.ends_at.isoformat() if grant.ends_at else ""
        self.about_request(what, grant.request, [grant.person], audience, until=until, end_reason=grant.end_reason, **more)

    def muted(self, actor: Actor) -> set[str]:
        """The events that the actor is not mailed about."""
        self._audit.require(actor, scope=READ)
        return set(db.session.scalars(select(Mute.event).where(Mute.person_id == actor.person_id)))

    def mute(self, actor: Actor, events: Sequence[str]) -> None:
        """Be mailed about all but these. Raises Invalid for what is no event, or one that everybody hears of."""
        self._audit.require(actor, scope=WRITE)
        if not actor.person_id:
            raise Invalid("Only people are mailed.")
        for event in events:
            if event not in set(Told) - ALWAYS:
                raise Invalid("%(event)s is no event that can be left out.", field="events", event=event)
        with transaction():
            db.session.execute(delete(Mute).where(Mute.person_id == actor.person_id))
            db.session.add_all(Mute(person_id=actor.person_id, event=event) for event in sorted(set(events)))
            self._audit.record(actor, Event.NOTICES_CHANGED, Target("person", actor.name), muted=sorted(set(events)))


def facts_of(request: AccessRequest) -> dict[str, Any]:
    """What a mail or a webhook says about a request."""
    return {
        "id": request.id, "kind": request.kind, "title": request.title, "requester": request.person.username,
        "requester_name": request.person.display_name, "cluster": request.cluster_name, "role": f"{request.role_kind}/{request.role_name}",
        "namespaces": list(request.namespaces), "seconds": request.seconds, "asked_seconds": request.asked_seconds,
        "asked_namespaces": list(request.asked_namespaces), "reason": request.reason, "ticket": request.ticket,
        "state": request.state, "risks": list(request.risks), "outcome": request.outcome,
    }
