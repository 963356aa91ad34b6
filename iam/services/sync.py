"""Re-reading known people from password directories; stopping instead of removing too many at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import selectinload

from iam import log
from iam.directory.base import Identity, PasswordDirectory
from iam.errors import Conflict, Invalid, NotFound, Problem
from iam.models import Person, SyncState, db
from iam.services.audit import Audit, Event, Target
from iam.services.base import READ, WRITE, Actor, World, transaction
from iam.services.locks import only_one
from iam.services.people import BY_ADMINISTRATOR, People, profile

_log = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Synced:
    """How one run went: how many were read, how many are gone, and the alarm if the run stopped."""

    directory: str
    people: int = 0
    gone: int = 0
    alarm: str = ""


class Sync:
    """Use cases of the sync."""

    def __init__(self, world: World, audit: Audit, people: People) -> None:
        self._world = world
        self._audit = audit
        self._people = people

    def names(self) -> list[str]:
        """The directories that can be re-read."""
        return [name for name, directory in self._world.directories.items() if isinstance(directory, PasswordDirectory)]

    def states(self, actor: Actor) -> Sequence[SyncState]:
        """How the last runs went."""
        self._audit.require(actor, "administrator", "auditor", scope=READ)
        return db.session.scalars(select(SyncState).order_by(SyncState.directory)).all()

    def due(self) -> list[str]:
        """The directories whose last run is an interval ago."""
        since = self._world.now() - timedelta(seconds=self._world.settings.sync.interval_seconds)
        recent = set(db.session.scalars(select(SyncState.directory).where(SyncState.attempted_at > since)))
        return [name for name in self.names() if name not in recent]

    def run_if_alone(self, actor: Actor, name: str) -> Synced | None:
        """Run unless another worker does."""
        with only_one(f"sync {name}") as mine:
            return self.run(actor, name) if mine else None

    def run(self, actor: Actor, name: str, *, accept_removals: bool = False) -> Synced:
        """Re-read every known person of one directory. Never raises for a directory that is away: it says so."""
        self._audit.require(actor, "administrator", scope=WRITE, target=Target("directory", name))
        directory = self._world.directories.get(name)
        if not isinstance(directory, PasswordDirectory):
            raise NotFound("There is no directory %(name)s that can be synced.", name=name)
        prefix = next(known.username_prefix for known in self._world.settings.directories if known.name == name)
        known = {
            subject: username.removeprefix(prefix)
            for subject, username in db.session.execute(
                select(Person.subject, Person.username).where(Person.directory == name, Person.disabled_reason != BY_ADMINISTRATOR)
            )
        }
        db.session.commit()  # no transaction stays open while the directory answers
        asked_at = self._world.now()
        try:
            found = directory.lookup(known) if known else {}
        except Problem as problem:
            return self._stopped(actor, name, str(problem))
        except Exception as error:  # noqa: BLE001  # our own mistake must show and wait, not spin unseen
            _log.exception("sync failed", directory=name, error=type(error).__name__)
            return self._stopped(actor, name, f"The sync failed by our own mistake ({type(error).__name__}); see the log.")
        people = [person for person in self._load(name) if person.subject in found and person.synced_at <= asked_at]
        lost = [person for person in people if not person.is_disabled and _is_lost(person, found)]
        is_too_many = self._is_too_many(len(lost), sum(not person.is_disabled for person in people))
        if is_too_many and not accept_removals:
            words = f"{len(lost)} of {len(people)} people would lose everything; look into it, then"
            return self._stopped(actor, name, f"{words} `iam sync --accept-removals {name}`")
        if is_too_many:
            with transaction():
                self._audit.record(actor, Event.SYNC_ACCEPTED, Target("directory", name), lost=len(lost), of=len(people))
        return self._carry_out(actor, name, people, found)

    def _carry_out(self, actor: Actor, name: str, people: Sequence[Person], found: Mapping[str, Identity | None]) -> Synced:
        same = {person.id for person in people if _is_unchanged(person, found[person.subject])}
        changed = [(person.id, person.username, found[person.subject]) for person in people if person.id not in same]
        gone = sum(self._change(actor, name, *one) for one in changed)
        now = self._world.now()
        with transaction():
            for chunk in _chunks(sorted(same)):
                db.session.execute(update(Person).where(Person.id.in_(chunk)).values(synced_at=now))
            state = self._state(name)
            state.attempted_at = state.succeeded_at = now
            state.people = len(people)
            if state.alarm:
                self._audit.record(actor, Event.SYNC_RESUMED, Target("directory", name))
                state.alarm = ""
        return Synced(name, len(people), gone)

    def _change(self, actor: Actor, name: str, person_id: str, username: str, identity: Identity | None) -> int:
        """Bring one person in line, in a transaction of their own; 1 if they are newly gone."""
        try:
            with transaction():
                if identity is not None:
                    self._people.remember(actor, identity)
                    return 0
                person = db.session.get(Person, person_id)
                is_news = person is not None and not person.is_disabled
                if person is not None:
                    self._people.lose(actor, person)
                return int(is_news)
        except (Conflict, Invalid, SQLAlchemyError) as problem:
            _log.warning("person not synced", directory=name, person=username, error=str(problem))
            return 0

    def _stopped(self, actor: Actor, name: str, why: str) -> Synced:
        _log.error("sync stopped", directory=name, alarm=why)
        db.session.rollback()
        with transaction():
            state = self._state(name)
            state.attempted_at = self._world.now()
            if state.alarm != why[:500]:
                self._audit.record(actor, Event.SYNC_STOPPED, Target("directory", name), result="failed", reason=why)
                state.alarm = why[:500]
        return Synced(name, alarm=why)

    def _is_too_many(self, lost: int, of: int) -> bool:
        limits = self._world.settings.sync
        return lost > limits.max_removed_floor and lost > limits.max_removed_share * of

    def _load(self, name: str) -> Sequence[Person]:
        query = select(Person).where(Person.directory == name, Person.disabled_reason != BY_ADMINISTRATOR)
        return db.session.scalars(query.options(selectinload(Person.groups))).all()

    def _state(self, name: str) -> SyncState:
        state = db.session.get(SyncState, name)
        if state is None:
            state = SyncState(directory=name, attempted_at=self._world.now(), people=0, alarm="")
            db.session.add(state)
        return state


def _is_lost(person: Person, found: Mapping[str, Identity | None]) -> bool:
    """Gone, or suddenly without any group: a broken search base looks like either."""
    identity = found[person.subject]
    return identity is None or (bool(person.groups) and not identity.groups)


def _is_unchanged(person: Person, identity: Identity | None) -> bool:
    """Whether the directory says what we know already; most people, at most times."""
    if identity is None or person.is_disabled or identity.groups != {group.name for group in person.groups}:
        return False
    known = (person.username, (person.display_name, person.email, person.manager, person.entry))
    return known == (identity.username, profile(identity))


def _chunks(ids: list[str], size: int = 500) -> Iterator[list[str]]:
    for start in range(0, len(ids), size):
        yield ids[start : start + size]
