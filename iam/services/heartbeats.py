"""Whether a worker is at work: it says so every few seconds, and pages and metrics look."""

from __future__ import annotations

from datetime import datetime, timedelta

from iam.models import Heartbeat, db
from iam.services.audit import Audit
from iam.services.base import READ, Actor, World, once_more, transaction

_NAME = "worker"
OFTEN = timedelta(seconds=5)
MISSED_AFTER = timedelta(seconds=60)


class Heartbeats:
    """Writes and reads the one row."""

    def __init__(self, world: World, audit: Audit) -> None:
        self._world = world
        self._audit = audit

    def beat(self) -> None:
        """A worker is here. Written at most every five seconds."""
        once_more(self._beat)

    def last(self, actor: Actor) -> datetime | None:
        """When a worker was last seen."""
        self._audit.require(actor, "administrator", "auditor", scope=READ)
        row = db.session.get(Heartbeat, _NAME)
        return row.at if row else None

    def is_missed(self, actor: Actor) -> bool:
        """Whether a worker was there and is no more, so that nothing reaches any cluster."""
        seen = self.last(actor)
        return seen is not None and abs(self._world.now() - seen) > MISSED_AFTER

    def _beat(self) -> None:
        now = self._world.now()
        row = db.session.get(Heartbeat, _NAME)
        if row and abs(now - row.at) < OFTEN:
            return
        with transaction():
            if row:
                row.at = now
            else:
                db.session.add(Heartbeat(name=_NAME, at=now))
