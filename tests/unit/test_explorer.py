"""Who can, why not, what would do, and what differs: as somebody would ask."""

from __future__ import annotations

import pytest

from iam.kube.authorizer import Snapshot
from iam.kube.explorer import Asker, Powers, compare, condensed, dangling, nearest, roles_that_allow, ways, who_can
from iam.kube.rbac import PolicyRule, Role, RoleBinding, RoleKey
from iam.kube.requests import MASTERS, Request, service_account_user

READ = PolicyRule(("get", "list", "watch"), ("",), ("pods", "services"))
LOGS = PolicyRule(("get",), ("",), ("pods/log",))
RESTART = PolicyRule(("get", "patch"), ("apps",), ("deployments",), ("web",))
ROLES = [
    Role("view", rules=(READ,)),
    Role("edit", rules=(READ, LOGS, PolicyRule(("create", "delete", "update"), ("", "apps"), ("pods", "deployments")))),
    Role("cluster-admin", rules=(PolicyRule(("*",), ("*",), ("*",)), PolicyRule(("*",), non_resource_urls=("*",)))),
    Role("system:reader", rules=(READ,)),
    Role("restart-web", "shop", (RESTART,)),
    Role("metrics", rules=(PolicyRule(("get",), non_resource_urls=("/metrics", "/healthz/*")),)),
]
ALICE = Asker.of("alice", ["developers"])
VIEW, EDIT, ADMIN = (("ClusterRole", "", name) for name in ("view", "edit", "cluster-admin"))
RESTART_WEB: RoleKey = ("Role", "shop", "restart-web")


def world(*bindings: RoleBinding) -> Snapshot:
    return Snapshot.of(ROLES, bindings)


def bind(role: RoleKey, namespace: str = "shop", user: str = "alice", group: str = "", name: str = "") -> RoleBinding:
    users, groups = ((), (group,)) if group else ((user,), ())
    return RoleBinding(name or f"{role[2]}-{group or user}", namespace, role, users, groups)


def ask(verb: str, what: str, namespace: str = "shop", name: str = "") -> Request:
    """``pods``, ``pods/log``, ``apps:deployments``."""
    group, _, combined = what.rpartition(":")
    resource, _, subresource = combined.partition("/")
    return Request("", verb, (), group, resource, subresource, name, namespace)


@pytest.mark.parametrize(
    ("role", "wanted", "missing"),
    [
        (VIEW, ask("get", "pods", "bank"), ("namespace",)),
        (VIEW, ask("get", "pods", ""), ("namespace",)),
        (VIEW, ask("delete", "pods"), ("verb",)),
        (VIEW, ask("delete", "pods", "bank"), ("namespace", "verb")),
        (VIEW, ask("get", "pods/log"), ("subresource",)),
        (VIEW, ask("get", "apps:pods"), ("apiGroup",)),
        (RESTART_WEB, ask("patch", "apps:deployments", name="db"), ("name",)),
        (RESTART_WEB, ask("patch", "apps:deployments"), ("name",)),
        (RESTART_WEB, ask("delete", "apps:deployments", name="db"), ("verb", "name")),
        (RESTART_WEB, ask("patch", "apps:deployments/scale", name="web"), ("subresource",)),
    ],
    ids=lambda value: " ".join(filter(None, value)) if isinstance(value, tuple) else "",
)  # fmt: skip
def test_why_not_names_what_is_wrong(role: RoleKey, wanted: Request, missing: tuple[str, ...]) -> None:
    snapshot = world(bind(role))
    assert ways(snapshot, ALICE, wanted) == []
    closest = nearest(snapshot, ALICE, wanted)[0]
    assert closest.missing == missing
    assert (closest.way.subject, closest.way.binding.role) == ("alice", role)


def test_why_not_for_a_path() -> None:
    (near,) = nearest(world(bind(("ClusterRole", "", "metrics"), "")), ALICE, Request("", "post", path="/healthz/etcd"))
    assert near.missing == ("verb",)
    (near,) = nearest(world(bind(("ClusterRole", "", "metrics"))), ALICE, Request("", "get", path="/metrics"))
    assert near.missing == ("namespace",), "a RoleBinding gives no path"


def test_rules_about_something_else_are_not_near() -> None:
    snapshot = world(bind(RESTART_WEB), bind(("ClusterRole", "", "metrics"), ""))
    assert nearest(snapshot, ALICE, ask("get", "secrets")) == []


def test_the_closest_rule_comes_first_and_no_more_than_asked_for() -> None:
    snapshot = world(bind(VIEW, "bank"), bind(VIEW, "shop", group="developers"), bind(EDIT, "bank"))
    found = nearest(snapshot, ALICE, ask("patch", "pods"))
    assert (found[0].way.binding.namespace, found[0].missing) == ("shop", ("verb",))
    assert [near.missing for near in found[1:]] == [("namespace", "verb")] * 2, "the same rule in bank twice is one"
    assert nearest(snapshot, ALICE, ask("patch", "pods"), most=1) == found[:1]


def test_a_binding_to_a_role_that_is_not_there_gives_nothing_and_is_named() -> None:
    lost = bind(("Role", "shop", "view"))
    snapshot = world(lost)
    assert ways(snapshot, ALICE, ask("get", "pods")) == []
    assert nearest(snapshot, ALICE, ask("get", "pods")) == []
    assert dangling(snapshot, ALICE) == [lost]
    assert dangling(snapshot, Asker.of("bob")) == []
    assert dangling(world(bind(VIEW)), ALICE) == []


def test_each_way_is_told_with_its_subject() -> None:
    everybody = bind(VIEW, "", group="system:authenticated")
    snapshot = world(bind(VIEW), bind(EDIT, group="developers"), bind(ADMIN, "bank"), everybody)
    found = [(way.subject_kind, way.subject, way.binding.role[2]) for way in ways(snapshot, ALICE, ask("get", "pods"))]
    assert found == [("User", "alice", "view"), ("Group", "developers", "edit"), ("Group", "system:authenticated", "view")]


def test_who_can_tells_people_groups_and_service_accounts() -> None:
    robot = service_account_user("ci", "robot")
    bob, carol = Asker.of("bob"), Asker.of("carol", ["operators"])
    others = bind(ADMIN, "", user=robot), bind(EDIT, "bank", user="bob"), bind(EDIT, user="dan")
    snapshot = world(bind(EDIT), bind(EDIT, group="operators"), *others)
    found = who_can(snapshot, ask("delete", "pods"), [ALICE, bob, carol])
    assert {asker.user for asker in found.askers} == {"alice", "carol"}
    assert set(found.others) == {("User", robot), ("User", "dan"), ("Group", "operators")}
    assert {asker.user for asker in who_can(snapshot, ask("delete", "pods", ""), [ALICE, bob, carol]).askers} == set()
    anywhere = who_can(snapshot, ask("delete", "pods", ""), [ALICE, bob, carol], anywhere=True)
    assert {asker.user for asker in anywhere.askers} == {"alice", "bob", "carol"}


def test_a_member_of_system_masters_is_among_those_who_can() -> None:
    ada = Asker.of("ada", [MASTERS])
    assert list(who_can(world(), ask("delete", "pods"), [ada, ALICE]).askers) == [ada]


def test_roles_that_would_do_the_narrowest_first() -> None:
    assert [role.name for role in roles_that_allow(world(), ask("get", "pods"))] == ["view", "edit", "cluster-admin"]
    assert [role.name for role in roles_that_allow(world(), ask("create", "pods"))] == ["edit", "cluster-admin"]
    web = ask("patch", "apps:deployments", name="web")
    assert [role.name for role in roles_that_allow(world(), web)] == ["restart-web", "cluster-admin"]
    elsewhere = ask("patch", "apps:deployments", "bank", "web")
    assert [role.name for role in roles_that_allow(world(), elsewhere)] == ["cluster-admin"], "a Role is of its namespace"
    assert [role.name for role in roles_that_allow(world(), Request("", "get", path="/metrics"))] == ["metrics", "cluster-admin"]


def test_condensed_takes_the_verbs_of_one_thing_together() -> None:
    read = [ask(verb, "pods") for verb in ("get", "list", "get")]
    found = condensed([*read, ask("get", "secrets"), ask("watch", "pods"), ask("get", "pods", "bank")])
    assert found == [
        (ask("", "pods"), ("get", "list", "watch")), (ask("", "secrets"), ("get",)), (ask("", "pods", "bank"), ("get",)),
    ]  # fmt: skip


def test_what_one_may_that_the_other_may_not() -> None:
    snapshot = world(bind(VIEW), bind(EDIT, user="bob"), bind(RESTART_WEB))
    found = compare(snapshot, Asker("alice"), Asker("bob"))
    assert condensed(found.only_first) == [(ask("", "apps:deployments", name="web"), ("get", "patch"))]
    assert ask("create", "pods") in found.only_second
    assert condensed(found.both) == [(ask("", "pods"), READ.verbs), (ask("", "services"), READ.verbs)]


def test_wildcards_cover_what_is_under_them_and_not_the_other_way_round() -> None:
    admin, viewer = (Powers({"shop": [role]}) for role in (ROLES[2], ROLES[0]))
    assert viewer.beyond(admin) == []
    assert admin.beyond(viewer) == [Request("", "*", api_group="*", resource="*", namespace="shop")]
    assert not admin.are_unlimited, "in one namespace only"
    assert Powers({"": [ROLES[2]]}).are_unlimited


def test_the_right_to_one_object_is_not_the_right_to_all() -> None:
    assert not Powers({"shop": [ROLES[4]]}).cover(ask("patch", "apps:deployments"))


def test_the_right_to_what_has_no_name_is_not_the_right_to_all() -> None:
    """``resourceNames: [""]`` allows list and create, which name nothing, and no object that has a name."""
    nameless = Role("nameless", rules=(PolicyRule(("get",), ("",), ("pods",), ("",)),))
    assert not Powers({"": [nameless]}).cover(ask("get", "pods"))


def test_a_member_of_system_masters_needs_no_way() -> None:
    ada = Asker.of("ada", [MASTERS])
    assert ways(world(), ada, ask("get", "pods")) == []
    assert Powers.of(world(), ada).are_unlimited
