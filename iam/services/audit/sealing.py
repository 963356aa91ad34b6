"""The sealer: events that were committed get their number, a block its hash, its signature and its place in the chain.

Changes never wait for it. Any number of replicas may try; one at a time does, and the numbers are unique in the
database whatever happens: a sealer that dies has sealed a round whole, or nothing of it.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime, timedelta

from sqlalchemy import Row, Update, bindparam, func, insert, select, text, update

from iam import log
from iam.errors import Unavailable
from iam.evidence.blocks import LARGEST, NOTHING, Block, Head, NotABlock, head_of, seal
from iam.evidence.events import facts_of, leaf, parsed_moment
from iam.evidence.keys import KeyRing
from iam.models import AuditBlock, AuditEvent, db
from iam.services import guard
from iam.services.audit.signing import SigningKeys
from iam.services.audit.streams import unhexed
from iam.services.audit.trail import Audit, Target
from iam.services.audit.vocabulary import Event
from iam.services.base import WORKER, World, transaction
from iam.services.locks import only_one

_log = log.get(__name__)
AT_ONCE = 4096
_SLACK, _LATE = timedelta(seconds=5), timedelta(minutes=1)


_EVENTS = AuditEvent.__table__
_NUMBERED = update(_EVENTS).where(_EVENTS.c.id == bindparam("row")).values(seq=bindparam("number"))  # type: ignore[arg-type]
_NUMBERED_AT_ONCE = text("""
    UPDATE audit_trail SET seq = :before + given.place FROM unnest(CAST(:rows AS bigint[])) WITH ORDINALITY AS given(id, place)
    WHERE audit_trail.id = given.id AND audit_trail.seq IS NULL
""")
_Row = Row[int, str, str, int | None]


class Sealer:
    """Seals what waits."""

    def __init__(self, world: World, audit: Audit, keys: SigningKeys) -> None:
        self._world = world
        self._audit = audit
        self._keys = keys
        self._is_behind = self._was_behind = False

    def seal(self) -> int:
        """Everything that was committed before; returns how many events. Nothing, while another sealer is at it."""
        with only_one("audit seal") as mine:
            total, is_more = 0, mine
            known = self._before_now() if mine else None
            while is_more:
                sealed, has_told = self._round(known)
                total, is_more = total + sealed, sealed >= AT_ONCE or has_told
            return total

    def head(self) -> Head | None:
        """Where the chain ends now. Raises Unavailable where the last block is none."""
        header = db.session.scalar(select(AuditBlock.header).order_by(AuditBlock.number.desc()).limit(1))
        try:
            return head_of(Block(header.encode("utf-8", "replace"), b"", "")) if header is not None else None
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

    def _round(self, known: Head | None) -> tuple[int, bool]:
        """How many were sealed, and whether the sealer itself has told of something, which waits for the next round."""
        with transaction():
            waiting = select(AuditEvent.id, AuditEvent.body, AuditEvent.mark, AuditEvent.seq)
            found = db.session.execute(
                waiting.where(AuditEvent.seq.is_(None)).order_by(AuditEvent.id).limit(AT_ONCE).with_for_update()
            ).all()  # locked, so that a sealer that has lost its own lock waits here, and then finds them sealed
            last = self.head()
            marked = {row.id: row.body for row in found if self._world.vault.has_marked(row.body.encode("utf-8", "replace"), row.mark)}
            copies, known_texts = self.copies(list(marked.items()), known), set[str]()
            ours, forged = list[_Row](), self._ahead(last)
            for row in found:
                is_ours = row.id in marked and row.id not in copies and row.body not in known_texts
                (ours if is_ours else forged).append(row)
                known_texts |= {row.body} if is_ours else set()
            self._put_aside(forged)
            if ours:
                self._tell_of_late(ours, known)
                self._append(ours, last)
            has_told = guard.has_event(db.session)
        self._is_behind = self._was_behind
        return len(found), has_told

    def _ahead(self, last: Head | None) -> list[_Row]:
        """Rows that somebody numbered beyond the head, where they would stand in the way."""
        columns = AuditEvent.id, AuditEvent.body, AuditEvent.mark, AuditEvent.seq
        beyond = select(*columns).where(AuditEvent.seq > (last.last if last else 0)).limit(AT_ONCE)
        found, newest = db.session.execute(beyond).all(), self.head()
        reached = newest.last if newest else 0  # another sealer may just have gone on
        return [row for row in found if not row.seq or row.seq > reached]

    def copies(self, rows: Sequence[tuple[int, str]], known: Head | None) -> set[int]:
        """Those of these (row, text), some thousands at the most, that are sealed already. Each event has an id of its own, so two
        are never alike. What is sealed stands in the blocks up to the known one, which says so whatever was done to its row since;
        what was sealed after it, in rows.
        """
        moments = {row: at for row, text in rows if (at := _said_at(text))}
        if not moments:
            return set()
        is_sealed = func.coalesce(AuditEvent.seq, 0) > 0  # said so that PostgreSQL looks for the few moments, not for all that is sealed
        query = select(AuditEvent.id, AuditEvent.body).where(AuditEvent.at.in_(sorted(set(moments.values()))), is_sealed)
        sealed = {found.body: found.id for found in db.session.execute(query)}
        hashes = {row: leaf(text.encode("utf-8", "replace")) for row, text in rows}
        held = self._sealed_leaves(set(hashes.values()), min(moments.values()) - _SLACK, known)
        return {row for row, text in rows if sealed.get(text, row) != row or hashes[row] in held}

    def _sealed_leaves(self, wanted: set[bytes], since: datetime, known: Head | None) -> set[bytes]:
        """Those of these hashes that blocks hold which were sealed since then: back from the known one, each named by the next, so that no
        column has to be believed. Raises Unavailable where one of them was changed.
        """
        found, expected = set[bytes](), known.hash if known else NOTHING
        columns, newest = (AuditBlock.header, AuditBlock.leaves, AuditBlock.signature), known.number if known else 0
        query = select(*columns).where(AuditBlock.number <= newest)
        with closing(db.session.execute(query.order_by(AuditBlock.number.desc()).execution_options(yield_per=100))) as rows:
            for row in rows:
                block = Block(row.header.encode("utf-8", "replace"), unhexed(row.leaves), row.signature)
                if block.hash != expected or not block.is_whole:
                    raise Unavailable("A block of the audit trail is not what was sealed, so nothing is sealed. Run iam audit verify.")
                if parsed_moment(block.sealed_at) < since:
                    break
                found |= wanted.intersection(block.each_leaf())
                expected = block.previous
        return found

    def _tell_of_late(self, rows: Sequence[_Row], known: Head | None) -> None:
        """What waited long could have been removed unseen meanwhile: no worker was there, or somebody held it up, or held these back."""
        now = self._world.now()
        waited = {row.id: now - at for row in rows if (at := _said_at(row.body)) and now - at > _LATE}
        if known is None or not waited:
            return
        row, longest = max(waited.items(), key=lambda one: one[1])
        told = {"row": row, "seconds": round(longest.total_seconds()), "events": len(waited)}
        self._audit.record(WORKER, Event.AUDIT_LATE, Target("event", str(row)), result="failed", **told)

    def _append(self, rows: Sequence[_Row], before: Head | None) -> None:
        key, now = self._keys.current(), self._world.now()
        self._look_at_clock(before)
        first = before.last + 1 if before else 1
        blocks = []
        for start in range(0, len(rows), LARGEST):
            block = seal([row.body.encode() for row in rows[start : start + LARGEST]], before, key, now)
            before = head_of(block)
            blocks.append(_row(block))
        db.session.execute(insert(AuditBlock), blocks)
        if _number_all([row.id for row in rows], first) != len(rows):
            raise Unavailable("Another sealer was at the audit trail at the same moment; nothing was sealed twice.")

    def _put_aside(self, rows: Sequence[_Row]) -> None:
        """What this service did not write is never sealed as if it had; it stays, numbered at random below zero, and is told of."""
        for row in rows:
            digest = hashlib.sha256(row.body.encode("utf-8", "replace")).hexdigest()
            self._audit.record(WORKER, Event.AUDIT_FORGED, Target("event", str(row.id)), result="failed", row=row.id, sha256=digest)
            _log.error("an event that this service did not write was found in the database", row=row.id)
        if rows:
            _number(_NUMBERED, [(row.id, -1 - secrets.randbelow(2**62)) for row in rows])

    def _look_at_clock(self, before: Head | None) -> None:
        if before is None:
            return
        back = parsed_moment(before.sealed_at) - self._world.now()
        if back > _SLACK and not self._is_behind:
            self._audit.record(WORKER, Event.AUDIT_CLOCK, result="failed", seconds=round(back.total_seconds()))
        self._was_behind = back > _SLACK


def _row(block: Block) -> dict[str, object]:
    return {
        "number": block.number, "first_seq": block.first, "last_seq": block.last, "hash": block.hash, "header": block.header.decode(),
        "leaves": block.leaves.hex(), "signature": block.signature, "sealed_at": parsed_moment(block.sealed_at),
    }


def _number_all(rows: Sequence[int], first: int) -> int:
    """One number after the other, for those that have none yet; PostgreSQL does it at once. Returns for how many."""
    connection = db.session.connection()
    if connection.dialect.name == "postgresql":
        return connection.execute(_NUMBERED_AT_ONCE, {"rows": list(rows), "before": first - 1}).rowcount
    return _number(_NUMBERED.where(_EVENTS.c.seq.is_(None)), [(row, number) for number, row in enumerate(rows, first)])


def _number(statement: Update, numbers: Sequence[tuple[int, int]]) -> int:
    values = [{"row": row, "number": number} for row, number in numbers]
    return db.session.connection().execute(statement, values).rowcount


def _said_at(text: str) -> datetime | None:
    try:
        return parsed_moment(facts_of(text)["at"])
    except (ValueError, KeyError, TypeError):
        return None
