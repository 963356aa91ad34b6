"""On a phone no page is wider than the screen: with nothing on it, and with a thousand rows of the longest names."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fixtures.crowd import MANY, long
from fixtures.house import line
from fixtures.live import Live
from fixtures.visits import PLACES as ELSEWHERE
from fixtures.visits import Visits, follow, unfold
from playwright.sync_api import Page
from rigs.chromium import Chromium

from iam.services.policies import NewPolicy

PHONE = 390
OVERHANG = """() => [...document.querySelectorAll('main *, header *, footer *')]
    .filter(one => one.getBoundingClientRect().right > innerWidth + 1 && !one.closest('.scroll, .tabs'))
    .slice(0, 5).map(one => one.tagName + '.' + one.className + ' ' + one.textContent.trim().slice(0, 30))"""
"""What sticks out, for the message."""
EXPLORER = {
    "who can": ("ada", "/explorer/who-can"),
    "who can, nobody": ("ada", "/explorer/who-can?cluster=demo&verb=get&resource=pods"),
    "what can": ("ada", "/explorer/what-can?cluster=demo&user=ada&when=planned"),
    "what can I": ("erin", "/explorer/what-can?cluster=demo"),
    "why not": ("ada", "/explorer/why?cluster=demo&user=ada&verb=get&resource=pods&when=planned"),
    "namespaces": ("ada", "/explorer/namespaces"),
    "compare": ("ada", "/explorer/compare?cluster=demo&first=ada&second=erin"),
    "paths": ("ada", "/explorer/paths?cluster=demo"),
    "a question about no cluster": ("ada", f"/explorer/paths?cluster={long('nowhere', 63)}&user={long('u', 200)}"),
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
PEOPLE_HERE = {"", "ada"}
"""Who lives in the empty house."""


class Phones:
    """One profile for each person, kept for the whole file."""

    def __init__(self, visits: Visits) -> None:
        self.visits = visits
        self._pages: dict[tuple[str, str, str], Page] = {}

    def open(self, live: Live, who: str, path: str, locale: str = "en") -> Page:
        key = (live.base, who, locale)
        if key not in self._pages:
            self._pages[key] = self.visits(live, who, width=PHONE, locale=locale)
        page = self._pages[key]
        answer = page.goto(live.base + live.path(path))
        assert answer
        assert answer.status < 500, answer.text()
        return page


@pytest.fixture(scope="module")
def phones(chromium: Chromium) -> Iterator[Phones]:
    visits = Visits(chromium)
    yield Phones(visits)
    visits.close()


def overhang(page: Page) -> list[str]:
    """What makes a page scroll sideways; nothing on a page that does not."""
    wide, screen = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    return [] if wide <= screen else [f"{wide} px of {screen}", *page.evaluate(OVERHANG)]


@pytest.mark.parametrize(("place", "locale"), [(place, ("en", "zh-CN")[number % 2]) for number, place in enumerate(PLACES)])
def test_it_fits_a_phone(phones: Phones, live_to_look_at: Live, place: str, locale: str) -> None:
    page = phones.open(live_to_look_at, *PLACES[place], locale)
    assert overhang(page) == []
    unfold(page)
    assert overhang(page) == []
    assert phones.visits.complaints == []


@pytest.mark.parametrize("place", PLACES)
def test_it_fits_a_phone_with_a_thousand_long_names(phones: Phones, live_and_crowded: Live, place: str) -> None:
    who, path = PLACES[place]
    page = phones.open(live_and_crowded, who, path)
    assert overhang(page) == []
    unfold(page)
    assert overhang(page) == []


@pytest.mark.parametrize("place", [place for place, (who, path) in PLACES.items() if who in PEOPLE_HERE and "{" not in path])
def test_it_fits_a_phone_with_nothing_on_it(phones: Phones, live_and_empty: Live, place: str) -> None:
    who, path = PLACES[place]
    page = phones.open(live_and_empty, who, path)
    assert page.locator("h1").inner_text()
    unfold(page)
    assert overhang(page) == []


@pytest.mark.parametrize("path", [
    f"/people/{0:024d}", f"/mappings/{0:024d}/remove", "/mappings?page=5", "/people?page=9", f"/audit?actor={long('actor', 255)}",
])
def test_the_longest_names_fit_a_phone_one_by_one(phones: Phones, live_and_crowded: Live, path: str) -> None:
    page = phones.open(live_and_crowded, "ada", path)
    assert "W" * 60 in page.locator("main").inner_text()
    unfold(page)
    assert overhang(page) == []


ENTRY, RULE, DOOR = (long(f"{kind}{0:024d}", 63) for kind in "erd")


@pytest.mark.parametrize("path", [
    "/requests", "/requests/new", f"/requests/new?entry={ENTRY}", f"/requests/new?draft={0:024d}", f"/requests/new?again={500:024d}",
    f"/requests/{40:024d}", f"/requests/{150:024d}", f"/requests/{250:024d}", f"/requests/{500:024d}", "/inbox", "/inbox?page=3", "/grants",
    "/grants?cluster=demo", "/catalogue", f"/catalogue/{ENTRY}", "/rules", f"/rules/{RULE}",
    f"/rules/simulate?username=ada&entry={ENTRY}&clusters=demo&namespaces={long('n', 63).lower()}", "/emergency", f"/emergency/{0:024d}",
    f"/emergency/{20:024d}", "/emergency/doors", f"/emergency/doors/{DOOR}", "/notifications",
])  # fmt: skip
def test_the_longest_requests_fit_a_phone(phones: Phones, live_and_crowded: Live, path: str) -> None:
    page = phones.open(live_and_crowded, "ada", path)
    assert "W" * 60 in page.locator("main").inner_html()
    assert overhang(page) == []
    unfold(page)
    assert overhang(page) == []


def test_the_open_menu_fits_a_phone(phones: Phones, live_and_crowded: Live) -> None:
    page = phones.open(live_and_crowded, "ada", "/status")
    page.locator("details.menu > summary").click()
    assert overhang(page) == []
    menu = page.locator(".menu-body").bounding_box()
    assert menu
    assert menu["x"] >= 0
    assert menu["x"] + menu["width"] <= PHONE


def test_a_preview_for_a_thousand_people_fits_a_phone(phones: Phones, live_and_crowded: Live) -> None:
    page = phones.open(live_and_crowded, "ada", "/mappings/new?cluster=demo")
    page.get_by_label("Group", exact=True).fill("local:" + long(f"g{0:024d}-", 64))
    page.get_by_label("Role", exact=True).fill(long("role-", 253))
    page.get_by_label("Namespaces").fill(" ".join(long(f"n{number}", 63).lower() for number in range(20)))
    follow(page.get_by_role("button", name="Show who gains what"))
    assert page.get_by_role("heading", name=f"{MANY + 1} people gain it").count() == 1
    assert overhang(page) == []


def test_long_lists_come_in_pages(phones: Phones, live_and_crowded: Live) -> None:
    page = phones.open(live_and_crowded, "ada", "/mappings")
    assert page.locator("tbody tr").count() == 100
    follow(page.get_by_role("link", name="Next"))
    assert "2 of 11" in page.locator(".pager").inner_text()
    page = phones.open(live_and_crowded, "ada", "/audit")
    assert page.locator(".timeline li").count() == 100
    follow(page.get_by_role("link", name="Older"))
    assert page.locator(".timeline li").count() == 100


@pytest.fixture(scope="module")
def long_policy(live_and_crowded: Live) -> str:
    """A thousand lines of the longest names, two versions of them, nothing published."""
    name, product = long("long", 63).lower(), live_and_crowded.product
    lines = [
        line(user=long(f"u{number}", 200), namespace=long(f"n{number}", 63).lower(), resource=long("r", 253), apiGroup=long("g", 253))
        for number in range(MANY)
    ]
    with product.app.app_context():
        command = NewPolicy(name, "".join(lines), long("because", 500), "demo", long("owner", 255))
        product.services.policies.create(product.operator, command)
        product.services.policies.save(product.operator, name, "".join([f"# {long('comment', 2000)}\n", *lines[1:]]), long("w", 500), 1)
    return name


@pytest.mark.parametrize("path", [
    "", "/text", "/line", "/line?line=3", "/difference", f"/simulate?user={long('u', 200)}&verb=get&resource={long('r', 253)}", "/rbac",
    "/publish", "/settings", "?page=7",
])  # fmt: skip
def test_a_policy_of_the_longest_names_fits_a_phone(phones: Phones, live_and_crowded: Live, long_policy: str, path: str) -> None:
    page = phones.open(live_and_crowded, "ada", f"/policies/{long_policy}{path}")
    assert page.get_by_role("link", name=long_policy).count() + page.get_by_role("heading", name=long_policy).count()
    unfold(page)
    assert overhang(page) == []


def test_many_policies_fit_a_phone(phones: Phones, live_and_crowded: Live, long_policy: str) -> None:
    page = phones.open(live_and_crowded, "ada", "/policies")
    assert page.get_by_role("link", name=long_policy).is_visible()
    assert overhang(page) == []
