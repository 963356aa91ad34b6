"""The sealer seals a round whole or nothing of it, whoever dies and however many are at it; nothing is changed without an event."""

from __future__ import annotations

import json
import os
import secrets
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from fixtures.offline import events, stored
from fixtures.product import Product
from fixtures.sealed import (
    DATABASES,
    Crash,
    at_each_statement,
    away,
    die,
    elsewhere,
    forked,
    fresh,
    kill,
    moments,
    opened,
    seal,
    sealing,
)
from fixtures.stored import contents
from rigs.processes import wait_until
from sqlalchemy import delete, select, text
from sqlalchemy.exc import IntegrityError, OperationalError

from iam import services
from iam.errors import Unavailable
from iam.evidence.events import facts_of, parsed_moment
from iam.evidence.proof import Kind, Report
from iam.models import AuditBlock, AuditEvent, db

__all__ = ["fresh", "sealing"]
on_postgresql = pytest.mark.parametrize("fresh", DATABASES[1:], indirect=True)
TIMES = 10
LOSING = IntegrityError, OperationalError, Unavailable
"""What a sealer that has lost its lock may meet: another one's numbers, a row that somebody waits for, rows that are sealed already."""
State = tuple[int, int, int]
"""Blocks, sealed events, waiting events."""


@pytest.fixture
def product(sealing: Product) -> Product:
    """On both databases, with an offline cluster; nothing is sealed yet."""
    return sealing


def url_of(product: Product) -> str:
    return str(product.services.world.settings.database_url)


def started_anew(product: Product) -> None:
    """Another process over the same database."""
    with product.app.app_context():
        product.services = services.Services.over(product.services.world)
        services.attach(product.app, product.services)


def verified(product: Product) -> Report:
    with product.app.app_context():
        return product.services.verifier.verify(product.operator)


def state(product: Product) -> State:
    with product.app.app_context():
        blocks, sealed, waiting = (
            db.session.scalar(select(db.func.count()).select_from(table).where(*which)) or 0
            for table, which in ((AuditBlock, ()), (AuditEvent, (AuditEvent.seq > 0,)), (AuditEvent, (AuditEvent.seq.is_(None),)))
        )
        db.session.remove()
        return blocks, sealed, waiting


def is_sealed_once(product: Product) -> None:
    """Every event that was recorded is in the chain, and stands there once."""
    assert verified(product).findings == []
    rows = stored(product, AuditEvent)
    ids = [facts_of(row.body)["id"] for row in rows]
    assert len(set(ids)) == len(ids)
    assert sorted(row.seq or 0 for row in rows) == list(range(1, len(rows) + 1))


def forge(product: Product, **more: Any) -> int:
    """A row that this service did not write; returns its id."""
    (last, *_) = events(product, limit=1)
    body = json.dumps(facts_of(last.body) | {"actor_name": "mallory", "id": secrets.token_hex(12)})
    with product.app.app_context():
        row = AuditEvent(**{"body": body, "mark": secrets.token_hex(16), **more})
        db.session.add(row)
        db.session.commit()
        return row.id


def no_lock() -> AbstractContextManager[object]:
    """As if the lock had been lost: everybody may."""
    return mock.patch("iam.services.audit.sealing.only_one", side_effect=lambda _what: nullcontext(True))


class TestDying:
    def test_a_sealer_that_fails_anywhere_has_sealed_nothing_or_a_whole_round(self, product: Product) -> None:
        forge(product)
        before, outcomes = contents(product), Counter[str]()

        def run() -> None:
            with suppress(Crash):
                seal(product)

        for _at in moments(product, die, run):
            after = contents(product)
            outcomes["nothing" if after == before else "a round"] += 1
            if after != before:
                assert verified(product).findings[1:] == [], "nothing but the forged row is wrong"
                assert [one.action for one in events(product, action="audit.key.rotated")] == ["audit.key.rotated"]
            started_anew(product)
            before = after
        assert state(product)[2] == 0
        assert outcomes["nothing"] >= 8
        assert outcomes["a round"] >= 2
        assert len(events(product, action="audit.forged")) == 1

    def test_the_next_sealer_goes_on(self, product: Product) -> None:
        seal(product)
        away(product)

        def run() -> None:
            with suppress(Crash):
                seal(product)

        for _at in moments(product, die, run):
            started_anew(product)
            seal(product)
            is_sealed_once(product)
            away(product)

    def test_a_sealer_that_is_killed_anywhere_has_sealed_nothing_or_a_whole_round(self, product: Product, tmp_path: Path) -> None:
        ((kills, outcomes),) = elsewhere(killed_everywhere, url_of(product), tmp_path)
        assert kills >= 6
        for before, after in outcomes:
            blocks, sealed, waiting = before
            assert after in {before, (blocks + 1, sealed + waiting, 0)}
        assert {after[2] for _before, after in outcomes} == {0, 3}
        is_sealed_once(product)


def killed_everywhere(url: str, folder: Path) -> tuple[int, list[tuple[State, State]]]:
    """In a process without threads: sealers that are killed at their first statement, at their second, and so on."""
    outcomes: list[tuple[State, State]] = []
    with opened(url, folder) as product:

        def is_all_sealed() -> bool:
            """PostgreSQL may need a moment to see that the holder of the lock is dead."""
            seal(product)
            return state(product)[2] == 0

        wait_until(is_all_sealed, seconds=30, what="the first sealer")
        for at in range(1, 1000):
            away(product)
            before = state(product)
            with product.app.app_context():
                db.engine.dispose()  # a child would share the connections

            def work(at: int = at) -> None:
                with at_each_statement(product, lambda number, _statement: kill() if number == at else None):
                    seal(product)

            is_killed = os.WIFSIGNALED(forked(work))
            outcomes.append((before, state(product)))
            wait_until(is_all_sealed, seconds=30, what="the next sealer")
            if not is_killed:
                return at - 1, outcomes
    raise AssertionError("endless")


class TestAtOnce:
    @pytest.mark.parametrize("threads", [2, 4])
    @on_postgresql
    def test_sealers_in_threads(self, product: Product, threads: int) -> None:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda _: recording_and_sealing(product), range(threads)))
        seal(product)
        is_sealed_once(product)
        assert len(events(product, action="cluster.away", limit=1000)) == threads * TIMES * 3

    @pytest.mark.parametrize("processes", [2, 4])
    @on_postgresql
    def test_sealers_in_processes(self, product: Product, processes: int, tmp_path: Path) -> None:
        elsewhere(recording_and_sealing_in, url_of(product), tmp_path, processes=processes)
        seal(product)
        is_sealed_once(product)
        assert len(events(product, action="cluster.away", limit=1000)) == processes * TIMES * 3

    @pytest.mark.parametrize("threads", [2, 4])
    @on_postgresql
    def test_sealers_that_have_lost_their_lock(self, product: Product, threads: int) -> None:
        with no_lock(), ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda _: recording_and_sealing(product, *LOSING), range(threads)))
        seal(product)
        is_sealed_once(product)

    @on_postgresql
    def test_another_sealer_at_any_moment(self, product: Product, tmp_path: Path) -> None:
        with opened(f"{url_of(product)}?options=-c%20lock_timeout%3D50", tmp_path) as other, no_lock():

            def other_seals() -> None:
                with suppress(*LOSING):
                    seal(other)

            def run() -> None:
                away(product)
                with suppress(*LOSING):
                    seal(product)

            for _at in moments(product, other_seals, run):
                seal(product)
                is_sealed_once(product)


def recording_and_sealing(product: Product, *losing: type[Exception]) -> None:
    for _ in range(TIMES):
        away(product)
        with suppress(*losing):
            seal(product)


def recording_and_sealing_in(url: str, folder: Path) -> None:
    with opened(url, folder) as product:
        recording_and_sealing(product)


class TestTheClock:
    def test_a_clock_that_was_put_back_is_not_followed_and_told_of_once(self, product: Product) -> None:
        away(product)
        seal(product)
        product.clock.forward(hours=-1)
        for _ in range(3):
            away(product)
            seal(product)
            product.clock.forward(minutes=1)
        (told,) = events(product, action="audit.clock")
        assert (told.result, told.details) == ("failed", {"seconds": 3600})
        blocks = sorted(stored(product, AuditBlock), key=lambda one: one.number)
        times = [parsed_moment(one.block.sealed_at) for one in blocks]
        assert times == sorted(times)
        assert max(times) == product.clock() + timedelta(minutes=57)
        is_sealed_once(product)
        product.clock.forward(hours=2)
        away(product)
        seal(product)
        product.clock.forward(hours=-1)
        away(product)
        seal(product)
        assert len(events(product, action="audit.clock")) == 2

    def test_it_is_told_of_also_when_the_first_round_fails(self, product: Product) -> None:
        away(product)
        seal(product)
        product.clock.forward(hours=-1)
        away(product)

        def fail(_number: int, statement: str) -> None:
            if statement.startswith("INSERT INTO audit_blocks"):
                raise Crash

        with at_each_statement(product, fail), pytest.raises(Crash):
            seal(product)
        seal(product)
        assert len(events(product, action="audit.clock")) == 1


ASIDE: dict[str, dict[str, Any]] = {
    "without a mark": {"mark": ""},
    "with a mark that is not ASCII": {"mark": "\u00e4" * 32},
    "with a row number below zero": {"id": -5},
    "with a row number below zero that is free": {"id": -5000},
}


class TestForgedRows:
    @pytest.mark.parametrize("name", ASIDE)
    def test_they_are_put_aside_and_told_of_once(self, product: Product, name: str) -> None:
        away(product, 10)
        seal(product)
        rows = [forge(product, **ASIDE[name])]
        rows += [forge(product) for _ in range(3)]
        for _ in range(2):
            away(product)
            seal(product)
        assert state(product)[2] == 0
        assert sorted(one.details["row"] for one in events(product, action="audit.forged")) == sorted(rows)
        assert all((row.seq or 1) <= 0 for row in stored(product, AuditEvent) if row.id in rows)
        assert {one.kind for one in verified(product).findings} == {Kind.UNVOUCHED}
        assert len(verified(product).findings) == len(rows)
        with product.app.app_context():
            db.session.execute(delete(AuditEvent).where(AuditEvent.id.in_(rows)))
            db.session.commit()
        is_sealed_once(product)

    @pytest.mark.parametrize("fresh", ["sqlite"], indirect=True)
    @pytest.mark.parametrize("wrong", ["mark = CAST(x'ff' AS TEXT)", "seq = 'abc'", "seq = x'ff'", "body = CAST(body AS BLOB)"])
    def test_what_is_of_a_wrong_kind_stops_nobody(self, product: Product, wrong: str) -> None:
        """PostgreSQL refuses it."""
        away(product)
        seal(product)
        forge(product, mark="wrong")
        with product.app.app_context():
            db.session.execute(text(f"UPDATE audit_trail SET {wrong} WHERE mark = 'wrong'"))
            db.session.commit()
        away(product)
        seal(product)
        assert state(product)[2] == 0

    def test_no_copy_in_front_pushes_the_real_one_aside(self, product: Product) -> None:
        seal(product)
        away(product)
        waiting = stored(product, AuditEvent)[-1]
        row = forge(product, id=-1000, body=waiting.body)
        seal(product)
        assert [one.details["row"] for one in events(product, action="audit.forged")] == [row]
        assert [one.seq is not None and one.seq > 0 for one in stored(product, AuditEvent) if one.id == waiting.id] == [True]

    @pytest.mark.parametrize("where", ["next number", "number of a row that is put aside"])
    def test_no_row_that_stands_in_the_way_stops_the_sealing(self, product: Product, where: str) -> None:
        away(product)
        seal(product)
        if where == "next number":
            forge(product, seq=state(product)[1] + 1)
        else:
            row = forge(product)
            forge(product, seq=-row)
            forge(product, seq=-2 * row)
        away(product)
        seal(product)
        assert state(product)[2] == 0
