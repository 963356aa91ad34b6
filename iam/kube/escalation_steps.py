"""Which step could be taken next, with given powers, in a given place: the known means, each with what it needs and what it gains.

Each is one of https://kubernetes.io/docs/concepts/security/rbac-good-practices/#privilege-escalation-risks. Steps that depend
on what runs or is stored in the cluster (a pod to exec into, a Secret that holds a token) are counted as possible: we look at
rights only. Constrained impersonation (``impersonate:...`` verbs) and what admission forbids are not modelled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from iam.kube.authorizer import Snapshot
from iam.kube.bindings import RBAC_GROUP
from iam.kube.escalation_rights import (
    CERTIFICATES,
    CLIENT_SIGNER,
    changes_own_role,
    enters_pods,
    kinds_of_steps,
    makes_roles,
    may,
    names_for,
    permission,
    reads_secrets,
    runs_pods,
    ways_to_change_requests,
)
from iam.kube.explorer import EVERYTHING, Asker, Key, Powers
from iam.kube.rbac import Role, RoleKey
from iam.kube.requests import MASTERS, SERVICE_ACCOUNT, Request, service_account_user

_COMMON = ("system:service-account-issuer-discovery",)
"""Kubernetes' own roles for every service account: reading public keys is no gain."""


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
        self._counting: dict[RoleKey, bool] = {}
        self._escalating: set[RoleKey] = set()
        self._known: dict[tuple[str, Key], list[Found]] = {}
        self._elsewhere: dict[Key, dict[str, list[Found]]] = {}

    def of(self, powers: Powers) -> Iterator[Found]:
        """All steps, those of the whole cluster first: who reaches everything at once need not take the long way."""
        powers = self._that_count(powers)
        yield from self._at("", powers)
        if any(may(powers, "impersonate", "", "serviceaccounts", scope) for scope in powers.scopes):
            yield from self._impersonate_groups(powers)
        for namespace in powers.scopes:
            if namespace:
                yield from self._at(namespace, powers)
        for namespace, found in self._from_cluster_roles(powers.within("")).items():
            if namespace not in powers.scopes:
                yield from found

    def _that_count(self, powers: Powers) -> Powers:
        """Without the roles that belong to no step at all, as most do; who may escalate may do so with any role."""
        counting = {scope: [role for role in roles if self._counts(role)] for scope, roles in powers.scopes.items()}
        if any(role.key in self._escalating for roles in counting.values() for role in roles):
            return powers
        return Powers({scope: roles for scope, roles in counting.items() if roles})

    def _counts(self, role: Role) -> bool:
        if role.key not in self._counting:
            verbs = kinds_of_steps(role)
            self._counting[role.key] = bool(verbs)
            if "escalate" in verbs:
                self._escalating.add(role.key)
        return self._counting[role.key]

    def _from_cluster_roles(self, powers: Powers) -> dict[str, list[Found]]:
        """What cluster-wide roles alone make possible in each namespace."""
        if powers.key not in self._elsewhere:
            places = {namespace: self._at(namespace, powers) for namespace in self._accounts} if powers.scopes else {}
            self._elsewhere[powers.key] = {namespace: found for namespace, found in places.items() if found}
        return self._elsewhere[powers.key]

    def _at(self, namespace: str, powers: Powers) -> list[Found]:
        here = powers.within(namespace)
        if here.scopes and (namespace, here.key) not in self._known:
            held = here | self.common
            found = self._in_namespace(here, namespace) if namespace else self._in_cluster(here)
            more = ((means, thanks_to, [one for one in targets if one[1].exceed(held)]) for means, thanks_to, targets in found)
            self._known[namespace, here.key] = [one for one in more if one[2]]
        return self._known[namespace, here.key] if here.scopes else []

    def _in_cluster(self, powers: Powers) -> Iterator[Found]:
        yield from self._whole_cluster(powers)
        yield from self._bind(powers)
        yield from self._impersonate(powers)
        yield from self._approve(powers)

    def _whole_cluster(self, powers: Powers) -> Iterator[Found]:
        everything = [(ALL_OF_IT, Powers({"": [EVERYTHING]}))]
        if changes_own_role(powers):
            yield Means.ESCALATE, permission("escalate", RBAC_GROUP, "clusterroles"), everything
        for thanks_to in ways_to_change_requests(powers):
            yield Means.CHANGE_WEBHOOKS, thanks_to, everything
        for verb, resource in (("get", "nodes/proxy"), ("create", "nodes/proxy"), ("create", "persistentvolumes")):
            if may(powers, verb, "", resource):  # a hostPath volume reads and writes the nodes' disks
                yield Means.REACH_NODES, permission(verb, "", resource), everything

    def _bind(self, powers: Powers, namespace: str = "") -> Iterator[Found]:
        found = list(self._bindable(powers, namespace))
        whole = next((role for role in found if Powers({namespace: [role]}).are_unlimited), None)
        for role in [whole] if whole else found:
            gained = Powers({namespace: [role]})
            node = ALL_OF_IT if gained.are_unlimited else Node(NodeKind.ROLE, f"{role.kind}/{role.name}", namespace)
            yield Means.BIND, permission("bind", RBAC_GROUP, f"{role.kind.lower()}s", namespace, role.name), [(node, gained)]

    def _bindable(self, powers: Powers, namespace: str) -> Iterator[Role]:
        """Roles to which they may add themselves: by a new binding, or in one that is there (whose role cannot be changed)."""
        resource = "rolebindings" if namespace else "clusterrolebindings"
        if may(powers, "create", RBAC_GROUP, resource, namespace):
            joined = set(self._snapshot.roles)
        else:
            changed = [names_for(powers, verb, RBAC_GROUP, resource, namespace) for verb in ("update", "patch")]
            found = self._snapshot.bindings.values() if any(names.some for names in changed) else ()
            joined = {one.role for one in found if one.namespace == namespace and any(names.has(one.name) for names in changed)}
        for role in self._snapshot.roles.values() if joined else ():
            is_here = role.key in joined and role.namespace in {"", namespace}
            if is_here and powers.cover(permission("bind", RBAC_GROUP, f"{role.kind.lower()}s", namespace, role.name)):
                yield role

    def _impersonate(self, powers: Powers) -> Iterator[Found]:
        users = names_for(powers, "impersonate", "", "users")
        if users.some:
            yield from self._impersonate_groups(powers)
            yield Means.IMPERSONATE, permission("impersonate", "", "users"), _chosen(self._users, users.has)

    def _impersonate_groups(self, powers: Powers) -> Iterator[Found]:
        """The API server takes groups only beside a user or a service account."""
        groups = names_for(powers, "impersonate", "", "groups")
        if groups.has(MASTERS):
            thanks_to = permission("impersonate", "", "groups", name="" if groups.everyone else MASTERS)
            yield Means.IMPERSONATE, thanks_to, [(ALL_OF_IT, Powers({"": [EVERYTHING]}))]
        if groups.some:
            yield Means.IMPERSONATE, permission("impersonate", "", "groups"), _chosen(self._groups, groups.has)

    def _approve(self, powers: Powers) -> Iterator[Found]:
        """A client certificate for any name; only ``system:masters`` is refused (CertificateSubjectRestriction admission)."""
        signers = (CLIENT_SIGNER, "kubernetes.io/*")
        signs = any(powers.cover(permission("approve", CERTIFICATES, "signers", name=name)) for name in signers)
        approves = any(may(powers, verb, CERTIFICATES, "certificatesigningrequests/approval") for verb in ("update", "patch"))
        if signs and approves and may(powers, "create", CERTIFICATES, "certificatesigningrequests"):
            accounts = [account for found in self._accounts.values() for account in found]
            names = [*_chosen(self._groups, lambda name: name != MASTERS), *self._users, *accounts]
            yield Means.APPROVE_CSRS, permission("approve", CERTIFICATES, "signers", name=CLIENT_SIGNER), _distinct(names)

    def _in_namespace(self, powers: Powers, namespace: str) -> Iterator[Found]:
        yield from self._bind(powers, namespace)
        if changes_own_role(powers, namespace) or makes_roles(powers, namespace):
            node = Node(NodeKind.NAMESPACE, namespace, namespace)
            yield Means.ESCALATE, permission("escalate", RBAC_GROUP, "roles", namespace), [(node, Powers({namespace: [EVERYTHING]}))]
        accounts = self._accounts.get(namespace, [])
        for means, way in ((Means.RUN_PODS, runs_pods), (Means.ENTER_PODS, enters_pods), (Means.READ_TOKENS, reads_secrets)):
            thanks_to = way(powers, namespace)
            if thanks_to:
                yield means, thanks_to, _distinct(accounts)
        create, become = (Means.CREATE_TOKENS, "create", "serviceaccounts/token"), (Means.IMPERSONATE, "impersonate", "serviceaccounts")
        for means, verb, resource in (create, become):
            named = names_for(powers, verb, "", resource, namespace)
            if named.some:
                chosen = [account for account in accounts if named.has(account[0].name.partition("/")[2])]
                yield means, permission(verb, "", resource, namespace), _distinct(chosen)


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
