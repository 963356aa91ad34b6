"""Accounts of our own: for the demo, the first administrator, and break-glass when the directory is down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from iam.directory.base import Identity, LoginRefused, Step, silent
from iam.errors import Invalid
from iam.kube import names
from iam.settings.directories import LocalSettings

MIN_PASSWORD = 10
MAX_PASSWORD = 1024
hasher = PasswordHasher()
"""argon2id with the library's defaults (RFC 9106, low-memory profile)."""


@dataclass(frozen=True, slots=True)
class Account:
    """A stored account. ``repr`` shows no hash."""

    id: str
    username: str
    display_name: str
    email: str
    groups: frozenset[str]
    password_hash: str
    disabled: bool
    manager: str = ""

    def __repr__(self) -> str:
        return f"Account({self.username!r})"


class AccountStore(Protocol):
    """Where the accounts are kept."""

    def by_username(self, directory: str, username: str) -> Account | None:
        """One account by canonical name."""

    def by_ids(self, directory: str, ids: list[str]) -> list[Account]:
        """Accounts by id."""


class LocalDirectory:
    """A password directory over stored accounts."""

    def __init__(self, settings: LocalSettings, accounts: AccountStore) -> None:
        self._settings = settings
        self._accounts = accounts
        self._nobody = hasher.hash("nobody has this password")
        self.name = settings.name
        self.label = settings.label

    def authenticate(self, username: str, password: str, step: Step = silent) -> Identity:
        """Check the password; an unknown name costs as much as a known one."""
        if not password or len(password) > MAX_PASSWORD:
            raise LoginRefused("empty or endless password")
        try:
            typed = names.canonical_username(username)
        except Invalid as problem:
            raise LoginRefused(str(problem)) from None
        account = self._accounts.by_username(self.name, typed)
        matches = _verify(account.password_hash if account else self._nobody, password)
        step("password", "matches" if account and matches else "does not match")
        if not account or not matches:
            raise LoginRefused("no such account" if not account else "wrong password", account=typed)
        if account.disabled:
            raise LoginRefused("the account is disabled", account=typed)
        return self._identity(account)

    def lookup(self, subjects: Mapping[str, str], step: Step = silent) -> Mapping[str, Identity | None]:
        """Accounts by id."""
        found = {account.id: account for account in self._accounts.by_ids(self.name, list(subjects))}
        step("accounts", f"{len(found)} found")
        return {
            subject: self._identity(found[subject]) if subject in found and not found[subject].disabled else None
            for subject in subjects
        }

    def check(self, step: Step = silent) -> None:
        """Always there: the accounts are in our own database."""
        step("accounts", "in our own database")

    def _identity(self, account: Account) -> Identity:
        return Identity(
            directory=self.name,
            subject=account.id,
            username=self._settings.username_prefix + account.username,
            display_name=account.display_name,
            email=account.email,
            groups=account.groups,
            manager=account.manager,
            entry=account.username,
        )


def new_hash(password: str) -> str:
    """The argon2id hash of a new password. Raises Invalid for one shorter than ten characters."""
    if len(password) < MIN_PASSWORD:
        raise Invalid("The password is shorter than %(least)s characters.", field="password", least=MIN_PASSWORD)
    if len(password) > MAX_PASSWORD:
        raise Invalid("The password is longer than %(most)s characters.", field="password", most=MAX_PASSWORD)
    return hasher.hash(password)


def _verify(password_hash: str, password: str) -> bool:
    try:
        return hasher.verify(password_hash, password)
    except (VerificationError, InvalidHashError, UnicodeEncodeError):  # half a surrogate pair is nobody's password
        return False
