"""Nobody says yes to their own: not through a rule they wrote, a second account, a new address or a door of two keys."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from fixtures.asking import Scene, scene
from fixtures.offline import events

from iam.clusters import connection
from iam.errors import Conflict, Forbidden, Problem

__all__ = ["scene"]


@pytest.fixture
def sealed(scene: Scene) -> Scene:
    """Gil and Gus of security have passwords, and a door that takes both of them."""
    for one in ("gil", "gus"):
        scene.account(one, "security")
    scene.door(is_sealed=True)
    return scene


def role_changes(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ClusterRole of the offline cluster allows one thing more from now on, and nothing dangerous."""
    roles = json.loads(connection._USER_FACING_ROLES.read_text("utf-8"))
    for role in roles:
        if role["metadata"]["name"] == name:
            role["rules"].append({"apiGroups": ["example.org"], "resources": ["things"], "verbs": ["get"]})
    changed = folder / "roles.json"
    changed.write_text(json.dumps(roles), "utf-8")
    monkeypatch.setattr(connection, "_USER_FACING_ROLES", changed)


class TestAuthorOfARule:
    def test_making_it_automatic_does_not_grant_ones_own_open_request(self, scene: Scene) -> None:
        scene.rule("1 of local:leads")
        scene.offer("view", "view")
        asked = scene.ask("ada", "shop", entry="view")
        scene.rule("automatic", by="ada", change=True)
        with pytest.raises(Problem):
            scene.yes("ada", asked)
        scene.clockwork()
        assert scene.grant(asked) is None
        assert scene.request(asked).state == "pending"
        assert scene.request(scene.ask("erin", "shop", entry="view")).state == "approved"

    def test_nor_does_it_through_ones_other_account(self, scene: Scene) -> None:
        scene.rule("1 of local:leads")
        scene.offer("view", "view")
        scene.remember("ada", directory="partner", email="ADA+other@example.org")
        asked = scene.ask("partner:ada", "shop", entry="view")
        scene.rule("automatic", by="ada", change=True)
        scene.clockwork()
        assert scene.grant(asked) is None

    def test_nor_when_the_role_changes_before_it_begins(self, scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        scene.rule("1 of local:leads")
        scene.offer("view", "view")
        asked = scene.ask("ada", "shop", entry="view", starts_at=scene.product.clock() + timedelta(hours=2))
        scene.yes("lee", asked)
        dropped = scene.granted(asked).id
        scene.rule("automatic", by="ada", change=True)
        role_changes("view", tmp_path, monkeypatch)
        scene.product.clock.forward(hours=3)
        scene.round()
        assert scene.request(asked).state == "closed"
        assert scene.grant(asked) is None
        assert scene.bound() == {}
        assert scene.said(dropped) == ["grant.ended"]
        assert scene.said(asked, "request.restarted", "request.closed") == ["request.closed"]

    def test_a_rule_that_only_the_requester_could_meet_closes_the_request(self, scene: Scene) -> None:
        scene.rule("1 of local:leads")
        asked = scene.ask("sam", "shop")
        scene.shut_out("sue")
        scene.rule("1 of local:security", change=True)
        with pytest.raises(Conflict):
            scene.yes("lee", asked)
        request = scene.request(asked)
        assert (request.state, request.outcome, request.round) == ("closed", "nobody could approve it any more", 1)
        assert scene.grant(asked) is None
        assert not scene.asked()
        assert scene.inbox("sam") == scene.inbox("lee") == []
        assert scene.told("request.closed", to="sam")

    def test_the_worker_closes_it_also_when_nobody_tries(self, scene: Scene) -> None:
        scene.rule("1 of local:leads")
        asked = scene.ask("sam", "shop")
        scene.shut_out("sue")
        scene.rule("1 of local:security", change=True)
        scene.clockwork()
        assert scene.request(asked).state == "closed"
        assert scene.said(asked) == ["request.submitted", "request.closed"]


class TestAccounts:
    def test_an_account_with_a_new_address_still_counts_once(self, scene: Scene) -> None:
        scene.rule("2 of local:leads")
        asked = scene.ask("erin", "shop")
        scene.yes("lee", asked)
        scene.remember("lee", "leads", email="other@example.org")
        assert scene.inbox("lee") == []
        with pytest.raises(Conflict):
            scene.yes("lee", asked)
        assert scene.grant(asked) is None
        assert len(scene.decisions(asked)) == 1
        scene.yes("lou", asked)
        assert scene.request(asked).state == "approved"

    def test_a_requester_with_a_new_address_is_still_the_requester(self, scene: Scene) -> None:
        scene.rule("1 of local:leads")
        asked = scene.ask("lee", "shop")
        scene.remember("lee", "leads", email="other@example.org")
        scene.remember("lee2", "leads", email="lee@example.org")
        scene.remember("lee3", "leads", email="other+three@example.org")
        for who in ("lee", "lee2", "lee3"):
            with pytest.raises(Forbidden):
                scene.yes(who, asked)
        assert scene.request(asked).state == "pending"


class TestSealedDoor:
    def test_whoever_opens_it_does_not_unseal_it_and_the_attempt_is_recorded(self, sealed: Scene) -> None:
        opened = sealed.break_glass("gil")
        with pytest.raises(Forbidden):
            sealed.unseal("gil", opened)
        (refused,) = events(sealed.product, action="access.denied", result="refused")
        assert (refused.actor_name, refused.target_name) == ("gil", opened)
        assert sealed.grant(opened) is None

    def test_it_is_not_approved_like_a_request_and_stays_open_for_the_second_person(self, sealed: Scene) -> None:
        opened = sealed.break_glass("gil")
        for who in ("gus", "aude", "gil"):
            with pytest.raises(Problem):
                sealed.yes(who, opened)
            assert sealed.request(opened).state == "pending", who
        sealed.unseal("gus", opened)
        assert sealed.granted(opened).state == "active"
