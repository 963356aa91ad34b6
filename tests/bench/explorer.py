"""Who can, and who could reach more: 10 000 people, 50 000 bindings on a real API server; beside one review a person."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from rigs.many_connections import ManyConnections
from rigs.processes import wait_until

from bench.crowd import BINDINGS, PEOPLE, TEAMS, Crowd
from bench.ground import Ground, new_control_plane
from bench.installation import OPERATOR, Installation
from bench.measure import seconds_of
from bench.table import Row, Target
from iam.kube import explorer
from iam.kube.authorizer import Snapshot
from iam.kube.escalation import Escalations
from iam.kube.kubeconfig import read
from iam.kube.requests import Request
from iam.models import db
from iam.services.explorer import Climb, Who
from iam.services.views import Standpoint

CLUSTER = "prod"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
WANTED = Request("", "get", resource="pods", namespace="team-7")
SHOWN = 100
"""Lines of the first page."""
TIMES = 3
WRITERS, READERS = 24, 8
SAMPLE, CLIMBERS = 500, 200
"""People who are asked about one by one; all of them would take minutes."""
IN_A_SECOND = Target("ours <", 1)


def run(ground: Ground) -> list[Row]:
    """The engine alone, the service over a real cluster, and who could reach more."""
    installation, crowd = Installation(ground, "explorer"), Crowd("explorer")
    try:
        with new_control_plane() as plane, ManyConnections(read(plane.kubeconfig()), WRITERS) as api:
            installation.register(plane, CLUSTER)
            _fill(crowd, api)
            with installation.app.app_context():
                crowd.store(CLUSTER, installation.services.world.now())
            with ManyConnections(read(plane.kubeconfig()), READERS) as reader:
                return [*_engine(crowd), *_service(ground, installation, crowd, reader), *_climbs(installation)]
    finally:
        installation.close()


def _fill(crowd: Crowd, api: ManyConnections) -> None:
    api.every(("POST", "/api/v1/namespaces", one) for one in crowd.namespaces())
    api.every(("POST", f"{RBAC}/clusterroles", one) for one in crowd.roles())
    api.every(("POST", _bindings_of(one["metadata"].get("namespace", "")), one) for one in crowd.bindings())


def _bindings_of(namespace: str) -> str:
    return f"{RBAC}/namespaces/{namespace}/rolebindings" if namespace else f"{RBAC}/clusterrolebindings"


def _engine(crowd: Crowd) -> list[Row]:
    snapshot, askers = Snapshot.from_documents(crowd.documents), crowd.askers

    def row(what: str, *, anywhere: bool) -> Row:
        def work() -> int:
            return len(explorer.who_can(snapshot, WANTED, askers, anywhere=anywhere).askers)

        seconds = statistics.median(seconds_of(work) for _ in range(TIMES))
        return Row(what, seconds, None, "s", f"{work()} of them may", IN_A_SECOND)

    return [
        row(f"who can, {BINDINGS} bindings, {PEOPLE} people: the engine", anywhere=False),
        row("the same, in any namespace", anywhere=True),
    ]


@dataclass(frozen=True, slots=True)
class _Answered:
    """One reading of the cluster, and one answer from it."""

    seconds: float
    reading: float
    people: frozenset[str]


def _service(ground: Ground, installation: Installation, crowd: Crowd, api: ManyConnections) -> list[Row]:
    """A first look warms up: connections, statements, the pages of the database."""
    _answered(installation)
    in_one, in_any = ([_answered(installation, anywhere=anywhere) for _ in range(TIMES)] for anywhere in (False, True))
    one, any_one = (statistics.median(answer.seconds for answer in answers) for answers in (in_one, in_any))
    reading = statistics.median(answer.reading for answer in (*in_one, *in_any))
    bare = statistics.median(seconds_of(lambda: _list_bare(api)) for _ in range(TIMES))
    by_reviews = _by_reviews(crowd, api, in_one[0].people)
    anchor_is = f"one SubjectAccessReview each, {READERS} at once; {SAMPLE} measured, extrapolated to {PEOPLE}"
    return [
        Row(f"who can: the service's answer, {ground.database_kind}", one, by_reviews, "s", anchor_is, IN_A_SECOND),
        Row("the same, in any namespace", any_one, None, "s", f"{len(in_any[0].people)} of them may", IN_A_SECOND),
        Row("reading the cluster before, once in ten seconds", reading, bare, "s", "the same bindings in two lists, HTTP and JSON alone"),
        Row("both together", one + reading, by_reviews, "s", anchor_is),
    ]


def _answered(installation: Installation, *, anywhere: bool = False) -> _Answered:
    """The reading is fresh for ten seconds: the answer follows at once. Each has a database session of its own, as requests have."""
    found: list[Who] = []
    reading = _reading(installation)
    with installation.app.app_context():
        seconds = seconds_of(lambda: found.extend(_first_page(installation, anywhere=anywhere)))
        db.session.remove()
    return _Answered(seconds, reading, frozenset(who.name for who in found if who.kind == "Person"))


def _first_page(installation: Installation, *, anywhere: bool) -> list[Who]:
    ours = installation.services.explorer
    view = ours.view(OPERATOR, CLUSTER)
    found = ours.who_can(view, WANTED, anywhere=anywhere)
    lines = ours.grounds(view, found[:SHOWN])
    assert all(ground.mapping_id for who, ground in lines if who.kind == "Person")
    return found


def _reading(installation: Installation) -> float:
    with installation.app.app_context():
        seconds = seconds_of(lambda: installation.services.explorer.view(OPERATOR, CLUSTER, Standpoint(anew=True)))
        db.session.remove()
    return seconds


def _by_reviews(crowd: Crowd, api: ManyConnections, allowed: frozenset[str]) -> float:
    """Seconds for everybody; what the API server says of the sample must be what we say."""
    asked = crowd.askers[:SAMPLE]  # one of each team
    specs = [WANTED.by(asker.user, asker.groups).as_review() for asker in asked]
    expected = [asker.user in allowed for asker in asked]
    wait_until(lambda: api.allowed(specs) == expected, seconds=120, what="the authorizer's caches, or the same answers")
    return seconds_of(lambda: api.allowed(specs)) * PEOPLE / SAMPLE


def _list_bare(api: ManyConnections) -> None:
    found = [*api.items(f"{RBAC}/clusterrolebindings"), *api.items(f"{RBAC}/rolebindings")]
    assert len(found) > BINDINGS


def _climbs(installation: Installation) -> list[Row]:
    """All of them, who share their roles with their team; and, were everybody's roles different, a sample."""
    found: list[Climb] = []
    with installation.app.app_context():
        ours = installation.services.explorer
        view = ours.view(OPERATOR, CLUSTER)
        seconds = seconds_of(lambda: found.extend(ours.climbs(view)))
        db.session.remove()
    count = sum(len(climb.who) for climb in found)
    alone = Crowd("explorer", teams=PEOPLE)
    escalations = Escalations(Snapshot.from_documents(alone.documents))
    sampled = seconds_of(lambda: [escalations.of(asker) for asker in alone.askers[:: PEOPLE // CLIMBERS]])
    extrapolated = f"{CLIMBERS} measured, extrapolated to {PEOPLE}; the engine"
    return [
        Row(f"who could reach more, of {PEOPLE}, {TEAMS} teams", seconds, None, "s", f"{count} could, in {len(found)} ways"),
        Row("the same, no two with the same roles", sampled * PEOPLE / CLIMBERS, None, "s", extrapolated),
    ]
