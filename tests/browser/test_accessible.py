"""Every page, light and dark, in both languages, keeps nobody out: axe-core finds nothing serious or critical."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fixtures.live import Live
from fixtures.visits import PLACES as ELSEWHERE
from fixtures.visits import Theme, Visits, follow, unfold
from playwright.sync_api import Page
from rigs.chromium import Chromium, axe_violations
from werkzeug.exceptions import HTTPException

from iam.web import BLUEPRINTS

Look = tuple[Theme, str]
LOOKS: list[Look] = [("light", "en"), ("light", "zh-CN"), ("dark", "en"), ("dark", "zh-CN")]
EXPLORER = {
    "who can": ("ada", "/explorer/who-can"),
    "who can, nobody": ("ada", "/explorer/who-can?cluster=demo&verb=get&resource=pods"),
    "what can": ("ada", "/explorer/what-can?cluster=demo&user=erin"),
    "what can I": ("erin", "/explorer/what-can"),
    "why": ("ada", "/explorer/why"),
    "why not": ("ada", "/explorer/why?cluster=demo&user=erin&verb=get&resource=pods"),
    "namespaces": ("ada", "/explorer/namespaces"),
    "compare": ("ada", "/explorer/compare"),
    "compare with nobody": ("ada", "/explorer/compare?cluster=demo&first=erin&second="),
    "paths": ("ada", "/explorer/paths?cluster=demo"),
    "a question about no cluster": ("ada", "/explorer/paths?cluster=nowhere"),
}
"""What there is without a cluster that answers; test_explorer_pages.py looks at answers."""
POLICIES = {
    "policies": ("ada", "/policies"),
    "new policy": ("ada", "/policies/new"),
    "policy": ("ada", "/policies/base"),
    "policy for an auditor": ("aude", "/policies/base"),
    "no such line": ("ada", "/policies/base?q=nothing"),
    "policy as text": ("ada", "/policies/base/text"),
    "new line": ("ada", "/policies/base/line"),
    "line": ("ada", "/policies/base/line?line=3"),
    "policy, what changed": ("ada", "/policies/base/difference"),
    "policy, simulated": ("ada", "/policies/base/simulate"),
    "policy, an answer": ("ada", "/policies/base/simulate?user=erin&verb=get&resource=pods&namespace=shop"),
    "policy, a question that is none": ("ada", "/policies/base/simulate?user=erin"),
    "policy as RBAC": ("ada", "/policies/base/rbac"),
    "policy to publish": ("ada", "/policies/base/publish"),
    "policy's settings": ("ada", "/policies/base/settings"),
}
PLACES = ELSEWHERE | EXPLORER | POLICIES
NOT_PAGES = {"audit.manifest", "audit.key", "login.start", "login.finish", "home.static", "clusters.manifest"}
"""They redirect, or answer with something else than HTML."""


class Rooms:
    """One browser profile for each look and person, kept for the whole file: opening one costs more than a page."""

    def __init__(self, live: Live, visits: Visits) -> None:
        self.live = live
        self.visits = visits
        self._pages: dict[tuple[Look, str], Page] = {}

    def open(self, look: Look, place: str) -> Page:
        who, path = PLACES[place]
        if (look, who) not in self._pages:
            self._pages[look, who] = self.visits(self.live, who, theme=look[0], locale=look[1])
        page = self._pages[look, who]
        answer = page.goto(self.live.base + self.live.path(path))
        assert answer
        assert answer.status < 500, answer.text()
        return page


@pytest.fixture(scope="module")
def rooms(chromium: Chromium, live_to_look_at: Live) -> Iterator[Rooms]:
    visits = Visits(chromium)
    yield Rooms(live_to_look_at, visits)
    visits.close()


def grave(page: Page) -> list[str]:
    return [str(violation) for violation in axe_violations(page)]


@pytest.mark.parametrize("look", LOOKS[::3], ids="-".join)  # each theme and each language once: what differs is one or the other
@pytest.mark.parametrize("place", PLACES)
def test_nothing_keeps_anybody_out_of(rooms: Rooms, place: str, look: Look) -> None:
    page = rooms.open(look, place)
    unfold(page)
    assert page.locator("html").get_attribute("data-bs-theme") == look[0]
    assert page.locator("html").get_attribute("lang") == ("zh-Hans" if look[1] == "zh-CN" else "en")
    assert page.locator("h1").count() == 1
    assert grave(page) == []
    assert rooms.visits.complaints == []


@pytest.mark.parametrize("look", LOOKS, ids="-".join)
def test_the_open_menu_keeps_nobody_out(rooms: Rooms, look: Look) -> None:
    page = rooms.open(look, "status")
    page.locator("details.menu > summary").click()
    assert grave(page) == []


@pytest.mark.parametrize("look", LOOKS, ids="-".join)
def test_a_refused_login_keeps_nobody_out(rooms: Rooms, look: Look) -> None:
    page = rooms.open(look, "login")
    page.locator("#username").fill("nobody")
    page.locator("#password").fill("not the password")
    follow(page.locator("main button"))
    assert page.locator(".note.bad[role=alert]").count() == 1
    assert grave(page) == []


@pytest.mark.parametrize("look", LOOKS, ids="-".join)
def test_a_preview_and_a_mistake_keep_nobody_out(rooms: Rooms, look: Look) -> None:
    page = rooms.open(look, "new mapping")
    page.locator("#f-group").fill("local:engineers")
    page.locator("#f-cluster").select_option("demo")
    page.locator("#f-role_name").fill("cluster-admin")
    follow(page.locator("button[value=preview]"))
    assert page.locator(".people li").count() == 1
    assert grave(page) == []
    page.locator("#f-role_name").fill("system:masters")
    follow(page.locator("button[value=preview]"))
    assert page.locator(".note.bad[role=alert]").count() == 1
    assert page.locator("#f-role_name").get_attribute("aria-invalid") == "true"
    assert grave(page) == []


@pytest.mark.parametrize("look", LOOKS, ids="-".join)
def test_a_token_shown_once_keeps_nobody_out(rooms: Rooms, look: Look) -> None:
    page = rooms.open(look, "account")
    page.locator("#f-name").fill(f"for {look[0]} {look[1]}")
    follow(page.locator("form[action$=tokens] button"))
    assert "kiam_" in page.locator(".note.good").inner_text()
    assert grave(page) == []


def test_no_page_is_left_out(live_to_look_at: Live) -> None:
    app = live_to_look_at.product.app
    seen = set()
    for _who, path in PLACES.values():
        try:
            endpoint, _arguments = app.url_map.bind("").match(path.partition("?")[0])
        except HTTPException:
            continue
        seen.add(endpoint)
    ours = {blueprint.name for blueprint in BLUEPRINTS}
    pages = {
        rule.endpoint for rule in app.url_map.iter_rules() if "GET" in (rule.methods or ()) and rule.endpoint.partition(".")[0] in ours
    }
    assert pages - NOT_PAGES == seen
