"""Access: mappings of directory groups to roles, and what a change of them would do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import joinedload

from iam.errors import Conflict, Invalid, NotFound
from iam.kube import names
from iam.models import Cluster, Group, Mapping, Membership, Person, db
from iam.services.audit import Audit, Event, Target
from iam.services.base import READ, WRITE, Actor, World, once_more, transaction
from iam.services.memberships import counting
from iam.services.people import groups_named
from iam.services.wakeups import want_cluster

MAX_NAMESPACES = 200


@dataclass(frozen=True, slots=True)
class NewMapping:
    """A mapping as an administrator writes it; no namespaces means the whole cluster."""

    group: str
    """``directory:group``"""
    cluster: str
    role_kind: str
    role_name: str
    namespaces: tuple[str, ...] = ()
    subject_kind: str = "User"
    note: str = ""


@dataclass(frozen=True, slots=True)
class Effect:
    """What saving or removing a mapping changes: who gains or loses the role, and in which scopes."""

    mapping: NewMapping
    gaining: tuple[Person, ...] = ()
    losing: tuple[Person, ...] = ()
    unchanged: int = 0
    """People of the group who hold the role there through another mapping anyway."""


class Access:
    """Use cases about mappings."""

    def __init__(self, world: World, audit: Audit) -> None:
        self._world = world
        self._audit = audit

    def mappings(self, actor: Actor, cluster: str = "") -> Sequence[Mapping]:
        """All mappings, by cluster and group."""
        self._audit.require(actor, "administrator", "auditor", scope=READ)
        query = (
            select(Mapping).join(Mapping.group).join(Mapping.cluster)
            .options(joinedload(Mapping.group), joinedload(Mapping.cluster))
            .order_by(Cluster.name, Group.directory, Group.name, Mapping.role_name)
        )
        return db.session.scalars(query.where(Cluster.name == cluster) if cluster else query).all()

    def mapping(self, actor: Actor, mapping_id: str) -> Mapping:
        """Raises NotFound."""
        self._audit.require(actor, "administrator", "auditor", scope=READ)
        return _get(mapping_id)

    def preview(self, actor: Actor, command: NewMapping) -> Effect:
        """Who would gain what, before it is saved. Raises Invalid, NotFound."""
        self._audit.require(actor, "administrator", scope=READ)
        cluster, directory, group_name = self._checked(command)
        people = self._members(directory, group_name)
        others = self._holders(cluster.id, command)
        gaining = tuple(person for person in people if person.id not in others)
        return Effect(command, gaining=gaining, unchanged=len(people) - len(gaining))

    def preview_removal(self, actor: Actor, mapping_id: str) -> Effect:
        """Who would lose what."""
        self._audit.require(actor, "administrator", scope=READ)
        mapping = _get(mapping_id)
        people = self._members(mapping.group.directory, mapping.group.name)
        command = _as_command(mapping)
        others = self._holders(mapping.cluster_id, command, besides=mapping.id)
        losing = tuple(person for person in people if person.id not in others)
        return Effect(command, losing=losing, unchanged=len(people) - len(losing))

    def members(self, actor: Actor, command: NewMapping) -> Sequence[Person]:
        """Whom a mapping would be for, if it were saved. Raises Invalid, NotFound."""
        self._audit.require(actor, "administrator", "approver", "auditor", scope=READ)
        _cluster, directory, group_name = self._checked(command)
        return self._members(directory, group_name)

    def create(self, actor: Actor, command: NewMapping) -> Mapping:
        """Save a mapping; its bindings follow with the next reconcile. Raises Invalid, NotFound, Conflict."""
        target = Target("mapping", f"{command.group} -> {command.role_kind}/{command.role_name}", command.cluster)
        self._audit.require(actor, "administrator", scope=WRITE, target=target)
        cluster, directory, group_name = self._checked(command)
        return once_more(lambda: self._create(actor, command, target, cluster, directory, group_name))

    def _create(self, actor: Actor, command: NewMapping, target: Target, cluster: Cluster, directory: str, group_name: str) -> Mapping:
        with transaction():
            (group,) = groups_named(directory, {group_name})
            mapping = Mapping(
                group_id=group.id, cluster_id=cluster.id, role_kind=command.role_kind, role_name=command.role_name,
                namespaces=sorted(set(command.namespaces)), subject_kind=command.subject_kind, note=command.note.strip()[:500],
                created_at=self._world.now(), created_by=actor.name,
            )
            if any(_says_the_same(mapping, other) for other in db.session.scalars(select(Mapping).filter_by(group_id=group.id))):
                raise Conflict("This mapping exists already.")
            db.session.add(mapping)
            db.session.flush()
            want_cluster(cluster.id, self._world.now())
            self._audit.record(actor, Event.MAPPING_CREATED, target, namespaces=mapping.namespaces, subject_kind=mapping.subject_kind)
        return mapping

    def remove(self, actor: Actor, mapping_id: str) -> None:
        """Remove a mapping; its bindings go with the next reconcile. Raises NotFound."""
        self._audit.require(actor, "administrator", scope=WRITE, target=Target("mapping", mapping_id))
        with transaction():
            mapping = _get(mapping_id)
            name = f"{mapping.group.reference} -> {mapping.role_kind}/{mapping.role_name}"
            want_cluster(mapping.cluster_id, self._world.now())
            self._audit.record(
                actor, Event.MAPPING_REMOVED, Target("mapping", name, mapping.cluster.name), namespaces=mapping.namespaces
            )
            db.session.delete(mapping)

    def known_groups(self, actor: Actor) -> Sequence[str]:
        """``directory:group`` of every group seen so far, to choose from."""
        self._audit.require(actor, "administrator", "auditor", scope=READ)
        groups = db.session.scalars(select(Group).order_by(Group.directory, Group.name).limit(2000))
        return [group.reference for group in groups]

    def counts(self) -> dict[str, int]:
        """For the metrics and the status page."""
        return {
            "people": db.session.scalar(select(func.count()).select_from(Person).where(Person.disabled_at.is_(None))) or 0,
            "mappings": db.session.scalar(select(func.count()).select_from(Mapping)) or 0,
        }

    def _members(self, directory: str, group_name: str) -> list[Person]:
        query = (
            select(Person).join(Membership, Membership.person_id == Person.id).join(Group, Group.id == Membership.group_id)
            .where(Group.directory == directory, Group.name == group_name, counting(self._world)).order_by(Person.display_name)
        )
        return list(db.session.scalars(query))

    def _holders(self, cluster_id: str, command: NewMapping, besides: str = "") -> set[str]:
        """People who hold the role in all of the command's scopes through other mappings."""
        query = (
            select(Person.id, Mapping.namespaces)
            .join(Membership, Membership.person_id == Person.id).join(Mapping, Mapping.group_id == Membership.group_id)
            .where(
                Mapping.cluster_id == cluster_id, Mapping.role_kind == command.role_kind, Mapping.role_name == command.role_name,
                Mapping.id != besides, Mapping.subject_kind == command.subject_kind,
            )
        )
        held: dict[str, set[str]] = {}
        everywhere: set[str] = set()
        for person_id, namespaces in db.session.execute(query):
            if not namespaces:
                everywhere.add(person_id)
            held.setdefault(person_id, set()).update(namespaces)
        wanted = set(command.namespaces)
        return everywhere | {person_id for person_id, found in held.items() if wanted and wanted <= found}

    def _checked(self, command: NewMapping) -> tuple[Cluster, str, str]:
        directory, _, group_name = command.group.strip().partition(":")
        if directory not in self._world.directories or not group_name:
            raise Invalid(
                "The group should read directory:group with one of the directories %(directories)s.",
                field="group", directories=", ".join(self._world.directories),
            )
        group_name = names.group_name(group_name)
        cluster = db.session.scalar(select(Cluster).filter_by(name=command.cluster))
        if cluster is None:
            raise NotFound("There is no cluster %(name)s.", name=command.cluster)
        if command.role_kind not in {"Role", "ClusterRole"}:
            raise Invalid("A role is a Role or a ClusterRole.", field="role_kind")
        if command.subject_kind not in {"User", "Group"}:
            raise Invalid("Subjects are User or Group.", field="subject_kind")
        names.role_name(command.role_name, field="role_name")
        names.refuse_reserved(command.role_name, field="role_name")
        if command.role_kind == "Role" and not command.namespaces:
            raise Invalid("A Role lives in namespaces: name at least one.", field="namespaces")
        if len(command.namespaces) > MAX_NAMESPACES:
            raise Invalid("At most %(most)s namespaces in one mapping.", field="namespaces", most=MAX_NAMESPACES)
        for namespace in command.namespaces:
            names.object_name(namespace, field="namespaces")
        return cluster, directory, group_name


def _get(mapping_id: str) -> Mapping:
    mapping = db.session.get(Mapping, mapping_id)
    if mapping is None:
        raise NotFound("There is no such mapping.")
    return mapping


def _as_command(mapping: Mapping) -> NewMapping:
    return NewMapping(
        mapping.group.reference, mapping.cluster.name, mapping.role_kind, mapping.role_name, tuple(mapping.namespaces),
        mapping.subject_kind, mapping.note,
    )


def _says_the_same(one: Mapping, other: Mapping) -> bool:
    return all(
        getattr(one, field) == getattr(other, field)
        for field in ("cluster_id", "role_kind", "role_name", "namespaces", "subject_kind")
    )
