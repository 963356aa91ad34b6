"""Everything without a mouse."""

from __future__ import annotations

from fixtures.house import offer
from fixtures.live import Live
from fixtures.visits import Visits
from playwright.sync_api import Page

FOCUSED = """(() => { const one = document.activeElement, style = getComputedStyle(one);
    return one.matches(':focus-visible') && (style.outlineStyle !== 'none' || style.boxShadow !== 'none'); })()"""
NAME = """(() => { const one = document.activeElement;
    return one === document.body ? '' : one.id || one.getAttribute('aria-label') || one.textContent.trim(); })()"""


def press(page: Page, *keys: str) -> str:
    """Press keys one after the other; what has the focus then."""
    for key in keys:
        page.keyboard.press(key)
    return str(page.evaluate(NAME))


def tab_to(page: Page, name: str, most: int = 40) -> None:
    """Tab until something has the focus."""
    seen = []
    for _ in range(most):
        seen.append(press(page, "Tab"))
        if seen[-1] == name:
            return
    raise AssertionError(f"no way to {name}: {seen}")


def test_one_logs_in_with_the_keyboard(visit: Visits, live: Live) -> None:
    page = visit(live)
    page.goto(f"{live.base}/login")
    assert page.evaluate(NAME) == "username"
    page.keyboard.type("erin")
    assert press(page, "Tab") == "password"
    page.keyboard.type("correct horse battery")
    assert press(page, "Tab") == "Log in with Local"
    assert page.evaluate(FOCUSED)
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert page.url == f"{live.base}/"


def test_the_first_stop_skips_to_the_content(visit: Visits, live_to_look_at: Live) -> None:
    page = visit(live_to_look_at, "lee")
    page.goto(live_to_look_at.base)
    assert press(page, "Tab") == "Skip to the content"
    assert page.get_by_text("Skip to the content").bounding_box()
    assert page.get_by_text("Skip to the content").is_visible()
    page.keyboard.press("Enter")
    assert page.url.endswith("#main")
    assert press(page, "Tab") == "Ask for access"
    assert press(page, "Tab") == "a grant", "the lead broke the glass"
    assert press(page, "Tab") == "Download kubeconfig"


def test_the_tab_order_is_that_of_reading(visit: Visits, live_to_look_at: Live) -> None:
    page = visit(live_to_look_at, "ada")
    page.goto(f"{live_to_look_at.base}/people")
    stops = [press(page, "Tab") for _ in range(14)]
    assert stops == [
        "Skip to the content", "kube-iam", "My access", "Requests", "Clusters", "Mappings", "People", "Policies", "Explorer", "Audit",
        "Status", "AAda Adeyemi", "Search", "Search",
    ]
    assert page.evaluate(FOCUSED)


def test_the_menu_opens_with_enter_and_closes_with_escape(visit: Visits, live_to_look_at: Live) -> None:
    page = visit(live_to_look_at, "erin")
    page.goto(live_to_look_at.base)
    menu = page.locator("details.menu")
    tab_to(page, "EErin Engel")
    page.keyboard.press("Enter")
    assert menu.get_attribute("open") is not None
    assert press(page, "Tab") == "Sessions and tokens"
    page.keyboard.press("Escape")
    assert menu.get_attribute("open") is None
    assert page.evaluate(NAME) == "EErin Engel"


def test_the_menu_closes_when_one_clicks_elsewhere(visit: Visits, live_to_look_at: Live) -> None:
    page = visit(live_to_look_at, "erin")
    page.goto(live_to_look_at.base)
    menu = page.locator("details.menu")
    menu.locator("> summary").click()
    assert menu.get_attribute("open") is not None
    page.locator("h1").click()
    assert menu.get_attribute("open") is None


def test_one_shuts_somebody_out_with_the_keyboard(visit: Visits, live: Live) -> None:
    page = visit(live, "ada")
    page.goto(live.base + live.path("/people/{person}"))
    tab_to(page, "Shut this person out …")
    page.keyboard.press("Enter")
    press(page, "Tab")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert "is shut out" in page.get_by_role("status").inner_text()


def test_one_asks_and_decides_with_the_keyboard(visit: Visits, live: Live) -> None:
    offer(live.product)
    erin, lee = visit(live, "erin"), visit(live, "lee")
    erin.goto(f"{live.base}/requests/new")
    tab_to(erin, (erin.get_by_role("link", name="Change the staging shop").text_content() or "").strip())
    go(erin, "Enter")
    tab_to(erin, "Choose another")
    press(erin, "Tab", "Space")
    assert erin.get_by_label("Offline cluster").is_checked()
    for field, words in (("f-namespaces", "shop-staging"), ("f-reason", "The till is down.")):
        tab_to(erin, field)
        erin.keyboard.type(words)
    tab_to(erin, "Show what this comes to")
    go(erin, "Enter")
    tab_to(erin, "Ask for it")
    assert erin.evaluate(FOCUSED)
    go(erin, "Space")
    assert erin.get_by_role("status").inner_text() == "Asked. You are told when there is an answer."

    lee.goto(f"{live.base}/inbox")
    assert press(lee, "j") == "Change the staging shop"
    assert press(lee, "j") == press(lee, "k") == "Change the staging shop", "there is no other"
    assert lee.evaluate(FOCUSED)
    go(lee, "Enter")
    tab_to(lee, "f-comment")
    lee.keyboard.type("just looking")
    assert press(lee, "Tab") == "Approve for less"
    assert press(lee, "Enter", "Tab") == "f-how_long"
    lee.keyboard.type("30m")
    tab_to(lee, "Approve")
    go(lee, "Enter")
    assert lee.get_by_role("status").inner_text() == "Approved. It is there in a moment."
    lee.goto(erin.url)
    assert lee.get_by_text("30m", exact=False).first.is_visible()
    tab_to(lee, "Revoke …")
    press(lee, "Enter")
    tab_to(lee, "f-reason")
    lee.keyboard.type("a mistake")
    go(lee, "Enter")
    assert lee.get_by_role("status").inner_text() == "Revoked. It is gone in a moment."


def go(page: Page, key: str) -> None:
    """Press a key that leads to another page."""
    with page.expect_navigation():
        page.keyboard.press(key)
