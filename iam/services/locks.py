"""One worker at a time for one thing, over all processes and replicas."""

from __future__ import annotations

import fcntl
import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import text

from iam.models import db


@contextmanager
def only_one(what: str) -> Iterator[bool]:
    """Yields whether we are the one: a PostgreSQL advisory lock; on SQLite a locked file beside the database.

    A second run beside the first would apply what it read before, and so undo what the first has just done.
    """
    digest = hashlib.sha256(f"kube-iam {what}".encode()).digest()
    if db.engine.dialect.name == "postgresql":
        key = int.from_bytes(digest[:8], signed=True)
        with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            mine = bool(connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": key}))
            try:
                yield mine
            finally:
                if mine:
                    connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": key})
        return
    with (_folder() / f"{digest.hex()[:24]}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True  # closing the file lets go, however this process ends


def _folder() -> Path:
    database = db.engine.url.database
    beside = Path(f"{database}.locks") if database and database != ":memory:" else Path(tempfile.gettempdir(), "kube-iam.locks")
    beside.mkdir(mode=0o700, parents=True, exist_ok=True)
    return beside
