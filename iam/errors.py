"""What can go wrong, in the product's own words.

Every error a user can meet is one of these five. The message is a gettext key in English with ``%(name)s``
placeholders, so that pages can translate it; ``str(error)`` is the English sentence. Detail for operators belongs
into the log, never into the message: no secret and no stack reaches a user.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(frozen=True)
class Sentence:
    """Something to tell a user that is no error: a gettext key, and what goes into it."""

    message: str
    params: Mapping[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.message % self.params if self.params else self.message


class Problem(Exception):
    """Base of all errors that a user is told about.

    ``kind`` is the stable machine-readable name (the last part of the RFC 9457 ``type``), ``status`` the HTTP
    status that fits, ``field`` the input that is at fault, if one is.
    """

    kind: ClassVar[str] = "problem"
    title: ClassVar[str] = "Something went wrong"
    status: ClassVar[int] = 500
    is_refusal: ClassVar[bool] = False
    """Whether somebody was turned away, which is always an event; wrong input and what is not there are none."""
    is_recorded = False
    """Whether the audit trail says so already."""

    def __init__(self, message: str, *, field: str | None = None, **params: object) -> None:
        self.message = message
        self.field = field
        self.params = params
        super().__init__(message % params if params else message)


class Invalid(Problem):
    """The input itself is wrong: says what, where and what to do."""

    kind = "invalid"
    title = "The input is not valid"
    status = 422


class Unauthenticated(Problem):
    """Nobody is logged in, or the login failed. Says nothing about whether the account exists."""

    kind = "unauthenticated"
    title = "Log in first"
    status = 401


class Forbidden(Problem):
    """The actor may not do this."""

    kind = "forbidden"
    title = "You may not do this"
    status = 403
    is_refusal = True


class NotFound(Problem):
    """The thing named does not exist."""

    kind = "not-found"
    title = "Not found"
    status = 404


class Hidden(NotFound):
    """It does, and the actor may not know: to them the same as NotFound, to the audit trail a refusal."""

    is_refusal = True


class Conflict(Problem):
    """The thing changed meanwhile, or exists already."""

    kind = "conflict"
    title = "This conflicts with what is there"
    status = 409


class TooMany(Problem):
    """Asked too often; ``retry_after`` is in whole seconds."""

    kind = "too-many-attempts"
    title = "Too many attempts"
    status = 429

    def __init__(self, message: str, *, retry_after: int) -> None:
        self.retry_after = retry_after
        super().__init__(message, retry_after=retry_after)


class Unavailable(Problem):
    """A directory, cluster or database does not answer as it should. Trying again later may help."""

    kind = "unavailable"
    title = "A system that this depends on does not answer"
    status = 503


class Misconfigured(Exception):
    """The settings cannot work. Holds every mistake found, each one line: where, what, what to do."""

    def __init__(self, mistakes: list[str]) -> None:
        self.mistakes = mistakes
        super().__init__("\n".join(mistakes))
