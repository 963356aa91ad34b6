"""What is dangerous in a role, said in one word each: what an approver must not overlook.

Source: https://kubernetes.io/docs/concepts/security/rbac-good-practices/ (privilege escalation risks).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from itertools import product

from iam.kube.bindings import RBAC_GROUP
from iam.kube.escalation_rights import CERTIFICATES, permission
from iam.kube.explorer import lacks
from iam.kube.rbac import ALL, PolicyRule
from iam.kube.requests import Request


class Risk(StrEnum):
    """In the order in which they are shown: the worst first."""

    ESCALATE = "escalate"
    BIND = "bind"
    IMPERSONATE = "impersonate"
    WILDCARD = "wildcard"
    CERTIFICATES = "certificates"
    WEBHOOKS = "webhooks"
    NODES = "nodes"
    SECRETS = "secrets"
    TOKENS = "tokens"
    EXEC = "exec"
    WORKLOADS = "workloads"


def risks(rules: Iterable[PolicyRule]) -> tuple[Risk, ...]:
    """All that these rules bring, also where they are limited to names."""
    rules = tuple(rules)
    return tuple(risk for risk in Risk if any(_has(rule, risk) for rule in rules))


def is_harmless(rules: Iterable[PolicyRule]) -> bool:
    """Whether these rules only read, and nothing that is secret or a way in: what is not on this list is not harmless."""
    return all(
        set(rule.verbs) <= _LOOKING and not any(ALL in one for one in (*rule.api_groups, *rule.resources, *rule.non_resource_urls))
        for rule in rules
    ) and not risks(rules)


def _has(rule: PolicyRule, risk: Risk) -> bool:
    if risk is Risk.WILDCARD:
        parts = (*rule.verbs, *rule.api_groups, *rule.resources, *rule.non_resource_urls)
        return any(part == ALL or part.startswith("*/") for part in parts)
    if risk is Risk.IMPERSONATE and _impersonates_extras(rule):
        return True
    return any(set(lacks(rule, probe)) <= {"name"} for probe in _PROBES[risk])


def _impersonates_extras(rule: PolicyRule) -> bool:
    """``userextras/scopes`` and the like: the key is a part of the resource."""
    is_meant = {ALL, "impersonate"} & set(rule.verbs) and {ALL, "authentication.k8s.io"} & set(rule.api_groups)
    return bool(is_meant) and any(resource.startswith("userextras/") for resource in rule.resources)


def _probes(verbs: Iterable[str], group: str, resources: Iterable[str]) -> tuple[Request, ...]:
    return tuple(permission(verb, group, resource) for verb, resource in product(verbs, resources))


_LOOKING = frozenset({"get", "list", "watch"})
_READ, _CHANGE = ("get", "list", "watch"), ("create", "update", "patch")
_PROBES: dict[Risk, tuple[Request, ...]] = {
    Risk.ESCALATE: _probes(("escalate",), RBAC_GROUP, ("roles", "clusterroles")),
    Risk.BIND: (
        *_probes(("bind",), RBAC_GROUP, ("roles", "clusterroles")),
        *_probes(_CHANGE, RBAC_GROUP, ("rolebindings", "clusterrolebindings")),
    ),
    Risk.IMPERSONATE: (
        *_probes(("impersonate",), "", ("users", "groups", "serviceaccounts")),
        *_probes(("impersonate",), "authentication.k8s.io", ("users", "groups", "uids", "userextras")),
    ),
    Risk.CERTIFICATES: (
        *_probes(("update", "patch"), CERTIFICATES, ("certificatesigningrequests/approval", "certificatesigningrequests/status")),
        *_probes(("approve", "sign"), CERTIFICATES, ("signers",)),
    ),
    Risk.WEBHOOKS: (
        *_probes((*_CHANGE, "delete"), "admissionregistration.k8s.io", (
            "mutatingwebhookconfigurations", "validatingwebhookconfigurations", "mutatingadmissionpolicies", "validatingadmissionpolicies",
            "mutatingadmissionpolicybindings", "validatingadmissionpolicybindings",
        )),
        *_probes(_CHANGE, "apiregistration.k8s.io", ("apiservices",)),
        *_probes(_CHANGE, "apiextensions.k8s.io", ("customresourcedefinitions",)),
    ),
    Risk.NODES: (
        *_probes(("get", "create"), "", ("nodes/proxy",)), *_probes(("update", "patch"), "", ("nodes",)),
        *_probes(("create",), "", ("persistentvolumes",)),
    ),
    Risk.SECRETS: _probes((*_READ, "update", "patch", "deletecollection"), "", ("secrets",)),  # what changes one gets it back
    Risk.TOKENS: _probes(("create",), "", ("serviceaccounts/token",)),
    Risk.EXEC: (
        *_probes(("get", "create"), "", ("pods/exec", "pods/attach", "pods/portforward", "pods/proxy", "services/proxy")),
        *_probes(("update", "patch"), "", ("pods/ephemeralcontainers",)),
    ),
    Risk.WORKLOADS: (
        *_probes(_CHANGE, "", ("pods", "replicationcontrollers")),
        *_probes(_CHANGE, "apps", ("deployments", "daemonsets", "replicasets", "statefulsets")),
        *_probes(_CHANGE, "batch", ("jobs", "cronjobs")),
    ),
}
