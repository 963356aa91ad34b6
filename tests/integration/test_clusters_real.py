"""The real control plane, registered with the ServiceAccount of our own manifest: enough for everything, and no more."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from fixtures.offline import events, give, request_of
from fixtures.product import Kubectl, Product
from fixtures.real import RBAC, Run, bound

from iam.clusters.client import ApiServer
from iam.clusters.throwaway import ControlPlane
from iam.kube.bindings import RBAC_GROUP, RoleRef
from iam.kube.kubeconfig import Access
from iam.services.access import NewMapping
from iam.services.clusters import Registration


@pytest.fixture
def least(product: Product, control_plane: ControlPlane, api: ApiServer, admin: Run, tmp_path: Path, place: str) -> Product:
    """Registered with the ServiceAccount of our own manifest, which may bind `view`."""
    with product.app.app_context():
        manifest = product.services.clusters.manifest(product.operator, roles=[RoleRef("ClusterRole", "view")])
    (tmp_path / "manifest.yaml").write_text(manifest, "utf-8")
    admin("apply", "-f", str(tmp_path / "manifest.yaml"))
    admin("-n", "kube-iam", "wait", "--for=jsonpath={.data.token}", "secret/kube-iam-token", "--timeout=20s")
    secret = json.loads(admin("-n", "kube-iam", "get", "secret", "kube-iam-token", "-o", "json"))["data"]
    token, ca_pem = (base64.b64decode(secret[key]).decode() for key in ("token", "ca.crt"))
    product.account("erin", "engineers")
    with product.app.app_context():
        command = Registration("prod", server=control_plane.server, ca_pem=ca_pem, token=token)
        product.services.clusters.register(product.operator, command)
        product.services.access.create(product.operator, NewMapping("local:engineers", "prod", "ClusterRole", "view", (place,)))
    return product


def test_the_probe_misses_no_right_and_sees_it_sign(least: Product) -> None:
    with least.app.app_context():
        report = least.services.clusters.probe(least.operator, "prod").probe
    assert report is not None
    assert report["version"].startswith("v1.")
    assert (report["missing_rights"], report["signs"], report["problem"]) == ([], True, "")


def test_a_download_works_with_no_more_than_these_rights(least: Product, kubectl: Kubectl, tmp_path: Path, place: str) -> None:
    browser = least.logged_in("erin")
    least.work()
    kubeconfig = browser.post("/kubeconfig/prod", key="ours", minutes="10").text
    assert kubectl(kubeconfig, "-n", place, "get", "pods", folder=tmp_path).returncode == 0
    assert "forbidden" in kubectl(kubeconfig, "-n", place, "create", "configmap", "x", folder=tmp_path).stderr
    assert "Forbidden" in kubectl(kubeconfig, "-n", "default", "get", "pods", folder=tmp_path).stderr


EVERYBODY = {"system:basic-user", "system:discovery", "system:public-info-viewer", "system:service-account-issuer-discovery"}


def rules_of(role: Any) -> set[str]:
    return {json.dumps({key: sorted(value) for key, value in rule.items()}, sort_keys=True) for rule in role["rules"]}


def test_it_may_do_exactly_what_the_manifest_lists(least: Product, api: ApiServer) -> None:
    with least.app.app_context():
        cluster = least.services.clusters.get(least.operator, "prod")
        own = ApiServer(Access(**least.services.world.vault.open(cluster.credential or b"")))
        manifest = list(yaml.safe_load_all(least.services.clusters.manifest(least.operator, "prod")))
    asked = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": "kube-system"}}
    status = own.post("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", asked)["status"]
    assert status["incomplete"] is False
    everybody = [rule for name in EVERYBODY for rule in api.get(f"{RBAC}/clusterroles/{name}")["rules"] if "resources" in rule]
    (listed,) = [one for one in manifest if one["kind"] == "ClusterRole"]
    assert rules_of({"rules": status["resourceRules"]}) == rules_of(listed) | rules_of({"rules": everybody})


@pytest.mark.parametrize(
    ("allowed", "attributes"),
    [
        (True, {"verb": "bind", "group": RBAC_GROUP, "resource": "clusterroles", "name": "view"}),
        (False, {"verb": "bind", "group": RBAC_GROUP, "resource": "clusterroles", "name": "cluster-admin"}),
        (False, {"verb": "bind", "group": RBAC_GROUP, "resource": "roles", "name": "view"}),
        (False, {"verb": "escalate", "group": RBAC_GROUP, "resource": "clusterroles"}),
        (False, {"verb": "update", "group": RBAC_GROUP, "resource": "clusterroles"}),
        (True, {"verb": "approve", "group": "certificates.k8s.io", "resource": "signers", "name": "kubernetes.io/kube-apiserver-client"}),
        (False, {"verb": "approve", "group": "certificates.k8s.io", "resource": "signers", "name": "kubernetes.io/kubelet-serving"}),
        (False, {"verb": "sign", "group": "certificates.k8s.io", "resource": "signers", "name": "kubernetes.io/kube-apiserver-client"}),
        (False, {"verb": "impersonate", "resource": "users"}),
        (False, {"verb": "get", "resource": "secrets"}),
        (False, {"verb": "create", "resource": "serviceaccounts", "subresource": "token"}),
        (False, {"verb": "create", "resource": "pods"}),
    ],
    ids=lambda value: " ".join(value.values()) if isinstance(value, dict) else "",
)
def test_the_dangerous_rights_are_named_or_absent(least: Product, api: ApiServer, allowed: bool, attributes: dict[str, str]) -> None:
    spec = {"user": "system:serviceaccount:kube-iam:kube-iam", "groups": ["system:authenticated"], "resourceAttributes": attributes}
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
    assert api.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", review)["status"]["allowed"] is allowed


def test_a_role_that_was_not_listed_is_refused_and_the_probe_names_the_right(least: Product, api: ApiServer, place: str) -> None:
    give(least, "local:engineers", "admin", place)
    least.logged_in("erin")
    with least.app.app_context():
        outcome = least.services.reconciler.run(least.operator, "prod")
        assert outcome is not None
        report = least.services.clusters.probe(least.operator, "prod").probe
    assert "admin" in outcome.error
    assert [subjects for name, subjects in bound(api, place).items() if "-view-" in name] == [["erin"]], "the allowed one is there"
    assert not [name for name in bound(api, place) if "-admin-" in name]
    assert report is not None
    assert report["missing_rights"] == ["bind clusterroles/admin"]


def test_the_manifest_has_no_wildcard_and_names_what_it_binds_and_approves(least: Product) -> None:
    with least.app.app_context():
        documents = list(yaml.safe_load_all(least.services.clusters.manifest(least.operator, "prod")))
    (role,) = [one for one in documents if one["kind"] == "ClusterRole"]
    assert "*" not in json.dumps(role["rules"])
    assert not {"escalate", "impersonate"} & {verb for rule in role["rules"] for verb in rule["verbs"]}
    named = {verb: rule.get("resourceNames") for rule in role["rules"] for verb in rule["verbs"] if verb in {"bind", "approve"}}
    assert named == {"bind": ["view"], "approve": ["kubernetes.io/kube-apiserver-client"]}


def test_an_own_request_is_signed_by_the_real_signer(least: Product, place: str) -> None:
    headers = least.token("erin", "kubeconfig")
    answer = least.api("POST", "/kubeconfig", headers, {"csr": request_of("erin").decode(), "lifetime_seconds": 600})
    assert answer.status_code == 200, answer.text
    (event,) = events(least, action="credential.issued")
    assert event.details["request"].startswith("kube-iam-")
