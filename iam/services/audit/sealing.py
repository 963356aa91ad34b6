"""The sealer: events that were committed get their number, a block its hash, its signature and its place in the chain.

Changes never wait for it. Any number of replicas may try; one at a time does, and the numbers are unique in the
database whatever happens: a sealer that dies has sealed a round whole, or nothing of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import Row, bindparam, func, insert, select, update

from iam import log
from iam.evidence.blocks import LARGEST, Block, Head, head_of, seal
from iam.evidence.events import parsed_moment
from iam.models import AuditBlock, AuditEvent, db
from iam.services.audit.signing import SigningKeys
from iam.services.audit.trail import Audit, Target
from iam.services.audit.vocabulary import Event
from iam.services.base import WORKER, World, transaction
from iam.services.locks import only_one

_log = log.get(__name__)
AT_ONCE = 4096
_SLACK = timedelta(seconds=5)


class Sealer:
    """Seals what waits."""

    def __init__(self, world: World, audit: Audit, keys: SigningKeys) -> None:
        self._world = world
        self._audit = audit
        self._keys = keys
        self._is_behind = False

    def seal(self) -> int:
        """Everything that was committed before; returns how many events. Nothing, while another sealer is at it."""
        with only_one("audit seal") as mine:
            total = 0
            while mine and (sealed := self._round()):
                total += sealed
            return total

    def head(self) -> Head | None:
        """Where the chain ends now."""
        header = db.session.scalar(select(AuditBlock.header).order_by(AuditBlock.number.desc()).limit(1))
        return head_of(Block(header.encode(), b"", "")) if header else None

    def waiting(self) -> int:
        """How many events are not sealed yet."""
        return db.session.scalar(select(func.count()).select_from(AuditEvent).where(AuditEvent.seq.is_(None))) or 0

    def _round(self) -> int:
        with transaction():
            waiting = select(AuditEvent.id, AuditEvent.body, AuditEvent.mark).where(AuditEvent.seq.is_(None)).order_by(AuditEvent.id)
            found = db.session.execute(waiting.limit(AT_ONCE)).all()
            ours = [row for row in found if self._world.vault.has_marked(row.body.encode(), row.mark)]
            self._put_aside([row for row in found if row not in ours] if len(ours) < len(found) else [])
            if ours:
                self._append(ours)
        return len(found)

    def _append(self, rows: Sequence[Row[int, str, str]]) -> None:
        before, key, now = self.head(), self._keys.current(), self._world.now()
        self._look_at_clock(before)
        first = before.last + 1 if before else 1
        blocks = []
        for start in range(0, len(rows), LARGEST):
            block = seal([row.body.encode() for row in rows[start : start + LARGEST]], before, key, now)
            before = head_of(block)
            blocks.append(_row(block))
        db.session.execute(insert(AuditBlock), blocks)
        self._number([{"row": row.id, "number": first + place} for place, row in enumerate(rows)])

    def _number(self, numbers: list[dict[str, int]]) -> None:
        events = AuditEvent.__table__
        numbered = update(events).where(events.c.id == bindparam("row")).values(seq=bindparam("number"))  # type: ignore[arg-type]
        db.session.connection().execute(numbered, numbers)

    def _put_aside(self, rows: Sequence[Row[int, str, str]]) -> None:
        """What this service did not write is never sealed as if it had; it stays, numbered below zero, and is told of."""
        for row in rows:
            digest = hashlib.sha256(row.body.encode()).hexdigest()
            self._audit.record(WORKER, Event.AUDIT_FORGED, Target("event", str(row.id)), result="failed", row=row.id, sha256=digest)
            _log.error("an event that this service did not write was found in the database", row=row.id)
        if rows:
            self._number([{"row": row.id, "number": -row.id} for row in rows])

    def _look_at_clock(self, before: Head | None) -> None:
        if before is None:
            return
        back = parsed_moment(before.sealed_at) - self._world.now()
        if back > _SLACK and not self._is_behind:
            self._audit.record(WORKER, Event.AUDIT_CLOCK, result="failed", seconds=round(back.total_seconds()))
        self._is_behind = back > _SLACK


def _row(block: Block) -> dict[str, object]:
    return {
        "number": block.number, "first_seq": block.first, "last_seq": block.last, "hash": block.hash, "header": block.header.decode(),
        "leaves": block.leaves.hex(), "signature": block.signature, "sealed_at": parsed_moment(block.sealed_at),
    }
