"""Break-glass: in at once with a reason and a password, everybody knows, and somebody else looks at it afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fixtures.asking import DIRECTORIES, MAIL, Scene, from_elsewhere, people, scene
from fixtures.offline import events, offline, stored
from fixtures.product import ProductMaker

from iam.errors import Conflict, Forbidden, Invalid, NotFound, Problem, TooMany, Unauthenticated, Unavailable
from iam.models import AccessRequest
from iam.services.requests.emergency import Opening

__all__ = ["scene"]


@pytest.fixture
def house(scene: Scene) -> Scene:
    """Gil and Gus of security have passwords, and a door."""
    for one in ("gil", "gus"):
        scene.account(one, "security")
    scene.door(tell=("local:administrators",))
    return scene


class TestOpening:
    def test_it_is_open_at_once_and_those_who_should_know_do(self, house: Scene) -> None:
        opened = house.break_glass("gil")
        grant = house.granted(opened)
        assert (grant.state, grant.seconds) == ("active", 1800)
        house.reconcile()
        assert house.bound() == {"*/cluster-admin": ["gil"]}
        for who in ("gil", "gus", "sam", "lee", "ada"):
            assert [one["reason"] for one in house.told("emergency.opened", to=who)] == ["The till burns."], who
        assert house.told("emergency.opened", to="erin") == []
        assert house.told("review.due", to="lee")
        assert house.said(opened) == ["request.submitted", "emergency.opened"]
        house.product.clock.forward(minutes=30)
        house.reconcile()
        assert house.bound() == {}

    def test_a_wrong_password_is_refused_and_recorded(self, house: Scene) -> None:
        with pytest.raises(Unauthenticated):
            house.break_glass("gil", "not the password")
        assert stored(house.product, AccessRequest) == []
        (event,) = events(house.product, action="login", result="refused")
        assert event.actor_name == "gil"

    def test_guessing_is_slowed_down_and_the_right_password_with_it(self, house: Scene) -> None:
        house = from_elsewhere(house, "192.0.2.7")
        for _ in range(8):
            with pytest.raises(Unauthenticated):
                house.break_glass("gil", "not the password")
        for password in ("not the password", "correct horse battery"):
            with pytest.raises(TooMany):
                house.break_glass("gil", password)
        assert stored(house.product, AccessRequest) == []
        house.product.clock.forward(minutes=16)
        assert house.break_glass("gil")

    @pytest.mark.parametrize(
        ("wrong", "problem"),
        [
            ({"reason": "  "}, Invalid), ({"reason": "\x1b[0m"}, Invalid), ({"reason": "x" * 65536}, Invalid),
            ({"seconds": 3601}, Invalid), ({"seconds": 0}, Invalid), ({"seconds": 86400 * 3650}, Invalid),
            ({"cluster": "moon"}, Invalid), ({"door": "other"}, Forbidden),
        ],
    )  # fmt: skip
    def test_what_is_refused(self, house: Scene, wrong: dict[str, Any], problem: type[Problem]) -> None:
        with pytest.raises(problem):
            house.break_glass("gil", **wrong)
        assert stored(house.product, AccessRequest) == []

    def test_only_for_those_who_are_named_now(self, house: Scene) -> None:
        gil = house.actor("gil")
        with pytest.raises(Forbidden):
            house.break_glass("lee")
        house.shut_out("gil")
        with house.open() as product, pytest.raises(Forbidden):
            product.services.emergencies.open(gil, Opening("fire", "prod", 600, "Fire.", "correct horse battery"))
        assert len(events(house.product, action="access.denied")) == 2

    def test_it_works_while_the_ldap_server_is_down(self, make_product: ProductMaker, tmp_path: Path) -> None:
        ldap = {
            "kind": "ldap", "name": "ldap", "username_prefix": "ldap:", "servers": ["ldap://127.0.0.1:9"], "insecure_plain": True,
            "start_tls": False, "user_base": "ou=people,dc=example,dc=org", "group_base": "ou=groups,dc=example,dc=org",
        }
        product = make_product(directories=[*DIRECTORIES, ldap], mail=MAIL)
        offline(product)
        found = people(Scene(product, tmp_path))
        found.account("gil", "security")
        found.account("gus", "security")
        found.door()
        opened = found.break_glass("gil")
        found.product.work()
        found.product.work()
        assert found.granted(opened).applied_at
        assert found.bound() == {"*/cluster-admin": ["gil"]}

    def test_it_is_granted_while_the_cluster_does_not_answer(self, house: Scene) -> None:
        def away(cluster: object) -> Any:
            raise Unavailable("The cluster does not answer.")

        object.__setattr__(house.product.services.world, "connect", away)
        opened = house.break_glass("gil")
        house.product.work()
        assert house.granted(opened).state == "active"
        assert house.granted(opened).applied_at is None

    def test_a_door_that_nobody_could_open_or_review_is_refused(self, scene: Scene) -> None:
        for wrong in (
            {"groups": ("local:nobody",)}, {"reviewers": ()}, {"reviewers": ("local:nobody",)}, {"groups": ()},
            {"groups": ("moon:security",)}, {"clusters": ()}, {"clusters": ("*",)}, {"role_name": "system:masters"}, {"longest": "2d"},
            {"groups": ("local:leads",), "is_sealed": True},
        ):
            with pytest.raises((Invalid, NotFound)):
                scene.door(**wrong)
        scene.remember("solo", "alone")
        with pytest.raises(Invalid):
            scene.door(groups=("local:alone",), reviewers=("local:alone",))


class TestSealed:
    @pytest.fixture
    def sealed(self, house: Scene) -> Scene:
        house.door(change=True, is_sealed=True)
        return house

    def test_it_takes_a_second_person_of_those_named(self, sealed: Scene) -> None:
        sealed.account("guy", "engineers")
        opened = sealed.break_glass("gil")
        assert sealed.request(opened).state == "pending"
        assert sealed.grant(opened) is None
        assert sealed.told("emergency.waits", to="gus")
        for who, problem in (("gil", Forbidden), ("guy", NotFound), ("lee", Forbidden)):
            with pytest.raises(problem):
                sealed.unseal(who, opened)
        with pytest.raises(Unauthenticated):
            sealed.unseal("gus", opened, "not the password")
        assert sealed.grant(opened) is None
        sealed.unseal("gus", opened)
        assert sealed.granted(opened).state == "active"
        assert not sealed.asked()
        with pytest.raises(Conflict):
            sealed.unseal("gus", opened)

    def test_ones_other_account_is_no_second_person(self, sealed: Scene) -> None:
        with sealed.open() as product:
            product.services.accounts.create(
                product.operator, username="gil2", password="correct horse battery", email="GIL+two@example.org",
                groups=frozenset({"security"}),
            )
        sealed.product.logged_in("gil2")
        opened = sealed.break_glass("gil")
        with pytest.raises(Forbidden):
            sealed.unseal("gil2", opened)
        assert sealed.request(opened).state == "pending"

    def test_it_waits_for_half_an_hour(self, sealed: Scene) -> None:
        opened = sealed.break_glass("gil")
        sealed.product.clock.forward(minutes=30)
        sealed.clockwork()
        assert sealed.request(opened).state == "lapsed"
        with pytest.raises(Conflict):
            sealed.unseal("gus", opened)

    def test_who_unsealed_it_does_not_review_it(self, sealed: Scene) -> None:
        sealed.door(change=True, is_sealed=True, reviewers=("local:security",))
        opened = sealed.break_glass("gil")
        sealed.unseal("gus", opened)
        for who in ("gil", "gus"):
            with pytest.raises(Forbidden):
                sealed.review(who, opened)
        sealed.review("sam", opened)
        assert sealed.request(opened).verdict == "justified"


class TestReview:
    def test_by_somebody_who_had_no_part_in_it_and_once(self, house: Scene) -> None:
        opened = house.break_glass("gil")
        for who in ("gil", "sam", "ada"):
            with pytest.raises(Forbidden):
                house.review(who, opened)
        with pytest.raises(NotFound):
            house.review("erin", opened)
        for wrong in ({"verdict": "fine"}, {"words": " "}):
            with pytest.raises(Invalid):
                house.review("lee", opened, **wrong)
        house.review("lee", opened)
        with pytest.raises(Conflict):
            house.review("lou", opened)
        assert house.said(opened, "emergency.reviewed") == ["emergency.reviewed"]
        assert house.granted(opened).state == "active"
        assert [one["comment"] for one in house.told("review.done", to="gil")] == ["It did burn."]

    def test_a_doubt_ends_what_still_runs(self, house: Scene) -> None:
        opened = house.break_glass("gil")
        house.reconcile()
        house.review("lee", opened, "questioned", "Nothing burned.")
        assert (house.granted(opened).state, house.granted(opened).end_reason) == ("ended", "revoked")
        house.reconcile()
        assert house.bound() == {}

    def test_an_overdue_review_is_asked_for_again_and_again(self, house: Scene) -> None:
        opened = house.break_glass("gil")
        counted = []
        for minutes in (24 * 60 - 1, 1, 59, 1, 60, 60):
            house.product.clock.forward(minutes=minutes)
            house.clockwork()
            house.clockwork()
            counted.append(len(house.told("review.overdue", to="lee")))
        assert counted == [0, 1, 1, 2, 3, 4]
        assert house.said(opened, "review.overdue") == ["review.overdue"]
        assert house.told("review.overdue", to="gil") == []
        house.review("lou", opened)
        house.product.clock.forward(days=1)
        house.clockwork()
        assert len(house.told("review.overdue", to="lee")) == 4

    def test_nobody_turns_break_glass_off_for_themselves(self, house: Scene) -> None:
        lee = house.actor("lee")
        for event in ("review.due", "review.overdue", "emergency.opened", "emergency.waits"):
            with house.open() as product, pytest.raises(Invalid):
                product.services.notices.mute(lee, [event])
