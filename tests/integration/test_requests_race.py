"""Decisions and cancellations at the same moment: one outcome each, and everybody is told the truth about it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fixtures.asking import DIRECTORIES, Scene, people
from fixtures.offline import events, offline, stored
from fixtures.product import ProductMaker
from rigs.postgres import Postgres
from sqlalchemy.exc import IntegrityError

from iam.errors import Problem
from iam.models import AccessRequest, AuditEvent, Decision, Grant, db
from iam.services.base import WORKER, Actor
from iam.services.requests.deciding import Verdict

Act = Callable[[], str]
REQUESTS = {"postgresql": 50, "sqlite": 8}
"""Each is approved by two and cancelled twice at once: 200 attempts on PostgreSQL."""


@pytest.fixture(params=["postgresql", "sqlite"])
def scene(
    request: pytest.FixtureRequest, make_product: ProductMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Scene]:
    """The house on both databases, with a rule that any one lead meets."""
    monkeypatch.chdir(tmp_path)
    server: Postgres | None = request.getfixturevalue("postgres") if request.param == "postgresql" else None
    more = {"database_url": server.create_database("races"), "server": {"threads": 32}} if server else {}
    product = make_product(directories=DIRECTORIES, **more)
    offline(product)
    found = people(Scene(product, tmp_path))
    found.offer()
    found.rule("1 of local:leads")
    yield found
    if server:
        with product.app.app_context():
            db.session.remove()
            db.engine.dispose()
        server.drop_database("races")


def many(scene: Scene) -> int:
    return REQUESTS[scene.product.app.config["SQLALCHEMY_DATABASE_URI"].split("+")[0].split(":")[0]]


def at_once(acts: Sequence[Act]) -> list[str]:
    """What each came to; all begin together."""
    barrier = threading.Barrier(len(acts))

    def run(act: Act) -> str:
        barrier.wait()
        return act()

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(run, acts))


def outcome(scene: Scene, work: Callable[[], object]) -> str:
    """``done``, or the kind of problem; anything else fails the test."""
    with scene.open():
        try:
            work()
        except Problem as problem:
            return type(problem).__name__
        finally:
            db.session.remove()
    return "done"


def yes(scene: Scene, actor: Actor, request_id: str, seen: str) -> Act:
    verdict = Verdict("approve", seen)
    return lambda: outcome(scene, lambda: scene.product.services.decisions.decide(actor, request_id, verdict))


def taken_back(scene: Scene, actor: Actor, request_id: str) -> Act:
    return lambda: outcome(scene, lambda: scene.product.services.requests.cancel(actor, request_id))


def test_approvals_and_cancellations_at_once_leave_no_contradiction(scene: Scene) -> None:
    erin, lee, lou = (scene.actor(one) for one in ("erin", "lee", "lou"))
    asked = [scene.ask("erin", f"shop-{number}") for number in range(many(scene))]
    acts = [
        act for one in asked
        for act in (
            yes(scene, lee, one, scene.seen(one)), taken_back(scene, erin, one), yes(scene, lou, one, scene.seen(one)),
            taken_back(scene, erin, one),
        )
    ]
    said = at_once(acts)
    requests = {one.id: one for one in stored(scene.product, AccessRequest)}
    grants = Counter(one.request_id for one in stored(scene.product, Grant))
    decisions = Counter(one.request_id for one in stored(scene.product, Decision))
    trail = Counter((one.target_name, one.action) for one in stored(scene.product, AuditEvent))
    for number, one in enumerate(asked):
        lees, first, lous, second = said[4 * number : 4 * number + 4]
        results = Counter([lees, first, lous, second])
        assert results == {"done": 1, "Conflict": 3}, (results, requests[one].state)
        is_yes = "done" in {lees, lous}
        assert requests[one].state == ("approved" if is_yes else "cancelled")
        assert grants[one] == decisions[one] == trail[one, "request.approved"] == trail[one, "request.granted"] == int(is_yes)
        assert trail[one, "request.cancelled"] == int(not is_yes)
    assert not scene.asked()


def test_one_approver_twice_at_once_is_one_yes(scene: Scene) -> None:
    scene.rule("2 of local:leads", change=True)
    lee = scene.actor("lee")
    asked = [scene.ask("erin", f"shop-{number}") for number in range(8)]
    said = at_once([yes(scene, lee, one, scene.seen(one)) for one in asked for _ in range(3)])
    assert Counter(said) == {"done": 8, "Conflict": 16}
    assert Counter(one.request_id for one in stored(scene.product, Decision)) == dict.fromkeys(asked, 1)
    assert {one.state for one in stored(scene.product, AccessRequest)} == {"pending"}
    assert not stored(scene.product, Grant)


def test_the_two_yeses_of_a_quorum_at_once_make_one_grant(scene: Scene) -> None:
    scene.rule("2 of local:leads", change=True)
    lee, lou = scene.actor("lee"), scene.actor("lou")
    asked = [scene.ask("erin", f"shop-{number}") for number in range(8)]
    said = at_once([yes(scene, who, one, scene.seen(one)) for one in asked for who in (lee, lou)])
    assert said == ["done"] * 16
    assert Counter(one.request_id for one in stored(scene.product, Grant)) == dict.fromkeys(asked, 1)


def test_a_yes_and_a_no_at_once_are_one_of_them(scene: Scene) -> None:
    lee, lou = scene.actor("lee"), scene.actor("lou")
    asked = [scene.ask("erin", f"shop-{number}") for number in range(8)]

    def denied(request_id: str) -> Act:
        verdict = Verdict("deny", scene.seen(request_id), "Not now.")
        return lambda: outcome(scene, lambda: scene.product.services.decisions.decide(lou, request_id, verdict))

    said = at_once([act for one in asked for act in (yes(scene, lee, one, scene.seen(one)), denied(one))])
    for number, one in enumerate(asked):
        pair = said[2 * number : 2 * number + 2]
        assert sorted(pair) == ["Conflict", "done"]
        assert scene.request(one).state == ("approved" if pair[0] == "done" else "denied")
        assert (scene.grant(one) is not None) == (pair[0] == "done")


@pytest.mark.parametrize("what", ["end", "start"])
def test_two_workers_at_once_end_and_start_each_grant_once(scene: Scene, what: str) -> None:
    scene.rule("automatic", name="harmless", position=1)
    scene.offer("view", "view")
    clock = scene.product.clock
    later = {} if what == "end" else {"starts_at": clock() + timedelta(hours=1)}
    asked = [scene.ask("erin", f"shop-{number}", entry="view", **later) for number in range(20)]
    clock.forward(hours=2)
    services = scene.product.services
    work = services.clockwork.end if what == "end" else services.clockwork.start
    assert set(at_once([lambda: outcome(scene, work)] * 6)) == {"done"}
    grants = [scene.granted(one) for one in asked]
    assert {one.state for one in grants} == {"ended" if what == "end" else "active"}
    trail = Counter(one.target_name for one in events(scene.product, action=f"grant.{what}ed", limit=1000))
    assert trail == dict.fromkeys([one.id for one in grants], 1)


def test_a_return_and_a_revocation_and_the_clock_at_once_end_a_grant_once(scene: Scene) -> None:
    scene.rule("automatic", name="harmless", position=1)
    scene.offer("view", "view")
    asked = [scene.ask("erin", f"shop-{number}", entry="view") for number in range(8)]
    grants = [scene.granted(one).id for one in asked]
    erin, ada, services = scene.actor("erin"), scene.actor("ada"), scene.product.services
    scene.product.clock.forward(hours=2)

    def given_back(grant_id: str) -> Act:
        return lambda: outcome(scene, lambda: services.grants.give_back(erin, grant_id))

    def revoked(grant_id: str) -> Act:
        return lambda: outcome(scene, lambda: services.grants.revoke(ada, grant_id, "Enough."))

    said = at_once([act for one in grants for act in (given_back(one), revoked(one))] + [lambda: outcome(scene, services.clockwork.end)])
    assert set(said) <= {"done", "Conflict"}
    trail = Counter(one.target_name for one in events(scene.product, action="grant.ended", limit=1000))
    assert trail == dict.fromkeys(grants, 1)
    with scene.open() as product:
        assert product.services.reconciler.run(WORKER, scene.cluster)
    assert scene.bound() == {}


def test_the_database_refuses_ones_own_decision_whatever_the_services_do(scene: Scene) -> None:
    found = scene.request(scene.ask("erin", "shop"))
    subject, human = found.requester_subject, found.requester_human
    by_lee = {"approver_subject": "local:id-lee", "approver_human": "mailto:lee@example.org", "requester_human": human}
    for wrong in (
        {"approver_subject": subject}, {"approver_human": human}, {"verdict": "maybe"},
        {"approver_subject": subject, "requester_subject": "local:id-other"},
        {"approver_human": human, "requester_human": "mailto:other@example.org"},
    ):
        values: dict[str, Any] = {
            "request_id": found.id, "requester_subject": subject, **by_lee, "approver_id": scene.actor("lee").person_id, "round": 1,
            "stage": 0, "verdict": "approve", "seconds": 3600, "namespaces": [], "digest": "", "at": scene.product.clock(), **wrong,
        }
        with scene.open():
            db.session.add(Decision(**values))
            with pytest.raises(IntegrityError):
                db.session.commit()
            db.session.rollback()
    assert scene.decisions(found.id) == []
