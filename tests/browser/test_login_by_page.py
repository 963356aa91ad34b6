"""Logging in and out, and the choices that need no login, with and without JavaScript."""

from __future__ import annotations

import re

import pytest
from fixtures.live import Live
from fixtures.visits import JAVASCRIPT, Theme, Visits, follow, log_in
from playwright.sync_api import Page

CHINESE = re.compile("[\u4e00-\u9fff]")
ELSEWHERE = ["//evil.example", "/\\evil.example", "https:evil.example", "https://evil.example/", "/%09/evil.example", "\\\\evil.example"]


def root(page: Page, attribute: str) -> str | None:
    return page.locator("html").get_attribute(attribute)


def choose(page: Page, button: str) -> None:
    """Something of the menu."""
    page.locator("details.menu > summary").click()
    follow(page.get_by_role("button", name=button))


@JAVASCRIPT
def test_a_login_leads_to_where_one_wanted_to_go(visit: Visits, live: Live, javascript: bool) -> None:
    page = visit(live, javascript=javascript)
    page.goto(f"{live.base}/audit?action=login")
    assert page.url.startswith(f"{live.base}/login?next=")
    page.get_by_label("Username").fill("erin")
    page.get_by_label("Password").fill("correct horse battery")
    follow(page.get_by_role("button", name="Log in with Local"))
    assert page.url == f"{live.base}/audit?action=login"


@JAVASCRIPT
def test_a_wrong_password_keeps_the_name_and_not_the_password(visit: Visits, live: Live, javascript: bool) -> None:
    page = visit(live, javascript=javascript)
    log_in(page, live, "erin", "not the password")
    assert "did not work" in page.locator(".note.bad[role=alert]").inner_text()
    assert page.get_by_label("Username").input_value() == "erin"
    assert page.get_by_label("Password").input_value() == ""
    assert page.get_by_label("Password").evaluate("one => one === document.activeElement")


@JAVASCRIPT
def test_after_logging_out_the_pages_are_closed(visit: Visits, live: Live, javascript: bool) -> None:
    page = visit(live, javascript=javascript)
    log_in(page, live, "erin")
    choose(page, "Log out")
    assert page.get_by_role("heading", name="You are logged out here").is_visible()
    page.goto(live.base)
    assert page.url.startswith(f"{live.base}/login")


@JAVASCRIPT
def test_the_language_is_chosen_once(visit: Visits, live: Live, javascript: bool) -> None:
    page = visit(live, javascript=javascript)
    page.goto(f"{live.base}/login")
    assert root(page, "lang") == "en"
    choose(page, "简体中文")
    assert root(page, "lang") == "zh-Hans"
    assert page.url == f"{live.base}/login"
    page.locator("#username").fill("erin")
    page.locator("#password").fill("correct horse battery")
    follow(page.locator("main button"))
    for path in ("/", "/audit", "/account", "/nowhere"):
        page.goto(live.base + path)
        assert root(page, "lang") == "zh-Hans"
        assert CHINESE.search(page.locator("h1").inner_text())
    later = page.context.new_page()
    later.goto(live.base)
    assert root(later, "lang") == "zh-Hans"
    choose(later, "English")
    assert later.get_by_role("heading", name="My access").is_visible()


@JAVASCRIPT
def test_the_theme_is_chosen_once(visit: Visits, live: Live, javascript: bool) -> None:
    page = visit(live, "erin", theme="light", javascript=javascript)
    page.goto(f"{live.base}/audit?action=login")
    assert root(page, "data-bs-theme") == "light"
    choose(page, "Dark")
    assert page.url == f"{live.base}/audit?action=login"
    later = page.context.new_page()
    for path in ("/", "/login", "/nowhere"):
        later.goto(live.base + path)
        assert root(later, "data-bs-theme") == "dark"
    choose(later, "Light")
    assert root(later, "data-bs-theme") == "light"


def test_the_theme_follows_the_system_while_it_runs(visit: Visits, live_to_look_at: Live) -> None:
    page = visit(live_to_look_at, theme="light")
    page.goto(f"{live_to_look_at.base}/login")
    themes: tuple[Theme, ...] = ("dark", "light")
    for theme in themes:
        page.emulate_media(color_scheme=theme)
        page.locator(f"html[data-bs-theme={theme}]").wait_for(state="attached")


def test_a_dark_system_without_javascript_is_readable(visit: Visits, live_to_look_at: Live) -> None:
    page = visit(live_to_look_at, theme="dark", javascript=False)
    page.goto(f"{live_to_look_at.base}/login")
    assert root(page, "data-bs-theme") == "light"


@pytest.mark.parametrize("target", ELSEWHERE)
def test_no_login_leads_off_the_site(visit: Visits, live_to_look_at: Live, target: str) -> None:
    page = visit(live_to_look_at)
    page.goto(f"{live_to_look_at.base}/login?next={target}")
    page.get_by_label("Username").fill("lee")
    page.get_by_label("Password").fill("correct horse battery")
    follow(page.get_by_role("button", name="Log in with Local"))
    assert page.url == f"{live_to_look_at.base}/"
