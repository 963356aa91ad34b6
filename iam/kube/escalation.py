"""Paths by which somebody could reach more than they hold, by means that RBAC itself allows.

Each step is one of the known ones of https://kubernetes.io/docs/concepts/security/rbac-good-practices/
#privilege-escalation-risks. What was gathered on the way counts for the next step. Steps that depend on what runs or is
stored in the cluster (a pod to exec into, a Secret that holds a token) are counted as possible: we look at rights only.
Constrained impersonation (``impersonate:...`` verbs) and what admission forbids are not modelled.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import product

from iam.kube.authorizer import Snapshot
from iam.kube.bindings import RBAC_GROUP
from iam.kube.explorer import EVERYTHING, Asker, Powers
from iam.kube.rbac import PolicyRule, Role
from iam.kube.requests import MASTERS, SERVICE_ACCOUNT, Request

_CERTIFICATES = "certificates.k8s.io"
_CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client"
_ADMISSION = "admissionregistration.k8s.io"
_WEBHOOKS = ("mutatingwebhookconfigurations", "validatingwebhookconfigurations", "mutatingadmissionpolicies")
_CHANGE = ("create", "update", "patch")
_READ = ("get", "list", "watch")
_WORKLOADS = (
    ("", "pods"), ("", "replicationcontrollers"), ("apps", "deployments"), ("apps", "daemonsets"), ("apps", "replicasets"),
    ("apps", "statefulsets"), ("batch", "jobs"), ("batch", "cronjobs"),
)
MOST_NODES = 1000
"""Paths are followed to so many places; beyond, ``is_cut`` says that there are more."""


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


@dataclass(frozen=True, slots=True)
class Step:
    """From one node to the next, by what means, thanks to which permission."""

    source: Node
    target: Node
    means: Means
    thanks_to: Request


@dataclass(frozen=True, slots=True)
class Paths:
    """All that can be reached from a start: a tree of shortest paths, in the order found."""

    start: Node
    steps: tuple[Step, ...] = ()
    is_cut: bool = False

    @property
    def reaches_everything(self) -> bool:
        """Whether the whole cluster is at the end of a path."""
        return any(step.target.kind is NodeKind.EVERYTHING for step in self.steps)

    def to(self, node: Node) -> list[Step]:
        """The path to a node that is reached."""
        by_target = {step.target: step for step in self.steps}
        path: list[Step] = []
        while node in by_target:
            path.insert(0, by_target[node])
            node = by_target[node].source
        return path


ALL_OF_IT = Node(NodeKind.EVERYTHING)
_Target = tuple[Node, Powers]
_Found = tuple[Means, Request, Iterable[_Target]]


class Escalations:
    """Finds the paths in one snapshot. What was found once for some powers is kept for others who hold the same."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._known: dict[frozenset[object], tuple[Step, ...]] = {}
        self._users = _identities(snapshot, NodeKind.USER, snapshot.users)
        self._groups = _identities(snapshot, NodeKind.GROUP, snapshot.groups)
        self._accounts = _by_namespace(_identities(snapshot, NodeKind.ACCOUNT, snapshot.users))
        self._unlimited = Powers({"": [EVERYTHING]})

    def of(self, asker: Asker) -> Paths:
        """Everything that this asker could reach and does not hold."""
        start = node_of(asker)
        powers = Powers.of(self._snapshot, asker)
        if powers.are_unlimited or not powers.scopes:
            return Paths(start)
        key = frozenset(powers.key)
        if key not in self._known:
            self._known[key] = tuple(self._walk(start, powers))
        steps = self._known[key]
        if steps and steps[0].source != start:
            known_start = steps[0].source
            steps = tuple(Step(start, s.target, s.means, s.thanks_to) if s.source == known_start else s for s in steps)
        return Paths(start, tuple(step for step in steps if step.target != start), is_cut=len(steps) >= MOST_NODES)

    def _walk(self, start: Node, powers: Powers) -> Iterator[Step]:
        """Breadth first, so that the first way to a node is a shortest one."""
        seen, waiting = {start}, deque([(start, powers)])
        while waiting and len(seen) <= MOST_NODES:
            here, gathered = waiting.popleft()
            for means, thanks_to, targets in self._steps(gathered):
                for node, gained in targets:
                    if node not in seen and gained.exceed(gathered):
                        seen.add(node)
                        yield Step(here, node, means, thanks_to)
                        if node.kind is NodeKind.EVERYTHING:
                            return
                        waiting.append((node, gathered | gained))

    def _steps(self, powers: Powers) -> Iterator[_Found]:
        """The widest first: who reaches everything at once need not take the long way."""
        yield from self._whole_cluster(powers)
        yield from self._bind(powers)
        yield from self._impersonate(powers)
        yield from self._approve(powers)
        for namespace in self._namespaces(powers):
            yield from self._in_namespace(powers, namespace)

    def _whole_cluster(self, powers: Powers) -> Iterator[_Found]:
        everything = [(ALL_OF_IT, self._unlimited)]
        for verb in ("update", "patch"):
            if _may(powers, verb, RBAC_GROUP, "clusterroles") and _may(powers, "escalate", RBAC_GROUP, "clusterroles"):
                yield Means.ESCALATE, _permission("escalate", RBAC_GROUP, "clusterroles"), everything
        for verb, resource in product(_CHANGE, _WEBHOOKS):
            if _may(powers, verb, _ADMISSION, resource):
                yield Means.CHANGE_WEBHOOKS, _permission(verb, _ADMISSION, resource), everything
        for verb in ("get", "create"):
            if _may(powers, verb, "", "nodes/proxy"):
                yield Means.REACH_NODES, _permission(verb, "", "nodes/proxy"), everything
        if _may(powers, "create", "", "persistentvolumes"):  # a hostPath volume reads and writes the nodes' disks
            yield Means.REACH_NODES, _permission("create", "", "persistentvolumes"), everything

    def _bind(self, powers: Powers, namespace: str = "") -> Iterator[_Found]:
        resource = "rolebindings" if namespace else "clusterrolebindings"
        if not any(_may(powers, verb, RBAC_GROUP, resource, namespace) for verb in _CHANGE):
            return
        for role in self._strongest(self._bindable(powers, namespace)):
            gained = Powers({namespace: [role]})
            node = ALL_OF_IT if gained.are_unlimited else Node(NodeKind.ROLE, f"{role.kind}/{role.name}", namespace)
            yield Means.BIND, _permission("bind", RBAC_GROUP, f"{role.kind.lower()}s", namespace, role.name), [(node, gained)]

    def _bindable(self, powers: Powers, namespace: str) -> list[Role]:
        return [
            role for role in self._snapshot.roles.values()
            if (not role.namespace or role.namespace == namespace)
            and powers.cover(_permission("bind", RBAC_GROUP, f"{role.kind.lower()}s", namespace, role.name))
        ]

    def _strongest(self, roles: list[Role]) -> list[Role]:
        """One that gives everything says it all; else each of them."""
        whole = next((role for role in roles if Powers({"": [role]}).are_unlimited), None)
        return [whole] if whole else roles

    def _impersonate(self, powers: Powers) -> Iterator[_Found]:
        users = _names(powers, "impersonate", "", "users")
        groups = _names(powers, "impersonate", "", "groups")
        accounts = _names(powers, "impersonate", "", "serviceaccounts")
        anybody = users.some or accounts.some  # the API server takes groups only beside a user
        if anybody and groups.has(MASTERS):
            yield Means.IMPERSONATE, _permission("impersonate", "", "groups", name=groups.as_name(MASTERS)), [(ALL_OF_IT, self._unlimited)]
        if users.some:
            yield Means.IMPERSONATE, _permission("impersonate", "", "users"), _chosen(self._users, users.has)
        if anybody and groups.some:
            yield Means.IMPERSONATE, _permission("impersonate", "", "groups"), _chosen(self._groups, groups.has)

    def _approve(self, powers: Powers) -> Iterator[_Found]:
        """A client certificate for any name; only ``system:masters`` is refused (CertificateSubjectRestriction admission)."""
        signs = any(
            powers.cover(_permission("approve", _CERTIFICATES, "signers", name=name)) for name in (_CLIENT_SIGNER, "kubernetes.io/*")
        )
        approves = any(_may(powers, verb, _CERTIFICATES, "certificatesigningrequests/approval") for verb in ("update", "patch"))
        if signs and approves and _may(powers, "create", _CERTIFICATES, "certificatesigningrequests"):
            thanks_to = _permission("approve", _CERTIFICATES, "signers", name=_CLIENT_SIGNER)
            yield Means.APPROVE_CSRS, thanks_to, _distinct([*_chosen(self._groups, lambda name: name != MASTERS), *self._users])

    def _in_namespace(self, powers: Powers, namespace: str) -> Iterator[_Found]:
        yield from self._bind(powers, namespace)
        for verb in ("update", "patch"):
            if _may(powers, verb, RBAC_GROUP, "roles", namespace) and _may(powers, "escalate", RBAC_GROUP, "roles", namespace):
                node = Node(NodeKind.NAMESPACE, namespace, namespace)
                yield Means.ESCALATE, _permission("escalate", RBAC_GROUP, "roles", namespace), [(node, Powers({namespace: [EVERYTHING]}))]
        accounts = self._accounts.get(namespace, [])
        if not accounts:
            return
        for means, permission in _ways_into_accounts(namespace):
            if powers.cover(permission):
                yield means, permission, _distinct(accounts)
        create, become = (Means.CREATE_TOKENS, "create", "serviceaccounts/token"), (Means.IMPERSONATE, "impersonate", "serviceaccounts")
        for means, verb, resource in (create, become):
            named = _names(powers, verb, "", resource, namespace)
            if named.some:
                chosen = [target for target in accounts if named.has(target[0].name.partition("/")[2])]
                yield means, _permission(verb, "", resource, namespace), _distinct(chosen)

    def _namespaces(self, powers: Powers) -> list[str]:
        """Where something could be gained: scopes of theirs, and wherever accounts hold something if they hold roles everywhere."""
        return sorted({*filter(None, powers.scopes), *(self._accounts if powers.scopes.get("") else ())})


def _chosen(targets: Iterable[_Target], wanted: Callable[[str], bool]) -> list[_Target]:
    return _distinct(target for target in targets if wanted(target[0].name))


def _distinct(targets: Iterable[_Target]) -> list[_Target]:
    """Whoever may do everything says it all; else one of each that hold the same."""
    found: dict[frozenset[object], _Target] = {}
    for node, powers in targets:
        if powers.are_unlimited:
            return [(node, powers)]
        found.setdefault(frozenset(powers.key), (node, powers))
    return list(found.values())


def node_of(asker: Asker) -> Node:
    """The node that stands for an asker."""
    if asker.user.startswith(SERVICE_ACCOUNT):
        return _account_node(asker.user)
    return Node(NodeKind.USER, asker.user) if asker.user else Node(NodeKind.GROUP, asker.groups[0])


def _ways_into_accounts(namespace: str) -> Iterator[tuple[Means, Request]]:
    for (group, resource), verb in product(_WORKLOADS, _CHANGE):
        if resource != "pods" or verb == "create":  # a pod's service account cannot be changed
            yield Means.RUN_PODS, _permission(verb, group, resource, namespace)
    for verb, resource in (("create", "pods/exec"), ("get", "pods/exec"), ("create", "pods/attach"), ("patch", "pods/ephemeralcontainers")):
        yield Means.ENTER_PODS, _permission(verb, "", resource, namespace)
    for verb in _READ:
        yield Means.READ_TOKENS, _permission(verb, "", "secrets", namespace)


def _identities(snapshot: Snapshot, kind: NodeKind, names: Iterable[str]) -> list[_Target]:
    """The subjects of one kind that bindings name, and what they may."""
    found: list[_Target] = []
    for name in names:
        if (kind is NodeKind.ACCOUNT) == name.startswith(SERVICE_ACCOUNT):
            asker = Asker("", (name,)) if kind is NodeKind.GROUP else Asker.of(name)
            found.append((node_of(asker), Powers.of(snapshot, asker)))
    return found


def _by_namespace(accounts: Iterable[_Target]) -> Mapping[str, list[_Target]]:
    found: dict[str, list[_Target]] = {}
    for node, powers in accounts:
        found.setdefault(node.scope, []).append((node, powers))
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

    def as_name(self, name: str) -> str:
        return "" if self.everyone else name


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
    """On any object at all: a right that is limited to names is a right on those."""
    return _names(powers, verb, group, resource, namespace).some


def _permission(verb: str, group: str, combined: str, namespace: str = "", name: str = "") -> Request:
    resource, _, subresource = combined.partition("/")
    return Request("", verb, (), group, resource, subresource, name, namespace)
