"""Grants: made when a request is granted, started and ended by the clock, returned and revoked by people, seen on the cluster."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, exists, select, update
from sqlalchemy.orm import joinedload

from iam.approval import texts
from iam.errors import Conflict, Hidden, NotFound
from iam.models import AccessRequest, Decision, Grant, ReconcileState, db
from iam.models.grant import ACTIVE, CHANGED, ENDED, EXPIRED, GONE, RETURNED, REVOKED, SCHEDULED
from iam.services.audit import Audit, Event, Target
from iam.services.base import READ, WRITE, Actor, World, transaction
from iam.services.telling.notices import Notices, Told
from iam.services.wakeups import want_cluster

AT_ONCE = 500


class Grants:
    """Use cases about grants."""

    def __init__(self, world: World, audit: Audit, notices: Notices) -> None:
        self._world = world
        self._audit = audit
        self._notices = notices

    def drop(self, actor: Actor, grant: Grant) -> None:
        """A scheduled one that will not begin as it was approved; its request goes on. In the caller's transaction."""
        self._audit.record(actor, Event.GRANT_ENDED, target_of(grant), reason="the role changed", end=CHANGED, **told_of(grant))
        db.session.delete(grant)
        db.session.flush()

    def make(self, actor: Actor, request: AccessRequest) -> Grant:
        """In the transaction that approves the request: active at once, or scheduled."""
        now = self._world.now()
        grant = Grant(
            request_id=request.id, request=request, person_id=request.person_id, cluster_id=request.cluster_id,
            cluster_name=request.cluster_name, role_kind=request.role_kind, role_name=request.role_name,
            namespaces=list(request.namespaces), seconds=request.seconds, starts_at=max(now, request.starts_at or now),
        )
        db.session.add(grant)
        db.session.flush()
        if grant.starts_at <= now:
            self.start(actor, grant)
        return grant

    def start(self, actor: Actor, grant: Grant) -> None:
        """The clock runs from now. In the caller's transaction."""
        now = self._world.now()
        grant.state, grant.activated_at, grant.ends_at = ACTIVE, now, now + timedelta(seconds=grant.seconds)
        ahead = min(timedelta(minutes=self._world.settings.requests.warn_minutes), timedelta(seconds=grant.seconds / 4))
        grant.warn_at = grant.ends_at - ahead  # of a short one, in its last quarter
        self._audit.record(actor, Event.GRANT_STARTED, target_of(grant), **told_of(grant))
        if grant.cluster_id:
            want_cluster(grant.cluster_id, now)

    def end(self, actor: Actor, grant: Grant, why: str, words: str = "") -> None:
        """Over, for good. In the caller's transaction."""
        now = self._world.now()
        was_active = grant.state == ACTIVE
        grant.state, grant.ended_at, grant.end_reason, grant.ended_by = ENDED, now, why, actor.name[:255]
        if not was_active:
            grant.gone_at = now  # it was never there
        self._audit.record(actor, Event.GRANT_ENDED, target_of(grant), reason=words or why, end=why, **told_of(grant))
        if grant.cluster_id and was_active:
            want_cluster(grant.cluster_id, now)

    def give_back(self, actor: Actor, grant_id: str) -> Grant:
        """The holder needs it no more. Raises NotFound, Conflict."""
        self._audit.require(actor, scope=WRITE, target=Target("grant", grant_id))
        with transaction():
            grant = self._take(grant_id)
            if not actor.person_id or grant.person_id != actor.person_id:
                raise Hidden("There is no such grant.")
            self.end(actor, grant, RETURNED)
        return grant

    def revoke(self, actor: Actor, grant_id: str, reason: str) -> Grant:
        """Taken away by an administrator, or by somebody who approved it. Raises Forbidden, NotFound, Conflict."""
        self._audit.require(actor, scope=WRITE, target=Target("grant", grant_id))
        words = texts.line(reason[:2000], 2000, field="reason")[:500]
        found = db.session.get(Grant, grant_id)
        if found and not self.may_revoke(actor, found):
            self._audit.refuse(actor, "Only administrators, and who approved a grant, revoke it.", target_of(found))
        with transaction():
            grant = self._take(grant_id)
            self.end(actor, grant, REVOKED, words)
            self._notices.about_grant(Told.GRANT_REVOKED, grant, by=actor.display_name or actor.name, comment=words)
        return grant

    def may_revoke(self, actor: Actor, grant: Grant) -> bool:
        """Administrators, and those who said yes to it."""
        said_yes = select(Decision.id).where(
            Decision.request_id == grant.request_id, Decision.approver_id == actor.person_id, Decision.verdict == "approve"
        )
        return actor.has("administrator") or (bool(actor.person_id) and db.session.scalar(said_yes.limit(1)) is not None)

    def mine(self, actor: Actor) -> Sequence[Grant]:
        """One's own that run or will begin, the one that ends first at the top."""
        self._audit.require(actor, scope=READ)
        query = select(Grant).where(Grant.person_id == actor.person_id, Grant.state.in_([SCHEDULED, ACTIVE]))
        return db.session.scalars(query.options(joinedload(Grant.request)).order_by(Grant.ends_at, Grant.starts_at)).all()

    def running(self, actor: Actor, cluster: str = "", most: int = 1000) -> Sequence[Grant]:
        """Everybody's that run or will begin."""
        self._audit.require(actor, "administrator", "approver", "auditor", scope=READ)
        query = select(Grant).where(Grant.state.in_([SCHEDULED, ACTIVE])).order_by(Grant.ends_at, Grant.starts_at)
        query = query.where(Grant.cluster_name == cluster) if cluster else query
        return db.session.scalars(query.options(joinedload(Grant.request), joinedload(Grant.person)).limit(most)).all()

    def of_request(self, request_id: str) -> Grant | None:
        """For a service or page that has judged already."""
        return db.session.scalar(select(Grant).where(Grant.request_id == request_id))

    def extended_by(self, request: AccessRequest) -> Grant | None:
        """The grant that a request would go on from, if it is one of the same person."""
        found = db.session.get(Grant, request.extends) if request.extends else None
        return found if found and found.person_id == request.person_id else None

    def own(self, actor: Actor, grant_id: str) -> Grant:
        """One of one's own. Raises NotFound."""
        self._audit.require(actor, scope=READ)
        grant = db.session.get(Grant, grant_id)
        if grant is None:
            raise NotFound("There is no such grant.")
        if not actor.person_id or grant.person_id != actor.person_id:
            raise Hidden("There is no such grant.")
        return grant

    def ended_unseen(self, cluster_id: str) -> set[str]:
        """Ids of those that ended and were not seen to be gone. Read before what is desired, so that nothing ends in between."""
        query = select(Grant.id).where(Grant.cluster_id == cluster_id, Grant.state == ENDED, Grant.gone_at.is_(None))
        return set(db.session.scalars(query))

    def seen(self, actor: Actor, cluster_id: str, on_cluster: Collection[str], ended: Collection[str]) -> None:
        """A reconcile succeeded with these grants in it, and without those that had ended before. In short transactions of its own."""
        fresh = select(Grant.id).where(Grant.cluster_id == cluster_id, Grant.state == ACTIVE, Grant.applied_at.is_(None))
        applied = [one for one in db.session.scalars(fresh) if one in on_cluster]
        gone = sorted(set(ended).difference(on_cluster))
        db.session.commit()
        for field, ids, event, told in (
            ("applied_at", applied, Event.GRANT_APPLIED, Told.GRANT_APPLIED), ("gone_at", gone, Event.GRANT_GONE, Told.GRANT_GONE),
        ):
            for start in range(0, len(ids), AT_ONCE):
                with transaction():
                    self._note_seen(actor, field, ids[start : start + AT_ONCE], event, told)

    def _note_seen(self, actor: Actor, field: str, ids: Sequence[str], event: Event, told: Told) -> None:
        column = getattr(Grant, field)
        noted = db.session.scalars(
            update(Grant).where(Grant.id.in_(ids), column.is_(None)).values({field: self._world.now()}).returning(Grant.id)
            .execution_options(synchronize_session=False)
        ).all()
        whole = joinedload(Grant.request).joinedload(AccessRequest.person), joinedload(Grant.person)
        query = select(Grant).where(Grant.id.in_(noted)).options(*whole).execution_options(populate_existing=True)
        audience = self._notices.audience(told)
        for grant in db.session.scalars(query).all():
            self._audit.record(actor, event, target_of(grant))
            self._notices.about_grant(told, grant, audience=audience)

    def due_to_start(self, besides: Collection[str] = ()) -> list[str]:
        """Ids of some whose start has come, on other clusters than these."""
        query = select(Grant.id).where(Grant.state == SCHEDULED, Grant.starts_at <= self._world.now(), Grant.cluster_id.is_not(None))
        query = query.order_by(Grant.starts_at)
        query = query.where(Grant.cluster_id.not_in(besides)) if besides else query
        return list(db.session.scalars(query.limit(AT_ONCE)))

    def take_scheduled(self, grant_id: str) -> Grant | None:
        """Locked by the caller's transaction; None when it was started or ended meanwhile."""
        return self._lock(grant_id, SCHEDULED)

    def expire(self, actor: Actor, cluster_id: str = "") -> int:
        """End what is over by the clock (on one cluster), some at a time; returns how many."""
        now = self._world.now()
        with transaction():
            due = select(Grant.id).where(Grant.state == ACTIVE, Grant.ends_at <= now).order_by(Grant.ends_at).limit(AT_ONCE)
            due = due.where(Grant.cluster_id == cluster_id) if cluster_id else due
            ended = db.session.scalars(
                update(Grant).where(Grant.id.in_(db.session.scalars(due).all()), Grant.state == ACTIVE)
                .values(state=ENDED, ended_at=now, end_reason=EXPIRED, ended_by=actor.name).returning(Grant.id)
                .execution_options(synchronize_session=False)
            ).all()
            whole = select(Grant).where(Grant.id.in_(ended)).options(joinedload(Grant.person))
            grants = db.session.scalars(whole.execution_options(populate_existing=True)).all()
            for grant in grants:
                self._audit.record(actor, Event.GRANT_ENDED, target_of(grant), reason=EXPIRED, end=EXPIRED, **told_of(grant))
            for due_id in sorted({grant.cluster_id for grant in grants if grant.cluster_id}):
                want_cluster(due_id, now)
        return len(grants)

    def have_run_out(self, now: datetime) -> ColumnElement[bool]:
        """As a condition on ReconcileState: grants on this cluster are over by the clock, and no wake-up has to say so first."""
        return exists().where(Grant.cluster_id == ReconcileState.cluster_id, Grant.state == ACTIVE, Grant.ends_at <= now)

    def abandon(self, actor: Actor) -> int:
        """End what was on clusters that are no more."""
        with transaction():
            lost = db.session.scalars(select(Grant.id).where(Grant.state != ENDED, Grant.cluster_id.is_(None)).limit(AT_ONCE)).all()
            for grant in filter(None, map(self.take, lost)):
                self.end(actor, grant, GONE)
                grant.gone_at = self._world.now()
                self._notices.about_grant(Told.GRANT_GONE, grant)
        return len(lost)

    def warn(self) -> int:
        """Tell holders that the end is near, some at a time; returns how many."""
        with transaction():
            due = select(Grant).where(Grant.state == ACTIVE, Grant.warn_at <= self._world.now()).order_by(Grant.warn_at).limit(AT_ONCE)
            found = db.session.scalars(due.options(joinedload(Grant.request), joinedload(Grant.person))).all()
            audience = self._notices.audience(Told.GRANT_ENDING)
            for grant in found:
                grant.warn_at = None
                self._notices.about_grant(Told.GRANT_ENDING, grant, audience)
        return len(found)

    def take(self, grant_id: str) -> Grant | None:
        """One that has not ended, locked by the caller's transaction."""
        return self._lock(grant_id, ACTIVE, SCHEDULED)

    def _take(self, grant_id: str) -> Grant:
        grant = self.take(grant_id)
        if grant:
            return grant
        if db.session.get(Grant, grant_id) is None:
            raise NotFound("There is no such grant.")
        raise Conflict("This grant has ended already.")

    def _lock(self, grant_id: str, *states: str) -> Grant | None:
        """The row, locked by one write that changes nothing, if it is in one of these states when the lock is had."""
        found = db.session.execute(
            update(Grant).where(Grant.id == grant_id, Grant.state.in_(states)).values(seconds=Grant.seconds)
            .execution_options(synchronize_session=False)
        )
        if not found.rowcount:  # type: ignore[attr-defined]
            return None
        return db.session.scalar(select(Grant).where(Grant.id == grant_id).execution_options(populate_existing=True))


def target_of(grant: Grant) -> Target:
    """A grant in the audit trail."""
    return Target("grant", grant.id, grant.cluster_name, person=grant.person.username, case=grant.request_id)


def told_of(grant: Grant) -> dict[str, Any]:
    """What the audit trail keeps of a grant."""
    return {
        "request": grant.request_id, "role": f"{grant.role_kind}/{grant.role_name}",
        "namespaces": grant.namespaces, "seconds": grant.seconds, "ends_at": grant.ends_at.isoformat() if grant.ends_at else "",
    }

