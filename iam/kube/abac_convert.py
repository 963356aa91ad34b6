"""ABAC policies as RBAC objects that decide the same, line by line; what RBAC cannot say is named, never approximated.

ABAC ignores subresources and RBAC does not, so a resource by name becomes itself and all its subresources as the API
server serves them. RBAC is never wider than the lines it comes from, with one exception that no HTTP request can be:
a review that writes ``pods/log`` as the resource means the subresource to RBAC and nothing to ABAC.
Source: the two semantics of ``iam.kube.abac`` and ``iam.kube.rbac``.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from iam.errors import Sentence
from iam.kube.abac import Policy
from iam.kube.abac_coverage import halves
from iam.kube.bindings import API_VERSION, RBAC_GROUP, SUBJECTS_PER_BINDING
from iam.kube.names import is_label
from iam.kube.rbac import ALL
from iam.kube.requests import READ_ONLY_VERBS
from iam.kube.resources import BUILT_IN, Resource

Served = Mapping[tuple[str, str], Resource]
_Subject = tuple[str, str]
_Rule = tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class LeftOver:
    """A line, or a part of one, that RBAC cannot say, and why."""

    line: int
    policy: Policy
    why: Sentence


@dataclass(frozen=True, slots=True)
class Converted:
    """RBAC manifests, and what is not in them."""

    manifests: tuple[dict[str, Any], ...]
    left_over: tuple[LeftOver, ...]


def convert(numbered: Iterable[tuple[int, Policy]], served: Served = BUILT_IN, name: str = "abac") -> Converted:
    """One role for each set of rules, bound to all who hold exactly that set. The same lines give the same bytes.

    Names begin with ``name`` and end in a hash of the rules: files that live on one cluster should differ in it.
    """
    rules: dict[tuple[str, _Subject], list[_Rule]] = defaultdict(list)
    left_over: list[LeftOver] = []
    for number, policy in numbered:
        parts = list(halves(policy))
        if not parts:
            left_over.append(LeftOver(number, policy, Sentence("The line never matches, so nothing is lost.")))
        for half in parts:
            why = _why_not(half, served)
            if why:
                left_over.append(LeftOver(number, half, why))
                continue
            subject = ("User", half.user) if half.user else ("Group", half.group)
            namespace = "" if half.namespace == ALL or half.non_resource_path else half.namespace
            rules[namespace, subject].append(_rule(half, served))
    holders: dict[tuple[str, tuple[_Rule, ...]], list[_Subject]] = defaultdict(list)
    for (namespace, subject), found in rules.items():
        holders[namespace, tuple(sorted(set(found)))].append(subject)
    placed = sorted(holders.items())
    manifests = [one for (namespace, found), subjects in placed for one in _manifests(name, namespace, found, sorted(subjects))]
    return Converted(tuple(manifests), tuple(left_over))


def _why_not(half: Policy, served: Served) -> Sentence | None:
    if half.user and half.group:
        return Sentence("RBAC binds a user or a group, never a user only while in a group.")
    return None if half.non_resource_path else _why_not_there(half.namespace) or _why_not_that(half, served)


def _why_not_there(namespace: str) -> Sentence | None:
    if namespace == "":
        return Sentence("RBAC cannot allow requests outside of namespaces only; write * for the namespace if both are meant.")
    if namespace != ALL and not is_label(namespace):
        return Sentence("%(namespace)s cannot be the name of a namespace.", {"namespace": namespace})
    return None


def _why_not_that(half: Policy, served: Served) -> Sentence | None:
    if half.resource == ALL:
        return None
    if "/" in half.resource or half.resource.startswith(ALL):
        return Sentence("%(resource)s means something else in RBAC; in ABAC it never matches.", {"resource": half.resource})
    if not _served_as(half, served):
        return Sentence("The subresources of %(resource)s are not known, and in ABAC it covers them all.", {"resource": half.resource})
    return None


def _served_as(half: Policy, served: Served) -> list[Resource]:
    """What a resource by name stands for. With any API group it may be served by several."""
    if half.api_group != ALL:
        found = served.get((half.api_group, half.resource))
        return [found] if found else []
    return [resource for (_group, name), resource in served.items() if name == half.resource]


def _rule(half: Policy, served: Served) -> _Rule:
    """A rule as sorted pairs, so that equal rules are equal values."""
    verbs = tuple(sorted(READ_ONLY_VERBS)) if half.readonly else (ALL,)
    if half.non_resource_path:
        return (("nonResourceURLs", (half.non_resource_path,)), ("verbs", verbs))
    combined = {one for resource in _served_as(half, served) for one in resource.combined} if half.resource != ALL else {ALL}
    return (("apiGroups", (half.api_group,)), ("resources", tuple(sorted(combined))), ("verbs", verbs))


def _manifests(prefix: str, namespace: str, rules: tuple[_Rule, ...], subjects: list[_Subject]) -> Iterator[dict[str, Any]]:
    """The role, and as many bindings as keep below what etcd stores in one object."""
    digest = hashlib.sha256(json.dumps([namespace, rules]).encode()).hexdigest()[:10]
    kind = "Role" if namespace else "ClusterRole"
    name, where = f"{prefix}-{digest}", {"namespace": namespace} if namespace else {}
    yield {
        "apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name, **where},
        "rules": [{field: list(values) for field, values in rule} for rule in rules],
    }
    for part, start in enumerate(range(0, len(subjects), SUBJECTS_PER_BINDING)):
        yield {
            "apiVersion": API_VERSION, "kind": f"{kind}Binding", "metadata": {"name": f"{name}-{part}" if part else name, **where},
            "roleRef": {"apiGroup": RBAC_GROUP, "kind": kind, "name": name},
            "subjects": [
                {"apiGroup": RBAC_GROUP, "kind": of, "name": subject} for of, subject in subjects[start : start + SUBJECTS_PER_BINDING]
            ],
        }
