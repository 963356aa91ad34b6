"""What the explorer looks at: a cluster's RBAC now, after what is planned, or after a change that is only thought of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Literal

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import joinedload

from iam.errors import Forbidden, Invalid, NotFound
from iam.kube.authorizer import Snapshot
from iam.kube.bindings import Binding, Entitlement, Subject, compile_bindings
from iam.kube.explorer import Asker, Way
from iam.kube.names import group_name
from iam.kube.rbac import read_binding
from iam.kube.requests import with_implied_groups
from iam.models import Cluster, Group, Membership, Person, db
from iam.models import Mapping as StoredMapping
from iam.services.access import Access, NewMapping
from iam.services.base import Actor, World
from iam.services.clusters import Clusters, role_ref
from iam.services.holdings import Holdings
from iam.services.memberships import counting
from iam.services.snapshots import Snapshots

GROUP = "group:"
_ADDING = {
    "group": "adding_group", "role_kind": "adding_kind", "role_name": "adding_role", "namespaces": "adding_namespaces",
    "subject_kind": "adding_as",
}
"""What a mapping's fields are called in a question."""


@dataclass(frozen=True, slots=True)
class Standpoint:
    """Which state is asked about. Anything but the default is the state after the next reconcile, with the change made."""

    is_planned: bool = False
    adding: NewMapping | None = None
    removing: str = ""
    """A mapping's id."""
    anew: bool = False
    """Read the cluster again, however fresh the last reading is."""

    @property
    def is_now(self) -> bool:
        """Whether the cluster is looked at as it is."""
        return not (self.is_planned or self.adding or self.removing)


@dataclass(frozen=True, slots=True)
class Someone:
    """A person, as far as the explorer shows them."""

    id: str
    username: str
    display_name: str


@dataclass(frozen=True, slots=True)
class Ground:
    """Through what somebody holds something: a mapping of ours (if it is one), a binding, a role."""

    way: Way
    group: str = ""
    """The directory group whose mapping is behind it; empty where nothing of ours is."""
    mapping_id: str = ""
    is_ours: bool = False
    """Whether this installation keeps the binding."""


@dataclass(frozen=True)
class View:
    """One cluster from one standpoint. Everybody is loaded once, and only when a question is about everybody."""

    cluster: Cluster
    snapshot: Snapshot
    at: datetime
    standpoint: Standpoint
    world: World
    about: frozenset[str] | None = None
    """Whom it may be asked about; None is everybody."""

    @cached_property
    def people(self) -> Mapping[str, Someone]:
        """Everybody whose memberships count now, by Kubernetes user name."""
        self._require()
        return {one.username: one for one in self._found(counting(self.world))}

    @cached_property
    def askers(self) -> Sequence[Asker]:
        """The same as the cluster sees them: with the groups that it learns itself, where mappings count on that."""
        groups = self._groups_learned()
        return [Asker.of(one.username, groups.get(one.id, ())) for one in self.people.values()]

    def someone(self, user: str) -> Someone | None:
        """The person behind a user name, if one is and counts."""
        self._require(user)
        return next(iter(self._found(counting(self.world), Person.username == user)), None)

    def asker(self, user: str) -> Asker:
        """A person, or any other user of the cluster; ``group:NAME`` asks as somebody in that group alone."""
        someone = self.someone(user)
        if someone:
            return Asker.of(user, self._groups_learned(Membership.person_id == someone.id).get(someone.id, ()))
        if user.startswith(GROUP):
            return Asker("", with_implied_groups("", (user.removeprefix(GROUP),)))
        return Asker.of(user)

    def _require(self, *users: str) -> None:
        """Whom this view may be asked about was judged when it was made."""
        if self.about is not None and not (users and self.about.issuperset(users)):
            raise Forbidden("You may not do this.")

    def _found(self, *conditions: ColumnElement[bool]) -> list[Someone]:
        rows = db.session.execute(select(Person.id, Person.username, Person.display_name).where(*conditions).order_by(Person.display_name))
        return [Someone(*row) for row in rows]

    def _groups_learned(self, *conditions: ColumnElement[bool]) -> Mapping[str, Sequence[str]]:
        """All groups of the directories of which the cluster learns groups, as one mapping bound as Group says that it does."""
        mapped = select(StoredMapping.group_id).where(StoredMapping.cluster_id == self.cluster.id, StoredMapping.subject_kind == "Group")
        learned: ColumnElement[bool] = Group.directory.in_(select(Group.directory).where(Group.id.in_(mapped)))
        adding = self.standpoint.adding
        if adding and adding.subject_kind == "Group":
            learned = or_(learned, Group.directory == adding.group.strip().partition(":")[0])
        rows = db.session.execute(
            select(Membership.person_id, Group.name).join(Group, Group.id == Membership.group_id).where(learned, *conditions)
        )
        groups: dict[str, list[str]] = defaultdict(list)
        for person_id, name in rows:
            groups[person_id].append(name)
        return groups

    def grounds(self, found: Iterable[tuple[Someone | None, Way]]) -> list[Ground]:
        """Each way with the mappings that lead to it: two queries for all of them."""
        return [ground for grounds in self.grounds_each(found) for ground in grounds]

    def grounds_each(self, found: Iterable[tuple[Someone | None, Way]]) -> list[list[Ground]]:
        """The same, kept apart by way."""
        pairs = list(found)
        ours = {someone.id for someone, way in pairs if someone and way.binding.instance == self.world.settings.instance}
        groups_of: dict[str, set[str]] = defaultdict(set)
        for start in range(0, len(ours), 500):
            some = sorted(ours)[start : start + 500]
            for person_id, group_id in db.session.execute(
                select(Membership.person_id, Membership.group_id).where(Membership.person_id.in_(some))
            ):
                groups_of[person_id].add(group_id)
        return [self._grounds_of(someone, way, groups_of) for someone, way in pairs]

    def _grounds_of(self, someone: Someone | None, way: Way, groups_of: Mapping[str, set[str]]) -> list[Ground]:
        if way.binding.instance != self.world.settings.instance:
            return [Ground(way)]
        kind, _, name = way.binding.role
        mappings = self._mappings.get((kind, name, way.binding.namespace, way.subject_kind), ())
        groups = groups_of[someone.id] if someone else set()
        leading = (one for one in mappings if (one.group.name == way.subject if way.subject_kind == "Group" else one.group_id in groups))
        found = [Ground(way, one.group.reference, one.id, is_ours=True) for one in leading]
        return found or [Ground(way, self._imagined(way), is_ours=True)]

    def _imagined(self, way: Way) -> str:
        """The group of the mapping that is only thought of, where nothing that is saved explains this."""
        adding, (kind, _, name) = self.standpoint.adding, way.binding.role
        if adding is None or (adding.role_kind, adding.role_name, adding.subject_kind) != (kind, name, way.subject_kind):
            return ""
        scopes = adding.namespaces or ("",)
        return adding.group.strip() if way.binding.namespace in scopes else ""

    @cached_property
    def _mappings(self) -> Mapping[tuple[str, str, str, str], Sequence[StoredMapping]]:
        """By role, scope and kind of subject."""
        query = select(StoredMapping).where(StoredMapping.cluster_id == self.cluster.id).options(joinedload(StoredMapping.group))
        found: dict[tuple[str, str, str, str], list[StoredMapping]] = defaultdict(list)
        for one in db.session.scalars(query.where(StoredMapping.id != self.standpoint.removing)):
            for namespace in one.namespaces or [""]:
                found[one.role_kind, one.role_name, namespace, one.subject_kind].append(one)
        return found


class Views:
    """Makes them."""

    def __init__(self, world: World, clusters: Clusters, access: Access, holdings: Holdings, snapshots: Snapshots) -> None:
        self._world = world
        self._clusters = clusters
        self._access = access
        self._holdings = holdings
        self._snapshots = snapshots

    def of(self, actor: Actor, cluster: Cluster, standpoint: Standpoint, about: frozenset[str] | None) -> View:
        """Read the cluster (or take the fresh reading there is). Raises Unavailable, Invalid."""
        reading = self._snapshots.get(cluster.id, lambda: self._clusters.read(cluster), anew=standpoint.anew)
        snapshot = reading.snapshot
        if not standpoint.is_now:
            desired = compile_bindings(self._entitlements(actor, cluster, standpoint))
            snapshot = _after(snapshot, desired.values(), self._world.settings.instance)
        return View(cluster, snapshot, reading.at, standpoint, self._world, about)

    def _entitlements(self, actor: Actor, cluster: Cluster, standpoint: Standpoint) -> Iterable[Entitlement]:
        removed = f"mapping:{self._removed(cluster, standpoint.removing)}"
        yield from (entitlement for entitlement in self._holdings.entitlements(cluster.id) if entitlement.because != removed)
        if standpoint.adding:
            yield from self._added(actor, cluster, standpoint.adding)

    def _removed(self, cluster: Cluster, mapping_id: str) -> str:
        mapping = db.session.get(StoredMapping, mapping_id) if mapping_id else None
        if mapping_id and (mapping is None or mapping.cluster_id != cluster.id):
            raise NotFound("There is no such mapping.", field="removing")
        return mapping_id

    def _added(self, actor: Actor, cluster: Cluster, command: NewMapping) -> Iterable[Entitlement]:
        """What a mapping would give, checked as if it were saved."""
        if command.cluster != cluster.name:
            raise Invalid("The mapping is for another cluster than the one asked about.", field="adding_group")
        try:
            members = self._access.members(actor, command)
        except Invalid as problem:
            problem.field = _ADDING.get(problem.field or "", problem.field)
            raise
        names = [_name_of(command)] if command.subject_kind == "Group" else [person.username for person in members]
        kind: Literal["User", "Group"] = "Group" if command.subject_kind == "Group" else "User"
        for name in names:
            for namespace in command.namespaces or (None,):
                yield Entitlement(Subject(kind, name), role_ref(command.role_kind, command.role_name), namespace, "mapping:new")


def _name_of(command: NewMapping) -> str:
    """The group without its directory."""
    return group_name(command.group.strip().partition(":")[2])


def _after(snapshot: Snapshot, desired: Iterable[Binding], instance: str) -> Snapshot:
    """What the reconciler would leave behind."""
    ours = {key for key, binding in snapshot.bindings.items() if binding.instance == instance}
    fresh = [one for one in desired if one.key in ours or one.key not in snapshot.bindings]  # somebody else's of our name stays
    return snapshot.with_changes(bindings=[read_binding(one.manifest(instance)) for one in fresh], removed_bindings=ours)
