"""What was asked is looked at again: the catalogue, the rules, the people, the time and the clock may have changed meanwhile."""

from __future__ import annotations

import pytest
from fixtures.asking import Scene, scene
from fixtures.product import remember

from iam.directory.base import Identity
from iam.errors import Conflict, Problem

__all__ = ["scene"]


@pytest.fixture
def led(scene: Scene) -> Scene:
    """With a rule that one lead meets."""
    scene.rule("1 of local:leads")
    return scene


class TestNoLongerOffered:
    def test_an_entry_that_is_removed_closes_what_waits_for_it(self, led: Scene) -> None:
        asked, ada = led.ask("erin", "shop"), led.actor("ada")
        with led.open() as product:
            product.services.catalogue.remove(ada, "edit")
        led.clockwork()
        assert (led.request(asked).state, led.request(asked).outcome) == ("closed", "the catalogue offers it no more")
        assert led.told("request.closed", to="erin")
        assert not led.asked()

    @pytest.mark.parametrize("change", [
        {"namespaces": ("other",)}, {"clusters": ("other-*",)}, {"groups": ("local:security",)}, {"is_open": False}, {"role": "view"},
    ])  # fmt: skip
    def test_an_entry_that_is_narrowed_is_not_approved_as_it_was(self, led: Scene, change: dict[str, object]) -> None:
        asked = led.ask("erin", "shop")
        led.offer(change=True, **change)  # type: ignore[arg-type]  # one of them is the role's name
        with pytest.raises(Conflict):
            led.yes("lee", asked)
        assert led.grant(asked) is None
        assert led.request(asked).state == "closed"

    def test_the_worker_closes_it_also_when_nobody_tries(self, led: Scene) -> None:
        asked, other = led.ask("erin", "shop"), led.ask("erin", "till")
        led.offer(change=True, namespaces=("till",))
        led.clockwork()
        assert led.request(asked).state == "closed"
        assert led.request(other).state == "pending"
        assert led.request(other).round == 1


    def test_somebody_who_is_shut_out_is_granted_nothing(self, led: Scene) -> None:
        asked = led.ask("erin", "shop")
        led.shut_out("erin")
        with pytest.raises(Conflict):
            led.yes("lee", asked)
        assert led.grant(asked) is None


class TestOtherRule:
    def test_one_that_decides_on_a_part_of_it_closes_it(self, led: Scene) -> None:
        asked = led.ask("erin", "shop", "till")
        led.rule("2 of local:security", "strict", namespaces=("till",), position=1)
        with pytest.raises(Conflict):
            led.yes("lee", asked)
        assert led.grant(asked) is None
        assert (led.request(asked).state, led.request(asked).outcome) == ("closed", "different people decide on its parts now")

    def test_one_that_allows_less_time_asks_again_for_less(self, led: Scene) -> None:
        asked = led.ask("erin", "shop", seconds=86400)
        before = led.seen(asked)
        led.rule("1 of local:leads", longest="1h", change=True)
        for _ in range(2):
            with pytest.raises(Conflict):
                led.yes("lee", asked, before)
        assert (led.request(asked).seconds, led.request(asked).asked_seconds, led.request(asked).round) == (3600, 86400, 2)
        led.yes("lee", asked)
        assert led.granted(asked).seconds == 3600

    def test_the_worker_asks_the_others_without_waiting_for_a_yes(self, led: Scene) -> None:
        asked = led.ask("erin", "shop")
        led.rule("1 of local:security", change=True)
        led.clockwork()
        assert led.inbox("lee") == []
        assert led.inbox("sam") == [asked]
        assert led.said(asked) == ["request.submitted", "request.restarted"]
        led.clockwork()
        assert led.request(asked).round == 2


class TestStages:
    def test_who_counts_for_two_needs_leaves_the_one_that_others_can_meet(self, scene: Scene) -> None:
        scene.remember("max", "leads", "platform")
        scene.remember("pat", "leads")
        for one in ("lee", "lou"):
            scene.shut_out(one)
        scene.rule("1 of local:leads and 1 of local:platform")
        asked = scene.ask("erin", "shop")
        scene.yes("max", asked)
        assert scene.inbox("pat") == [asked]
        scene.yes("pat", asked)
        assert scene.request(asked).state == "approved"

    def test_who_alone_can_meet_a_later_stage_leaves_this_one_to_others(self, scene: Scene) -> None:
        scene.remember("max", "leads", "platform")
        scene.rule("1 of local:leads\n1 of local:platform")
        asked = scene.ask("erin", "shop")
        with pytest.raises(Conflict):
            scene.yes("max", asked)
        assert scene.decisions(asked) == []
        scene.yes("lee", asked)
        scene.yes("max", asked)
        assert scene.request(asked).state == "approved"


    def test_an_approver_who_is_shut_out_leaves_their_need_to_others(self, scene: Scene) -> None:
        scene.rule("1 of local:leads and 1 of local:security")
        asked = scene.ask("erin", "shop")
        scene.yes("lee", asked)
        scene.shut_out("lee")
        scene.yes("sam", asked)
        assert scene.inbox("lou") == [asked]
        scene.yes("lou", asked)
        assert scene.request(asked).state == "approved"

    def test_an_approver_who_is_let_in_again_does_not_lock_the_others_out(self, scene: Scene) -> None:
        scene.rule("1 of local:leads\n1 of local:security")
        asked = scene.ask("erin", "shop")
        scene.yes("lee", asked)
        scene.shut_out("lee")
        scene.yes("sam", asked)
        scene.let_in("lee")
        scene.clockwork()
        for one in [who for who in ("lou", "sue") if asked in scene.inbox(who)]:
            scene.yes(one, asked)
        assert scene.request(asked).state == "approved"

    def test_nobody_is_taken_for_a_need_so_that_the_rest_cannot_be_met(self, scene: Scene) -> None:
        for one in ("lee", "lou", "sam", "sue"):
            scene.shut_out(one)
        for one, groups in {"max": ("leads", "platform"), "sid": ("security", "platform"), "pat": ("leads",)}.items():
            scene.remember(one, *groups)
        scene.rule("1 of local:leads and 1 of local:security\n1 of local:platform")
        asked = scene.ask("erin", "shop")
        with pytest.raises(Conflict):
            scene.yes("max", asked)
        for one in ("sid", "pat", "max"):
            scene.yes(one, asked)
        assert scene.request(asked).state == "approved"


class TestInTime:
    def test_a_yes_after_its_time_comes_too_late_also_before_the_worker_looked(self, scene: Scene) -> None:
        scene.rule("1 of local:leads", lapses="1h")
        asked = scene.ask("erin", "shop")
        scene.product.clock.forward(hours=2)
        for say in (scene.yes, scene.no):
            with pytest.raises(Conflict):
                say("lee", asked)
        assert scene.grant(asked) is None
        assert scene.decisions(asked) == []
        scene.clockwork()
        assert scene.request(asked).state == "lapsed"

    def test_so_does_the_second_key_of_a_sealed_door(self, scene: Scene) -> None:
        for one in ("gil", "gus"):
            scene.account(one, "security")
        scene.door(is_sealed=True)
        opened = scene.break_glass("gil")
        scene.product.clock.forward(hours=2)
        with pytest.raises(Conflict):
            scene.unseal("gus", opened)
        assert scene.grant(opened) is None

    def test_a_review_is_demanded_also_when_the_door_is_no_more(self, scene: Scene) -> None:
        scene.account("gil", "security")
        scene.door()
        opened, ada = scene.break_glass("gil"), scene.actor("ada")
        with scene.open() as product:
            product.services.doors.remove(ada, "fire")
        scene.product.clock.forward(days=2)
        scene.clockwork()
        assert scene.told("review.overdue", to="alf")
        assert scene.told("review.overdue", to="gil") == []
        scene.review("ada", opened)
        assert scene.request(opened).verdict == "justified"


class TestWokenClusters:
    """What changes for a holder is on the cluster with the worker's next round, without waiting for a full comparison."""

    @pytest.fixture
    def held(self, led: Scene) -> Scene:
        """Nico, who is in no group, holds a grant."""
        led.yes("lee", led.ask("nico", "shop"))
        led.product.work()
        assert led.bound() == {"shop/edit": ["nico"]}
        return led

    def test_a_holder_who_is_shut_out_and_let_in(self, held: Scene) -> None:
        held.shut_out("nico")
        held.product.work()
        assert held.bound() == {}
        held.let_in("nico")
        held.product.work()
        assert held.bound() == {"shop/edit": ["nico"]}

    def test_a_holder_with_a_new_name(self, held: Scene) -> None:
        remember(held.product, Identity("local", "id-nico", "nicole", "Nicole", "nico@example.org"))
        held.product.work()
        assert held.bound() == {"shop/edit": ["nicole"]}


class TestClockGoesBack:
    def test_what_a_reconcile_took_off_stays_off(self, led: Scene) -> None:
        asked = led.ask("erin", "shop")
        led.yes("lee", asked)
        led.reconcile()
        led.product.clock.forward(hours=1, minutes=1)
        led.reconcile()
        assert led.bound() == {}
        led.product.clock.forward(hours=-1)
        led.reconcile()
        assert led.bound() == {}
        assert led.granted(asked).state == "ended"
        assert led.said(led.granted(asked).id) == ["grant.started", "grant.applied", "grant.ended", "grant.gone"]

    def test_what_was_returned_is_still_seen_to_be_gone(self, led: Scene) -> None:
        asked = led.ask("erin", "shop")
        led.yes("lee", asked)
        led.reconcile()
        erin, grant = led.actor("erin"), led.granted(asked)
        with led.open() as product:
            product.services.grants.give_back(erin, grant.id)
        led.product.clock.forward(hours=-1)
        led.product.work()
        assert led.bound() == {}
        assert led.granted(asked).gone_at
        assert led.told("grant.gone", to="erin")


    def test_a_rule_that_is_changed_then_is_followed(self, led: Scene) -> None:
        led.rule("1 of local:administrators", "other", namespaces=("elsewhere",))
        asked = led.ask("erin", "shop")
        led.product.clock.forward(minutes=1)
        led.rule("1 of local:leads", "other", namespaces=("elsewhere",), change=True)
        led.clockwork()
        led.product.clock.forward(hours=-1)
        led.rule("1 of local:security", change=True)
        led.clockwork()
        assert led.inbox("sam") == [asked]


class TestStrangeTexts:
    @pytest.mark.parametrize("digest", ["\ud800", "é", "\x00", "x" * 100_000])
    def test_a_digest_that_is_none_is_refused(self, led: Scene, digest: str) -> None:
        asked = led.ask("erin", "shop")
        with pytest.raises(Problem):
            led.yes("lee", asked, digest)
        assert led.decisions(asked) == []

    def test_what_no_database_keeps_is_taken_out_of_what_people_write(self, led: Scene) -> None:
        asked = led.ask("erin", "shop", reason="x\ud800\x00y", ticket="\ud800z")
        assert (led.request(asked).reason, led.request(asked).ticket) == ("xy", "z")
        led.yes("lee", asked, comment="\ud800ok")
        assert [one.comment for one in led.decisions(asked)] == ["ok"]
        assert led.request(asked).state == "approved"
        assert led.granted(asked).state == "active"
