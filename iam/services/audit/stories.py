"""What happened because of what: from a request over decisions and bindings to the certificates that used it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice

from sqlalchemy import ColumnElement, and_, or_, select

from iam.errors import NotFound
from iam.models import AccessRequest, AuditBlock, AuditEvent, Grant, db
from iam.models.audit import says
from iam.services.audit.trail import NOT_ASIDE, Audit
from iam.services.audit.vocabulary import Event
from iam.services.base import READ, Actor

MOST = 500
_NOTED = timedelta(minutes=1)
"""A grant is seen to be gone a moment before its reconcile is on record."""


@dataclass(frozen=True)
class Story:
    """All that came of one access request, the oldest event first."""

    request: AccessRequest
    grant: Grant | None
    events: Sequence[AuditEvent]
    is_cut: bool
    """Whether there is more than is shown."""


class Stories:
    """Use cases about what belongs together."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit

    def of_case(self, actor: Actor, case: str) -> Story:
        """One request, its decisions, its grant, what the clusters did about it, certificates taken while it ran. Raises NotFound."""
        self._audit.require(actor, "auditor", "administrator", scope=READ)
        request = db.session.get(AccessRequest, case)
        if request is None:
            raise NotFound("There is no such request.")
        grant = db.session.scalar(select(Grant).filter_by(request_id=case))
        belongs = [says(AuditEvent.case_id, case), *([_effects(request, grant)] if grant and grant.activated_at else [])]
        query = select(AuditEvent).where(or_(*belongs), NOT_ASIDE).order_by(AuditEvent.id)
        concerning = (one for one in db.session.scalars(query.execution_options(yield_per=MOST)) if _concerns(one, grant))
        found = list(islice(concerning, MOST + 1))
        return Story(request, grant, found[:MOST], len(found) > MOST)

    def around(self, actor: Actor, event: AuditEvent) -> Sequence[AuditEvent]:
        """What else happened in the same call, for those who see everything."""
        if not event.request_id or not actor.has("auditor", "administrator"):
            return []
        query = select(AuditEvent).where(says(AuditEvent.request_id, event.request_id), AuditEvent.id != event.id, NOT_ASIDE)
        return db.session.scalars(query.order_by(AuditEvent.id).limit(20)).all()

    def block_of(self, event: AuditEvent) -> AuditBlock | None:
        """The block that seals it, if it is sealed."""
        if event.seq is None or event.seq < 1:
            return None
        return db.session.scalar(select(AuditBlock).where(AuditBlock.last_seq >= event.seq).order_by(AuditBlock.last_seq).limit(1))


def _effects(request: AccessRequest, grant: Grant) -> ColumnElement[bool]:
    """While it ran: certificates for its holder in its cluster; and reconciles there, of which some changed its bindings."""
    ran = [says(AuditEvent.cluster, grant.cluster_name), AuditEvent.at >= grant.activated_at]
    if over := grant.gone_at or grant.ended_at:
        ran.append(AuditEvent.at <= over + _NOTED)
    taken = and_(AuditEvent.action == Event.CREDENTIAL_ISSUED.value, says(AuditEvent.person, request.person.username))
    return and_(*ran, or_(taken, AuditEvent.action == Event.CLUSTER_RECONCILED.value))


def _concerns(event: AuditEvent, grant: Grant | None) -> bool:
    return event.action != Event.CLUSTER_RECONCILED.value or (grant is not None and grant.id in event.details.get("grants", ()))
