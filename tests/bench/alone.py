"""Work on a large file in a process of its own: how long it takes, and what the process held at its most."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sized
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench.measure import seconds_of
from iam.kube import abac, rbac_files
from iam.kube.abac import Policy
from iam.kube.abac_convert import convert
from iam.kube.abac_coverage import gained
from iam.kube.abac_lint import lint
from iam.kube.authorizer import Snapshot

TIMES = 3
Numbered = list[tuple[int, Policy]]


@dataclass(frozen=True, slots=True, order=True)
class Alone:
    """One run."""

    seconds: float
    megabytes: float
    count: int
    """How many were found, so that nobody measures nothing."""


def best_of(work: Callable[..., Alone], *paths: Path) -> Alone:
    """The fastest of a few runs, each in a new process. ``work`` is a function of this module, which imports little."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        return min(pool.submit(work, *paths).result(timeout=300) for _ in range(TIMES))


def load_bindings(path: Path) -> Alone:
    """RBAC from a file: read, checked, indexed."""
    return _measured(lambda: Snapshot.from_documents(rbac_files.read(path.read_text("utf-8"), "bench")).bindings)


def parse_policy(path: Path) -> Alone:
    """Every line of a policy file."""
    text = path.read_text("utf-8")
    return _measured(lambda: abac.parse(text))


def lint_policy(path: Path) -> Alone:
    """All findings."""
    numbered = _numbered(path)
    return _measured(lambda: lint(numbered))


def convert_policy(path: Path) -> Alone:
    """To RBAC objects."""
    numbered = _numbered(path)
    return _measured(lambda: convert(numbered).manifests)


def compare_policies(before: Path, after: Path) -> Alone:
    """What the second allows beyond the first."""
    old, new = ([policy for _number, policy in _numbered(path)] for path in (before, after))
    return _measured(lambda: gained(old, new))


def _numbered(path: Path) -> Numbered:
    return [(line.number, line.policy) for line in abac.lines(path.read_text("utf-8")) if line.policy]


def _measured(work: Callable[[], Sized]) -> Alone:
    found: list[Sized] = []
    seconds = seconds_of(lambda: found.append(work()))
    return Alone(seconds, _peak_megabytes(), len(found[0]))


def _peak_megabytes() -> float:
    """Of this process alone: getrusage's ru_maxrss starts at what the process that started it held."""
    status = Path("/proc/self/status").read_text("utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) / 1024
