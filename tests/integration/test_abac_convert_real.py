"""One set of policies, twice: as ABAC lines and as the RBAC objects made from them. Two real API servers decide alike.

KUBE_IAM_QUESTIONS and KUBE_IAM_SEED as in test_engine_differential.py. Answers are compared where nothing else allows: no line that
was left over, none of the roles that a fresh cluster binds by itself.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from fixtures import vocabulary as words
from fixtures.abac_worlds import abac_world
from fixtures.product import Kubectl
from fixtures.questions import Held, Spec, questions
from fixtures.rbac_worlds import GROUP, Document
from rigs.many_connections import ManyConnections
from rigs.processes import RigMissing, wait_until

from iam.clusters.throwaway import ControlPlane, assets, missing
from iam.kube import abac
from iam.kube.abac import AbacAuthorizer, Policy, Reference
from iam.kube.abac_convert import Converted, convert
from iam.kube.abac_coverage import halves
from iam.kube.authorizer import Snapshot
from iam.kube.kubeconfig import read
from iam.kube.requests import Request, from_review
from iam.kube.resources import BUILT_IN, Resource, groups_of

pytestmark = pytest.mark.real_part("control_plane")

QUESTIONS = int(os.environ.get("KUBE_IAM_QUESTIONS") or 3000)
SEED = int(os.environ.get("KUBE_IAM_SEED") or random.SystemRandom().randrange(2**32))
KINDS = {"clusterroles": "ClusterRole", "clusterrolebindings": "ClusterRoleBinding", "roles": "Role", "rolebindings": "RoleBinding"}
LINES = 200
RESOURCES = ("pods", "deployments", "statefulsets", "secrets", "configmaps", "jobs", "events", "nodes", "namespaces", "services")
USERS = tuple(user for user in words.USERS if user != "*")
BEHIND = {
    **{Reference("person", f"staff:{user}"): [user] for user in USERS},
    **{Reference("directoryGroup", f"staff:{team}"): [*USERS[place::7], USERS[place]] for place, team in enumerate(words.TEAMS)},
}
Numbered = list[tuple[int, Policy]]
Record = Callable[[str, object], None]


@dataclass(frozen=True)
class World:
    """Policies, and questions about them with what a real API server in ABAC mode answers."""

    numbered: Numbered
    converted: Converted
    specs: list[Spec]
    answers: list[bool]

    @property
    def requests(self) -> list[Request]:
        return [from_review(spec) for spec in self.specs]


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    if missing():
        raise RigMissing(", ".join(missing()), [assets()])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Authored with references; the API server reads what they expand to."""
    rng = random.Random(SEED)
    authored = [abac.render_line(line.policy) for line in abac.parse(abac_world(rng)[0].decode()) if line.policy]
    authored += [_authored(rng) for _ in range(LINES)]
    authored += [abac.render_line(Policy("", group, True, "dev", "events", "*", "/notice/*")) for group in words.EVERYBODY]
    rng.shuffle(authored)
    numbered = list(abac.expanded(abac.lines("\n".join(authored), references=True), BEHIND.__getitem__))
    path = tmp_path_factory.mktemp("abac") / "policy.jsonl"
    path.write_text(abac.render(policy for _, policy in numbered), "utf-8", newline="\n")
    specs = questions(rng, [_held(policy) for _, policy in numbered], QUESTIONS)
    flags = ("--authorization-mode=ABAC", f"--authorization-policy-file={path}")
    with ControlPlane(authorization=flags) as plane, ManyConnections(read(plane.kubeconfig())) as api:
        return World(numbered, convert(numbered), specs, api.allowed(specs))


def _authored(rng: random.Random) -> str:
    """A line that can be converted: one subject, and what an API server serves."""
    resource = rng.choice((*RESOURCES, "*"))
    policy = Policy(
        readonly=rng.random() < 0.4, namespace=rng.choice((*words.NAMESPACES, "*")), resource=resource,
        api_group=rng.choice((*groups_of(resource), "*")), non_resource_path=rng.choice((*words.PATHS, *[""] * 30)),
    )
    if rng.random() < 0.15:
        policy = replace(policy, resource="", non_resource_path=rng.choice(words.PATHS))
    if rng.random() < 0.4:
        return abac.render_line(policy, rng.choice(list(BEHIND)))
    if rng.random() < 0.6:
        return abac.render_line(replace(policy, user=rng.choice((*USERS, *words.ACCOUNTS, *words.ALMOST_ACCOUNTS))))
    return abac.render_line(replace(policy, group=rng.choice([name for name in words.GROUPS if name != "*"])))


def _held(policy: Policy) -> Held:
    combined = [one for group, name in BUILT_IN if name == policy.resource for one in BUILT_IN[group, name].combined]
    resources = combined or ([policy.resource] if policy.resource else [])
    return Held(
        policy.user, policy.group, ("get", "list", "watch") if policy.readonly else words.VERBS, (policy.api_group,), resources,
        namespace=policy.namespace, paths=(policy.non_resource_path,) if policy.non_resource_path else (),
    )


@pytest.fixture(scope="module")
def rbac_plane() -> Iterator[ControlPlane]:
    with ControlPlane(authorization=("--authorization-mode=RBAC",)) as plane:
        yield plane


@pytest.fixture(scope="module")
def rbac_api(rbac_plane: ControlPlane) -> Iterator[ManyConnections]:
    with ManyConnections(read(rbac_plane.kubeconfig())) as api:
        yield api


@pytest.fixture(scope="module")
def defaults(rbac_api: ManyConnections) -> Snapshot:
    """What a fresh cluster binds by itself."""
    return Snapshot.from_documents(
        {"kind": kind, **one} for path, kind in KINDS.items() for one in rbac_api.items(f"/apis/{GROUP}/v1/{path}")
    )  # fmt: skip


@pytest.fixture
def rbac_answers(
    world: World, rbac_plane: ControlPlane, rbac_api: ManyConnections, defaults: Snapshot, kubectl: Kubectl, tmp_path: Path
) -> list[bool]:
    """What an API server in RBAC mode says, once the manifests are applied."""
    assert defaults.bindings
    places = {one["metadata"]["namespace"] for one in world.converted.manifests if "namespace" in one["metadata"]} | {"dev"}
    rbac_api.every(("POST", "/api/v1/namespaces", {"metadata": {"name": name}}) for name in sorted(places - {"default"}))
    numbered = [(number, Policy("late", namespace=name, resource=f"late-{number}")) for number, name in enumerate(("dev", "*"))]
    served = {("", policy.resource): Resource("", policy.resource, is_namespaced=True) for _, policy in numbered}
    for manifests in (world.converted.manifests, convert(numbered, served).manifests):
        _apply(kubectl, rbac_plane, tmp_path, manifests)
    for _, resource in served:  # each of the authorizer's four caches shows a late-comer only after all before it
        spec = {"user": "late", "resourceAttributes": {"verb": "get", "resource": resource, "namespace": "dev"}}
        wait_until(lambda spec=spec: rbac_api.allowed([spec])[0], seconds=30, what="the authorizer's caches")  # type: ignore[misc]
    return rbac_api.allowed(world.specs)


def _apply(kubectl: Kubectl, plane: ControlPlane, folder: Path, manifests: tuple[Document, ...]) -> None:
    path = folder / "manifests.json"
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests}), "utf-8")
    applied = kubectl(plane.kubeconfig(), "apply", "-f", str(path), folder=folder)
    assert applied.returncode == 0, applied.stderr
    assert Counter(line.rpartition(" ")[2] for line in applied.stdout.splitlines()) == {"created": len(manifests)}


def test_the_api_server_answers_as_we_simulate_a_file_made_of_references(world: World, record_property: Record) -> None:
    decide = AbacAuthorizer(world.numbered).decide
    different = [
        f"ours {not theirs} theirs {theirs} for {json.dumps(spec)}"
        for spec, request, theirs in zip(world.specs, world.requests, world.answers, strict=True)
        if decide(request).allowed is not theirs
    ]
    assert different == [], f"seed {SEED}"
    assert 0.1 < sum(world.answers) / len(world.answers) < 0.9
    counted = f"{len(world.specs)} questions, {sum(world.answers)} allowed, none decided otherwise, KUBE_IAM_SEED={SEED}"
    record_property("said", f"ABAC with references expanded against kube-apiserver: {counted}")


def test_an_rbac_server_decides_as_the_abac_server_did(
    world: World, defaults: Snapshot, rbac_answers: list[bool], record_property: Record
) -> None:
    left_over = AbacAuthorizer((one.line, one.policy) for one in world.converted.left_over)
    counts: Counter[str] = Counter()
    different = []
    for spec, request, before, after in zip(world.specs, world.requests, world.answers, rbac_answers, strict=True):
        if left_over.decide(request).allowed or defaults.decide(request).allowed:
            continue
        if is_served(request):
            counts.update(("compared", "allowed" if after else "denied", "path" if request.path else "resource"))
            counts.update(["subresource"] if request.subresource and after else [])
        if after is not before if is_served(request) else after and not before and "/" not in request.resource:
            different.append(f"ABAC {before} RBAC {after} for {json.dumps(spec)}")
    assert different == [], f"seed {SEED}"
    assert min(counts[form] for form in ("allowed", "denied", "path", "subresource")) >= QUESTIONS / 100, counts
    counted = f"{counts['compared']} of {len(world.specs)} questions, {counts['allowed']} allowed, none decided otherwise"
    record_property("said", f"ABAC converted to RBAC, kube-apiserver against kube-apiserver: {counted}, KUBE_IAM_SEED={SEED}")


def is_served(request: Request) -> bool:
    """What HTTP can ask, and this API server answers: of other resources RBAC may allow less."""
    if request.path is not None:
        return request.path != ""
    resource = BUILT_IN.get((request.api_group, request.resource))
    return resource is not None and request.subresource in {"", *resource.subresources}


def test_most_of_the_world_was_converted(world: World) -> None:
    parts = sum(len(list(halves(policy))) for _, policy in world.numbered)
    assert len(world.converted.left_over) < parts / 2
    assert {one["kind"] for one in world.converted.manifests} == set(KINDS.values())
    assert {line.text for line in abac.parse(abac.render(policy for _, policy in world.numbered))} == {
        policy.render() for _, policy in world.numbered
    }
