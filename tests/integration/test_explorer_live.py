"""The explorer's answers on a real control plane, with people of a local directory mapped through their groups."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from itertools import product as every
from typing import Any

import pytest
from fixtures.offline import events, person, stored
from fixtures.product import ProductMaker
from fixtures.stage import Scene, on_stage, rule, spec_of
from rigs.many_connections import ManyConnections
from rigs.processes import StartFailed, wait_until

from iam.clusters.client import ApiServer
from iam.clusters.throwaway import ControlPlane
from iam.errors import Invalid, NotFound, Unavailable
from iam.kube.kubeconfig import read
from iam.kube.requests import in_words, service_account_user
from iam.models import Group
from iam.services import explorer_rows as rows
from iam.services.access import NewMapping

GADGETS = "gadgets.shop.example"


@pytest.fixture
def scene(make_product: ProductMaker, control_plane: ControlPlane, api: ApiServer) -> Iterator[Scene]:
    with on_stage(control_plane, api) as stage:
        yield Scene(make_product(instance="explorer"), stage)


class TestWhoCan:
    def test_a_person_is_named_with_mapping_binding_and_role(self, scene: Scene) -> None:
        erin = scene.person("erin", "engineers")
        mapping = scene.map("engineers", "edit", scene.place)
        scene.product.work()
        found = [row for row in scene.who_can("create", "configmaps", "", scene.place) if row["name"] == erin]
        (binding,) = (one["metadata"]["name"] for one in scene.stage.api.list(scene.stage.path("rolebindings", scene.place)))
        given = {row.pop("rule") for row in found}
        assert found == [{
            "kind": "Person", "name": erin, "display_name": erin.title(), "namespace": scene.place, "role": "ClusterRole/edit",
            "binding": f"RoleBinding/{binding}", "subject": f"User/{erin}", "group": "local:engineers", "mapping": mapping,
        }]  # fmt: skip
        assert any("create" in one and "configmaps" in one for one in given)

    def test_each_way_and_each_mapping_has_a_line(self, scene: Scene) -> None:
        """Two groups lead into one binding, a third into another one."""
        erin = scene.person("erin", "engineers", "helpers", "watchers")
        for group, role, *namespaces in (("engineers", "view", scene.place), ("helpers", "view", scene.place), ("watchers", "edit")):
            scene.map(group, role, *namespaces)
        scene.map("strangers", "view", scene.place)
        scene.map("engineers", "view", "elsewhere")
        scene.product.work()
        found = [row for row in scene.who_can("list", "configmaps", "", scene.place) if row["name"] == erin]
        assert sorted((row["role"], row["namespace"], row["group"]) for row in found) == [
            ("ClusterRole/edit", "", "local:watchers"), ("ClusterRole/view", scene.place, "local:engineers"),
            ("ClusterRole/view", scene.place, "local:helpers"),
        ]  # fmt: skip

    def test_other_subjects_are_named_as_they_are(self, scene: Scene) -> None:
        """A service account, a group, and a user whom no directory of ours knows."""
        erin, stage = scene.person("erin"), scene.stage
        role, robot = scene.role("keeper", rule("list", "gadgets", "shop.example")), service_account_user(scene.place, "robot")
        group = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": f"ops-{scene.place}"}
        for user in (erin, stage.bob):
            stage.api.post(stage.path("rolebindings", scene.place), stage.binding(user, "ClusterRole", role))
        account = [{"kind": "ServiceAccount", "name": "robot"}, {"kind": "ServiceAccount", "name": "other", "namespace": "default"}, group]
        stage.api.post(stage.path("rolebindings", scene.place), stage.binding("all", "ClusterRole", role) | {"subjects": account})
        found = {(row["kind"], row["name"]): row for row in scene.who_can("list", GADGETS, "", scene.place) if row["role"].endswith(role)}
        assert list(found) == [
            ("Person", erin), ("Group", group["name"]), ("ServiceAccount", "default/other"), ("ServiceAccount", f"{scene.place}/robot"),
            ("User", stage.bob),
        ]  # fmt: skip
        assert {(row["group"], row["mapping"]) for row in found.values()} == {("", "")}, "none of these bindings is ours"
        assert scene.may(robot, "list", GADGETS, "", scene.place)["allowed"]
        assert scene.may(f"group:{group['name']}", "list", GADGETS, "", scene.place)["allowed"]

    def test_where_a_permission_lies_counts(self, scene: Scene) -> None:
        here, everywhere = scene.person("erin", "engineers"), scene.person("walt", "watchers")
        scene.map("engineers", "view", scene.place)
        scene.map("watchers", "view")
        scene.product.work()
        assert scene.names("list", "configmaps", "", scene.place) == {here, everywhere}
        assert scene.names("list", "configmaps", "", "default") == scene.names("list", "configmaps") == {everywhere}
        assert scene.names("list", "configmaps", anywhere=True) == {here, everywhere}

    def test_a_group_mapped_as_a_group_is_told_by_its_people(self, scene: Scene) -> None:
        """The cluster learns the group by itself; who is in it, the directory knows."""
        erin, gina = scene.person("erin", "engineers"), scene.person("gina", f"guests-{scene.place}")
        mapping = scene.map(f"guests-{scene.place}", "view", scene.place, subject_kind="Group")
        scene.product.work()
        assert scene.names("list", "configmaps", "", scene.place) == {gina}
        (row,) = (row for row in scene.who_can("list", "configmaps", "", scene.place) if row["name"] == gina)
        assert (row["subject"], row["mapping"]) == (f"Group/guests-{scene.place}", mapping)
        assert not scene.may(erin, "list", "configmaps", "", scene.place)["allowed"]

    def test_a_binding_of_somebody_else_is_not_ours(self, scene: Scene) -> None:
        """The same role, the same place, the same person: still it is not the mapping that gave this one."""
        erin, stage = scene.person("erin", "engineers"), scene.stage
        scene.map("engineers", "view", scene.place)
        theirs = stage.binding(erin, "ClusterRole", "view")
        stage.api.post(stage.path("rolebindings", scene.place), theirs)
        scene.product.work()
        found = [row for row in scene.who_can("list", "configmaps", "", scene.place) if row["name"] == erin]
        assert {row["binding"] == f"RoleBinding/{theirs['metadata']['name']}": row["group"] for row in found} == {
            True: "", False: "local:engineers",
        }  # fmt: skip

    def test_who_is_shut_out_is_a_person_no_more(self, scene: Scene) -> None:
        erin = scene.person("erin", "engineers")
        scene.map("engineers", "view", scene.place)
        scene.product.work()
        question = ("list", "configmaps", "", scene.place)
        with scene.product.app.app_context():
            scene.product.services.people.disable(scene.product.operator, person(scene.product, "erin-" + scene.place).id)
        left = [(row["kind"], row["display_name"], row["mapping"]) for row in scene.who_can(*question) if row["name"] == erin]
        assert left == [("User", "", "")], "the binding still stands until it is reconciled"
        assert erin not in {row["name"] for row in scene.who_can(*question, is_planned=True)}
        scene.product.work()
        assert erin not in {row["name"] for row in scene.who_can(*question)}


VERBS = ("get", "create", "deletecollection")
THINGS = (
    "pods", "pods/log", "secrets", "configmaps", "deployments.apps/scale", "serviceaccounts/token", "namespaces", "nodes",
    "rolebindings.rbac.authorization.k8s.io", GADGETS, "gadgets.other.example",
)  # fmt: skip
PATHS = ("/healthz", "/metrics", "/api/v1")


def test_every_answer_is_the_clusters_own(scene: Scene, control_plane: ControlPlane) -> None:
    guests = f"guests-{scene.place}"
    people = {scene.person(name, *groups): learned for name, groups, learned in (
        ("erin", ["engineers"], []), ("lee", ["leads", "engineers"], []), ("walt", ["watchers"], []), ("gina", [guests], [guests]),
        ("nico", [], []), ("nora", ["named"], []),
    )}  # fmt: skip
    paths = {"verbs": ["get"], "nonResourceURLs": ["/m*"]}
    role = scene.role("named", rule("get", "configmaps", "", "main"), rule("get create", "gadgets", "shop.example"), paths)
    own = scene.role("own", rule("get create", "pods secrets"))
    for group, mapped, *namespaces in (
        ("engineers", "edit", scene.place), ("leads", "admin", scene.place, "default"), ("watchers", "view"), ("named", role),
        ("nobody-is-here", "cluster-admin"),
    ):
        scene.map(group, mapped, *namespaces)
    scene.map(guests, "edit", "default", subject_kind="Group")
    scene.stage.account("robot")
    robot = service_account_user(scene.place, "robot")
    scene.stage.api.post(scene.stage.path("rolebindings", scene.place), scene.stage.binding(robot, "ClusterRole", own))
    scene.product.work()
    askers = {name: (name, groups) for name, groups in people.items()}
    askers[robot] = robot, ["system:serviceaccounts", f"system:serviceaccounts:{scene.place}"]
    askers[f"group:{guests}"] = "", [guests]
    wanted = [in_words(*words) for words in every(VERBS, THINGS, ("", "main"), ("", scene.place, "default"))]
    wanted += [in_words("get", path) for path in PATHS] + [in_words("*", "*"), in_words("*", "*", "", scene.place)]
    asked = [(asker, question) for asker in askers for question in wanted]
    ours = scene.ask(lambda explorer, view: [explorer.may(view, asker, question).decision.allowed for asker, question in asked])
    specs = [spec_of(question, *askers[asker]) for asker, question in asked]
    with ManyConnections(read(control_plane.kubeconfig())) as cluster:
        with suppress(StartFailed):  # its authorizer reads from caches
            wait_until(lambda: cluster.allowed(specs) == ours, seconds=20, what="the bindings")
        theirs = cluster.allowed(specs)
    assert [(asker, rows.permission(one)) for (asker, one), our, their in zip(asked, ours, theirs, strict=True) if our != their] == []
    assert 0.1 < sum(ours) / len(ours) < 0.6, "questions that are all refused would prove little"


class TestWhyNot:
    @pytest.fixture
    def erin(self, scene: Scene) -> str:
        """Somebody who holds a small role in this place."""
        erin = scene.person("erin", "engineers")
        role = scene.role("small", rule("get list", "gadgets", "shop.example"), rule("get", "settings", "shop.example", "main"))
        scene.map("engineers", role, scene.place)
        scene.product.work()
        return erin

    @pytest.mark.parametrize(("question", "is_here", "missing"), [
        (("get", GADGETS), False, ["namespace"]),
        (("delete", GADGETS), True, ["verb"]),
        (("delete", GADGETS), False, ["namespace", "verb"]),
        (("get", f"{GADGETS}/status"), True, ["subresource"]),
        (("get", "gadgets.other.example"), True, ["apiGroup"]),
        (("get", "settings.shop.example", "spare"), True, ["name"]),
    ])  # fmt: skip
    def test_the_nearest_rule_and_what_it_lacks(
        self, scene: Scene, erin: str, question: tuple[str, ...], is_here: bool, missing: list[str]
    ) -> None:
        verb, thing, name = (*question, "")[:3]
        answer = scene.may(erin, verb, thing, name, scene.place if is_here else "default")
        assert not answer["allowed"]
        (near,) = answer["nearest"]
        assert (near["missing"], near["role"], near["group"]) == (missing, f"ClusterRole/{scene.place}-small", "local:engineers")
        assert ("get,list gadgets.shop.example" in near["rule"]) is ("settings" not in thing)

    def test_what_is_about_something_else_is_not_near(self, scene: Scene, erin: str) -> None:
        answer = scene.may(erin, "drain", "boilers.shop.example", "", scene.place)
        assert (answer["allowed"], answer["through"], answer["nearest"]) == (False, [], [])

    def test_a_role_that_does_not_exist(self, scene: Scene, erin: str) -> None:
        scene.map("engineers", f"{scene.place}-absent", scene.place)
        scene.product.work()
        answer = scene.may(erin, "delete", GADGETS, "", scene.place)
        assert answer["roles_that_do_not_exist"] == [f"ClusterRole/{scene.place}-absent"]
        held = scene.ask(lambda explorer, view: {one.ground.way.binding.role[2]: one.role for one in explorer.what_can(view, erin)})
        assert held[f"{scene.place}-absent"] is None
        assert held[f"{scene.place}-small"]

    def test_roles_that_would_allow_it_and_do(self, scene: Scene, erin: str) -> None:
        """The narrowest first; whoever follows the advice may."""
        scene.role("wide", rule("*", "gadgets settings", "shop.example"))
        scene.role("narrow", rule("delete", "gadgets", "shop.example"))
        question = ("delete", GADGETS, "", scene.place)
        advice = scene.may(erin, *question)["roles_that_would_allow"]
        assert advice[:2] == [f"ClusterRole/{scene.place}-narrow", f"ClusterRole/{scene.place}-wide"]
        assert "ClusterRole/cluster-admin" in advice
        followed = scene.imagine("engineers", advice[0].removeprefix("ClusterRole/"), scene.place)
        assert scene.may(erin, *question, adding=followed)["allowed"]
        assert not scene.may(erin, *question)["allowed"]

    def test_a_yes_says_through_what(self, scene: Scene, erin: str) -> None:
        answer = scene.may(erin, "list", GADGETS, "", scene.place)
        assert answer["allowed"]
        assert f'of ClusterRole "{scene.place}-small" to User "{erin}"' in answer["reason"]
        assert [(one["role"], one["group"]) for one in answer["through"]] == [(f"ClusterRole/{scene.place}-small", "local:engineers")]
        assert answer["nearest"] == answer["roles_that_would_allow"] == []


class TestPlacesAndDifferences:
    def test_namespaces_one_by_one_and_the_whole_cluster(self, scene: Scene) -> None:
        erin, nico = scene.person("erin", "engineers", "watchers"), scene.person("nico")
        scene.map("engineers", "edit", scene.place, "default")
        scene.map("watchers", "view")
        scene.map("engineers", f"{scene.place}-absent", "kube-system")
        scene.map("engineers", scene.role("empty"), "kube-public")
        scene.product.work()
        places = scene.ask(lambda explorer, view: rows.places(explorer.places(view, erin)))
        assert [(row["namespace"], row["role"], row["group"]) for row in places] == [
            ("", "ClusterRole/view", "local:watchers"), ("default", "ClusterRole/edit", "local:engineers"),
            (scene.place, "ClusterRole/edit", "local:engineers"),
        ]  # fmt: skip
        assert scene.ask(lambda explorer, view: explorer.places(view, nico)) == []

    def test_two_are_compared(self, scene: Scene) -> None:
        erin, lee = scene.person("erin", "engineers"), scene.person("lee", "leads")
        common = rule("get list", "gadgets", "shop.example")
        scene.map("engineers", scene.role("one", common, rule("delete", "settings", "shop.example", "main")), scene.place)
        scene.map("leads", scene.role("other", common, rule("update", "gadgets", "shop.example")), scene.place)
        scene.map("leads", scene.role("log", rule("get", "boilers/log", "shop.example")))
        scene.product.work()
        found = scene.ask(lambda explorer, view: rows.compare(explorer.compare(view, erin, lee)))
        ours = [tuple(row.values()) for row in found if "shop.example" in row["what"]]
        assert ours == [
            ("first", scene.place, ["delete"], "settings.shop.example", "main"),
            ("second", "", ["get"], "boilers.shop.example/log", ""),
            ("second", scene.place, ["update"], GADGETS, ""),
            ("both", scene.place, ["get", "list"], GADGETS, ""),
        ]  # fmt: skip
        assert {row["who"] for row in scene.ask(lambda explorer, view: rows.compare(explorer.compare(view, erin, erin)))} == {"both"}


class TestStandpoints:
    def test_what_is_planned_is_what_comes(self, scene: Scene) -> None:
        erin = scene.person("erin", "engineers")
        question = ("create", "configmaps", "", scene.place)
        gone = scene.map("engineers", "admin", scene.place)
        scene.product.work()
        scene.unmap(gone)
        new = scene.map("engineers", "edit", scene.place)

        def ways(**standpoint: Any) -> list[tuple[str, str]]:
            return [(row["role"], row["mapping"]) for row in scene.who_can(*question, **standpoint) if row["name"] == erin]

        assert ways() == [("ClusterRole/admin", "")], "the binding stands, the mapping behind it does not"
        assert ways(is_planned=True) == [("ClusterRole/edit", new)]
        before = scene.kept()
        planned = scene.who_can(*question, is_planned=True)
        assert scene.kept() == before
        scene.product.work()
        assert scene.who_can(*question) == planned
        assert scene.who_can(*question, is_planned=True) == planned
        scene.unmap(new)
        assert scene.names(*question) == {erin}
        assert scene.names(*question, is_planned=True) == set()
        scene.product.work()
        assert scene.names(*question) == set()

    @pytest.mark.parametrize("kind", ["User", "Group"])
    def test_an_imagined_mapping_shows_who_would_gain_and_writes_nothing(self, scene: Scene, kind: str) -> None:
        guests = f"guests-{scene.place}"
        erin, gina = scene.person("erin", "engineers"), scene.person("gina", guests)
        scene.map("engineers", "edit", scene.place)
        scene.product.work()
        imagined = scene.imagine(guests, "edit", scene.place, subject_kind=kind)
        before = scene.kept(), len(events(scene.product)), len(stored(scene.product, Group))
        question = ("create", "configmaps", "", scene.place)
        assert scene.names(*question) == {erin}
        assert scene.names(*question, adding=imagined) == {erin, gina}
        assert scene.may(gina, *question, adding=imagined)["allowed"]
        assert scene.ask(lambda explorer, view: [one.namespace for one in explorer.places(view, gina)], adding=imagined) == [scene.place]
        assert not scene.may(gina, *question)["allowed"]
        scene.product.work()
        assert (scene.kept(), len(events(scene.product)), len(stored(scene.product, Group))) == before

    def test_an_imagined_removal_shows_who_would_lose(self, scene: Scene) -> None:
        erin, lee = scene.person("erin", "engineers"), scene.person("lee", "engineers", "leads")
        mapping = scene.map("engineers", "edit", scene.place)
        scene.map("leads", "edit", scene.place)
        scene.product.work()
        question = ("create", "configmaps", "", scene.place)
        before = scene.kept()
        assert scene.names(*question, removing=mapping) == {lee}
        assert {row["group"] for row in scene.who_can(*question, removing=mapping) if row["name"] == lee} == {"local:leads"}
        assert scene.names(*question) == {erin, lee}
        assert not scene.may(erin, *question, removing=mapping)["allowed"]
        scene.product.work()
        assert scene.kept() == before

    def test_removing_what_is_no_mapping_is_said(self, scene: Scene) -> None:
        """Else a wrong id reads as: nobody would lose anything."""
        with pytest.raises((NotFound, Invalid)):
            scene.who_can("list", "pods", removing="no-such-mapping")

    @pytest.mark.parametrize("kind", ["User", "Group"])
    @pytest.mark.parametrize("wrong", [
        {"group": "elsewhere:guests"}, {"group": "guests"}, {"group": "local:system:masters"}, {"role_name": "system:node"},
        {"role_kind": "Role", "namespaces": ()}, {"namespaces": ("Not A Place",)}, {"cluster": "another"},
    ], ids=str)  # fmt: skip
    def test_what_could_not_be_saved_cannot_be_imagined(self, scene: Scene, kind: str, wrong: dict[str, Any]) -> None:
        values = {"group": "local:guests", "cluster": "prod", "role_kind": "ClusterRole", "role_name": "view", "namespaces": (scene.place,)}
        with pytest.raises((NotFound, Invalid)):
            scene.who_can("list", "pods", adding=NewMapping(**(values | wrong), subject_kind=kind))


class TestReadings:
    def test_a_reading_serves_for_ten_seconds(self, scene: Scene) -> None:
        stage, clock = scene.stage, scene.product.clock

        def look() -> tuple[datetime, bool]:
            """When the cluster was read, and whether bob may by then."""
            wanted = in_words("list", GADGETS)
            return scene.ask(lambda explorer, view: (view.at, explorer.may(view, stage.bob, wanted).decision.allowed), anew=False)

        first = look()
        assert first == (clock(), False)
        stage.give(stage.bob, rule("list", "gadgets", "shop.example"))
        clock.forward(seconds=9)
        assert look() == first
        clock.forward(seconds=1)
        assert look() == (clock(), True)

    def test_one_may_have_it_read_anew(self, scene: Scene) -> None:
        stage, question = scene.stage, ("list", GADGETS)
        assert not scene.may(stage.bob, *question, anew=False)["allowed"]
        stage.give(stage.bob, rule("list", "gadgets", "shop.example"))
        assert not scene.may(stage.bob, *question, anew=False)["allowed"]
        assert scene.may(stage.bob, *question, anew=True)["allowed"]
        assert scene.may(stage.bob, *question, anew=False)["allowed"], "what was read anew serves from then on"

    @pytest.mark.real_part("control_plane")
    def test_a_cluster_that_is_down_is_unavailable(self, make_product: ProductMaker) -> None:
        with ControlPlane() as plane, on_stage(plane, ApiServer(read(plane.kubeconfig()))) as stage:
            scene = Scene(make_product(instance="explorer"), stage)
            assert not scene.may("bob", "list", GADGETS)["allowed"]
        assert not scene.may("bob", "list", GADGETS, anew=False)["allowed"], "the reading is fresh"
        with pytest.raises(Unavailable):
            scene.may("bob", "list", GADGETS)
        scene.product.clock.forward(seconds=10)
        with pytest.raises(Unavailable, match=plane.server):
            scene.may("bob", "list", GADGETS, anew=False)
