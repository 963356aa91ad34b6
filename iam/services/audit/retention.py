"""Retention: events of old blocks are removed, the blocks stay as their hashes, and an event says what was removed."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, select, update

from iam.models import AuditBlock, AuditEvent, AuditOutlet, db
from iam.services.audit.trail import Audit, Target
from iam.services.audit.vocabulary import Event
from iam.services.base import WORKER, World, transaction
from iam.services.locks import only_one

AT_ONCE = 100
"""Blocks of one transaction."""


class Retention:
    """Removes what is older than the settings keep."""

    def __init__(self, world: World, audit: Audit) -> None:
        self._world = world
        self._audit = audit

    def prune(self) -> int:
        """Remove what is due, and nothing that a forwarder has not passed on yet; returns how many events."""
        days = self._world.settings.audit.keep_days
        with only_one("audit retention") as mine:
            total = 0
            while mine and days and (removed := self._some(days)):
                total += removed
            return total

    def _some(self, days: int) -> int:
        due = select(AuditBlock.number, AuditBlock.first_seq, AuditBlock.last_seq).where(
            AuditBlock.has_events, AuditBlock.sealed_at < self._world.now() - timedelta(days=days), AuditBlock.last_seq <= self._forwarded()
        )
        with transaction():
            blocks = db.session.execute(due.order_by(AuditBlock.number).limit(AT_ONCE)).all()
            if not blocks:
                return 0
            first, last = blocks[0].first_seq, blocks[-1].last_seq
            db.session.execute(delete(AuditEvent).where(AuditEvent.seq >= first, AuditEvent.seq <= last))
            db.session.execute(update(AuditBlock).where(AuditBlock.number <= blocks[-1].number).values(has_events=False))
            self._audit.record(WORKER, Event.AUDIT_PRUNED, Target("audit", "retention"), first=1, last=last, block=blocks[-1].number)
            return int(last - first + 1)

    def _forwarded(self) -> int:
        """Up to where every forwarder that is configured has come."""
        names = [f"forward {one.name}" for one in self._world.settings.audit.forward]
        if not names:
            return 2**62
        positions = dict(db.session.execute(select(AuditOutlet.name, AuditOutlet.position).where(AuditOutlet.name.in_(names))).tuples())
        return min(positions.get(name, 0) for name in names)
