"""Asking: what is offered, what is refused before anybody is bothered, what others are asked, and what comes of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from fixtures.asking import Scene, scene
from fixtures.offline import give, offline, stored

from iam.errors import Conflict, Forbidden, Invalid, NotFound
from iam.models import AccessRequest
from iam.services.requests.asking import Ask

__all__ = ["scene"]
STRANGE = "\x1b[31mred\x1b[0m <script>alert(1)</script>\r\nsecond\u202e line\x00\x07"


@pytest.fixture
def led(scene: Scene) -> Scene:
    """With a rule that one lead meets."""
    scene.rule("1 of local:leads")
    return scene


class TestWords:
    def test_64_kib_of_justification_are_refused_and_nothing_is_kept(self, led: Scene) -> None:
        with pytest.raises(Invalid) as refused:
            led.ask("erin", "shop", reason="x" * 65536)
        assert refused.value.field == "reason"
        assert not stored(led.product, AccessRequest)

    @pytest.mark.parametrize("reason", ["", "   \n ", "\x1b[0m", "\u202e\x00"])
    def test_no_justification_is_refused(self, led: Scene, reason: str) -> None:
        with pytest.raises(Invalid) as refused:
            led.ask("erin", "shop", reason=reason)
        assert refused.value.field == "reason"

    def test_what_a_terminal_would_obey_is_taken_out_and_markup_stays_text(self, led: Scene) -> None:
        request = led.request(led.ask("erin", "shop", reason=STRANGE, ticket=STRANGE))
        assert request.reason == "red <script>alert(1)</script>\nsecond line"
        assert request.ticket == "red <script>alert(1)</script> second line"

    def test_a_rule_wants_a_ticket_or_words_of_a_form(self, scene: Scene) -> None:
        scene.rule("1 of local:leads", ticket_pattern=r"OPS-[0-9]+", reason_pattern=r".{20,}")
        for wrong in ({"ticket": "none"}, {"ticket": "OPS-1 and more", "reason": "y" * 20}, {"reason": "short", "ticket": "OPS-1"}):
            with pytest.raises(Invalid):
                scene.ask("erin", "shop", **wrong)
        assert scene.request(scene.ask("erin", "shop", ticket="OPS-1", reason="y" * 20)).state == "pending"


class TestTimes:
    @pytest.mark.parametrize("seconds", [0, -3600, 1, 8 * 86400, 10 * 365 * 86400, 2**63])
    def test_durations_that_make_no_sense_or_are_too_long(self, led: Scene, seconds: int) -> None:
        with pytest.raises(Invalid) as refused:
            led.ask("erin", "shop", seconds=seconds)
        assert refused.value.field == "seconds"

    def test_the_rule_may_allow_less_than_the_catalogue(self, scene: Scene) -> None:
        scene.rule("1 of local:leads", longest="2h")
        with pytest.raises(Invalid):
            scene.ask("erin", "shop", seconds=3 * 3600)
        assert scene.request(scene.ask("erin", "shop", seconds=2 * 3600)).seconds == 7200

    @pytest.mark.parametrize("start", [timedelta(minutes=-10), timedelta(days=-400), timedelta(days=91)])
    def test_a_start_in_the_past_or_far_ahead(self, led: Scene, start: timedelta) -> None:
        with pytest.raises(Invalid) as refused:
            led.ask("erin", "shop", starts_at=led.product.clock() + start)
        assert refused.value.field == "starts_at"


class TestOffered:
    def test_only_what_the_catalogue_offers_this_person_there(self, led: Scene) -> None:
        led.offer("few", "admin", groups=("local:security",), namespaces=("team-*",))
        wrong: list[tuple[str, tuple[str, ...], dict[str, Any], type[Exception]]] = [
            ("erin", ("team-a",), {"entry": "few"}, NotFound), ("erin", ("shop",), {"entry": "nothing"}, NotFound),
            ("sam", ("shop",), {"entry": "few"}, Invalid), ("sam", (), {"entry": "few"}, Invalid),
            ("sam", ("team-*",), {"entry": "few"}, Invalid), ("sam", ("(whole cluster)",), {"entry": "few"}, Invalid),
            ("erin", ("shop",), {"clusters": ("moon",)}, Invalid), ("erin", ("UPPER",), {}, Invalid), ("erin", ("a\x00b",), {}, Invalid),
        ]
        for who, namespaces, more, problem in wrong:
            with pytest.raises(problem):
                led.ask(who, *namespaces, **more)
        assert led.request(led.ask("sam", "team-a", entry="few")).namespaces == ["team-a"]

    def test_an_entry_that_is_closed_is_not_offered(self, led: Scene) -> None:
        led.offer(change=True, is_open=False)
        with pytest.raises(NotFound):
            led.ask("erin", "shop")

    def test_a_role_that_the_cluster_does_not_have(self, led: Scene) -> None:
        led.offer("gone", "not-there")
        with pytest.raises(Conflict):
            led.ask("erin", "shop", entry="gone")

    def test_an_operator_of_the_command_line_is_nobody_who_asks(self, led: Scene) -> None:
        with led.open() as product, pytest.raises(Forbidden):
            product.services.requests.submit(product.operator, Ask("edit", ("prod",), ("shop",), reason="why"))

    def test_without_a_rule_that_fits_nobody_can_ask(self, scene: Scene) -> None:
        scene.rule("1 of local:leads", namespaces=("shop",))
        with pytest.raises(Conflict):
            scene.ask("erin", "other")
        with pytest.raises(Conflict):
            scene.ask("erin")
        assert scene.ask("erin", "shop")

    def test_the_same_wish_twice_is_refused_while_the_first_is_open(self, led: Scene) -> None:
        first = led.ask("erin", "shop")
        with pytest.raises(Conflict):
            led.ask("erin", "shop")
        led.cancel("erin", first)
        assert led.ask("erin", "shop") != first

    def test_fifty_open_requests_are_enough(self, led: Scene) -> None:
        for number in range(50):
            led.ask("erin", f"shop-{number}")
        with pytest.raises(Conflict):
            led.ask("erin", "one-more")
        assert led.ask("emil", "shop")


class TestWhoIsAsked:
    def test_the_first_rule_that_fits_counts_and_a_wish_falls_apart_by_rule(self, scene: Scene) -> None:
        scene.rule("1 of local:leads", "most")
        scene.rule("1 of local:security", "till", namespaces=("till",), position=1)
        made = [scene.request(one) for one in scene.asks("erin", "shop", "till", "stock")]
        assert {(one.rule_name, tuple(one.namespaces)) for one in made} == {("most", ("shop", "stock")), ("till", ("till",))}
        assert len({one.batch for one in made}) == 1
        assert len(scene.inbox("lee")) == len(scene.inbox("sam")) == 1
        assert scene.inbox("erin") == scene.inbox("nico") == []

    def test_the_lead_is_whom_the_same_directory_names(self, scene: Scene) -> None:
        scene.remember("boss", entry="boss")
        scene.remember("boss", directory="partner", entry="boss", email="other@example.net")
        scene.remember("tom", manager="boss")
        scene.rule("lead")
        asked = scene.ask("tom", "shop")
        assert scene.inbox("boss") == [asked]
        assert scene.inbox("partner:boss") == []
        with pytest.raises(NotFound):
            scene.yes("partner:boss", asked)
        scene.yes("boss", asked)
        assert scene.request(asked).state == "approved"

    def test_without_a_lead_nobody_could_approve(self, scene: Scene) -> None:
        scene.rule("lead")
        scene.remember("own", manager="own", entry="own")
        scene.remember("lost", manager="nobody")
        for who in ("erin", "own", "lost"):
            with pytest.raises(Conflict):
                scene.ask(who, "shop")

    def test_owners_are_who_is_mapped_to_admin_in_exactly_that_namespace(self, scene: Scene) -> None:
        give(scene.product, "local:leads", "admin", "shop")
        give(scene.product, "local:security", "admin")
        give(scene.product, "local:engineers", "edit", "shop")
        scene.rule("1 of owners")
        asked = scene.ask("erin", "shop")
        assert scene.inbox("lee") == scene.inbox("lou") == [asked]
        assert scene.inbox("sam") == scene.inbox("emil") == []
        for namespaces in (("stock",), ()):
            with pytest.raises(Conflict):
                scene.ask("erin", *namespaces)

    def test_namespaces_of_different_owners_are_asked_for_apart(self, scene: Scene) -> None:
        give(scene.product, "local:leads", "admin", "shop", "till")
        give(scene.product, "local:security", "admin", "stock")
        scene.rule("1 of owners")
        made = {tuple(scene.request(one).namespaces) for one in scene.asks("erin", "shop", "stock", "till")}
        assert made == {("shop", "till"), ("stock",)}

    def test_nobody_is_asked_about_their_own(self, scene: Scene) -> None:
        scene.rule("1 of local:leads")
        asked = scene.ask("lee", "shop")
        assert scene.inbox("lee") == []
        assert scene.inbox("lou") == [asked]
        assert {one["requester"] for one in scene.told("request.waits", to="lou")} == {"lee"}
        assert not scene.told("request.waits", to="lee")

    def test_what_nobody_else_could_approve_is_refused(self, scene: Scene) -> None:
        scene.rule("2 of local:leads")
        assert scene.ask("erin", "shop")
        with pytest.raises(Conflict):
            scene.ask("lee", "shop")
        scene.shut_out("lou")
        with pytest.raises(Conflict):
            scene.ask("emil", "shop")


class TestOutcome:
    def test_the_harmless_is_granted_at_once_and_the_dangerous_is_not(self, scene: Scene) -> None:
        scene.rule("automatic")
        scene.offer("view", "view")
        asked = scene.ask("erin", "shop", entry="view")
        assert scene.request(asked).state == "approved"
        assert scene.granted(asked).state == "active"
        assert scene.said(asked) == ["request.submitted", "request.granted"]
        with pytest.raises(Conflict):
            scene.ask("erin", "shop")

    def test_who_wrote_an_automatic_rule_is_not_served_by_it(self, scene: Scene) -> None:
        scene.rule("automatic", by="ada")
        scene.offer("view", "view")
        scene.remember("ada", directory="partner", email="Ada+partner@EXAMPLE.org")
        for who in ("ada", "partner:ada"):
            with pytest.raises(Conflict):
                scene.ask(who, "shop", entry="view")
        scene.rule("automatic", by="alf", change=True)
        assert scene.request(scene.ask("ada", "shop", entry="view")).state == "approved"

    def test_an_unanswered_request_lapses_and_whoever_asked_is_told(self, scene: Scene) -> None:
        scene.rule("1 of local:leads", lapses="2h")
        asked = scene.ask("erin", "shop")
        scene.product.clock.forward(hours=1, minutes=59)
        scene.clockwork()
        assert scene.request(asked).state == "pending"
        scene.product.clock.forward(minutes=1)
        scene.clockwork()
        assert scene.request(asked).state == "lapsed"
        assert scene.told("request.lapsed", to="erin")
        assert not scene.asked()
        with pytest.raises(Conflict):
            scene.yes("lee", asked)

    def test_cancelling_is_for_whoever_asked_while_it_is_open(self, led: Scene) -> None:
        asked = led.ask("erin", "shop")
        with pytest.raises(NotFound):
            led.cancel("emil", asked)
        led.cancel("erin", asked)
        assert led.request(asked).state == "cancelled"
        assert {one["requester"] for one in led.told("request.cancelled", to="lee")} == {"erin"}
        with pytest.raises(Conflict):
            led.cancel("erin", asked)
        for say in (led.yes, led.no):
            with pytest.raises(Conflict):
                say("lee", asked)
        turned_away = ["access.denied"] * 2  # lee's answers, which came too late
        assert led.said(asked) == ["request.submitted", "request.cancelled", *turned_away]

    def test_requests_end_with_their_cluster_and_with_who_asked(self, led: Scene) -> None:
        offline(led.product, "spare")
        one, other = led.ask("erin", "shop", clusters=("spare",)), led.ask("emil", "shop")
        with led.open() as product:
            product.services.clusters.remove(product.operator, "spare")
        with pytest.raises(Conflict):
            led.yes("lee", one)
        led.shut_out("emil")
        led.clockwork()
        assert led.request(one).state == led.request(other).state == "closed"
        assert led.told("request.closed", to="erin")
