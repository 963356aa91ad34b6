"""The sealer: events that were committed get their number, a block its hash, its signature and its place in the chain.

Changes never wait for it. Any number of replicas may try; one at a time does, and the numbers are unique in the
database whatever happens: a sealer that dies has sealed a round whole, or nothing of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Row, bindparam, func, insert, select, update

from iam import log
from iam.errors import Unavailable
from iam.evidence.blocks import LARGEST, Block, Head, NotABlock, head_of, seal
from iam.evidence.events import facts_of, parsed_moment
from iam.evidence.keys import KeyRing
from iam.models import AuditBlock, AuditEvent, db
from iam.services.audit.signing import SigningKeys
from iam.services.audit.trail import Audit, Target
from iam.services.audit.vocabulary import Event
from iam.services.base import WORKER, World, transaction
from iam.services.locks import only_one

_log = log.get(__name__)
AT_ONCE = 4096
_SLACK, _LATE = timedelta(seconds=5), timedelta(minutes=10)


_Row = Row[int, str, str, int | None]


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
            total, is_more = 0, mine
            known = self._before_now() if mine else None
            while is_more:
                sealed = self._round(known)
                total, is_more = total + sealed, sealed >= AT_ONCE
            return total

    def head(self) -> Head | None:
        """Where the chain ends now. Raises Unavailable where the last block is none."""
        header = db.session.scalar(select(AuditBlock.header).order_by(AuditBlock.number.desc()).limit(1))
        try:
            return head_of(Block(header.encode(), b"", "")) if header is not None else None
        except NotABlock:
            raise Unavailable("The last block of the audit trail cannot be read. Run iam audit verify.") from None

    def waiting(self) -> int:
        """How many events are not sealed yet."""
        return db.session.scalar(select(func.count()).select_from(AuditEvent).where(AuditEvent.seq.is_(None))) or 0

    def _before_now(self) -> Head | None:
        """The head that is gone on from: what it holds has to be ours. Raises Unavailable."""
        row = db.session.scalars(select(AuditBlock).order_by(AuditBlock.number.desc()).limit(1)).one_or_none()
        if row is None:
            return None
        head = self.head()
        block = row.block
        named = self._keys.lineage()
        ring = KeyRing([bytes.fromhex(one.public) for one in named])
        is_ours = ring.has_signed(block.key, block.header, block.signature) and block.is_whole
        if not is_ours or (row.number, row.last_seq) != (block.number, block.last):
            raise Unavailable("The last block of the audit trail is not what was sealed, so nothing is sealed. Run iam audit verify.")
        return head

    def _round(self, known: Head | None) -> int:
        with transaction():
            waiting = select(AuditEvent.id, AuditEvent.body, AuditEvent.mark, AuditEvent.seq)
            last = self.head()
            found = db.session.execute(waiting.where(AuditEvent.seq.is_(None)).order_by(AuditEvent.id).limit(AT_ONCE)).all()
            ahead = db.session.execute(waiting.where(AuditEvent.seq > (last.last if last else 0)).limit(AT_ONCE)).all()
            known_texts = self.sealed_before([row.body for row in found])
            ours, forged = list[_Row](), list[_Row](ahead)
            for row in found:
                is_ours = row.body not in known_texts and self._world.vault.has_marked(row.body.encode("utf-8", "replace"), row.mark)
                (ours if is_ours else forged).append(row)
                known_texts.add(row.body)
            self._put_aside(forged)
            if ours:
                self._tell_of_late(ours, known)
                self._append(ours)
        return len(found)

    def sealed_before(self, texts: Sequence[str]) -> set[str]:
        """Texts that a sealed event has already: a copy of it was put back. Each has an id of its own, so two are never alike."""
        moments = sorted({at for text in texts if (at := _said_at(text))})
        query = select(AuditEvent.body).where(AuditEvent.at.in_(moments), AuditEvent.seq.is_not(None))
        return set(db.session.scalars(query)).intersection(texts) if moments else set()

    def _tell_of_late(self, rows: Sequence[_Row], known: Head | None) -> None:
        """An event from long before the last block was held back, or put back after it had been removed."""
        if known is None:
            return
        for row in rows:
            at = _said_at(row.body)
            if at and at < parsed_moment(known.sealed_at) - _LATE:
                seconds = round((self._world.now() - at).total_seconds())
                self._audit.record(WORKER, Event.AUDIT_LATE, Target("event", str(row.id)), result="failed", row=row.id, seconds=seconds)

    def _append(self, rows: Sequence[_Row]) -> None:
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

    def _put_aside(self, rows: Sequence[_Row]) -> None:
        """What this service did not write is never sealed as if it had; it stays, numbered below zero, and is told of."""
        for row in rows:
            digest = hashlib.sha256(row.body.encode("utf-8", "replace")).hexdigest()
            self._audit.record(WORKER, Event.AUDIT_FORGED, Target("event", str(row.id)), result="failed", row=row.id, sha256=digest)
            _log.error("an event that this service did not write was found in the database", row=row.id)
        if rows:
            self._number([{"row": row.id, "number": -2 * abs(row.id) - (row.id < 0)} for row in rows])

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


def _said_at(text: str) -> datetime | None:
    try:
        return parsed_moment(facts_of(text)["at"])
    except (ValueError, KeyError, TypeError):
        return None
