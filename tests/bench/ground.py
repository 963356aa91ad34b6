"""The real parts that benchmarks stand on: each started when first wanted, all stopped at the end."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

from rigs.postgres import Postgres
from rigs.processes import RigMissing, find_binary
from rigs.slapd import Slapd

from iam.clusters.throwaway import ControlPlane, assets, missing


class Ground:
    """A temporary folder and the servers in it. A missing part raises RigMissing when it is wanted."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="kube-iam-bench-")))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @cached_property
    def control_plane(self) -> ControlPlane:
        """etcd, kube-apiserver and kube-controller-manager."""
        return self._stack.enter_context(new_control_plane())

    @cached_property
    def kubectl(self) -> Path:
        """The program."""
        return find_binary("kubectl", assets())

    @cached_property
    def slapd(self) -> Slapd:
        """OpenLDAP."""
        return self._stack.enter_context(Slapd())

    def database(self, name: str) -> str:
        """The URL of a fresh database: PostgreSQL, or SQLite where there is none."""
        if self._postgres is None:
            return f"sqlite:///{self.folder / name}.db"
        return self._postgres.create_database(name)

    @property
    def database_kind(self) -> str:
        """What `database` makes."""
        return "SQLite" if self._postgres is None else "PostgreSQL"

    @cached_property
    def _postgres(self) -> Postgres | None:
        try:
            return self._stack.enter_context(Postgres())
        except RigMissing:
            return None


def new_control_plane(*authorization: str) -> ControlPlane:
    """One of the benchmark's own, for what would slow the others down; the caller starts it."""
    if missing():
        raise RigMissing(", ".join(missing()), [assets()])
    return ControlPlane(authorization=authorization) if authorization else ControlPlane()
