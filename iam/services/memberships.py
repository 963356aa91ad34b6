"""Whose memberships count now: one rule, for roles, for holdings and for the bindings on clusters.

A person counts who is not shut out, whose directory is still configured, and whose groups are known recently enough:
a sync keeps those of password directories fresh; OpenID Connect tells of groups at logins only, so they lapse.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, false, or_

from iam.models import Person
from iam.services.base import World
from iam.settings.directories import OidcSettings


def lapse_at(world: World, person: Person) -> datetime | None:
    """When what only a login told us stops counting; None where a sync keeps it fresh."""
    for known in world.settings.directories:
        if known.name == person.directory and isinstance(known, OidcSettings):
            return person.synced_at + timedelta(hours=known.membership_hours)
    return None


def count_now(world: World, person: Person) -> bool:
    """Whether this person's memberships count at this moment."""
    lapses = lapse_at(world, person)
    return not person.is_disabled and person.directory in world.directories and (lapses is None or world.now() < lapses)


def groups_now(world: World, person: Person) -> set[str]:
    """The groups of a person that count now, as ``directory:group``."""
    return {group.reference for group in person.groups} if count_now(world, person) else set()


def counting(world: World) -> ColumnElement[bool]:
    """The same as a condition on Person."""
    counted: list[ColumnElement[bool]] = []
    for known in world.settings.directories:
        here: ColumnElement[bool] = Person.directory == known.name
        if isinstance(known, OidcSettings):
            here = and_(here, Person.synced_at > world.now() - timedelta(hours=known.membership_hours))
        counted.append(here)
    return and_(Person.disabled_at.is_(None), or_(false(), *counted))
