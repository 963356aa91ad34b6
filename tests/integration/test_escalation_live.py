"""Steps that the escalation engine tells, really taken on a real control plane; and near misses, which it refuses.

Somebody gets exactly the rights of a step, takes it over the API, and holds afterwards what the engine said they would. Here:
by writing RBAC itself. tests/integration/test_escalation_identities.py becomes somebody else.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fixtures.stage import EVERYTHING, GAIN, Rule, Stage, on_stage, rule, user_node

from iam.clusters.client import ApiServer
from iam.clusters.throwaway import ControlPlane
from iam.kube.bindings import RBAC_GROUP
from iam.kube.escalation_steps import ALL_OF_IT, Means, Node, NodeKind


@pytest.fixture
def stage(control_plane: ControlPlane, api: ApiServer) -> Iterator[Stage]:
    with on_stage(control_plane, api) as made:
        yield made


# --- escalate


def own_role_changed(stage: Stage, name: str, *, place: str = "") -> int:
    path = f"{stage.path('roles' if place else 'clusterroles', place)}/{name}"
    return stage.person(stage.alice).call("PUT", path, {"metadata": stage.named(name), "rules": [EVERYTHING]})


def test_escalate_on_cluster_roles_is_everything(stage: Stage) -> None:
    name = stage.give(stage.alice, rule("update escalate", "clusterroles", RBAC_GROUP))
    assert stage.means(stage.alice, ALL_OF_IT) == [Means.ESCALATE]
    assert own_role_changed(stage, name) == 200
    stage.person(stage.alice).comes_to(verb="*", group="*", resource="*")


def test_escalate_on_roles_is_everything_in_their_namespace(stage: Stage) -> None:
    name = stage.give(stage.alice, rule("update escalate", "roles", RBAC_GROUP), place=stage.place)
    assert stage.means(stage.alice, Node(NodeKind.NAMESPACE, stage.place, stage.place)) == [Means.ESCALATE]
    assert own_role_changed(stage, name, place=stage.place) == 200
    alice = stage.person(stage.alice)
    alice.comes_to(verb="*", group="*", resource="*", namespace=stage.place)
    assert not alice.may(verb="get", resource="pods", namespace="default")


@pytest.mark.parametrize("verb", ["update", "escalate"])
def test_half_of_escalate_is_nothing(stage: Stage, verb: str) -> None:
    name = stage.give(stage.alice, rule(verb, "clusterroles roles", RBAC_GROUP))
    assert own_role_changed(stage, name) == 403
    assert stage.means(stage.alice, ALL_OF_IT) == []


def test_escalate_on_one_role_and_update_on_another_is_nothing(stage: Stage) -> None:
    mine = f"{stage.place}-mine"
    limited = rule("update", "clusterroles", RBAC_GROUP, mine), rule("escalate", "clusterroles", RBAC_GROUP, "another")
    stage.give(stage.alice, *limited, name=mine)
    assert own_role_changed(stage, mine) == 403
    assert stage.means(stage.alice, ALL_OF_IT) == []


def test_escalate_on_roles_gives_nothing_to_who_holds_none_of_them(stage: Stage) -> None:
    """Their own rights come from a ClusterRole, which they cannot change; the Role they can is somebody else's."""
    stage.give(stage.alice, rule("update escalate", "roles", RBAC_GROUP), place=stage.place, by="ClusterRole")
    name = stage.give(stage.bob, rule("get", "pods"), place=stage.place)
    assert own_role_changed(stage, name, place=stage.place) == 200
    stage.person(stage.bob).comes_to(verb="list", resource="secrets", namespace=stage.place)
    assert not stage.person(stage.alice).may(**GAIN, namespace=stage.place)
    assert stage.means(stage.alice, Node(NodeKind.NAMESPACE, stage.place, stage.place)) == []


# --- bind


def bound_self(stage: Stage, role: str, place: str = "", user: str = "") -> int:
    path = stage.path("rolebindings" if place else "clusterrolebindings", place)
    return stage.person(user or stage.alice).call("POST", path, stage.binding(stage.alice, "ClusterRole", role))


@pytest.mark.parametrize("is_everywhere", [True, False])
def test_bind_gives_the_role(stage: Stage, is_everywhere: bool) -> None:
    place = "" if is_everywhere else stage.place
    kind = "clusterrolebindings" if is_everywhere else "rolebindings"
    stage.give(stage.alice, rule("create", kind, RBAC_GROUP), rule("bind", "clusterroles", RBAC_GROUP, "edit"), place=place)
    assert stage.means(stage.alice, Node(NodeKind.ROLE, "ClusterRole/edit", place)) == [Means.BIND]
    assert bound_self(stage, "edit", place) == 201
    alice = stage.person(stage.alice)
    alice.comes_to(verb="create", resource="pods", namespace=stage.place)
    assert alice.may(verb="create", resource="pods", namespace="default") is is_everywhere
    assert bound_self(stage, "cluster-admin", place) == 403


@pytest.mark.parametrize(
    "rights",
    [
        [rule("create", "clusterrolebindings", RBAC_GROUP)],
        [rule("bind", "clusterroles", RBAC_GROUP)],
        [rule("create", "clusterrolebindings", RBAC_GROUP), rule("bind", "clusterroles", RBAC_GROUP, "view")],
        [rule("create", "clusterrolebindings", RBAC_GROUP), rule("bind", "roles", RBAC_GROUP)],
        [rule("create", "clusterrolebindings", RBAC_GROUP, "mine"), rule("bind", "clusterroles", RBAC_GROUP)],
    ],
    ids=["no bind", "no create", "bind another role", "bind roles only", "create by name, which a creation has not"],
)
def test_half_of_bind_is_nothing(stage: Stage, rights: list[Rule]) -> None:
    stage.give(stage.alice, *rights)
    assert bound_self(stage, "edit") == 403
    assert stage.means(stage.alice, Node(NodeKind.ROLE, "ClusterRole/edit")) == []
    assert stage.means(stage.alice, ALL_OF_IT) == []


def test_who_only_updates_bindings_needs_one_to_the_role(stage: Stage) -> None:
    """A binding's role cannot be changed, and an update creates nothing: there must be a binding of it to join."""
    lonely, shared = f"{stage.place}-lonely", stage.give(stage.bob, rule("list", "services"))
    bind = rule("bind", "clusterroles", RBAC_GROUP, lonely, shared)
    stage.give(stage.alice, rule("update", "clusterrolebindings", RBAC_GROUP), bind)
    stage.api.post(stage.path("clusterroles"), {"metadata": stage.named(lonely), "rules": [rule("list", "pods")]})
    bindings = stage.path("clusterrolebindings")
    (existing,) = (one for one in stage.api.list(bindings) if one["roleRef"]["name"] == shared)
    name, alice = existing["metadata"]["name"], stage.person(stage.alice)
    assert stage.means(stage.alice, Node(NodeKind.ROLE, f"ClusterRole/{shared}")) == [Means.BIND]
    mine = stage.binding(stage.alice, "ClusterRole", lonely)
    assert alice.call("PUT", f"{bindings}/{mine['metadata']['name']}", mine) == 403
    assert alice.call("PUT", f"{bindings}/{name}", mine | {"metadata": stage.named(name)}) == 422
    joined = existing | {"subjects": [*existing["subjects"], *mine["subjects"]]}
    assert alice.call("PUT", f"{bindings}/{name}", joined) == 200
    alice.comes_to(**GAIN)
    assert stage.means(stage.alice, Node(NodeKind.ROLE, f"ClusterRole/{lonely}")) == []


def test_bind_of_one_and_create_of_another_do_not_add_up(stage: Stage) -> None:
    """One request is one identity's: whoever creates the binding must be the one who may bind."""
    stage.give(stage.alice, rule("bind", "clusterroles", RBAC_GROUP), rule("impersonate", "users", "", stage.bob))
    stage.give(stage.bob, rule("create", "clusterrolebindings", RBAC_GROUP))
    assert bound_self(stage, "edit") == 403
    assert bound_self(stage, "edit", user=stage.bob) == 403
    assert stage.means(stage.alice, user_node(stage.bob)) == [Means.IMPERSONATE]
    assert stage.means(stage.alice, ALL_OF_IT) == []


def test_bind_in_a_namespace_by_rights_in_the_whole_cluster(stage: Stage) -> None:
    stage.give(stage.alice, rule("create", "rolebindings", RBAC_GROUP), rule("bind", "clusterroles", RBAC_GROUP, "edit"))
    stage.give(stage.bob, rule("get", "pods"), place=stage.place)
    told = stage.means(stage.alice, Node(NodeKind.ROLE, "ClusterRole/edit", stage.place))
    assert bound_self(stage, "edit", stage.place) == 201
    stage.person(stage.alice).comes_to(verb="create", resource="pods", namespace=stage.place)
    assert told == [Means.BIND]


def test_a_new_role_and_a_binding_to_it(stage: Stage) -> None:
    rights = rule("create escalate bind", "roles", RBAC_GROUP), rule("create", "rolebindings", RBAC_GROUP)
    stage.give(stage.alice, *rights, place=stage.place)
    alice, told = stage.person(stage.alice), stage.means(stage.alice, Node(NodeKind.NAMESPACE, stage.place, stage.place))
    assert alice.call("POST", stage.path("roles", stage.place), {"metadata": stage.named("new"), "rules": [EVERYTHING]}) == 201
    assert alice.call("POST", stage.path("rolebindings", stage.place), stage.binding(stage.alice, "Role", "new")) == 201
    alice.comes_to(verb="*", group="*", resource="*", namespace=stage.place)
    assert told != []
