"""``iam serve`` and ``iam worker``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import click
from granian import Granian
from granian.constants import Interfaces

from iam import log, schema
from iam.cli.session import State
from iam.settings import CONFIG_VARIABLE
from iam.worker import Worker


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
    _hand_down(context)
    log.configure(state.settings.log_level)
    counters = tempfile.TemporaryDirectory(prefix="kube-iam-metrics-")
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = counters.name
    background = subprocess.Popen([sys.executable, "-m", "iam", "worker"]) if with_worker else None
    try:
        Granian(
            "iam.wsgi:application", factory=True, interface=Interfaces.WSGI, address=host or settings.host, port=port or settings.port,
            workers=settings.workers, blocking_threads=settings.threads, respawn_failed_workers=True, log_access=False, websockets=False,
        ).serve()
    finally:
        if background:
            background.terminate()
            background.wait()
        counters.cleanup()


@click.command()
@click.pass_context
def worker(context: click.Context) -> None:
    """Sync directories and reconcile clusters until stopped."""
    state: State = context.obj
    running = Worker(state.app())
    log.configure(state.settings.log_level)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: running.stop())
    running.run()


def _hand_down(context: click.Context) -> None:
    """Child processes read the settings themselves; tell them where."""
    config: Path | None = (context.parent or context).params.get("config")
    if config:
        os.environ[CONFIG_VARIABLE] = str(config.resolve())


