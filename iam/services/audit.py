"""The audit trail: a closed vocabulary, one event in the transaction of each change, every refusal too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NoReturn

from sqlalchemy import event, select
from sqlalchemy.orm import Session

from iam import log
from iam.errors import Forbidden, Invalid, Problem
from iam.kube.names import printable
from iam.models import AuditEvent, db
from iam.services.base import READ, Actor, World, transaction
from iam.settings import Role

_log = log.get(__name__)
PAGE = 100
_PENDING = "audit events to log"
_MAX_ID = 2**63 - 1


@event.listens_for(Session, "after_commit")
def _log_committed(session: Session) -> None:
    """The log says what happened, so it waits for the commit."""
    for facts in session.info.pop(_PENDING, ()):
        _log.info("audit", **facts)


@event.listens_for(Session, "after_rollback")
def _forget(session: Session) -> None:
    session.info.pop(_PENDING, None)


class Event(StrEnum):
    """Everything that can happen."""

    LOGIN = "login"
    LOGOUT = "logout"
    SESSION_ENDED = "session.ended"
    PERSON_CREATED = "person.created"
    PERSON_CHANGED = "person.changed"
    PERSON_DISABLED = "person.disabled"
    PERSON_ENABLED = "person.enabled"
    ACCOUNT_CREATED = "account.created"
    ACCOUNT_CHANGED = "account.changed"
    SYNC_STOPPED = "sync.stopped"
    SYNC_RESUMED = "sync.resumed"
    TOKEN_CREATED = "token.created"
    TOKEN_REVOKED = "token.revoked"
    CLUSTER_REGISTERED = "cluster.registered"
    CLUSTER_CHANGED = "cluster.changed"
    CLUSTER_REMOVED = "cluster.removed"
    CLUSTER_PROBED = "cluster.probed"
    CLUSTER_RECONCILED = "cluster.reconciled"
    CLUSTER_AWAY = "cluster.away"
    MAPPING_CREATED = "mapping.created"
    MAPPING_REMOVED = "mapping.removed"
    CREDENTIAL_ISSUED = "credential.issued"
    POLICY_CREATED = "policy.created"
    POLICY_CHANGED = "policy.changed"
    POLICY_PUBLISHED = "policy.published"
    POLICY_REMOVED = "policy.removed"
    CATALOGUE_CHANGED = "catalogue.changed"
    CATALOGUE_REMOVED = "catalogue.removed"
    RULE_CHANGED = "rule.changed"
    RULE_REMOVED = "rule.removed"
    REQUEST_SUBMITTED = "request.submitted"
    REQUEST_CANCELLED = "request.cancelled"
    REQUEST_COMMENTED = "request.commented"
    REQUEST_APPROVED = "request.approved"
    REQUEST_DENIED = "request.denied"
    REQUEST_RESTARTED = "request.restarted"
    REQUEST_GRANTED = "request.granted"
    REQUEST_LAPSED = "request.lapsed"
    REQUEST_CLOSED = "request.closed"
    GRANT_STARTED = "grant.started"
    GRANT_APPLIED = "grant.applied"
    GRANT_ENDED = "grant.ended"
    GRANT_GONE = "grant.gone"
    EMERGENCY_CHANGED = "emergency.changed"
    EMERGENCY_REMOVED = "emergency.removed"
    EMERGENCY_OPENED = "emergency.opened"
    EMERGENCY_REVIEWED = "emergency.reviewed"
    REVIEW_OVERDUE = "review.overdue"
    WEBHOOK_CREATED = "webhook.created"
    WEBHOOK_REMOVED = "webhook.removed"
    NOTICES_CHANGED = "notices.changed"
    NOTICE_LOST = "notice.lost"
    KEYS_ROTATED = "keys.rotated"
    ACCESS_DENIED = "access.denied"


@dataclass(frozen=True, slots=True)
class Target:
    """What an event is about."""

    kind: str
    name: str
    cluster: str = ""


NOTHING = Target("", "")


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events to list; empty fields do not narrow."""

    actor: str = ""
    action: str = ""
    target: str = ""
    cluster: str = ""
    result: str = ""
    before: int | None = None
    limit: int = PAGE


class Audit:
    """Writes and reads events."""

    def __init__(self, world: World) -> None:
        self._now = world.now

    def record(
        self, actor: Actor, what: Event, target: Target = NOTHING, *, result: str = "done", reason: str = "", **details: Any
    ) -> None:
        """Add an event to the current transaction."""
        row = AuditEvent(
            at=self._now(), action=what, result=result, actor_id=actor.person_id, actor_name=printable(actor.name, 255),
            target_kind=target.kind, target_name=printable(target.name, 255), cluster=printable(target.cluster, 63),
            address=printable(actor.address, 64), door=actor.door, request_id=printable(actor.request_id, 64),
            reason=printable(reason, 500), details=details,
        )
        db.session.add(row)
        db.session.info.setdefault(_PENDING, []).append(
            {"action": row.action, "result": result, "actor": row.actor_name, "target": row.target_name, "cluster": row.cluster}
        )

    def failed(self, actor: Actor, what: Event, target: Target, problem: Problem, **details: Any) -> None:
        """Record, in a transaction of its own, that something was tried and did not work."""
        result = "refused" if problem.status in {401, 403, 409, 422, 429} else "failed"
        db.session.rollback()
        with transaction():
            self.record(actor, what, target, result=result, reason=str(problem), **details)

    def refuse(self, actor: Actor, message: str, target: Target = NOTHING, **params: str) -> NoReturn:
        """Record a refusal and raise Forbidden."""
        problem = Forbidden(message, **params)
        self.failed(actor, Event.ACCESS_DENIED, target, problem)
        raise problem

    def require(self, actor: Actor, *roles: Role, scope: str, target: Target = NOTHING) -> None:
        """Go on only if the actor holds one of the roles and the credential in hand the scope."""
        if scope not in actor.scopes:
            self.refuse(actor, "This token does not carry the scope %(scope)s.", target, scope=scope)
        if roles and not actor.has(*roles):
            self.refuse(actor, "This needs the role %(roles)s.", target, roles=" / ".join(roles))

    def list(self, actor: Actor, wanted: Filter) -> Sequence[AuditEvent]:
        """Newest first; auditors and administrators see all, everybody else what they did themselves."""
        self.require(actor, scope=READ)
        if not 1 <= wanted.limit <= 1000:
            raise Invalid("limit lies between 1 and 1000.", field="limit")
        if wanted.before is not None and not 0 <= wanted.before <= _MAX_ID:
            raise Invalid("before is the id of an event.", field="before")
        query = select(AuditEvent).order_by(AuditEvent.id.desc()).limit(wanted.limit)
        if not actor.has("auditor", "administrator"):
            query = query.where(AuditEvent.actor_id == actor.person_id, AuditEvent.actor_id != "")
        for column, value in (
            (AuditEvent.actor_name, wanted.actor), (AuditEvent.action, wanted.action), (AuditEvent.target_name, wanted.target),
            (AuditEvent.cluster, wanted.cluster), (AuditEvent.result, wanted.result),
        ):
            if value:
                query = query.where(column == value)
        if wanted.before is not None:
            query = query.where(AuditEvent.id < wanted.before)
        return db.session.scalars(query).all()
