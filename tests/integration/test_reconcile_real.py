"""Bindings on the real control plane: made, kept in line, repaired, and nothing of anybody else's touched."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from fixtures.offline import events, give
from fixtures.product import Product
from fixtures.real import RBAC, Run, bound
from rigs.relay import Relay

from iam.clusters.client import ApiServer
from iam.clusters.throwaway import ControlPlane
from iam.kube.bindings import Plan
from iam.services.clusters import Registration


@pytest.fixture
def ours(product: Product, control_plane: ControlPlane, api: ApiServer) -> Iterator[Product]:
    """Two engineers; the cluster is registered; bindings of this test are swept in the end."""
    for name in ("erin", "olga"):
        product.account(name, "engineers")
        product.logged_in(name)
    product.register(control_plane)
    yield product
    with product.app.app_context():
        for mapping in product.services.access.mappings(product.operator):
            product.services.access.remove(product.operator, mapping.id)
        product.services.reconciler.run(product.operator, "prod")


@pytest.fixture
def relay(control_plane: ControlPlane) -> Iterator[Relay]:
    """The way to the control plane, which can be cut."""
    with Relay(int(control_plane.server.rsplit(":", 1)[1])) as relay:
        yield relay


def reconcile(product: Product) -> Plan:
    with product.app.app_context():
        outcome = product.services.reconciler.run(product.operator, "prod")
        assert outcome is not None
        assert outcome.error == ""
        return outcome.plan


def test_the_second_run_has_nothing_to_do_and_names_are_the_same_again(ours: Product, api: ApiServer, place: str) -> None:
    mapping = give(ours, "local:engineers", "edit", place)
    assert len(reconcile(ours).create) == 1
    before = bound(api, place)
    assert list(before.values()) == [["erin", "olga"]]
    assert reconcile(ours).is_empty
    with ours.app.app_context():
        ours.services.access.remove(ours.operator, mapping)
    assert len(reconcile(ours).remove) == 1
    assert bound(api, place) == {}
    give(ours, "local:engineers", "edit", place)
    reconcile(ours)
    assert bound(api, place) == before


def test_a_cluster_wide_mapping_is_a_cluster_role_binding_of_ours(ours: Product, api: ApiServer) -> None:
    give(ours, "local:engineers", "view")
    (binding,) = reconcile(ours).create
    found = api.get(f"{RBAC}/clusterrolebindings/{binding.name}")
    assert found["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "kube-iam", "kube-iam.io/instance": "default"}
    assert [one["name"] for one in found["subjects"]] == ["erin", "olga"]


@pytest.mark.parametrize("labels", [{}, {"app.kubernetes.io/managed-by": "helm"}, {"kube-iam.io/instance": "default"},
                                    {"app.kubernetes.io/managed-by": "kube-iam", "kube-iam.io/instance": "other"}])  # fmt: skip
def test_a_binding_of_somebody_else_is_left_alone_even_with_our_name(
    ours: Product, api: ApiServer, place: str, labels: dict[str, str]
) -> None:
    give(ours, "local:engineers", "edit", place)
    with ours.app.app_context():
        ((_, wanted),) = ours.services.reconciler.desired("prod").items()
    path = f"{RBAC}/namespaces/{place}/rolebindings"
    foreign = wanted.manifest("x") | {"metadata": {"name": wanted.name, "labels": labels}, "subjects": []}
    bystander = foreign | {"metadata": {"name": "bystander"}}
    before = [api.post(path, one) for one in (foreign, bystander)]
    try:
        with ours.app.app_context():
            outcome = ours.services.reconciler.run(ours.operator, "prod")
        assert outcome is not None
        assert "not ours" in outcome.error
        assert [api.get(f"{path}/{one['metadata']['name']}") for one in before] == before
    finally:
        for one in before:
            api.delete(f"{path}/{one['metadata']['name']}")
    assert len(reconcile(ours).create) == 1, "once the name is free"


@pytest.mark.parametrize(
    "meddle",
    [
        ("delete", "rolebinding", "{name}"),
        ("patch", "rolebinding", "{name}", "--type=json", '-p=[{{"op":"remove","path":"/subjects/0"}}]'),
        ("set", "subject", "rolebinding", "{name}", "--user=mallory"),
        ("set", "subject", "rolebinding", "{name}", "--serviceaccount=default:default"),
        ("annotate", "rolebinding", "{name}", "--overwrite", "kube-iam.io/because=nothing"),
    ],
    ids=lambda meddle: " ".join(meddle[:2]) + meddle[-1][-12:],
)
def test_drift_is_seen_and_repaired(ours: Product, api: ApiServer, admin: Run, place: str, meddle: tuple[str, ...]) -> None:
    give(ours, "local:engineers", "edit", place)
    reconcile(ours)
    ((name, subjects),) = bound(api, place).items()
    admin("-n", place, *(part.format(name=name) for part in meddle))
    with ours.app.app_context():
        seen = ours.services.reconciler.plan(ours.operator, "prod")
    assert len(seen) == 1
    assert reconcile(ours) == seen
    assert bound(api, place) == {name: subjects}
    assert reconcile(ours).is_empty


def test_a_binding_of_ours_that_nobody_asked_for_goes(ours: Product, api: ApiServer, place: str) -> None:
    give(ours, "local:engineers", "edit", place)
    reconcile(ours)
    ((name, _),) = bound(api, place).items()
    copied = api.get(f"{RBAC}/namespaces/{place}/rolebindings/{name}")
    copied["metadata"] = {"name": "planted", "labels": copied["metadata"]["labels"]}
    api.post(f"{RBAC}/namespaces/{place}/rolebindings", copied)
    assert [binding.name for binding in reconcile(ours).remove] == ["planted"]
    assert list(bound(api, place)) == [name]


def test_drift_is_repaired_by_the_worker_within_ten_minutes(ours: Product, api: ApiServer, admin: Run, place: str) -> None:
    give(ours, "local:engineers", "edit", place)
    ours.work()
    ((name, _),) = bound(api, place).items()
    admin("-n", place, "delete", "rolebinding", name)
    ours.work()
    assert bound(api, place) == {}
    ours.clock.forward(minutes=10)
    ours.work()
    assert list(bound(api, place)) == [name]


def test_a_change_of_people_changes_the_subjects_in_place(ours: Product, api: ApiServer, place: str) -> None:
    give(ours, "local:engineers", "edit", place)
    reconcile(ours)
    (before,) = api.list(f"{RBAC}/namespaces/{place}/rolebindings")
    ours.account("zoe", "engineers")
    ours.logged_in("zoe")
    assert len(reconcile(ours).replace) == 1
    (after,) = api.list(f"{RBAC}/namespaces/{place}/rolebindings")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert [one["name"] for one in after["subjects"]] == ["erin", "olga", "zoe"]


def test_a_cluster_that_goes_away_and_comes_back_is_brought_in_line(
    ours: Product, control_plane: ControlPlane, relay: Relay, api: ApiServer, place: str
) -> None:
    document: Any = yaml.safe_load(control_plane.kubeconfig())
    document["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{relay.port}"
    with ours.app.app_context():
        ours.services.clusters.renew(ours.operator, Registration("prod", kubeconfig=yaml.safe_dump(document)))
    ours.work()
    relay.cut()
    give(ours, "local:engineers", "edit", place)
    for _ in range(4):
        ours.work()
        ours.clock.forward(minutes=5)
    assert bound(api, place) == {}
    assert len(events(ours, action="cluster.away")) == 1
    relay.mend()
    ours.work()
    assert list(bound(api, place).values()) == [["erin", "olga"]]
