"""One worker at a time for one thing, over all replicas."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import text

from iam.models import db

_here: dict[str, threading.Lock] = {}


@contextmanager
def only_one(what: str) -> Iterator[bool]:
    """Yields whether we are the one: a PostgreSQL advisory lock, on SQLite a lock in this process.

    Two at once would do no harm (names are deterministic, applying is idempotent), only work twice.
    """
    if db.engine.dialect.name != "postgresql":
        lock = _here.setdefault(what, threading.Lock())
        mine = lock.acquire(blocking=False)
        try:
            yield mine
        finally:
            if mine:
                lock.release()
        return
    key = int.from_bytes(hashlib.sha256(f"kube-iam {what}".encode()).digest()[:8], signed=True)
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        mine = bool(connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": key}))
        try:
            yield mine
        finally:
            if mine:
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": key})
