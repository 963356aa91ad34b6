"""From a click to a binding, from an end to no binding, 5 000 ends in a minute, and the inbox with 2 000 open requests.

`iam serve` with its worker runs as in production, on a real control plane. A watch on the API server says when.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

from bench.bare_cluster import BareCluster
from bench.ground import Ground, new_control_plane
from bench.measure import in_turn, milliseconds, seconds_of
from bench.office import LEAD, RBAC, SOMEBODY, Browser, Held, Office, Watch, Wish, binding
from bench.table import Row, Target

CLICKS, MORE_CLICKS, ALONE = 100, 40, 40
RUNNING = 5000
MINUTE = 60.0
OPEN, FEW, OPENINGS = 2000, 20, 300
PAGES = 60
AHEAD = 0.3
"""Seconds until an end, when it is set."""
SOON, IN_A_MINUTE, AT_ONCE = Target("ours <", 2000), Target("ours <", MINUTE), Target("ours <", 100)


def run(ground: Ground) -> list[Row]:
    """All of it on one installation, one after the other."""
    with new_control_plane() as plane:
        office = Office(ground, plane)
        try:
            quick, slow = office.ask(range(CLICKS)), office.ask(range(CLICKS, CLICKS + MORE_CLICKS))
            *late, sample = office.ask(range(CLICKS + MORE_CLICKS, CLICKS + MORE_CLICKS + 3))
            with office.installation.serve(worker=True) as port, Watch(office.access) as watch:
                office.await_worker()
                lead, bare = Browser(port, LEAD), BareCluster(office.access, 0)
                rows = [*_clicks("", office, lead, watch, quick, bare), *_ends_alone(office, watch, quick[:ALONE])]
                rows += _ends("", office, watch, quick[ALONE:])
                running = office.grant(RUNNING)
                watch.wait(running.values())
                office.settle()
                beside = f", {RUNNING} grants running"
                rows += [*_clicks(beside, office, lead, watch, slow), *_ends(beside, office, watch, slow)]
                rows += _many_ends(office, lead, watch, running, late)
                return [*rows, *_pages(ground, office, lead, Browser(port, SOMEBODY), sample)]
        finally:
            office.installation.close()


def _clicks(beside: str, office: Office, lead: Browser, watch: Watch, wishes: Sequence[Wish], bare: BareCluster | None = None) -> list[Row]:
    """At odd moments, so that no click knows where the worker is."""
    clicked, answered = {}, []
    for wish in wishes:
        time.sleep(random.uniform(0.05, 0.75))
        clicked[wish.held] = time.time()
        answered.append(seconds_of(lambda wish=wish: lead.approve(wish)))  # type: ignore[misc]
    watch.wait(clicked)
    took = [watch.came[held] - moment for held, moment in clicked.items()]
    by_hand = _by_hand(watch, wishes, lambda held, name: bare.ask("POST", _bindings(held), binding(held, name))) if bare else []
    return [
        *_percentiles(f"click on yes until the binding is there{beside}", took, by_hand, "creating a RoleBinding by hand, until seen"),
        Row(f"of it the answer to the click, p50{beside}", milliseconds(answered), None, "ms"),
    ]


def _ends_alone(office: Office, watch: Watch, wishes: Sequence[Wish]) -> list[Row]:
    """The cluster has been in line for a while, when one ends: no run that was due anyhow takes it along."""
    took = []
    for grant_id, held in office.grants_of(wishes).items():
        time.sleep(random.uniform(0.3, 1.3))
        end = time.time() + AHEAD
        office.end({grant_id: end})
        watch.wait([held], gone=True)
        took.append(watch.gone[held] - end)
    return _percentiles("end of a grant, alone, until the binding is gone", took, [], "")


def _ends(beside: str, office: Office, watch: Watch, wishes: Sequence[Wish]) -> list[Row]:
    """Some within a second."""
    grants, ends = office.grants_of(wishes), {}
    for grant_id in grants:
        time.sleep(random.uniform(0.05, 0.75))
        ends[grant_id] = time.time() + AHEAD
        office.end({grant_id: ends[grant_id]})
    watch.wait(grants.values(), gone=True)
    took = [watch.gone[held] - ends[grant_id] for grant_id, held in grants.items()]
    assert min(took) > 0, f"ended {-min(took):.3f} s too early"
    return _percentiles(f"end of a grant until the binding is gone{beside}", took, [], "")


def _by_hand(watch: Watch, wishes: Sequence[Wish], make: Callable[[Held, str], object]) -> list[float]:
    """Of another user, so that it is not what we have just seen."""
    took = []
    for number, wish in enumerate(wishes):
        held = (*wish.held[:2], f"by-hand-{number}")
        start = time.time()
        make(held, f"by-hand-{number}")
        while held not in watch.came:
            time.sleep(0.0002)
        took.append(watch.came[held] - start)
    return took


def _many_ends(office: Office, lead: Browser, watch: Watch, running: dict[str, Held], late: Sequence[Wish]) -> list[Row]:
    """Spread over a minute; then the same again, all at one moment. Somebody clicks right behind them."""
    rows = []
    cases = ((f"{RUNNING} grants end within one minute", MINUTE, late[0]), (f"{RUNNING} grants end at one moment", 0.0, late[1]))
    for what, length, wish in cases:
        watch.wait(running.values())
        office.settle()
        begin = time.time() + 4
        ends = {grant_id: begin + length * number / len(running) for number, grant_id in enumerate(running)}
        office.end(ends)
        watch.wait(running.values(), gone=True, seconds=300)
        lags = [watch.gone[held] - ends[grant_id] for grant_id, held in running.items()]
        assert min(lags) > 0, f"ended {-min(lags):.3f} s too early"
        clicked = time.time()
        lead.approve(wish)
        watch.wait([wish.held], seconds=120)
        rows += [
            Row(f"{what}: the last is gone after", max(watch.gone[held] for held in running.values()) - begin, None, "s",
                "counted from the first end"),
            Row("worst lag behind its own end", max(lags), None, "s", f"median {milliseconds(lags) / 1000:.2f} s", IN_A_MINUTE),
            Row("a click on yes right behind them", 1000 * (watch.came[wish.held] - clicked), None, "ms", "one click", SOON),
        ]
        if length:
            office.end(dict.fromkeys(running, time.time() + 3600), again=True)
    return rows


def _pages(ground: Ground, office: Office, lead: Browser, somebody: Browser, sample: Wish) -> list[Row]:
    opened = office.open(OPEN, sample.id, office.asks_leads)
    office.open(FEW, sample.id, f"person:{SOMEBODY}")
    count = -(-OPEN // 50)
    rows, chosen = [], random.Random(4)
    for what, browser, path in (
        (f"inbox, all {OPEN} wait for me", lead, "/inbox"), (f"page {count} of it", lead, f"/inbox?page={count}"),
        (f"inbox, {FEW} of {OPEN + FEW} wait for me", somebody, "/inbox"),
    ):
        assert browser.get(path).count("data-row") == min(50, FEW if browser is somebody else 50)
        turns = in_turn(lambda browser=browser, path=path: browser.get(path), office.rows, PAGES)  # type: ignore[misc]
        rows += _page(f"{what}, {ground.database_kind}", turns.ours, turns.anchor)
    turns = in_turn(lambda: lead.get(f"/requests/{chosen.choice(opened)}"), office.rows, PAGES)
    rows += _page("page of one open request", turns.ours, turns.anchor)
    office.break_glass(OPENINGS)
    turns = in_turn(lambda: lead.get("/inbox"), office.rows, PAGES // 2)
    return [*rows, *_page(f"inbox, all {OPEN} wait for me, {OPENINGS} times break-glass before", turns.ours, turns.anchor)]


def _page(what: str, ours: Sequence[float], anchor: Sequence[float]) -> list[Row]:
    anchor_is = "50 rows, joined, by one bare SELECT"
    return [
        Row(f"{what}, p50", milliseconds(ours), milliseconds(anchor), "ms", anchor_is),
        Row(f"{what}, p95", milliseconds(ours, 0.95), milliseconds(anchor, 0.95), "ms", anchor_is, AT_ONCE),
    ]


def _percentiles(what: str, ours: Sequence[float], anchor: Sequence[float], anchor_is: str) -> list[Row]:
    rows = []
    for name, share, target in (("p50", 0.5, None), ("p99", 0.99, SOON)):
        beside = milliseconds(anchor, share) if anchor else None
        rows.append(Row(f"{what}, {name}", milliseconds(ours, share), beside, "ms", anchor_is, target))
    return rows


def _bindings(held: Held) -> str:
    return f"{RBAC}/namespaces/{held[0]}/rolebindings"
