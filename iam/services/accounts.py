"""The local directory's accounts, as our database keeps them."""

from __future__ import annotations

from sqlalchemy import select

from iam.directory.local import Account, new_hash
from iam.errors import Conflict, Invalid, NotFound
from iam.kube import names
from iam.models import LocalAccount, db
from iam.services.audit import Audit, Event, Target
from iam.services.base import WRITE, Actor, World, transaction
from iam.settings.directories import LocalSettings


class SqlAccountStore:
    """The AccountStore port over the table."""

    def by_username(self, directory: str, username: str) -> Account | None:
        """One account by canonical name."""
        row = db.session.scalar(select(LocalAccount).filter_by(directory=directory, username=username))
        return _account(row) if row else None

    def by_ids(self, directory: str, ids: list[str]) -> list[Account]:
        """Accounts by id."""
        rows = db.session.scalars(select(LocalAccount).where(LocalAccount.directory == directory, LocalAccount.id.in_(ids)))
        return [_account(row) for row in rows]


class Accounts:
    """Creating local accounts (command line and demo)."""

    def __init__(self, world: World, audit: Audit) -> None:
        self._world = world
        self._audit = audit

    def create(
        self, actor: Actor, *, username: str, password: str, display_name: str = "", email: str = "", groups: frozenset[str] = frozenset(),
        manager: str = "",
    ) -> str:
        """Add an account to the local directory; returns the directory's name. Raises Invalid, Conflict."""
        self._audit.require(actor, "administrator", scope=WRITE)
        directory = self._local_directory()
        canonical = names.canonical_username(username)
        if any("," in group for group in groups):
            raise Invalid("A local group's name has no comma.", field="groups")
        with transaction():
            if SqlAccountStore().by_username(directory, canonical):
                raise Conflict("There is a local account %(name)s already.", name=canonical)
            db.session.add(
                LocalAccount(
                    directory=directory, username=canonical, display_name=display_name or canonical, email=email,
                    groups=",".join(sorted(names.group_name(group) for group in groups)), password_hash=new_hash(password),
                    manager=names.canonical_username(manager) if manager else "",
                )
            )
            self._audit.record(actor, Event.ACCOUNT_CREATED, Target("account", canonical), groups=sorted(groups))
        return directory

    def set_password(self, actor: Actor, *, username: str, password: str) -> None:
        """A new password for a local account. Raises Invalid, NotFound."""
        self._audit.require(actor, "administrator", scope=WRITE)
        canonical = names.canonical_username(username)
        with transaction():
            row = db.session.scalar(select(LocalAccount).filter_by(directory=self._local_directory(), username=canonical))
            if row is None:
                raise NotFound("There is no local account %(name)s.", name=canonical)
            row.password_hash = new_hash(password)
            self._audit.record(actor, Event.ACCOUNT_CHANGED, Target("account", canonical), password="new")  # noqa: S106

    def exist(self) -> bool:
        """Whether there is any local account yet."""
        return db.session.scalar(select(LocalAccount.id).limit(1)) is not None

    def administrators_group(self) -> str:
        """The local group that makes an administrator, by the settings. Raises Invalid when there is none."""
        directory = self._local_directory()
        for reference in self._world.settings.roles.administrator:
            name, _, group = reference.partition(":")
            if name == directory:
                return group
        raise Invalid(
            'No group of the local directory makes an administrator: add roles.administrator = ["%(directory)s:administrators"].',
            directory=directory,
        )

    def _local_directory(self) -> str:
        for directory in self._world.settings.directories:
            if isinstance(directory, LocalSettings):
                return directory.name
        raise Invalid('The settings have no local directory: add [[directories]] with kind = "local".')


def _account(row: LocalAccount) -> Account:
    groups = frozenset(filter(None, row.groups.split(",")))
    return Account(row.id, row.username, row.display_name, row.email, groups, row.password_hash, row.disabled, row.manager)
