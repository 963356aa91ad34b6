"""What administrators write down by name, as entries, rules and doors are: saved, signed with who and when, recorded."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy.exc import IntegrityError

from iam.errors import Conflict, Invalid
from iam.kube import names
from iam.models import ApprovalRule, CatalogueEntry, EmergencyDoor, db
from iam.services.audit import Audit, Event, Target
from iam.services.base import Actor

TAKEN = {"new", "simulate", "doors", "offers"}
"""Parts of our own addresses."""


def new_name(name: str) -> str:
    """A name for something new. Raises Invalid."""
    if name.strip() in TAKEN:
        raise Invalid("%(name)s cannot be a name here.", field="name", name=name.strip())
    return names.object_name(name.strip())


def write(
    audit: Audit, actor: Actor, now: datetime, what: Event, row: CatalogueEntry | ApprovalRule | EmergencyDoor, values: Mapping[str, Any]
) -> None:
    """Inside the caller's transaction. Raises Conflict where the name is taken."""
    for field, value in values.items():
        setattr(row, field, value)
    row.changed_at, row.changed_by = now, actor.name
    db.session.add(row)
    try:
        db.session.flush()
    except IntegrityError:
        raise Conflict("The name %(name)s is taken already.", name=row.name, field="name") from None
    told = {key: value for key, value in values.items() if key != "entry_id"}
    if isinstance(row, ApprovalRule):
        entry = db.session.get(CatalogueEntry, row.entry_id) if row.entry_id else None
        told |= {"entry": entry.name if entry else "", "position": row.position}
    audit.record(actor, what, Target(what.partition(".")[0], row.name), **told)
