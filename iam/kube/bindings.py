"""From entitlements to bindings, and from bindings to a plan.

An entitlement is "this subject holds this role in this scope, because of that". Entitlements of one role in one
scope become one binding (kube-apiserver walks all bindings linearly, so few large ones are faster than many small
ones), split only when it would grow near etcd's limit of 1.5 MiB an object. Names are deterministic, so applying
twice changes nothing and two workers cannot create twins. ``roleRef`` is immutable in Kubernetes; it is part of the
name, so it never has to change.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

RBAC_GROUP = "rbac.authorization.k8s.io"
API_VERSION = f"{RBAC_GROUP}/v1"
MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "kube-iam"
INSTANCE = "kube-iam.io/instance"
BECAUSE = "kube-iam.io/because"
SUBJECTS_PER_BINDING = 2000


@dataclass(frozen=True, slots=True, order=True)
class Subject:
    """Who a binding is for. We bind users and groups; service accounts belong to workloads, not to people."""

    kind: Literal["User", "Group"]
    name: str


@dataclass(frozen=True, slots=True, order=True)
class RoleRef:
    """Which role."""

    kind: Literal["Role", "ClusterRole"]
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True, slots=True)
class Entitlement:
    """A subject holds a role in a namespace (None: the whole cluster), because of a mapping or a grant."""

    subject: Subject
    role: RoleRef
    namespace: str | None
    because: str
    """A word without blanks or commas, such as ``mapping:<id>``."""

    def __post_init__(self) -> None:
        """Refuse what no binding could say."""
        if self.namespace == "" or (self.namespace is None and self.role.kind == "Role"):
            raise ValueError("a Role is held in a namespace; the whole cluster is None")
        if not self.because or not self.because.isprintable() or set(self.because) & {",", " "}:
            raise ValueError("because is one word")


@dataclass(frozen=True, slots=True)
class Binding:
    """A RoleBinding (with a namespace) or a ClusterRoleBinding (without)."""

    name: str
    namespace: str | None
    role: RoleRef
    subjects: frozenset[Subject]
    because: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """The Kubernetes kind."""
        return "RoleBinding" if self.namespace else "ClusterRoleBinding"

    @property
    def key(self) -> tuple[str, str]:
        """Where it lives: (namespace or empty, name)."""
        return self.namespace or "", self.name

    def manifest(self, instance: str) -> dict[str, Any]:
        """The object as the API takes it."""
        metadata: dict[str, Any] = {
            "name": self.name,
            "labels": {MANAGED_BY: MANAGER, INSTANCE: instance},
            "annotations": {BECAUSE: ",".join(self.because)},
        }
        if self.namespace:
            metadata["namespace"] = self.namespace
        return {
            "apiVersion": API_VERSION,
            "kind": self.kind,
            "metadata": metadata,
            "roleRef": {"apiGroup": RBAC_GROUP, "kind": self.role.kind, "name": self.role.name},
            "subjects": [
                {"apiGroup": RBAC_GROUP, "kind": subject.kind, "name": subject.name} for subject in sorted(self.subjects)
            ],
        }

    @classmethod
    def from_manifest(cls, found: dict[str, Any]) -> Binding:
        """Read what a cluster holds; subjects of other kinds, which we never write, show up as a difference."""
        metadata, role = found["metadata"], found["roleRef"]
        because = (metadata.get("annotations") or {}).get(BECAUSE, "")
        return cls(
            name=metadata["name"],
            namespace=metadata.get("namespace"),
            role=RoleRef(role["kind"], role["name"]),
            subjects=frozenset(Subject(item["kind"], item["name"]) for item in found.get("subjects") or ()),
            because=tuple(because.split(",")) if because else (),
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do so that found becomes desired. Removals first: access ends before other access begins."""

    remove: tuple[Binding, ...] = ()
    replace: tuple[Binding, ...] = ()
    create: tuple[Binding, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Nothing to do."""
        return not (self.remove or self.replace or self.create)

    def __len__(self) -> int:
        return len(self.remove) + len(self.replace) + len(self.create)


def compile_bindings(entitlements: Iterable[Entitlement]) -> dict[tuple[str, str], Binding]:
    """The bindings that grant exactly these entitlements, by key."""
    places: dict[tuple[RoleRef, str | None], dict[Subject, set[str]]] = defaultdict(lambda: defaultdict(set))
    for entitlement in entitlements:
        places[entitlement.role, entitlement.namespace][entitlement.subject].add(entitlement.because)
    bindings = (
        Binding(binding_name(role, part), namespace, role, members, tuple(sorted(set().union(*(reasons[one] for one in members)))))
        for (role, namespace), reasons in places.items()
        for part, members in _split(set(reasons))
    )
    return {binding.key: binding for binding in bindings}


def plan(desired: dict[tuple[str, str], Binding], found: dict[tuple[str, str], Binding]) -> Plan:
    """The difference. What is found and not desired goes: the caller passes only what we own.

    ``roleRef`` is immutable, so a binding of our name with another role is removed and made anew.
    """
    both = sorted(found.keys() & desired.keys())
    anew = [key for key in both if found[key].role != desired[key].role]
    return Plan(
        remove=tuple(found[key] for key in [*sorted(found.keys() - desired.keys()), *anew]),
        replace=tuple(desired[key] for key in both if key not in anew and found[key] != desired[key]),
        create=tuple(desired[key] for key in [*sorted(desired.keys() - found.keys()), *anew]),
    )


def binding_name(role: RoleRef, part: str = "") -> str:
    """``kube-iam-<readable role>-<hash of the exact role>``, the same on every run."""
    digest = hashlib.sha256(f"{role.kind}\0{role.name}\0{part}".encode()).hexdigest()[:10]
    readable = re.sub(r"[^a-z0-9.-]+", "-", role.name.lower()).strip("-.")[:180]
    return f"kube-iam-{readable}-{digest}" if readable else f"kube-iam-{digest}"


def _split(subjects: set[Subject]) -> Iterable[tuple[str, frozenset[Subject]]]:
    """One part, or 2^n parts by a hash of the subject: a member who comes or goes moves nobody else."""
    bits = max(0, (len(subjects) - 1) // SUBJECTS_PER_BINDING).bit_length()
    if bits == 0:
        return [("", frozenset(subjects))]
    parts: dict[str, set[Subject]] = defaultdict(set)
    for subject in subjects:
        digest = hashlib.sha256(f"{subject.kind}\0{subject.name}".encode()).digest()
        parts[f"{bits}/{int.from_bytes(digest[:4]) >> (32 - bits)}"].add(subject)
    return [(part, frozenset(members)) for part, members in sorted(parts.items())]
