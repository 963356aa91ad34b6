"""Connections: a live API server, or an offline cluster that exists only here."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from iam import log
from iam.clusters.base import Applied, BindingStore, ProbeReport, Signer
from iam.clusters.bindings import ApiBindingStore
from iam.clusters.client import ApiServer
from iam.clusters.csr import CsrSigner
from iam.clusters.manifests import rights
from iam.errors import Invalid, NotFound, Unavailable
from iam.kube.bindings import RBAC_GROUP, Binding, Plan, RoleRef
from iam.kube.certificates import MIN_LIFETIME, Mismatch, new_key, new_request, verify_issued
from iam.kube.kubeconfig import Access
from iam.kube.requests import Request

PROBE_USERNAME = "kube-iam-probe"
_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_USER_FACING_ROLES = Path(__file__).with_name("user_facing_roles.json")
"""https://kubernetes.io/docs/reference/access-authn-authz/rbac/#user-facing-roles, as Kubernetes 1.36 makes them."""
_log = log.get(__name__)


class LiveConnection:
    """A cluster that answers over HTTPS. ``signer=None`` means the cluster's own certificates API."""

    def __init__(self, access: Access, instance: str, now: Callable[[], datetime], signer: Signer | None = None) -> None:
        self._now = now
        self._api = ApiServer(access)
        self._signs_itself = signer is None
        self.signer: Signer = signer or CsrSigner(self._api)
        self.bindings: BindingStore = ApiBindingStore(self._api, instance)

    def probe(self, bound_roles: Iterable[RoleRef]) -> ProbeReport:
        """Version, then each right, then one real certificate for a name that holds nothing."""
        version = str(self._api.get("/version").get("gitVersion") or "")
        if not version:
            raise Unavailable("What answers at %(server)s is no Kubernetes API: %(path)s is not as it should be.",
                              server=self._api.server, path="/version")
        missing = tuple(self._missing_rights(bound_roles))
        if not self._signs_itself or missing:
            return ProbeReport(version, missing)
        asked = new_request(new_key(), PROBE_USERNAME)
        try:
            verify_issued(self.signer.sign(asked, MIN_LIFETIME).pem, asked, MIN_LIFETIME, self._now())
        except (Unavailable, Mismatch) as problem:
            return ProbeReport(version, missing, signs=False, problem=str(problem))
        return ProbeReport(version, missing, signs=True)

    def _missing_rights(self, bound_roles: Iterable[RoleRef]) -> Iterable[str]:
        for right in rights(bound_roles, signs=self._signs_itself):
            for verb in right.verbs:
                resource, _, subresource = right.resource.partition("/")
                for name in right.names or ("",):
                    asked = {
                        "verb": verb, "group": right.group, "resource": resource, "subresource": subresource, "name": name,
                    }
                    if not self._api.may(**{key: value for key, value in asked.items() if value}):
                        yield f"{verb} {right.resource}{'/' + name if name else ''}"

    def namespaces(self) -> tuple[str, ...]:
        """Sorted names."""
        return tuple(sorted(item["metadata"]["name"] for item in self._api.list("/api/v1/namespaces")))

    def rbac(self) -> list[dict[str, Any]]:
        """Four LISTs; items of a list carry no kind of their own, so it is put back."""
        found = []
        for kind in ("ClusterRole", "Role", "ClusterRoleBinding", "RoleBinding"):
            found += [{"kind": kind, **item} for item in self._api.list(f"/apis/{RBAC_GROUP}/v1/{kind.lower()}s")]
        return found

    def role(self, role: RoleRef, namespace: str) -> dict[str, Any] | None:
        """One GET."""
        scope = f"namespaces/{quote(namespace, safe='')}/" if role.kind == "Role" else ""
        try:
            found = self._api.get(f"/apis/{RBAC_GROUP}/v1/{scope}{role.kind.lower()}s/{quote(role.name, safe='')}")
        except NotFound:
            return None
        return {"kind": role.kind, **found}

    def allows(self, request: Request) -> bool:
        """One SubjectAccessReview."""
        return self._api.allows(request)

    def roles(self) -> tuple[tuple[str, RoleRef], ...]:
        """ClusterRoles first, then Roles by namespace."""
        base = f"/apis/{RBAC_GROUP}/v1"
        cluster_roles = [("", RoleRef("ClusterRole", item["metadata"]["name"])) for item in self._api.list(f"{base}/clusterroles")]
        local_roles = [
            (item["metadata"]["namespace"], RoleRef("Role", item["metadata"]["name"])) for item in self._api.list(f"{base}/roles")
        ]
        return (*sorted(cluster_roles), *sorted(local_roles))

    def write_config_map(self, namespace: str, name: str, data: Mapping[str, str]) -> None:
        """One GET and one PUT, which fails if somebody else wrote in between."""
        path = f"/api/v1/namespaces/{quote(namespace, safe='')}/configmaps/{quote(name, safe='')}"
        self._api.put(path, {**self._api.get(path), "data": dict(data)})


class OfflineConnection:
    """A cluster that is not there: what would be applied is kept in a file, and shown."""

    def __init__(self, signer: Signer, state_file: Path, instance: str) -> None:
        self.signer = signer
        self.bindings: BindingStore = FileBindingStore(state_file, instance)
        self._instance = instance

    def probe(self, bound_roles: Iterable[RoleRef]) -> ProbeReport:  # noqa: ARG002
        """Always the same."""
        return ProbeReport(version="offline")

    def namespaces(self) -> tuple[str, ...]:
        """The names that every cluster has."""
        return ("default",)

    def rbac(self) -> list[dict[str, Any]]:
        """What the file holds, and the roles that every cluster has for people."""
        bindings = [binding.manifest(self._instance) for binding in self.bindings.owned().values()]
        return [*json.loads(_USER_FACING_ROLES.read_text("utf-8")), *bindings]

    def role(self, role: RoleRef, namespace: str) -> dict[str, Any] | None:  # noqa: ARG002
        """One of those that every cluster has."""
        known: list[dict[str, Any]] = json.loads(_USER_FACING_ROLES.read_text("utf-8"))
        return next((one for one in known if (one["kind"], one["metadata"]["name"]) == (role.kind, role.name)), None)

    def write_config_map(self, namespace: str, name: str, data: Mapping[str, str]) -> None:  # noqa: ARG002
        """There is nothing to write to."""
        raise Unavailable("An offline cluster keeps no ConfigMap.")

    def allows(self, request: Request) -> bool:  # noqa: ARG002
        """Nothing decides there."""
        raise Unavailable("An offline cluster decides nothing.")

    def roles(self) -> tuple[tuple[str, RoleRef], ...]:
        """The user-facing roles that every cluster has."""
        return tuple(("", RoleRef("ClusterRole", name)) for name in ("admin", "cluster-admin", "edit", "view"))


class FileBindingStore:
    """Bindings as manifests in one JSON file, replaced atomically."""

    def __init__(self, path: Path, instance: str) -> None:
        self._path = path
        self._instance = instance

    def owned(self) -> Mapping[tuple[str, str], Binding]:
        """What was written last."""
        if not self._path.exists():
            return {}
        found = [Binding.from_manifest(item) for item in json.loads(self._path.read_text("utf-8"))]
        return {binding.key: binding for binding in found}

    def apply(self, plan: Plan) -> Applied:
        """Write all of it or nothing."""
        bindings = dict(self.owned())
        for binding in plan.remove:
            bindings.pop(binding.key, None)
        bindings |= {binding.key: binding for binding in (*plan.replace, *plan.create)}
        manifests = [bindings[key].manifest(self._instance) for key in sorted(bindings)]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps(manifests), "utf-8")
        fresh.replace(self._path)
        return Applied(len(plan))


def in_cluster_access() -> Access:
    """Our own ServiceAccount, as mounted into a pod. Raises Invalid outside of one."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    try:
        token = (_SERVICE_ACCOUNT / "token").read_text("utf-8").strip()
        ca_pem = (_SERVICE_ACCOUNT / "ca.crt").read_text("utf-8")
    except OSError:
        host = None
        token = ca_pem = ""
    if not host:
        raise Invalid("There is no ServiceAccount here: we do not run inside a cluster.", field="access")
    address = f"[{host}]" if ":" in host else host
    return Access(server=f"https://{address}:{port}", ca_pem=ca_pem, token=token)


