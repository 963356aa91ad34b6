"""The explorer's pages over a real control plane: for those who ask about everybody, and for everybody else."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from urllib.parse import urlencode

import pytest
from fixtures.house import inhabit
from fixtures.live import Live, serve
from fixtures.real import own_namespace
from fixtures.stage import Stage, rule, sweep_bindings
from fixtures.visits import JAVASCRIPT, Theme, Visits, complaint, follow, unfold
from playwright.sync_api import Locator, Page
from rigs.chromium import axe_violations

from iam.cli.demo import NAMESPACES
from iam.clusters.client import ApiServer
from iam.clusters.throwaway import ControlPlane
from iam.errors import Conflict
from iam.kube.bindings import INSTANCE
from iam.kube.kubeconfig import read
from iam.kube.requests import service_account_user

MANY = 1000
THING = {"verb": "create", "resource": "configmaps", "namespace": "shop"}
ABOUT_ONESELF = ["What can they do?", "May they? Why not?", "Which namespaces?"]
ABOUT_OTHERS = ["Who can do this?", "Compare two", "Who could reach more?"]


@pytest.fixture(scope="module")
def stage(control_plane: ControlPlane) -> Iterator[Stage]:
    """In shop there is a service account that holds everything; alice may act as erin."""
    api = ApiServer(read(control_plane.kubeconfig()))
    with ExitStack() as stack:
        stage = Stage(control_plane, api, stack, own_namespace(api, "explored"))
        stack.callback(stage.sweep)
        for name in NAMESPACES:
            with suppress(Conflict):
                api.post("/api/v1/namespaces", {"metadata": {"name": name}})
        robot = stage.binding(service_account_user("shop", "robot"), "ClusterRole", "cluster-admin")
        api.post(stage.path("clusterrolebindings"), robot)
        stage.give(stage.alice, rule("impersonate", "users", "", "erin"))
        yield stage


@pytest.fixture(scope="module")
def explored(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """The inhabited house over it, in line."""
    with serve(tmp_path_factory.mktemp("explored"), instance="explored") as live:
        inhabit(live.product, stage.plane)
        for username in ("erin", "lee", "ada", "aude", "nico"):
            live.session(username)
        live.product.work()
        yield live
        sweep_bindings(stage.api, "explored")


def at(live: Live, question: str, **values: str) -> str:
    """An answer that can be bookmarked."""
    return f"{live.base}/explorer/{question}?{urlencode({'cluster': 'demo'} | values)}"


def row_of(page: Page, name: str) -> Locator:
    return page.locator("tbody tr", has_text=name).filter(has_text="local:")


def cells(row: Locator) -> dict[str, str]:
    """What stands in a row, by heading."""
    return {str(cell.get_attribute("data-label")): cell.inner_text() for cell in row.locator("td").all()}


@JAVASCRIPT
def test_from_a_question_to_the_people(visit: Visits, explored: Live, javascript: bool) -> None:
    page = visit(explored, "ada", javascript=javascript)
    page.goto(explored.base)
    follow(page.get_by_role("link", name="Explorer"))
    assert page.get_by_role("navigation", name="Questions").get_by_role("link").all_inner_texts() == ABOUT_ONESELF + ABOUT_OTHERS
    page.get_by_label("Cluster", exact=True).select_option("demo")
    page.get_by_label("Verb").fill("create")
    page.get_by_label("Resource or path").fill("configmaps")
    page.get_by_label("Namespace", exact=True).fill("shop")
    follow(page.get_by_role("button", name="Ask"))
    found = cells(row_of(page, "Erin Engel"))
    assert (found["Where"], found["Role"], found["Through"]) == ("shop", "edit", "local:engineers")
    assert "configmaps" in found["Rule"]
    assert page.locator("tbody tr", has_text="shop/robot").get_by_text("service account").is_visible()
    assert page.get_by_text("Nico Neumann").count() == 0
    assert page.get_by_label("Verb").input_value() == "create", "the question still stands there"
    follow(row_of(page, "Erin Engel").get_by_role("link", name="local:engineers"))
    assert page.get_by_role("heading", name="1 people lose it").is_visible()
    page.go_back()
    follow(page.get_by_role("link", name="Which namespaces?"))
    page.get_by_label("User").fill("lee")
    follow(page.get_by_role("button", name="Ask"))
    assert page.locator("td[data-label=Namespace]").all_inner_texts() == ["shop", "shop-staging"], "of the same cluster"


def test_a_yes_and_a_no_with_reasons(visit: Visits, explored: Live) -> None:
    page = visit(explored, "aude")
    page.goto(at(explored, "why", user="erin", **THING))
    assert page.get_by_role("heading", name="Yes", exact=True).is_visible()
    assert page.locator("td[data-label=Through]", has_text="local:engineers").is_visible()
    page.get_by_label("Namespace", exact=True).fill("shop-staging")
    follow(page.get_by_role("button", name="Ask"))
    assert page.get_by_role("heading", name="No", exact=True).is_visible()
    assert page.locator("td[data-label=But]").first.inner_text() == "another namespace"
    assert page.get_by_text("ClusterRole/edit").is_visible()
    page.get_by_label("As of").select_option("planned")
    follow(page.get_by_role("button", name="Ask"))
    assert "with what is planned" in page.locator(".read-at").inner_text()


def test_two_side_by_side(visit: Visits, explored: Live) -> None:
    page = visit(explored, "lee")
    page.goto(f"{explored.base}/explorer/compare")
    page.get_by_label("Cluster", exact=True).select_option("demo")
    page.get_by_label("One", exact=True).fill("erin")
    page.get_by_label("The other").fill("lee")
    follow(page.get_by_role("button", name="Ask"))
    assert page.get_by_role("heading", name=re.compile("Only erin 0")).is_visible()
    only_lee = page.locator("section", has=page.get_by_role("heading", name=re.compile("Only lee")))
    assert "rolebindings.rbac.authorization.k8s.io" in only_lee.last.inner_text()


class TestAnOrdinaryPerson:
    def test_asks_about_themselves(self, visit: Visits, explored: Live) -> None:
        page = visit(explored, "erin")
        page.goto(explored.base)
        follow(page.get_by_role("link", name="Explorer"))
        assert page.get_by_role("navigation", name="Questions").get_by_role("link").all_inner_texts() == ABOUT_ONESELF
        page.get_by_label("Cluster", exact=True).select_option("demo")
        assert page.get_by_label("User").count() == page.get_by_label("As of").count() == 0
        follow(page.get_by_role("button", name="Ask"))
        mine = page.locator("article", has_text="local:engineers")
        assert mine.get_by_role("heading", name="edit ClusterRole").is_visible()
        assert mine.get_by_role("link", name="local:engineers").count() == 0, "mappings are the administrators'"

    @pytest.mark.parametrize("question", ["what-can", "why", "namespaces"])
    def test_sees_nobody_else_whatever_the_address_says(self, visit: Visits, explored: Live, question: str) -> None:
        page = visit(explored, "erin")
        page.goto(at(explored, question, user="lee", **THING))
        text = page.locator("main").inner_text()
        assert "local:engineers" in text
        assert not re.search(r"\blee\b|local:leads", text)
        with page.expect_download() as started:
            page.get_by_role("link", name="CSV").click()
        downloaded = started.value.path().read_text("utf-8")
        assert "local:engineers" in downloaded
        assert "leads" not in downloaded

    @pytest.mark.parametrize("question", ["who-can", "compare", "paths"])
    def test_is_told_which_questions_are_not_theirs(self, visit: Visits, explored: Live, question: str) -> None:
        page = visit(explored, "erin")
        answer = page.goto(at(explored, question, first="erin", second="lee", **THING))
        assert answer
        assert answer.status == 403
        assert "This needs the role" in page.locator("main").inner_text()

    def test_is_not_told_what_is_planned(self, visit: Visits, explored: Live) -> None:
        page = visit(explored, "erin")
        answer = page.goto(at(explored, "what-can", when="planned"))
        assert answer
        assert answer.status == 403
        assert "This needs the role" in complaint(page)
        assert page.locator("article").count() == 0


class TestMistakes:
    def test_a_wrong_cluster_is_said_above_the_question(self, visit: Visits, explored: Live) -> None:
        page = visit(explored, "ada")
        answer = page.goto(at(explored, "who-can", **THING | {"cluster": "nowhere"}))
        assert answer
        assert answer.status == 404
        assert complaint(page) == "There is no cluster nowhere."
        page.get_by_label("Cluster", exact=True).select_option("demo")
        follow(page.get_by_role("button", name="Ask"))
        assert row_of(page, "Erin Engel").is_visible(), "the rest of the question was kept"

    @pytest.mark.parametrize(("values", "field"), [({"verb": ""}, "verb"), ({"resource": " "}, "resource")])
    def test_what_is_missing_is_marked(self, visit: Visits, explored: Live, values: dict[str, str], field: str) -> None:
        page = visit(explored, "ada")
        answer = page.goto(at(explored, "who-can", **THING | values))
        assert answer
        assert answer.status == 422
        assert complaint(page)
        assert [one.get_attribute("name") for one in page.locator("[aria-invalid=true]").all()] == [field]


ADDING = {"adding_group": "local:auditors", "adding_role": "edit", "adding_namespaces": "shop"}


class TestImagined:
    def test_an_imagined_mapping_is_said_to_be_one(self, visit: Visits, explored: Live) -> None:
        page = visit(explored, "ada")
        page.goto(at(explored, "who-can", **THING, **ADDING))
        assert "not saved yet" in page.locator(".note.warn", has_text="local:auditors").inner_text()
        aude = page.locator("tbody tr", has_text="Aude Aubert")
        assert cells(aude)["Role"] == "edit"
        follow(page.get_by_role("button", name="Ask"))
        assert aude.is_visible(), "asking again keeps it"
        follow(page.get_by_role("link", name="Ask about the cluster as it is"))
        page.goto(at(explored, "who-can", **THING))
        assert aude.count() == 0

    def test_an_imagined_mapping_is_not_told_as_one_that_is_gone(self, visit: Visits, explored: Live) -> None:
        page = visit(explored, "ada")
        page.goto(at(explored, "who-can", **THING, **ADDING))
        assert cells(page.locator("tbody tr", has_text="Aude Aubert"))["Through"] != "ours, no mapping behind it any more"

    def test_what_another_installation_binds_is_not_ours(self, visit: Visits, explored: Live, stage: Stage) -> None:
        theirs = stage.binding(stage.carol, "ClusterRole", "edit")
        theirs["metadata"]["labels"] = stage.metadata["labels"] | {INSTANCE: "another"}
        stage.api.post(stage.path("rolebindings", stage.place), theirs)
        page = visit(explored, "ada")
        page.goto(at(explored, "who-can", anew="1", **THING | {"namespace": stage.place}))
        assert cells(page.locator("tbody tr", has_text=stage.carol))["Through"] == "not ours"


class TestPaths:
    def test_one_persons_drawing_shows_the_steps_of_the_table(self, visit: Visits, explored: Live, stage: Stage) -> None:
        page = visit(explored, "ada")
        page.goto(at(explored, "paths", user=stage.alice))
        steps = [cells(row) for row in page.locator("tbody tr").all()]
        assert [(step["From"], step["How"], step["To"]) for step in steps] == [
            (f"User {stage.alice}", "acts as them", "User erin"),
            ("User erin", "runs a pod as this account", "ServiceAccount shop/robot"),
        ]  # fmt: skip
        drawing = page.get_by_role("img", name="The same as the table below")
        assert drawing.is_visible()
        boxes = {" ".join((one.text_content() or "").split()) for one in drawing.locator(".box title").all()}
        assert boxes == {step[end] for step in steps for end in ("From", "To")}
        assert drawing.locator("path.step").count() == len(steps)
        assert drawing.locator("text.label").all_text_contents() == [step["How"] for step in steps]

    def test_everybodys_paths_unfold(self, visit: Visits, explored: Live) -> None:
        page = visit(explored, "ada")
        page.goto(at(explored, "paths"))
        assert page.get_by_role("img", name="The same as the table below").locator("path.step").count() > 0
        erins = page.locator("details.climb", has_text="Erin Engel")
        assert "reaches everything" in erins.locator("summary").inner_text()
        assert erins.locator("table").is_hidden()
        erins.locator("summary").click()
        assert "ServiceAccount shop/robot" in erins.locator("table").inner_text()

    def test_nobodys_path_is_said(self, visit: Visits, explored: Live) -> None:
        page = visit(explored, "ada")
        page.goto(at(explored, "paths", user="nico"))
        assert page.get_by_role("heading", name="No path").is_visible()
        assert page.locator("svg").count() == page.locator("table").count() == 0


@JAVASCRIPT
def test_the_answer_as_a_file(visit: Visits, explored: Live, javascript: bool) -> None:
    page = visit(explored, "ada", javascript=javascript)
    page.goto(at(explored, "who-can", **THING))
    with page.expect_download() as started:
        page.get_by_role("link", name="CSV").click()
    assert started.value.suggested_filename == "access.csv"
    found = list(csv.DictReader(started.value.path().read_text("utf-8").splitlines()))
    assert ("Erin Engel", "ClusterRole/edit", "local:engineers") in {(row["display_name"], row["role"], row["group"]) for row in found}
    follow(page.get_by_role("link", name="JSON"))
    assert '"Erin Engel"' in page.locator("body").inner_text()


def test_that_nobody_has_this_name_is_not_that_nobody_may(visit: Visits, explored: Live) -> None:
    page = visit(explored, "ada")
    page.goto(at(explored, "who-can", q="nobody of that name", **THING))
    assert row_of(page, "Erin Engel").count() == 0
    assert "only the group system:masters" not in page.locator("main").inner_text()


def test_one_asks_with_the_keyboard(visit: Visits, explored: Live) -> None:
    page = visit(explored, "ada")
    page.goto(f"{explored.base}/explorer/who-can")

    def tab_to(name: str) -> None:
        for _ in range(30):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()").startswith(name):
                return
        raise AssertionError(f"no way to {name}")

    tab_to("f-cluster")
    page.keyboard.type("Throwaway")
    for field, text in (("f-verb", "create"), ("f-resource", "configmaps"), ("f-namespace", "shop")):
        tab_to(field)
        page.keyboard.type(text)
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert row_of(page, "Erin Engel").is_visible()
    page.goto(at(explored, "paths"))
    page.locator(".drawing").focus()
    climb = page.locator("details.climb").first
    tab_to(climb.locator("summary").inner_text().partition(" ")[0])
    page.keyboard.press("Enter")
    assert climb.locator("table").is_visible()


ANSWERS = {
    "who-can": THING | {"anywhere": "1"}, "what-can": {"user": "erin"}, "why": THING | {"user": "nico"}, "namespaces": {"user": "lee"},
    "compare": {"first": "erin", "second": "lee"}, "paths": {},
}  # fmt: skip
LOOKS: list[tuple[Theme, str]] = [("light", "en"), ("dark", "zh-CN")]


@pytest.mark.parametrize("look", LOOKS, ids="-".join)
def test_answers_keep_nobody_out_and_fit_a_phone(visit: Visits, explored: Live, look: tuple[Theme, str]) -> None:
    page = visit(explored, "ada", theme=look[0], locale=look[1])
    for question, values in ANSWERS.items():
        page.set_viewport_size({"width": 390, "height": 900})
        page.goto(at(explored, question, **values))
        assert page.locator(".read-at").is_visible(), question
        unfold(page)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), question
        page.set_viewport_size({"width": 1280, "height": 900})
        assert [str(one) for one in axe_violations(page)] == [], question
