"""Who may do what: each role at each route, by page and by API; every refusal is an audit event and changes nothing."""

from __future__ import annotations

import re

import pytest
from fixtures.house import WHO, ask, break_glass, enter_all, furnish, mapping_id, person_id
from fixtures.offline import events
from fixtures.product import Browser, Product
from fixtures.routes import API, OPEN, PAGES, ROLES, Route, routes_of
from fixtures.stored import contents
from werkzeug.test import TestResponse

from iam.services.base import SCOPES
from iam.services.telling.webhooks import NewWebhook

FURNISHED = {"requests", "inbox", "catalogue", "emergency", "notifications", "api_requests", "api_rules", "audit", "api_audit"}
"""Pages that say little in a house without furniture."""
UNSTEADY = ("audit_trail", "sessions", "failed_logins")
"""Tables that refused requests may change."""


def furniture_for(route: Route, product: Product) -> dict[str, str]:
    """What the house is furnished with for this route, by id; and a webhook."""
    if route.blueprint not in FURNISHED:
        return {}
    if "{webhook}" in route.path:
        with product.app.app_context():
            hook = NewWebhook("chat", "https://93.184.215.14/hook", "json", ("review.overdue",))
            product.services.webhooks.create(product.operator, hook)
    return {"webhook": "chat"} | furnish(product)


def made_for(path: str, product: Product, username: str, browser: Browser | None = None) -> str:
    """The path with the ids of what is made for this one request: one's own, or somebody's fresh one."""
    if "{own draft}" in path and browser:
        browser.post("/requests/new", step="draft", reason="mine")
        path = path.replace("{own draft}", re.findall("/requests/drafts/([0-9a-f]+)/drop", browser.get("/requests").text)[0])
    if "{own grant}" in path or "{fresh grant}" in path:
        held = ask(product, username if "own" in path else "erin", "look-around", f"for-{username}")
        with product.app.app_context():
            grant = product.services.grants.of_request(held)
            path = path.replace("{own grant}", grant.id if grant else "").replace("{fresh grant}", grant.id if grant else "")
    if "{fresh request}" in path:
        path = path.replace("{fresh request}", ask(product, "erin", "change-staging", f"for-{username}-staging"))
    return path.replace("{fresh opening}", break_glass(product)) if "{fresh opening}" in path else path


def path_of(route: Route, product: Product, browser: Browser | None = None, furniture: dict[str, str] | None = None) -> str:
    """The path with its ids filled in: somebody else's id, one's own token and session."""
    path = route.path
    if browser and "{token}" in path:
        browser.post("/account/tokens", name="own", scopes=["read"], days="1")
    account = browser.get("/account").text if browser and ("{token}" in path or "{session}" in path) else ""
    for name, found in {
        "person": person_id(product, "nico"), "mapping": mapping_id(product),
        "token": next(iter(re.findall("/account/tokens/([0-9a-f]+)/revoke", account)), ""),
        "session": next(iter(re.findall("/account/sessions/([0-9a-f]+)/end", account)), ""), **(furniture or {}),
    }.items():
        path = path.replace(f"{{{name}}}", found)
    return path


def send(route: Route, browser: Browser, path: str) -> TestResponse:
    return browser.get(path) if route.method == "GET" else browser.post(path, **route.body)


def call(route: Route, product: Product, headers: dict[str, str], path: str = "") -> TestResponse:
    body = route.body if route.method in {"POST", "PUT"} else None
    return product.api(route.method, path or path_of(route, product), headers, body, buffered=True)


def last_refusal(product: Product) -> tuple[str, str]:
    """Who was refused last, and the result."""
    event = events(product, action="access.denied", limit=1)[0]
    return event.actor_name, event.result


def expectation(route: Route, role: str) -> int:
    """The status for somebody with this role."""
    return route.status if role in route.allowed else 404 if role in route.hidden else 403


def test_every_route_has_its_line(product: Product) -> None:
    assert OPEN | {route.key for route in (*PAGES, *API)} == set(routes_of(product))


@pytest.mark.parametrize("route", PAGES, ids=str)
def test_a_page_is_for(house: Product, route: Route) -> None:
    browsers, furniture = enter_all(house), furniture_for(route, house)
    answers, expected = {}, {}
    for role in ROLES:
        browser = browsers[WHO[role]]
        if "{session}" in route.path:
            house.logged_in(WHO[role])
        path = made_for(path_of(route, house, browser, furniture), house, WHO[role], browser)
        before = contents(house, *UNSTEADY)
        answer = send(route, browser, path)
        answers[role], expected[role] = answer.status_code, expectation(route, role)
        if role not in route.allowed:
            assert contents(house, *UNSTEADY) == before
        if expected[role] == 403:
            assert last_refusal(house) == (WHO[role], "refused")
    assert answers == expected


@pytest.mark.parametrize("route", API, ids=str)
def test_the_api_is_for(house: Product, route: Route) -> None:
    enter_all(house)
    furniture = furniture_for(route, house)
    answers, expected = {}, {}
    for role in ROLES:
        headers = house.token(WHO[role], *{route.scope or "read", route.also or route.scope or "read"})
        path = made_for(path_of(route, house, furniture=furniture), house, WHO[role])
        before = contents(house, *UNSTEADY, "api_tokens")
        answer = call(route, house, headers, path)
        answers[role], expected[role] = answer.status_code, expectation(route, role)
        if role not in route.allowed:
            assert answer.mimetype == "application/problem+json"
            assert contents(house, *UNSTEADY, "api_tokens") == before
        if expected[role] == 403:
            assert last_refusal(house) == (WHO[role], "refused")
    assert answers == expected


@pytest.mark.parametrize("scope", SCOPES)
def test_a_token_without_the_scope_is_refused(house: Product, scope: str) -> None:
    enter_all(house)
    furniture = furnish(house)
    headers = house.token("ada", *(other for other in SCOPES if other != scope))
    before = contents(house, "audit_trail", "api_tokens")
    for route in (route for route in API if route.scope == scope):
        assert call(route, house, headers, path_of(route, house, furniture=furniture)).status_code == 403, route
        assert last_refusal(house) == ("ada", "refused")
        assert events(house, limit=1)[0].reason == f"This token does not carry the scope {scope}."
    assert contents(house, "audit_trail", "api_tokens") == before


@pytest.mark.parametrize("route", API, ids=str)
def test_the_api_takes_no_cookie(house_to_look_at: Product, route: Route) -> None:
    product = house_to_look_at
    browser = product.logged_in("ada")
    before = contents(product, "audit_trail", "failed_logins")
    answer = browser.client.open(f"/api/v1{path_of(route, product)}", method=route.method, json=route.body or None)
    assert answer.status_code == 401
    assert contents(product, "audit_trail", "failed_logins") == before


@pytest.mark.parametrize("path", ["/account/sessions/{session}/end", "/account/tokens/{token}/revoke"])
def test_nobody_ends_what_is_somebody_elses(house: Product, path: str) -> None:
    browsers = enter_all(house)
    house.logged_in("erin")
    theirs = path_of(Route("", path, frozenset()), house, browsers["erin"])
    before = contents(house, "audit_trail", "failed_logins")
    assert browsers["ada"].post(theirs).status_code == 404
    assert contents(house, "audit_trail", "failed_logins") == before


def test_a_person_sees_only_their_own_events(house: Product) -> None:
    browsers = enter_all(house)
    shown = browsers["erin"].get("/audit?actor=ada").text
    assert "No such events" in shown
    said = re.findall(r'class="said"[^>]*>([^<]*)<', browsers["erin"].get("/audit").text)
    assert {one.removeprefix("Refused: ").split()[0] for one in said} == {"erin"}
    items = house.api("GET", "/audit", house.token("erin", "read")).get_json()["items"]
    assert {event["actor_name"] for event in items} == {"erin"}


def test_one_sees_oneself_and_nobody_else(house: Product) -> None:
    browser = enter_all(house)["erin"]
    assert browser.get(f"/people/{person_id(house, 'erin')}").status_code == 200
    known, unknown = browser.get(f"/people/{person_id(house, 'ada')}"), browser.get("/people/nobody")
    assert known.status_code == unknown.status_code == 403


def test_without_access_there_is_nothing_to_download(house: Product) -> None:
    browser = enter_all(house)["nico"]
    for cluster in ("demo", "all", "spare", "no-such-cluster"):
        assert browser.post(f"/kubeconfig/{cluster}", key="ours").status_code == 403
        assert last_refusal(house) == ("nico", "refused")


@pytest.mark.parametrize("role", ["person", "approver", "auditor"])
def test_pages_offer_nothing_that_would_be_refused(house: Product, role: str) -> None:
    browser = enter_all(house)[WHO[role]]
    furnish(house)
    seen, waiting = set(), ["/"]
    while waiting:
        path = waiting.pop()
        seen.add(path)
        answer = browser.get(path)
        assert answer.status_code == 200, path
        links = set(re.findall(r'<a [^>]*href="(/[^"#?]*)', answer.text))
        waiting += [link for link in links - seen if not link.startswith(("/api", "/static"))]
        for action in re.findall(r'<form method="post"[^>]* action="([^"]*)"', answer.text):
            is_own = action.startswith(("/account/", "/requests/drafts/")) or re.fullmatch("/grants/[0-9a-f]+/return", action)
            for_all = {"/logout", "/preferences", "/account/tokens", "/notifications", "/audit/export"}
            assert is_own or action in for_all, f"{action} on {path}"
