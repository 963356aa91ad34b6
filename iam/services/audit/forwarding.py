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
from iam.notify.base import NotDelivered
from iam.services.audit.outlets import Outlets
from iam.services.audit.sealing import Sealer
from iam.services.audit.trail import Audit
from iam.services.base import READ, Actor, World
from iam.settings.audit import Forward

AT_ONCE = 500
MOST_BYTES = 512 * 1024
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
        """Forwarders with something to send whose pause is over. Whoever lags is told of here, also while it pauses."""
        found = []
        for standing in map(self._standing, self._world.settings.audit.forward):
            self._outlets.tell(_key(standing.name), is_late=standing.is_late, head=standing.position + standing.behind)
            if standing.behind and self._outlets.is_due(_key(standing.name)):
                found.append(standing.name)
        return found

    def deliver(self, name: str) -> int:
        """Send what waits; returns how many events arrived."""
        settings = next(one for one in self._world.settings.audit.forward if one.name == name)
        sent = 0
        with self._outlets.attempt(_key(name)) as mine:
            for _round in range(ROUNDS if mine else 0):
                batch = self._next(self._at(name).position)
                if not batch:
                    break
                self._world.sinks[_key(name)].send([_formatted(settings, seq, text) for seq, text in batch])
                self._outlets.moved(_key(name), batch[-1][0])
                sent += len(batch)
        return sent

    def standings(self, actor: Actor) -> list[Standing]:
        """How all of them are."""
        self._audit.require(actor, "auditor", "administrator", scope=READ)
        return [self._standing(one) for one in self._world.settings.audit.forward]

    def _standing(self, settings: Forward) -> Standing:
        outlet, head = self._at(settings.name), self._sealer.head()
        behind = (head.last if head else 0) - outlet.position
        lag = self._lag(outlet) if behind else timedelta(0)
        is_late = behind < 0 or lag.total_seconds() > self._world.settings.audit.lag_alarm_seconds
        seconds = int(lag.total_seconds())
        return Standing(settings.name, settings.kind, outlet.position, behind, seconds, outlet.error, outlet.delivered_at, is_late)

    def _lag(self, outlet: AuditOutlet) -> timedelta:
        oldest = select(AuditEvent.at).where(AuditEvent.seq > outlet.position).order_by(AuditEvent.seq).limit(1)
        at = db.session.scalar(oldest)
        return max(timedelta(0), self._world.now() - at) if at else timedelta(0)

    def _next(self, position: int) -> Sequence[tuple[int, bytes]]:
        """Sealed events of ours, about half a megabyte at the most. Raises NotDelivered where somebody changed the trail."""
        head = self._sealer.head()
        if head and position > head.last:
            raise NotDelivered("its position lies behind the end of the trail: somebody changed it. Run iam audit verify")
        columns = AuditEvent.seq, AuditEvent.body, AuditEvent.mark
        query = select(*columns).where(AuditEvent.seq > position, AuditEvent.seq <= (head.last if head else 0))
        found, size = list[tuple[int, bytes]](), 0
        for row in db.session.execute(query.order_by(AuditEvent.seq).limit(AT_ONCE)):
            text = row.body.encode("utf-8", "replace")
            if not self._world.vault.has_marked(text, row.mark):
                if found:
                    break  # what stands before it is sent
                raise NotDelivered(f"event {row.seq} is not what this service wrote. Run iam audit verify")
            found.append((row.seq or 0, text))
            size += len(text)
            if size > MOST_BYTES:
                break
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
