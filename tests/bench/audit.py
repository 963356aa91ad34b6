"""The audit trail: what evidence costs each change, two million events sealed, exported and verified, pages over ten million.

BENCH_AUDIT_EVENTS and BENCH_AUDIT_PAGES set other numbers of events.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import random
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from flask import Flask
from rigs.processes import RigMissing
from sqlalchemy import insert

from bench.audit_crowd import TABLE, connect, fill, questions, tidy
from bench.ground import Ground
from bench.installation import OPERATOR, PASSWORD, Installation
from bench.measure import milliseconds, seconds_of
from bench.table import Row, Target
from iam import services, settings
from iam.app import create_app
from iam.evidence.reading import verify_export
from iam.models import Cluster, ReconcileState, db, new_id
from iam.services import Services
from iam.services.access import NewMapping
from iam.services.audit import Audit, Filter
from iam.services.base import Actor

EVENTS = int(os.environ.get("BENCH_AUDIT_EVENTS", "2000000"))
PAGES = int(os.environ.get("BENCH_AUDIT_PAGES", "10000000"))
CHANGERS, ROUNDS, SECONDS, STARTING = 4, 5, 10.0, 4.0
TIMES, ASKED = 3, 20
COOKIE = "kube_iam_session"
MICROSECONDS = 1e6


def run(ground: Ground) -> list[Row]:
    """All of it, on PostgreSQL."""
    if ground.database_kind != "PostgreSQL":
        raise RigMissing("postgres", ["/usr/lib/postgresql/*/bin"])
    installation = Installation(ground, "audit")
    config = ground.folder / "audit" / "settings.toml"
    try:
        rows = [*_sealing(installation, config), *_exports(ground, config), *_changes(installation, config)]
    finally:
        installation.close()
    return [*rows, *_pages(ground)]


def _sealing(installation: Installation, config: Path) -> list[Row]:
    """Of a trail that nobody has sealed for years; and its verification in the database."""
    with installation.app.app_context():
        installation.services.sealer.seal()
        db.session.remove()
    fill(config, EVENTS, are_sealed=False)
    sealing = alone(seal, config)
    tidy(config)
    verifying = alone(verify, config)
    return [
        Row(f"{EVENTS} events sealed", EVENTS / sealing.seconds, None, "events/s", f"{sealing.most:.0f} MB at the most"),
        _verified("verified in the database", verifying),
    ]


def _exports(ground: Ground, config: Path) -> list[Row]:
    rows, file = [], ground.folder / "audit.jsonl"
    for kind, least in (("csv", 0.5), ("jsonl", 0.4)):
        runs = [alone(export, config, kind, file if kind == "jsonl" else Path(os.devnull)) for _ in range(TIMES)]
        ours, anchor = (EVENTS / statistics.median(side) for side in ([one.seconds for one in runs], [one.anchor for one in runs]))
        anchor_is = "COPY of the same rows, all columns, read by psycopg"
        most = max(one.most for one in runs)
        first, taken = max(one.first for one in runs), max(one.most - one.before for one in runs)
        rows += [
            Row(f"{EVENTS} events exported as {kind}", ours, anchor, "events/s", anchor_is, Target("ratio >=", least)),
            Row("of it until the first byte", 1000 * first, None, "ms", f"worst of {TIMES}", Target("ours <", 1000)),
            Row("memory that it takes", taken, None, "MB", f"of {most:.0f} MB", Target("ours <", 100)),
        ]
    verifying = alone(verify_file, config, file)
    file.unlink()
    return [*rows, _verified("the file verified with public keys", verifying)]


def _verified(what: str, ran: Ran) -> Row:
    explained = f"{ran.count / ran.seconds:.0f} events/s, {ran.most:.0f} MB at the most"
    return Row(f"{ran.count} events: {what}", MICROSECONDS * ran.seconds / ran.count, None, "µs each", explained, Target("ours <", 5))


def _changes(installation: Installation, config: Path) -> list[Row]:
    """In turns: sealed, with the sealer beside; and without any row. The first turn of each side warms up."""
    places = _places(installation)
    with _processes(CHANGERS + 1) as pool:
        sides: dict[bool, list[float]] = {True: [], False: []}
        for turn in range(2 * (ROUNDS + 1)):
            is_recorded = turn % 2 == 0
            sides[is_recorded].append(_rate(pool, config, places, is_recorded))
    with installation.app.app_context():
        waiting = installation.services.sealer.waiting()
        db.session.remove()
    ours, anchor = (statistics.median(rates[1:]) for rates in (sides[True], sides[False]))
    anchor_is = f"the same with audit rows switched off; {CHANGERS} processes"
    return [
        Row(f"changes with their sealed events, {EVENTS} events before", ours, anchor, "1/s", anchor_is, Target("ratio >=", 0.85)),
        Row("events that still wait for the sealer at the end", waiting, None, "events"),
    ]


def _rate(pool: Executor, config: Path, places: list[str], is_recorded: bool) -> float:
    start_at = time.time() + STARTING
    sealing = [pool.submit(seal_beside, config, start_at)] if is_recorded else []
    changing = [pool.submit(change, config, place, start_at, is_recorded) for place in places]
    made = sum(one.result() for one in changing)
    _wait(sealing)
    return made / SECONDS


def _wait(futures: list[Any]) -> None:
    for future in futures:
        future.result()


def _places(installation: Installation) -> list[str]:
    """A cluster for each process: they do not wait for each other's rows."""
    with installation.app.app_context():
        now = installation.services.world.now()
        shared = {"server": "https://none:6443", "access": "credential", "signer": "csr", "created_at": now}
        clusters = [{"id": new_id(), "name": f"bench-{number}"} | shared for number in range(CHANGERS)]
        db.session.execute(insert(Cluster), clusters)
        db.session.execute(insert(ReconcileState), [{"cluster_id": one["id"], "wanted_at": now, "done": 1} for one in clusters])
        db.session.commit()
        db.session.remove()
    return [str(one["name"]) for one in clusters]


def _pages(ground: Ground) -> list[Row]:
    """An auditor's filters, each with other values every time."""
    installation = Installation(ground, "audit-pages", roles={"auditor": ["local:auditors"]})
    try:
        client = installation.app.test_client()
        client.set_cookie(COOKIE, _log_in(installation))
        first = fill(ground.folder / "audit-pages" / "settings.toml", PAGES, are_sealed=True)
        took: dict[str, list[float]] = defaultdict(list)
        for turn in range(ASKED):
            for what, asked in questions(random.Random(turn), first, PAGES).items():
                took[what].append(seconds_of(lambda asked=asked: _get(client, asked)))  # type: ignore[misc]
    finally:
        installation.close()
    for what, seconds in sorted(took.items(), key=lambda one: -milliseconds(one[1], 0.95)):
        shown = "  ".join(f"{milliseconds(seconds, share):8.1f}" for share in (0.5, 0.95, 1))
        print(f"{what:40} {shown} ms (p50, p95, worst)", file=sys.stderr)
    everything = [one for seconds in took.values() for one in seconds]
    worst = max(took, key=lambda what: milliseconds(took[what], 0.95))
    page = f"page of the trail, {PAGES} events, {len(took)} kinds of filters"
    return [
        Row(f"{page}, p50", milliseconds(everything), milliseconds(took["nothing"]), "ms", "the page without a filter"),
        Row(f"{page}, p95", milliseconds(everything, 0.95), milliseconds(took["nothing"], 0.95), "ms", "the page without a filter",
            Target("ours <", 150)),
        Row(f"the slowest filter ({worst}), p95", milliseconds(took[worst], 0.95), None, "ms"),
    ]  # fmt: skip


def _log_in(installation: Installation) -> str:
    visitor = Actor("visitor", door="page", address="127.0.0.1")
    with installation.app.app_context():
        ours = installation.services
        ours.accounts.create(OPERATOR, username="aude", password=PASSWORD, groups=frozenset({"auditors"}))
        key = ours.logins.with_password(visitor, "local", "aude", PASSWORD).key
        db.session.remove()
    return key


def _get(client: Any, asked: dict[str, str]) -> None:
    answer = client.get("/audit", query_string=asked)
    assert answer.status_code == 200, (asked, answer.status_code)


@dataclass(frozen=True, slots=True)
class Ran:
    """What a process of its own did: seconds, memory before and at its most (MB), and how many."""

    seconds: float
    before: float
    most: float
    count: float
    first: float = 0
    anchor: float = 0


def alone(work: Callable[..., Ran], *arguments: Any) -> Ran:
    """In a new process, which imports and holds nothing else."""
    with _processes(1) as pool:
        return pool.submit(work, *arguments).result()


def _processes(many: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(many, mp_context=multiprocessing.get_context("spawn"))


@cache
def _app(config: Path) -> Flask:
    app = create_app(settings.load(config))
    logging.getLogger().setLevel(logging.ERROR)
    return app


@contextmanager
def _product(config: Path) -> Iterator[Services]:
    with _app(config).app_context():
        yield services.current()
        db.session.remove()


def seal(config: Path) -> Ran:
    """Everything that waits."""
    with _product(config) as ours:
        before, seconds = _held(), seconds_of(ours.sealer.seal)
        return Ran(seconds, before, _megabytes("VmHWM"), EVENTS)


def verify(config: Path) -> Ran:
    """The chain in the database."""
    with _product(config) as ours:
        before, start = _held(), time.perf_counter()
        report = ours.verifier.verify(OPERATOR)
        assert report.is_whole, report.findings
        return Ran(time.perf_counter() - start, before, _megabytes("VmHWM"), report.events)


def export(config: Path, kind: str, out: Path) -> Ran:
    """Ours to a file, then the anchor to nowhere."""
    with _product(config) as ours, out.open("wb") as file:
        before, start = _held(), time.perf_counter()
        running, first = ours.exports.begin(OPERATOR, kind, Filter()), 0.0
        for part in ours.exports.parts(running):
            first = first or time.perf_counter() - start
            file.write(part)
        seconds, most = time.perf_counter() - start, _megabytes("VmHWM")
        assert running.events >= EVENTS
        return Ran(seconds, before, most, running.events, first, seconds_of(lambda: _copy_all(config, running.upto)))


def _copy_all(config: Path, upto: int) -> None:
    query = f"COPY (SELECT * FROM {TABLE} WHERE seq > 0 AND seq <= {upto} ORDER BY seq) TO STDOUT"
    with connect(config) as connection, connection.cursor() as cursor, cursor.copy(query) as copy:
        assert sum(1 for _row in copy) == upto


def verify_file(config: Path, file: Path) -> Ran:
    """An export, with the first of our public keys."""
    with _product(config) as ours:
        trusted = [bytes.fromhex(ours.signing_keys.named()[0].public)]
    before, start = _held(), time.perf_counter()
    with file.open("rb") as lines:
        report = verify_export(lines, trusted).report
    assert report.is_whole, report.findings
    return Ran(time.perf_counter() - start, before, _megabytes("VmHWM"), report.events)


def change(config: Path, cluster: str, start_at: float, is_recorded: bool) -> int:
    """Mappings made and removed for a while, how many of both; without audit rows if so wanted."""
    stored = Audit._store
    if not is_recorded:
        Audit._store = lambda *_what: None  # type: ignore[method-assign]
    try:
        with _product(config) as ours:
            wanted = NewMapping(f"local:{cluster}", cluster, "ClusterRole", "view", ("team-a", "team-b"))
            _make_and_remove(ours, wanted)
            time.sleep(max(0.0, start_at - time.time()))
            made = 0
            while time.time() < start_at + SECONDS:
                _make_and_remove(ours, wanted)
                made += 2
            return made
    finally:
        Audit._store = stored  # type: ignore[method-assign]


def _make_and_remove(ours: Services, wanted: NewMapping) -> None:
    ours.access.remove(OPERATOR, ours.access.create(OPERATOR, wanted).id)
    db.session.remove()


def seal_beside(config: Path, start_at: float) -> None:
    """As the worker does."""
    while time.time() < start_at + SECONDS:
        with _product(config) as ours:
            ours.sealer.seal()
            pause = ours.world.settings.audit.seal_seconds
        time.sleep(pause)


def _held() -> float:
    """Megabytes that this process holds now; its most is counted from here on."""
    Path("/proc/self/clear_refs").write_text("5", "utf-8")
    return _megabytes("VmRSS")


def _megabytes(what: str) -> float:
    """Of this process alone: getrusage's ru_maxrss starts at what the process that started it held."""
    status = Path("/proc/self/status").read_text("utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(f"{what}:")) / 1024
