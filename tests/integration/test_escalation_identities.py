"""Steps to other identities, really taken on a real control plane as the escalation engine tells them; and near misses.

Impersonation, tokens, certificates, pods and webhooks; what writes RBAC itself stands in test_escalation_live.py.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fixtures.offline import signing_request
from fixtures.real import RBAC
from fixtures.stage import EVERYTHING, GAIN, WEBHOOKS, Person, Rule, Stage, numbers, on_stage, rule, user_node
from rigs.processes import wait_until

from iam.clusters.client import ApiServer
from iam.clusters.throwaway import ControlPlane
from iam.kube.bindings import RBAC_GROUP
from iam.kube.certificates import key_pem
from iam.kube.escalation_steps import ALL_OF_IT, Means, Node, NodeKind
from iam.kube.kubeconfig import Access
from iam.kube.requests import MASTERS, service_account_user

CSRS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
CLIENTS = "kubernetes.io/kube-apiserver-client"


@pytest.fixture
def stage(control_plane: ControlPlane, api: ApiServer) -> Iterator[Stage]:
    with on_stage(control_plane, api) as made:
        yield made


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
    status, answer = connection.call("POST", CSRS, {"metadata": {"name": f"{stage.place}-{next(numbers)}"}, "spec": spec})
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
