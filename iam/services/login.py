"""Logging in, by password or by redirect; sessions; logging out."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from sqlalchemy import select, update

from iam import log
from iam.directory.base import Identity, LoginRefused, PasswordDirectory, RedirectDirectory, Redirection
from iam.errors import Conflict, Hidden, Invalid, NotFound, Problem, Unauthenticated, Unavailable
from iam.kube import names
from iam.models import Person, Session, db
from iam.services.audit import Audit, Event, Target
from iam.services.base import READ, SCOPES, WRITE, Actor, World, key_hash, once_more, transaction
from iam.services.people import People
from iam.services.throttle import Throttle, Throttled

_log = log.get(__name__)
_TOUCH = timedelta(minutes=1)
_WRONG_PASSWORD = Unauthenticated("The password is not right.", field="password")


@dataclass(frozen=True, slots=True)
class Started:
    """A new session: the key goes into the cookie and nowhere else."""

    person: Person
    key: str = field(repr=False)


class Logins:
    """Use cases around logging in."""

    def __init__(self, world: World, audit: Audit, people: People) -> None:
        self._world = world
        self._audit = audit
        self._people = people
        self._throttle = Throttle(world)

    def with_password(self, visitor: Actor, directory_name: str, username: str, password: str, user_agent: str = "") -> Started:
        """Log in through a password directory. One message for every reason, so that nothing is learned from it.

        Raises Unauthenticated, TooMany, Unavailable.
        """
        directory = self._world.directories.get(directory_name)
        if not isinstance(directory, PasswordDirectory):
            raise NotFound("There is no directory %(name)s to log in to with a password.", name=directory_name)
        account = f"{directory_name}:{_shown(username)}"
        visitor = replace(visitor, name=account)
        target = Target("directory", directory_name, person=f"{self._prefix(directory_name)}{_shown(username)}")
        self._count_attempt(visitor, target, account)
        try:
            identity = directory.authenticate(username, password)
            return once_more(lambda: self._start(visitor, identity, user_agent, counted_as=account))
        except LoginRefused as refused:
            raise self._refused(visitor, target, refused.reason) from None
        except (Conflict, Invalid) as problem:
            raise self._refused(visitor, target, str(problem), shown=problem) from None
        except Problem as problem:  # the directory is away, which is nobody's guess
            self._audit.failed(visitor, Event.LOGIN, target, problem)
            with transaction():
                self._throttle.give_back(account, visitor.address)
            raise

    def begin_redirect(self, directory_name: str, redirect_uri: str) -> Redirection:
        """Where to send the browser. Raises NotFound, Unavailable."""
        return self._redirect_directory(directory_name).begin(redirect_uri)

    def finish_redirect(
        self, visitor: Actor, directory_name: str, redirect_uri: str, answer: Mapping[str, str],
        transaction_of_browser: Mapping[str, str] | None, user_agent: str = "",
    ) -> Started:
        """Log in with what the browser brought back. Raises Unauthenticated, Unavailable."""
        target = Target("directory", directory_name)
        visitor = replace(visitor, name=f"{directory_name}:?")
        directory = self._redirect_directory(directory_name)
        self._count_attempt(visitor, target)
        if transaction_of_browser is None:
            raise self._refused(visitor, target, "this browser did not start this login")
        try:
            login = directory.finish(redirect_uri, answer, transaction_of_browser)
            return once_more(lambda: self._start(visitor, login.identity, user_agent, logout=login.logout))
        except LoginRefused as refused:
            raise self._refused(visitor, target, refused.reason) from None
        except (Conflict, Invalid) as problem:
            raise self._refused(visitor, target, str(problem), shown=problem) from None
        except Problem as problem:
            self._audit.failed(visitor, Event.LOGIN, target, problem)
            raise

    def actor_of(self, key: str, visitor: Actor) -> Actor | None:
        """Who a session cookie stands for; None when the session is unknown, ended, idle or over."""
        now = self._world.now()
        row = db.session.execute(
            select(Session, Person).join(Person, Session.person_id == Person.id).where(Session.key_hash == key_hash(key))
        ).one_or_none()
        if row is None:
            self.turn_away(visitor, Unauthenticated("There is no such session."))
            return None
        session, person = row
        idle_since = now - timedelta(minutes=self._world.settings.sessions.idle_minutes)
        if person.directory not in self._world.directories:
            return None
        if session.ended_at or session.ends_at <= now or session.last_used_at <= idle_since or person.is_disabled:
            return None
        if now - session.last_used_at > _TOUCH:
            with transaction():
                db.session.execute(update(Session).where(Session.id == session.id).values(last_used_at=now))
        return replace(
            visitor, name=person.username, display_name=person.display_name, person_id=person.id, session_id=session.id,
            roles=self._people.roles_of(person), scopes=frozenset(SCOPES),
        )

    def sessions(self, actor: Actor) -> Sequence[Session]:
        """One's own running sessions, the latest first."""
        self._audit.require(actor, scope=READ)
        now = self._world.now()
        idle_since = now - timedelta(minutes=self._world.settings.sessions.idle_minutes)
        return db.session.scalars(
            select(Session)
            .where(
                Session.person_id == actor.person_id, Session.ended_at.is_(None), Session.ends_at > now,
                Session.last_used_at > idle_since,
            )
            .order_by(Session.last_used_at.desc())
        ).all()

    def end_session(self, actor: Actor, session_id: str) -> None:
        """End one of one's own sessions. Raises NotFound."""
        self._audit.require(actor, scope=WRITE)
        with transaction():
            session = db.session.get(Session, session_id)
            if session is None:
                raise NotFound("There is no such session of yours.")
            if session.person_id != actor.person_id:
                raise Hidden("There is no such session of yours.")
            session.ended_at = session.ended_at or self._world.now()
            self._audit.record(actor, Event.SESSION_ENDED, Target("session", session_id))

    def logout(self, actor: Actor, return_to: str) -> str | None:
        """End this session; returns where the browser ends it at the provider, if there is such a place."""
        with transaction():
            session = db.session.get(Session, actor.session_id)
            if session is None:
                return None
            session.ended_at = session.ended_at or self._world.now()
            self._audit.record(actor, Event.LOGOUT, Target("session", session.id))
            directory = self._world.directories.get(session.person.directory)
            sealed = session.logout
        if not isinstance(directory, RedirectDirectory):
            return None
        try:
            hint = self._world.vault.open(sealed) if sealed else {}
            return directory.logout_url(hint, return_to)
        except Problem as problem:  # our own session is over; the provider's ends by itself
            _log.warning("no logout at the provider", directory=directory.name, error=str(problem))
            return None

    def _start(
        self, visitor: Actor, identity: Identity, user_agent: str, *, logout: Mapping[str, str] | None = None, counted_as: str = ""
    ) -> Started:
        now = self._world.now()
        key = secrets.token_urlsafe(32)
        with transaction():
            actor = replace(visitor, name=identity.username)
            person = self._people.remember(actor, identity)
            if person.is_disabled:
                raise LoginRefused("disabled by an administrator", account=person.username)
            session = Session(
                key_hash=key_hash(key), person_id=person.id, created_at=now, last_used_at=now,
                ends_at=now + timedelta(hours=self._world.settings.sessions.absolute_hours),
                address=visitor.address[:64], user_agent=names.printable(user_agent, 255),
                logout=self._world.vault.seal(dict(logout)) if logout else None,
            )
            db.session.add(session)
            person.last_login_at = now
            self._throttle.give_back(counted_as, visitor.address)
            self._audit.record(replace(actor, person_id=person.id), Event.LOGIN, Target("directory", identity.directory))
        return Started(person, key)

    def confirm(self, actor: Actor, password: str) -> None:
        """Prove once more who one is, by the password of one's directory. Raises Unauthenticated, TooMany, Conflict, Unavailable."""
        person = db.session.get(Person, actor.person_id) if actor.person_id else None
        directory = self._world.directories.get(person.directory) if person else None
        if person is None or not isinstance(directory, PasswordDirectory):
            raise Conflict("This asks for a password, and your directory has none: use an account of the local or the LDAP directory.")
        account = f"confirm:{person.id}"  # a counter of its own: strangers who guess at the login page lock nobody out here
        target, subject, address = Target("directory", person.directory), person.subject, actor.address
        self._count_attempt(actor, target, account)
        try:
            identity = directory.authenticate(person.username.removeprefix(self._prefix(person.directory)), password)
        except LoginRefused as refused:
            raise self._refused(actor, target, refused.reason, shown=_WRONG_PASSWORD) from None
        except Unavailable:  # which is nobody's guess
            with transaction():
                self._throttle.give_back(account, address)
            raise
        if identity.subject != subject:
            raise self._refused(actor, target, "the password is somebody else's", shown=_WRONG_PASSWORD)
        with transaction():
            self._throttle.give_back(account, address)

    def refuse_flood(self, visitor: Actor, target: Target) -> None:
        """For doors that turn away what is no login: so many from one address, then no more is even recorded."""
        self._count_attempt(visitor, target)

    def turn_away(self, visitor: Actor, problem: Problem) -> None:
        """Record a visitor who shows nothing that counts, until it is a flood; nobody else from their address suffers for it."""
        if not self._throttle.is_flood(visitor.address):
            self._audit.turned_away(visitor, problem, Target("door", visitor.path))

    def _count_attempt(self, visitor: Actor, target: Target, account: str = "") -> None:
        """Raises Throttled; the first refusal of a window is an event, the flood behind it is not."""
        try:
            self._throttle.attempt(account, visitor.address)
        except Throttled as problem:
            if problem.is_news:
                self._audit.failed(visitor, Event.LOGIN, target, problem)
            raise

    def _refused(self, visitor: Actor, target: Target, reason: str, shown: Problem | None = None) -> Problem:
        _log.info("login refused", directory=target.name, account=visitor.name, reason=reason)
        self._audit.failed(visitor, Event.LOGIN, target, Unauthenticated("%(reason)s", reason=reason))
        told = shown or Unauthenticated("The login did not work. Check the name and the password, or ask your administrator.")
        told.is_recorded = True
        return told

    def _prefix(self, directory_name: str) -> str:
        return next((one.username_prefix for one in self._world.settings.directories if one.name == directory_name), "")

    def _redirect_directory(self, name: str) -> RedirectDirectory:
        directory = self._world.directories.get(name)
        if not isinstance(directory, RedirectDirectory) or isinstance(directory, PasswordDirectory):
            raise NotFound("There is no directory %(name)s to be redirected to.", name=name)
        return directory


def _shown(text: str) -> str:
    """What somebody typed, fit for a log line: canonical where it can be, else without invisible characters."""
    try:
        return names.canonical_username(text)
    except Invalid:
        return names.printable(text, 100)
