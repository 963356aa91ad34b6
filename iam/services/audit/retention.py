"""Retention: an event says what is to be removed; when that is sealed, the events go, and their blocks stay as their hashes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import islice, takewhile
from typing import Any

from sqlalchemy import delete, select, update

from iam import log
from iam.evidence.blocks import Block
from iam.evidence.events import moment
from iam.evidence.keys import KeyRing
from iam.models import AuditBlock, AuditEvent, AuditOutlet, db
from iam.services.audit.sealing import Sealer
from iam.services.audit.signing import SigningKeys
from iam.services.audit.trail import Audit, Target
from iam.services.audit.vocabulary import Event
from iam.services.base import WORKER, World, transaction
from iam.services.locks import only_one

_log = log.get(__name__)
AT_ONCE = 100
"""Blocks read at once; each is emptied in a transaction of its own."""


class Retention:
    """Removes what is older than the settings keep."""

    def __init__(self, world: World, audit: Audit, sealer: Sealer, keys: SigningKeys) -> None:
        self._world = world
        self._audit = audit
        self._sealer = sealer
        self._keys = keys

    def prune(self) -> int:
        """Remove what is due, and nothing that a forwarder has not passed on yet; returns how many events."""
        with only_one("audit retention") as mine:
            if not mine or not self._world.settings.audit.keep_days:
                return 0
            self._announce()
            upto, total = self.announced(), 0
            while batch := list(islice(self._due(upto), AT_ONCE)):
                total += sum(map(self._remove, batch))
            return total

    def said(self) -> dict[str, Any] | None:
        """What was removed at the most: up to which event, and sealed before when. For a manifest; None if nothing was."""
        event = self._audit.newest(Event.AUDIT_PRUNED, AuditEvent.seq > 0)
        if event is None:
            return None
        before = event.at - timedelta(days=int(event.details["keep_days"]))
        return {"last": int(event.details["last"]), "before": moment(before)}

    def announced(self) -> int:
        """Up to where a sealed event of ours says that events are removed; 0 for nothing."""
        event = self._audit.newest(Event.AUDIT_PRUNED, AuditEvent.seq > 0)
        return int(event.details["last"]) if event else 0

    def _announce(self) -> None:
        days = self._world.settings.audit.keep_days
        before, upto = moment(self._world.now() - timedelta(days=days)), self._forwarded()
        last = max(takewhile(lambda block: block.sealed_at < before, self._due(upto)), key=lambda block: block.number, default=None)
        if last is None or last.last <= self.announced():
            return
        with transaction():
            target = Target("audit", "retention")
            self._audit.record(WORKER, Event.AUDIT_PRUNED, target, first=1, last=last.last, block=last.number, keep_days=days)
        self._sealer.seal()

    def _due(self, upto: int) -> Iterator[Block]:
        """Blocks up to there that still have events, as their signed headers say, not as the columns do."""
        ring = KeyRing([bytes.fromhex(one.public) for one in self._keys.named()])
        rows = db.session.scalars(select(AuditBlock).where(AuditBlock.has_events).order_by(AuditBlock.number)).yield_per(AT_ONCE)
        for row in rows:
            block = row.block
            if not ring.has_signed(block.key, block.header, block.signature) or row.number != block.number:
                _log.error("a block of the audit trail is not what was sealed; nothing behind it is removed", block=row.number)
                return
            if block.last > upto:
                return
            yield block

    def _remove(self, block: Block) -> int:
        with transaction():
            db.session.execute(delete(AuditEvent).where(AuditEvent.seq >= block.first, AuditEvent.seq <= block.last))
            db.session.execute(update(AuditBlock).where(AuditBlock.number == block.number).values(has_events=False))
        return block.last - block.first + 1

    def _forwarded(self) -> int:
        """Up to where every forwarder that is configured has come."""
        names = [f"forward {one.name}" for one in self._world.settings.audit.forward]
        outlets = db.session.scalars(select(AuditOutlet).where(AuditOutlet.name.in_(names)))
        positions = {outlet.name: outlet.position for outlet in outlets}
        return min((positions.get(name, 0) for name in names), default=2**62)
