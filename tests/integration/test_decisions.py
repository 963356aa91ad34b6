"""Deciding: by whom, on what exactly, how many it takes, and never on one's own."""

from __future__ import annotations

from typing import Any

import pytest
from fixtures.asking import Scene, scene
from fixtures.offline import events, give

from iam.clusters.client import ApiServer
from iam.clusters.throwaway import ControlPlane
from iam.errors import Conflict, Forbidden, Invalid, NotFound
from iam.models import AccessRequest, db
from iam.services.requests.deciding import Verdict

__all__ = ["scene"]


@pytest.fixture
def led(scene: Scene) -> Scene:
    """With a rule that one lead meets."""
    scene.rule("1 of local:leads")
    return scene


class TestQuorum:
    def test_stages_in_order_and_needs_together(self, scene: Scene) -> None:
        scene.rule("1 of local:leads and 1 of local:security\n1 of local:administrators")
        asked = scene.ask("erin", "shop")
        assert asked not in scene.inbox("ada")
        with pytest.raises(Forbidden):
            scene.yes("ada", asked)
        scene.yes("lee", asked)
        with pytest.raises(Forbidden):
            scene.yes("lou", asked)
        assert scene.inbox("lou") == []
        scene.yes("sam", asked)
        assert scene.grant(asked) is None
        scene.yes("ada", asked)
        assert scene.request(asked).state == "approved"
        assert scene.granted(asked).state == "active"
        assert scene.said(asked, "request.approved", "request.granted") == [*["request.approved"] * 3, "request.granted"]

    def test_one_person_counts_once(self, scene: Scene) -> None:
        scene.rule("2 of local:leads")
        asked = scene.ask("erin", "shop")
        scene.yes("lee", asked)
        for _ in range(2):
            with pytest.raises(Conflict):
                scene.yes("lee", asked)
        assert scene.grant(asked) is None
        assert len(scene.decisions(asked)) == 1
        assert scene.inbox("lee") == []

    def test_two_accounts_of_one_person_count_once(self, scene: Scene) -> None:
        scene.rule("2 of local:leads")
        scene.remember("lee2", "leads", email="lee+two@example.org")
        asked = scene.ask("erin", "shop")
        scene.yes("lee", asked)
        with pytest.raises(Conflict):
            scene.yes("lee2", asked)
        scene.yes("lou", asked)
        assert scene.request(asked).state == "approved"

    def test_one_no_is_enough_and_says_why(self, scene: Scene) -> None:
        scene.rule("2 of local:leads")
        asked = scene.ask("erin", "shop")
        scene.yes("lee", asked)
        with pytest.raises(Invalid):
            scene.no("lou", asked, comment="  ")
        scene.no("lou", asked, comment="Not on a Friday.")
        assert scene.request(asked).state == "denied"
        assert scene.grant(asked) is None
        assert [one["comment"] for one in scene.told("request.denied", to="erin")] == ["Not on a Friday."]
        with pytest.raises(Conflict):
            scene.yes("lee", asked)

    def test_an_approver_who_is_shut_out_meanwhile_counts_no_more(self, scene: Scene) -> None:
        scene.rule("1 of local:leads\n1 of local:security")
        asked = scene.ask("erin", "shop")
        scene.yes("lee", asked)
        scene.shut_out("lee")
        scene.yes("sam", asked)
        assert scene.request(asked).state == "pending"
        assert asked in scene.inbox("lou")
        scene.yes("lou", asked)
        assert scene.request(asked).state == "approved"

    def test_an_approver_who_is_shut_out_or_has_left_the_group_decides_nothing(self, led: Scene) -> None:
        asked, lee = led.ask("erin", "shop"), led.actor("lee")
        verdict = Verdict("approve", led.seen(asked))
        led.shut_out("lee")
        led.remember("lou")
        with led.open() as product, pytest.raises((Forbidden, NotFound)):
            product.services.decisions.decide(lee, asked, verdict)
        with pytest.raises((Forbidden, NotFound)):
            led.yes("lou", asked)
        assert led.request(asked).state == "pending"


class TestOneself:
    @pytest.mark.parametrize("mail", ["lee@example.org", "LEE@Example.ORG", "lee+other@example.org", " lee+a+b@example.org "])
    def test_not_through_another_account_with_the_same_address(self, led: Scene, mail: str) -> None:
        led.remember("lee", "leads", directory="partner", email=mail)
        led.remember("twin", "leads", email=mail)
        asked = led.ask("partner:lee", "shop")
        for who in ("partner:lee", "lee", "twin"):
            assert asked not in led.inbox(who)
            with pytest.raises(Forbidden):
                led.yes(who, asked)
            with pytest.raises(Forbidden):
                led.no(who, asked)
        refused = [one for one in events(led.product, action="access.denied") if one.target_name == asked]
        assert len(refused) == 6
        led.yes("lou", asked)
        assert led.request(asked).state == "approved"

    def test_not_after_making_oneself_an_approver(self, led: Scene) -> None:
        asked = led.ask("erin", "shop")
        led.remember("erin", "engineers", "leads", "administrators")
        with pytest.raises(Forbidden):
            led.yes("erin", asked)
        give(led.product, "local:leads", "admin", "shop")
        own = led.ask("ada", "shop")
        led.rule("1 of local:administrators", by="ada", change=True)
        with pytest.raises((Forbidden, Conflict)):
            led.yes("ada", own)
        with pytest.raises(Forbidden):
            led.yes("ada", own)
        assert led.grant(own) is None

    def test_two_people_without_an_address_are_two(self, led: Scene) -> None:
        led.remember("one", "leads", email="")
        led.remember("two", "leads", email="")
        asked = led.ask("one", "shop")
        led.yes("two", asked)
        assert led.request(asked).state == "approved"


class TestLess:
    def test_shorter_and_narrower_and_the_requester_is_told(self, led: Scene) -> None:
        asked = led.ask("erin", "shop", "stock", "till", seconds=7200)
        led.yes("lee", asked, seconds=1800, namespaces=("shop", "till"), comment="This will do.")
        request, grant = led.request(asked), led.granted(asked)
        assert (request.namespaces, request.seconds, request.asked_namespaces, request.asked_seconds) == (
            ["shop", "till"], 1800, ["shop", "stock", "till"], 7200,
        )
        assert grant.ends_at
        assert grant.activated_at
        assert (grant.namespaces, (grant.ends_at - grant.activated_at).total_seconds()) == (["shop", "till"], 1800)
        assert [(one["namespaces"], one["seconds"]) for one in led.told("request.approved", to="erin")] == [(["shop", "till"], 1800)]
        led.reconcile()
        assert led.bound() == {"shop/edit": ["erin"], "till/edit": ["erin"]}

    @pytest.mark.parametrize("more", [
        {"seconds": 7201}, {"seconds": 0}, {"seconds": -5}, {"namespaces": ("other",)}, {"namespaces": ("shop", "till", "other")},
        {"namespaces": ()},
    ])  # fmt: skip
    def test_more_or_nothing_is_refused(self, led: Scene, more: dict[str, Any]) -> None:
        asked = led.ask("erin", "shop", "till", seconds=7200)
        with pytest.raises(Invalid):
            led.yes("lee", asked, **more)
        assert led.request(asked).state == "pending"
        assert led.decisions(asked) == []

    def test_the_whole_cluster_is_not_made_into_namespaces(self, led: Scene) -> None:
        with pytest.raises(Invalid):
            led.yes("lee", led.ask("erin"), namespaces=("shop",))

    def test_the_next_approver_sees_what_is_left(self, scene: Scene) -> None:
        scene.rule("1 of local:leads\n1 of local:security")
        asked = scene.ask("erin", "shop", "till")
        before = scene.seen(asked)
        scene.yes("lee", asked, namespaces=("till",))
        with pytest.raises(Conflict):
            scene.yes("sam", asked, before)
        with pytest.raises(Invalid):
            scene.yes("sam", asked, namespaces=("shop", "till"))
        scene.yes("sam", asked)
        assert scene.granted(asked).namespaces == ["till"]


class TestExactlyWhatWasShown:
    @pytest.mark.parametrize("digest", ["x", "0" * 64, "\x00", "é"])
    def test_another_digest_is_refused(self, led: Scene, digest: str) -> None:
        asked = led.ask("erin", "shop")
        for say in (led.yes, led.no):
            with pytest.raises(Conflict):
                say("lee", asked, digest)
        assert led.decisions(asked) == []

    def test_a_rule_that_changed_asks_again(self, led: Scene) -> None:
        asked = led.ask("erin", "shop")
        led.rule("1 of local:security", change=True)
        with pytest.raises(Conflict):
            led.yes("lee", asked)
        assert led.inbox("lee") == []
        assert led.inbox("sam") == [asked]
        assert led.told("request.changed", to="erin")
        led.yes("sam", asked)
        assert led.said(asked, "request.restarted", "request.granted") == ["request.restarted", "request.granted"]

    def test_yeses_of_before_the_change_count_no_more(self, scene: Scene) -> None:
        scene.rule("2 of local:leads")
        asked = scene.ask("erin", "shop")
        scene.yes("lee", asked)
        scene.rule("1 of local:leads and 1 of local:security", change=True)
        with pytest.raises(Conflict):
            scene.yes("lou", asked)
        scene.yes("sam", asked)
        assert scene.request(asked).state == "pending"
        scene.yes("lee", asked)
        assert scene.request(asked).state == "approved"

    def test_a_rule_that_is_no_more_leaves_it_open(self, led: Scene) -> None:
        asked, ada = led.ask("erin", "shop"), led.actor("ada")
        with led.open() as product:
            product.services.rules.remove(ada, "rule")
        with pytest.raises(Conflict):
            led.yes("lee", asked)
        assert led.request(asked).state == "pending"

    def test_a_role_that_changed_on_the_cluster_asks_again(
        self, led: Scene, control_plane: ControlPlane, api: ApiServer, place: str
    ) -> None:
        led.product.register(control_plane, "real")
        path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{place}/roles"
        role = {"metadata": {"name": "till"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}
        api.post(path, role)
        led.offer("till", "till", role_kind="Role", namespaces=("*",))
        asked = led.ask("erin", place, entry="till", clusters=("real",))
        before = led.seen(asked)
        role["rules"] = [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]
        api.put(f"{path}/till", role)
        with pytest.raises(Conflict):
            led.yes("lee", asked, before)
        with pytest.raises(Conflict):
            led.yes("lee", asked, before)
        assert led.request(asked).risks == ["secrets"]
        assert led.request(asked).round == 2
        led.yes("lee", asked)
        assert led.granted(asked).state == "active"


class TestMany:
    def test_at_once_only_where_all_are_alike(self, led: Scene) -> None:
        lee = led.actor("lee")
        one, two, other = led.ask("erin", "shop"), led.ask("emil", "shop"), led.ask("erin", "till")
        with led.open() as product, pytest.raises(Invalid):
            product.services.decisions.decide_all(lee, [(name, Verdict("approve", led.seen(name))) for name in (one, two, other)])
        assert {led.request(name).state for name in (one, two, other)} == {"pending"}
        with led.open() as product:
            done = product.services.decisions.decide_all(lee, [(name, Verdict("approve", led.seen(name))) for name in (one, two)])
        assert done == [(one, None), (two, None)]
        assert led.granted(one).state == led.granted(two).state == "active"

    def test_each_stands_or_falls_by_itself(self, led: Scene) -> None:
        lee = led.actor("lee")
        one, two = led.ask("erin", "shop"), led.ask("lee", "shop")
        with led.open() as product:
            done = product.services.decisions.decide_all(lee, [(name, Verdict("approve", led.seen(name))) for name in (one, two)])
        assert [type(problem) for _name, problem in done] == [type(None), Forbidden]
        assert led.request(two).state == "pending"

    def test_a_word_reaches_the_others(self, led: Scene) -> None:
        asked = led.ask("erin", "shop")
        for who, words in (("lee", "Why edit?"), ("erin", "To restart it.")):
            actor = led.actor(who)
            with led.open() as product:
                product.services.decisions.comment(actor, asked, words)
        assert [one["comment"] for one in led.told("request.commented", to="erin")] == ["Why edit?"]
        assert [one["comment"] for one in led.told("request.commented", to="lee")] == ["To restart it."]
        nico = led.actor("nico")
        with led.open() as product, pytest.raises(NotFound):
            product.services.decisions.comment(nico, asked, "Me too.")


def test_urgent_ones_come_first_and_only_open_ones_are_listed(led: Scene) -> None:
    slow = led.ask("erin", "shop")
    led.rule("1 of local:leads", name="soon", lapses="1h", namespaces=("till",), position=1)
    urgent, done = led.ask("erin", "till"), led.ask("emil", "shop")
    led.yes("lou", done)
    assert led.inbox("lee") == [urgent, slow]
    with led.open():
        assert db.session.scalar(db.select(db.func.count()).select_from(AccessRequest)) == 3
