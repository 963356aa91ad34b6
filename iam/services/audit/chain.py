"""The chain at a glance, for pages, programs and metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select

from iam.errors import Unavailable
from iam.evidence.events import parsed_moment
from iam.models import AuditEvent, db
from iam.services.audit.sealing import Sealer
from iam.services.audit.trail import NOT_ASIDE, Audit
from iam.services.audit.vocabulary import Event
from iam.services.base import READ, Actor, World

LATE = timedelta(seconds=30)
"""After which an event that is not sealed is a sign that no worker seals."""


@dataclass(frozen=True, slots=True)
class State:
    """How the chain is now."""

    events: int
    blocks: int
    hash: str
    sealed_at: datetime | None
    waiting: int
    is_late: bool
    """Whether something has waited too long."""
    put_aside: int
    """Rows that this service did not write."""
    is_broken: bool = False
    """Whether the last block cannot even be read."""

    @property
    def is_good(self) -> bool:
        """Whether nothing wants a look."""
        return not (self.is_late or self.put_aside or self.is_broken)


class Chain:
    """Looks at the chain, without verifying it."""

    def __init__(self, world: World, audit: Audit, sealer: Sealer) -> None:
        self._world = world
        self._audit = audit
        self._sealer = sealer

    def state(self, actor: Actor) -> State:
        """For auditors and administrators. Raises Forbidden."""
        self._audit.require(actor, "auditor", "administrator", scope=READ)
        try:
            head, is_broken = self._sealer.head(), False
        except Unavailable:
            head, is_broken = None, True
        unsealed = AuditEvent.seq.is_(None)
        oldest = db.session.scalar(select(AuditEvent.at).where(unsealed).order_by(AuditEvent.id).limit(1))
        aside = db.session.scalar(select(func.count()).select_from(AuditEvent).where(AuditEvent.seq <= 0)) or 0
        is_late = oldest is not None and self._world.now() - oldest > LATE
        waiting = self._sealer.waiting()
        if head is None:
            return State(0, 0, "", None, waiting, is_late, aside, is_broken)
        return State(head.last, head.number, head.hash, parsed_moment(head.sealed_at), waiting, is_late, aside)

    def exported(self, actor: Actor, most: int = 20) -> Sequence[AuditEvent]:
        """The exports of late, the newest first."""
        self._audit.require(actor, "auditor", "administrator", scope=READ)
        done = AuditEvent.action == Event.AUDIT_EXPORTED.value, NOT_ASIDE
        return db.session.scalars(select(AuditEvent).where(*done).order_by(AuditEvent.id.desc()).limit(most)).all()
