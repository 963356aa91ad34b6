"""``iam serve`` and ``iam worker``."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import click
from granian import Granian
from granian.constants import Interfaces

from iam import log, schema
from iam.cli.session import State
from iam.errors import Invalid
from iam.settings import CONFIG_VARIABLE
from iam.worker import Worker, seal_until

COUNTERS = "PROMETHEUS_MULTIPROC_DIR"
STOP_SECONDS = 30
MAX_PAUSE = 60.0
_log = log.get(__name__)


@click.command()
@click.option("--host", help="Instead of server.host.")
@click.option("--port", type=click.IntRange(0, 65535), help="Instead of server.port.")
@click.option("--worker/--no-worker", "with_worker", default=True, show_default=True, help="Run the background worker too.")
@click.pass_context
def serve(context: click.Context, host: str | None, port: int | None, with_worker: bool) -> None:  # noqa: FBT001
    """Serve pages, API and metrics."""
    state: State = context.obj
    settings = state.settings.server
    schema.require_current(state.app(check_schema=False))
    if COUNTERS not in os.environ:  # the metrics library read it when it was imported, a moment ago: begin again with it
        os.environ[COUNTERS] = tempfile.mkdtemp(prefix="kube-iam-metrics-")
        os.execv(sys.executable, [sys.executable, "-m", "iam", *sys.argv[1:]])  # noqa: S606
    refuse_taken(host or settings.host, port or settings.port)
    _hand_down(context)
    log.configure(state.settings.log_level)
    background = _Supervised([sys.executable, "-m", "iam", "worker"]) if with_worker else None
    try:
        Granian(
            "iam.wsgi:application", factory=True, interface=Interfaces.WSGI, address=host or settings.host, port=port or settings.port,
            workers=settings.workers, blocking_threads=settings.threads, respawn_failed_workers=True, log_access=False, websockets=False,
        ).serve()
    finally:
        if background:
            background.stop()
        shutil.rmtree(os.environ[COUNTERS], ignore_errors=True)


@click.command()
@click.option("--seal-for", type=int, hidden=True, help="Only seal the audit trail, for the worker with this process id and as long as it.")
@click.pass_context
def worker(context: click.Context, seal_for: int | None) -> None:
    """Sync directories and reconcile clusters until stopped."""
    state: State = context.obj
    app, stopping = state.app(), threading.Event()
    log.configure(state.settings.log_level)
    if seal_for is not None:
        _on_signals(stopping.set)
        seal_until(app, lambda pause: stopping.wait(pause) or os.getppid() != seal_for)
        return
    running = Worker(app)
    _on_signals(running.stop)
    _hand_down(context)
    # In a busy process, sealing would wait for all the others.
    sealer = _Supervised([sys.executable, "-m", "iam", "worker", "--seal-for", str(os.getpid())])
    try:
        running.run(has_sealer=True)
    finally:
        sealer.stop()


def _on_signals(stop: Callable[[], None]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop())


def refuse_taken(host: str, port: int) -> None:
    """Raises Invalid: the server itself would end with a trace."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise Invalid(
                "Cannot listen on %(host)s port %(port)d: %(why)s", field="port", host=host, port=port, why=error.strerror
            ) from None


class _Supervised:
    """A child process that is started again, with growing pauses, however it ends."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._stopping = threading.Event()
        self._child = subprocess.Popen(command)  # noqa: S603  # ourselves
        threading.Thread(target=self._watch, daemon=True).start()

    def stop(self) -> None:
        """End it for good."""
        self._stopping.set()
        self._child.terminate()
        try:
            self._child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()

    def _watch(self) -> None:
        pause = 1.0
        while True:
            started = time.monotonic()
            code = self._child.wait()
            if self._stopping.wait(pause):
                return
            pause = 1.0 if time.monotonic() - started > MAX_PAUSE else min(pause * 2, MAX_PAUSE)
            _log.error("worker ended, starting it again", code=code)
            try:
                self._child = subprocess.Popen(self._command)  # noqa: S603
            except OSError as error:  # no memory, perhaps: the next turn tries again
                _log.error("worker could not be started", why=error.strerror)


def _hand_down(context: click.Context) -> None:
    """Child processes read the settings themselves; tell them where."""
    config: Path | None = (context.parent or context).params.get("config")
    if config:
        os.environ[CONFIG_VARIABLE] = str(config.resolve())
