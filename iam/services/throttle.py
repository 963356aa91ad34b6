"""Slowing down guessing: failures counted per account and per address, in the database that all replicas share."""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import delete, select

from iam.errors import TooMany
from iam.models import FailedLogin, db
from iam.services.base import World, once_more, transaction


class Throttle:
    """Counts failures; a success forgets the account's, never the address's."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._limits = world.settings.throttle
        self._key = world.settings.secret_key.get_secret_value().encode()

    def check(self, account: str, address: str) -> None:
        """Raises TooMany, saying when to come back. The same for names that exist and names that do not."""
        now = self._world.now()
        for kind, value, limit in self._counters(account, address):
            row = db.session.get(FailedLogin, self._hash(kind, value))
            if row and row.window_ends_at > now and row.count >= limit:
                seconds = max(1, int((row.window_ends_at - now).total_seconds()))
                raise TooMany("Too many failed logins. Try again in %(retry_after)d s.", retry_after=seconds)

    def failed(self, account: str, address: str) -> None:
        """Count a failure, in a transaction of its own."""
        for kind, value, _ in self._counters(account, address):
            once_more(partial(self._count, self._hash(kind, value)))

    def succeeded(self, account: str) -> None:
        """Forget the account's failures, inside the caller's transaction."""
        db.session.execute(delete(FailedLogin).where(FailedLogin.key == self._hash("account", account)))

    def forget_old(self, now: datetime) -> None:
        """Drop windows that are over (housekeeping)."""
        with transaction():
            db.session.execute(delete(FailedLogin).where(FailedLogin.window_ends_at < now))

    def _count(self, key: str) -> None:
        now = self._world.now()
        with transaction():
            row = db.session.scalar(select(FailedLogin).filter_by(key=key).with_for_update())
            if row is None:
                row = FailedLogin(key=key, count=0, window_ends_at=now)
                db.session.add(row)
            if row.window_ends_at <= now:
                row.count = 0
                row.window_ends_at = now + timedelta(minutes=self._limits.window_minutes)
            row.count += 1

    def _counters(self, account: str, address: str) -> list[tuple[str, str, int]]:
        return [("account", account, self._limits.per_account), ("address", address, self._limits.per_address)]

    def _hash(self, kind: str, value: str) -> str:
        return hmac.new(self._key, f"{kind}\0{value}".encode(), hashlib.sha256).hexdigest()
