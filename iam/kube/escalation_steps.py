"""Which step could be taken next, with given powers, in a given place: the known means, each with what it needs and what it gains.

Each is one of https://kubernetes.io/docs/concepts/security/rbac-good-practices/#privilege-escalation-risks. Steps that depend
on what runs or is stored in the cluster (a pod to exec into, a Secret that holds a token) are counted as possible: we look at
rights only. Constrained impersonation (``impersonate:...`` verbs) and what admission forbids are not modelled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import product

from iam.kube.authorizer import Snapshot
from iam.kube.bindings import RBAC_GROUP
from iam.kube.explorer import EVERYTHING, Asker, Key, Powers
from iam.kube.rbac import PolicyRule, Role
from iam.kube.requests import MASTERS, SERVICE_ACCOUNT, Request, service_account_user

_CERTIFICATES = "certificates.k8s.io"
_CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client"
_ADMISSION = "admissionregistration.k8s.io"
_WEBHOOKS = ("mutatingwebhookconfigurations", "validatingwebhookconfigurations")
_CHANGE = ("create", "update", "patch")
_COMMON = ("system:service-account-issuer-discovery",)
"""Kubernetes' own roles for every service account: reading public keys is no gain."""
_WORKLOADS = (
    ("", "pods"), ("", "replicationcontrollers"), ("apps", "deployments"), ("apps", "daemonsets"), ("apps", "replicasets"),
    ("apps", "statefulsets"), ("batch", "jobs"), ("batch", "cronjobs"),
)


class Means(StrEnum):
    """How a step is taken."""

    ESCALATE = "escalate"
    BIND = "bind"
    IMPERSONATE = "impersonate"
    RUN_PODS = "run-pods"
    ENTER_PODS = "enter-pods"
    READ_TOKENS = "read-tokens"
    CREATE_TOKENS = "create-tokens"
    APPROVE_CSRS = "approve-csrs"
    CHANGE_WEBHOOKS = "change-webhooks"
    REACH_NODES = "reach-nodes"


class NodeKind(StrEnum):
    """What a path leads through."""

    USER = "User"
    GROUP = "Group"
    ACCOUNT = "ServiceAccount"
    ROLE = "Role"
    NAMESPACE = "Namespace"
    EVERYTHING = "Everything"


@dataclass(frozen=True, slots=True, order=True)
class Node:
    """A place on a path. A role is named ``Kind/name``, a service account ``namespace/name``; scope is a namespace or empty."""

    kind: NodeKind
    name: str = ""
    scope: str = ""


ALL_OF_IT = Node(NodeKind.EVERYTHING)
Target = tuple[Node, Powers]
"""A place, and what is gained there."""
Found = tuple[Means, Request, list[Target]]
"""By what means, thanks to which permission, to where."""


class Steps:
    """Finds them in one snapshot. What can be done in a place depends on the roles that count there, so it is worked out once for each."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._users = _identities(snapshot, NodeKind.USER, snapshot.users)
        self._groups = _identities(snapshot, NodeKind.GROUP, snapshot.groups)
        self._namespaces = sorted({key[0] for key in snapshot.bindings} | {key[1] for key in snapshot.roles} - {""})
        self._accounts = _accounts(snapshot, self._namespaces)
        self.common = Powers({"": [role for role in snapshot.roles.values() if role.name in _COMMON and not role.namespace]})
        self._known: dict[tuple[str, Key], list[Found]] = {}
        self._elsewhere: dict[Key, dict[str, list[Found]]] = {}

    def of(self, powers: Powers) -> Iterator[Found]:
        """All steps, those of the whole cluster first: who reaches everything at once need not take the long way."""
        yield from self._at("", powers)
        if any(_may(powers, "impersonate", "", "serviceaccounts", scope) for scope in powers.scopes):
            yield from self._impersonate_groups(powers)
        for namespace in powers.scopes:
            if namespace:
                yield from self._at(namespace, powers)
        for namespace, found in self._from_cluster_roles(powers.within("")).items():
            if namespace not in powers.scopes:
                yield from found

    def _from_cluster_roles(self, powers: Powers) -> dict[str, list[Found]]:
        """What cluster-wide roles alone make possible in each namespace."""
        if powers.key not in self._elsewhere:
            places = {namespace: self._at(namespace, powers) for namespace in self._accounts} if powers.scopes else {}
            self._elsewhere[powers.key] = {namespace: found for namespace, found in places.items() if found}
        return self._elsewhere[powers.key]

    def _at(self, namespace: str, powers: Powers) -> list[Found]:
        here = powers.within(namespace)
        if (namespace, here.key) not in self._known:
            held = here | self.common
            found = self._in_namespace(here, namespace) if namespace else self._in_cluster(here)
            more = ((means, thanks_to, [one for one in targets if one[1].exceed(held)]) for means, thanks_to, targets in found)
            self._known[namespace, here.key] = [one for one in more if one[2]]
        return self._known[namespace, here.key]

    def _in_cluster(self, powers: Powers) -> Iterator[Found]:
        yield from self._whole_cluster(powers)
        yield from self._bind(powers)
        yield from self._impersonate(powers)
        yield from self._approve(powers)

    def _whole_cluster(self, powers: Powers) -> Iterator[Found]:
        everything = [(ALL_OF_IT, Powers({"": [EVERYTHING]}))]
        if _changes_own_role(powers):
            yield Means.ESCALATE, _permission("escalate", RBAC_GROUP, "clusterroles"), everything
        for permission in _admission(powers):
            yield Means.CHANGE_WEBHOOKS, permission, everything
        for verb, resource in (("get", "nodes/proxy"), ("create", "nodes/proxy"), ("create", "persistentvolumes")):
            if _may(powers, verb, "", resource):  # a hostPath volume reads and writes the nodes' disks
                yield Means.REACH_NODES, _permission(verb, "", resource), everything

    def _bind(self, powers: Powers, namespace: str = "") -> Iterator[Found]:
        found = list(self._bindable(powers, namespace))
        whole = next((role for role in found if Powers({namespace: [role]}).are_unlimited), None)
        for role in [whole] if whole else found:
            gained = Powers({namespace: [role]})
            node = ALL_OF_IT if gained.are_unlimited else Node(NodeKind.ROLE, f"{role.kind}/{role.name}", namespace)
            yield Means.BIND, _permission("bind", RBAC_GROUP, f"{role.kind.lower()}s", namespace, role.name), [(node, gained)]

    def _bindable(self, powers: Powers, namespace: str) -> Iterator[Role]:
        """Roles to which they may add themselves: by a new binding, or in one that is there (whose role cannot be changed)."""
        resource = "rolebindings" if namespace else "clusterrolebindings"
        if _may(powers, "create", RBAC_GROUP, resource, namespace):
            joined = set(self._snapshot.roles)
        else:
            changed = [_names(powers, verb, RBAC_GROUP, resource, namespace) for verb in ("update", "patch")]
            found = self._snapshot.bindings.values() if any(names.some for names in changed) else ()
            joined = {one.role for one in found if one.namespace == namespace and any(names.has(one.name) for names in changed)}
        for key in joined:
            role = self._snapshot.roles.get(key)
            is_here = role is not None and role.namespace in {"", namespace}
            if role and is_here and powers.cover(_permission("bind", RBAC_GROUP, f"{role.kind.lower()}s", namespace, role.name)):
                yield role

    def _impersonate(self, powers: Powers) -> Iterator[Found]:
        users = _names(powers, "impersonate", "", "users")
        if users.some:
            yield from self._impersonate_groups(powers)
            yield Means.IMPERSONATE, _permission("impersonate", "", "users"), _chosen(self._users, users.has)

    def _impersonate_groups(self, powers: Powers) -> Iterator[Found]:
        """The API server takes groups only beside a user or a service account."""
        groups = _names(powers, "impersonate", "", "groups")
        if groups.has(MASTERS):
            permission = _permission("impersonate", "", "groups", name="" if groups.everyone else MASTERS)
            yield Means.IMPERSONATE, permission, [(ALL_OF_IT, Powers({"": [EVERYTHING]}))]
        if groups.some:
            yield Means.IMPERSONATE, _permission("impersonate", "", "groups"), _chosen(self._groups, groups.has)

    def _approve(self, powers: Powers) -> Iterator[Found]:
        """A client certificate for any name; only ``system:masters`` is refused (CertificateSubjectRestriction admission)."""
        signers = (_CLIENT_SIGNER, "kubernetes.io/*")
        signs = any(powers.cover(_permission("approve", _CERTIFICATES, "signers", name=name)) for name in signers)
        approves = any(_may(powers, verb, _CERTIFICATES, "certificatesigningrequests/approval") for verb in ("update", "patch"))
        if signs and approves and _may(powers, "create", _CERTIFICATES, "certificatesigningrequests"):
            accounts = [account for found in self._accounts.values() for account in found]
            names = [*_chosen(self._groups, lambda name: name != MASTERS), *self._users, *accounts]
            yield Means.APPROVE_CSRS, _permission("approve", _CERTIFICATES, "signers", name=_CLIENT_SIGNER), _distinct(names)

    def _in_namespace(self, powers: Powers, namespace: str) -> Iterator[Found]:
        yield from self._bind(powers, namespace)
        if _changes_own_role(powers, namespace) or _makes_roles(powers, namespace):
            node = Node(NodeKind.NAMESPACE, namespace, namespace)
            yield Means.ESCALATE, _permission("escalate", RBAC_GROUP, "roles", namespace), [(node, Powers({namespace: [EVERYTHING]}))]
        accounts = self._accounts.get(namespace, [])
        for means, permission in _ways_into_accounts(powers, namespace):
            yield means, permission, _distinct(accounts)
        create, become = (Means.CREATE_TOKENS, "create", "serviceaccounts/token"), (Means.IMPERSONATE, "impersonate", "serviceaccounts")
        for means, verb, resource in (create, become):
            named = _names(powers, verb, "", resource, namespace)
            if named.some:
                chosen = [account for account in accounts if named.has(account[0].name.partition("/")[2])]
                yield means, _permission(verb, "", resource, namespace), _distinct(chosen)


def _chosen(targets: Iterable[Target], wanted: Callable[[str], bool]) -> list[Target]:
    return _distinct(target for target in targets if wanted(target[0].name))


def _distinct(targets: Iterable[Target]) -> list[Target]:
    """Whoever may do everything says it all; else one of each that hold the same."""
    found: dict[Key, Target] = {}
    for node, powers in targets:
        if powers.are_unlimited:
            return [(node, powers)]
        found.setdefault(powers.key, (node, powers))
    return list(found.values())


def node_of(asker: Asker) -> Node:
    """The node that stands for an asker."""
    if asker.user.startswith(SERVICE_ACCOUNT):
        return _account_node(asker.user)
    return Node(NodeKind.USER, asker.user) if asker.user else Node(NodeKind.GROUP, asker.groups[0])


def _ways_into_accounts(powers: Powers, namespace: str) -> Iterator[tuple[Means, Request]]:
    run = [(verb, group, resource) for (group, resource), verb in product(_WORKLOADS, _CHANGE)]
    run.remove(("update", "", "pods"))  # a pod's service account cannot be changed
    run.remove(("patch", "", "pods"))
    enter = [(verb, "", f"pods/{one}") for verb, one in product(("get", "create"), ("exec", "attach"))]
    enter += [(verb, "", "pods/ephemeralcontainers") for verb in ("update", "patch")]
    read = [(verb, "", "secrets") for verb in ("get", "list", "watch")]
    for means, rights in ((Means.RUN_PODS, run), (Means.ENTER_PODS, enter), (Means.READ_TOKENS, read)):
        for verb, group, resource in rights:
            if _may(powers, verb, group, resource, namespace):
                yield means, _permission(verb, group, resource, namespace)
                break


def _admission(powers: Powers) -> Iterator[Request]:
    """Ways to see and change every request: webhooks, or policies that mutate (a new one works only with a binding)."""
    for verb, resource in product(_CHANGE, _WEBHOOKS):
        if _may(powers, verb, _ADMISSION, resource):
            yield _permission(verb, _ADMISSION, resource)
    policies, bindings = "mutatingadmissionpolicies", "mutatingadmissionpolicybindings"
    for verb in _CHANGE:
        if _may(powers, verb, _ADMISSION, policies) and (verb != "create" or _may(powers, verb, _ADMISSION, bindings)):
            yield _permission(verb, _ADMISSION, policies)


def _changes_own_role(powers: Powers, namespace: str = "") -> bool:
    """Whether a role that they hold there can be rewritten to hold more."""
    resource = "roles" if namespace else "clusterroles"
    held = (role for role in powers.scopes.get(namespace, ()) if role.namespace == namespace)

    def may(verb: str, role: Role) -> bool:
        return powers.cover(_permission(verb, RBAC_GROUP, resource, namespace, role.name))

    return any(may("escalate", role) and (may("update", role) or may("patch", role)) for role in held)


def _makes_roles(powers: Powers, namespace: str) -> bool:
    """Whether they may write a role with anything in it, and bind it to themselves."""
    needed = (("create", "roles"), ("escalate", "roles"), ("create", "rolebindings"), ("bind", "roles"))
    return all(powers.cover(_permission(verb, RBAC_GROUP, resource, namespace)) for verb, resource in needed)


def _identities(snapshot: Snapshot, kind: NodeKind, names: Iterable[str]) -> list[Target]:
    """The subjects of one kind that bindings name, and what they may."""
    found: list[Target] = []
    for name in names:
        if (kind is NodeKind.ACCOUNT) == name.startswith(SERVICE_ACCOUNT):
            asker = Asker("", (name,)) if kind is NodeKind.GROUP else Asker.of(name)
            found.append((node_of(asker), Powers.of(snapshot, asker)))
    return found


def _accounts(snapshot: Snapshot, namespaces: Iterable[str]) -> Mapping[str, list[Target]]:
    """By namespace; the account that every namespace has stands for those that hold only what all of them hold."""
    found: dict[str, list[Target]] = {}
    for node, powers in _identities(snapshot, NodeKind.ACCOUNT, snapshot.users):
        found.setdefault(node.scope, []).append((node, powers))
    for namespace in sorted({*namespaces, *found}):
        default = Asker.of(service_account_user(namespace, "default"))
        accounts = found.setdefault(namespace, [])
        if node_of(default) not in {node for node, _powers in accounts}:
            accounts.append((node_of(default), Powers.of(snapshot, default)))
    return found


def _account_node(user: str) -> Node:
    namespace, _, name = user.removeprefix(SERVICE_ACCOUNT).partition(":")
    return Node(NodeKind.ACCOUNT, f"{namespace}/{name}", namespace)


@dataclass(frozen=True, slots=True)
class _Names:
    """Names that a permission is limited to; ``everyone`` when it is not."""

    everyone: bool
    names: frozenset[str]

    @property
    def some(self) -> bool:
        return self.everyone or bool(self.names)

    def has(self, name: str) -> bool:
        return self.everyone or name in self.names



def _names(powers: Powers, verb: str, group: str, resource: str, namespace: str = "") -> _Names:
    """Which objects a verb is allowed on."""
    if powers.cover(_permission(verb, group, resource, namespace)):
        return _Names(everyone=True, names=frozenset())
    rules: Iterable[PolicyRule] = (
        rule for scope in {"", namespace} for role in powers.scopes.get(scope, ()) for rule in role.rules if rule.resource_names
    )
    limited = {
        name for rule in rules for name in rule.resource_names
        if rule.allows(_permission(verb, group, resource, namespace, name))
    }
    return _Names(everyone=False, names=frozenset(limited))


def _may(powers: Powers, verb: str, group: str, resource: str, namespace: str = "") -> bool:
    """On any object at all: a right that is limited to names is a right on those. But what is created has no name yet."""
    if verb == "create" and "/" not in resource:
        return powers.cover(_permission(verb, group, resource, namespace))
    return _names(powers, verb, group, resource, namespace).some


def _permission(verb: str, group: str, combined: str, namespace: str = "", name: str = "") -> Request:
    resource, _, subresource = combined.partition("/")
    return Request("", verb, (), group, resource, subresource, name, namespace)
