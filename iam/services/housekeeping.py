"""Dropping what has been over for long: windows of failed logins, sessions, tokens."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, or_

from iam.models import ApiToken, Session, db
from iam.services.audit.retention import Retention
from iam.services.base import World, transaction
from iam.services.telling.outbox import Outbox
from iam.services.throttle import Throttle

EVERY = timedelta(hours=1)
KEPT = timedelta(days=30)


class Housekeeping:
    """What the worker does now and then. The archive of certificates is not touched, the audit trail only by its own retention."""

    def __init__(self, world: World, outbox: Outbox, retention: Retention) -> None:
        self._world = world
        self._outbox = outbox
        self._retention = retention

    def sweep(self) -> None:
        """Drop all that ended more than thirty days ago."""
        now = self._world.now()
        Throttle(self._world).forget_old(now)
        self._outbox.forget_old()
        self._retention.prune()
        with transaction():
            db.session.execute(delete(Session).where(or_(Session.ends_at < now - KEPT, Session.ended_at < now - KEPT)))
            db.session.execute(delete(ApiToken).where(or_(ApiToken.expires_at < now - KEPT, ApiToken.revoked_at < now - KEPT)))
