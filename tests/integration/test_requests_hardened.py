"""What a review found in asking, deciding and the clock's work: each of it stays mended."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from fixtures.asking import Scene, scene
from fixtures.offline import offline, stored
from fixtures.real import RBAC, own_namespace

from iam.clusters import connection
from iam.clusters.client import ApiServer
from iam.clusters.throwaway import ControlPlane
from iam.errors import Conflict, Invalid, Problem, Unavailable
from iam.kube.bindings import RBAC_GROUP
from iam.models import AccessRequest, Cluster, Grant
from iam.services.requests import asking, grants

__all__ = ["scene"]
ADMISSION = "admissionregistration.k8s.io"
PODS, SECRETS = ([{"apiGroups": [""], "resources": [one], "verbs": ["get"]}] for one in ("pods", "secrets"))


@pytest.fixture
def led(scene: Scene) -> Scene:
    """With a rule that one lead meets."""
    scene.rule("1 of local:leads")
    return scene


class TestWhereRulesStand:
    """A Role that is harmless in one namespace and not in the other, and then the other way round."""

    @pytest.fixture
    def swap(self, led: Scene, control_plane: ControlPlane, api: ApiServer, place: str) -> Callable[[], None]:
        led.product.register(control_plane, "real")
        places, found = (place, own_namespace(api, f"{place}-too")), [PODS, SECRETS]
        for where, rules in zip(places, found, strict=True):
            api.post(f"{RBAC}/namespaces/{where}/roles", {"metadata": {"name": "till"}, "rules": rules})
        led.offer("till", "till", role_kind="Role", namespaces=("*",))
        led.entry, led.cluster = "till", "real"

        def swapped() -> None:
            found.reverse()
            for where, rules in zip(places, found, strict=True):
                api.put(f"{RBAC}/namespaces/{where}/roles/till", {"metadata": {"name": "till"}, "rules": rules})

        return swapped

    def test_swapped_after_a_look(self, led: Scene, place: str, swap: Callable[[], None]) -> None:
        asked = led.ask("erin", place, f"real-{place}-too")
        seen = led.seen(asked)
        swap()
        with pytest.raises(Conflict, match="role changed"):
            led.yes("lee", asked, seen)
        assert (led.request(asked).round, led.grant(asked), led.decisions(asked)) == (2, None, [])
        with pytest.raises(Conflict, match="not what you were shown"):
            led.yes("lee", asked, seen)
        led.yes("lee", asked)
        assert led.granted(asked).state == "active"

    @pytest.mark.parametrize("is_less", [False, True])
    def test_swapped_before_it_begins(self, led: Scene, place: str, swap: Callable[[], None], is_less: bool, api: ApiServer) -> None:
        asked = led.ask("erin", place, f"real-{place}-too", starts_at=led.product.clock() + timedelta(hours=1))
        led.yes("lee", asked, namespaces=(place,) if is_less else None)
        assert led.request(asked).risks == ([] if is_less else ["secrets"])
        swap()
        led.product.clock.forward(hours=2)
        led.clockwork()
        assert led.grant(asked) is None
        assert (led.request(asked).state, led.request(asked).risks) == ("pending", ["secrets"])
        assert led.inbox("lou") == [asked]
        led.yes("lou", asked)
        assert led.granted(asked).state == "active"
        for where in (place, f"real-{place}-too"):
            api.delete(f"{RBAC}/namespaces/{where}/roles/till")


class TestClusterThatIsAway:
    """It holds up nobody else's access."""

    @pytest.fixture
    def two(self, led: Scene) -> Scene:
        offline(led.product, "dead")
        return led

    def goes_away(self, scene: Scene, problem: Problem | None, *names: str) -> list[str]:
        """From now on these do not answer (without a problem: answer nonsense); returns who is asked."""
        world = scene.product.services.world
        real, asked = world.connect, list[str]()

        class Nonsense:
            def role(self, *_: object) -> dict[str, Any]:
                return {"kind": "ClusterRole"}  # what a live connection makes of the answer {}

        def connect(cluster: Cluster) -> Any:
            asked.append(cluster.name)
            if cluster.name in names and problem:
                raise problem
            return Nonsense() if cluster.name in names else real(cluster)

        object.__setattr__(world, "connect", connect)
        return asked

    def test_ends_ask_no_cluster(self, two: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(grants, "AT_ONCE", 2)
        wanted = [two.ask("erin", f"shop-{number}", clusters=(cluster,)) for number in range(3) for cluster in ("dead", "prod")]
        for one in wanted:
            two.yes("lee", one)
        two.reconcile()
        asked = self.goes_away(two, Unavailable("It does not answer."), "dead", "prod")
        two.product.clock.forward(hours=2)
        with two.open() as product:
            product.services.clockwork.end()
        assert {two.granted(one).state for one in wanted} == {"ended"}
        assert asked == []

    def test_ends_are_carried_out_elsewhere(self, two: Scene) -> None:
        wanted = {cluster: two.ask("erin", "shop", clusters=(cluster,)) for cluster in ("dead", "prod")}
        for one in wanted.values():
            two.yes("lee", one)
        two.product.work()
        self.goes_away(two, Unavailable("It does not answer."), "dead")
        two.product.clock.forward(hours=2)
        two.product.work()
        assert two.bound() == {}
        assert (two.granted(wanted["dead"]).state, two.granted(wanted["dead"]).gone_at) == ("ended", None)

    @pytest.mark.parametrize(
        "problem", [Unavailable("It does not answer."), Invalid("We run inside no cluster.", field="access"), None],
        ids=["away", "not to be reached from here", "answers nonsense"],
    )
    def test_starts_wait_for_it_alone(self, two: Scene, problem: Problem | None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(grants, "AT_ONCE", 2)
        soon = two.product.clock() + timedelta(hours=1)
        waiting = [two.ask("erin", f"shop-{number}", clusters=("dead",), starts_at=soon) for number in range(4)]
        behind = two.ask("erin", "shop", starts_at=soon + timedelta(minutes=1))
        for one in (*waiting, behind):
            two.yes("lee", one)
        real = two.product.services.world.connect
        asked = self.goes_away(two, problem, "dead")
        two.product.clock.forward(hours=2)
        with two.open() as product:
            product.services.clockwork.start()
        assert two.granted(behind).state == "active"
        assert {two.granted(one).state for one in waiting} == {"scheduled"}
        assert asked == ["dead", "prod"]
        object.__setattr__(two.product.services.world, "connect", real)
        with two.open() as product:
            product.services.clockwork.start()
        assert {two.granted(one).state for one in waiting} == {"active"}


LEADS_ON: dict[str, list[tuple[str, str, str]]] = {
    "secrets": [("", "secrets", "patch"), ("", "secrets", "get"), ("", "secrets", "deletecollection")],
    "pods": [("", "pods", "patch"), ("", "pods", "delete"), ("", "pods/exec", "get"), ("", "pods", "GET")],
    "proxies": [("", "pods/proxy", "get"), ("", "services/proxy", "create"), ("", "nodes/proxy", "get")],
    "nodes": [("", "nodes", "patch"), ("", "nodes", "update"), ("", "namespaces", "patch")],
    "bindings": [(RBAC_GROUP, "rolebindings", "create"), (RBAC_GROUP, "clusterroles", "update"), ("", "serviceaccounts/token", "create")],
    "wildcards": [("", "*", "get"), ("*", "pods", "list"), ("apps", "*/scale", "get"), ("", "pods", "*")],
    "webhooks": [(ADMISSION, f"{one}webhookconfigurations", verb) for one in ("validating", "mutating") for verb in ("create", "delete")],
    "policies": [(ADMISSION, "validatingadmissionpolicybindings", "delete"), ("apiregistration.k8s.io", "apiservices", "create")],
    "definitions": [("apiextensions.k8s.io", "customresourcedefinitions", "update"), ("example.org", "things", "frobnicate")],
}


class TestAutomatic:
    """Only what looks, and at nothing that leads on."""

    @pytest.fixture
    def allow(self, scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
        """Ask for a role with these rules where an automatic rule stands before a lead's; returns what became of it."""
        scene.rule("automatic", "harmless")
        scene.rule("1 of local:leads", "others")
        scene.offer("special", "special")
        roles, changed, number = json.loads(connection._USER_FACING_ROLES.read_text("utf-8")), tmp_path / "roles.json", count()
        monkeypatch.setattr(connection, "_USER_FACING_ROLES", changed)

        def become(*rules: dict[str, object]) -> str:
            changed.write_text(json.dumps([*roles, {"kind": "ClusterRole", "metadata": {"name": "special"}, "rules": rules}]), "utf-8")
            asked = scene.ask("erin", f"shop-{next(number)}", entry="special")
            assert (scene.grant(asked) is None) == (scene.request(asked).state == "pending")
            return scene.request(asked).state

        return become

    @pytest.mark.parametrize("kind", LEADS_ON)
    def test_what_changes_or_leads_on_waits_for_somebody(self, allow: Callable[..., str], kind: str) -> None:
        for group, resource, verb in LEADS_ON[kind]:
            dangerous = {"apiGroups": [group], "resources": [resource], "verbs": [verb]}
            assert allow({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}, dangerous) == "pending", dangerous

    def test_what_only_looks_is_granted(self, scene: Scene, allow: Callable[..., str]) -> None:
        looks = ["get", "list", "watch"]
        assert allow(
            {"apiGroups": [""], "resources": ["pods", "pods/log", "configmaps"], "verbs": looks},
            {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": looks, "resourceNames": ["till"]},
        ) == "approved"  # fmt: skip
        for path, becomes in (("/healthz", "approved"), ("*", "pending")):
            assert allow({"nonResourceURLs": [path], "verbs": ["get"]}) == becomes
        scene.offer("view", "view")
        assert scene.request(scene.ask("erin", "till", entry="view")).state == "approved"


class TestFlood:
    def test_what_runs_counts_too(self, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(asking, "MAX_OPEN", 4)
        scene.rule("automatic")
        scene.offer("view", "view")
        later = scene.product.clock() + timedelta(hours=1)
        running = [scene.ask("erin", f"shop-{number}", entry="view") for number in range(2)]
        scene.ask("erin", "soon", entry="view", starts_at=later)
        scene.rule("1 of local:leads", change=True)
        scene.ask("erin", "till", entry="view")
        with pytest.raises(Conflict, match="running grants"):
            scene.ask("erin", "more", entry="view")
        assert scene.ask("emil", "more", entry="view")
        scene.give_back("erin", scene.granted(running[0]).id)
        with pytest.raises(Conflict):
            scene.asks("erin", "more", entry="view", clusters=("prod", "prod"), extends="x")
        assert scene.ask("erin", "more", entry="view")
        assert len(stored(scene.product, AccessRequest)) == 6

    def test_what_is_held_is_extended_by_its_holder_and_not_given_twice(self, led: Scene) -> None:
        own, other = led.ask("erin", "shop", "till"), led.ask("emil", "shop")
        led.yes("lee", own)
        led.yes("lee", other)
        mine, theirs = led.granted(own).id, led.granted(other).id
        for namespaces in (("shop",), ("till",), ("shop", "till")):
            with pytest.raises(Conflict, match="Extend that one"):
                led.ask("erin", *namespaces)
        for extends in (theirs, "x", "0" * 24):
            with pytest.raises(Conflict, match="should extend"):
                led.ask("erin", "shop", extends=extends)
        assert led.request(led.ask("erin", "shop", "stock")).state == "pending"
        until = led.granted(own).ends_at
        with pytest.raises(Invalid, match="begins when what it extends ends"):
            led.ask("erin", "shop", extends=mine)
        longer = led.ask("erin", "shop", "till", extends=mine, starts_at=until)
        led.yes("lee", longer)
        assert led.granted(longer).state == "scheduled"
        led.give_back("erin", mine)
        with pytest.raises(Conflict, match="should extend"):
            led.ask("erin", "till", extends=mine, starts_at=until)
        assert len(stored(led.product, Grant)) == 3


class TestLead:
    def test_two_people_of_one_name_in_the_directory_are_nobodys_lead(self, scene: Scene) -> None:
        scene.rule("lead")
        scene.remember("boss", entry="cn=boss")
        scene.remember("tom", manager="cn=boss")
        before = scene.ask("tom", "shop")
        assert scene.inbox("boss") == [before]
        scene.remember("twin", entry="cn=boss")
        with pytest.raises(Conflict, match="Nobody could approve this"):
            scene.ask("tom", "till")
        for who in ("boss", "twin"):
            with pytest.raises(Problem):
                scene.yes(who, before)
        assert scene.inbox("twin") == []
        assert (scene.grant(before), scene.decisions(before)) == (None, [])
        scene.shut_out("twin")
        assert scene.inbox("boss") == [before]
        scene.yes("boss", before)
        assert scene.granted(before).state == "active"


class TestClearAnswers:
    def test_a_digest_of_what_was_there_before_somebody_agreed_to_less(self, scene: Scene) -> None:
        scene.rule("2 of local:leads")
        asked = scene.ask("erin", "shop", "till")
        before = scene.seen(asked)
        scene.yes("lee", asked, seconds=600)
        for say in (scene.yes, scene.no):
            with pytest.raises(Conflict, match="not what you were shown"):
                say("lou", asked, before)
        assert (scene.request(asked).state, scene.request(asked).round, len(scene.decisions(asked))) == ("pending", 1, 1)
        scene.yes("lou", asked)
        assert scene.granted(asked).seconds == 600

    def test_whoever_is_needed_later_leaves_this_to_somebody_else(self, scene: Scene) -> None:
        scene.remember("max", "leads", "platform")
        scene.rule("1 of local:leads\n1 of local:leads and 1 of local:platform")
        asked = scene.ask("erin", "shop")
        with pytest.raises(Conflict, match="Leave this to somebody else"):
            scene.yes("max", asked)
        assert scene.decisions(asked) == []
        scene.yes("lee", asked)
        scene.yes("max", asked)
        assert scene.inbox("lou") == [asked]
        scene.yes("lou", asked)
        assert scene.request(asked).state == "approved"
