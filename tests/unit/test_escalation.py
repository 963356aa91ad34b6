"""Each means leads where it leads, and what is almost one leads nowhere. tests/integration/test_escalation_live.py takes the steps."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest

from iam.kube.authorizer import Snapshot
from iam.kube.bindings import RBAC_GROUP
from iam.kube.escalation import Escalations, Paths
from iam.kube.escalation_steps import ALL_OF_IT, Means, Node, NodeKind
from iam.kube.explorer import Asker
from iam.kube.rbac import PolicyRule, Role, RoleBinding
from iam.kube.requests import MASTERS, service_account_user

Held = tuple[Role, RoleBinding]
CERTIFICATES, ADMISSION = "certificates.k8s.io", "admissionregistration.k8s.io"
CLIENTS, KUBELETS = "kubernetes.io/kube-apiserver-client", "kubernetes.io/kubelet-serving"
EVERYTHING = PolicyRule(("*",), ("*",), ("*",))
CLUSTER_ADMIN = (EVERYTHING, PolicyRule(("*",), non_resource_urls=("*",)))
ROBOT = Node(NodeKind.ACCOUNT, "shop/robot", "shop")
BOB, OPERATORS = Node(NodeKind.USER, "bob"), Node(NodeKind.GROUP, "operators")
SHOP = Node(NodeKind.NAMESPACE, "shop", "shop")
_numbers = itertools.count()


def rule(verbs: str, resources: str, group: str = "", *names: str) -> PolicyRule:
    return PolicyRule(tuple(verbs.split()), (group,), tuple(resources.split()), names)


def rbac(verbs: str, resources: str, *names: str) -> PolicyRule:
    return rule(verbs, resources, RBAC_GROUP, *names)


def csr(verbs: str, resources: str, *names: str) -> PolicyRule:
    return rule(verbs, resources, CERTIFICATES, *names)


SECRETS, PODS = rule("get", "secrets"), rule("get list", "pods")
BINDABLE = (Role("edit", rules=(SECRETS, PODS)), Role("view", rules=(PODS,)))


def holds(subject: str, *rules: PolicyRule, place: str = "", by: str = "") -> Held:
    """``alice``, ``shop/robot`` or ``group:operators``, bound to a role of their own: a Role in a namespace.

    It is called ``own`` where its rules name ``own``.
    """
    is_own = any("own" in one.resource_names for one in rules)
    name, kind = "own" if is_own else f"role-{next(_numbers)}", by or ("Role" if place else "ClusterRole")
    role = Role(name, place if kind == "Role" else "", rules)
    place_and_name = subject.split("/")
    user = service_account_user(*place_and_name) if len(place_and_name) == 2 else subject
    users, groups = ((), (subject.removeprefix("group:"),)) if subject.startswith("group:") else ((user,), ())
    return role, RoleBinding(name, place, role.key, users, groups)


def world(*held: Held, roles: Sequence[Role] = ()) -> Snapshot:
    return Snapshot.of([*roles, *(role for role, _ in held)], [binding for _, binding in held])


def paths(*held: Held, roles: Sequence[Role] = (), user: str = "alice") -> Paths:
    return Escalations(world(*held, roles=roles)).of(Asker(user))


def means(found: Paths, node: Node) -> list[Means]:
    return [step.means for step in found.to(node)]


WIDE = [
    (Means.ESCALATE, [rbac("update escalate", "clusterroles")]),
    (Means.ESCALATE, [rbac("patch escalate", "clusterroles", "own")]),
    (Means.BIND, [rbac("create", "clusterrolebindings"), rbac("bind", "clusterroles", "admin")]),
    (Means.IMPERSONATE, [rule("impersonate", "users"), rule("impersonate", "groups", "", MASTERS)]),
    (Means.IMPERSONATE, [rule("impersonate", "serviceaccounts groups")]),
    (Means.CHANGE_WEBHOOKS, [rule("create", "mutatingwebhookconfigurations", ADMISSION)]),
    (Means.CHANGE_WEBHOOKS, [rule("patch", "validatingwebhookconfigurations", ADMISSION, "one")]),
    (Means.REACH_NODES, [rule("get", "nodes/proxy")]),
    (Means.REACH_NODES, [rule("create", "nodes/proxy", "", "node-1")]),
    (Means.REACH_NODES, [rule("create", "persistentvolumes")]),
]
NARROW = [
    [rbac("update", "clusterroles")],
    [rbac("escalate", "clusterroles")],
    [rbac("create get delete escalate", "clusterroles")],
    [rbac("create", "clusterrolebindings")],
    [rbac("bind", "clusterroles")],
    [rbac("get delete", "clusterrolebindings"), rbac("bind", "clusterroles")],
    [rbac("create", "clusterrolebindings"), rbac("bind", "clusterroles", "another")],
    [rbac("create", "clusterrolebindings"), rbac("bind", "roles")],
    [rule("impersonate", "groups")],
    [rule("impersonate", "users"), rule("impersonate", "groups", "", "operators")],
    [rule("impersonate", "userextras/scopes uids"), rule("impersonate", "groups")],
    [rule("get list watch delete", "mutatingwebhookconfigurations", ADMISSION)],
    [rule("*", "mutatingwebhookconfigurations")],
    [rule("get", "nodes nodes/status nodes/metrics")],
    [rule("get update", "persistentvolumes"), rule("create", "persistentvolumeclaims")],
]
ADMIN = Role("admin", rules=(EVERYTHING,))


@pytest.mark.parametrize(("by", "rules"), WIDE)
def test_one_step_to_everything(by: Means, rules: list[PolicyRule]) -> None:
    found = paths(holds("alice", *rules), roles=[ADMIN])
    assert found.reaches_everything
    assert [(step.source, step.target, step.means) for step in found.to(ALL_OF_IT)] == [(Node(NodeKind.USER, "alice"), ALL_OF_IT, by)]


@pytest.mark.parametrize("rules", NARROW)
def test_nearly_the_rights_to_everything_lead_nowhere(rules: list[PolicyRule]) -> None:
    assert paths(holds("alice", *rules), roles=[ADMIN]).steps == ()


@pytest.mark.parametrize("rules", [rules for _, rules in WIDE])
def test_rights_over_the_whole_cluster_count_only_when_held_there(rules: list[PolicyRule]) -> None:
    assert not paths(holds("alice", *rules, place="shop"), roles=[ADMIN]).reaches_everything


INTO_ACCOUNTS = [
    (Means.RUN_PODS, rule("create", "pods")),
    (Means.RUN_PODS, rule("patch", "deployments", "apps")),
    (Means.RUN_PODS, rule("update", "cronjobs", "batch")),
    (Means.ENTER_PODS, rule("create", "pods/exec")),
    (Means.ENTER_PODS, rule("create", "pods/attach")),
    (Means.ENTER_PODS, rule("patch", "pods/ephemeralcontainers")),
    (Means.READ_TOKENS, rule("get", "secrets")),
    (Means.READ_TOKENS, rule("list", "secrets")),
    (Means.READ_TOKENS, rule("watch", "secrets")),
    (Means.CREATE_TOKENS, rule("create", "serviceaccounts/token")),
    (Means.CREATE_TOKENS, rule("create", "serviceaccounts/token", "", "robot")),
    (Means.IMPERSONATE, rule("impersonate", "serviceaccounts")),
    (Means.IMPERSONATE, rule("impersonate", "serviceaccounts", "", "robot")),
]
NOT_INTO_ACCOUNTS = [
    rule("get update patch delete", "pods"),
    rule("create", "deployments"),
    rule("get delete", "deployments", "apps"),
    rule("get", "pods/log pods/status"),
    rule("create update delete", "secrets"),
    rule("create get update", "serviceaccounts"),
    rule("create", "serviceaccounts/token", "", "another"),
    rule("impersonate", "serviceaccounts", "", "another"),
    rule("impersonate", "users", "", service_account_user("shop", "robot")),
]


@pytest.mark.parametrize("is_everywhere", [True, False])
@pytest.mark.parametrize(("by", "right"), INTO_ACCOUNTS)
def test_one_step_into_a_service_account(by: Means, right: PolicyRule, is_everywhere: bool) -> None:
    robot = holds("shop/robot", rule("get", "nodes"))
    assert means(paths(robot, holds("alice", right, place="" if is_everywhere else "shop")), ROBOT) == [by]
    assert paths(robot, holds("alice", right, place="bank")).steps == (), "they live in another namespace"


@pytest.mark.parametrize("right", NOT_INTO_ACCOUNTS)
def test_nearly_the_rights_to_a_service_account_lead_nowhere(right: PolicyRule) -> None:
    assert paths(holds("shop/robot", rule("get", "nodes")), holds("alice", right)).steps == ()


def test_accounts_that_hold_nothing_more_are_no_gain() -> None:
    create = rule("create", "pods")
    assert paths(holds("shop/robot", create, place="shop"), holds("alice", create, PODS, place="shop")).steps == ()
    assert paths(holds("bank/robot", EVERYTHING), holds("alice", create, place="shop")).steps == ()


def test_escalate_and_bind_in_a_namespace() -> None:
    assert means(paths(holds("alice", rbac("update escalate", "roles"), place="shop")), SHOP) == [Means.ESCALATE]
    for half in ("update", "escalate"):
        assert paths(holds("alice", rbac(half, "roles"), place="shop")).steps == ()
    create, bind = rbac("create", "rolebindings"), rbac("bind", "clusterroles", "edit")
    found = paths(holds("alice", create, bind, place="shop"), roles=BINDABLE)
    assert [(step.target, step.means) for step in found.steps] == [(Node(NodeKind.ROLE, "ClusterRole/edit", "shop"), Means.BIND)]
    for halves in ([create], [bind], [create, rbac("bind", "roles")], [rbac("create", "clusterrolebindings"), bind]):
        assert paths(holds("alice", *halves, place="shop"), roles=BINDABLE).steps == ()


def test_bind_what_is_held_already_is_no_gain() -> None:
    rights = rbac("create", "clusterrolebindings"), rbac("bind", "clusterroles")
    assert paths(holds("alice", SECRETS, PODS, *rights), roles=BINDABLE).steps == ()


def test_impersonate_reaches_just_those_who_are_named() -> None:
    others = [holds("bob", SECRETS), holds("carol", PODS), holds("group:operators", SECRETS, PODS)]
    only_bob = rule("impersonate", "users", "", "bob")
    assert [step.target for step in paths(*others, holds("alice", only_bob)).steps] == [BOB]
    assert paths(*others, holds("alice", rule("impersonate", "groups", "", "operators"))).steps == (), "groups go only beside a user"
    both = paths(*others, holds("alice", rule("impersonate", "users", "", "nobody"), rule("impersonate", "groups", "", "operators")))
    assert [(step.target, step.means) for step in both.steps] == [(OPERATORS, Means.IMPERSONATE)]
    anybody = paths(*others, holds("alice", rule("impersonate", "users")))
    assert {step.target.name for step in anybody.steps} == {"bob", "carol"}


APPROVE = [
    csr("create", "certificatesigningrequests"), csr("update", "certificatesigningrequests/approval"), csr("approve", "signers", CLIENTS),
]


@pytest.mark.parametrize("signer", [(), (CLIENTS,), ("kubernetes.io/*",)])
def test_approve_requests_for_anybody_but_masters(signer: tuple[str, ...]) -> None:
    others = holds("bob", SECRETS), holds("group:operators", PODS), holds(f"group:{MASTERS}", EVERYTHING)
    found = paths(*others, holds("alice", *APPROVE[:2], csr("approve", "signers", *signer)))
    assert {step.target for step in found.steps} == {BOB, OPERATORS}
    assert {step.means for step in found.steps} == {Means.APPROVE_CSRS}


@pytest.mark.parametrize("rules", [
    APPROVE[1:], [APPROVE[0], APPROVE[2]], APPROVE[:2], [*APPROVE[:2], csr("approve", "signers", KUBELETS)],
    [*APPROVE[:2], csr("sign", "signers")], [APPROVE[0], csr("update", "certificatesigningrequests"), APPROVE[2]],
])  # fmt: skip
def test_nearly_the_rights_to_approve_lead_nowhere(rules: list[PolicyRule]) -> None:
    assert paths(holds("bob", SECRETS), holds("alice", *rules)).steps == ()


def test_who_may_do_everything_already_has_no_path() -> None:
    held = holds("alice", *CLUSTER_ADMIN), holds("bob", *CLUSTER_ADMIN), holds("shop/robot", EVERYTHING)
    assert paths(*held).steps == ()
    assert Escalations(world(*held)).of(Asker("ada", (MASTERS,))).steps == ()
    assert paths(holds("bob", SECRETS)).steps == (), "who holds nothing has none either"


def test_from_edit_in_a_namespace_over_a_service_account_to_the_cluster() -> None:
    edit = rule("create delete get list patch update", "pods"), rule("create", "deployments", "apps")
    found = paths(holds("shop/robot", rbac("update escalate", "clusterroles")), holds("alice", *edit, place="shop", by="ClusterRole"))
    assert [(step.source.name, step.means, step.target) for step in found.to(ALL_OF_IT)] == [
        ("alice", Means.RUN_PODS, ROBOT), ("shop/robot", Means.ESCALATE, ALL_OF_IT),
    ]  # fmt: skip
    assert found.to(BOB) == []


@pytest.mark.parametrize("rules", [CLUSTER_ADMIN, (EVERYTHING,)], ids=["cluster-admin", "all resources"])
@pytest.mark.parametrize("subject", ["shop/robot", "bob", "group:operators"])
def test_somebody_who_may_do_everything_is_the_way_to_everything(subject: str, rules: tuple[PolicyRule, ...]) -> None:
    become = rule("create", "pods"), rule("impersonate", "users", "", "bob"), rule("impersonate", "groups", "", "operators")
    assert paths(holds("alice", *become), holds(subject, *rules)).reaches_everything


def test_what_was_gathered_on_the_way_counts() -> None:
    """A role that is bound adds to what its holder has: half of the rights to a binding, and the other half."""
    binder = Role("binder", rules=(rbac("create", "clusterrolebindings"),))
    held = holds("alice", rbac("create", "rolebindings"), rbac("bind", "clusterroles", "helper"), place="shop")
    helper = Role("helper", rules=(rule("create", "serviceaccounts/token"),))
    found = paths(held, holds("shop/robot", rbac("bind", "clusterroles", "admin"), rbac("create", "clusterrolebindings")),
                  roles=[binder, helper, ADMIN])  # fmt: skip
    assert means(found, ALL_OF_IT) == [Means.BIND, Means.CREATE_TOKENS, Means.BIND]


def test_everybody_with_the_same_roles_has_the_same_paths_from_their_own_start() -> None:
    role, binding = holds("alice", rule("create", "pods"), place="shop")
    both = RoleBinding("both", "shop", role.key, ("alice", "bob"))
    engine = Escalations(world((role, both), holds("shop/robot", PODS)))
    assert binding.users == ("alice",)
    for name in ("alice", "bob"):
        (step,) = engine.of(Asker(name)).steps
        assert (step.source.name, step.target, step.thanks_to.verb, step.thanks_to.resource) == (name, ROBOT, "create", "pods")


# What the real API server refuses or accepts likewise (tests/integration/test_escalation_live.py).


@pytest.mark.parametrize("rules", [
    [rbac("create", "clusterrolebindings", "mine"), rbac("bind", "clusterroles")],
    [*APPROVE[1:], csr("create", "certificatesigningrequests", "mine")],
    [rule("create", "mutatingwebhookconfigurations", ADMISSION, "mine")],
    [rule("create", "persistentvolumes", "", "mine")],
], ids=["bindings", "requests", "webhooks", "volumes"])  # fmt: skip
def test_a_right_to_create_by_name_creates_nothing(rules: list[PolicyRule]) -> None:
    assert paths(holds("bob", SECRETS), holds("alice", *rules), roles=[ADMIN]).steps == ()


def test_escalate_on_one_role_and_update_on_another_is_nothing() -> None:
    assert paths(holds("alice", rbac("update", "clusterroles", "one"), rbac("escalate", "clusterroles", "another"))).steps == ()


def test_escalate_on_roles_gives_nothing_to_who_holds_none_of_them() -> None:
    held = holds("alice", rbac("update escalate", "roles"), place="shop", by="ClusterRole")
    assert paths(held, holds("bob", PODS, place="shop")).steps == ()
    somebody, other = holds("bob", PODS), holds("carol", PODS)
    names = somebody[0].name, other[0].name
    assert paths(somebody, other, holds("alice", rbac("update escalate", "clusterroles", *names))).steps == ()


def test_an_update_of_bindings_needs_one_to_the_role() -> None:
    assert paths(holds("alice", rbac("update", "clusterrolebindings"), rbac("bind", "clusterroles")), roles=[ADMIN]).steps == ()


def test_the_rights_of_two_do_not_add_up_in_one_request() -> None:
    become_bob = rule("impersonate", "users", "", "bob")
    found = paths(holds("alice", become_bob, rbac("escalate", "clusterroles")), holds("bob", rbac("update", "clusterroles")))
    assert [step.target for step in found.steps] == [BOB]


def test_who_is_impersonated_cannot_impersonate_on() -> None:
    chain = holds("alice", rule("impersonate", "users", "", "bob")), holds("bob", rule("impersonate", "users", "", "carol"))
    assert [step.target for step in paths(*chain, holds("carol", SECRETS)).steps] == [BOB]


def test_groups_go_beside_a_service_account_of_one_namespace_too() -> None:
    groups, accounts = holds("alice", rule("impersonate", "groups")), holds("alice", rule("impersonate", "serviceaccounts"), place="shop")
    assert means(paths(groups, accounts), ALL_OF_IT) == [Means.IMPERSONATE]


def test_requests_can_be_approved_for_service_accounts() -> None:
    assert means(paths(holds("shop/robot", SECRETS), holds("alice", *APPROVE)), ROBOT) == [Means.APPROVE_CSRS]


@pytest.mark.parametrize("group", ["system:serviceaccounts", "system:serviceaccounts:shop"])
def test_accounts_that_only_their_group_makes_strong(group: str) -> None:
    found = paths(holds(f"group:{group}", SECRETS), holds("alice", rule("create", "pods"), place="shop"))
    assert [step.means for step in found.steps] == [Means.RUN_PODS]


def test_rights_over_the_whole_cluster_reach_namespaces_without_accounts() -> None:
    held = holds("alice", rbac("create", "rolebindings"), rbac("bind", "clusterroles", "edit")), holds("bob", PODS, place="shop")
    assert means(paths(*held, roles=BINDABLE), Node(NodeKind.ROLE, "ClusterRole/edit", "shop")) == [Means.BIND]


def test_a_new_role_and_a_binding_to_it() -> None:
    assert paths(holds("alice", rbac("create escalate bind", "roles"), rbac("create", "rolebindings"), place="shop")).steps != ()
