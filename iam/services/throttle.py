"""Slowing down guessing: attempts counted before they are made, in the database that all replicas share.

Counted per account and address together (so that a stranger cannot lock somebody out), per account from anywhere,
and per address; a success gives the attempt back.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import delete, update

from iam.errors import TooMany
from iam.models import FailedLogin, db
from iam.services.base import World, once_more, transaction

FROM_ANYWHERE = 5
"""An account may be tried this many times as often from all addresses together as from one."""


class Throttled(TooMany):
    """Too many; ``is_news`` for the first refusal of a window, the one that is recorded."""

    def __init__(self, message: str, *, retry_after: int, is_news: bool) -> None:
        self.is_news = is_news
        super().__init__(message, retry_after=retry_after)


class Throttle:
    """Counts attempts in windows. The keys are keyed hashes, not names."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._limits = world.settings.throttle
        self._key = world.settings.secret_key.get_secret_value().encode()

    def attempt(self, account: str, address: str) -> None:
        """Count an attempt, then raise Throttled if it is one too many. The same for names that do not exist."""
        limits = dict(self._counters(account, address))
        found = once_more(partial(self._count, list(limits)))
        over = [(ends, count - limits[key]) for key, count, ends in found if count > limits[key]]
        if over:
            seconds = max(1, int((max(ends for ends, _ in over) - self._world.now()).total_seconds()))
            is_news = min(excess for _, excess in over) == 1
            raise Throttled("Too many failed logins. Try again in %(retry_after)d s.", retry_after=seconds, is_news=is_news)

    def is_flood(self, address: str) -> bool:
        """Count somebody who is turned away at the door; whether so many have been from there that no more need to be recorded."""
        counted = once_more(partial(self._count, [self._hash("strangers", address)]))
        return any(count > self._limits.per_address for _key, count, _ends in counted)

    def give_back(self, account: str, address: str) -> None:
        """The attempt was no failure; inside the caller's transaction."""
        keys = [key for key, _limit in self._counters(account, address)]
        db.session.execute(
            update(FailedLogin).where(FailedLogin.key.in_(keys), FailedLogin.count > 0).values(count=FailedLogin.count - 1)
        )

    def forget_old(self, now: datetime) -> None:
        """Drop windows that are over (housekeeping)."""
        with transaction():
            db.session.execute(delete(FailedLogin).where(FailedLogin.window_ends_at < now))

    def _count(self, keys: list[str]) -> list[tuple[str, int, datetime]]:
        """Add one to each window that runs, begin one where none does; the counters afterwards.

        What was counted is what the UPDATE itself returns: a window that another replica begins in between makes the
        INSERT fail, and the whole is done again.
        """
        now = self._world.now()
        ends = now + timedelta(minutes=self._limits.window_minutes)
        with transaction():
            running = update(FailedLogin).where(FailedLogin.key.in_(keys), FailedLogin.window_ends_at > now)
            counted = db.session.execute(
                running.values(count=FailedLogin.count + 1)
                .returning(FailedLogin.key, FailedLogin.count, FailedLogin.window_ends_at)
                .execution_options(synchronize_session=False)
            ).all()
            fresh = sorted(set(keys) - {key for key, _count, _ends in counted})
            if fresh:
                db.session.execute(delete(FailedLogin).where(FailedLogin.key.in_(fresh), FailedLogin.window_ends_at <= now))
                db.session.add_all(FailedLogin(key=key, count=1, window_ends_at=ends) for key in fresh)
        return [*((key, count, until) for key, count, until in counted), *((key, 1, ends) for key in fresh)]

    def _counters(self, account: str, address: str) -> list[tuple[str, int]]:
        limits = self._limits
        counters = [("address", address, limits.per_address)]
        if account:
            counters += [
                ("account here", f"{account}\0{address}", limits.per_account),
                ("account", account, limits.per_account * FROM_ANYWHERE),
            ]
        return [(self._hash(kind, value), limit) for kind, value, limit in counters]

    def _hash(self, kind: str, value: str) -> str:
        return hmac.new(self._key, f"{kind}\0{value}".encode(), hashlib.sha256).hexdigest()
