"""The least rights that we need on a cluster: printed as a manifest, asked for by the probe. One list for both."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from iam.clusters.csr import SIGNER
from iam.kube import manifest_yaml
from iam.kube.bindings import MANAGED_BY, MANAGER, RBAC_GROUP, RoleRef

NAMESPACE = "kube-iam"
ACCOUNT = "kube-iam"


@dataclass(frozen=True, slots=True)
class Right:
    """One rule of our own ClusterRole, and why we need it."""

    why: str
    group: str
    resource: str
    verbs: tuple[str, ...]
    names: tuple[str, ...] = ()


def rights(roles: Iterable[RoleRef] = (), *, signs: bool = True, asks: bool = False) -> list[Right]:
    """Every rule we need: to sign (optional), to keep bindings, and ``bind`` on exactly the roles given; to ask about policies (optional).

    ``bind`` by name lets us hand out a role without holding its powers, and no other role
    (https://kubernetes.io/docs/reference/access-authn-authz/rbac/#restrictions-on-role-binding-creation-or-update).
    """
    signing = [
        Right("ask for people's certificates", "certificates.k8s.io", "certificatesigningrequests", ("create", "get")),
        Right("approve them", "certificates.k8s.io", "certificatesigningrequests/approval", ("update",)),
        Right("for this signer only", "certificates.k8s.io", "signers", ("approve",), (SIGNER,)),
    ]
    keeping = [
        Right(
            "keep our bindings", RBAC_GROUP, kind, ("get", "list", "create", "update", "delete"),
        )
        for kind in ("clusterrolebindings", "rolebindings")
    ]
    reading = [
        Right("offer roles to choose from", RBAC_GROUP, "clusterroles", ("get", "list")),
        Right("offer roles to choose from", RBAC_GROUP, "roles", ("get", "list")),
        Right("offer namespaces to choose from", "", "namespaces", ("list",)),
    ]
    asking = [Right("see whether a published policy counts yet", "authorization.k8s.io", "subjectaccessreviews", ("create",))]
    names: dict[str, set[str]] = {"clusterroles": set(), "roles": set()}
    for role in roles:
        names["clusterroles" if role.kind == "ClusterRole" else "roles"].add(role.name)
    binding = [
        Right("hand out these roles and no others", RBAC_GROUP, kind, ("bind",), tuple(sorted(found)))
        for kind, found in names.items()
        if found
    ]
    return [*(signing if signs else []), *keeping, *reading, *(asking if asks else []), *binding]


def manifest(roles: Iterable[RoleRef], *, signs: bool = True, asks: bool = False) -> str:
    """Namespace, ServiceAccount, token Secret, ClusterRole and ClusterRoleBinding as YAML."""
    labels = {MANAGED_BY: MANAGER}
    metadata = {"name": ACCOUNT, "labels": labels}
    in_namespace = metadata | {"namespace": NAMESPACE}
    objects = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": in_namespace},
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/service-account-token",
            "metadata": in_namespace
            | {"name": f"{ACCOUNT}-token", "annotations": {"kubernetes.io/service-account.name": ACCOUNT}},
        },
        {
            "apiVersion": f"{RBAC_GROUP}/v1",
            "kind": "ClusterRole",
            "metadata": metadata,
            "rules": [_rule(right) for right in rights(roles, signs=signs, asks=asks)],
        },
        {
            "apiVersion": f"{RBAC_GROUP}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": ACCOUNT},
            "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": NAMESPACE}],
        },
    ]
    return manifest_yaml.dump_all(objects)


def _rule(right: Right) -> dict[str, list[str]]:
    rule = {"apiGroups": [right.group], "resources": [right.resource], "verbs": list(right.verbs)}
    return rule | ({"resourceNames": list(right.names)} if right.names else {})
