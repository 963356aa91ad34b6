"""What people hold now, by mappings of their groups and by grants: for the home page, for certificates, for the bindings on clusters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from sqlalchemy import ColumnElement, and_, select
from sqlalchemy.orm import joinedload

from iam.kube.bindings import Entitlement, RoleRef, Subject
from iam.models import Cluster, Grant, Group, Mapping, Membership, Person, db
from iam.models.grant import ACTIVE
from iam.services.base import World
from iam.services.clusters import role_ref
from iam.services.memberships import count_now, counting, lapse_at


@dataclass(frozen=True, slots=True)
class Holding:
    """One line of the home page: what somebody may do where, and through which mapping or grant."""

    cluster: Cluster
    role: RoleRef
    namespaces: tuple[str, ...]
    group: str
    """Empty for a grant."""
    until: datetime | None
    is_ours: bool = True
    """False where the cluster itself learns the group: a certificate of ours does not carry it."""
    grant: Grant | None = None


class Holdings:
    """Mappings and grants compiled, for one person or for one cluster."""

    def __init__(self, world: World) -> None:
        self._world = world

    def of(self, person: Person) -> list[Holding]:
        """What this person holds, a line a mapping or grant."""
        found = [*self._mapped(person), *self._granted(person)]
        return sorted(found, key=lambda one: (one.cluster.name, one.grant is not None, one.role.name))

    def _mapped(self, person: Person) -> Iterator[Holding]:
        if not count_now(self._world, person):
            return
        until = lapse_at(self._world, person)
        rows = db.session.scalars(
            select(Mapping)
            .join(Membership, and_(Membership.group_id == Mapping.group_id, Membership.person_id == person.id))
            .join(Mapping.cluster).options(joinedload(Mapping.cluster).joinedload(Cluster.reconcile), joinedload(Mapping.group))
        )
        for row in rows:
            yield Holding(
                row.cluster, role_ref(row.role_kind, row.role_name), tuple(row.namespaces), row.group.reference, until,
                is_ours=row.subject_kind == "User",
            )

    def _granted(self, person: Person) -> Iterator[Holding]:
        query = select(Grant).join(Grant.person).join(Grant.cluster).where(Grant.person_id == person.id, self._running())
        for row in db.session.scalars(query.options(joinedload(Grant.cluster).joinedload(Cluster.reconcile))):
            if row.cluster:
                yield Holding(row.cluster, role_ref(row.role_kind, row.role_name), tuple(row.namespaces), "", row.ends_at, grant=row)

    def entitlements(self, cluster_id: str) -> Iterable[Entitlement]:
        """All that a cluster's bindings must grant now: three queries, however many people."""
        users = (
            select(Mapping.id, Mapping.role_kind, Mapping.role_name, Mapping.namespaces, Person.username)
            .join(Membership, Membership.group_id == Mapping.group_id)
            .join(Person, Person.id == Membership.person_id)
            .where(Mapping.cluster_id == cluster_id, Mapping.subject_kind == "User", counting(self._world))
        )
        groups = (
            select(Mapping.id, Mapping.role_kind, Mapping.role_name, Mapping.namespaces, Group.name)
            .join(Group, Group.id == Mapping.group_id)
            .where(Mapping.cluster_id == cluster_id, Mapping.subject_kind == "Group")
        )
        granted = (
            select(Grant.id, Grant.role_kind, Grant.role_name, Grant.namespaces, Person.username)
            .join(Grant.person).where(Grant.cluster_id == cluster_id, self._running())
        )
        user, group = partial(Subject, "User"), partial(Subject, "Group")
        for query, subject, because in ((users, user, "mapping"), (groups, group, "mapping"), (granted, user, "grant")):
            for row_id, role_kind, role_name, namespaces, name in db.session.execute(query):
                scopes: list[str | None] = [*namespaces] or [None]
                for namespace in scopes:
                    yield Entitlement(subject(name), role_ref(role_kind, role_name), namespace, f"{because}:{row_id}")

    def _running(self) -> ColumnElement[bool]:
        """Grants that count: begun, not over, and of somebody who is not shut out. A directory that is away ends none of them."""
        return and_(
            Grant.state == ACTIVE, Grant.ends_at > self._world.now(), Person.disabled_at.is_(None),
            Person.directory.in_(self._world.directories),
        )
