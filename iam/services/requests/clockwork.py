"""What the clock does: starts and ends grants, lets requests lapse, closes what is gone, warns, and chases reviews.

Everything due is in the database, so it does not matter how long nobody looked; a reconcile carries the ends out even before.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from sqlalchemy import func, select

from iam import log
from iam.errors import Conflict, Invalid, Unavailable
from iam.models import AccessRequest, ApprovalRule, CatalogueEntry, Grant, Person, db
from iam.models.grant import ACTIVE, GONE
from iam.models.request import APPROVED, ORDINARY, PENDING
from iam.services.base import WORKER, Actor, World, transaction
from iam.services.locks import only_one
from iam.services.requests.emergency import Emergencies
from iam.services.requests.grants import Grants
from iam.services.requests.progress import Progress
from iam.services.requests.shown import Roles, Shown
from iam.services.requests.standing import Standing, Standings

_log = log.get(__name__)
AT_ONCE = 500


class Clockwork:
    """Run often by the worker; any number of workers may."""

    def __init__(
        self, world: World, standings: Standings, roles: Roles, progress: Progress, grants: Grants, emergencies: Emergencies
    ) -> None:
        self._world = world
        self._standings = standings
        self._roles = roles
        self._progress = progress
        self._grants = grants
        self._emergencies = emergencies
        self._followed: tuple[object, ...] = ()

    def end(self) -> None:
        """All that is over, however much it is. Asks no cluster, so none can hold this up."""
        with only_one("ends") as mine:
            if mine:
                _until_none_is_left(lambda: self._grants.expire(WORKER))
                _until_none_is_left(lambda: self._grants.abandon(WORKER))
                self._lapse()
                self._close()
                _until_none_is_left(self._grants.warn)
                self._emergencies.chase(WORKER)

    def start(self) -> None:
        """All whose start has come. The role is looked at once more: what was approved is what begins."""
        with only_one("starts") as mine:
            away: set[str] = set()
            while mine and self._start_some(away):
                pass

    def _start_some(self, away: set[str]) -> int:
        """Returns how many were looked at; the clusters that do not answer are added, and left out the next time."""
        due = self._grants.due_to_start(away)
        for grant_id in due:
            grant = db.session.get(Grant, grant_id)
            if grant is None or grant.cluster is None or grant.cluster_id is None or grant.cluster_id in away:
                continue
            cluster_id, name = grant.cluster_id, grant.cluster_name
            try:
                shown = self._roles.shown(grant.cluster, grant.role_kind, grant.role_name, grant.namespaces)
            except (Unavailable, Invalid) as problem:
                away.add(cluster_id)
                _log.warning("grants wait for their cluster", cluster=name, error=str(problem))
                continue
            self._begin(grant_id, shown)
        return len(due)

    def counts(self) -> dict[str, int]:
        """For the metrics: what waits, runs, and is overdue."""
        overdue = AccessRequest.review_due_at <= self._world.now()
        counted = {
            "requests_open": select(func.count(AccessRequest.id)).where(AccessRequest.state == PENDING),
            "grants_active": select(func.count(Grant.id)).where(Grant.state == ACTIVE),
            "reviews_overdue": select(func.count(AccessRequest.id)).where(overdue, AccessRequest.reviewed_at.is_(None)),
        }
        return {name: db.session.scalar(query) or 0 for name, query in counted.items()}

    def _begin(self, grant_id: str, shown: Shown) -> None:
        with transaction():
            grant = self._grants.take_scheduled(grant_id)
            if grant is None:
                return
            if grant.person.is_disabled:
                self._grants.end(WORKER, grant, GONE, "the person is shut out")
            elif shown.digest == grant.request.rules_digest and not shown.missing:
                self._grants.start(WORKER, grant)
            else:
                self._ask_again(grant, shown)

    def _ask_again(self, grant: Grant, shown: Shown) -> None:
        """The role changed between approval and start: the approval was of something else."""
        request = self._progress.take(grant.request_id, APPROVED)
        self._grants.drop(WORKER, grant)
        request.state, request.decided_at = PENDING, None
        self._again(request, self._standings.of(request, shown), shown, "the role changed before it began")

    def _again(self, request: AccessRequest, standing: Standing, shown: Shown, why: str) -> None:
        if standing.over or standing.rule is None:
            self._progress.close(WORKER, request, standing.over or why)
            return
        request.seconds = self._standings.longest(request, standing.rule)
        self._progress.ask_again(WORKER, request, standing.rule, shown, why)

    def follow_rules(self) -> None:
        """After a change of catalogue, rules or who is shut out: who decides now is asked, and what is offered no more is closed."""
        written = self._written()
        if written == self._followed:
            return
        with only_one("rules") as mine:
            if mine:
                self._look_again()
        self._followed = written

    def _look_again(self) -> None:
        away: set[str | None] = set()
        waiting = select(AccessRequest.id).where(AccessRequest.state == PENDING, AccessRequest.kind == ORDINARY)
        for request_id in db.session.scalars(waiting).all():
            request = db.session.get(AccessRequest, request_id)
            if request is None or request.cluster_id in away:
                continue
            standing, cluster_id = self._standings.by_rules(request), request.cluster_id
            if standing.over:
                self._with(request_id, partial(self._close_because, standing.over))
            elif standing.rule and standing.has_changed:
                if not self._re_ask(request):
                    away.add(cluster_id)  # whoever tries to approve it learns of the change then
            elif request.decisions:
                self._with(request_id, self._progress.move_on)  # a yes may count no more, or again

    def _re_ask(self, request: AccessRequest) -> bool:
        """Returns whether the cluster answered."""
        request_id = request.id
        try:
            shown = self._shown(request)
        except (Unavailable, Invalid):
            return False
        if shown is not None:
            self._with(request_id, lambda _actor, found: self._again(
                found, self._standings.of(found, shown), shown, "the approval rule changed"
            ))
        return True

    def _shown(self, request: AccessRequest) -> Shown | None:
        if request.cluster is None:
            return None
        return self._roles.shown(request.cluster, request.role_kind, request.role_name, request.namespaces)

    def _written(self) -> tuple[object, ...]:
        """Changes whenever somebody writes the catalogue or the rules, or shuts people out or lets them in."""
        rules = db.session.execute(select(ApprovalRule.id, ApprovalRule.position, ApprovalRule.changed_at).order_by(ApprovalRule.id))
        entries = db.session.execute(select(CatalogueEntry.id, CatalogueEntry.changed_at).order_by(CatalogueEntry.id))
        shut_out = db.session.execute(select(func.count(), func.max(Person.disabled_at)).where(Person.disabled_at.is_not(None)))
        return tuple(rules), tuple(entries), tuple(shut_out)

    def _close_because(self, why: str, actor: Actor, request: AccessRequest) -> None:
        self._progress.close(actor, request, why)

    def _lapse(self) -> None:
        due = select(AccessRequest.id).where(AccessRequest.state == PENDING, AccessRequest.lapses_at <= self._world.now())
        for request_id in db.session.scalars(due.limit(AT_ONCE)).all():
            self._with(request_id, self._progress.lapse)

    def _close(self) -> None:
        """Requests for clusters that are no more, and of people who are shut out."""
        waiting = select(AccessRequest.id).join(AccessRequest.person).where(AccessRequest.state == PENDING)
        for why, condition in (
            ("the cluster is no more", AccessRequest.cluster_id.is_(None)), ("the person is shut out", Person.disabled_at.is_not(None)),
        ):
            for request_id in db.session.scalars(waiting.where(condition).limit(AT_ONCE)).all():
                self._with(request_id, partial(self._close_because, why))

    def _with(self, request_id: str, move: Callable[..., None]) -> None:
        try:
            with transaction():
                move(WORKER, self._progress.take(request_id))
        except Conflict:
            pass  # somebody decided on it a moment before


def _until_none_is_left(work: Callable[[], int]) -> None:
    while work():
        pass
