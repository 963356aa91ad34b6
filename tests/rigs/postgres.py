"""A real PostgreSQL server in a temporary folder, durable for nothing, reachable on loopback only."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import tempfile
from pathlib import Path
from types import TracebackType
from typing import LiteralString, Self

import psycopg
from psycopg import sql

from .processes import LOOPBACK, ChildProcess, RigMissing, find_binary, first_line, free_port, run_as

_BIN = "/usr/lib/postgresql/*/bin"
_UNPRIVILEGED = ("postgres", "nobody")
_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "listen_addresses": LOOPBACK,
    "max_connections": "200",
    "timezone": "UTC",
}


class Postgres:
    """A database server of the tests' own; data and port outlive `stop()` and `start()`.

    PostgreSQL refuses to run as root, so root runs it as the user `postgres`, else as `nobody`.
    """

    user = "postgres"

    def __init__(self) -> None:
        initdb, server = find_binary("initdb", _BIN), find_binary("postgres", _BIN)
        self._temporary = tempfile.TemporaryDirectory(prefix="kube-iam-postgres-")
        folder = Path(self._temporary.name)
        data = folder / "data"
        data.mkdir(mode=0o700)
        runs_as = _unprivileged_user()
        if runs_as is not None:
            for path in (folder, data):
                shutil.chown(path, runs_as)
        self.port = free_port()
        options = f"-U {self.user} -A trust -E UTF8 --locale=C.UTF-8 --no-sync".split()
        run_as(runs_as, [initdb, "-D", data, *options])
        settings = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
        self.process = ChildProcess(
            [server, "-D", data, "-p", str(self.port), "-k", folder, *settings],
            log=folder / "postgres.log",
            user=runs_as,
            stop_signal=signal.SIGINT,  # "fast": ends sessions, then stops cleanly
            death_signal="INT",
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._temporary.cleanup()

    def start(self) -> None:
        """Start the server, with the data and on the port it had before."""
        self.process.start(self._answers, seconds=30)

    def stop(self) -> None:
        """Stop the server; open sessions are ended."""
        self.process.stop()

    def url(self, database: str = "postgres") -> str:
        """SQLAlchemy's URL of a database, for psycopg 3."""
        return f"postgresql+psycopg://{self.user}@{LOOPBACK}:{self.port}/{database}"

    def create_database(self, name: str) -> str:
        """Create an empty database and return its URL."""
        self._administer("CREATE DATABASE {} TEMPLATE template0", name)
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database, with whoever is connected to it."""
        self._administer("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    def _administer(self, statement: LiteralString, name: str) -> None:
        with self._connect() as connection:
            connection.execute(sql.SQL(statement).format(sql.Identifier(name)))

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(
            host=LOOPBACK,
            port=self.port,
            user=self.user,
            dbname="postgres",
            autocommit=True,
            connect_timeout=5,
        )

    def _answers(self) -> bool:
        try:
            with self._connect() as connection:
                return connection.execute("SELECT 1").fetchone() == (1,)
        except psycopg.OperationalError:
            return False


def version() -> str:
    """The version of the PostgreSQL that would be started."""
    return first_line([find_binary("postgres", _BIN), "--version"]).removeprefix("postgres (PostgreSQL) ")


def _unprivileged_user() -> str | None:
    """Who runs the server: nobody special unless we are root."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    for name in _UNPRIVILEGED:
        if name in known:
            return name
    raise RigMissing(f"a user {' or '.join(_UNPRIVILEGED)}", ["the user database"])
