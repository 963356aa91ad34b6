"""RBAC as kube-apiserver evaluates it: rules, roles, bindings, aggregation.

Sources: pkg/apis/rbac/v1/evaluation_helpers.go (what a rule allows), pkg/registry/rbac/validation/rule.go (whom a
binding applies to), pkg/controller/clusterroleaggregation (aggregated roles) of Kubernetes 1.36.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from iam.kube.bindings import INSTANCE, MANAGED_BY, MANAGER
from iam.kube.requests import Request, service_account_user

ALL = "*"
RoleKey = tuple[str, str, str]
"""(kind, namespace or empty, name)"""


@dataclass(frozen=True)
class PolicyRule:
    """One rule of a role."""

    verbs: tuple[str, ...] = ()
    api_groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    resource_names: tuple[str, ...] = ()
    non_resource_urls: tuple[str, ...] = ()

    def allows(self, request: Request) -> bool:
        """Whether this rule alone allows the request."""
        if not (ALL in self.verbs or request.verb in self.verbs):
            return False
        if request.path is not None:
            return any(path_matches(pattern, request.path) for pattern in self.non_resource_urls)
        return (
            (ALL in self.api_groups or request.api_group in self.api_groups)
            and self._covers(request)
            and (not self.resource_names or request.name in self.resource_names)
        )

    def _covers(self, request: Request) -> bool:
        if ALL in self.resources or request.combined_resource in self.resources:
            return True
        return bool(request.subresource) and f"*/{request.subresource}" in self.resources

    @classmethod
    def from_manifest(cls, rule: Mapping[str, Any]) -> PolicyRule:
        """Read one entry of ``rules``."""
        fields = ("verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs")
        return cls(*(tuple(rule.get(field) or ()) for field in fields))


def path_matches(pattern: str, path: str) -> bool:
    """``*``, an exact path, or a prefix before trailing ``*``s (nonResourceURLs; ABAC's nonResourcePath alike)."""
    return pattern in {ALL, path} or (pattern.endswith(ALL) and path.startswith(pattern.rstrip(ALL)))


@dataclass(frozen=True)
class Role:
    """A Role (with a namespace) or ClusterRole (without)."""

    name: str
    namespace: str = ""
    rules: tuple[PolicyRule, ...] = ()

    @property
    def kind(self) -> str:
        """The Kubernetes kind."""
        return "Role" if self.namespace else "ClusterRole"

    @property
    def key(self) -> RoleKey:
        """What bindings refer to."""
        return self.kind, self.namespace, self.name

    def rule_that_allows(self, request: Request) -> PolicyRule | None:
        """The first rule that allows the request. Costs a few look-ups, however many rules there are."""
        if not self._may_allow(request):
            return None
        return next((rule for rule in self.rules if rule.allows(request)), None)

    def _may_allow(self, request: Request) -> bool:
        """Quick no: nothing in the index for this verb and resource."""
        if request.path is not None:
            return self._index.has_paths
        index = self._index.resources
        verb, group, resource = request.verb, request.api_group, request.combined_resource
        if (verb, group, resource) in index:
            return True
        if not self._index.has_wildcards:
            return False
        either_resource = (resource, ALL, f"*/{request.subresource}") if request.subresource else (resource, ALL)
        return any((v, g, r) in index for v in (verb, ALL) for g in (group, ALL) for r in either_resource)

    @cached_property
    def _index(self) -> _RuleIndex:
        return _RuleIndex.of(self.rules)


@dataclass(frozen=True, slots=True)
class _RuleIndex:
    resources: frozenset[tuple[str, str, str]]
    has_wildcards: bool
    has_paths: bool

    @classmethod
    def of(cls, rules: Iterable[PolicyRule]) -> _RuleIndex:
        rules = tuple(rules)
        triples = frozenset((v, g, r) for rule in rules for v in rule.verbs for g in rule.api_groups for r in rule.resources)
        has_wildcards = any(ALL in (v, g) or r == ALL or r.startswith("*/") for v, g, r in triples)
        return cls(triples, has_wildcards, any(rule.non_resource_urls for rule in rules))


@dataclass(frozen=True, slots=True)
class RoleBinding:
    """A RoleBinding (with a namespace) or ClusterRoleBinding (without)."""

    name: str
    namespace: str
    role: RoleKey
    users: tuple[str, ...] = ()
    """User names, service accounts in their long spelling among them."""
    groups: tuple[str, ...] = ()
    instance: str = ""
    """The installation of ours that keeps it, as its label says; empty for everybody else's."""

    @property
    def kind(self) -> str:
        """The Kubernetes kind."""
        return "RoleBinding" if self.namespace else "ClusterRoleBinding"

    @property
    def key(self) -> tuple[str, str]:
        """(namespace or empty, name)"""
        return self.namespace, self.name


def read_role(document: Mapping[str, Any]) -> Role:
    """A Role or ClusterRole object."""
    metadata = document["metadata"]
    rules = tuple(PolicyRule.from_manifest(rule) for rule in document.get("rules") or ())
    return Role(metadata["name"], metadata.get("namespace") or "" if document["kind"] == "Role" else "", rules)


def read_binding(document: Mapping[str, Any]) -> RoleBinding:
    """A RoleBinding or ClusterRoleBinding object."""
    metadata, ref = document["metadata"], document["roleRef"]
    namespace = metadata.get("namespace") or "" if document["kind"] == "RoleBinding" else ""
    users, groups = [], []
    for subject in document.get("subjects") or ():
        if subject["kind"] == "User":
            users.append(subject["name"])
        elif subject["kind"] == "Group":
            groups.append(subject["name"])
        elif subject["kind"] == "ServiceAccount" and (subject.get("namespace") or namespace):
            users.append(service_account_user(subject.get("namespace") or namespace, subject["name"]))
    role = (ref["kind"], namespace if ref["kind"] == "Role" else "", ref["name"])
    labels = metadata.get("labels") or {}
    instance = labels.get(INSTANCE) or "" if labels.get(MANAGED_BY) == MANAGER else ""
    return RoleBinding(metadata["name"], namespace, role, tuple(users), tuple(groups), instance)


def aggregate(documents: Iterable[Mapping[str, Any]]) -> dict[RoleKey, Role]:
    """All roles by key. Where an aggregated ClusterRole has no rules yet, the union of those it selects, by name.

    The API server decides by the stored rules, which its controller keeps; so stored rules win. A role that is selected
    may itself be aggregated: like the controller, we go on until nothing changes.
    """
    documents = list(documents)
    roles = {role.key: role for role in map(read_role, documents)}
    selectable = sorted((one for one in documents if one["kind"] == "ClusterRole"), key=lambda one: str(one["metadata"]["name"]))
    chosen = {
        one["metadata"]["name"]: [other["metadata"]["name"] for other in selectable if _is_selected(other, one["aggregationRule"])]
        for one in selectable if one.get("aggregationRule") and not one.get("rules")
    }
    changed = bool(chosen)
    while changed:
        changed = False
        for name, others in chosen.items():
            union = dict.fromkeys(rule for other in others if other != name for rule in roles["ClusterRole", "", other].rules)
            if union.keys() != set(roles["ClusterRole", "", name].rules):
                roles["ClusterRole", "", name] = Role(name, "", tuple(union))
                changed = True
    return roles


def _is_selected(document: Mapping[str, Any], rule: Mapping[str, Any]) -> bool:
    labels = document["metadata"].get("labels") or {}
    return any(_selects(selector, labels) for selector in rule.get("clusterRoleSelectors") or ())


def _selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """A metav1.LabelSelector; an empty one selects everything."""
    exact = all(labels.get(key) == value for key, value in (selector.get("matchLabels") or {}).items())
    return exact and all(_holds(expression, labels) for expression in selector.get("matchExpressions") or ())


def _holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, operator, values = expression["key"], expression["operator"], expression.get("values") or ()
    if operator == "Exists":
        return key in labels
    if operator == "DoesNotExist":
        return key not in labels
    if operator == "In":
        return labels.get(key) in values
    return labels.get(key) not in values
