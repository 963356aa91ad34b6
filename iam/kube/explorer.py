"""Questions about a snapshot that an authorizer does not answer: who can, what can, why not, and what differs.

A permission is asked for as a Request without a user; one that stands for many carries ``*`` where the rule does
(``verb="*"`` is every verb), and is covered only by a rule that is at least as wide. Sources: pkg/registry/rbac/validation
(rules that apply to a user) and component-helpers/auth/rbac/validation/policy_comparator.go (what covers what) of 1.36.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from iam.kube.authorizer import Snapshot
from iam.kube.rbac import ALL, PolicyRule, Role, RoleBinding, RoleKey, path_matches
from iam.kube.requests import MASTERS, Request, with_implied_groups
from iam.kube.resources import BUILT_IN

NEAREST = 5


@dataclass(frozen=True, slots=True)
class Asker:
    """Whose access is looked at: a user name, and the groups that authentication gives it."""

    user: str
    groups: tuple[str, ...] = ()

    @classmethod
    def of(cls, user: str, groups: Iterable[str] = ()) -> Asker:
        """With the implied groups added."""
        return cls(user, with_implied_groups(user, tuple(groups)))

    @property
    def is_master(self) -> bool:
        """Whether no authorizer is asked at all."""
        return MASTERS in self.groups


@dataclass(frozen=True, slots=True)
class Way:
    """One reason why somebody may: the subject that a binding names, the binding, and the rule of its role."""

    subject_kind: str
    subject: str
    binding: RoleBinding
    rule: PolicyRule


@dataclass(frozen=True, slots=True)
class Near:
    """A rule that almost allows: which of its parts do not fit (``verb``, ``resource``, ``namespace``, ...)."""

    way: Way
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WhoCan:
    """Everybody who may: the askers given, and the subjects of bindings that are none of them."""

    askers: Mapping[Asker, tuple[Way, ...]]
    others: Mapping[tuple[str, str], tuple[Way, ...]]
    """(kind, name) of groups, service accounts and users that nobody among the askers is."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Permissions of two askers that the other does not have, and those that both have."""

    only_first: tuple[Request, ...]
    only_second: tuple[Request, ...]
    both: tuple[Request, ...]


def who_can(snapshot: Snapshot, wanted: Request, askers: Collection[Asker], *, anywhere: bool = False) -> WhoCan:
    """Who may do this, through what. ``anywhere`` takes a permission in any one namespace as enough.

    Costs one pass over the bindings and one look-up an asker.
    """
    by_subject: dict[tuple[str, str], list[Way]] = defaultdict(list)
    for binding, rule in _bindings_that_allow(snapshot, wanted, anywhere=anywhere):
        for kind, subjects in (("User", binding.users), ("Group", binding.groups)):
            for name in dict.fromkeys(subjects):
                by_subject[kind, name].append(Way(kind, name, binding, rule))
    found: dict[Asker, tuple[Way, ...]] = {}
    for asker in askers:
        ways = [*by_subject.get(("User", asker.user), ())]
        for group in asker.groups:
            ways += by_subject.get(("Group", group), ())
        if ways or asker.is_master:
            found[asker] = tuple(ways)
    known = {asker.user for asker in askers}
    others = {subject: tuple(ways) for subject, ways in by_subject.items() if subject[0] != "User" or subject[1] not in known}
    return WhoCan(found, others)


def _bindings_that_allow(snapshot: Snapshot, wanted: Request, *, anywhere: bool) -> Iterator[tuple[RoleBinding, PolicyRule]]:
    rules = {key: role.rule_that_allows(wanted) for key, role in snapshot.roles.items()}
    for binding in snapshot.bindings.values():
        rule = rules.get(binding.role)
        if rule and ((anywhere and _may_lie_in_a_namespace(wanted)) or _reaches(binding, wanted)):
            yield binding, rule


def _may_lie_in_a_namespace(wanted: Request) -> bool:
    """Not for paths and kinds like nodes: to these a binding in a namespace gives nothing."""
    known = BUILT_IN.get((wanted.api_group, wanted.resource))
    return wanted.path is None and (known is None or known.is_namespaced or known.name == "namespaces")


def _reaches(binding: RoleBinding, wanted: Request) -> bool:
    """Whether the permission lies where the binding counts; paths are the whole cluster's."""
    return not binding.namespace or (binding.namespace == wanted.namespace and wanted.path is None)


def ways(snapshot: Snapshot, asker: Asker, wanted: Request) -> list[Way]:
    """Every way in which this asker may do this; empty when they may not (``system:masters`` needs none)."""
    found = []
    for kind, name, binding in snapshot.held_by(asker.user, asker.groups):
        role = snapshot.roles.get(binding.role)
        if role and _reaches(binding, wanted):
            rule = role.rule_that_allows(wanted)
            if rule:
                found.append(Way(kind, name, binding, rule))
    return found


def nearest(snapshot: Snapshot, asker: Asker, wanted: Request, most: int = NEAREST) -> list[Near]:
    """The rules that this asker holds and that come closest, with what each lacks; the closest first."""
    found: dict[tuple[PolicyRule, str], Near] = {}
    for kind, name, binding in snapshot.held_by(asker.user, asker.groups):
        role = snapshot.roles.get(binding.role)
        for rule in role.rules if role else ():
            missing = (*(() if _reaches(binding, wanted) else ("namespace",)), *lacks(rule, wanted))
            if _is_close(rule, wanted, missing):
                found.setdefault((rule, binding.namespace), Near(Way(kind, name, binding, rule), missing))
    return sorted(found.values(), key=lambda near: (len(near.missing), near.way.binding.key))[:most]


def lacks(rule: PolicyRule, wanted: Request) -> tuple[str, ...]:
    """Which parts of a permission this rule does not give; nothing where it allows it."""
    missing = [] if {ALL, wanted.verb} & set(rule.verbs) else ["verb"]
    if wanted.path is not None:
        return (*missing, *(() if any(path_matches(one, wanted.path) for one in rule.non_resource_urls) else ("path",)))
    if not {ALL, wanted.api_group} & set(rule.api_groups):
        missing.append("apiGroup")
    either = {ALL, wanted.combined_resource, *([f"*/{wanted.subresource}"] if wanted.subresource else [])}
    if not either & set(rule.resources):
        missing.append("subresource" if wanted.subresource and wanted.resource in rule.resources else "resource")
    if rule.resource_names and wanted.name not in rule.resource_names:
        missing.append("name")
    return tuple(missing)


def _is_close(rule: PolicyRule, wanted: Request, missing: tuple[str, ...]) -> bool:
    """Worth showing: about the same kind of thing, or the same verb on the same API group, and little else wrong."""
    if wanted.path is not None:
        return bool(rule.non_resource_urls) and "path" not in missing
    return not rule.non_resource_urls and "resource" not in missing and len(missing) <= 2


def dangling(snapshot: Snapshot, asker: Asker) -> list[RoleBinding]:
    """Bindings of this asker whose role does not exist: they give nothing."""
    return [binding for _kind, _name, binding in snapshot.held_by(asker.user, asker.groups) if binding.role not in snapshot.roles]


def roles_that_allow(snapshot: Snapshot, wanted: Request) -> list[Role]:
    """Roles that would allow this if they were held: the narrowest first, those of Kubernetes itself left out."""
    here = (role for role in snapshot.roles.values() if role.namespace in {"", wanted.namespace} and not role.name.startswith("system:"))
    found = [role for role in here if role.rule_that_allows(wanted)]
    return sorted(found, key=lambda role: (_width(role), role.name))


def _width(role: Role) -> int:
    """How much a role gives, roughly: a wildcard weighs as a hundred."""
    return sum(_count(r.verbs) * _count(r.api_groups) * _count(r.resources) + len(r.non_resource_urls) for r in role.rules)


def _count(values: tuple[str, ...]) -> int:
    return sum(100 if ALL in value else 1 for value in values)


Key = frozenset[tuple[str, RoleKey]]


class Powers:
    """What somebody may do: the roles they hold, by scope (empty: the whole cluster)."""

    def __init__(self, scopes: Mapping[str, Iterable[Role]]) -> None:
        self.scopes = {scope: tuple({role.key: role for role in roles}.values()) for scope, roles in scopes.items()}

    @classmethod
    def of(cls, snapshot: Snapshot, asker: Asker) -> Powers:
        """Of an asker."""
        if asker.is_master:
            return cls({"": [EVERYTHING]})
        scopes: dict[str, list[Role]] = defaultdict(list)
        for _kind, _name, binding in snapshot.held_by(asker.user, asker.groups):
            role = snapshot.roles.get(binding.role)
            if role:
                scopes[binding.namespace].append(role)
        return cls(scopes)

    def __or__(self, other: Powers) -> Powers:
        scopes = {scope: [*self.scopes.get(scope, ()), *other.scopes.get(scope, ())] for scope in {**self.scopes, **other.scopes}}
        return Powers(scopes)

    def within(self, *namespaces: str) -> Powers:
        """What counts in these namespaces: what is held there, and for the cluster as a whole."""
        return Powers({scope: self.scopes[scope] for scope in {"", *namespaces} if scope in self.scopes})

    @cached_property
    def key(self) -> Key:
        """Equal for everybody who holds the same roles in the same scopes."""
        return frozenset((scope, role.key) for scope, roles in self.scopes.items() for role in roles)

    @cached_property
    def are_unlimited(self) -> bool:
        """Whether nothing is left to gain."""
        return self.cover(Request("", ALL, api_group=ALL, resource=ALL))

    def cover(self, wanted: Request) -> bool:
        """Whether this, wildcards and all, is theirs."""
        held = self.scopes.get("", ())
        if wanted.namespace and wanted.path is None:
            held = (*held, *self.scopes.get(wanted.namespace, ()))
        return any(_gives(role, wanted) for role in held)

    def permissions(self, besides: Powers | None = None) -> Iterator[Request]:
        """Each single permission, as a Request with its scope as namespace; roles that the others hold there too left out."""
        known = besides.key if besides else frozenset()
        for scope in sorted(self.scopes):
            seen: set[Request] = set()
            for role in self.scopes[scope]:
                if (scope, role.key) in known or ("", role.key) in known:
                    continue
                for rule in role.rules:
                    for one in permissions_of(rule, scope):
                        if one not in seen:
                            seen.add(one)
                            yield one

    def beyond(self, other: Powers) -> list[Request]:
        """What is theirs and not the other's."""
        return [one for one in self.permissions(besides=other) if not other.cover(one)]

    def exceed(self, other: Powers) -> bool:
        """Whether anything is theirs and not the other's."""
        return any(not other.cover(one) for one in self.permissions(besides=other))


def _gives(role: Role, wanted: Request) -> bool:
    """Whether a role covers a permission; one without a name is a permission on all names."""
    rule = role.rule_that_allows(wanted)
    if rule is None or wanted.name or not rule.resource_names:
        return rule is not None
    return any(not other.resource_names and other.allows(wanted) for other in role.rules)


EVERYTHING = Role("", rules=(PolicyRule((ALL,), (ALL,), (ALL,)), PolicyRule((ALL,), non_resource_urls=(ALL,))))
"""What system:masters may."""


def permissions_of(rule: PolicyRule, namespace: str = "") -> Iterator[Request]:
    """A rule taken apart: one verb, one resource, at most one name each."""
    for verb in rule.verbs:
        if not namespace:
            yield from (Request("", verb, path=path) for path in rule.non_resource_urls)
        for api_group in rule.api_groups:
            for combined in rule.resources:
                resource, _, subresource = combined.partition("/")
                for name in rule.resource_names or ("",):
                    yield Request("", verb, (), api_group, resource, subresource, name, namespace)


def compare(snapshot: Snapshot, first: Asker, second: Asker) -> Difference:
    """What one may that the other may not, both ways, and what both may."""
    one, other = Powers.of(snapshot, first), Powers.of(snapshot, second)
    only_first = one.beyond(other)
    missing = set(only_first)
    return Difference(tuple(only_first), tuple(other.beyond(one)), tuple(p for p in one.permissions() if p not in missing))


def condensed(permissions: Iterable[Request]) -> list[tuple[Request, tuple[str, ...]]]:
    """The same with the verbs of one thing together, in the order found; the Request's own verb is empty."""
    verbs: dict[Request, list[str]] = {}
    for one in permissions:
        verbs.setdefault(replace(one, verb=""), []).append(one.verb)
    return [(thing, tuple(dict.fromkeys(found))) for thing, found in verbs.items()]
