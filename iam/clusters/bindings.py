"""Our bindings on one API server: found by label, changed only where the label says that they are ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

from iam import log
from iam.clusters.base import Applied
from iam.clusters.client import ApiServer
from iam.errors import Conflict, NotFound, Problem, Unavailable
from iam.kube.bindings import API_VERSION, INSTANCE, MANAGED_BY, MANAGER, Binding, Plan

BASE = f"/apis/{API_VERSION}"
_log = log.get(__name__)


class ApiBindingStore:
    """RoleBindings and ClusterRoleBindings that carry our instance's label."""

    def __init__(self, api: ApiServer, instance: str) -> None:
        self._api = api
        self._instance = instance
        self._selector = f"{MANAGED_BY}={MANAGER},{INSTANCE}={instance}"

    def owned(self) -> Mapping[tuple[str, str], Binding]:
        """Two LIST requests, however many namespaces."""
        items = [item for kind in ("clusterrolebindings", "rolebindings") for item in self._api.list(f"{BASE}/{kind}", self._selector)]
        try:
            found = [Binding.from_manifest(item) for item in items]
        except (KeyError, TypeError, AttributeError):
            raise Unavailable("The cluster at %(server)s lists bindings that are none.", server=self._api.server) from None
        return {binding.key: binding for binding in found}

    def apply(self, plan: Plan) -> Applied:
        """Remove, then replace, then create, each in parallel; one failure holds up nothing else."""
        errors: list[str] = []
        changed = 0
        with ThreadPoolExecutor(max_workers=self._api.parallel, thread_name_prefix="bindings") as pool:
            steps: tuple[tuple[Callable[[Binding], None], tuple[Binding, ...]], ...] = (
                (self._remove, plan.remove), (self._replace, plan.replace), (self._create, plan.create),
            )
            for change, bindings in steps:
                for error in pool.map(lambda binding, change=change: self._attempt(change, binding), bindings):
                    changed += error is None
                    errors += [error] if error else []
        return Applied(changed, tuple(errors))

    def _attempt(self, change: Callable[[Binding], None], binding: Binding) -> str | None:
        try:
            change(binding)
        except Problem as problem:
            where = f"{binding.kind} {binding.namespace + '/' if binding.namespace else ''}{binding.name}"
            _log.warning("binding not changed", binding=where, role=str(binding.role), error=str(problem))
            return f"{where}: {problem}"
        return None

    def _remove(self, binding: Binding) -> None:
        try:
            metadata = self._ours(binding)["metadata"]
            self._api.delete(_path(binding), {"preconditions": {"uid": metadata["uid"]}})
        except NotFound:
            pass  # gone is what we wanted

    def _replace(self, binding: Binding) -> None:
        try:
            found = self._ours(binding)
        except NotFound:
            self._create(binding)
            return
        manifest = binding.manifest(self._instance)
        manifest["metadata"] = found["metadata"] | {
            "labels": found["metadata"].get("labels", {}) | manifest["metadata"]["labels"],
            "annotations": (found["metadata"].get("annotations") or {}) | manifest["metadata"]["annotations"],
        }
        self._api.put(_path(binding), manifest)

    def _create(self, binding: Binding) -> None:
        try:
            self._api.post(_collection(binding), binding.manifest(self._instance))
        except Conflict:
            self._ours(binding)  # raises when the name is taken by somebody else
            self._replace(binding)

    def _ours(self, binding: Binding) -> dict[str, Any]:
        """The object as it is now, if its label still says that it is ours."""
        found = self._api.get(_path(binding))
        metadata = found.get("metadata")
        if not isinstance(metadata, dict) or "uid" not in metadata:
            raise Unavailable("The cluster at %(server)s lists bindings that are none.", server=self._api.server)
        labels = metadata.get("labels") or {}
        if labels.get(MANAGED_BY) != MANAGER or labels.get(INSTANCE) != self._instance:
            raise Conflict("There is a %(kind)s %(name)s that is not ours.", kind=binding.kind, name=binding.name)
        return found


def _collection(binding: Binding) -> str:
    if binding.namespace:
        return f"{BASE}/namespaces/{binding.namespace}/rolebindings"
    return f"{BASE}/clusterrolebindings"


def _path(binding: Binding) -> str:
    return f"{_collection(binding)}/{quote(binding.name, safe='')}"
