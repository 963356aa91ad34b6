"""The background process: syncs directories and reconciles clusters, forever, safely interrupted.

What is due is in the database; this only looks often and does the work, each cluster in a thread of its own so that
one that does not answer holds up no other. Any number of workers may run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from functools import partial

from flask import Flask

from iam import log, services
from iam.models import db
from iam.services.base import WORKER
from iam.services.housekeeping import EVERY

_log = log.get(__name__)
_THREADS = 32


class Worker:
    """Runs until told to stop."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._stop = threading.Event()
        self._running: dict[str, Future[None]] = {}
        self._pool = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="worker")
        self._far = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="far")
        """For clusters and directories: those that do not answer hold up nothing else."""
        with app.app_context():
            self._services = services.current()
        self._swept_at = self._followed_at = self._services.world.now() - EVERY

    def stop(self) -> None:
        """Finish what runs, start nothing more."""
        self._stop.set()

    def run(self, *, has_sealer: bool = False) -> None:
        """Look for work until stopped. ``has_sealer``: a process of its own seals (see ``seal_until``), so no thread here does."""
        _log.info("worker started")
        self._start("settings", self._services.started.note)
        if not has_sealer:
            self._pool.submit(seal_until, self._app, self._stop.wait)
        while not self._stop.is_set():
            try:
                self.tick()
            except Exception as error:  # noqa: BLE001  # the database may be away for a while; the loop goes on
                _log.exception("worker could not look for work", error=type(error).__name__)
            self._stop.wait(self._services.world.settings.reconcile.poll_seconds)
        for pool in (self._far, self._pool):
            pool.shutdown(wait=True, cancel_futures=True)
        self._do("seal", self._services.sealer.seal)  # what was recorded last does not wait for the next start
        _log.info("worker stopped")

    def tick(self) -> None:
        """Hand out everything that is due now."""
        with self._app.app_context():
            self._services.heartbeats.beat()
            clusters = self._due("clusters", self._services.reconciler.due)
            directories = self._due("directories", self._services.sync.due)
            destinations = self._due("outbox", self._services.outbox.due)
            anchors = self._due("anchors", self._services.anchoring.due)
            forwarders = self._due("forwarders", self._services.forwarding.due)
        for name in clusters:
            self._start(f"cluster {name}", partial(self._services.reconciler.run, WORKER, name), self._far)
        self._start("ends", self._services.clockwork.end)
        self._start("starts", self._services.clockwork.start)
        self._start("rules", self._services.clockwork.follow_rules)
        for destination in destinations:
            self._start(f"outbox {destination}", partial(self._services.outbox.deliver, destination))
        self._start("seal", self._services.sealer.seal)
        for name in anchors:
            self._start(f"anchor {name}", partial(self._services.anchoring.anchor, name))
        for name in forwarders:
            self._start(f"forward {name}", partial(self._services.forwarding.deliver, name))
        for name in directories:
            self._start(f"directory {name}", partial(self._services.sync.run_if_alone, WORKER, name), self._far)
        now = self._services.world.now()
        if abs(now - self._swept_at) >= EVERY:  # also when the clock was put back
            self._swept_at = now
            self._start("housekeeping", self._services.housekeeping.sweep)
        if abs(now - self._followed_at) >= timedelta(seconds=self._services.world.settings.abac.follow_seconds):
            self._followed_at = now
            self._start("policies", self._services.publishing.follow)

    def _due(self, what: str, look: Callable[[], Iterable[str]]) -> list[str]:
        """What is due of one kind; where that cannot be told, of this kind nothing is, and the others go on."""
        try:
            return list(look())
        except Exception as error:  # noqa: BLE001  # an audit trail that somebody broke holds up no grant that ends
            _log.exception("cannot tell what is due", what=what, error=type(error).__name__)
            db.session.rollback()
            return []

    def wait(self) -> None:
        """Until everything that was handed out is done (tests, one-off runs)."""
        for future in list(self._running.values()):
            future.result()

    def _start(self, what: str, work: Callable[[], object], pool: ThreadPoolExecutor | None = None) -> None:
        before = self._running.get(what)
        if before is None or before.done():
            self._running[what] = (pool or self._pool).submit(self._do, what, work)

    def _do(self, what: str, work: Callable[[], object]) -> None:
        done(self._app, what, work)


def seal_until(app: Flask, is_over: Callable[[float], bool]) -> None:
    """Seal, pause, and again, until ``is_over(pause)``, which waits so many seconds."""
    with app.app_context():
        ours = services.current()
    while not is_over(ours.world.settings.audit.seal_seconds):
        done(app, "seal", ours.sealer.seal)


def done(app: Flask, what: str, work: Callable[[], object]) -> None:
    """One piece of work; what goes wrong is in the log, and the next goes on."""
    try:
        with app.app_context():
            try:
                work()
            except Exception as error:  # noqa: BLE001  # one bad cluster must not end the worker
                _log.exception("work failed", work=what, error=type(error).__name__)
            finally:
                db.session.remove()
    except Exception as error:  # noqa: BLE001  # the connection died with its transaction open
        _log.exception("work could not be left in order", work=what, error=type(error).__name__)
