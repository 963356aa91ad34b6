"""Policies from the page to a real API server: what we simulated is what it answers once it has read the file, and not before."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product as every
from pathlib import Path

import pytest
from fixtures.cli import Iam, assert_one_clear_line, installed
from fixtures.house import PLATFORM, Desk, line
from fixtures.product import Kubectl, ProductMaker
from fixtures.questions import Held, Spec, questions
from fixtures.real import own_namespace
from rigs.many_connections import ManyConnections
from rigs.processes import RigMissing, wait_until

from iam.clusters.client import ApiServer
from iam.clusters.throwaway import ControlPlane, assets, missing
from iam.kube import abac
from iam.kube.kubeconfig import read
from iam.kube.requests import from_review
from iam.services.publishing import Check

pytestmark = pytest.mark.real_part("control_plane")

QUESTIONS = int(os.environ.get("KUBE_IAM_QUESTIONS") or 1000)
SEED = int(os.environ.get("KUBE_IAM_SEED") or random.SystemRandom().randrange(2**32))
Record = Callable[[str, object], None]
GROUP = line(directoryGroup="local:engineers", namespace="shop", resource="pods")
TEXT = "# written here\n" + PLATFORM + GROUP + "".join([
    line(directoryGroup="local:engineers", namespace="*", resource="*", apiGroup="*", readonly=True),
    line(person="local:lee", namespace="shop", resource="deployments", apiGroup="apps", nonResourcePath="/metrics"),
    line(group="system:authenticated", nonResourcePath="/version", readonly=True), '{"user":"old-hand","namespace":"shop"}\n',
])  # fmt: skip


class Cluster(Desk):
    """One policy, and an API server in ABAC mode that reads it when it starts."""

    plane: ControlPlane

    @contextmanager
    def running(self, *more: str) -> Iterator[ManyConnections]:
        flags = (f"--authorization-mode={','.join([*more, 'ABAC'])}", f"--authorization-policy-file={self.path}")
        self.plane = ControlPlane(self.path.parent / "plane", authorization=flags)
        with self.plane, ManyConnections(read(self.plane.kubeconfig())) as api:
            yield api

    def check(self) -> Check:
        with self.open() as product:
            return product.services.publishing.check(product.operator, "base")

    def belongs_to(self, name: str, *, is_alone: bool) -> None:
        with self.open() as product:
            product.services.policies.describe(product.operator, "base", cluster=name, owner="", is_alone=is_alone)

    def differences(self, api: ManyConnections, specs: list[Spec]) -> list[str]:
        """Where the API server answers otherwise than the newest version does here."""
        draft = self.draft()
        pairs = zip(specs, api.allowed(specs), strict=True)
        return [json.dumps(spec) for spec, theirs in pairs if draft.answer(from_review(spec))[0].allowed is not theirs]

    def specs(self) -> list[Spec]:
        """Questions on the edge of what the lines say."""
        held = [
            Held(
                one.user, one.group, ("get", "list", "watch") if one.readonly else ("get", "create", "delete"), (one.api_group,),
                (one.resource,) if one.resource else (), (), one.namespace, (one.non_resource_path,) if one.non_resource_path else (),
            )
            for _number, one in self.draft().numbered
        ]  # fmt: skip
        return questions(random.Random(SEED), held, QUESTIONS)


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    if missing():
        raise RigMissing(", ".join(missing()), [assets()])


@pytest.fixture
def iam(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iam:
    return installed(monkeypatch, capsys, tmp_path)


@pytest.fixture
def cluster(make_product: ProductMaker, iam: Iam, tmp_path: Path) -> Cluster:
    cluster = Cluster(make_product(encryption_keys=[iam.key]), tmp_path)
    for name, group in (("erin", "engineers"), ("zoe", "engineers"), ("lee", "leads")):
        cluster.remember(name, group)
    return cluster


def test_from_the_directory_to_the_running_api_server(cluster: Cluster, iam: Iam, record_property: Record) -> None:
    cluster.create(TEXT, is_alone=True)
    cluster.publish()
    with cluster.running() as api:
        cluster.product.register(cluster.plane)
        cluster.belongs_to("prod", is_alone=True)
        specs = cluster.specs()
        assert cluster.differences(api, specs) == [], f"seed {SEED}"
        answers = api.allowed(specs)
        assert 0.1 < sum(answers) / len(answers) < 0.9
        assert {True, False} == {answers[number] for number, spec in enumerate(specs) if spec["user"] in {"erin", "zoe", "lee"}}
        record_property("said", f"a published policy against kube-apiserver: {len(specs)} questions, none otherwise, KUBE_IAM_SEED={SEED}")
        assert cluster.check().decides_by_it
        assert iam("abac", "check", "base").code == 0

        cluster.save(TEXT.replace("old-hand", "new-hand"), 1)
        cluster.publish()
        found = cluster.check()
        assert not found.decides_by_it
        assert {(asked.user, said) for asked, said in found.differing} == {("old-hand", True), ("new-hand", False)}
        said = iam("--json", "abac", "check", "base")
        assert (said.code, {row["the cluster says"] for row in said.json}) == (1, {"yes", "no"})
        assert [word in said.out for word in ("old-hand", "new-hand", "erin")] == [True, True, False]
    with cluster.running() as api:
        assert cluster.check().decides_by_it
        assert cluster.differences(api, cluster.specs()) == [], f"seed {SEED}"
    assert_one_clear_line(iam("abac", "check", "base"), "127.0.0.1")


def test_who_left_is_let_in_until_the_next_start(cluster: Cluster) -> None:
    cluster.create(TEXT, is_alone=True)
    cluster.publish()
    with cluster.running():
        cluster.product.register(cluster.plane)
        cluster.belongs_to("prod", is_alone=True)
        cluster.remember("erin")
        with cluster.open() as product:
            assert product.services.publishing.follow() == ["base"]
        found = cluster.check()
        assert not found.decides_by_it
        assert {asked.user for asked, _said in found.differing} == {"erin"}
    with cluster.running():
        assert cluster.check().decides_by_it


def test_what_was_taken_out_two_versions_ago_is_asked_too(cluster: Cluster) -> None:
    cluster.create(TEXT, is_alone=True)
    cluster.publish()
    with cluster.running():
        cluster.product.register(cluster.plane)
        cluster.belongs_to("prod", is_alone=True)
        cluster.save(TEXT.replace('{"user":"old-hand","namespace":"shop"}\n', ""), 1)
        cluster.save(TEXT.replace('{"user":"old-hand","namespace":"shop"}\n', "# old-hand has left\n"), 2)
        cluster.publish()
        found = cluster.check()
        assert not found.decides_by_it
        assert {asked.user for asked, _said in found.differing} == {"old-hand"}


def test_who_may_by_rbac_anyway_makes_no_difference(cluster: Cluster) -> None:
    cluster.create(line(user="old-hand", namespace="shop", resource="pods") + GROUP)
    cluster.publish()
    cluster.save(GROUP, 1)
    cluster.publish()
    with cluster.running("Node", "RBAC") as api:
        cluster.product.register(cluster.plane)
        cluster.belongs_to("prod", is_alone=False)
        assert cluster.check().decides_by_it
        group = "rbac.authorization.k8s.io"
        ref = {"apiGroup": group, "kind": "ClusterRole", "name": "cluster-admin"}
        subjects = [{"apiGroup": group, "kind": "User", "name": "old-hand"}]
        binding = {"metadata": {"name": "old-hand"}, "roleRef": ref, "subjects": subjects}
        api.every([("POST", f"/apis/{group}/v1/clusterrolebindings", binding)])
        spec = {"user": "old-hand", "resourceAttributes": {"verb": "delete", "resource": "nodes"}}
        wait_until(lambda: api.allowed([spec])[0], seconds=20, what="the authorizer's caches")
        assert cluster.check().decides_by_it


def test_a_converted_policy_decides_the_same_on_a_cluster_with_rbac(
    cluster: Cluster, iam: Iam, api: ApiServer, control_plane: ControlPlane, kubectl: Kubectl, tmp_path: Path
) -> None:
    place = own_namespace(api, "test_converted_policy")
    people = ["erin", "zoe", "lee", "nobody"]
    text = "".join([
        line(directoryGroup="local:engineers", namespace=place, resource="pods"),
        line(directoryGroup="local:engineers", namespace=place, resource="deployments", apiGroup="apps", readonly=True),
        line(person="local:lee", namespace=place, resource="*", apiGroup="*"),
    ])  # fmt: skip
    cluster.create(text)
    said = iam("abac", "convert", "base", "--name", place)
    assert (said.code, said.err) == (0, "")
    manifests = tmp_path / "converted.yaml"
    manifests.write_text(said.out, "utf-8")
    applied = kubectl(control_plane.kubeconfig(), "apply", "-f", str(manifests), folder=tmp_path)
    assert applied.returncode == 0, applied.stderr
    numbered = cluster.draft().numbered
    decide = abac.AbacAuthorizer(numbered).decide
    kinds = (("", "pods", ""), ("", "pods", "log"), ("apps", "deployments", ""), ("apps", "deployments", "scale"), ("", "secrets", ""))
    specs: list[Spec] = [
        {"user": user, "groups": ["system:authenticated"], "resourceAttributes": {
            "verb": verb, "group": group, "resource": resource, "subresource": subresource, "namespace": where,
        }}
        for user, verb, (group, resource, subresource), where in every(people, ("get", "create", "delete"), kinds, (place, "default"))
    ]  # fmt: skip
    ours = [decide(from_review(spec)).allowed for spec in specs]
    assert {True, False} == set(ours)
    with ManyConnections(read(control_plane.kubeconfig())) as many:
        wait_until(lambda: many.allowed(specs) == ours, seconds=20, what="the same answers from RBAC")
