"""People: remembered from a login or a sync, disabled and enabled, and the roles they hold with us."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import selectinload

from iam.directory.base import Identity
from iam.errors import Conflict, NotFound
from iam.kube import names
from iam.models import ApiToken, Credential, Group, Membership, Person, Session, db
from iam.services.audit import Audit, Event, Target
from iam.services.base import READ, WRITE, Actor, World, transaction
from iam.services.memberships import count_now, lapse_at
from iam.services.wakeups import want_clusters_of_groups, want_clusters_of_person
from iam.settings import Role

BY_DIRECTORY, BY_ADMINISTRATOR = "directory", "administrator"
PAGE = 50


@dataclass(frozen=True, slots=True)
class PeoplePage:
    """Some people, and how many there are."""

    people: Sequence[Person]
    total: int
    page: int
    pages: int


class People:
    """Use cases about people."""

    def __init__(self, world: World, audit: Audit) -> None:
        self._world = world
        self._audit = audit

    def remember(self, actor: Actor, identity: Identity) -> Person:
        """Create or update the person behind an identity, inside the caller's transaction.

        Raises Conflict when somebody else still is, or still holds a running certificate as, this username.
        """
        names.refuse_reserved(identity.username, field="username")
        self._refuse_foreign_prefix(identity)
        now = self._world.now()
        person = db.session.scalar(select(Person).filter_by(directory=identity.directory, subject=identity.subject))
        if person is None:
            self._claim_username(actor, identity, "")
            person = Person(
                directory=identity.directory, subject=identity.subject, username=identity.username,
                display_name=profile(identity)[0], created_at=now, synced_at=now,
            )
            db.session.add(person)
            db.session.flush()
            self._audit.record(actor, Event.PERSON_CREATED, _target(person), directory=identity.directory)
        elif person.username != identity.username:
            self._claim_username(actor, identity, person.id)
            self._audit.record(actor, Event.PERSON_CHANGED, _target(person), username=[person.username, identity.username])
            person.username = identity.username
            want_clusters_of_person(person, now)
        self._set_profile(actor, person, identity, is_new=person.created_at == now)
        lapsed = lapse_at(self._world, person)
        person.synced_at = now
        if person.disabled_reason == BY_DIRECTORY:
            person.disabled_at, person.disabled_reason = None, ""
            self._audit.record(actor, Event.PERSON_ENABLED, _target(person), reason="back in the directory")
            want_clusters_of_person(person, now)
        elif lapsed and lapsed <= now:  # a login renews what time had ended, so the bindings are due again
            want_clusters_of_person(person, now)
        self._set_groups(actor, person, identity.groups)
        return person

    def lose(self, actor: Actor, person: Person) -> None:
        """The directory does not know this person any more: disable, inside the caller's transaction."""
        self._disable(actor, person, BY_DIRECTORY, "gone from the directory")

    def disable(self, actor: Actor, person_id: str) -> Person:
        """Shut a person out: sessions and tokens end now, bindings with the next reconcile."""
        self._audit.require(actor, "administrator", scope=WRITE, target=_named(person_id))
        with self._audit.telling(actor, lambda: _named(person_id)), transaction():
            if actor.person_id == person_id:
                raise Conflict("You cannot shut yourself out; ask another administrator.")
            person = self._get(person_id)
            self._disable(actor, person, BY_ADMINISTRATOR, "by an administrator")
        return person

    def enable(self, actor: Actor, person_id: str) -> Person:
        """Let a person in again."""
        self._audit.require(actor, "administrator", scope=WRITE, target=_named(person_id))
        with transaction():
            person = self._get(person_id)
            person.disabled_at, person.disabled_reason = None, ""
            self._audit.record(actor, Event.PERSON_ENABLED, _target(person))
            want_clusters_of_person(person, self._world.now())
        return person

    def get(self, actor: Actor, person_id: str) -> Person:
        """Oneself, or anybody for administrators, approvers and auditors. Raises NotFound."""
        oneself = actor.person_id == person_id
        looking: tuple[Role, ...] = () if oneself else ("administrator", "approver", "auditor")
        self._audit.require(actor, *looking, scope=READ, target=_named(person_id))
        return self._get(person_id)

    def speaks(self, person_id: str, language: str) -> None:
        """What language somebody reads, for their mails."""
        with transaction():
            db.session.execute(update(Person).where(Person.id == person_id, Person.language != language).values(language=language))

    def search(self, actor: Actor, text: str = "", page: int = 1) -> PeoplePage:
        """People by name, username or e-mail, in pages."""
        self._audit.require(actor, "administrator", "approver", "auditor", scope=READ)
        query = select(Person)
        if text:
            query = query.where(or_(*(
                column.icontains(text.strip(), autoescape=True) for column in (Person.username, Person.display_name, Person.email)
            )))
        total = db.session.scalar(select(func.count()).select_from(query.subquery())) or 0
        pages = max(1, -(-total // PAGE))
        page = min(max(1, page), pages)
        query = query.options(selectinload(Person.groups)).order_by(Person.display_name, Person.id)
        people = db.session.scalars(query.limit(PAGE).offset((page - 1) * PAGE)).all()
        return PeoplePage(people, total, page, pages)

    def known(self, actor: Actor, most: int = 300) -> Sequence[Person]:
        """Some people to choose from, by name; the others can be typed."""
        self._audit.require(actor, "administrator", "approver", "auditor", scope=READ)
        return db.session.scalars(select(Person).where(Person.disabled_at.is_(None)).order_by(Person.username).limit(most)).all()

    def by_username(self, username: str) -> Person:
        """Raises NotFound."""
        person = db.session.scalar(select(Person).filter_by(username=username))
        if person is None:
            raise NotFound("There is no person %(name)s.", name=username)
        return person

    def roles_of(self, person: Person) -> frozenset[Role]:
        """Our own roles, by the settings' groups."""
        given = self._world.settings.roles
        if not count_now(self._world, person) or not (given.approver or given.administrator or given.auditor):
            return frozenset({"person"})
        references = {
            f"{directory}:{name}"
            for directory, name in db.session.execute(
                select(Group.directory, Group.name)
                .join(Membership, Membership.group_id == Group.id)
                .where(Membership.person_id == person.id)
            )
        }
        roles: set[Role] = {"person"}
        for role, groups in (("approver", given.approver), ("administrator", given.administrator), ("auditor", given.auditor)):
            if references.intersection(groups):
                roles.add(role)  # type: ignore[arg-type]  # mypy widens the literals of the tuple
        return frozenset(roles)

    def _get(self, person_id: str) -> Person:
        person = db.session.get(Person, person_id)
        if person is None:
            raise NotFound("There is no such person.")
        return person

    def _refuse_foreign_prefix(self, identity: Identity) -> None:
        """Nobody takes a name that begins like those of another directory (``oidc:bob`` in a directory without prefix)."""
        prefixes = {known.name: known.username_prefix for known in self._world.settings.directories}
        own = prefixes.get(identity.directory, "")
        for name, prefix in prefixes.items():
            if name != identity.directory and len(prefix) > len(own) and identity.username.startswith(prefix):
                raise Conflict("Usernames that begin with %(prefix)s belong to another directory.", prefix=prefix)

    def _claim_username(self, actor: Actor, identity: Identity, claimant_id: str) -> None:
        """A name is free when nobody has it and no certificate in that name still runs for somebody else."""
        username = identity.username
        running = db.session.scalar(
            select(Credential.fingerprint).where(
                Credential.username == username, Credential.person_id != claimant_id, Credential.expires_at > self._world.now()
            ).limit(1)
        )
        is_other = or_(Person.directory != identity.directory, Person.subject != identity.subject)
        holder = db.session.scalar(select(Person).where(Person.username == username, Person.id != claimant_id, is_other))
        if running or (holder and not holder.is_disabled):
            raise Conflict("The username %(name)s still belongs to somebody else; an administrator can sort this out.", name=username)
        if holder:
            holder.username = f"{username}#{holder.id}"[:255]
            self._audit.record(actor, Event.PERSON_CHANGED, _target(holder), username=[username, holder.username])
            db.session.flush()

    def _disable(self, actor: Actor, person: Person, reason: str, words: str) -> None:
        now = self._world.now()
        if person.disabled_reason == BY_ADMINISTRATOR or (person.is_disabled and reason == BY_DIRECTORY):
            return
        person.disabled_at, person.disabled_reason = person.disabled_at or now, reason
        db.session.execute(update(Session).where(Session.person_id == person.id, Session.ended_at.is_(None)).values(ended_at=now))
        db.session.execute(update(ApiToken).where(ApiToken.person_id == person.id, ApiToken.revoked_at.is_(None)).values(revoked_at=now))
        self._audit.record(actor, Event.PERSON_DISABLED, _target(person), reason=words)
        want_clusters_of_person(person, now)

    def _set_profile(self, actor: Actor, person: Person, identity: Identity, *, is_new: bool) -> None:
        """Who leads whom, and who is one human with several accounts, follows from these."""
        new = dict(zip(("display_name", "email", "manager", "entry"), profile(identity), strict=True))
        old = {name: getattr(person, name) for name in new}
        told: dict[str, Any] = {name: [old[name], new[name]] for name in ("email", "manager", "entry") if old[name] != new[name]}
        for name, value in new.items():
            setattr(person, name, value)
        if told and not is_new:
            self._audit.record(actor, Event.PERSON_CHANGED, _target(person), **told)

    def _set_groups(self, actor: Actor, person: Person, wanted: frozenset[str]) -> None:
        have = {group.name: group for group in person.groups}
        joined, left = wanted - have.keys(), have.keys() - wanted
        if not joined and not left:
            return
        known = {group.name: group for group in groups_named(person.directory, joined)}
        person.groups = [*(group for name, group in have.items() if name in wanted), *known.values()]
        db.session.flush()
        want_clusters_of_groups([*(have[name].id for name in left), *(group.id for group in known.values())], self._world.now())
        self._audit.record(actor, Event.PERSON_CHANGED, _target(person), joined=sorted(joined), left=sorted(left))


def profile(identity: Identity) -> tuple[str, str, str, str]:
    """Display name, e-mail, manager and entry as they are stored: printable, and no longer than their columns."""
    display_name = names.printable(identity.display_name, 255) or identity.username
    return display_name, names.printable(identity.email, 320), _whole(identity.manager), _whole(identity.entry)


def _whole(entry: str) -> str:
    """The name of an entry, or nothing: half a name would be somebody else's."""
    return entry if len(entry) <= 512 and names.printable(entry, 512) == entry else ""


def groups_named(directory: str, wanted: frozenset[str] | set[str]) -> list[Group]:
    """The groups of these names, made where they are new, inside the caller's transaction."""
    if not wanted:
        return []
    found = list(db.session.scalars(select(Group).where(Group.directory == directory, Group.name.in_(wanted))))
    fresh = [Group(directory=directory, name=name) for name in sorted(wanted - {group.name for group in found})]
    db.session.add_all(fresh)
    db.session.flush()
    return found + fresh


def _target(person: Person) -> Target:
    return Target("person", person.username)


def _named(person_id: str) -> Target:
    person = db.session.get(Person, person_id)
    return _target(person) if person else Target("person", person_id)
