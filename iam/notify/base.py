"""The port to whoever is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class NotDelivered(Exception):
    """It did not work. ``for_good`` when trying again cannot help. The text names no secret: it is stored and shown."""

    def __init__(self, why: str, *, for_good: bool = False) -> None:
        self.for_good = for_good
        super().__init__(why)


@dataclass(frozen=True, slots=True)
class Letter:
    """One mail to one person."""

    id: str
    """Random and stable over retries: becomes the Message-ID, so that a mail that came twice can be told."""
    to: str
    to_name: str
    subject: str
    text: str
    html: str


@dataclass(frozen=True, slots=True)
class Call:
    """One body for one webhook."""

    id: str
    url: str
    secret: str
    body: bytes

    def __repr__(self) -> str:
        return f"Call({self.id!r})"


class MailSender(Protocol):
    """Sends mails."""

    def send(self, letter: Letter) -> None:
        """Raises NotDelivered."""


class WebhookSender(Protocol):
    """Calls webhooks."""

    def check(self, url: str) -> str:
        """The host of an address that may be called. Raises Invalid."""

    def send(self, call: Call) -> None:
        """Raises NotDelivered."""


class LineSink(Protocol):
    """Takes lines on, in order."""

    def send(self, lines: Sequence[bytes]) -> None:
        """All of them, as surely as the other side can say so; else raises NotDelivered. Lines have no line ends."""
