"""Forwarding: every sealed event goes on, in order and at least once, from where the last attempt ended."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select

from iam import __version__
from iam.errors import Unavailable
from iam.evidence import exports
from iam.evidence.blocks import Block
from iam.evidence.cef import cef
from iam.evidence.events import facts_of
from iam.evidence.keys import KeyRing
from iam.evidence.ocsf import ocsf
from iam.evidence.proof import Proof, Sealed
from iam.evidence.rfc5424 import message
from iam.models import AuditEvent, AuditOutlet, db
from iam.notify.base import NotDelivered
from iam.services.audit import streams
from iam.services.audit.outlets import Outlets
from iam.services.audit.retention import Retention
from iam.services.audit.sealing import Sealer
from iam.services.audit.signing import SigningKeys
from iam.services.audit.trail import Audit
from iam.services.base import READ, Actor, World
from iam.settings.audit import Forward

AT_ONCE = 500
MOST_BYTES = 512 * 1024
ROUNDS = 20
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


@dataclass
class Batch:
    """What goes on next, and how far that is."""

    last: int
    events: list[Sealed]

    def take(self, block: Block, events: Sequence[Sealed]) -> None:
        """The next block, of which some may have gone already."""
        self.events += [(seq, text) for seq, text in events if seq > self.last]
        self.last = block.last


class Forwarding:
    """Use cases of forwarding."""

    def __init__(self, world: World, audit: Audit, sealer: Sealer, keys: SigningKeys, retention: Retention, outlets: Outlets) -> None:
        self._world = world
        self._audit = audit
        self._sealer = sealer
        self._keys = keys
        self._retention = retention
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
                position = self._at(name).position
                batch = self._next(position)
                if batch.last == position:
                    break
                self._world.sinks[_key(name)].send([_formatted(settings, seq, text) for seq, text in batch.events])
                self._outlets.moved(_key(name), batch.last)
                sent += len(batch.events)
        return sent

    def standings(self, actor: Actor) -> list[Standing]:
        """How all of them are."""
        self._audit.require(actor, "auditor", "administrator", scope=READ)
        return [self._standing(one) for one in self._world.settings.audit.forward]

    def _standing(self, settings: Forward) -> Standing:
        outlet = self._at(settings.name)
        lag = self._lag(outlet)
        try:
            head, is_broken = self._sealer.head(), False
        except Unavailable:
            head, is_broken = None, True
        behind = 0 if is_broken else (head.last if head else 0) - outlet.position
        is_late = is_broken or behind < 0 or lag.total_seconds() > self._world.settings.audit.lag_alarm_seconds
        seconds = int(lag.total_seconds())
        return Standing(settings.name, settings.kind, outlet.position, behind, seconds, outlet.error, outlet.delivered_at, is_late)

    def _lag(self, outlet: AuditOutlet) -> timedelta:
        """How long the oldest event waits that has not arrived, sealed or not; one from the future waits too, for a clock was put back."""
        if not outlet.is_tried:
            return timedelta(0)
        sealed = select(AuditEvent.at).where(AuditEvent.seq > outlet.position).order_by(AuditEvent.seq).limit(1)
        unsealed = select(AuditEvent.at).where(AuditEvent.seq.is_(None)).order_by(AuditEvent.id).limit(1)
        waiting = [at for at in (db.session.scalar(sealed), db.session.scalar(unsealed)) if at]
        return max((abs(self._world.now() - at) for at in waiting), default=timedelta(0))

    def _next(self, position: int) -> Batch:
        """Events as they were sealed, each in its place, some hundreds or about half a megabyte. Raises NotDelivered where somebody changed
        the trail: what stands before that is sent first.
        """
        head = self._sealer.head()
        if head and position > head.last:
            raise NotDelivered("its position lies behind the end of the trail: somebody changed it. Run iam audit verify")
        batch, size = Batch(position, []), 0
        ring = KeyRing([bytes.fromhex(one.public) for one in self._keys.named()])
        for block in streams.blocks(position + 1, head.last if head else 0):
            try:
                batch.take(block, self._sealed(block, ring))
            except NotDelivered:
                if batch.events:
                    break
                raise
            size += sum(len(text) for _seq, text in batch.events)
            if len(batch.events) >= AT_ONCE or size > MOST_BYTES:
                break
        db.session.commit()  # no transaction stays open while the other side answers
        return batch

    def _sealed(self, block: Block, ring: KeyRing) -> Sequence[Sealed]:
        """The events of a block of ours; none of one that retention has emptied. Raises NotDelivered."""
        query = select(AuditEvent.seq, AuditEvent.body).where(AuditEvent.seq >= block.first, AuditEvent.seq <= block.last)
        events = [(row.seq or 0, row.body.encode("utf-8", "replace")) for row in db.session.execute(query.order_by(AuditEvent.seq))]
        proof = Proof(ring, starts_at=0)
        proof.take(block, events)
        findings = proof.finish(is_open_end=False).findings
        if not events and block.last <= self._retention.announced():
            return []
        if findings:
            raise NotDelivered(f"{findings[0].words} Run iam audit verify")
        return events

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
