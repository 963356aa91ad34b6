"""One's own sessions and tokens, with and without JavaScript."""

from __future__ import annotations

import requests
from fixtures.live import Live
from fixtures.visits import JAVASCRIPT, Visits, follow, log_in
from playwright.sync_api import Page


def new_token(page: Page, live: Live, name: str, *scopes: str) -> str:
    page.goto(f"{live.base}/account")
    page.get_by_label("Name", exact=True).fill(name)
    for scope in scopes:
        page.get_by_label(f"{scope}:").check()
    follow(page.get_by_role("button", name="Make a token"))
    return page.locator(".note.good code").first.inner_text()


@JAVASCRIPT
def test_a_token_is_shown_once_and_works(visit: Visits, live: Live, javascript: bool) -> None:
    page = visit(live, "erin", javascript=javascript)
    key = new_token(page, live, "for scripts", "read", "kubeconfig")
    answer = requests.get(f"{live.base}/api/v1/me", headers={"Authorization": f"Bearer {key}"}, timeout=10)
    assert answer.json()["username"] == "erin"
    assert answer.json()["scopes"] == ["kubeconfig", "read"]
    page.goto(f"{live.base}/account")
    assert page.get_by_role("cell", name="for scripts").is_visible()
    assert key not in page.content()


@JAVASCRIPT
def test_the_command_beside_a_new_token_is_right(visit: Visits, live: Live, javascript: bool) -> None:
    page = visit(live, "erin", javascript=javascript)
    key = new_token(page, live, "for curl", "read")
    command = page.locator(".note.good code").nth(1).inner_text()
    assert command == f"curl -H 'Authorization: Bearer {key}' {live.base}/api/v1/me"


@JAVASCRIPT
def test_a_revoked_token_works_no_more(visit: Visits, live: Live, javascript: bool) -> None:
    page = visit(live, "erin", javascript=javascript)
    key = new_token(page, live, "for scripts", "read")
    follow(page.get_by_role("button", name="Revoke"))
    assert page.get_by_role("status").inner_text() == "The token is revoked."
    assert requests.get(f"{live.base}/api/v1/me", headers={"Authorization": f"Bearer {key}"}, timeout=10).status_code == 401


@JAVASCRIPT
def test_a_mistake_in_a_token_keeps_what_was_typed(visit: Visits, live: Live, javascript: bool) -> None:
    page = visit(live, "erin", javascript=javascript)
    page.goto(f"{live.base}/account")
    page.get_by_label("Name", exact=True).fill("for ever")
    page.get_by_label("kubeconfig:").check()
    page.get_by_label("Days").fill("100000")
    follow(page.get_by_role("button", name="Make a token"))
    assert "between 1 and 365 days" in page.locator(".note.bad[role=alert]").inner_text()
    assert page.get_by_label("Name", exact=True).input_value() == "for ever"
    assert page.get_by_label("kubeconfig:").is_checked()


@JAVASCRIPT
def test_another_session_is_ended_and_this_one_is_not(visit: Visits, live: Live, javascript: bool) -> None:
    here, there = visit(live, javascript=javascript), visit(live, javascript=javascript)
    for page in (here, there):
        log_in(page, live, "erin")
    here.goto(f"{live.base}/account")
    assert here.locator("tr", has_text="this one").get_by_role("button").count() == 0
    follow(here.get_by_role("button", name="End"))
    assert here.get_by_role("status").inner_text() == "The session is ended."
    assert here.get_by_role("button", name="End").count() == 0
    there.reload()
    assert there.url.startswith(f"{live.base}/login")
    here.reload()
    assert here.url == f"{live.base}/account"
