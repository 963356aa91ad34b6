"""Grants: they begin, they end by themselves, and what has ended never comes back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from fixtures.asking import Scene, scene
from fixtures.offline import offline
from fixtures.real import RBAC

from iam.clusters.client import ApiServer
from iam.clusters.throwaway import ControlPlane
from iam.errors import Conflict, Forbidden, NotFound, Problem

__all__ = ["scene"]


@pytest.fixture
def led(scene: Scene) -> Scene:
    """With a rule that one lead meets."""
    scene.rule("1 of local:leads")
    return scene


def given(scene: Scene, username: str = "erin", *namespaces: str, later: timedelta | None = None, hours: int = 1, **more: Any) -> str:
    """A request that lee has approved."""
    start = scene.product.clock() + later if later else None
    asked = scene.ask(username, *(namespaces or ("shop",)), seconds=hours * 3600, starts_at=start, **more)
    scene.yes("lee", asked)
    return asked


def give_back(scene: Scene, username: str, grant_id: str) -> None:
    actor = scene.actor(username)
    with scene.open() as product:
        product.services.grants.give_back(actor, grant_id)


def revoke(scene: Scene, username: str, grant_id: str) -> None:
    actor = scene.actor(username)
    with scene.open() as product:
        product.services.grants.revoke(actor, grant_id, "No longer needed.")


class TestEnd:
    def test_from_yes_to_gone_each_step_is_seen_told_and_recorded(self, led: Scene) -> None:
        asked = given(led)
        led.product.work()
        assert led.bound() == {"shop/edit": ["erin"]}
        assert led.granted(asked).applied_at
        assert led.told("grant.applied", to="erin")
        led.product.clock.forward(minutes=46)
        led.product.work()
        assert [one["until"] for one in led.told("grant.ending", to="erin")]
        led.product.clock.forward(minutes=14)
        led.product.work()
        led.product.work()
        grant = led.granted(asked)
        assert (grant.state, grant.end_reason) == ("ended", "expired")
        assert grant.gone_at
        assert led.bound() == {}
        assert led.told("grant.gone", to="erin")
        assert led.said(grant.id) == ["grant.started", "grant.applied", "grant.ended", "grant.gone"]

    def test_after_days_of_downtime_the_reconcile_alone_takes_it_off(self, led: Scene) -> None:
        asked = given(led)
        led.reconcile()
        led.product.clock.forward(days=4)
        led.reconcile()
        assert led.bound() == {}
        led.clockwork()
        assert led.granted(asked).state == "ended"
        led.reconcile()
        assert led.granted(asked).gone_at

    def test_the_end_is_at_the_moment_and_not_a_second_later(self, led: Scene) -> None:
        given(led)
        led.product.clock.forward(seconds=3599)
        led.round()
        assert led.bound() == {"shop/edit": ["erin"]}
        led.product.clock.forward(seconds=1)
        led.reconcile()
        assert led.bound() == {}

    def test_what_ended_stays_ended_when_the_clock_goes_back(self, led: Scene) -> None:
        asked, other = given(led), given(led, "emil", later=timedelta(minutes=30))
        led.round()
        led.product.clock.forward(hours=1)
        led.round()
        assert led.bound() == {"shop/edit": ["emil"]}
        led.product.clock.forward(hours=-1)
        led.round()
        assert led.granted(asked).state == "ended"
        assert led.granted(other).state == "active"
        assert led.bound() == {"shop/edit": ["emil"]}
        led.product.clock.forward(hours=2)
        led.round()
        assert led.bound() == {}
        assert led.said(led.granted(asked).id, "grant.started", "grant.ended") == ["grant.started", "grant.ended"]

    def test_two_grants_of_the_same_thing_end_apart(self, led: Scene) -> None:
        first = led.granted(given(led))
        with pytest.raises(Conflict, match="Extend"):
            given(led, hours=3)
        assert first.ends_at
        given(led, later=first.ends_at - led.product.clock(), hours=2, extends=first.id)
        led.product.clock.forward(hours=1)
        led.round()
        assert led.bound() == {"shop/edit": ["erin"]}
        led.product.clock.forward(hours=2)
        led.round()
        assert led.bound() == {}


class TestBySomebody:
    def test_returned_by_the_holder_and_nobody_else(self, led: Scene) -> None:
        asked = given(led)
        led.round()
        grant = led.granted(asked)
        for who in ("emil", "lee", "ada"):
            with pytest.raises(NotFound):
                give_back(led, who, grant.id)
        give_back(led, "erin", grant.id)
        led.round()
        assert led.bound() == {}
        with pytest.raises(Conflict):
            give_back(led, "erin", grant.id)
        assert led.granted(asked).end_reason == "returned"

    @pytest.mark.parametrize("who", ["lee", "ada"])
    def test_revoked_by_who_approved_it_and_by_administrators(self, led: Scene, who: str) -> None:
        asked = given(led)
        led.round()
        grant = led.granted(asked)
        for other in ("emil", "lou", "aude"):
            with pytest.raises(Forbidden):
                revoke(led, other, grant.id)
        revoke(led, who, grant.id)
        led.round()
        assert led.bound() == {}
        assert led.granted(asked).end_reason == "revoked"
        assert [one["comment"] for one in led.told("grant.revoked", to="erin")] == ["No longer needed."]
        for again in (revoke, give_back):
            with pytest.raises(Problem):
                again(led, "ada", grant.id)
        assert led.said(grant.id, "grant.ended") == ["grant.ended"]

    def test_a_holder_who_is_shut_out_loses_it_with_the_next_reconcile(self, led: Scene) -> None:
        given(led)
        led.round()
        led.shut_out("erin")
        led.reconcile()
        assert led.bound() == {}


class TestStart:
    def test_it_begins_when_it_was_asked_for_and_runs_its_whole_time_from_then(self, led: Scene) -> None:
        asked = given(led, later=timedelta(hours=5))
        led.round()
        assert led.granted(asked).state == "scheduled"
        assert led.bound() == {}
        led.product.clock.forward(hours=7)
        led.round()
        grant = led.granted(asked)
        assert (grant.state, grant.activated_at) == ("active", led.product.clock())
        assert grant.ends_at == led.product.clock() + timedelta(hours=1)
        assert led.bound() == {"shop/edit": ["erin"]}

    def test_a_start_that_passed_while_nobody_answered_is_now(self, led: Scene) -> None:
        asked = led.ask("erin", "shop", starts_at=led.product.clock() + timedelta(hours=1))
        led.product.clock.forward(hours=3)
        led.yes("lee", asked)
        assert led.granted(asked).activated_at == led.product.clock()

    @pytest.mark.parametrize("how", ["returned", "revoked"])
    def test_what_ended_before_it_began_never_begins(self, led: Scene, how: str) -> None:
        asked = given(led, later=timedelta(hours=1))
        grant = led.granted(asked)
        if how == "returned":
            give_back(led, "erin", grant.id)
        else:
            revoke(led, "ada", grant.id)
        led.product.clock.forward(hours=2)
        led.round()
        assert led.granted(asked).state == "ended"
        assert led.bound() == {}

    def test_not_for_somebody_who_is_shut_out(self, led: Scene) -> None:
        asked = given(led, later=timedelta(hours=1))
        led.shut_out("erin")
        led.product.clock.forward(hours=1)
        led.round()
        led.let_in("erin")
        led.round()
        assert led.granted(asked).state == "ended"
        assert led.bound() == {}

    def test_a_cluster_that_is_gone_before_it_begins(self, led: Scene) -> None:
        offline(led.product, "spare")
        asked = led.ask("erin", "shop", clusters=("spare",), starts_at=led.product.clock() + timedelta(hours=1))
        led.yes("lee", asked)
        with led.open() as product:
            product.services.clusters.remove(product.operator, "spare")
        led.product.clock.forward(hours=2)
        led.clockwork()
        assert (led.granted(asked).state, led.granted(asked).end_reason) == ("ended", "gone")
        assert led.told("grant.gone", to="erin")

    @pytest.mark.parametrize("change", ["more", "gone"])
    def test_a_role_that_changed_before_it_begins_is_asked_about_again(
        self, led: Scene, control_plane: ControlPlane, api: ApiServer, place: str, change: str
    ) -> None:
        led.product.register(control_plane, "real")
        name, path = f"till-{change}", f"{RBAC}/namespaces/{place}/roles"
        role = {"metadata": {"name": name}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}
        api.post(path, role)
        led.offer("till", name, role_kind="Role", namespaces=("*",))
        start = led.product.clock() + timedelta(hours=1)
        asked = led.ask("erin", place, entry="till", clusters=("real",), starts_at=start)
        led.yes("lee", asked)
        if change == "more":
            api.put(f"{path}/{name}", role | {"rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]})
        else:
            api.delete(f"{path}/{name}")
        led.product.clock.forward(hours=2)
        led.clockwork()
        assert led.grant(asked) is None
        if change == "gone":
            assert led.request(asked).state == "closed"
            return
        assert (led.request(asked).state, led.request(asked).risks) == ("pending", ["secrets"])
        assert led.inbox("lou") == [asked]
        led.yes("lee", asked)
        assert led.granted(asked).state == "active"
