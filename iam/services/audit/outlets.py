"""What forwarding and anchoring share: a position, one holder at a time, pauses that grow after failures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from sqlalchemy import update

from iam import log
from iam.errors import Problem
from iam.models import AuditOutlet, db
from iam.notify.base import NotDelivered
from iam.services.audit.trail import Audit, Target
from iam.services.audit.vocabulary import Event
from iam.services.base import WORKER, World, once_more, transaction
from iam.services.locks import only_one

_log = log.get(__name__)
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=2), timedelta(minutes=5)


class Outlets:
    """Where the trail goes on to, by name."""

    def __init__(self, world: World, audit: Audit) -> None:
        self._world = world
        self._audit = audit

    def get(self, name: str) -> AuditOutlet:
        """As it stands; a new one begins at the start of the trail."""
        return once_more(lambda: self._get(name))

    def is_due(self, name: str) -> bool:
        """Whether its pause is over."""
        next_at, now = self.get(name).next_attempt_at, self._world.now()
        return next_at is None or not now < next_at <= now + max(LONGEST_PAUSE, self._anchor_pause)  # no pause of ours is longer

    def moved(self, name: str, position: int, again_at: datetime | None = None) -> None:
        """It has come so far."""
        with transaction():
            outlet = self._get(name)
            outlet.position, outlet.delivered_at, outlet.next_attempt_at = position, self._world.now(), again_at
            outlet.attempts, outlet.error = 0, ""

    def tell(self, name: str, *, is_late: bool, head: int) -> None:
        """An event when it begins to lag, and one when it has caught up. ``head`` is where it should be."""
        outlet = self.get(name)
        if is_late == outlet.is_alarmed:
            return
        with transaction():
            told = update(AuditOutlet).where(AuditOutlet.name == name, AuditOutlet.is_alarmed.is_(not is_late)).values(is_alarmed=is_late)
            if not db.session.execute(told).rowcount:  # type: ignore[attr-defined]
                return  # another worker was first
            outlet = self._get(name)
            what, result = (Event.AUDIT_LAGS, "failed") if is_late else (Event.AUDIT_CAUGHT_UP, "done")
            target = Target(*name.split(" ", 1))
            self._audit.record(WORKER, what, target, result=result, reason=outlet.error, position=outlet.position, head=head)

    @property
    def _anchor_pause(self) -> timedelta:
        return timedelta(seconds=self._world.settings.audit.anchor_seconds)

    @contextmanager
    def attempt(self, name: str) -> Iterator[bool]:
        """Yields whether it is ours to try now; what goes wrong is noted, and tried again after a pause."""
        with only_one(f"audit {name}") as mine:
            if not mine or not self.is_due(name):
                yield False
                return
            db.session.commit()
            try:
                yield True
            except (NotDelivered, Problem) as problem:
                self._failed(name, str(problem))
            except Exception as bug:  # noqa: BLE001  # must show and wait, not spin unseen
                _log.exception("audit outlet failed", outlet=name, error=type(bug).__name__)
                self._failed(name, f"our own mistake ({type(bug).__name__}); see the log")

    def _failed(self, name: str, error: str) -> None:
        db.session.rollback()
        with transaction():
            outlet = self._get(name)
            outlet.next_attempt_at = self._world.now() + min(FIRST_PAUSE * 2 ** min(outlet.attempts, 12), LONGEST_PAUSE)
            outlet.attempts += 1
            outlet.error = error[:500]
        _log.warning("audit trail not delivered", outlet=name, error=error)

    def _get(self, name: str) -> AuditOutlet:
        outlet = db.session.get(AuditOutlet, name)
        if outlet is None:
            with transaction():
                outlet = AuditOutlet(name=name)
                db.session.add(outlet)
        return outlet
