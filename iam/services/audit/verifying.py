"""Verifying the chain in the database, as anybody can verify an export."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from sqlalchemy import func, inspect, select

from iam.evidence.blocks import Head
from iam.evidence.keys import KeyRing
from iam.evidence.proof import Kind, Proof, Report, Sealed
from iam.models import AuditBlock, AuditEvent, db
from iam.services.audit import streams
from iam.services.audit.filters import Filter
from iam.services.audit.signing import SigningKeys
from iam.services.audit.trail import Audit
from iam.services.base import READ, Actor, World

EVERYTHING = Filter()
GLANCE = 1000
"""Events."""


class Verifier:
    """Reads all of it, changes nothing."""

    def __init__(self, world: World, audit: Audit, keys: SigningKeys) -> None:
        self._world = world
        self._audit = audit
        self._keys = keys

    def verify(
        self, actor: Actor, trusted: Sequence[bytes] = (), anchors: Iterable[Head] = (), step: Callable[[int], None] | None = None
    ) -> Report:
        """The whole chain. Without keys of one's own, the first that the database names is trusted, which an auditor would not do.

        ``step`` is told how many events were read so far. Raises Forbidden.
        """
        self._audit.require(actor, "auditor", "administrator", scope=READ)
        named = self._keys.named()
        proof = Proof(KeyRing(trusted or [bytes.fromhex(one.public) for one in named[:1]], named), anchors=anchors)
        self._columns(proof.report)
        db.session.commit()
        reached = 0
        while (end := self._end()) > reached:  # the chain grows while it is read
            for block, events in streams.chain(EVERYTHING, reached, end):
                proof.take(block, events)
                if step:
                    step(proof.report.events)
            reached = end
        report = proof.finish(self._behind(reached))
        self._unsealed(report)
        return report

    def glance(self, actor: Actor) -> Report:
        """The last blocks only, in a moment. Raises Forbidden."""
        self._audit.require(actor, "auditor", "administrator", scope=READ)
        named, end = self._keys.named(), self._end()
        first = db.session.scalar(select(func.min(AuditBlock.first_seq)).where(AuditBlock.last_seq > end - GLANCE)) or 1
        proof = Proof(KeyRing([bytes.fromhex(one.public) for one in named[:1]], named), starts_at=0)
        for block, events in streams.chain(EVERYTHING, first - 1, end):
            proof.take(block, events)
        return proof.finish()

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
        with db.engine.connect() as connection:
            rows = connection.execute(query.where((AuditEvent.seq.is_(None)) | (AuditEvent.seq <= 0)).order_by(AuditEvent.id)).all()
        for row, seq, body, mark in rows:
            if seq is None and vault.has_marked(body.encode(), mark):
                report.unsealed += 1
            else:
                report.add(Kind.UNVOUCHED, f"Row {row} of the trail was not written by this service; it is not part of the chain.")

    def _columns(self, report: Report) -> None:
        """What is searched has to be generated from what was sealed."""
        table = AuditEvent.__table__
        found = {column["name"]: column.get("computed") for column in inspect(db.engine).get_columns(AuditEvent.__tablename__)}
        for column in table.columns:
            if column.computed is not None and not found.get(column.name):
                words = f"The column {column.name} is not generated from the events' texts any more: searches may lie."
                report.add(Kind.CHANGED, words)
