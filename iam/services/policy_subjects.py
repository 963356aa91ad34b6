"""Who is behind the people and directory groups that a policy names."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable

from sqlalchemy import select, tuple_

from iam.kube.abac import Reference
from iam.models import Group, Membership, Person, db
from iam.services.base import World
from iam.services.memberships import counting
from iam.services.policy_drafts import Members


def members_of(world: World, references: Iterable[Reference]) -> Members:
    """The Kubernetes user names behind each, of people whose memberships count now; two queries for all of them."""
    wanted = {reference: tuple(reference.name.split(":", 1)) for reference in references}
    found: dict[Reference, list[str]] = {reference: [] for reference in wanted}
    people = {names: reference for reference, names in wanted.items() if reference.kind == "person"}
    groups = {names: reference for reference, names in wanted.items() if reference.kind == "directoryGroup"}
    for some in _in_parts(people):
        is_named = tuple_(Person.directory, Person.username).in_(some)
        for directory, username in db.session.execute(select(Person.directory, Person.username).where(is_named, counting(world))):
            found[people[directory, username]].append(username)
    for some in _in_parts(groups):
        query = (
            select(Group.directory, Group.name, Person.username)
            .join(Membership, Membership.group_id == Group.id).join(Person, Person.id == Membership.person_id)
            .where(tuple_(Group.directory, Group.name).in_(some), counting(world))
        )
        for directory, name, username in db.session.execute(query):
            found[groups[directory, name]].append(username)
    return {reference: sorted(users) for reference, users in found.items()}


def digest_of(members: Members) -> str:
    """The same for the same people behind the same references."""
    by_name: dict[str, list[str]] = defaultdict(list)
    for reference, users in members.items():
        by_name[f"{reference.kind} {reference.name}"] += users
    return hashlib.sha256(json.dumps(by_name, sort_keys=True).encode()).hexdigest()


def _in_parts(names: Iterable[tuple[str, ...]]) -> Iterable[list[tuple[str, ...]]]:
    """Databases limit the parameters of one query."""
    everything = list(names)
    return (everything[start : start + 400] for start in range(0, len(everything), 400))
