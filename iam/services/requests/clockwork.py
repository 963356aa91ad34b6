"""What the clock does: starts and ends grants, lets requests lapse, closes what is gone, warns, and chases reviews.

Everything due is in the database, so it does not matter how long nobody looked; a reconcile carries the ends out even before.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import select

from iam import log
from iam.errors import Conflict, Unavailable
from iam.models import AccessRequest, CatalogueEntry, Grant, Person, db
from iam.models.grant import GONE
from iam.models.request import APPROVED, PENDING
from iam.services.base import WORKER, World, transaction
from iam.services.locks import only_one
from iam.services.requests.emergency import Emergencies
from iam.services.requests.grants import Grants
from iam.services.requests.progress import Progress
from iam.services.requests.rules import Question, Rules
from iam.services.requests.shown import Roles, Shown

_log = log.get(__name__)
AT_ONCE = 500


class Clockwork:
    """Run often by the worker; any number of workers may."""

    def __init__(
        self, world: World, rules: Rules, roles: Roles, progress: Progress, grants: Grants, emergencies: Emergencies
    ) -> None:
        self._world = world
        self._rules = rules
        self._roles = roles
        self._progress = progress
        self._grants = grants
        self._emergencies = emergencies

    def end(self) -> None:
        """All that is over, however much it is."""
        with only_one("ends") as mine:
            if mine:
                _until_none_is_left(lambda: self._grants.expire(WORKER))
                _until_none_is_left(lambda: self._grants.abandon(WORKER))
                self._lapse()
                self._close()
                self._grants.warn(WORKER)
                self._emergencies.chase(WORKER)

    def start(self) -> None:
        """All whose start has come. The role is looked at once more: what was approved is what begins."""
        with only_one("starts") as mine:
            away: set[str | None] = set()
            for grant_id in self._grants.due_to_start() if mine else ():
                grant = db.session.get(Grant, grant_id)
                if grant is None or grant.cluster is None or grant.cluster_id in away:
                    continue
                cluster_id = grant.cluster_id
                try:
                    shown = self._roles.shown(grant.cluster, grant.role_kind, grant.role_name, grant.namespaces)
                except Unavailable as problem:
                    away.add(cluster_id)
                    _log.warning("grant waits for its cluster", grant=grant_id, cluster=grant.cluster_name, error=str(problem))
                    continue
                self._begin(grant_id, shown)

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
        entry = db.session.get(CatalogueEntry, request.entry_id) if request.entry_id else None
        scope = request.namespaces[0] if request.namespaces else ""
        rule = self._rules.fitting(Question(entry, request.cluster, scope, shown.risks)) if entry and request.cluster else None
        db.session.delete(grant)
        db.session.flush()
        request.state, request.decided_at = PENDING, None
        if rule is None or shown.missing:
            self._progress.close(WORKER, request, "the role changed before it began")
        else:
            self._progress.ask_again(WORKER, request, rule, shown, "the role changed before it began")

    def _lapse(self) -> None:
        due = select(AccessRequest.id).where(AccessRequest.state == PENDING, AccessRequest.lapses_at <= self._world.now())
        for request_id in db.session.scalars(due.limit(AT_ONCE)).all():
            self._with(request_id, self._progress.lapse)

    def _close(self) -> None:
        """Requests for clusters that are no more, and of people who are shut out."""
        gone = select(AccessRequest.id).where(AccessRequest.state == PENDING, AccessRequest.cluster_id.is_(None))
        for request_id in db.session.scalars(gone.limit(AT_ONCE)).all():
            self._with(request_id, lambda actor, request: self._progress.close(actor, request, "the cluster is no more"))
        lost = select(AccessRequest.id).join(AccessRequest.person).where(
            AccessRequest.state == PENDING, Person.disabled_at.is_not(None)
        )
        for request_id in db.session.scalars(lost.limit(AT_ONCE)).all():
            self._with(request_id, lambda actor, request: self._progress.close(actor, request, "the person is shut out"))

    def _with(self, request_id: str, move: Callable[..., None]) -> None:
        try:
            with transaction():
                move(WORKER, self._progress.take(request_id))
        except Conflict:
            pass  # somebody decided on it a moment before


def _until_none_is_left(work: Callable[[], int]) -> None:
    while work():
        pass
