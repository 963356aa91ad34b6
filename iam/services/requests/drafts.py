"""Drafts: a request as somebody began to write it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from iam.approval import texts
from iam.errors import Forbidden, Hidden, Invalid, NotFound
from iam.models import Draft, db
from iam.services.audit import Audit
from iam.services.base import READ, WRITE, Actor, World, transaction


class Drafts:
    """Use cases about one's own drafts."""

    def __init__(self, world: World, audit: Audit) -> None:
        self._world = world
        self._audit = audit

    def mine(self, actor: Actor) -> Sequence[Draft]:
        """One's own, the latest first."""
        self._audit.require(actor, scope=READ)
        return db.session.scalars(select(Draft).where(Draft.person_id == actor.person_id).order_by(Draft.at.desc())).all()

    def keep(self, actor: Actor, fields: dict[str, Any], draft_id: str = "") -> Draft:
        """Keep a form as it is, however unfinished; at most twenty. Raises Invalid."""
        self._audit.require(actor, scope=WRITE)
        if not actor.person_id:
            raise Forbidden("Only people ask for access: log in as one.")
        if sum(len(str(key)) + len(str(value)) for key, value in fields.items()) > 4 * texts.MAX_REASON:
            raise Invalid("This is too long for a draft.")
        with transaction():
            draft = db.session.scalar(select(Draft).filter_by(id=draft_id, person_id=actor.person_id)) if draft_id else None
            if draft is None:
                if len(self.mine(actor)) >= 20:
                    raise Invalid("You have twenty drafts; throw one away first.")
                draft = Draft(person_id=actor.person_id)
                db.session.add(draft)
            draft.fields = {name: _clean(value) for name, value in fields.items()}
            draft.at = self._world.now()
        return draft

    def drop(self, actor: Actor, draft_id: str) -> None:
        """Throw it away. Raises NotFound."""
        self._audit.require(actor, scope=WRITE)
        with transaction():
            draft = db.session.get(Draft, draft_id)
            if draft is None:
                raise NotFound("There is no such draft.")
            if draft.person_id != actor.person_id:
                raise Hidden("There is no such draft.")
            db.session.delete(draft)


def _clean(value: Any) -> Any:
    """Text without what no page should show, anything else as it is."""
    return texts.paragraphs(value, len(value), field="reason") if isinstance(value, str) else value
