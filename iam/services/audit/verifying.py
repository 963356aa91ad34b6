"""Verifying the chain in the database, as anybody can verify an export."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from sqlalchemy import Engine, func, inspect, select, text
from sqlalchemy.exc import DBAPIError

from iam.errors import Unavailable
from iam.evidence.blocks import Anchor, Block, Head, NotABlock
from iam.evidence.events import moment
from iam.evidence.keys import KeyRing
from iam.evidence.proof import Kind, Proof, Report, Sealed
from iam.models import AuditBlock, AuditEvent, db
from iam.services.audit import streams
from iam.services.audit.filters import Filter
from iam.services.audit.sealing import AT_ONCE, Sealer
from iam.services.audit.signing import SigningKeys
from iam.services.audit.trail import Audit
from iam.services.base import READ, Actor, World

EVERYTHING = Filter()
GLANCE = 1000
"""Events."""
DERIVED = tuple(column.name for column in AuditEvent.__table__.columns if column.computed is not None)
_TEXTS = ", ".join(f"{name} text" for name in DERIVED)
_ROW, _RECORD = (", ".join(f"{table}.{name}" for name in DERIVED) for table in ("event", "said"))
_LIES_ON_POSTGRES = f"""
    SELECT min(event.id) AS id FROM audit_trail AS event, json_to_record(event.body::json) AS said({_TEXTS})
    WHERE ({_ROW}) IS DISTINCT FROM ({_RECORD})
"""  # noqa: S608  # names of our own columns
_DIFFERS = " OR ".join(f"{name} IS NOT json_extract(body, '$.{name}')" for name in DERIVED)
_LIES = f"SELECT min(id) AS id FROM audit_trail WHERE {_DIFFERS}"  # noqa: S608


class Verifier:
    """Reads all of it, changes nothing."""

    def __init__(self, world: World, audit: Audit, sealer: Sealer, keys: SigningKeys) -> None:
        self._world = world
        self._audit = audit
        self._sealer = sealer
        self._keys = keys

    def verify(
        self, actor: Actor, trusted: Sequence[bytes] = (), anchors: Iterable[Anchor] = (), step: Callable[[int], None] | None = None
    ) -> Report:
        """The whole chain. Without keys of one's own, the first that the database names is trusted, which an auditor would not do.

        ``step`` is told how many events were read so far. Raises Forbidden.
        """
        self._audit.require(actor, "auditor", "administrator", scope=READ)
        named = self._keys.named()
        proof = Proof(KeyRing(trusted or [bytes.fromhex(one.public) for one in named[:1]], named), anchors=anchors)
        db.session.commit()
        with ThreadPoolExecutor(1) as beside:
            lying = beside.submit(_lying_row, db.engine)
            report = proof.finish(self._all(proof, step))
            self._note_lie(report, lying)
        self._blocks(report)
        self._unsealed(report)
        self._columns(report)
        self._indexes(report)
        for stranger in self._keys.strangers():
            report.add(Kind.INSERTED, f"The public key {stranger[:16]} in the database is none of this service's.")
        return report

    def _all(self, proof: Proof, step: Callable[[int], None] | None) -> list[Sealed]:
        """To the end, also if that moves on meanwhile; returns events that stand behind the last block."""
        reached, end = 0, self._end()
        while True:
            for block, events in streams.chain(EVERYTHING, reached, end):
                proof.take(block, events)
                if step:
                    step(proof.report.events)
            reached, behind, end = end, self._behind(end), self._end()
            if end == reached:
                return behind

    def _note_lie(self, report: Report, lying: Future[tuple[int, int | None] | None]) -> None:
        try:
            lie = lying.result()
        except DBAPIError:
            report.add(Kind.CHANGED, "A row's text is not JSON, so its columns cannot be compared.")
            return
        if lie:
            row, seq = lie
            words = f"The columns of row {row} do not say what its text says: searches lie about it."
            report.add(Kind.CHANGED, words, seq=seq or 0)

    def glance(self, actor: Actor) -> Report:
        """The last blocks only, in a moment. Raises Forbidden."""
        self._audit.require(actor, "auditor", "administrator", scope=READ)
        named, end = self._keys.named(), self._end()
        first = db.session.scalar(select(func.min(AuditBlock.first_seq)).where(AuditBlock.last_seq > end - GLANCE)) or 1
        proof = Proof(KeyRing([bytes.fromhex(one.public) for one in named[:1]], named), starts_at=0)
        for block, events in streams.chain(EVERYTHING, first - 1, end):
            proof.take(block, events)
        return proof.finish()

    def size(self) -> int:
        """About how many events there are to verify, whatever somebody has done to the blocks."""
        return db.session.scalar(select(func.max(AuditEvent.seq)).where(AuditEvent.seq > 0)) or 0

    def _end(self) -> int:
        with db.engine.connect() as connection:
            return connection.scalar(select(func.max(AuditBlock.last_seq))) or 0

    def _behind(self, last: int) -> list[Sealed]:
        query = select(AuditEvent.seq, AuditEvent.body).where(AuditEvent.seq > last).order_by(AuditEvent.seq).limit(100)
        with db.engine.connect() as connection:
            return [(row.seq or 0, row.body.encode()) for row in connection.execute(query)]

    def _unsealed(self, report: Report) -> None:
        """What waits for the sealer has to carry our mark; what it has put aside did not."""
        vault = self._world.vault
        query = select(AuditEvent.id, AuditEvent.seq, AuditEvent.body, AuditEvent.mark)
        query = query.where((AuditEvent.seq.is_(None)) | (AuditEvent.seq <= 0)).order_by(AuditEvent.id)
        try:
            head = self._sealer.head()
        except Unavailable:
            head = None  # the chain itself says so
        with db.engine.connect() as connection:
            for rows in connection.execution_options(yield_per=AT_ONCE).execute(query).partitions():
                copies = self._copies([(row, body) for row, seq, body, _mark in rows if seq is None], head)
                for row, seq, body, mark in rows:
                    if seq is None and row not in copies and vault.has_marked(body.encode("utf-8", "replace"), mark):
                        report.unsealed += 1
                    else:
                        words = f"Row {row} of the trail was not written by this service; it is not part of the chain."
                        report.add(Kind.UNVOUCHED, words)

    def _copies(self, rows: Sequence[tuple[int, str]], head: Head | None) -> set[int]:
        try:
            return self._sealer.copies(rows, head)
        except Unavailable:  # a block was changed, as the chain itself says
            return set()

    def _blocks(self, report: Report) -> None:
        """The columns of a block, by which it is found, have to say what its header says."""
        columns = AuditBlock.number, AuditBlock.first_seq, AuditBlock.last_seq, AuditBlock.hash, AuditBlock.sealed_at, AuditBlock.header
        for row in db.session.execute(select(*columns).order_by(AuditBlock.number).execution_options(yield_per=1000)):
            block = Block(row.header.encode("utf-8", "replace"), b"", "")
            try:
                said = (block.number, block.first, block.last, block.hash, block.sealed_at)
            except NotABlock:
                if not any(finding.block == row.number for finding in report.findings):
                    report.add(Kind.BLOCK_CHANGED, f"Row {row.number} of the blocks is none.", block=max(row.number, 0))
                continue
            if said != (row.number, row.first_seq, row.last_seq, row.hash, moment(row.sealed_at)):
                words = f"The columns of block {block.number} do not say what its header says: exports would miss events."
                report.add(Kind.BLOCK_CHANGED, words, block=max(row.number, 0))

    def _columns(self, report: Report) -> None:
        """What is searched has to be generated from what was sealed."""
        found = {column["name"]: column.get("computed") for column in inspect(db.engine).get_columns(AuditEvent.__tablename__)}
        for name in DERIVED:
            if not found.get(name):
                words = f"The column {name} is not generated from the events' texts any more: searches may lie."
                report.add(Kind.CHANGED, words)


    def _indexes(self, report: Report) -> None:
        """What is found through an index has to be all that the table holds. SQLite tells; PostgreSQL has amcheck for its administrator."""
        if db.engine.dialect.name != "sqlite":
            return
        with db.engine.connect() as connection:
            told: Sequence[str] = connection.execute(text(f"PRAGMA integrity_check('{AuditEvent.__tablename__}')")).scalars().all()
        for words in told[:10] if told != ["ok"] else ():
            report.add(Kind.CHANGED, f"The database's own check of the trail: {words}.")


def _lying_row(engine: Engine) -> tuple[int, int | None] | None:
    """(row, number) of the first event whose columns say something else than its text."""
    with engine.connect() as connection:
        found = connection.execute(text(_LIES_ON_POSTGRES if connection.dialect.name == "postgresql" else _LIES)).one()
        if found.id is None:
            return None
        return found.id, connection.scalar(select(AuditEvent.seq).where(AuditEvent.id == found.id))
