"""Rights that add up to a step: what somebody may do with the things that lead to more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product

from iam.kube.bindings import RBAC_GROUP
from iam.kube.explorer import Powers, lacks
from iam.kube.rbac import PolicyRule, Role
from iam.kube.requests import Request

CERTIFICATES = "certificates.k8s.io"
CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client"
_ADMISSION = "admissionregistration.k8s.io"
_WEBHOOKS = ("mutatingwebhookconfigurations", "validatingwebhookconfigurations")
_CHANGE = ("create", "update", "patch")
_WORKLOADS = (
    ("", "pods"), ("", "replicationcontrollers"), ("apps", "deployments"), ("apps", "daemonsets"), ("apps", "replicasets"),
    ("apps", "statefulsets"), ("batch", "jobs"), ("batch", "cronjobs"),
)


@dataclass(frozen=True, slots=True)
class Names:
    """Names that a permission is limited to; ``everyone`` when it is not."""

    everyone: bool
    names: frozenset[str]

    @property
    def some(self) -> bool:
        """Whether it is allowed on anything."""
        return self.everyone or bool(self.names)

    def has(self, name: str) -> bool:
        """Whether it is allowed on this one."""
        return self.everyone or name in self.names


def names_for(powers: Powers, verb: str, group: str, resource: str, namespace: str = "") -> Names:
    """Which objects a verb is allowed on."""
    if powers.cover(permission(verb, group, resource, namespace)):
        return Names(everyone=True, names=frozenset())
    rules: Iterable[PolicyRule] = (
        rule for scope in {"", namespace} for role in powers.scopes.get(scope, ()) for rule in role.rules if rule.resource_names
    )
    limited = {
        name for rule in rules for name in rule.resource_names
        if rule.allows(permission(verb, group, resource, namespace, name))
    }
    return Names(everyone=False, names=frozenset(limited))


def may(powers: Powers, verb: str, group: str, resource: str, namespace: str = "") -> bool:
    """On any object at all: a right that is limited to names is a right on those. But what is created has no name yet."""
    if verb == "create" and "/" not in resource:
        return powers.cover(permission(verb, group, resource, namespace))
    return names_for(powers, verb, group, resource, namespace).some


def ways_to_change_requests(powers: Powers) -> Iterator[Request]:
    """Ways to see and change every request: webhooks, or policies that mutate (a new one works only with a binding)."""
    for verb, resource in product(_CHANGE, _WEBHOOKS):
        if may(powers, verb, _ADMISSION, resource):
            yield permission(verb, _ADMISSION, resource)
    policies, bindings = "mutatingadmissionpolicies", "mutatingadmissionpolicybindings"
    for verb in _CHANGE:
        if may(powers, verb, _ADMISSION, policies) and (verb != "create" or may(powers, verb, _ADMISSION, bindings)):
            yield permission(verb, _ADMISSION, policies)


def changes_own_role(powers: Powers, namespace: str = "") -> bool:
    """Whether a role that they hold there can be rewritten to hold more; a ClusterRole may be held in a namespace."""

    def allowed(verb: str, role: Role) -> bool:
        return powers.cover(permission(verb, RBAC_GROUP, f"{role.kind.lower()}s", role.namespace, role.name))

    held = powers.scopes.get(namespace, ())
    return any(allowed("escalate", role) and (allowed("update", role) or allowed("patch", role)) for role in held)


def makes_roles(powers: Powers, namespace: str) -> bool:
    """Whether they may write a role with anything in it, and bind it to themselves."""
    needed = (("create", "roles"), ("escalate", "roles"), ("create", "rolebindings"), ("bind", "roles"))
    return all(powers.cover(permission(verb, RBAC_GROUP, resource, namespace)) for verb, resource in needed)


def runs_pods(powers: Powers, namespace: str) -> Request | None:
    """A right to run pods there: to create them, or to change what creates them (a pod's service account cannot be changed)."""
    rights = [(verb, group, resource) for (group, resource), verb in product(_WORKLOADS, _CHANGE) if resource != "pods" or verb == "create"]
    return _first(powers, namespace, rights)


def enters_pods(powers: Powers, namespace: str) -> Request | None:
    """A right to get into pods that run there."""
    rights = [(verb, "", f"pods/{one}") for verb, one in product(("get", "create"), ("exec", "attach"))]
    return _first(powers, namespace, [*rights, *((verb, "", "pods/ephemeralcontainers") for verb in ("update", "patch"))])


def reads_secrets(powers: Powers, namespace: str) -> Request | None:
    """A right to read Secrets there."""
    return _first(powers, namespace, [(verb, "", "secrets") for verb in ("get", "list", "watch")])


def _first(powers: Powers, namespace: str, rights: Iterable[tuple[str, str, str]]) -> Request | None:
    found = (right for right in rights if may(powers, *right, namespace))
    return next((permission(*right, namespace) for right in found), None)


def permission(verb: str, group: str, combined: str, namespace: str = "", name: str = "") -> Request:
    """As a question without a user; ``combined`` may have a subresource."""
    resource, _, subresource = combined.partition("/")
    return Request("", verb, (), group, resource, subresource, name, namespace)


def kinds_of_steps(role: Role) -> set[str]:
    """The verbs of this role that belong to some step; most roles have none."""
    return {probe.verb for probe in _PROBES if any(set(lacks(rule, probe)) <= {"name"} for rule in role.rules)}


def _probes() -> Iterator[Request]:
    """A permission for each right that any of the steps asks for."""
    rbac = product((*_CHANGE, "bind", "escalate"), ("roles", "clusterroles", "rolebindings", "clusterrolebindings"))
    yield from (permission(verb, RBAC_GROUP, resource) for verb, resource in rbac)
    yield from (permission("impersonate", "", resource) for resource in ("users", "groups", "serviceaccounts"))
    yield from (permission(verb, group, resource) for (group, resource), verb in product(_WORKLOADS, _CHANGE))
    enter = product(("get", "create", "update", "patch"), ("pods/exec", "pods/attach", "pods/ephemeralcontainers", "nodes/proxy"))
    yield from (permission(verb, "", resource) for verb, resource in enter)
    yield from (permission(verb, "", "secrets") for verb in ("get", "list", "watch"))
    yield from (permission("create", "", resource) for resource in ("serviceaccounts/token", "persistentvolumes"))
    admission = product(_CHANGE, (*_WEBHOOKS, "mutatingadmissionpolicies", "mutatingadmissionpolicybindings"))
    yield from (permission(verb, _ADMISSION, resource) for verb, resource in admission)
    signing = (("create", "certificatesigningrequests"), ("update", "certificatesigningrequests/approval"))
    yield from (permission(verb, CERTIFICATES, resource) for verb, resource in (*signing, ("approve", "signers")))
    yield permission("patch", CERTIFICATES, "certificatesigningrequests/approval")


_PROBES = tuple(_probes())
