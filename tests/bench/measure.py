"""Timing: in turn, so that a slow moment of the machine hits both sides, and many at once."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

Work = Callable[[], object]


@dataclass
class Turns:
    """Seconds of each call, by side."""

    ours: list[float] = field(default_factory=list)
    anchor: list[float] = field(default_factory=list)


def seconds_of(work: Work) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_turn(ours: Work, anchor: Work, times: int, *, pace: float = 0.0) -> Turns:
    """Call both `times` times, the first mover changing; a pair takes at least `pace` seconds."""
    turns = Turns()
    sides = [(turns.ours, ours), (turns.anchor, anchor)]
    for turn in range(times):
        ends = time.perf_counter() + pace
        for seconds, work in sides if turn % 2 else reversed(sides):
            seconds.append(seconds_of(work))
        time.sleep(max(0.0, ends - time.perf_counter()))
    return turns


def milliseconds(seconds: Sequence[float], share: float = 0.5) -> float:
    """The percentile (0.5: the median, 0.95: p95) of some seconds, in milliseconds."""
    ordered = sorted(seconds)
    return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def per_second(seconds: Sequence[float]) -> float:
    """The rate of calls one after the other: by the median, which one slow moment does not move."""
    return 1 / statistics.median(seconds)


def at_once(works: Sequence[Work], seconds: float, *, start_at: float = 0.0) -> list[float]:
    """Repeat every work in a thread of its own for some seconds; when each call ended (`time.monotonic`)."""
    ends_at = max(start_at, time.monotonic()) + seconds
    ended: list[float] = []
    problems: list[BaseException] = []

    def repeat(work: Work) -> None:
        time.sleep(max(0.0, start_at - time.monotonic()))
        try:
            while not problems and time.monotonic() < ends_at:
                work()
                ended.append(time.monotonic())
        except BaseException as problem:  # noqa: BLE001  # whatever it is, it belongs to the caller's thread
            problems.append(problem)

    threads = [threading.Thread(target=repeat, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]
    return ended


def rate_at_once(ended: Sequence[float], seconds: float, *, skip: float = 0.0) -> float:
    """Calls a second from the first end on (or `skip` seconds later), so that a start costs and helps neither side."""
    first = min(ended) + skip
    counted = [moment - first for moment in ended if 0 <= moment - first <= seconds]
    return (len(counted) - 1) / (max(counted) - min(counted))
