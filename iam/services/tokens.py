"""API tokens: shown once, kept as SHA-256, scoped, expiring."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from sqlalchemy import delete, or_, select, update
from sqlalchemy.exc import IntegrityError

from iam.errors import Conflict, Hidden, Invalid, NotFound
from iam.models import ApiToken, Person, db
from iam.services.audit import Audit, Event, Target
from iam.services.base import READ, SCOPES, WRITE, Actor, World, key_hash, transaction
from iam.services.people import People

PREFIX = "kiam_"
MAX_DAYS = 365
_TOUCH = timedelta(minutes=1)


class Tokens:
    """Use cases about one's own tokens."""

    def __init__(self, world: World, audit: Audit, people: People) -> None:
        self._world = world
        self._audit = audit
        self._people = people

    def create(self, actor: Actor, *, name: str, scopes: Sequence[str], days: int) -> tuple[ApiToken, str]:
        """A new token and its key, which cannot be had again. Raises Invalid, Conflict."""
        self._audit.require(actor, scope=WRITE)
        if not actor.session_id:
            self._audit.refuse(actor, "Tokens are made on the page, not with a token.")
        name = name.strip()
        if not name or len(name) > 80 or not name.isprintable():
            raise Invalid("Give the token a name of 1 to 80 characters.", field="name")
        if not scopes or not set(scopes) <= set(SCOPES):
            raise Invalid("Choose at least one scope out of %(scopes)s.", field="scopes", scopes=", ".join(SCOPES))
        if not 1 <= days <= MAX_DAYS:
            raise Invalid("A token lives between 1 and %(most)s days.", field="days", most=MAX_DAYS)
        key = PREFIX + secrets.token_urlsafe(32)
        try:
            return self._create(actor, name, scopes, days, key), key
        except IntegrityError:
            raise Conflict("You have a token called %(name)s already.", name=name) from None

    def _create(self, actor: Actor, name: str, scopes: Sequence[str], days: int, key: str) -> ApiToken:
        now = self._world.now()
        with transaction():
            ended = or_(ApiToken.expires_at <= now, ApiToken.revoked_at.is_not(None))
            db.session.execute(delete(ApiToken).where(ApiToken.person_id == actor.person_id, ApiToken.name == name, ended))
            token = ApiToken(
                key_hash=key_hash(key), person_id=actor.person_id, name=name, scopes=sorted(set(scopes)), created_at=now,
                expires_at=now + timedelta(days=days),
            )
            db.session.add(token)
            self._audit.record(actor, Event.TOKEN_CREATED, Target("token", name), scopes=token.scopes, days=days)
        return token

    def list(self, actor: Actor) -> Sequence[ApiToken]:
        """One's own tokens that still work, the newest first."""
        self._audit.require(actor, scope=READ)
        return db.session.scalars(
            select(ApiToken)
            .where(ApiToken.person_id == actor.person_id, ApiToken.revoked_at.is_(None), ApiToken.expires_at > self._world.now())
            .order_by(ApiToken.created_at.desc())
        ).all()

    def revoke(self, actor: Actor, token_id: str) -> None:
        """End one of one's own tokens. Raises NotFound."""
        self._audit.require(actor, scope=WRITE)
        with transaction():
            token = db.session.get(ApiToken, token_id)
            if token is None:
                raise NotFound("There is no such token of yours.")
            if token.person_id != actor.person_id:
                raise Hidden("There is no such token of yours.")
            self._audit.record(actor, Event.TOKEN_REVOKED, Target("token", token.name))
            db.session.delete(token)

    def actor_of(self, key: str, visitor: Actor) -> Actor | None:
        """Who a bearer token stands for, with its scopes; None when it is unknown, revoked or expired."""
        now = self._world.now()
        row = db.session.execute(
            select(ApiToken, Person).join(Person, ApiToken.person_id == Person.id).where(ApiToken.key_hash == key_hash(key))
        ).one_or_none()
        if row is None:
            return None
        token, person = row
        if token.revoked_at or token.expires_at <= now or person.is_disabled or person.directory not in self._world.directories:
            return None
        if token.last_used_at is None or now - token.last_used_at > _TOUCH:
            with transaction():
                db.session.execute(update(ApiToken).where(ApiToken.id == token.id).values(last_used_at=now))
        return replace(
            visitor, name=person.username, display_name=person.display_name, person_id=person.id,
            roles=self._people.roles_of(person), scopes=frozenset(token.scopes),
        )
