"""No change without an event: a service's transaction that changed something and recorded nothing is not committed.

It holds in production as in the tests, so a new use case that forgets its event fails the first time it is tried.
What is no change in this sense is named below, with the reason.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, CursorResult, Engine, Result, event, inspect
from sqlalchemy.orm import ORMExecuteState, Session, SessionTransaction, UOWTransaction

_CHANGED, _RECORDED, _GUARDED = "changed without an event", "has recorded an event", "is a service's transaction"
_SESSION = "kube-iam session"
_CHANGING = re.compile(r'\s*(INSERT INTO|UPDATE|DELETE FROM)\s+"?(\w+)', re.IGNORECASE)
_ASSIGNED = re.compile(r'"?(\w+)"?\s*=')
ALL, GONE = "(everything)", "(rows dropped)"

SILENT: Mapping[str, frozenset[str]] = {
    "audit_trail": frozenset({ALL}),  # the events themselves
    "audit_blocks": frozenset({ALL}),
    "audit_keys": frozenset({ALL}),
    "audit_outlets": frozenset({ALL}),
    "heartbeats": frozenset({ALL}),  # signs of life
    "failed_logins": frozenset({ALL}),  # counters; the refusal itself is an event
    "reconcile_states": frozenset({ALL}),  # what is due and how it went; effects are events
    "sync_states": frozenset({ALL}),
    "notices": frozenset({ALL}),  # the outbox: what is told follows from events, and giving up is one
    "drafts": frozenset({ALL}),  # nobody but their author sees them
    "asked": frozenset({ALL}),  # derived from request and rule
    "groups": frozenset({ALL}),  # names; who is in them and what they map to are events
    "sessions": frozenset({"last_used_at", GONE}),  # dropped long after their end
    "api_tokens": frozenset({"last_used_at", GONE}),
    "people": frozenset({"synced_at", "last_login_at", "language", "display_name"}),
    "access_requests": frozenset({"version", "chased_at", "urgent_at", "stage"}),
    "grants": frozenset({"warned_at", "warn_at"}),
    "catalogue_entries": frozenset({"risks", "missing_in"}),  # seen again on the clusters
    "approval_rules": frozenset({"position"}),
    "memberships": frozenset(),
}


class Unrecorded(RuntimeError):
    """Our own mistake: a service changed something and recorded no event."""


def watch(session: Any) -> None:
    """From now to the next commit, changes need an event."""
    session.info[_GUARDED] = True


def note_event(session: Any) -> None:
    """An event is part of this transaction."""
    session.info[_RECORDED] = True


def has_event(session: Any) -> bool:
    """Whether an event is part of this transaction."""
    return bool(session.info.get(_RECORDED))


def _note(session: Session, table: str, fields: Iterable[str]) -> None:
    silent = SILENT.get(table, frozenset())
    loud = set() if ALL in silent else set(fields) - silent
    if loud:
        session.info.setdefault(_CHANGED, set()).update(f"{table}.{field}" for field in loud)


@event.listens_for(Session, "after_flush")
def _flushed(session: Session, _context: UOWTransaction) -> None:
    for row in session.new:
        _note(session, row.__tablename__, ["(rows added)"])
    for row in session.deleted:
        _note(session, row.__tablename__, [GONE])
    for row in session.dirty:
        _note(session, row.__tablename__, (one.key for one in inspect(row).attrs if one.history.has_changes()))


@event.listens_for(Session, "do_orm_execute")
def _executed(state: ORMExecuteState) -> Result[Any] | None:
    """Statements that change many rows at once; one that found no row changed nothing."""
    if state.is_insert:
        _note(state.session, _table(state), ["(rows added)"])
    fields = _fields(state)
    if not fields:
        return None
    result = state.invoke_statement()
    if isinstance(result, CursorResult):
        if result.rowcount:
            _note(state.session, _table(state), fields)
        return result
    kept = result.freeze()
    if kept.data:
        _note(state.session, _table(state), fields)
    return kept()


def _table(state: ORMExecuteState) -> str:
    return str(getattr(getattr(state.statement, "table", None), "name", ""))


def _fields(state: ORMExecuteState) -> list[str]:
    if state.is_delete:
        return [GONE]
    if state.is_update:
        values = getattr(state.statement, "_values", None) or {"(rows)": None}
        return [str(getattr(column, "key", column)) for column in values]
    return []


@event.listens_for(Session, "after_begin")
def _remember(session: Session, _transaction: SessionTransaction, connection: Connection) -> None:
    connection.info[_SESSION] = weakref.ref(session)


@event.listens_for(Engine, "after_cursor_execute")
def _spoken(connection: Connection, cursor: Any, statement: str, _parameters: Any, _context: Any, executemany: bool) -> None:  # noqa: FBT001
    """Statements that went past the models. Those that return rows the models' own events have told of."""
    changing = _CHANGING.match(statement)
    session = connection.info.get(_SESSION, lambda: None)() if changing else None
    if changing is None or session is None or "RETURNING" in statement or not (executemany or cursor.rowcount):
        return
    fields = {"INSERT": ["(rows added)"], "DELETE": [GONE]}.get(changing[1].split()[0].upper())
    _note(session, changing[2], fields or _ASSIGNED.findall(statement.partition(" SET ")[2].partition(" WHERE ")[0]))


@event.listens_for(Session, "before_commit")
def _refuse(session: Session) -> None:
    if not session.info.get(_GUARDED):
        return
    session.flush()
    if session.info.get(_CHANGED) and not session.info.get(_RECORDED):
        raise Unrecorded(f"changed without an event: {', '.join(sorted(session.info[_CHANGED]))}")


@event.listens_for(Session, "after_transaction_end")
def _begin_anew(session: Session, transaction: SessionTransaction) -> None:
    if transaction.parent is not None:  # a savepoint: what was changed in it counts on
        return
    for name in (_CHANGED, _RECORDED, _GUARDED):
        session.info.pop(name, None)
