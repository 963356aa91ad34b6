"""The main job on real parts: log in, be mapped, download, kubectl works; leave the group, kubectl is forbidden."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Literal

import pytest
from fixtures.product import Kubectl, ProductMaker
from rigs.openid_provider import OpenIDProvider
from rigs.slapd import Slapd

from iam.clusters.client import ApiServer
from iam.clusters.throwaway import ControlPlane
from iam.errors import Conflict
from iam.kube.kubeconfig import read
from iam.services.access import NewMapping


def namespace(plane: ControlPlane, name: str) -> str:
    with suppress(Conflict):
        ApiServer(read(plane.kubeconfig())).post("/api/v1/namespaces", {"metadata": {"name": name}})
    return name


def ldap(slapd: Slapd) -> dict[str, object]:
    return {
        "kind": "ldap", "name": "corp", "servers": [slapd.uri], "ca_file": str(slapd.ca_file), "bind_dn": slapd.reader_dn,
        "bind_password": slapd.reader_password, "user_base": slapd.people, "group_base": slapd.groups,
    }


def test_by_ldap_from_login_to_kubectl_and_out_again(
    make_product: ProductMaker, slapd: Slapd, control_plane: ControlPlane, kubectl: Kubectl, tmp_path: Path
) -> None:
    slapd.clear()
    erin = slapd.add_person("erin", "Erin Engel", "erin@example.org", "pass-of-erin")
    other = slapd.add_person("olga", "Olga Other", "olga@example.org", "pass-of-olga")
    group = slapd.add_group("engineers", [erin, other])
    product = make_product(directories=[ldap(slapd)], roles={})
    inside, outside = namespace(control_plane, "ldap-inside"), namespace(control_plane, "ldap-outside")
    product.register(control_plane)
    with product.app.app_context():
        product.services.access.create(product.operator, NewMapping("corp:engineers", "prod", "ClusterRole", "edit", (inside,)))

    browser = product.logged_in("erin", "corp", "pass-of-erin")
    product.work()
    assert "edit" in browser.get("/").text
    answer = browser.post("/kubeconfig/prod", key="ours", minutes="10")
    assert answer.status_code == 200
    kubeconfig = answer.text

    assert "erin" in kubectl(kubeconfig, "auth", "whoami", folder=tmp_path).stdout
    allowed = kubectl(kubeconfig, "-n", inside, "create", "configmap", "made-by-erin", folder=tmp_path)
    assert allowed.returncode == 0, allowed.stderr
    forbidden = kubectl(kubeconfig, "-n", outside, "get", "pods", folder=tmp_path)
    assert forbidden.returncode != 0
    assert "Forbidden" in forbidden.stderr

    slapd.remove_member(group, erin)
    product.clock.forward(seconds=61)
    product.work()  # sees it
    product.work()  # carries it to the cluster
    gone = kubectl(kubeconfig, "-n", inside, "get", "configmaps", folder=tmp_path)
    assert gone.returncode != 0
    assert "Forbidden" in gone.stderr
    assert "erin" in kubectl(kubeconfig, "auth", "whoami", folder=tmp_path).stdout, "the certificate itself still runs"


@pytest.mark.parametrize("groups_in", ["id_token", "userinfo"])
def test_by_oidc_from_login_to_kubectl_and_out_again(
    make_product: ProductMaker, control_plane: ControlPlane, kubectl: Kubectl, tmp_path: Path, groups_in: Literal["id_token", "userinfo"],
) -> None:
    callback = "http://localhost/login/sso/callback"
    inside = namespace(control_plane, f"oidc-{groups_in.replace('_', '-')}")
    with OpenIDProvider([callback], groups_in=groups_in) as provider:
        person = {"preferred_username": "olive", "name": "Olive Olsen", "email": "olive@example.org", "groups": ["oidc-engineers"]}
        provider.set_account("olive-subject", person)
        directory = {
            "kind": "oidc", "name": "sso", "issuer": provider.issuer, "client_id": provider.client_id,
            "client_secret": provider.client_secret, "insecure_http": True, "scopes": ["openid", "profile", "email", "groups"],
        }
        product = make_product(directories=[directory], roles={}, server={"public_url": "http://localhost"})
        product.register(control_plane)
        with product.app.app_context():
            product.services.access.create(product.operator, NewMapping("sso:oidc-engineers", "prod", "ClusterRole", "view", (inside,)))

        browser = product.browser()

        def log_in() -> None:
            start = browser.get("/login/sso/start")
            back = provider.sign_in(start.location, "olive-subject")
            answer = browser.get(back.removeprefix("http://localhost"))
            assert answer.status_code == 302, answer.text

        log_in()
        product.work()
        kubeconfig = browser.post("/kubeconfig/all", key="ours").text
        assert kubectl(kubeconfig, "-n", inside, "get", "pods", folder=tmp_path).returncode == 0
        assert "Forbidden" in kubectl(kubeconfig, "-n", "default", "get", "pods", folder=tmp_path).stderr

        provider.set_account("olive-subject", person | {"groups": []})
        log_in()
        product.work()
        assert "Forbidden" in kubectl(kubeconfig, "-n", inside, "get", "pods", folder=tmp_path).stderr
