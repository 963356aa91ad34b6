"""What every use case stands on: who acts, what the outside world is, and one transaction."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy.exc import IntegrityError

from iam.directory.base import Directory
from iam.models import db
from iam.models.audit import WORKER as WORKER_NAME
from iam.notify.base import LineSink, MailSender, WebhookSender
from iam.services import guard
from iam.services.vault import Vault
from iam.settings import Role, Settings

if TYPE_CHECKING:
    from iam.clusters.base import Connection
    from iam.models import Cluster

_T = TypeVar("_T")
Scope = str
READ, WRITE, KUBECONFIG = "read", "write", "kubeconfig"
SCOPES = (READ, WRITE, KUBECONFIG)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks, through which door, from where. Doors make it, services judge by it."""

    name: str
    door: str
    person_id: str = ""
    display_name: str = ""
    roles: frozenset[Role] = frozenset()
    scopes: frozenset[Scope] = frozenset()
    """What the credential in hand allows; a browser session allows everything the roles do."""
    address: str = ""
    request_id: str = ""
    path: str = ""
    """What was called: the path of a page or of the API, a command."""
    session_id: str = ""

    def has(self, *roles: Role) -> bool:
        """Whether the actor holds one of these roles."""
        return bool(self.roles.intersection(roles))


def operator(name: str, command: str = "") -> Actor:
    """Whoever runs the command line beside the database: an administrator by virtue of being there."""
    roles: frozenset[Role] = frozenset({"administrator", "auditor"})
    return Actor(name=f"operator:{name}", door="cli", roles=roles, scopes=frozenset(SCOPES), path=command)


WORKER = Actor(name=WORKER_NAME, door="worker", roles=frozenset({"administrator"}), scopes=frozenset(SCOPES))


@dataclass(frozen=True)
class World:
    """Everything outside: settings, the clock, directories, clusters, keys, who is told. Wired once, in iam.app."""

    settings: Settings
    now: Callable[[], datetime]
    directories: Mapping[str, Directory]
    connect: Callable[[Cluster], Connection]
    vault: Vault
    mail: MailSender
    webhooks: WebhookSender
    sinks: Mapping[str, LineSink]
    """Where the audit trail goes on to: ``forward <name>``, ``anchor <name>``."""


def key_hash(key: str) -> str:
    """What we keep of a session's or a token's key: SHA-256, hex. The keys are random, so nothing slower is needed."""
    return hashlib.sha256(key.encode()).hexdigest()


def once_more(work: Callable[[], _T]) -> _T:
    """Run a transaction; run it again, twice at the most, if somebody inserted the same row at the same moment (a first login, twice)."""
    for _ in range(2):
        try:
            return work()
        except IntegrityError:
            continue
    return work()


@contextmanager
def transaction() -> Iterator[None]:
    """Commit at the end, or nothing at all; a change without its audit event is nothing at all too."""
    guard.watch(db.session)
    try:
        yield
        db.session.commit()
    except BaseException:
        db.session.rollback()
        raise
