"""Forwarding: every sealed event goes on, in order and at least once, from where the last attempt ended."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select

from iam import __version__
from iam.evidence import exports
from iam.evidence.cef import cef
from iam.evidence.events import facts_of
from iam.evidence.ocsf import ocsf
from iam.evidence.rfc5424 import message
from iam.models import AuditEvent, AuditOutlet, db
from iam.services.audit.outlets import Outlets
from iam.services.audit.sealing import Sealer
from iam.services.audit.trail import Audit, Target
from iam.services.audit.vocabulary import Event
from iam.services.base import READ, WORKER, Actor, World, transaction
from iam.settings.audit import Forward

AT_ONCE = 500
ROUNDS = 200
"""Batches of one turn; the next turn goes on."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a forwarder has come."""

    name: str
    kind: str
    position: int
    behind: int
    lag_seconds: int
    """How long the oldest event that has not arrived waits by now."""
    error: str
    delivered_at: datetime | None
    is_late: bool


class Forwarding:
    """Use cases of forwarding."""

    def __init__(self, world: World, audit: Audit, sealer: Sealer, outlets: Outlets) -> None:
        self._world = world
        self._audit = audit
        self._sealer = sealer
        self._outlets = outlets

    def due(self) -> list[str]:
        """Forwarders with something to send whose pause is over."""
        head = self._sealer.head()
        names = [one.name for one in self._world.settings.audit.forward]
        return [name for name in names if head and self._at(name).position < head.last and self._outlets.is_due(_key(name))]

    def deliver(self, name: str) -> int:
        """Send what waits; returns how many events arrived."""
        settings = next(one for one in self._world.settings.audit.forward if one.name == name)
        sent = 0
        with self._outlets.attempt(_key(name)) as mine:
            for _round in range(ROUNDS if mine else 0):
                batch = self._next(self._at(name).position)
                if not batch:
                    break
                lines = [_formatted(settings, seq, text) for seq, text in batch]
                self._world.sinks[_key(name)].send(lines)
                self._outlets.moved(_key(name), batch[-1][0])
                sent += len(batch)
        self._alarm(name)
        return sent

    def standings(self, actor: Actor) -> list[Standing]:
        """How all of them are."""
        self._audit.require(actor, "auditor", "administrator", scope=READ)
        return [self._standing(one) for one in self._world.settings.audit.forward]

    def _standing(self, settings: Forward) -> Standing:
        outlet, head = self._at(settings.name), self._sealer.head()
        behind = max(0, (head.last if head else 0) - outlet.position)
        lag = self._lag(outlet) if behind else timedelta(0)
        is_late = lag.total_seconds() > self._world.settings.audit.lag_alarm_seconds
        seconds = int(lag.total_seconds())
        return Standing(settings.name, settings.kind, outlet.position, behind, seconds, outlet.error, outlet.delivered_at, is_late)

    def _lag(self, outlet: AuditOutlet) -> timedelta:
        oldest = select(AuditEvent.at).where(AuditEvent.seq > outlet.position).order_by(AuditEvent.seq).limit(1)
        at = db.session.scalar(oldest)
        return max(timedelta(0), self._world.now() - at) if at else timedelta(0)

    def _alarm(self, name: str) -> None:
        """Once when it begins to lag, once when it has caught up."""
        outlet = self._at(name)
        settings = next(one for one in self._world.settings.audit.forward if one.name == name)
        standing = self._standing(settings)
        if standing.is_late == outlet.is_alarmed:
            return
        with transaction():
            outlet = self._at(name)
            outlet.is_alarmed = standing.is_late
            what = Event.AUDIT_LAGS if standing.is_late else Event.AUDIT_CAUGHT_UP
            self._audit.record(
                WORKER, what, Target("forwarder", name), result="failed" if standing.is_late else "done", reason=outlet.error,
                position=standing.position, head=standing.position + standing.behind,
            )

    def _next(self, position: int) -> Sequence[tuple[int, bytes]]:
        query = select(AuditEvent.seq, AuditEvent.body).where(AuditEvent.seq > position).order_by(AuditEvent.seq).limit(AT_ONCE)
        found = [(row.seq or 0, row.body.encode()) for row in db.session.execute(query)]
        db.session.commit()  # no transaction stays open while the other side answers
        return found

    def _at(self, name: str) -> AuditOutlet:
        return self._outlets.get(_key(name))


def _key(name: str) -> str:
    return f"forward {name}"


def _formatted(settings: Forward, seq: int, text: bytes) -> bytes:
    if settings.format == "json":
        line = exports.event_line(seq, text)[:-1]
    elif settings.format == "cef":
        line = cef(seq, facts_of(text), version=__version__).encode()
    else:
        line = json.dumps(ocsf(seq, facts_of(text), version=__version__), separators=(",", ":")).encode()
    return message(seq, facts_of(text), line.decode(), host=socket.gethostname()) if settings.kind == "syslog" else line
