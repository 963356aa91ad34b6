"""Who counts for a need: members of a group, owners of a namespace, the lead of whoever asks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from sqlalchemy import select, tuple_
from sqlalchemy.orm import selectinload

from iam.approval.quorum import unsatisfiable
from iam.approval.stages import MAX_COUNT, MAX_NEEDS, MAX_STAGES, Need, Stage
from iam.models import Group, Membership, Person, db
from iam.models import Mapping as StoredMapping
from iam.services.base import World
from iam.services.memberships import count_now, counting
from iam.services.requests.humans import human_of

OWNING_ROLE = "admin"
"""Whose mapping of this ClusterRole in exactly this namespace makes owners. Grants make none: who is let in for an hour owns nothing."""
ENOUGH = MAX_STAGES * MAX_NEEDS * MAX_COUNT + 10
"""More candidates than this change nothing about whether a quorum is possible."""


class Approvers:
    """Looks them up. References are ``group:<id>`` and ``person:<id>``."""

    def __init__(self, world: World) -> None:
        self._world = world

    def references(self, need: Need, requester: Person | None, cluster_id: str, namespaces: Sequence[str]) -> list[str]:
        """Who is asked for a need; empty where nobody is."""
        if need.kind == "lead":
            lead = self.lead_of(requester) if requester else None
            return [f"person:{lead.id}"] if lead else []
        if need.kind == "owners":
            return sorted(f"group:{one}" for one in self.owning_groups(cluster_id, namespaces))
        return self.of_groups([need.group])

    def of_groups(self, groups: Iterable[str]) -> list[str]:
        """The references of groups that are written ``directory:group``; nothing for those that nobody was ever seen in."""
        named = [tuple(reference.split(":", 1)) for reference in groups]
        return [f"group:{one}" for one in db.session.scalars(select(Group.id).where(tuple_(Group.directory, Group.name).in_(named)))]

    def lead_of(self, person: Person) -> Person | None:
        """Whom the directory names as manager, if they are known here and count."""
        if not person.manager:
            return None
        query = select(Person).where(Person.directory == person.directory, Person.entry == person.manager, counting(self._world))
        found = db.session.scalars(query.limit(2)).all()
        return found[0] if len(found) == 1 else None  # two of one name: nobody can tell which

    def owning_groups(self, cluster_id: str, namespaces: Iterable[str]) -> set[str]:
        """Ids of the groups that are mapped to ``admin`` in each of these namespaces; none for a whole cluster."""
        wanted = set(namespaces)
        owned: dict[str, set[str]] = {}
        rows = db.session.execute(
            select(StoredMapping.group_id, StoredMapping.namespaces)
            .where(StoredMapping.cluster_id == cluster_id, StoredMapping.role_kind == "ClusterRole", StoredMapping.role_name == OWNING_ROLE)
        )
        for group_id, found in rows:
            owned.setdefault(group_id, set()).update(found)
        return {group_id for group_id, found in owned.items() if wanted and wanted <= found}

    def people(self, references: Collection[str], most: int = ENOUGH) -> list[Person]:
        """Who is behind references and counts now, by name."""
        groups = [one.removeprefix("group:") for one in references if one.startswith("group:")]
        persons = [one.removeprefix("person:") for one in references if one.startswith("person:")]
        members = select(Membership.person_id).where(Membership.group_id.in_(groups))
        query = select(Person).where(Person.id.in_(members) | Person.id.in_(persons), counting(self._world))
        return list(db.session.scalars(query.order_by(Person.display_name, Person.id).limit(most)))

    def of(self, person: Person) -> set[str]:
        """The references that stand for this person; none where they do not count."""
        if not count_now(self._world, person):
            return set()
        return {f"person:{person.id}", *(f"group:{group.id}" for group in person.groups)}

    def needs_met_by(self, person: Person, stage: Stage, references: Mapping[Need, Collection[str]]) -> list[Need]:
        """For which needs of a stage this person counts."""
        own = self.of(person)
        return [need for need in stage if own.intersection(references[need])]

    def missing(
        self, stages: Sequence[Stage], cluster_id: str, namespaces: Sequence[str], requester: Person | None
    ) -> list[Need]:
        """The needs that could never be met: not enough different people, whoever asks left out."""
        return unsatisfiable(stages, self.candidates(stages, cluster_id, namespaces, requester))

    def candidates(
        self, stages: Sequence[Stage], cluster_id: str, namespaces: Sequence[str], requester: Person | None
    ) -> dict[Need, set[str]]:
        """The humans who count for each need, whoever asks left out; needs that depend on who asks only where that is known."""
        left_out = {human_of(self._world, requester)} if requester else set()
        candidates = {}
        for need in {need for stage in stages for need in stage}:
            if requester is None and need.kind != "group":
                continue  # depends on who asks, and for what
            found = self.people(self.references(need, requester, cluster_id, namespaces))
            candidates[need] = {human_of(self._world, person) for person in found} - left_out
        return candidates

    def load(self, person_id: str) -> Person | None:
        """Somebody with their groups, read afresh."""
        query = select(Person).where(Person.id == person_id).options(selectinload(Person.groups))
        return db.session.scalar(query.execution_options(populate_existing=True))
