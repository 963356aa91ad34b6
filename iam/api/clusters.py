"""Clusters, for administrators."""

from __future__ import annotations

from flask import Blueprint

from iam import services
from iam.api.shapes import ClusterChange, ClusterIn, ClusterOut, Clusters, CredentialIn, Done, Manifest, ReconcileOut, RemovalQuery, RunOut
from iam.api.spec import actor, answers, load_actor, spec
from iam.models import Cluster
from iam.services.clusters import Registration
from iam.services.reconcile import Outcome, summary

routes = Blueprint("api_clusters", __name__)
routes.before_request(load_actor)


@routes.get("/clusters")
@spec.validate(resp=answers(HTTP_200=Clusters), tags=["clusters"])
def index() -> Clusters:
    """All clusters."""
    return Clusters(items=[_out(cluster) for cluster in services.current().clusters.list(actor())])


@routes.post("/clusters")
@spec.validate(resp=answers(HTTP_201=ClusterOut), tags=["clusters"])
def register(json: ClusterIn) -> tuple[ClusterOut, int]:
    """Register a cluster and probe it."""
    return _out(services.current().clusters.register(actor(), Registration(**json.model_dump()))), 201


@routes.get("/clusters/<name>")
@spec.validate(resp=answers(HTTP_200=ClusterOut), tags=["clusters"])
def show(name: str) -> ClusterOut:
    """One cluster."""
    return _out(services.current().clusters.get(actor(), name))


@routes.put("/clusters/<name>")
@spec.validate(resp=answers(HTTP_200=ClusterOut), tags=["clusters"])
def change(name: str, json: ClusterChange) -> ClusterOut:
    """Change title and lifetimes."""
    return _out(services.current().clusters.change(actor(), name, **json.model_dump()))


@routes.post("/clusters/<name>/renew")
@spec.validate(resp=answers(HTTP_200=ClusterOut), tags=["clusters"])
def renew(name: str, json: CredentialIn) -> ClusterOut:
    """A new address or credential."""
    return _out(services.current().clusters.renew(actor(), Registration(name=name, **json.model_dump())))


@routes.delete("/clusters/<name>")
@spec.validate(resp=answers(HTTP_200=Done), tags=["clusters"])
def remove(name: str, query: RemovalQuery) -> Done:
    """Forget a cluster without mappings."""
    services.current().clusters.remove(actor(), name, leave_bindings=query.leave_bindings)
    return Done()


@routes.post("/clusters/<name>/probe")
@spec.validate(resp=answers(HTTP_200=ClusterOut), tags=["clusters"])
def probe(name: str) -> ClusterOut:
    """Look at the cluster again."""
    return _out(services.current().clusters.probe(actor(), name))


@routes.get("/clusters/<name>/manifest")
@spec.validate(resp=answers(HTTP_200=Manifest), tags=["clusters"])
def manifest(name: str) -> Manifest:
    """The least rights that we need there."""
    return Manifest(yaml=services.current().clusters.manifest(actor(), name))


@routes.get("/clusters/<name>/plan")
@spec.validate(resp=answers(HTTP_200=RunOut), tags=["clusters"])
def plan(name: str) -> RunOut:
    """What a reconcile would do now."""
    return RunOut.model_validate(summary(Outcome(name, services.current().reconciler.plan(actor(), name))))


@routes.post("/clusters/<name>/reconcile")
@spec.validate(resp=answers(HTTP_200=RunOut), tags=["clusters"])
def reconcile(name: str) -> RunOut:
    """Bring the cluster in line now."""
    outcome = services.current().reconciler.run(actor(), name)
    if outcome is None:
        return RunOut(cluster=name, removed=[], replaced=[], created=[], error="a worker is at it already")
    return RunOut.model_validate(summary(outcome))


def _out(cluster: Cluster) -> ClusterOut:
    state = cluster.reconcile
    plain = ("name", "title", "server", "access", "signer", "default_lifetime_seconds", "max_lifetime_seconds", "probe", "probed_at")
    return ClusterOut(
        **{field: getattr(cluster, field) for field in plain},
        reconcile=ReconcileOut(
            behind=state.is_behind, wanted_at=state.wanted_at, succeeded_at=state.succeeded_at, failures=state.failures,
            error=state.error, bindings=state.bindings,
        ),
    )
