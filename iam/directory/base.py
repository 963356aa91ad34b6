"""The port to where people are: two shapes of directory, one kind of answer.

A password directory checks a name and a password itself; a redirect directory sends the browser away and reads what
comes back. Both end in an Identity. Every adapter passes tests/integration/test_directory_contract.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Identity:
    """Who somebody is, as one directory says at one moment.

    ``subject`` is immutable and unique within the directory; ``username`` is canonical and carries the directory's
    prefix; ``groups`` are the names that mappings use.
    """

    directory: str
    subject: str
    username: str
    display_name: str
    email: str = ""
    groups: frozenset[str] = frozenset()
    manager: str = ""
    """The ``entry`` of the person's lead, empty if the directory does not say."""
    entry: str = ""
    """How other entries of this directory name this person, empty if they never do."""


@dataclass(frozen=True, slots=True)
class Redirection:
    """Where to send the browser, and what to keep for its return (bound to that browser)."""

    url: str = field(repr=False)
    transaction: Mapping[str, str] = field(repr=False)


class Step(Protocol):
    """Told what an adapter asks and finds (``iam directory test`` prints it)."""

    def __call__(self, what: str, result: str = "") -> None:
        """What is asked, and what came of it."""


def silent(what: str, result: str = "") -> None:
    """The Step that tells nobody."""


class LoginRefused(Exception):
    """The directory says no. ``reason`` goes to the audit and the log; people see one sentence for all reasons."""

    def __init__(self, reason: str, *, account: str = "") -> None:
        self.reason = reason
        self.account = account
        super().__init__(reason)


@runtime_checkable
class PasswordDirectory(Protocol):
    """Checks a username and a password itself."""

    name: str
    label: str

    def authenticate(self, username: str, password: str, step: Step = silent) -> Identity:
        """Return who this is. Raises LoginRefused, or Unavailable when no server answers."""

    def lookup(self, subjects: Mapping[str, str], step: Step = silent) -> Mapping[str, Identity | None]:
        """Re-read known people, ``{subject: username without prefix}``; None for one who is gone or disabled.

        Raises Unavailable - never an empty answer - when the directory does not answer.
        """

    def check(self, step: Step = silent) -> None:
        """Reach the directory and use its search account. Raises Unavailable."""


@runtime_checkable
class RedirectDirectory(Protocol):
    """Sends the browser to log in elsewhere."""

    name: str
    label: str

    def begin(self, redirect_uri: str) -> Redirection:
        """Start a login. Raises Unavailable."""

    def finish(self, redirect_uri: str, answer: Mapping[str, str], transaction: Mapping[str, str]) -> Login:
        """Read what the browser brought back. Raises LoginRefused, Unavailable."""

    def logout_url(self, login_hint: Mapping[str, Any], return_to: str) -> str | None:
        """Where the browser ends the session at the provider, if it can."""

    def check(self, step: Step = silent) -> None:
        """Reach the provider. Raises Unavailable."""


@dataclass(frozen=True, slots=True)
class Login:
    """A finished redirect login: who, and what the logout at the provider will want to know."""

    identity: Identity
    logout: Mapping[str, str] = field(default_factory=dict, repr=False)


Directory = PasswordDirectory | RedirectDirectory
