"""One human, however many accounts: nobody approves their own request through another directory."""

from __future__ import annotations

import unicodedata

from iam.models import Person
from iam.services.base import World


def subject_of(person: Person) -> str:
    """(directory, immutable subject) as text; the directory's name has no colon in it."""
    return f"{person.directory}:{person.subject}"


def names_of(world: World, person: Person) -> frozenset[str]:
    """All that stands for somebody where it is asked who wrote a thing."""
    return frozenset({human_of(world, person), person.username})


def human_of(world: World, person: Person) -> str:
    """The same text for all accounts of one human.

    Directories share no key, so it is the e-mail address as they tell it (case folded, without a ``+tag``): two accounts
    with one address are one human. Where a directory tells no address, an account stands for itself.
    """
    local, at, domain = unicodedata.normalize("NFKC", person.email).strip().casefold().rstrip(".").rpartition("@")
    if not at or not local or not domain or not world.settings.requests.same_person_by_email:
        return subject_of(person)
    return f"mailto:{local.partition('+')[0] or local}@{domain}"[:400]
