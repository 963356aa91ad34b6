"""What a review found on PostgreSQL: nothing is lost or locked where people and the worker meet, and much costs little."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fixtures.asking import DIRECTORIES, MAIL, Scene, people
from fixtures.offline import offline, stored
from fixtures.product import PASSWORD, ProductMaker
from rigs.postgres import Postgres
from sqlalchemy import event, text
from sqlalchemy.exc import IntegrityError

from iam.errors import Invalid, Problem
from iam.models import AccessRequest, Decision, Grant, ReconcileState, db, new_id
from iam.services.base import WORKER
from iam.services.requests import grants
from iam.services.requests.asking import Ask
from iam.services.requests.emergency import MOST_UNREVIEWED, Opening
from iam.services.telling.notices import Notices
from iam.services.wakeups import want_cluster

MANY = 5000


@pytest.fixture
def scene(postgres: Postgres, make_product: ProductMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """The house on PostgreSQL, with a rule that any one lead meets."""
    monkeypatch.chdir(tmp_path)
    url = postgres.create_database("hardened")
    product = make_product(directories=DIRECTORIES, mail=MAIL, database_url=url, server={"threads": 32})
    offline(product)
    found = people(Scene(product, tmp_path))
    found.offer()
    found.rule("1 of local:leads")
    yield found
    with product.app.app_context():
        db.session.remove()
        db.engine.dispose()
    postgres.drop_database("hardened")


@contextmanager
def statements(scene: Scene) -> Iterator[list[str]]:
    """What the database is asked meanwhile."""
    said: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        said.append(statement)

    with scene.open():
        engine = db.engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield said
    finally:
        event.remove(engine, "before_cursor_execute", note)


def outcome(scene: Scene, work: Callable[[], object]) -> str:
    """``done``, or the kind of problem; anything else, a deadlock say, fails the test."""
    with scene.open():
        try:
            work()
        except Problem as problem:
            return type(problem).__name__
        finally:
            db.session.remove()
    return "done"


def reconcile(scene: Scene) -> None:
    found = scene.product.services.reconciler.run(WORKER, scene.cluster)
    assert found is None or not found.error


def somebody_waits(scene: Scene) -> bool:
    """Whether a transaction waits for another one's lock."""
    with scene.open(), db.engine.connect() as own:
        return bool(own.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")))


def meet(scene: Scene, first: Callable[[], object], second: Callable[[], object], where: object, name: str) -> list[str]:
    """The first one stops in its transaction before it calls ``name``, until the second one waits for its locks or is done."""
    begun, others, real = threading.Event(), list[Future[str]](), getattr(where, name)

    def paused(*words: Any, **more: Any) -> Any:
        if not begun.is_set():
            begun.set()
            while not (others and (others[0].done() or somebody_waits(scene))):
                pass
        return real(*words, **more)

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(2) as pool:
        patch.setattr(where, name, paused)
        one = pool.submit(outcome, scene, first)
        while not (begun.is_set() or one.done()):
            pass
        assert begun.is_set(), one.result()
        others.append(pool.submit(outcome, scene, second))
        return [one.result(), others[0].result()]


def at_once(scene: Scene, acts: Sequence[Callable[[], object]]) -> list[str]:
    barrier = threading.Barrier(len(acts))

    def run(act: Callable[[], object]) -> str:
        barrier.wait()
        return outcome(scene, act)

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(run, acts))


class TestMeeting:
    @pytest.fixture
    def revoke(self, scene: Scene) -> Callable[[str], Callable[[], object]]:
        ada, services = scene.actor("ada"), scene.product.services
        return lambda request_id: lambda: services.grants.revoke(ada, scene.granted(request_id).id, "A stolen laptop.")

    @pytest.fixture
    def due(self, scene: Scene) -> str:
        """A scheduled grant whose start has come."""
        asked = scene.ask("erin", "shop", starts_at=scene.product.clock() + timedelta(hours=1))
        scene.yes("lee", asked)
        scene.product.clock.forward(hours=2)
        return asked

    def test_a_revocation_during_the_start_is_not_lost(self, scene: Scene, due: str, revoke: Any) -> None:
        start = scene.product.services.clockwork.start
        assert meet(scene, start, revoke(due), grants, "want_cluster") == ["done", "done"]
        found = scene.granted(due)
        assert (found.state, found.end_reason, found.gone_at) == ("ended", "revoked", None)  # it may be on the cluster already
        assert scene.said(found.id) == ["grant.started", "grant.ended"]
        scene.round()
        assert scene.bound() == {}

    def test_a_start_during_the_revocation_does_not_begin(self, scene: Scene, due: str, revoke: Any) -> None:
        start = scene.product.services.clockwork.start
        assert meet(scene, revoke(due), start, Notices, "about_grant") == ["done", "done"]
        assert (scene.granted(due).state, scene.granted(due).activated_at) == ("ended", None)
        assert scene.said(scene.granted(due).id) == ["grant.ended"]
        scene.round()
        assert scene.bound() == {}

    @pytest.mark.parametrize("is_revoked_first", [True, False])
    def test_a_reconcile_and_a_revocation_do_not_wait_for_each_other(self, scene: Scene, revoke: Any, is_revoked_first: bool) -> None:
        asked = scene.ask("erin", "shop")
        scene.yes("lee", asked)
        revoked, reconciled = revoke(asked), lambda: reconcile(scene)
        first, second, where, name = (
            (revoked, reconciled, grants, "want_cluster") if is_revoked_first else (reconciled, revoked, Notices, "about_grant")
        )
        assert meet(scene, first, second, where, name) == ["done", "done"]
        with scene.open() as product:
            assert product.services.reconciler.due() == ["prod"]
        scene.reconcile()
        assert scene.bound() == {}
        assert scene.granted(asked).gone_at

    def test_nor_do_many_of_all_kinds(self, scene: Scene, revoke: Any) -> None:
        asked = [scene.ask("erin", f"shop-{number}", seconds=600 if number % 2 else 3600) for number in range(16)]
        for one in asked:
            scene.yes("lee", one)
        scene.reconcile()
        scene.product.clock.forward(minutes=30)
        services = scene.product.services
        acts: list[Callable[[], object]] = [revoke(one) for one in asked]
        acts += [lambda: reconcile(scene), services.clockwork.end, lambda: services.grants.expire(WORKER, "")] * 2
        assert set(at_once(scene, acts)) <= {"done", "Conflict"}
        assert {scene.granted(one).state for one in asked} == {"ended"}
        scene.reconcile()
        assert scene.bound() == {}

    def test_openings_at_once_are_counted_too(self, scene: Scene) -> None:
        for one in ("gil", "gus"):
            scene.account(one, "security")
        scene.door()
        gil, emergencies = scene.actor("gil"), scene.product.services.emergencies
        said = at_once(scene, [lambda: emergencies.open(gil, Opening("fire", "prod", 600, "It burns.", PASSWORD))] * 8)
        assert sorted(said) == ["Conflict"] * 3 + ["done"] * MOST_UNREVIEWED

    def test_the_database_refuses_a_review_of_ones_own(self, scene: Scene) -> None:
        asked = scene.ask("erin", "shop")
        with scene.open(), pytest.raises(IntegrityError, match="reviewed_by_another"):
            db.session.execute(db.update(AccessRequest).where(AccessRequest.id == asked).values(reviewer_id=AccessRequest.person_id))


def copies(row: Any, several: Sequence[dict[str, Any]]) -> None:
    """The same row once more for each of these, with other values."""
    columns = {column.name: getattr(row, column.name) for column in row.__table__.columns}
    with_values = [{**columns, **values} for values in several]
    db.session.execute(db.insert(type(row)), with_values)


class TestMany:
    def test_thousands_of_grants_are_seen_in_few_statements_and_hold_nobody_up(self, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        scene.yes("lee", scene.ask("erin", "shop"))
        now, ids = scene.product.clock(), [new_id() for _ in range(MANY)]
        ended = {"state": "ended", "applied_at": now, "ended_at": now, "end_reason": "returned"}
        with scene.open():
            (grant,), (request,) = stored(scene.product, Grant), stored(scene.product, AccessRequest)
            copies(request, [{"id": one} for one in ids])
            copies(grant, [{"id": new_id(), "request_id": one, "namespaces": [f"n-{at % 50}"]} for at, one in enumerate(ids[::2])])
            copies(grant, [{"id": new_id(), "request_id": one, **ended} for one in ids[1::2]])
            db.session.commit()
        wishes, real = [0], grants.Grants._note_seen

        def wish() -> None:
            with scene.open():
                state = db.session.scalars(db.select(ReconcileState).with_for_update(nowait=True)).one()
                want_cluster(state.cluster_id, scene.product.clock())
                db.session.commit()
                wishes[0] += 1
                db.session.remove()

        def noted(*words: Any) -> None:
            real(*words)
            with ThreadPoolExecutor(1) as pool:
                pool.submit(wish).result()

        monkeypatch.setattr(grants.Grants, "_note_seen", noted)
        with statements(scene) as said:
            scene.reconcile()
        assert len(said) < MANY / 20
        assert wishes[0] >= MANY / grants.AT_ONCE
        with scene.open() as product:
            assert product.services.reconciler.due() == ["prod"]  # no wish is lost
            seen = [db.session.scalar(db.select(db.func.count()).where(one.is_not(None))) for one in (Grant.applied_at, Grant.gone_at)]
        assert seen == [MANY + 1, MANY / 2]

    @pytest.mark.parametrize("look", ["openings", "to_review"])
    def test_openings_take_as_many_statements_whether_few_or_many(self, scene: Scene, look: str) -> None:
        for one in ("gil", "gus"):
            scene.account(one, "security")
        scene.door(is_sealed=True)
        opened = scene.break_glass("gil")
        scene.unseal("gus", opened)
        lee, emergencies = scene.actor("lee"), scene.product.services.emergencies

        def count() -> int:
            with statements(scene) as said, scene.open():
                assert getattr(emergencies, look)(lee)
            return len(said)

        before, ids = count(), [new_id() for _ in range(130)]
        reviewer = scene.actor("lou").person_id
        several = [scene.remember(f"sec{number}", "security") for number in range(20)]
        persons = [scene.actor(one).person_id for one in several]
        later = scene.product.clock() + timedelta(minutes=1)
        done = {"created_at": later, "reviewed_at": later, "reviewer_id": reviewer, "verdict": "justified"}
        with scene.open():
            (decision,), request = stored(scene.product, Decision), scene.request(opened)
            copies(request, [{"id": one, **(done if at >= 20 else {})} for at, one in enumerate(ids)])
            copies(decision, [
                {"id": new_id(), "request_id": ids[at], "approver_id": one, "approver_subject": f"s{at}", "approver_human": f"h{at}"}
                for at, one in enumerate(persons)
            ])
            db.session.commit()
        with scene.open():
            found = getattr(emergencies, look)(lee)
            assert {one.id for one in found[:21]} == {opened, *ids[:20]}
            assert len(found) == (100 if look == "openings" else 21)
        assert count() == before

    def test_a_wish_reads_the_rules_once_a_cluster_and_has_its_limit(self, scene: Scene) -> None:
        offline(scene.product, "spare")
        erin, places = scene.actor("erin"), [f"shop-{number}" for number in range(101)]
        counted = []
        for most in (2, 100):
            wish = Ask("edit", ("prod", "spare"), tuple(places[:most]), reason="The till is down.")
            with statements(scene) as said, scene.open() as product:
                assert [len(one.namespaces) for one in product.services.requests.preview(erin, wish)] == [most, most]
            assert len([one for one in said if "FROM approval_rules" in one]) == 2
            counted.append(len(said))
        assert counted[0] == counted[1]
        wish = Ask("edit", ("prod", "spare"), tuple(places), reason="The till is down.")
        for step in (scene.product.services.requests.preview, scene.product.services.requests.submit):
            with scene.open(), pytest.raises(Invalid, match="At most 200 namespaces") as refused:
                step(erin, wish)
            assert refused.value.field == "namespaces"
        assert stored(scene.product, AccessRequest) == []
