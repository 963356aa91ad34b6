"""Policies by page, with and without JavaScript: written, changed, looked at, published; nothing that was typed is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from fixtures.house import PLATFORM, POLICY_TEXT, Desk, line
from fixtures.live import Live
from fixtures.visits import JAVASCRIPT, Visits, follow
from playwright.sync_api import Locator, Page
from rigs.chromium import axe_violations

BOB = line(user="bob", namespace="shop", resource="pods")
EFFECT = "Show who gains and loses what"


def button(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=name, exact=True)


def complaint(page: Page) -> str:
    return page.locator(".note.bad[role=alert]").inner_text()


def rows(page: Page, heading: str) -> list[str]:
    """Who stands below Gains or Losses."""
    side = page.locator("section", has=page.get_by_role("heading", name=heading)).last
    return side.locator("td[data-label=Who]").all_inner_texts()


@pytest.fixture
def desk(live: Live, tmp_path: Path) -> Desk:
    """The same policies, beside the browser."""
    return Desk(live.product, tmp_path)


def open_new(page: Page, live: Live, name: str, reason: str = "for the shop") -> None:
    page.goto(f"{live.base}/policies")
    follow(page.get_by_role("link", name="New policy"))
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Reason").fill(reason)


@JAVASCRIPT
def test_a_policy_is_typed(visit: Visits, live: Live, desk: Desk, javascript: bool) -> None:
    page = visit(live, "ada", javascript=javascript)
    open_new(page, live, "shop")
    page.get_by_label("Cluster", exact=True).select_option("demo")
    page.get_by_label("Owner", exact=True).fill("the shop's team")
    page.get_by_label("Or its text").fill("# ours\n" + BOB)
    follow(button(page, "Keep as version 1"))
    assert page.get_by_role("status").inner_text() == "Kept as version 1. Nothing is published yet."
    assert page.get_by_role("heading", name="shop", exact=True).is_visible()
    assert page.get_by_text("the shop's team").is_visible()
    assert page.get_by_text("never published").is_visible()
    assert page.locator("td[data-label=Who]").all_inner_texts() == ["bob"]
    with desk.open() as product:
        assert product.services.policies.version(product.operator, "shop").text == "# ours\n" + BOB


@JAVASCRIPT
def test_a_file_is_uploaded_and_kept_as_it_stands(visit: Visits, live: Live, desk: Desk, javascript: bool, tmp_path: Path) -> None:
    text = "\n# from the old server\r\n" + BOB.rstrip("\n") + " "
    (tmp_path / "old.jsonl").write_bytes(text.encode())
    page = visit(live, "ada", javascript=javascript)
    open_new(page, live, "old")
    page.get_by_label("An existing file").set_input_files(tmp_path / "old.jsonl")
    follow(button(page, "Keep as version 1"))
    assert page.locator("td[data-label=Who]").all_inner_texts() == ["bob"]
    with desk.open() as product:
        assert product.services.policies.version(product.operator, "old").text == text


@JAVASCRIPT
def test_each_line_that_cannot_be_read_is_named_and_nothing_is_lost(visit: Visits, live: Live, javascript: bool) -> None:
    page = visit(live, "ada", javascript=javascript)
    open_new(page, live, "wrong", "because")
    page.get_by_label("Or its text").fill(BOB + "no\n" + BOB + '{"usr":"bob"}\n[]\n')
    follow(button(page, "Keep as version 1"))
    said = complaint(page) + page.locator("ul.findings").inner_text()
    assert [f"policy:{number}" in said for number in (1, 2, 3, 4, 5)] == [False, True, False, True, True]
    assert page.get_by_label("Or its text").get_attribute("aria-invalid") == "true"
    assert page.get_by_label("Or its text").input_value() == BOB + "no\n" + BOB + '{"usr":"bob"}\n[]\n'
    assert [page.get_by_label(name, exact=True).input_value() for name in ("Name", "Reason")] == ["wrong", "because"]
    page.goto(f"{live.base}/policies")
    assert page.get_by_role("link", name="wrong").count() == 0


@JAVASCRIPT
def test_a_line_for_a_directory_group(visit: Visits, live: Live, desk: Desk, javascript: bool) -> None:
    live.session("lee")
    page = visit(live, "ada", javascript=javascript)
    page.goto(f"{live.base}/policies/base")
    follow(page.get_by_role("link", name="Add a line"))
    assert page.get_by_label("For", exact=True).input_value() == "directoryGroup"
    assert page.locator('#names option[value="local:leads"]').count() == 1
    page.get_by_label("Resource").fill("secrets")
    page.get_by_label("Namespace").fill("shop")
    page.get_by_label("API group").fill("")
    page.get_by_label("Reason").fill("leads rotate them")
    follow(button(page, EFFECT))
    assert complaint(page) == "Say who it is for."
    assert page.get_by_label("Resource").input_value() == "secrets"
    page.get_by_label("Name", exact=True).fill("local:leads")
    follow(button(page, EFFECT))
    assert (rows(page, "Gains"), rows(page, "Losses")) == (["lee"], [])
    assert page.get_by_text("Nobody loses anything.").is_visible()
    assert desk.text() == POLICY_TEXT, "nothing is kept yet"
    follow(button(page, "Keep as version 2"))
    assert "Kept as version 2" in page.get_by_role("status").inner_text()
    assert desk.text() == POLICY_TEXT + line(directoryGroup="local:leads", namespace="shop", resource="secrets")
    assert page.locator("tr", has_text="local:leads").get_by_text("directory group").is_visible()


@JAVASCRIPT
def test_a_line_is_changed_and_taken_out(visit: Visits, live: Live, desk: Desk, javascript: bool) -> None:
    live.session("erin")
    page = visit(live, "ada", javascript=javascript)
    page.goto(f"{live.base}/policies/base")
    follow(page.get_by_role("link", name="Change line 3"))
    assert page.get_by_label("Name", exact=True).input_value() == "local:engineers"
    page.get_by_label("may only read").check()
    page.get_by_label("Reason").fill("they only look")
    follow(button(page, EFFECT))
    assert (rows(page, "Gains"), rows(page, "Losses")) == ([], ["erin"])
    follow(button(page, "Keep as version 2"))
    follow(page.get_by_role("link", name="Change line 3"))
    assert page.get_by_label("may only read").is_checked()
    page.get_by_label("Reason").fill("they left")
    follow(button(page, "Remove this line …"))
    assert rows(page, "Losses") == ["erin"]
    follow(button(page, "Keep as version 3"))
    assert "engineers" not in desk.text()
    follow(page.get_by_role("link", name="what changed").first)
    assert page.get_by_role("heading", name="From version 2 to 3").is_visible()
    assert rows(page, "Losses") == ["erin"]
    page.get_by_label("From version").select_option("3")
    page.get_by_label("To version").select_option("1")
    follow(button(page, "Compare"))
    assert (rows(page, "Gains"), rows(page, "Losses")) == (["erin"], [])


@JAVASCRIPT
def test_two_people_at_the_same_text_lose_nothing(visit: Visits, live: Live, desk: Desk, javascript: bool) -> None:
    live.product.account("bo", "administrators")
    mine, theirs = (visit(live, who, javascript=javascript) for who in ("ada", "bo"))
    eve = line(user="eve", namespace="shop", resource="pods")
    for page, more, reason in ((mine, BOB, "bob, too"), (theirs, eve, "eve, too")):
        page.goto(f"{live.base}/policies/base/text")
        page.get_by_label("Policy", exact=True).fill(POLICY_TEXT + more)
        page.get_by_label("Reason").fill(reason)
        follow(button(page, EFFECT))
    follow(button(theirs, "Keep as version 2"))
    follow(button(mine, "Keep as version 2"))
    assert "Somebody has saved another version meanwhile" in complaint(mine)
    assert mine.get_by_label("Policy", exact=True).input_value() == POLICY_TEXT + BOB
    assert mine.get_by_label("Reason").input_value() == "bob, too"
    assert desk.text() == POLICY_TEXT + eve
    if button(mine, "Keep as version 3").count() == 0:
        follow(button(mine, EFFECT))
    assert (rows(mine, "Gains"), rows(mine, "Losses")) == (["bob"], ["eve"]), "against what they have saved"
    mine.get_by_label("Policy", exact=True).fill(POLICY_TEXT + eve + BOB)
    follow(button(mine, EFFECT))
    assert (rows(mine, "Gains"), rows(mine, "Losses")) == (["bob"], [])
    follow(button(mine, "Keep as version 3"))
    assert desk.text() == POLICY_TEXT + eve + BOB


@pytest.mark.parametrize("text", ["\n\n" + BOB, "# retired: \r" + BOB], ids=["blank lines first", "lone carriage return"])
def test_a_browser_changes_no_line_that_nobody_changed(visit: Visits, live: Live, desk: Desk, text: str) -> None:
    desk.create(text, "odd")
    page = visit(live, "ada")
    answer = page.goto(f"{live.base}/policies/odd/line")
    assert answer
    if answer.status == 422:  # what a browser would change is not offered to one
        assert "carriage returns" in page.content()
        return
    page.get_by_label("For", exact=True).select_option("everybody")
    page.get_by_label("Path").fill("/version")
    page.get_by_label("Reason").fill("for monitoring")
    follow(button(page, EFFECT))
    if button(page, "Keep as version 2").count():
        follow(button(page, "Keep as version 2"))
        with desk.open() as product:
            assert product.services.policies.version(product.operator, "odd").text.startswith(text)


@JAVASCRIPT
def test_questions_are_simulated(visit: Visits, live: Live, javascript: bool) -> None:
    live.session("erin")
    page = visit(live, "aude", javascript=javascript)
    page.goto(f"{live.base}/policies/base")
    follow(page.get_by_role("link", name="Simulate"))
    for user, verdict, why in (("erin", "Yes", "Thanks to line 3:"), ("lee", "No", "No line allows it.")):
        page.get_by_label("User", exact=True).fill(user)
        page.get_by_label("Verb").fill("delete")
        page.get_by_label("Resource").fill("pods")
        page.get_by_label("Namespace").fill("shop")
        follow(button(page, "Ask"))
        assert page.locator(".verdict h2").inner_text() == verdict
        assert page.get_by_text(why).is_visible()
        assert page.get_by_label("User", exact=True).input_value() == user


@JAVASCRIPT
def test_publishing_with_errors_asks_first(visit: Visits, live: Live, desk: Desk, javascript: bool) -> None:
    desk.create(BOB, "lonely", is_alone=True, cluster="demo")
    path = desk.path.with_name("lonely.jsonl")
    page = visit(live, "ada", javascript=javascript)
    page.goto(f"{live.base}/policies/lonely")
    follow(page.get_by_role("link", name="Publish …"))
    assert page.get_by_text("would stop the control plane").first.is_visible()
    follow(button(page, "Write the file"))
    assert "accept them to publish anyway" in complaint(page)
    assert not path.exists()
    page.get_by_label("Publish it all the same").check()
    follow(button(page, "Write the file"))
    assert path.read_text("utf-8") == BOB
    assert page.locator(".head").get_by_text("published", exact=True).is_visible()
    follow(button(page, "Does the API server use this version?"))
    assert complaint(page) == "An offline cluster decides nothing."


@JAVASCRIPT
def test_what_is_published_is_compared_and_downloaded(visit: Visits, live: Live, desk: Desk, javascript: bool) -> None:
    live.session("erin")
    desk.publish()
    desk.save(BOB, 1)
    page = visit(live, "ada", javascript=javascript)
    page.goto(f"{live.base}/policies/base")
    assert page.get_by_text("differs from what is published").is_visible()
    follow(page.get_by_role("link", name="Publish …"))
    assert page.get_by_role("heading", name="Against version 1, which is published").is_visible()
    assert rows(page, "Gains") == ["bob"]
    assert "erin" in rows(page, "Losses")
    with page.expect_download() as started:
        button(page, "Download").click()
    assert started.value.suggested_filename == "base.jsonl"
    assert started.value.path().read_text("utf-8") == BOB


@JAVASCRIPT
def test_the_same_as_rbac(visit: Visits, live: Live, desk: Desk, javascript: bool) -> None:
    desk.save(BOB + line(user="bob", resource="pods"), 1)
    page = visit(live, "aude", javascript=javascript)
    page.goto(f"{live.base}/policies/base")
    follow(page.get_by_role("link", name="As RBAC"))
    assert page.get_by_text("RBAC cannot allow requests outside of namespaces only").is_visible()
    with page.expect_download() as started:
        page.get_by_role("link", name="Download as YAML").click()
    assert "kind: RoleBinding" in started.value.path().read_text("utf-8")


@JAVASCRIPT
def test_a_policy_is_described_anew_and_forgotten(visit: Visits, live: Live, desk: Desk, javascript: bool) -> None:
    desk.publish()
    page = visit(live, "ada", javascript=javascript)
    page.goto(f"{live.base}/policies/base")
    follow(page.get_by_role("link", name="Settings …"))
    assert page.get_by_label("Cluster", exact=True).input_value() == "demo"
    page.get_by_label("Cluster", exact=True).select_option("spare")
    page.get_by_label("Owner", exact=True).fill("lee")
    follow(button(page, "Save"))
    assert page.locator(".head").get_by_text("owner lee").is_visible()
    follow(page.get_by_role("link", name="Settings …"))
    page.get_by_text("Forget this policy …").click()
    follow(button(page, "Forget base now"))
    assert page.get_by_role("heading", name="No policy yet").is_visible()
    assert desk.path.exists()


def test_an_auditor_is_offered_nothing_to_change(visit: Visits, live_to_look_at: Live) -> None:
    page = visit(live_to_look_at, "aude")
    for path in ("", "/base"):
        page.goto(f"{live_to_look_at.base}/policies{path}")
        for name in ("New policy", "Add a line", "Edit as text", "Publish …", "Settings …", "Change …"):
            assert page.get_by_role("link", name=name).count() == 0
    assert page.get_by_role("link", name="Simulate").is_visible()


def test_nothing_there_yet_says_what_to_do(visit: Visits, live_and_empty: Live, live: Live, desk: Desk) -> None:
    page = visit(live_and_empty, "ada")
    page.goto(f"{live_and_empty.base}/policies")
    assert page.get_by_role("heading", name="No policy yet").is_visible()
    assert page.get_by_role("link", name="New policy").is_visible()
    desk.create("", "blank")
    page = visit(live, "ada")
    page.goto(f"{live.base}/policies/blank")
    assert page.get_by_role("heading", name="No line yet").is_visible()
    page.goto(f"{live.base}/policies/blank/rbac")
    assert page.get_by_role("heading", name="Nothing to convert").is_visible()
    page.goto(f"{live.base}/policies/base?q=nothing-like-it")
    assert page.get_by_role("heading", name="Nothing found").is_visible()
    page.goto(f"{live.base}/policies/blank/difference")
    assert page.get_by_text("Nobody gains anything.").is_visible()


@JAVASCRIPT
def test_a_thousand_lines_are_paged_and_searched(visit: Visits, live: Live, desk: Desk, javascript: bool) -> None:
    lines = [line(user=f"user-{number}", namespace="shop", resource="pods") for number in range(999)]
    desk.create("".join(["# a thousand\n", *lines]), "large")
    page = visit(live, "ada", javascript=javascript)
    page.goto(f"{live.base}/policies/large")
    table = page.locator("section", has=page.get_by_role("search")).locator("tbody tr")
    assert (table.count(), page.locator(".pager").inner_text().split("\n")[0][:7]) == (100, "1 of 10")
    follow(page.get_by_role("link", name="Next"))
    assert table.first.inner_text().startswith("101")
    page.get_by_role("searchbox", name="Search").fill("USER-77")
    follow(button(page, "Search"))
    assert page.locator("td[data-label=Who]").all_inner_texts() == ["user-77", *(f"user-77{digit}" for digit in range(10))]
    follow(page.get_by_role("link", name="Change line 79"))
    assert page.get_by_label("Name", exact=True).input_value() == "user-77"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_preview_a_mistake_and_a_question_keep_nobody_out(visit: Visits, live: Live, desk: Desk, theme: str) -> None:
    live.session("erin")
    desk.publish()
    page = visit(live, "ada", theme="dark" if theme == "dark" else "light")
    page.goto(f"{live.base}/policies/base/text")
    for text in (PLATFORM + BOB + BOB, "no\nno\n"):
        page.get_by_label("Policy", exact=True).fill(text)
        follow(button(page, EFFECT))
        assert axe_violations(page) == []
    page.goto(f"{live.base}/policies/base")
    follow(button(page, "Does the API server use this version?"))
    assert axe_violations(page) == []
