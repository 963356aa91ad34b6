"""The explorer's three doors: the same answers on the command line, over the API and as files of the pages; clear refusals."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from fixtures.cli import Iam, assert_one_clear_line, installed
from fixtures.offline import events, give, offline
from fixtures.product import Product, ProductMaker
from fixtures.stage import Scene, on_stage, rule
from rigs.processes import free_port
from sqlalchemy import insert, select

from iam.clusters.client import ApiServer
from iam.clusters.throwaway import ControlPlane
from iam.kube.requests import service_account_user
from iam.models import Group, Membership, Person, db
from iam.services.clusters import Registration

FORMULAS = ("=", "+", "-", "@", "\t", "\r")


@pytest.fixture
def iam(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Any) -> Iam:
    monkeypatch.setenv("COLUMNS", "400")  # a table as wide as it likes
    return installed(monkeypatch, capsys, tmp_path)


@pytest.fixture
def scene(iam: Iam, make_product: ProductMaker, control_plane: ControlPlane, api: ApiServer) -> Iterator[Scene]:
    """Erin may edit in one namespace, where a service account holds everything; an administrator; a newcomer."""
    with on_stage(control_plane, api) as stage:
        scene = Scene(make_product(encryption_keys=[iam.key]), stage)
        for name, group in (("erin", "engineers"), ("ada", "administrators"), ("nico", "newcomers")):
            scene.person(name, group)
        scene.map("engineers", "edit", scene.place)
        robot = service_account_user(scene.place, "robot")
        stage.api.post(stage.path("clusterrolebindings"), stage.binding(robot, "ClusterRole", "cluster-admin"))
        scene.product.work()
        yield scene


QUESTIONS: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "who-can": (("create", "configmaps", "-n", "{place}"), {"verb": "create", "resource": "configmaps", "namespace": "{place}"}),
    "what-can": (("{erin}",), {"user": "{erin}"}),
    "why": (("{erin}", "get", "nodes", "one"), {"user": "{erin}", "verb": "get", "resource": "nodes", "name": "one"}),
    "namespaces": (("{erin}",), {"user": "{erin}"}),
    "compare": (("{erin}", "{nico}"), {"first": "{erin}", "second": "{nico}"}),
    "paths": (("{erin}",), {"user": "{erin}"}),
}
"""Each with words for the command line and values for the API and the pages."""
SAYS = {
    "who-can": ("{erin}", "ClusterRole/edit", "local:engineers", "{place}/robot"), "what-can": ("ClusterRole/edit", "local:engineers"),
    "why": ("no\n", "Role would allow", "ClusterRole/cluster-admin"), "namespaces": ("{place}", "ClusterRole/edit"),
    "compare": ("first", "both", "configmaps"), "paths": ("ServiceAccount {place}/robot", "run-pods", "create pods in {place}"),
}  # fmt: skip


def filled(scene: Scene, text: str) -> str:
    return text.format(place=scene.place, **{name: f"{name}-{scene.place}" for name in ("erin", "ada", "nico")})


def words(scene: Scene, question: str) -> list[str]:
    return ["access", question, *(filled(scene, one) for one in QUESTIONS[question][0]), "--cluster", "prod"]


def query(scene: Scene, question: str, **more: str) -> str:
    return urlencode({name: filled(scene, value) for name, value in QUESTIONS[question][1].items()} | more)


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_door_says_the_same(scene: Scene, iam: Iam, question: str) -> None:
    said, ada = iam("--json", *words(scene, question)).json, f"ada-{scene.place}"
    path = f"/clusters/prod/access/{question}?{query(scene, question)}"
    answer = scene.product.api("GET", path, scene.product.token(ada, "read")).get_json()
    if question != "why":
        assert answer["read_at"]
    over_api = answer if question == "why" else answer["items"]
    if question == "paths":
        over_api = [{name: value for name, value in row.items() if name not in {"kind", "name"}} for row in over_api]
    assert said
    assert over_api == said
    page = scene.product.logged_in(ada).get(f"/explorer/{question}?{query(scene, question, cluster='prod', format='json')}")
    assert page.get_json() == ([said] if question == "why" else said)


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_command_line_speaks_to_people(scene: Scene, iam: Iam, question: str) -> None:
    said = iam(*words(scene, question))
    assert (said.code, said.err) == (0, "")
    assert [one for one in SAYS[question] if filled(scene, one) not in said.out] == []


def both_tables(scene: Scene, iam: Iam, question: str) -> list[list[dict[str, str]]]:
    """The CSV of the command line and of the pages."""
    path = f"/explorer/{question}?{query(scene, question, cluster='prod', format='csv')}"
    by_page = scene.product.logged_in(f"ada-{scene.place}").get(path)
    assert (by_page.mimetype, by_page.headers["Content-Disposition"]) == ("text/csv", "attachment; filename=access.csv")
    return [table(iam(*words(scene, question), "--csv").out), table(by_page.text)]


@pytest.mark.parametrize("question", sorted(QUESTIONS.keys() - {"why"}))
def test_comma_separated_values_hold_what_json_holds(scene: Scene, iam: Iam, question: str) -> None:
    rows = iam("--json", *words(scene, question)).json
    for found in both_tables(scene, iam, question):
        assert [list(row) for row in found] == [list(row) for row in rows]
        for cells, row in zip(found, rows, strict=True):
            assert all(cells[name] == value for name, value in row.items() if isinstance(value, str) and not value.startswith(FORMULAS))


def test_one_answer_as_comma_separated_values(scene: Scene, iam: Iam) -> None:
    """It has lists in it, which a spreadsheet should not see as Python writes them."""
    for found in both_tables(scene, iam, "why"):
        assert {row.get("allowed", "").lower() for row in found} <= {"false", "no"}
        assert found
        assert "ClusterRole/cluster-admin" in str(found)
        assert [cell for row in found for cell in row.values() if "{" in cell or "None" in cell] == []


def test_names_that_look_like_formulas_are_text(scene: Scene, iam: Iam) -> None:
    names = [scene.person(f"{sign}{number}", "guests") for number, sign in enumerate("=+-@")]
    scene.map("guests", scene.role("-role", rule("list", "gadgets", "shop.example")), scene.place)
    stranger = f"=SUM(1;2)-{scene.place}"
    scene.stage.give(stranger, rule("list", "gadgets", "shop.example"), place=scene.place, name=f"{scene.place}-other")
    scene.product.work()
    question = ["access", "who-can", "list", "gadgets.shop.example", "-n", scene.place, "--cluster", "prod"]
    values = {"cluster": "prod", "verb": "list", "resource": "gadgets.shop.example", "namespace": scene.place, "format": "csv"}
    by_page = scene.product.logged_in(f"ada-{scene.place}").get(f"/explorer/who-can?{urlencode(values)}")
    for text in (iam(*question, "--csv").out, by_page.text):
        found = table(text)
        assert {f"'{name}" for name in (*names, stranger)} <= {row["name"] for row in found}
        assert [cell for row in found for cell in row.values() if cell.startswith(FORMULAS)] == []


class TestCommandLine:
    def test_what_is_planned_and_what_is_imagined(self, scene: Scene, iam: Iam) -> None:
        nico, question = f"nico-{scene.place}", ["list", "pods", "-n", scene.place, "--cluster", "prod"]
        ask = ["--json", "access", "why", nico, *question]
        assert not iam(*ask).json["allowed"]
        assert iam(*ask, "--adding", f"local:newcomers view {scene.place},default").json["allowed"]
        assert iam(*ask, "--adding", "local:newcomers view").json["allowed"]
        assert not iam(*ask, "--adding", "local:newcomers view default").json["allowed"]
        assert not iam(*ask, "--adding", f"local:newcomers Role/view {scene.place}").json["allowed"], "there is no such Role"
        mapping = scene.map("newcomers", "view", scene.place)
        assert not iam(*ask).json["allowed"]
        assert iam(*ask, "--planned").json["through"][0]["mapping"] == mapping
        assert not iam(*ask, "--planned", "--removing", mapping).json["allowed"]
        assert nico not in iam("access", "who-can", *question).out

    def test_nothing_is_said_in_words(self, scene: Scene, iam: Iam) -> None:
        nico = f"nico-{scene.place}"
        assert iam("access", "paths", nico, "--cluster", "prod").out == "Nobody reaches more than they hold.\n"
        assert iam("access", "namespaces", nico, "--cluster", "prod").out == "Nothing.\n"
        assert iam("access", "namespaces", nico, "--cluster", "prod", "--csv").out == ""
        assert iam("--json", "access", "namespaces", nico, "--cluster", "prod").json == []

    def test_everybodys_paths_name_whose_they_are(self, scene: Scene, iam: Iam) -> None:
        found = iam("--json", "access", "paths", "--cluster", "prod").json
        assert ("Person", f"erin-{scene.place}") in {(row["kind"], row["name"]) for row in found}
        assert "kube-system/clusterrole-aggregation-controller" not in {row["name"] for row in found}
        assert "kube-system/clusterrole-aggregation-controller" in iam("access", "paths", "--of-kubernetes", "--cluster", "prod").out

    @pytest.mark.parametrize(("arguments", "complaint"), [
        (("who-can", "get", "pods", "--cluster", "absent"), "There is no cluster absent"),
        (("who-can", "", "pods", "--cluster", "prod"), "verb: Say what is to be done"),
        (("who-can", "get", " ", "--cluster", "prod"), "resource: Say what is to be done"),
        (("who-can", "get", "--cluster", "prod"), "Missing argument"),
        (("who-can", "get", "pods"), "Missing option '--cluster'"),
        (("why", "erin", "", "pods", "--cluster", "prod"), "verb: Say what is to be done"),
        (("what-can", "erin", "--cluster", "absent"), "There is no cluster absent"),
        (("compare", "erin", "--cluster", "prod"), "Missing argument"),
        (("paths", "--cluster", "absent"), "There is no cluster absent"),
        (("who-can", "get", "pods", "--cluster", "prod", "--adding", "local:guests"), "--adding: This should read 'GROUP ROLE ["),
        (("who-can", "get", "pods", "--cluster", "prod", "--adding", "local:guests view web shop"), "--adding: This should read"),
        (("who-can", "get", "pods", "--cluster", "prod", "--adding", "guests view"), "should read directory:group"),
        (("who-can", "get", "pods", "--cluster", "prod", "--adding", "local:guests Role/view"), "name at least one"),
        (("who-can", "get", "pods", "--cluster", "prod", "--adding", "local:guests view Web"), "'Web' is not a name"),
        (("who-can", "get", "pods", "--cluster", "prod", "--removing", "absent"), "There is no such mapping"),
    ])  # fmt: skip
    def test_wrong_input_ends_with_2_and_one_clear_line(
        self, iam: Iam, make_product: ProductMaker, arguments: tuple[str, ...], complaint: str
    ) -> None:
        offline(make_product(encryption_keys=[iam.key]))
        assert_one_clear_line(iam("access", *arguments), complaint)

    def test_a_cluster_that_is_down_is_one_clear_line(self, iam: Iam, make_product: ProductMaker) -> None:
        product, server = make_product(encryption_keys=[iam.key]), f"https://127.0.0.1:{free_port()}"
        with product.app.app_context():
            product.services.clusters.register(product.operator, Registration("prod", server=server, token="secret-token"))
        said = iam("access", "who-can", "get", "pods", "--cluster", "prod")
        assert_one_clear_line(said, server)
        assert "secret-token" not in said.err


@pytest.fixture
def ready(product: Product) -> Product:
    for name, group in (("erin", "engineers"), ("ada", "administrators"), ("lee", "leads"), ("aude", "auditors")):
        product.account(name, group)
    offline(product)
    give(product, "local:engineers", "edit", "shop")
    return product


ABOUT_ERIN = ("what-can?user=erin", "why?user=erin&verb=get&resource=pods", "namespaces?user=erin")
ABOUT_OTHERS = (
    "what-can?user=lee", "why?user=lee&verb=get&resource=pods", "namespaces?user=lee", "who-can?verb=get&resource=pods",
    "compare?first=erin&second=erin", "paths", "paths?user=erin", "what-can?user=ERIN", "what-can?user=group:engineers",
    "what-can?user=erin&planned=true", "what-can?user=erin&adding_group=local:leads&adding_role=view", "what-can?user=erin&removing=x",
)  # fmt: skip


class TestApi:
    def problem(self, product: Product, headers: dict[str, str], path: str, status: int) -> dict[str, Any]:
        """The answer, as RFC 9457 says that it looks."""
        answer = product.api("GET", path, headers)
        assert (answer.status_code, answer.mimetype) == (status, "application/problem+json"), answer.text
        found: dict[str, Any] = answer.get_json()
        assert found["status"] == status
        assert found["detail"]
        return found

    @pytest.mark.parametrize(("path", "field"), [
        ("who-can?resource=pods", "verb"), ("who-can?verb=get", "resource"), ("who-can?verb=&resource=pods", "verb"),
        ("who-can?verb=get&resource=%20", "resource"), ("what-can", "user"), ("why?user=erin&verb=get", "resource"),
        ("namespaces", "user"), ("compare?first=erin", "second"), ("who-can?verb=get&resource=pods&colour=red", "colour"),
        ("paths?colour=red", "colour"), ("paths?planned=perhaps", "planned"), ("paths?adding_kind=Secret", "adding_kind"),
        ("paths?adding_as=ServiceAccount", "adding_as"),
    ])  # fmt: skip
    def test_wrong_questions_are_refused_naming_the_field(self, ready: Product, path: str, field: str) -> None:
        assert self.problem(ready, ready.token("ada", "read"), f"/clusters/prod/access/{path}", 422)["field"] == field

    @pytest.mark.parametrize(("change", "field"), [
        ("adding_group=guests&adding_role=view", "adding_group"), ("adding_group=local:guests", "adding_role"),
        ("adding_group=local:guests&adding_role=view&adding_namespaces=Web", "adding_namespaces"),
        ("adding_group=local:guests&adding_role=view&adding_kind=Role&adding_as=Group", "adding_namespaces"),
    ])  # fmt: skip
    def test_a_mapping_that_could_not_be_saved_is_refused_naming_the_field(self, ready: Product, change: str, field: str) -> None:
        assert self.problem(ready, ready.token("ada", "read"), f"/clusters/prod/access/paths?{change}", 422)["field"] == field

    @pytest.mark.parametrize("path", ["who-can?verb=get&resource=pods", "compare?first=a&second=b", "paths", *ABOUT_ERIN])
    def test_a_cluster_that_is_not_there_is_404(self, ready: Product, path: str) -> None:
        assert "absent" in self.problem(ready, ready.token("ada", "read"), f"/clusters/absent/access/{path}", 404)["detail"]

    @pytest.mark.parametrize("path", ABOUT_OTHERS)
    def test_who_has_no_role_asks_about_nobody_else(self, ready: Product, path: str) -> None:
        erin = ready.token("erin", "read")
        self.problem(ready, erin, f"/clusters/prod/access/{path}", 403)
        (event,) = events(ready, action="access.denied")
        assert (event.actor_name, event.result, event.target_name, event.cluster, event.door) == ("erin", "refused", "prod", "prod", "api")
        self.problem(ready, erin, f"/clusters/absent/access/{path}", 403)

    @pytest.mark.parametrize("path", ABOUT_ERIN)
    def test_everybody_asks_about_themselves(self, ready: Product, path: str) -> None:
        assert ready.api("GET", f"/clusters/prod/access/{path}", ready.token("erin", "read")).status_code == 200
        assert events(ready, action="access.denied") == []

    @pytest.mark.parametrize("who", ["ada", "lee", "aude"])
    def test_three_roles_ask_about_anybody(self, ready: Product, who: str) -> None:
        headers = ready.token(who, "read")
        assert {path: ready.api("GET", f"/clusters/prod/access/{path}", headers).status_code for path in ABOUT_OTHERS[:9]} == dict.fromkeys(
            ABOUT_OTHERS[:9], 200
        )

    @pytest.mark.parametrize("path", [ABOUT_ERIN[0], "who-can?verb=get&resource=pods"])
    def test_a_token_needs_the_scope(self, ready: Product, path: str) -> None:
        for who in ("erin", "ada"):
            assert "scope read" in self.problem(ready, ready.token(who, "kubeconfig"), f"/clusters/prod/access/{path}", 403)["detail"]

    def test_a_cluster_that_is_down_is_503(self, product: Product) -> None:
        product.account("ada", "administrators")
        server = f"https://127.0.0.1:{free_port()}"
        with product.app.app_context():
            product.services.clusters.register(product.operator, Registration("prod", server=server, token="secret-token"))
        found = self.problem(product, product.token("ada", "read"), "/clusters/prod/access/paths", 503)
        assert server in found["detail"]
        assert "secret-token" not in str(found)


class TestOfflineCluster:
    """Its bindings are ours, and are kept in a file."""

    def test_what_was_reconciled_is_ours(self, ready: Product) -> None:
        ready.logged_in("erin")
        ready.work()
        rows = ready.api("GET", "/clusters/prod/access/what-can?user=erin", ready.token("ada", "read")).get_json()["items"]
        assert {(row["namespace"], row["role"], row["group"]) for row in rows} == {("shop", "ClusterRole/edit", "local:engineers")}
        assert "deployments" in {resource for row in rows for resource in row["resources"]}

    def test_many_people_are_searched_and_come_in_pages(self, ready: Product) -> None:
        ready.logged_in("erin")
        with ready.app.app_context():
            now, group = ready.clock(), db.session.scalar(select(Group.id).filter_by(name="engineers"))
            rows = [
                {
                    "id": f"{number:024d}", "directory": "local", "subject": str(number), "username": f"crowd{number:04d}",
                    "display_name": f"Crowd {number:04d}", "created_at": now, "synced_at": now,
                }
                for number in range(250)
            ]
            db.session.execute(insert(Person), rows)
            db.session.execute(insert(Membership), [{"person_id": row["id"], "group_id": group} for row in rows])
            db.session.commit()
        path = "/explorer/who-can?cluster=prod&verb=create&resource=configmaps&namespace=shop&when=planned"
        browser = ready.logged_in("ada")
        first, second = (browser.get(f"{path}&page={number}").text for number in (1, 2))
        assert ("251 people" in first, "1 of 3" in first, "2 of 3" in second) == (True, True, True)
        assert (">crowd0000<" in first, ">crowd0000<" in second, ">crowd0150<" in second) == (True, False, True)
        assert "10 people" in browser.get(f"{path}&q=crowd007").text

    def test_what_is_to_go_is_not_planned(self, ready: Product) -> None:
        ready.logged_in("erin")
        ready.work()
        with ready.app.app_context():
            (mapping,) = ready.services.access.mappings(ready.operator)
            ready.services.access.remove(ready.operator, mapping.id)
        answer = ready.api("GET", "/clusters/prod/access/what-can?user=erin&planned=true", ready.token("ada", "read"))
        assert answer.get_json()["items"] == []


@pytest.mark.parametrize("name", ["endpoint", "_method", "_scheme", "pages", "colour"])
def test_no_unknown_word_in_an_address_breaks_a_page(ready: Product, name: str) -> None:
    path = f"/explorer/who-can?cluster=prod&verb=get&resource=pods&{name}=x"
    assert ready.logged_in("ada").get(path).status_code == 200
