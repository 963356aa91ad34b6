"""RBAC decisions over a snapshot of roles and bindings, indexed by subject.

The API server walks all bindings for each request; here a decision costs what the asker's own bindings cost, however
many others there are. A snapshot never changes; ``with_changes`` makes the next one from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from iam.kube.rbac import Role, RoleBinding, RoleKey, aggregate, read_binding
from iam.kube.requests import MASTERS, Decision, Request

BindingKey = tuple[str, str]
_Index = dict[str, dict[str, tuple[RoleBinding, ...]]]
"""Subject name -> namespace (empty: whole cluster) -> bindings."""
_DENIED = Decision(allowed=False)
_EMPTY: Mapping[str, tuple[RoleBinding, ...]] = MappingProxyType({})


@dataclass(frozen=True)
class Snapshot:
    """Roles and bindings at one moment."""

    roles: Mapping[RoleKey, Role] = field(default_factory=dict)
    bindings: Mapping[BindingKey, RoleBinding] = field(default_factory=dict)
    _of_user: _Index = field(default_factory=dict, repr=False)
    _of_group: _Index = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, roles: Iterable[Role], bindings: Iterable[RoleBinding]) -> Snapshot:
        """Index them."""
        snapshot = cls({role.key: role for role in roles}, {})
        return snapshot.with_changes(bindings=bindings)

    @classmethod
    def from_documents(cls, documents: Iterable[Mapping[str, Any]]) -> Snapshot:
        """From RBAC objects as the API gives them; other kinds are the caller's to refuse."""
        documents = list(documents)
        roles = aggregate(document for document in documents if document["kind"] in {"Role", "ClusterRole"})
        bindings = (read_binding(document) for document in documents if document["kind"] in {"RoleBinding", "ClusterRoleBinding"})
        return cls.of(roles.values(), bindings)

    def with_changes(
        self,
        roles: Iterable[Role] = (),
        bindings: Iterable[RoleBinding] = (),
        removed_roles: Iterable[RoleKey] = (),
        removed_bindings: Iterable[BindingKey] = (),
    ) -> Snapshot:
        """The next snapshot. This one stays as it is; only the subjects concerned are indexed anew."""
        gone = set(removed_roles)
        next_roles = {key: role for key, role in self.roles.items() if key not in gone} if gone else dict(self.roles)
        next_roles |= {role.key: role for role in roles}
        fresh = {binding.key: binding for binding in bindings}
        next_bindings = dict(self.bindings)
        old = [next_bindings.pop(key) for key in {*removed_bindings, *fresh} if key in next_bindings]
        next_bindings |= fresh
        of_user = _reindexed(self._of_user, [(b, b.users) for b in old], [(b, b.users) for b in fresh.values()])
        of_group = _reindexed(self._of_group, [(b, b.groups) for b in old], [(b, b.groups) for b in fresh.values()])
        return Snapshot(next_roles, next_bindings, of_user, of_group)

    def held_by(self, user: str, groups: Iterable[str]) -> Iterator[tuple[str, str, RoleBinding]]:
        """(kind of subject, its name, binding) of every binding that applies to this user in these groups."""
        for kind, index, names in (("User", self._of_user, (user,)), ("Group", self._of_group, tuple(groups))):
            for name in names:
                for bindings in index.get(name, {}).values():
                    for binding in bindings:
                        yield kind, name, binding

    @property
    def users(self) -> Iterable[str]:
        """Every user that a binding names, service accounts in their long spelling."""
        return (name for name, scopes in self._of_user.items() if scopes)

    @property
    def groups(self) -> Iterable[str]:
        """Every group that a binding names."""
        return (name for name, scopes in self._of_group.items() if scopes)

    def decide(self, request: Request) -> Decision:
        """The API server's own answer. ``system:masters`` is allowed before any authorizer is asked."""
        if MASTERS in request.groups:
            return Decision(allowed=True, reason=f"{MASTERS} may do everything", binding=MASTERS)
        held = self._of_user.get(request.user)
        binding = self._binding_that_allows(held, request) if held else None
        if binding:
            return _allowed(binding, "User", request.user)
        for group in request.groups:
            held = self._of_group.get(group)
            binding = self._binding_that_allows(held, request) if held else None
            if binding:
                return _allowed(binding, "Group", group)
        return _DENIED

    def _binding_that_allows(self, held: Mapping[str, tuple[RoleBinding, ...]], request: Request) -> RoleBinding | None:
        for scope in ("", request.namespace) if request.namespace else ("",):
            for binding in held.get(scope, ()):
                role = self.roles.get(binding.role)
                if role and role.rule_that_allows(request):
                    return binding
        return None


def _allowed(binding: RoleBinding, kind: str, subject: str) -> Decision:
    where = f"{binding.name}/{binding.namespace}" if binding.namespace else binding.name
    reason = f'RBAC: allowed by {binding.kind} "{where}" of {binding.role[0]} "{binding.role[2]}" to {kind} "{subject}"'
    return Decision(allowed=True, reason=reason, binding=f"{binding.kind} {'/'.join(filter(None, binding.key))}")


def _reindexed(
    index: _Index, old: list[tuple[RoleBinding, tuple[str, ...]]], fresh: list[tuple[RoleBinding, tuple[str, ...]]]
) -> _Index:
    """A copy in which the subjects concerned have changed; the others are shared with the index before."""
    after = dict(index)
    mine: set[str] = set()

    def own(subject: str) -> dict[str, tuple[RoleBinding, ...]]:
        if subject not in mine:
            mine.add(subject)
            after[subject] = dict(after.get(subject, {}))
        return after[subject]

    for binding, subjects in old:
        for subject in subjects:
            scopes = own(subject)
            left = tuple(one for one in scopes.get(binding.namespace, ()) if one.key != binding.key)
            scopes[binding.namespace] = left
            if not left:
                del scopes[binding.namespace]
    pending: dict[tuple[str, str], list[RoleBinding]] = {}
    for binding, subjects in fresh:
        for subject in dict.fromkeys(subjects):
            pending.setdefault((subject, binding.namespace), []).append(binding)
    for (subject, namespace), added in pending.items():
        scopes = own(subject)
        scopes[namespace] = (*scopes.get(namespace, ()), *added)
    return after
