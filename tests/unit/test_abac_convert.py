"""ABAC lines as RBAC: what a line becomes, what RBAC cannot say, and who shares a role."""

from __future__ import annotations

import re
from typing import Any

import pytest

from iam.kube import abac
from iam.kube.abac import Policy, Reference
from iam.kube.abac_convert import LeftOver, convert
from iam.kube.authorizer import Snapshot
from iam.kube.bindings import SUBJECTS_PER_BINDING
from iam.kube.requests import AUTHENTICATED, Request
from iam.kube.resources import BUILT_IN, Resource

READ = ["get", "list", "watch"]
WIDGETS = {**BUILT_IN, ("example.org", "widgets"): Resource("example.org", "widgets", True, ("scale", "status"))}
Manifests = tuple[dict[str, Any], ...]


def converted(*policies: Policy) -> Manifests:
    """All of them, with nothing left over."""
    found = convert(enumerate(policies, start=1))
    assert found.left_over == ()
    return found.manifests


def left_over(*policies: Policy) -> list[tuple[int, Policy, str]]:
    return [(one.line, one.policy, str(one.why)) for one in convert(enumerate(policies, start=1)).left_over]


def rules(*policies: Policy) -> list[dict[str, Any]]:
    """Of the only role."""
    role, _binding = converted(*policies)
    found: list[dict[str, Any]] = role["rules"]
    return found


def pods(user: str = "", group: str = "", namespace: str = "dev", readonly: bool = False) -> Policy:
    return Policy(user, group, readonly, namespace, "pods")


def test_a_line_in_a_namespace_becomes_a_role_and_its_binding() -> None:
    role, binding = converted(Policy("alice", "", True, "dev", "deployments", "apps"))
    name = role["metadata"]["name"]
    assert re.fullmatch("abac-[0-9a-f]{10}", name)
    assert role == {
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": name, "namespace": "dev"},
        "rules": [{"apiGroups": ["apps"], "resources": ["deployments", "deployments/scale", "deployments/status"], "verbs": READ}],
    }  # fmt: skip
    assert binding == {
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": name, "namespace": "dev"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "alice"}],
    }  # fmt: skip


def test_a_line_for_every_namespace_becomes_a_cluster_role() -> None:
    role, binding = converted(Policy("", "dev", False, "*", "*", "*"))
    assert (role["kind"], binding["kind"], binding["roleRef"]["kind"]) == ("ClusterRole", "ClusterRoleBinding", "ClusterRole")
    assert role["metadata"] == binding["metadata"] == {"name": binding["roleRef"]["name"]}
    assert role["rules"] == [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
    assert binding["subjects"] == [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "dev"}]


def test_a_resource_brings_its_subresources_along() -> None:
    """ABAC never looks at them; RBAC names each."""
    (rule,) = rules(pods("alice"))
    assert rule["resources"] == [
        "pods", "pods/attach", "pods/binding", "pods/ephemeralcontainers", "pods/eviction", "pods/exec", "pods/log", "pods/portforward",
        "pods/proxy", "pods/resize", "pods/status",
    ]  # fmt: skip
    assert rules(Policy("alice", namespace="dev", resource="secrets"))[0]["resources"] == ["secrets"]


@pytest.mark.parametrize(("api_group", "resources"), [
    ("*", ["pods", "pods/log", "pods/metrics"]), ("", ["pods", "pods/log"]), ("metrics.k8s.io", ["pods", "pods/metrics"]),
])  # fmt: skip
def test_in_any_api_group_a_resource_is_all_that_bear_its_name(api_group: str, resources: list[str]) -> None:
    served = {
        ("", "pods"): Resource("", "pods", True, ("log",)),
        ("metrics.k8s.io", "pods"): Resource("metrics.k8s.io", "pods", True, ("metrics",)),
    }
    found = convert([(1, Policy("alice", namespace="dev", resource="pods", api_group=api_group))], served)
    assert found.manifests[0]["rules"] == [{"apiGroups": [api_group], "resources": resources, "verbs": ["*"]}]


def test_paths_stand_in_a_cluster_role_whatever_the_namespace() -> None:
    assert rules(Policy("alice", "", True, "dev", "", "", "/healthz")) == [{"nonResourceURLs": ["/healthz"], "verbs": READ}]
    assert rules(Policy("alice", non_resource_path="/apis/***")) == [{"nonResourceURLs": ["/apis/*"], "verbs": ["*"]}]


def test_a_line_for_resources_and_paths_becomes_one_of_each() -> None:
    both = Policy("alice", "", False, "dev", "secrets", "", "/healthz")
    manifests = converted(both)
    assert [one["kind"] for one in manifests] == ["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"]
    assert manifests == converted(Policy("alice", non_resource_path="/healthz"), Policy("alice", namespace="dev", resource="secrets"))


def test_everything_everywhere_is_one_role_of_two_rules() -> None:
    assert rules(Policy("alice", "", False, "*", "*", "*", "*")) == [
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}, {"nonResourceURLs": ["*"], "verbs": ["*"]},
    ]  # fmt: skip


BOTH = "RBAC binds a user or a group, never a user only while in a group."
OUTSIDE = "RBAC cannot allow requests outside of namespaces only; write * for the namespace if both are meant."
UNKNOWN = "The subresources of %s are not known, and in ABAC it covers them all."
OTHERWISE = "%s means something else in RBAC; in ABAC it never matches."


@pytest.mark.parametrize(("policy", "why"), [
    (Policy(namespace="dev", resource="pods"), "The line never matches, so nothing is lost."),
    (Policy("alice", namespace="dev"), "The line never matches, so nothing is lost."),
    (pods("alice", "dev"), BOTH),
    (Policy("alice", "dev", non_resource_path="/healthz"), BOTH),
    (pods("alice", namespace=""), OUTSIDE),
    (pods("alice", namespace="dev-*"), "dev-* cannot be the name of a namespace."),
    (Policy("alice", namespace="dev", resource="pods/log"), OTHERWISE % "pods/log"),
    (Policy("alice", namespace="dev", resource="*/scale", api_group="*"), OTHERWISE % "*/scale"),
    (Policy("alice", namespace="dev", resource="**"), OTHERWISE % "**"),
    (Policy("alice", namespace="dev", resource="widgets", api_group="example.org"), UNKNOWN % "widgets"),
    (Policy("alice", namespace="dev", resource="widgets", api_group="*"), UNKNOWN % "widgets"),
    (Policy("alice", namespace="dev", resource="pods", api_group="apps"), UNKNOWN % "pods"),
    (Policy("alice", namespace="dev", resource="Pods"), UNKNOWN % "Pods"),
])  # fmt: skip
def test_what_rbac_cannot_say_is_left_over_with_the_reason(policy: Policy, why: str) -> None:
    assert left_over(pods("bob"), policy) == [(2, policy, why)]
    assert convert([(1, policy)]).manifests == ()


def test_only_the_half_that_rbac_cannot_say_is_left_over() -> None:
    found = convert([(3, Policy("alice", "", True, "", "pods", "", "/healthz"))])
    assert found.manifests == converted(Policy("alice", "", True, non_resource_path="/healthz"))
    (left,) = found.left_over
    assert isinstance(left, LeftOver)
    assert (left.line, left.policy, str(left.why)) == (3, Policy("alice", "", True, "", "pods"), OUTSIDE)


def test_the_subresources_of_other_resources_are_known_once_a_cluster_has_told() -> None:
    widgets = Policy("alice", namespace="dev", resource="widgets", api_group="example.org")
    role, _binding = convert([(1, widgets)], WIDGETS).manifests
    assert role["rules"] == [{"apiGroups": ["example.org"], "resources": ["widgets", "widgets/scale", "widgets/status"], "verbs": ["*"]}]


def test_all_who_hold_the_same_share_a_role() -> None:
    role, binding = converted(pods("bob"), pods("alice"), pods(group="dev"), pods(group="alice"), pods("bob"))
    assert len(role["rules"]) == 1
    assert [(one["kind"], one["name"]) for one in binding["subjects"]] == [
        ("Group", "alice"), ("Group", "dev"), ("User", "alice"), ("User", "bob"),
    ]  # fmt: skip


def test_who_holds_one_thing_more_has_a_role_of_all_his_own() -> None:
    secrets = Policy("bob", "", True, "dev", "secrets")
    manifests = converted(pods("alice"), pods("bob"), secrets, pods("carol"))
    held = {tuple(one["name"] for one in binding["subjects"]): len(role["rules"]) for role, binding in pairs(manifests)}
    assert held == {("alice", "carol"): 1, ("bob",): 2}


def test_the_same_in_two_namespaces_is_a_role_in_each() -> None:
    manifests = converted(pods("alice"), pods("alice", namespace="prod"), pods("alice", namespace="*"))
    assert [(one["kind"], one["metadata"].get("namespace")) for one, _ in pairs(manifests)] == [
        ("ClusterRole", None), ("Role", "dev"), ("Role", "prod"),
    ]  # fmt: skip
    assert len({one["metadata"]["name"] for one in manifests}) == 3


def pairs(manifests: Manifests) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Each role with its binding."""
    return list(zip(manifests[::2], manifests[1::2], strict=True))


def test_a_name_says_what_is_allowed_and_not_to_whom() -> None:
    names = {converted(policy)[0]["metadata"]["name"] for policy in (pods("alice"), pods("bob"), pods(group="dev"))}
    assert names == {"abac-e0834082f6"}
    other = {converted(policy)[0]["metadata"]["name"] for policy in (pods("alice", readonly=True), pods("alice", namespace="prod"))}
    assert len(names | other) == 3


def test_the_same_lines_in_another_order_are_the_same_manifests() -> None:
    lines = (pods("alice"), pods("bob"), Policy("bob", namespace="*", resource="nodes"), Policy("", "dev", non_resource_path="/healthz"))
    assert converted(*lines) == converted(*reversed(lines)) == converted(*lines, *lines)


def test_the_users_behind_a_reference_are_bound_by_name() -> None:
    lines = abac.lines(abac.render_line(pods(), Reference("directoryGroup", "staff:dev")), references=True)
    found = convert(abac.expanded(lines, lambda _: ["bob", "alice"]))
    assert [one["name"] for one in found.manifests[1]["subjects"]] == ["alice", "bob"]


def test_everybody_stays_everybody() -> None:
    (line,) = (one.policy for one in abac.parse('{"user":"*","namespace":"dev","resource":"pods"}') if one.policy)
    snapshot = Snapshot.from_documents(converted(line))
    assert snapshot.decide(Request("zed", "create", (AUTHENTICATED,), "", "pods", "exec", "web", "dev")).allowed
    assert not snapshot.decide(Request("system:anonymous", "get", ("system:unauthenticated",), "", "pods", namespace="dev")).allowed


def test_a_service_account_is_bound_by_its_long_name() -> None:
    robot = "system:serviceaccount:dev:robot"
    (subject,) = converted(pods(robot))[1]["subjects"]
    assert (subject["kind"], subject["name"]) == ("User", robot)


def test_nothing_becomes_nothing() -> None:
    assert convert([]).manifests == ()
    assert convert([]).left_over == ()


def test_no_binding_outgrows_what_etcd_stores() -> None:
    """1.5 MiB an object; a line for a large directory group comes once a user."""
    manifests = converted(*(pods(f"user-{number}") for number in range(2 * SUBJECTS_PER_BINDING + 1)))
    bindings = [one for one in manifests if "roleRef" in one]
    assert max(len(one["subjects"]) for one in bindings) <= SUBJECTS_PER_BINDING
    assert len({subject["name"] for one in bindings for subject in one["subjects"]}) == 2 * SUBJECTS_PER_BINDING + 1
