"""Bringing clusters in line: desired from mappings and grants, found on the cluster, the difference applied, again until done.

Nothing waits in memory: what is due is in the database, so a crash at any line is mended by the next run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy import or_, select
from sqlalchemy.orm import joinedload

from iam import log
from iam.clusters.base import Applied
from iam.errors import NotFound, Problem
from iam.kube.bindings import Binding, Plan, compile_bindings, plan
from iam.models import Cluster, ReconcileState, db
from iam.services.audit import Audit, Event, Target
from iam.services.base import READ, WRITE, Actor, World, transaction
from iam.services.clusters import Clusters
from iam.services.holdings import Holdings
from iam.services.locks import only_one
from iam.services.requests.grants import Grants

_log = log.get(__name__)
MAX_PAUSE_SECONDS = 300
Bindings = dict[tuple[str, str], Binding]
"""By namespace and name."""
LISTED = 50
"""Bindings named in one audit event; the rest are counted."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one run went."""

    cluster: str
    plan: Plan
    error: str = ""


@dataclass
class _Run:
    """One run, on its way."""

    aim: int
    """The wish that it fulfils."""
    found: Bindings = field(default_factory=dict)
    desired: Bindings = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    """Grants that had ended before."""
    todo: Plan = field(default_factory=Plan)
    applied: Applied = field(default_factory=lambda: Applied(0))
    error: str = ""


class Reconciler:
    """Use cases of reconciliation."""

    def __init__(self, world: World, audit: Audit, clusters: Clusters, holdings: Holdings, grants: Grants) -> None:
        self._world = world
        self._audit = audit
        self._clusters = clusters
        self._holdings = holdings
        self._grants = grants

    def due(self) -> Sequence[str]:
        """The names of clusters that need work now: behind, or not compared for long."""
        now = self._world.now()
        stale = now - timedelta(minutes=self._world.settings.reconcile.full_minutes)
        return db.session.scalars(
            select(Cluster.name).join(ReconcileState)
            .where(
                or_(ReconcileState.next_attempt_at.is_(None), ReconcileState.next_attempt_at <= now),
                or_(
                    ReconcileState.wanted > ReconcileState.done,
                    ReconcileState.succeeded_at.is_(None), ReconcileState.succeeded_at <= stale, self._grants.have_run_out(now),
                ),
            )
            .order_by(ReconcileState.wanted_at)
        ).all()

    def states(self, actor: Actor) -> Sequence[ReconcileState]:
        """How far every cluster is."""
        self._audit.require(actor, "administrator", "auditor", scope=READ)
        query = select(ReconcileState).join(Cluster).options(joinedload(ReconcileState.cluster)).order_by(Cluster.name)
        return db.session.scalars(query).all()

    def desired(self, cluster_name: str) -> Bindings:
        """The bindings that should be on a cluster now."""
        return compile_bindings(self._holdings.entitlements(self._state(cluster_name).cluster_id))

    def plan(self, actor: Actor, cluster_name: str) -> Plan:
        """What a run would do, without doing it. Raises Unavailable."""
        self._audit.require(actor, "administrator", "auditor", scope=READ, target=Target("cluster", cluster_name))
        store = self._clusters.connection(self._state(cluster_name).cluster).bindings
        desired = self.desired(cluster_name)
        db.session.commit()  # no transaction stays open while the cluster answers
        return plan(desired, dict(store.owned()))

    def run(self, actor: Actor, cluster_name: str) -> Outcome | None:
        """Bring one cluster in line; None when another worker is at it."""
        self._audit.require(actor, "administrator", scope=WRITE, target=Target("cluster", cluster_name))
        with only_one(f"reconcile {cluster_name}") as mine:
            return self._run(actor, cluster_name) if mine else None

    def _run(self, actor: Actor, cluster_name: str) -> Outcome:
        """What is found is read before what is desired: a change in between is then applied, not undone."""
        state = self._state(cluster_name)
        run = _Run(state.wanted)
        try:
            store = self._clusters.connection(state.cluster).bindings
            db.session.commit()  # no transaction stays open while the cluster answers
            run.found = dict(store.owned())
            while self._grants.expire(actor, state.cluster_id):
                pass  # what is over by the clock is over for good, before anything is built on it
            run.ended = self._grants.ended_unseen(state.cluster_id)
            run.desired = self.desired(cluster_name)
            db.session.commit()
            run.todo = plan(run.desired, run.found)
            run.applied = Applied(0) if run.todo.is_empty else store.apply(run.todo)
            run.error = "; ".join(run.applied.errors[:3])
        except Problem as problem:
            run.error = str(problem)
        except Exception as bug:  # noqa: BLE001  # must show and wait, not spin unseen
            _log.exception("reconcile failed", cluster=cluster_name, error=type(bug).__name__)
            run.error = f"The reconcile failed by our own mistake ({type(bug).__name__}); see the log."
            db.session.rollback()
        if not run.error:
            self._grants.seen(actor, state.cluster_id, _grants_in(run.desired), run.ended)
        with transaction():
            self._note(actor, self._state(cluster_name), run)
        return Outcome(cluster_name, run.todo, run.error)

    def _note(self, actor: Actor, state: ReconcileState, run: _Run) -> None:
        now, error, todo = self._world.now(), run.error, run.todo
        target = Target("cluster", state.cluster.name, state.cluster.name)
        state.attempted_at = now
        if run.applied.changed:
            self._audit.record(
                actor, Event.CLUSTER_RECONCILED, target, result="failed" if error else "done", reason=error, changed=run.applied.changed,
                removed=_listed(todo.remove), replaced=_listed(todo.replace), created=_listed(todo.create),
                grants=sorted(_grants_in(run.found) ^ _grants_in(run.desired)),
            )
        if error:
            if not state.failures:
                self._audit.record(actor, Event.CLUSTER_AWAY, target, result="failed", reason=error)
            state.failures += 1
            state.error = error[:500]
            state.next_attempt_at = None if state.wanted > run.aim else now + self._pause(state.failures)
            _log.warning("reconcile failed", cluster=target.name, failures=state.failures, error=error)
        else:
            if state.failures:
                self._audit.record(actor, Event.CLUSTER_BACK, target)
            state.failures, state.error, state.next_attempt_at = 0, "", None
            state.succeeded_at = now
            state.done = max(state.done, run.aim)
            state.bindings = len(run.desired)

    def _pause(self, failures: int) -> timedelta:
        seconds = self._world.settings.reconcile.retry_seconds * 2 ** min(failures - 1, 10)
        return timedelta(seconds=min(seconds, MAX_PAUSE_SECONDS))

    def _state(self, cluster_name: str) -> ReconcileState:
        state = db.session.scalar(
            select(ReconcileState).join(Cluster).where(Cluster.name == cluster_name).options(joinedload(ReconcileState.cluster))
            .execution_options(populate_existing=True)
        )
        if state is None:
            raise NotFound("There is no cluster %(name)s.", name=cluster_name)
        return state


def _grants_in(bindings: Bindings) -> set[str]:
    """The ids of the grants that these bindings carry."""
    return {word.removeprefix("grant:") for binding in bindings.values() for word in binding.because if word.startswith("grant:")}


def summary(outcome: Outcome) -> dict[str, object]:
    """An outcome for the API and the command line."""
    return {
        "cluster": outcome.cluster, "error": outcome.error, "removed": _listed(outcome.plan.remove),
        "replaced": _listed(outcome.plan.replace), "created": _listed(outcome.plan.create),
    }


def _listed(bindings: tuple[Binding, ...]) -> list[str]:
    names = [f"{binding.namespace or '*'}/{binding.name}" for binding in bindings[:LISTED]]
    return names + ([f"... and {len(bindings) - LISTED} more"] if len(bindings) > LISTED else [])
