"""What administrators and auditors do on the pages, with and without JavaScript."""

from __future__ import annotations

from fixtures.live import Live
from fixtures.offline import events
from fixtures.visits import JAVASCRIPT, Visits, follow
from playwright.sync_api import Page


def said(page: Page) -> str:
    """The message after something was done."""
    return page.get_by_role("status").inner_text()


def fill_mapping(page: Page, live: Live, group: str, role: str, namespaces: str = "") -> None:
    page.goto(f"{live.base}/mappings")
    follow(page.get_by_role("link", name="New mapping"))
    page.get_by_label("Group", exact=True).fill(group)
    page.get_by_label("Cluster", exact=True).select_option("demo")
    page.get_by_label("Role", exact=True).fill(role)
    page.get_by_label("Namespaces").fill(namespaces)
    follow(page.get_by_role("button", name="Show who gains what"))


@JAVASCRIPT
def test_a_mapping_shows_who_gains_what_and_is_saved(visit: Visits, live: Live, javascript: bool) -> None:
    live.session("erin")
    page = visit(live, "ada", javascript=javascript)
    fill_mapping(page, live, "local:engineers", "view", "shop-staging, default")
    assert page.get_by_role("heading", name="1 people gain it").is_visible()
    assert page.locator(".people").inner_text() == "Erin Engel erin"
    assert "mapping.created" not in {event.action for event in events(live.product, actor="ada")}
    follow(page.get_by_role("button", name="Save"))
    assert said(page).startswith("Saved.")
    row = page.locator("tr", has_text="local:engineers").filter(has_text="view")
    assert row.locator(".chip").all_inner_texts() == ["default", "shop-staging"]


@JAVASCRIPT
def test_a_mapping_shows_who_loses_what_and_is_removed(visit: Visits, live: Live, javascript: bool) -> None:
    live.session("erin")
    page = visit(live, "ada", javascript=javascript)
    page.goto(f"{live.base}/mappings")
    follow(page.get_by_role("link", name="Remove the mapping of local:engineers to edit"))
    assert page.get_by_role("heading", name="1 people lose it").is_visible()
    assert "Erin Engel" in page.locator(".people").inner_text()
    follow(page.get_by_role("button", name="Remove it"))
    assert said(page).startswith("Removed.")
    assert page.locator("tr", has_text="local:engineers").count() == 0


@JAVASCRIPT
def test_who_holds_it_already_gains_nothing(visit: Visits, live: Live, javascript: bool) -> None:
    live.session("lee")
    page = visit(live, "ada", javascript=javascript)
    fill_mapping(page, live, "local:leads", "admin", "shop")
    assert page.get_by_text("Nobody gains anything now").is_visible()
    assert page.get_by_text("1 hold it already through another mapping.").is_visible()


@JAVASCRIPT
def test_a_mistake_in_a_mapping_is_marked_and_nothing_is_lost(visit: Visits, live: Live, javascript: bool) -> None:
    page = visit(live, "ada", javascript=javascript)
    fill_mapping(page, live, "local:engineers", "system:masters", "shop")
    assert "reserved for Kubernetes" in page.locator(".note.bad[role=alert]").inner_text()
    assert page.get_by_label("Role", exact=True).get_attribute("aria-invalid") == "true"
    assert page.get_by_label("Namespaces").input_value() == "shop"
    assert page.get_by_label("Cluster", exact=True).input_value() == "demo"
    assert page.get_by_role("button", name="Save").count() == 0


@JAVASCRIPT
def test_a_person_is_shut_out_and_let_in_again(visit: Visits, live: Live, javascript: bool) -> None:
    theirs = visit(live, "erin", javascript=javascript)
    theirs.goto(live.base)
    page = visit(live, "ada", javascript=javascript)
    page.goto(f"{live.base}/people")
    follow(page.get_by_role("link", name="Erin Engel"))
    page.get_by_text("Shut this person out …").click()
    follow(page.get_by_role("button", name="Shut out Erin Engel now"))
    assert "Erin Engel is shut out" in said(page)
    assert page.get_by_text("shut out by an administrator").is_visible()
    theirs.reload()
    assert theirs.url.startswith(f"{live.base}/login")
    follow(page.get_by_role("button", name="Let in again"))
    assert said(page) == "Erin Engel may log in again."
    theirs.reload()
    assert theirs.url.startswith(f"{live.base}/login"), "the old session stays ended"


@JAVASCRIPT
def test_nobody_shuts_themselves_out(visit: Visits, live: Live, javascript: bool) -> None:
    page = visit(live, "ada", javascript=javascript)
    page.goto(f"{live.base}/people")
    follow(page.get_by_role("link", name="Ada Adeyemi"))
    assert page.get_by_text("Shut this person out").count() == 0


@JAVASCRIPT
def test_the_audit_list_is_narrowed(visit: Visits, live: Live, javascript: bool) -> None:
    live.session("erin")
    page = visit(live, "aude", javascript=javascript)
    page.goto(f"{live.base}/audit")
    form = page.get_by_role("search")
    form.get_by_label("What", exact=True).select_option("login")
    follow(form.get_by_role("button", name="Show"))
    assert set(page.locator(".timeline code").all_inner_texts()) == {"login"}
    assert {said.split()[0] for said in page.locator("a.said").all_inner_texts()} == {"erin", "aude"}
    form.get_by_label("Who did it or was concerned").fill("erin")
    follow(form.get_by_role("button", name="Show"))
    assert page.locator("a.said").all_inner_texts() == ["erin logged in through local"]
    assert form.get_by_label("What", exact=True).input_value() == "login"
    form.get_by_label("Result", exact=True).select_option("refused")
    follow(form.get_by_role("button", name="Show"))
    assert page.get_by_role("heading", name="No such events").is_visible()


@JAVASCRIPT
def test_an_event_says_all_that_is_on_record(visit: Visits, live_to_look_at: Live, javascript: bool) -> None:
    page = visit(live_to_look_at, "aude", javascript=javascript)
    page.goto(f"{live_to_look_at.base}/audit?action=cluster.registered")
    follow(page.locator("a.said").first)
    assert '"signer":"ca"' in page.locator("pre").inner_text()
    assert page.get_by_text("Number in the chain").is_visible()


@JAVASCRIPT
def test_a_cluster_is_forgotten_once_nothing_is_mapped_on_it(visit: Visits, live: Live, javascript: bool) -> None:
    page = visit(live, "ada", javascript=javascript)
    page.goto(f"{live.base}/clusters/demo")
    follow(page.get_by_role("link", name="Forget this cluster …"))
    assert page.get_by_text("It still has 4 mappings.").is_visible()
    page.goto(f"{live.base}/clusters/spare")
    follow(page.get_by_role("link", name="Forget this cluster …"))
    follow(page.get_by_role("button", name="Forget it"))
    assert said(page) == "spare is forgotten."
    assert page.get_by_role("link", name="spare").count() == 0


@JAVASCRIPT
def test_a_kubeconfig_that_runs_programs_is_refused(visit: Visits, live: Live, javascript: bool) -> None:
    page = visit(live, "ada", javascript=javascript)
    page.goto(f"{live.base}/clusters/new")
    page.get_by_label("Name", exact=True).fill("bad")
    page.get_by_label("Kubeconfig", exact=True).fill(
        "apiVersion: v1\nkind: Config\ncurrent-context: x\ncontexts: [{name: x, context: {cluster: x, user: x}}]\n"
        "clusters: [{name: x, cluster: {server: 'https://127.0.0.1:1'}}]\nusers: [{name: x, user: {exec: {command: /bin/true}}}]\n"
    )
    follow(page.get_by_role("button", name="Register and look at it"))
    assert "exec" in page.locator(".note.bad[role=alert]").inner_text()
    assert page.get_by_label("Name", exact=True).input_value() == "bad"
    assert page.get_by_label("Kubeconfig", exact=True).input_value() == ""
    assert page.get_by_label("Kubeconfig", exact=True).get_attribute("aria-invalid") == "true"


@JAVASCRIPT
def test_a_cluster_gets_another_title(visit: Visits, live: Live, javascript: bool) -> None:
    page = visit(live, "ada", javascript=javascript)
    page.goto(f"{live.base}/clusters/demo/edit")
    page.get_by_label("Title (optional)").fill("Renamed")
    follow(page.locator("button[value=change]").or_(page.get_by_role("button", name="Save")).first)
    assert page.get_by_role("heading", name="Renamed").is_visible()


@JAVASCRIPT
def test_bindings_are_shown_and_brought_in_line(visit: Visits, live: Live, javascript: bool) -> None:
    live.session("erin")
    page = visit(live, "ada", javascript=javascript)
    page.goto(f"{live.base}/clusters/demo")
    follow(page.get_by_role("link", name="Show them and the difference"))
    assert page.get_by_role("heading", name="To create (2)").is_visible()
    page.go_back()
    follow(page.get_by_role("button", name="Bring in line now"))
    assert said(page) == "demo is in line: 2 changes."
    follow(page.get_by_role("link", name="Show them and the difference"))
    assert page.get_by_text("none: the cluster is as it should be").is_visible()


@JAVASCRIPT
def test_a_directory_is_read_again(visit: Visits, live: Live, javascript: bool) -> None:
    page = visit(live, "ada", javascript=javascript)
    page.goto(f"{live.base}/status")
    follow(page.get_by_role("button", name="Sync now"))
    assert said(page) == "local: 1 people read, 0 gone."
