"""Recording: one event in the transaction of each change, every refusal too; and reading them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

from sqlalchemy import ColumnElement, Select, event, insert, literal, or_, select, tuple_
from sqlalchemy.orm import Session, SessionTransaction

from iam import log
from iam.errors import Conflict, Forbidden, Hidden, NotFound, Problem
from iam.evidence.events import text_of
from iam.kube.names import printable
from iam.models import AuditEvent, db, new_id
from iam.models.audit import Moment, says
from iam.services import guard
from iam.services.audit.filters import Filter
from iam.services.audit.vocabulary import Event
from iam.services.base import READ, Actor, World, transaction
from iam.settings import Role

_log = log.get(__name__)
_TO_STORE, _TO_LOG = "audit events to store", "audit events to log"
_ADDED = insert(AuditEvent.__table__).inline()  # type: ignore[arg-type]


@event.listens_for(Session, "before_commit")
def _store_recorded(session: Session) -> None:
    """In one statement, past the unit of work: every change waits for it, and what changes much tells much."""
    if rows := session.info.pop(_TO_STORE, None):
        session.connection().execute(_ADDED, rows)


@event.listens_for(Session, "after_commit")
def _log_committed(session: Session) -> None:
    """The log says what happened, so it waits for the commit."""
    for facts in session.info.pop(_TO_LOG, ()):
        _log.info("audit", **facts)


@event.listens_for(Session, "after_transaction_end")
def _forget(session: Session, transaction: SessionTransaction) -> None:
    """What was not committed did not happen."""
    if transaction.parent is None:
        session.info.pop(_TO_STORE, None)
        session.info.pop(_TO_LOG, None)


@dataclass(frozen=True, slots=True)
class Target:
    """What an event is about."""

    kind: str
    name: str
    cluster: str = ""
    person: str = ""
    """The username of whom it concerns; a target that is a person concerns that one."""
    case: str = ""
    """The access request whose story this belongs to."""


NOTHING = Target("", "")
NOT_ASIDE = or_(AuditEvent.seq.is_(None), AuditEvent.seq > 0)
"""As a condition: events that the sealer has not put aside as none of ours."""


class Audit:
    """Writes and reads events."""

    def __init__(self, world: World) -> None:
        self._now = world.now
        self._vault = world.vault

    def record(
        self, actor: Actor, what: Event, target: Target = NOTHING, *, result: str = "done", reason: str = "", **details: Any
    ) -> None:
        """Add an event to the current transaction, which stores it when it commits."""
        unknown = details.keys() - what.fields
        if unknown:
            raise TypeError(f"the vocabulary has no field {sorted(unknown)} of {what}")
        facts = {
            "id": new_id(), "at": self._now(), "action": what.value, "result": result, "reason": printable(reason, 500),
            "actor_name": printable(actor.name, 255), "actor_id": actor.person_id, "door": actor.door,
            "address": printable(actor.address, 64), "request_id": printable(actor.request_id, 64), "target_kind": target.kind,
            "target_name": printable(target.name, 255),
            "person": printable(target.person or (target.name if target.kind == "person" else ""), 255), "case_id": target.case,
            "cluster": printable(target.cluster, 63), "details": details,
        }  # fmt: skip
        self._store(text_of(facts))
        guard.note_event(db.session)
        said = {"actor": facts["actor_name"], "target": facts["target_name"], "cluster": facts["cluster"]}
        db.session.info.setdefault(_TO_LOG, []).append({"action": what.value, "result": result, **said})

    def _store(self, text: str) -> None:
        session = db.session()
        session.info.setdefault(_TO_STORE, []).append({"body": text, "mark": self._vault.mark(text.encode())})
        if session.in_nested_transaction():  # what a savepoint undoes goes with it
            _store_recorded(session)

    def downloaded(self, actor: Actor, target: Target) -> None:
        """Record that a file is handed out."""
        with transaction():
            self.record(actor, Event.DOWNLOADED, target, path=actor.path)

    def failed(self, actor: Actor, what: Event, target: Target, problem: Problem, **details: Any) -> None:
        """Record, in a transaction of its own, that something was tried and did not work."""
        result = "refused" if problem.status in {401, 403, 404, 409, 422, 429} else "failed"
        problem.is_recorded = True
        if what is Event.ACCESS_DENIED:
            details = {"path": actor.path} | details
        db.session.rollback()
        with transaction():
            self.record(actor, what, target, result=result, reason=str(problem), **details)

    def refuse(self, actor: Actor, message: str, target: Target = NOTHING, **params: str) -> NoReturn:
        """Record a refusal and raise Forbidden."""
        problem = Forbidden(message, **params)
        self.failed(actor, Event.ACCESS_DENIED, target, problem)
        raise problem

    def turned_away(self, actor: Actor, problem: Problem, target: Target = NOTHING) -> None:
        """Record a refusal that is on its way out."""
        self.failed(actor, Event.ACCESS_DENIED, target, problem)

    @contextmanager
    def telling(self, actor: Actor, target: Callable[[], Target]) -> Iterator[None]:
        """What is refused in here is told with what it was about, conflicts too."""
        try:
            yield
        except (Forbidden, Hidden, Conflict) as problem:
            if not problem.is_recorded:
                self.turned_away(actor, problem, target())
            raise

    def require(self, actor: Actor, *roles: Role, scope: str, target: Target = NOTHING) -> None:
        """Go on only if the actor holds one of the roles and the credential in hand the scope."""
        if scope not in actor.scopes:
            self.refuse(actor, "This token does not carry the scope %(scope)s.", target, scope=scope)
        if roles and not actor.has(*roles):
            self.refuse(actor, "This needs the role %(roles)s.", target, roles=" / ".join(roles))

    def list(self, actor: Actor, wanted: Filter) -> Sequence[AuditEvent]:
        """Newest first; auditors and administrators see all, everybody else what they did themselves. Raises Invalid."""
        self.require(actor, scope=READ)
        wanted.check()
        query = wanted.narrow(select(AuditEvent).where(NOT_ASIDE))
        if not actor.has("auditor", "administrator"):
            query = query.where(says(AuditEvent.actor_id, actor.person_id), AuditEvent.actor_id != "")
        return db.session.scalars(_page(query, wanted)).all()

    def get(self, actor: Actor, row: int) -> AuditEvent:
        """One event. Raises NotFound, also for those that the actor may not see."""
        self.require(actor, scope=READ)
        found = db.session.get(AuditEvent, row) if 0 < row < 2**63 else None
        if found is None:
            raise NotFound("There is no such event.")
        if not (actor.has("auditor", "administrator") or (actor.person_id and found.actor_id == actor.person_id)):
            raise Hidden("There is no such event.")
        return found

    def newest(self, what: Event, *which: ColumnElement[bool]) -> AuditEvent | None:
        """The last event of this kind, for decisions that rest on it: one that carries our mark, whatever else stands in the table."""
        query = select(AuditEvent).where(AuditEvent.action == what.value, NOT_ASIDE, *which).order_by(AuditEvent.id.desc())
        with closing(db.session.scalars(query.execution_options(yield_per=10))) as rows:
            return next((row for row in rows if self._vault.has_marked(row.body.encode("utf-8", "replace"), row.mark)), None)


def _page(query: Select[AuditEvent], wanted: Filter) -> Select[AuditEvent]:
    """In the order of writing; where a time was asked for, in the order of the times that events say, which an index answers."""
    order, is_by_time = (AuditEvent.at, AuditEvent.id), bool(wanted.since or wanted.until)
    if wanted.before is not None:
        last = db.session.scalar(select(AuditEvent.at).where(AuditEvent.id == wanted.before)) if is_by_time else None
        is_older = tuple_(*order) < tuple_(literal(last, Moment), literal(wanted.before)) if last else AuditEvent.id < wanted.before
        query = query.where(is_older)
    return query.order_by(*(column.desc() for column in (order if is_by_time else order[1:]))).limit(wanted.limit)
