"""Our decisions beside those of a real kube-apiserver, over generated policies and generated questions: none may differ.

KUBE_IAM_QUESTIONS sets how many questions each mode is asked (20000 for a full run), KUBE_IAM_SEED repeats a run.
What is left out, and why, stands in fixtures/vocabulary.py.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from fixtures import vocabulary as words
from fixtures.abac_worlds import abac_world
from fixtures.product import Kubectl
from fixtures.questions import Spec, held_by_rbac, questions
from fixtures.rbac_worlds import GROUP, collection, rbac_world
from rigs.many_connections import ManyConnections
from rigs.processes import RigMissing, wait_until

from iam.clusters.throwaway import ControlPlane, assets, missing
from iam.kube import abac, rbac_files
from iam.kube.abac import AbacAuthorizer
from iam.kube.authorizer import Snapshot
from iam.kube.kubeconfig import read
from iam.kube.rbac import aggregate
from iam.kube.requests import Decision, Request, from_review, with_implied_groups

pytestmark = pytest.mark.real_part("control_plane")

QUESTIONS = int(os.environ.get("KUBE_IAM_QUESTIONS") or 3000)
SEED = int(os.environ.get("KUBE_IAM_SEED") or random.SystemRandom().randrange(2**32))
KINDS = ("clusterroles", "clusterrolebindings", "roles", "rolebindings")
Document = dict[str, Any]
Record = Callable[[str, object], None]


class Asked:
    """Questions and the API server's answers to them."""

    def __init__(self, api: ManyConnections, specs: list[Spec]) -> None:
        self.specs = specs
        self.answers = api.allowed(specs)

    def differences(self, decide: Callable[[Request], Decision]) -> list[str]:
        """Every question that we answer otherwise, with both answers."""
        return [
            f"ours {ours} theirs {theirs} for {json.dumps(spec)}"
            for spec, theirs in zip(self.specs, self.answers, strict=True)
            if (ours := decide(from_review(spec)).allowed) != theirs
        ]

    def __str__(self) -> str:
        return f"{len(self.specs)} questions, {sum(self.answers)} allowed, none decided otherwise, KUBE_IAM_SEED={SEED}"

    def assert_wide(self) -> None:
        """Questions that are all refused, or of one form, would prove little."""
        count = Counter(form for spec in self.specs for form in forms(spec))
        assert 0.1 < sum(self.answers) / len(self.answers) < 0.9
        assert min(count[form] for form in FORMS) >= len(self.specs) / 200, count


FORMS = ("resource", "path", "subresource", "namespaced", "cluster-wide", "named", "groups", "no groups", "account", "authenticated")


def forms(spec: Spec) -> Iterator[str]:
    attributes = spec.get("resourceAttributes")
    yield "path" if attributes is None else "resource"
    yield "groups" if spec["groups"] else "no groups"
    if attributes:
        yield "namespaced" if attributes.get("namespace") else "cluster-wide"
        yield from (form for form, name in (("subresource", "subresource"), ("named", "name")) if attributes.get(name))
    if spec["user"] in words.ACCOUNTS:
        yield "account"
    if words.AUTHENTICATED in spec["groups"]:
        yield "authenticated"


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    if missing():
        raise RigMissing(", ".join(missing()), [assets()])


@pytest.fixture(scope="module")
def rbac_plane() -> Iterator[ControlPlane]:
    """A control plane that decides by RBAC alone, with a generated world in it."""
    with ControlPlane(authorization=("--authorization-mode=RBAC",)) as plane:
        with ManyConnections(read(plane.kubeconfig())) as api:
            api.every(("POST", "/api/v1/namespaces", {"metadata": {"name": name}}) for name in words.NAMESPACES)
            world = rbac_world(random.Random(SEED))
            for is_binding in (False, True):
                api.every(("POST", collection(one), one) for one in world if ("roleRef" in one) is is_binding)
            wait_until(lambda: not unfinished(api), seconds=30, what="the aggregation of cluster roles")
            _wait_for_informers(api)
        yield plane


@pytest.fixture(scope="module")
def rbac_api(rbac_plane: ControlPlane) -> Iterator[ManyConnections]:
    with ManyConnections(read(rbac_plane.kubeconfig())) as api:
        yield api


@pytest.fixture(scope="module")
def rbac_documents(rbac_api: ManyConnections) -> list[Document]:
    """What the API server holds, its own defaults included; a list leaves the kind to its items' reader."""
    return stored(rbac_api)


@pytest.fixture(scope="module")
def asked_rbac(rbac_api: ManyConnections, rbac_documents: list[Document]) -> Asked:
    return Asked(rbac_api, questions(random.Random(SEED), held_by_rbac(rbac_documents), QUESTIONS))


def stored(api: ManyConnections) -> list[Document]:
    names = {"clusterroles": "ClusterRole", "clusterrolebindings": "ClusterRoleBinding", "roles": "Role", "rolebindings": "RoleBinding"}
    return [{"kind": kind, **one} for path, kind in names.items() for one in api.items(f"/apis/{GROUP}/v1/{path}")]


def unfinished(api: ManyConnections) -> list[str]:
    """Aggregated roles in which the controller has not yet written all that they select."""
    roles = [one for one in stored(api) if "roleRef" not in one]
    ours, theirs = aggregate(without_aggregated_rules(roles)), aggregate(roles)
    return [key[2] for key in ours if key[0] == "ClusterRole" and set(ours[key].rules) != set(theirs[key].rules)]


def without_aggregated_rules(documents: Sequence[Document]) -> list[Document]:
    """As somebody writes them down: the controller has not been here."""
    return [one | {"rules": None} if one.get("aggregationRule") else one for one in documents]


def _wait_for_informers(api: ManyConnections) -> None:
    """The authorizer reads roles and bindings from four caches; each shows a late-comer only after all before it."""
    rule = {"verbs": ["late"], "apiGroups": [""], "resources": ["latecomers"]}
    for kind, namespace in (("Role", "dev"), ("ClusterRole", "")):
        metadata = {"name": "late"} | ({"namespace": namespace} if namespace else {})
        role = {"kind": kind, "metadata": metadata, "rules": [rule]}
        binding = {
            "kind": f"{kind}Binding", "metadata": metadata, "roleRef": {"apiGroup": GROUP, "kind": kind, "name": "late"},
            "subjects": [{"apiGroup": GROUP, "kind": "User", "name": f"late-{kind}"}],
        }
        api.every([("POST", collection(role), role)])
        api.every([("POST", collection(binding), binding)])
        spec = {"user": f"late-{kind}", "resourceAttributes": {"verb": "late", "resource": "latecomers", "namespace": "dev"}}
        wait_until(lambda spec=spec: api.allowed([spec])[0], seconds=30, what="the authorizer's caches")  # type: ignore[misc]


def test_rbac_over_the_lists_of_the_api_server(asked_rbac: Asked, rbac_documents: list[Document], record_property: Record) -> None:
    asked_rbac.assert_wide()
    assert asked_rbac.differences(Snapshot.from_documents(rbac_documents).decide) == [], f"seed {SEED}"
    record_property("said", f"RBAC against kube-apiserver: {asked_rbac}")


@pytest.mark.parametrize("output", ["yaml", "json"])
def test_rbac_over_what_kubectl_prints(
    asked_rbac: Asked, rbac_plane: ControlPlane, kubectl: Kubectl, tmp_path: Path, output: str
) -> None:
    printed = kubectl(rbac_plane.kubeconfig(), "get", ",".join(KINDS), "-A", "-o", output, folder=tmp_path)
    assert printed.returncode == 0, printed.stderr
    snapshot = Snapshot.from_documents(rbac_files.read(printed.stdout, "kubectl"))
    assert asked_rbac.differences(snapshot.decide) == [], f"seed {SEED}"


def test_rbac_with_aggregated_roles_that_we_fill_ourselves(asked_rbac: Asked, rbac_documents: list[Document]) -> None:
    snapshot = Snapshot.from_documents(without_aggregated_rules(rbac_documents))
    assert asked_rbac.differences(snapshot.decide) == [], f"seed {SEED}"


@pytest.mark.parametrize("user", [
    "person-1", *words.ACCOUNTS, *words.ALMOST_ACCOUNTS, "system:serviceaccount:Dev:robot", "system:serviceaccount:dev:Robot",
    "system:serviceaccount:d.e:robot", "system:serviceaccount:dev:-robot", f"system:serviceaccount:{'d' * 64}:robot",
])  # fmt: skip
def test_implied_groups_are_those_that_impersonation_adds(rbac_api: ManyConnections, user: str) -> None:
    headers = [("Impersonate-User", user)]
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    status, answer = rbac_api.call("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body, headers)
    assert status == 201, answer
    assert with_implied_groups(user, ()) == tuple(answer["status"]["userInfo"]["groups"])


def test_abac_over_the_file_that_the_api_server_reads(tmp_path: Path, record_property: Record) -> None:
    content, held = abac_world(random.Random(SEED))
    path = tmp_path / "policy.jsonl"
    path.write_bytes(content)
    found = abac.parse(content.decode(), str(path))
    flags = ("--authorization-mode=ABAC", f"--authorization-policy-file={path}")
    with ControlPlane(authorization=flags) as plane, ManyConnections(read(plane.kubeconfig())) as api:
        asked = Asked(api, questions(random.Random(SEED), held, QUESTIONS))
    asked.assert_wide()
    assert asked.differences(AbacAuthorizer.from_lines(found).decide) == [], f"seed {SEED}"
    policies = [line.policy for line in found if line.policy]
    again = abac.parse(abac.render(policies))
    assert asked.differences(AbacAuthorizer.from_lines(again).decide) == [], f"seed {SEED}"
    record_property("said", f"ABAC against kube-apiserver: {asked}")
