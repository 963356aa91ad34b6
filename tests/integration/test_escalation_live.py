"""Steps that the escalation engine tells, really taken on a real control plane; and near misses, which it refuses.

Somebody gets exactly the rights of a step, takes it over the API, and holds afterwards what the engine said they would.
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fixtures.offline import signing_request
from fixtures.real import RBAC, own_namespace
from rigs.many_connections import REVIEWS, ManyConnections, review
from rigs.processes import wait_until

from iam.clusters.client import ApiServer
from iam.clusters.throwaway import ControlPlane
from iam.kube.authorizer import Snapshot
from iam.kube.bindings import RBAC_GROUP
from iam.kube.certificates import key_pem
from iam.kube.escalation import Escalations, Paths
from iam.kube.escalation_steps import ALL_OF_IT, Means, Node, NodeKind
from iam.kube.explorer import Asker
from iam.kube.kubeconfig import Access, read
from iam.kube.requests import MASTERS, service_account_user

Rule = dict[str, Any]
Headers = Iterable[tuple[str, str]]
KINDS = {"clusterroles": "ClusterRole", "clusterrolebindings": "ClusterRoleBinding", "roles": "Role", "rolebindings": "RoleBinding"}
EVERYTHING: Rule = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
CSRS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
CLIENTS = "kubernetes.io/kube-apiserver-client"
WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
GAIN = {"verb": "list", "resource": "services"}
"""Leads no further, whatever other tests have left behind: who reads Secrets reads tokens."""
_numbers = itertools.count()


def rule(verbs: str, resources: str, group: str = "", *names: str) -> Rule:
    limit = {"resourceNames": list(names)} if names else {}
    return {"verbs": verbs.split(), "apiGroups": [group], "resources": resources.split(), **limit}


class Person:
    """Somebody with a client certificate."""

    def __init__(self, access: Access, stack: ExitStack) -> None:
        self.connection = stack.enter_context(ManyConnections(access, parallel=1))

    def call(self, method: str, path: str, body: Any = None, headers: Headers = ()) -> int:
        return self.connection.call(method, path, body, headers)[0]

    def may(self, *headers: tuple[str, str], **attributes: str) -> bool:
        spec = {"resourceAttributes": attributes}
        kind = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": spec}
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        return bool(self.connection.call("POST", path, kind, headers)[1].get("status", {}).get("allowed"))

    def comes_to(self, **attributes: str) -> None:
        """Wait until they may: the authorizer reads from caches."""
        wait_until(lambda: self.may(**attributes), seconds=20, what=f"the right to {attributes}")


class Stage:
    """A namespace, people in it, and the engine over all that the cluster holds. Cluster-wide objects end with the test."""

    def __init__(self, plane: ControlPlane, api: ApiServer, stack: ExitStack, place: str) -> None:
        self.plane, self.api, self.place, self.stack = plane, api, place, stack
        self.alice, self.bob, self.carol = (f"{name}-{place}" for name in ("alice", "bob", "carol"))
        self.metadata = {"labels": {"real-test": place}}

    def named(self, name: str) -> dict[str, Any]:
        return self.metadata | {"name": name}

    def person(self, name: str) -> Person:
        return Person(read(self.plane.kubeconfig(name, ())), self.stack)

    def give(self, user: str, *rules: Rule, place: str = "", by: str = "", name: str = "") -> str:
        """Bind them to a role of their own: a Role in a namespace, unless it is to be a ClusterRole there. Returns its name."""
        name, kind = name or f"{user}-{next(_numbers)}", by or ("Role" if place else "ClusterRole")
        self.api.post(self.path(f"{kind.lower()}s", place if kind == "Role" else ""), {"metadata": self.named(name), "rules": list(rules)})
        self.api.post(self.path("rolebindings" if place else "clusterrolebindings", place), self.binding(user, kind, name))
        one = rules[0]
        resource, _, subresource = one["resources"][0].partition("/")
        spec = {"user": user, "resourceAttributes": {
            "verb": one["verbs"][0], "group": one["apiGroups"][0], "resource": resource, "subresource": subresource,
            "namespace": place, "name": one.get("resourceNames", [""])[0],
        }}  # fmt: skip
        wait_until(lambda: self.api.post(REVIEWS, review(spec))["status"]["allowed"], seconds=20, what=f"the rights of {user}")
        return name

    def binding(self, user: str, kind: str, role: str) -> dict[str, Any]:
        """Takes over where a role is meant: ``ClusterRole`` ``edit``."""
        subjects = [{"apiGroup": RBAC_GROUP, "kind": "User", "name": user}]
        ref = {"apiGroup": RBAC_GROUP, "kind": kind, "name": role}
        return {"metadata": self.named(f"{role}-{user}-{next(_numbers)}"), "roleRef": ref, "subjects": subjects}

    def account(self, name: str, *rules: Rule) -> Node:
        """A service account that may do this in the whole cluster."""
        self.api.post(f"/api/v1/namespaces/{self.place}/serviceaccounts", {"metadata": {"name": name}})
        if rules:
            self.give(service_account_user(self.place, name), *rules, name=f"{self.place}-{name}")
        return Node(NodeKind.ACCOUNT, f"{self.place}/{name}", self.place)

    def here(self, resource: str) -> str:
        return f"/api/v1/namespaces/{self.place}/{resource}"

    def path(self, resource: str, place: str = "") -> str:
        return f"{RBAC}/namespaces/{place}/{resource}" if place else f"{RBAC}/{resource}"

    def with_token(self, token: str) -> ApiServer:
        return ApiServer(Access(self.plane.server, self.plane.ca_pem, token=token))

    def paths(self, user: str) -> Paths:
        """What the engine says."""
        documents = [{"kind": kind, **one} for path, kind in KINDS.items() for one in self.api.list(f"{RBAC}/{path}")]
        return Escalations(Snapshot.from_documents(documents)).of(Asker.of(user))

    def means(self, user: str, node: Node) -> list[Means]:
        """How it says that they get there; nothing if they do not."""
        return [step.means for step in self.paths(user).to(node)]

    def sweep(self) -> None:
        """By label, so that what people made on the way goes too; what they hold would lead others on."""
        places = [f"{RBAC}/namespaces/kube-system/{resource}" for resource in ("rolebindings", "roles")]
        for path in (*(f"{RBAC}/{resource}" for resource in ("clusterrolebindings", "clusterroles")), *places, WEBHOOKS):
            self.api.delete(f"{path}?labelSelector=real-test%3D{self.place}")
        self.api.delete(f"/api/v1/namespaces/{self.place}")


@pytest.fixture
def stage(control_plane: ControlPlane, api: ApiServer) -> Iterator[Stage]:
    with ExitStack() as stack:
        made = Stage(control_plane, api, stack, own_namespace(api, f"escalation-{next(_numbers)}"))
        stack.callback(made.sweep)
        yield made


def user_node(name: str) -> Node:
    return Node(NodeKind.USER, name)


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


# --- impersonate


def as_(user: str, *groups: str) -> list[tuple[str, str]]:
    return [*([("Impersonate-User", user)] if user else []), *(("Impersonate-Group", group) for group in groups)]


def test_impersonate_a_user(stage: Stage) -> None:
    stage.give(stage.bob, rule("list", "services"))
    stage.give(stage.carol, rule("list", "services pods"))
    stage.give(stage.alice, rule("impersonate", "users", "", stage.bob))
    alice = stage.person(stage.alice)
    assert stage.means(stage.alice, user_node(stage.bob)) == [Means.IMPERSONATE]
    assert alice.call("GET", stage.here("services")) == 403
    assert alice.call("GET", stage.here("services"), headers=as_(stage.bob)) == 200
    assert stage.means(stage.alice, user_node(stage.carol)) == []
    assert alice.call("GET", stage.here("services"), headers=as_(stage.carol)) == 403


def test_impersonate_a_cluster_admin_is_everything(stage: Stage) -> None:
    stage.api.post(stage.path("clusterrolebindings"), stage.binding(stage.bob, "ClusterRole", "cluster-admin"))
    stage.person(stage.bob).comes_to(verb="*", group="*", resource="*")
    stage.give(stage.alice, rule("impersonate", "users", "", stage.bob))
    assert stage.person(stage.alice).may(*as_(stage.bob), verb="*", group="*", resource="*")
    assert stage.means(stage.alice, user_node(stage.bob)) == [Means.IMPERSONATE]
    assert stage.paths(stage.alice).reaches_everything


def test_impersonate_the_group_of_masters_beside_any_user(stage: Stage) -> None:
    stage.give(stage.alice, rule("impersonate", "users", "", "nobody"), rule("impersonate", "groups", "", MASTERS))
    alice = stage.person(stage.alice)
    assert stage.means(stage.alice, ALL_OF_IT) == [Means.IMPERSONATE]
    assert alice.may(*as_("nobody", MASTERS), verb="*", group="*", resource="*")
    assert alice.call("GET", "/api/v1/namespaces/kube-system/secrets", headers=as_("nobody", MASTERS)) == 200


def test_groups_without_any_user_are_nothing(stage: Stage) -> None:
    stage.give(stage.alice, rule("impersonate", "groups"))
    alice = stage.person(stage.alice)
    assert alice.call("GET", stage.here("services"), headers=as_("", MASTERS)) >= 400
    assert alice.call("GET", stage.here("services"), headers=as_("nobody", MASTERS)) == 403
    assert stage.means(stage.alice, ALL_OF_IT) == []


def test_groups_go_beside_a_service_account_of_one_namespace_too(stage: Stage) -> None:
    robot = stage.account("robot")
    user = service_account_user(stage.place, "robot")
    stage.give(stage.alice, rule("impersonate", "groups", "", MASTERS))
    stage.give(stage.alice, rule("impersonate", "serviceaccounts"), place=stage.place)
    assert stage.person(stage.alice).call("GET", "/api/v1/services", headers=as_(user, MASTERS)) == 200
    assert stage.means(stage.alice, ALL_OF_IT) == [Means.IMPERSONATE], f"beside {robot.name}"


def test_impersonate_a_service_account(stage: Stage) -> None:
    robot = stage.account("robot", rule("list", "services"))
    stage.give(stage.alice, rule("impersonate", "serviceaccounts"), place=stage.place)
    user = service_account_user(stage.place, "robot")
    stage.give(stage.bob, rule("impersonate", "users", "", user))  # the API server asks for the other resource
    headers = as_(user)
    assert stage.means(stage.alice, robot) == [Means.IMPERSONATE]
    assert stage.person(stage.alice).call("GET", "/api/v1/services", headers=headers) == 200
    assert stage.means(stage.bob, robot) == []
    assert stage.person(stage.bob).call("GET", "/api/v1/services", headers=headers) == 403


def test_who_is_impersonated_cannot_impersonate_on(stage: Stage) -> None:
    stage.give(stage.carol, rule("list", "services"))
    stage.give(stage.bob, rule("impersonate", "users", "", stage.carol))
    stage.give(stage.alice, rule("impersonate", "users", "", stage.bob))
    assert stage.person(stage.bob).call("GET", "/api/v1/services", headers=as_(stage.carol)) == 200
    alice = stage.person(stage.alice)
    assert {alice.call("GET", "/api/v1/services", headers=headers) for headers in (as_(stage.carol), as_(stage.bob))} == {403}
    assert stage.means(stage.alice, user_node(stage.carol)) == []


# --- tokens


def token_of(stage: Stage, user: str, account: str, place: str = "") -> str:
    """The token of a service account as this person gets it; empty if they are refused."""
    path = f"/api/v1/namespaces/{place or stage.place}/serviceaccounts/{account}/token"
    status, answer = stage.person(user).connection.call("POST", path, {"spec": {"expirationSeconds": 600}})
    assert status in {201, 403}, answer
    return str(answer["status"]["token"]) if status == 201 else ""


def test_create_a_token(stage: Stage) -> None:
    robot, other = stage.account("robot", rule("list", "pods")), stage.account("other", rule("list", "pods services"))
    stage.give(stage.alice, rule("create", "serviceaccounts/token", "", "robot"), place=stage.place)
    stage.give(stage.bob, rule("create", "serviceaccounts"), place=stage.place)
    assert stage.means(stage.alice, robot) == [Means.CREATE_TOKENS]
    gained = stage.with_token(token_of(stage, stage.alice, "robot"))
    assert gained.list("/api/v1/namespaces/kube-system/pods") == []
    for user, node in ((stage.alice, other), (stage.bob, robot), (stage.bob, other)):
        assert token_of(stage, user, node.name.partition("/")[2]) == ""
        assert stage.means(user, node) == []


def test_from_a_namespace_over_a_controllers_account_to_everything(stage: Stage) -> None:
    """Two steps: its own controller may escalate, so whoever gets its token changes any ClusterRole."""
    name = stage.give(stage.alice, rule("get", "nothing"))
    stage.give(stage.alice, rule("create", "serviceaccounts/token"), place="kube-system")
    assert stage.means(stage.alice, ALL_OF_IT) == [Means.CREATE_TOKENS, Means.ESCALATE]
    controller = stage.with_token(token_of(stage, stage.alice, "clusterrole-aggregation-controller", "kube-system"))
    controller.put(f"{RBAC}/clusterroles/{name}", {"metadata": stage.named(name), "rules": [EVERYTHING]})
    stage.person(stage.alice).comes_to(verb="*", group="*", resource="*")


@pytest.mark.parametrize("verb", ["get", "list"])
def test_read_a_token(stage: Stage, verb: str) -> None:
    robot = stage.account("robot", rule("list", "services"))
    annotations = {"kubernetes.io/service-account.name": "robot"}
    secret = {"metadata": {"name": "token", "annotations": annotations}, "type": "kubernetes.io/service-account-token"}
    stage.api.post(stage.here("secrets"), secret)
    path = stage.here("secrets" if verb == "list" else "secrets/token")
    wait_until(lambda: "token" in (stage.api.get(stage.here("secrets/token")).get("data") or {}), seconds=20, what="the token")
    stage.give(stage.alice, rule(verb, "secrets"), place=stage.place)
    stage.give(stage.bob, rule("create update delete", "secrets"), rule("get list", "configmaps serviceaccounts"), place=stage.place)
    assert stage.means(stage.alice, robot) == [Means.READ_TOKENS]
    status, answer = stage.person(stage.alice).connection.call("GET", path)
    assert status == 200
    (found,) = answer["items"] if verb == "list" else [answer]
    assert stage.with_token(base64.b64decode(found["data"]["token"]).decode()).may(**GAIN)
    assert stage.person(stage.bob).call("GET", path) == 403
    assert stage.means(stage.bob, robot) == []


# --- approve signing requests

APPROVE = (
    rule("create", "certificatesigningrequests", "certificates.k8s.io"),
    rule("update", "certificatesigningrequests/approval", "certificates.k8s.io"),
    rule("approve", "signers", "certificates.k8s.io", CLIENTS),
)


def certificate(stage: Stage, *subject: tuple[Any, str]) -> Person | int:
    """Who alice becomes by a certificate that she approves herself; the status that refuses her otherwise."""
    connection, key = stage.person(stage.alice).connection, ec.generate_private_key(ec.SECP256R1())
    spec = {"request": base64.b64encode(signing_request(key, *subject)).decode(), "signerName": CLIENTS, "usages": ["client auth"]}
    status, answer = connection.call("POST", CSRS, {"metadata": {"name": f"{stage.place}-{next(_numbers)}"}, "spec": spec})
    if status != 201:
        return status
    approval = {"type": "Approved", "status": "True", "reason": "Test"}
    path, answer = f"{CSRS}/{answer['metadata']['name']}/approval", answer | {"status": {"conditions": [approval]}}
    del answer["metadata"]["resourceVersion"]
    status, _ = connection.call("PUT", path, answer)
    if status != 200:
        return status

    def issued() -> str:
        """They may not read requests; approving once more shows what was signed."""
        return str(connection.call("PUT", path, answer)[1]["status"].get("certificate") or "")

    wait_until(lambda: bool(issued()), seconds=30, what="the certificate")
    pem = base64.b64decode(issued()).decode()
    return Person(Access(stage.plane.server, stage.plane.ca_pem, certificate_pem=pem, key_pem=key_pem(key).decode()), stage.stack)


def test_approve_a_request_for_anybody(stage: Stage) -> None:
    stage.give(stage.bob, rule("list", "services"))
    stage.give(stage.alice, *APPROVE)
    path = stage.means(stage.alice, user_node(stage.bob))
    assert path == [Means.APPROVE_CSRS]
    bob = certificate(stage, (NameOID.COMMON_NAME, stage.bob))
    assert isinstance(bob, Person)
    assert bob.call("GET", "/api/v1/services") == 200
    assert certificate(stage, (NameOID.COMMON_NAME, "x"), (NameOID.ORGANIZATION_NAME, MASTERS)) == 403
    assert stage.means(stage.alice, Node(NodeKind.GROUP, MASTERS)) == []


def test_approve_a_request_for_a_service_account(stage: Stage) -> None:
    robot = stage.account("robot", rule("list", "services configmaps"))
    stage.give(stage.alice, *APPROVE)
    became = certificate(stage, (NameOID.COMMON_NAME, service_account_user(stage.place, "robot")))
    assert isinstance(became, Person)
    assert became.call("GET", "/api/v1/configmaps") == 200
    assert stage.means(stage.alice, robot) == [Means.APPROVE_CSRS]


@pytest.mark.parametrize(
    "rights",
    [
        APPROVE[1:], [APPROVE[0], APPROVE[2]], APPROVE[:2],
        [*APPROVE[:2], rule("approve", "signers", "certificates.k8s.io", "kubernetes.io/kubelet-serving")],
        [rule("create", "certificatesigningrequests", "certificates.k8s.io", "mine"), *APPROVE[1:]],
    ],
    ids=["no create", "no approval", "no signer", "another signer", "create by name, which a creation has not"],
)  # fmt: skip
def test_half_of_approve_is_nothing(stage: Stage, rights: list[Rule]) -> None:
    stage.give(stage.bob, rule("list", "services"))
    stage.give(stage.alice, *rights)
    assert certificate(stage, (NameOID.COMMON_NAME, stage.bob)) == 403
    assert stage.means(stage.alice, user_node(stage.bob)) == []


# --- what nothing here runs: that it is accepted


def created_pod(stage: Stage, user: str) -> int:
    spec = {"serviceAccountName": "robot", "containers": [{"name": "one", "image": "none.invalid/none"}]}
    return stage.person(user).call("POST", stage.here("pods"), {"metadata": {"generateName": "pod-"}, "spec": spec})


def test_run_pods_as_a_service_account(stage: Stage) -> None:
    robot = stage.account("robot", rule("list", "services"))
    stage.give(stage.alice, rule("create", "pods"), place=stage.place)
    stage.give(stage.bob, rule("get update patch delete", "pods"), rule("create", "pods/eviction"), place=stage.place)
    assert (created_pod(stage, stage.alice), stage.means(stage.alice, robot)) == (201, [Means.RUN_PODS])
    assert (created_pod(stage, stage.bob), stage.means(stage.bob, robot)) == (403, [])


def test_run_pods_as_an_account_that_only_its_group_makes_strong(stage: Stage) -> None:
    stage.account("robot")
    group = [{"apiGroup": RBAC_GROUP, "kind": "Group", "name": f"system:serviceaccounts:{stage.place}"}]
    role = stage.give(stage.carol, rule("list", "services"))
    stage.api.post(stage.path("clusterrolebindings"), stage.binding(stage.carol, "ClusterRole", role) | {"subjects": group})
    stage.give(stage.alice, rule("create", "serviceaccounts/token pods"), place=stage.place)
    token = stage.with_token(token_of(stage, stage.alice, "robot"))
    wait_until(lambda: token.may(**GAIN), seconds=20, what="the rights of the group")
    assert created_pod(stage, stage.alice) == 201
    gains = [step for step in stage.paths(stage.alice).steps if step.target.kind is NodeKind.ACCOUNT and step.target.scope == stage.place]
    assert gains != [], "no binding names the account, only its group"


def test_change_webhooks(stage: Stage) -> None:
    stage.give(stage.alice, rule("create", "mutatingwebhookconfigurations", "admissionregistration.k8s.io"))
    stage.give(stage.bob, rule("get list watch delete", "mutatingwebhookconfigurations", "admissionregistration.k8s.io"))
    for user, status, means in ((stage.bob, 403, []), (stage.alice, 201, [Means.CHANGE_WEBHOOKS])):
        assert stage.person(user).call("POST", WEBHOOKS, {"metadata": stage.named(stage.place), "webhooks": []}) == status
        assert stage.means(user, ALL_OF_IT) == means
