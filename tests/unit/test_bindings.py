"""Entitlements become bindings, and bindings a plan."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from iam.kube.bindings import (
    INSTANCE,
    MANAGED_BY,
    SUBJECTS_PER_BINDING,
    Binding,
    Entitlement,
    Plan,
    RoleRef,
    Subject,
    binding_name,
    compile_bindings,
    plan,
)
from iam.kube.names import role_name

VIEW = RoleRef("ClusterRole", "view")
EDIT = RoleRef("ClusterRole", "edit")


def user(
    name: str, role: RoleRef = VIEW, namespace: str | None = "dev", because: str = "mapping:1"
) -> Entitlement:
    return Entitlement(Subject("User", name), role, namespace, because)


def users(count: int) -> list[Entitlement]:
    return [user(f"user-{number}") for number in range(count)]


def people(binding: Binding) -> set[str]:
    return {subject.name for subject in binding.subjects}


def only(bindings: dict[tuple[str, str], Binding]) -> Binding:
    (binding,) = bindings.values()
    return binding


def where_everybody_is(bindings: dict[tuple[str, str], Binding]) -> dict[Subject, str]:
    return {subject: binding.name for binding in bindings.values() for subject in binding.subjects}


def test_nobody_entitled_means_no_bindings() -> None:
    assert compile_bindings([]) == {}


def test_people_with_one_role_in_one_namespace_share_one_binding() -> None:
    binding = only(compile_bindings([user("alice"), user("bob"), user("alice", because="grant:7")]))
    assert (binding.kind, binding.namespace, binding.role) == ("RoleBinding", "dev", VIEW)
    assert people(binding) == {"alice", "bob"}
    assert binding.because == ("grant:7", "mapping:1")


def test_a_role_without_a_namespace_is_held_in_the_whole_cluster() -> None:
    binding = only(compile_bindings([user("alice", namespace=None)]))
    assert (binding.kind, binding.namespace) == ("ClusterRoleBinding", None)
    assert "namespace" not in binding.manifest("x")["metadata"]


def test_each_role_and_each_namespace_has_its_own_binding() -> None:
    bindings = compile_bindings(
        [user("alice"), user("alice", EDIT), user("alice", namespace="prod"), user("alice", namespace=None)]
    )
    assert len(bindings) == 4
    assert {key[0] for key in bindings} == {"dev", "prod", ""}


def test_a_user_and_a_group_of_one_name_are_two_subjects() -> None:
    group = Entitlement(Subject("Group", "ops"), VIEW, "dev", "mapping:1")
    assert len(only(compile_bindings([user("ops"), group])).subjects) == 2


def test_a_role_and_a_cluster_role_of_one_name_are_bound_apart() -> None:
    assert len(compile_bindings([user("alice"), user("alice", RoleRef("Role", "view"))])) == 2


@pytest.mark.parametrize("name", ["view", "a..b", "-", "角色", "A:b c", "x" * 253, "system:aggregate", "*"])
def test_a_binding_can_be_called_after_any_role(name: str) -> None:
    found = binding_name(RoleRef("ClusterRole", name))
    assert found.startswith("kube-iam-")
    assert role_name(found) == found


def test_names_of_similar_roles_differ() -> None:
    roles = ["a:b", "a-b", "A-b", "a b", "x" * 252, "x" * 253]
    assert len({binding_name(RoleRef("ClusterRole", name)) for name in roles}) == len(roles)


def test_the_name_of_a_binding_is_the_same_in_every_release() -> None:
    """Renaming would take every binding away and make it anew on every cluster."""
    assert binding_name(VIEW) == "kube-iam-view-280ab79bc7"


def test_a_manifest_is_what_the_api_takes() -> None:
    subjects = frozenset({Subject("User", "b"), Subject("Group", "a")})
    binding = Binding("kube-iam-view-1", "dev", VIEW, subjects, ("m:1", "g:2"))
    assert binding.manifest("prod-eu") == {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {
            "name": "kube-iam-view-1",
            "namespace": "dev",
            "labels": {MANAGED_BY: "kube-iam", INSTANCE: "prod-eu"},
            "annotations": {"kube-iam.io/because": "m:1,g:2"},
        },
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [
            {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "a"},
            {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "b"},
        ],
    }


@pytest.mark.parametrize("namespace", ["dev", None])
def test_a_manifest_read_back_is_the_same_binding(namespace: str | None) -> None:
    entitled = [user("王", namespace=namespace), user("a@b.c", namespace=namespace, because="grant:1")]
    binding = only(compile_bindings(entitled))
    assert Binding.from_manifest(yaml.safe_load(yaml.safe_dump(binding.manifest("x")))) == binding


@pytest.mark.parametrize("emptied", [{"subjects": None}, {"subjects": []}])
def test_a_binding_that_somebody_emptied_is_put_right(emptied: dict[str, Any]) -> None:
    desired = compile_bindings([user("alice")])
    found = Binding.from_manifest(only(desired).manifest("x") | emptied)
    assert plan(desired, {found.key: found}) == Plan(replace=(only(desired),))


def test_a_service_account_that_somebody_added_is_taken_out() -> None:
    desired = compile_bindings([user("alice")])
    manifest = only(desired).manifest("x")
    manifest["subjects"].append({"kind": "ServiceAccount", "name": "alice", "namespace": "dev"})
    found = Binding.from_manifest(manifest)
    assert plan(desired, {found.key: found}).replace == (only(desired),)


def test_annotations_that_were_removed_are_put_back() -> None:
    desired = compile_bindings([user("alice")])
    manifest = only(desired).manifest("x")
    del manifest["metadata"]["annotations"]
    found = Binding.from_manifest(manifest)
    assert plan(desired, {found.key: found}).replace == (only(desired),)


def test_a_plan_names_what_goes_what_changes_and_what_comes() -> None:
    found = compile_bindings([user("alice"), user("bob", EDIT)])
    desired = compile_bindings([user("alice"), user("carol"), user("dave", namespace=None)])
    steps = plan(desired, found)
    assert [people(binding) for binding in steps.remove] == [{"bob"}]
    assert [people(binding) for binding in steps.replace] == [{"alice", "carol"}]
    assert [people(binding) for binding in steps.create] == [{"dave"}]
    assert len(steps) == 3
    assert not steps.is_empty


def test_a_plan_without_work_is_empty() -> None:
    assert plan({}, {}).is_empty
    assert len(plan({}, {})) == 0


def test_the_last_person_who_leaves_takes_the_binding_along() -> None:
    found = compile_bindings([user("alice")])
    assert plan({}, found) == Plan(remove=(only(found),))


@pytest.mark.parametrize(("count", "parts"), [(1, 1), (2000, 1), (2001, 2), (4000, 2), (4001, 4), (8001, 8)])
def test_a_binding_is_split_by_powers_of_two(count: int, parts: int) -> None:
    bindings = compile_bindings(users(count))
    assert len(bindings) == parts
    assert sum(len(binding.subjects) for binding in bindings.values()) == count


@pytest.mark.parametrize("count", [SUBJECTS_PER_BINDING + 1, 3500, 4001, 7000])
def test_a_newcomer_to_a_split_binding_moves_nobody(count: int) -> None:
    before, after = compile_bindings(users(count)), compile_bindings([*users(count), user("newcomer")])
    homes = where_everybody_is(after)
    assert where_everybody_is(before).items() <= homes.items()
    steps = plan(after, before)
    assert (len(steps.remove), len(steps.replace), len(steps.create)) == (0, 1, 0)


def test_who_leaves_a_split_binding_moves_nobody() -> None:
    before, after = compile_bindings(users(3500)), compile_bindings(users(3499))
    assert where_everybody_is(after).items() <= where_everybody_is(before).items()
    assert len(plan(after, before)) == 1


def test_parts_of_a_split_binding_stay_small_enough() -> None:
    sizes = [len(binding.subjects) for binding in compile_bindings(users(15_000)).values()]
    assert max(sizes) < SUBJECTS_PER_BINDING * 1.2
