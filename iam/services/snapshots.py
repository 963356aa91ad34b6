"""The RBAC of clusters as read last, kept for a moment: one question after the other need not list everything again."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock

from iam.kube.authorizer import Snapshot

FRESH = timedelta(seconds=10)
MOST_KEPT = 4


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read, and when."""

    snapshot: Snapshot
    at: datetime


class Snapshots:
    """Readings by cluster, in this process."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._kept: OrderedDict[str, Reading] = OrderedDict()
        self._locks: defaultdict[str, Lock] = defaultdict(Lock)

    def get(self, cluster_id: str, read: Callable[[], Snapshot], *, anew: bool = False) -> Reading:
        """The last reading if it is fresh, else a new one; who comes while one is being read waits for it."""
        with self._locks[cluster_id]:
            kept = self._kept.get(cluster_id)
            age = self._now() - kept.at if kept else FRESH
            if kept and not anew and timedelta() <= age < FRESH:
                return kept
            reading = Reading(read(), self._now())
            self._kept[cluster_id] = reading
            self._kept.move_to_end(cluster_id)
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
            return reading
