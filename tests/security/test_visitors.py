"""Visitors see the login page; forms without their token, foreign ones and endless ones are refused with nothing changed."""

from __future__ import annotations

import re
from collections.abc import Callable
from io import BytesIO

import pytest
from fixtures.house import enter_all, form_token, mapping_id, person_id
from fixtures.offline import events
from fixtures.product import PASSWORD, Browser, Product
from fixtures.routes import PAGES, Route
from fixtures.stored import contents
from werkzeug.test import TestResponse

from iam.app import MAX_REQUEST_BYTES
from iam.services.policies import MAX_POLICY_BYTES

POSTS = [route for route in PAGES if route.method == "POST"]
OPEN_POSTS = [Route("POST login.with_password", "/login", frozenset()), Route("POST login.preferences", "/preferences", frozenset())]
ELSEWHERE = [
    "//evil.example", "///evil.example", "/\\evil.example", "\\\\evil.example", "https:evil.example", "https:/evil.example",
    "https://evil.example/", "http:///evil.example", "/\t/evil.example", "/\n/evil.example", "\t//evil.example", " //evil.example",
    "/\r\nLocation: https://evil.example", "javascript:alert(1)", "data:text/html,evil", "evil.example", "/\x00/evil.example", "",
    "/ok\\..\\..//evil.example", "/.//evil.example", "/..//evil.example", "/%5cevil.example/\\",
]


def path_of(route: Route, product: Product) -> str:
    found = {"person": person_id(product, "erin"), "mapping": mapping_id(product)}
    return re.sub(r"\{([\w ]+)\}", lambda match: found.get(match.group(1), "0" * 24), route.path)


def where(answer: TestResponse) -> str:
    assert answer.status_code == 302, answer.text
    return answer.headers["Location"]


@pytest.mark.parametrize("route", PAGES, ids=str)
def test_a_visitor_is_sent_to_log_in(house_to_look_at: Product, route: Route) -> None:
    before = contents(house_to_look_at)
    path, browser = path_of(route, house_to_look_at).partition("?")[0], house_to_look_at.browser()
    if route.method == "GET":
        assert where(browser.get(path + "?a=b")) == f"/login?next={path}?a%3Db"
    else:
        token = form_token(browser, "/login")
        assert where(browser.client.post(path, data={"csrf_token": token, **route.body})) == "/login?next=/"
    assert contents(house_to_look_at) == before


@pytest.mark.parametrize("route", [*POSTS, *OPEN_POSTS], ids=str)
def test_a_form_without_its_token_changes_nothing(house_to_look_at: Product, route: Route) -> None:
    browser, other = house_to_look_at.logged_in("ada"), house_to_look_at.logged_in("erin")
    form = dict(route.body, directory="local", username="erin", password=PASSWORD, language="zh_Hans")
    made_up = "IjAwMDAi.AAAAAA.AAAAAAAAAAAAAAAAAAAAAAAAAAA"
    before = contents(house_to_look_at, "audit_trail", "failed_logins")
    for token in ({}, {"csrf_token": ""}, {"csrf_token": made_up}, {"csrf_token": form_token(other)}):
        answer = browser.client.post(path_of(route, house_to_look_at), data=form | token)
        assert answer.status_code == 400
        assert "Nothing was changed" in answer.text
        assert {cookie.partition("=")[0] for cookie in answer.headers.getlist("Set-Cookie")} <= {"kube_iam_state"}
        assert contents(house_to_look_at, "audit_trail", "failed_logins") == before


def test_every_form_that_changes_something_is_among_them(product: Product) -> None:
    walked = {route.key for route in (*POSTS, *OPEN_POSTS)}
    csrf = product.app.extensions["csrf"]
    for rule in product.app.url_map.iter_rules():
        for method in (rule.methods or set()) - {"GET", "HEAD", "OPTIONS"}:
            if not rule.rule.startswith("/api/"):
                assert f"{method} {rule.endpoint}" in walked
                assert rule.endpoint.partition(".")[0] not in csrf._exempt_blueprints


@pytest.mark.parametrize("route", [*POSTS, *OPEN_POSTS], ids=str)
def test_an_endless_form_is_refused(house_to_look_at: Product, route: Route) -> None:
    browser = house_to_look_at.logged_in("ada")
    token, path = form_token(browser), path_of(route, house_to_look_at)
    before = contents(house_to_look_at)
    most = MAX_POLICY_BYTES if route.key in {"POST policies.new", "POST policies.text"} else MAX_REQUEST_BYTES
    answer = browser.client.post(path, data={"csrf_token": token, **route.body, "note": "x" * most})
    assert answer.status_code == 413
    assert f"At most {most >> 20} MiB" in answer.text
    assert contents(house_to_look_at) == before


def test_an_endless_file_is_refused(house_to_look_at: Product) -> None:
    browser = house_to_look_at.logged_in("erin")
    form = {"csrf_token": form_token(browser), "key": "theirs", "csr": (BytesIO(b"x" * MAX_REQUEST_BYTES), "erin.csr")}
    answer = browser.client.post("/kubeconfig/demo", data=form, content_type="multipart/form-data")
    assert answer.status_code == 413


def test_an_endless_document_is_refused(house_to_look_at: Product) -> None:
    answer = house_to_look_at.api("POST", "/clusters", house_to_look_at.token("ada", "write"), {"name": "x" * MAX_REQUEST_BYTES})
    assert answer.status_code == 413
    assert answer.mimetype == "application/problem+json"


def from_the_login(product: Product, target: str) -> str:
    return where(product.browser().login("erin", PASSWORD, next=target))


def from_the_login_page_of_somebody_who_is_in(product: Product, target: str) -> str:
    return where(product.logged_in("erin").get("/login", query_string={"next": target}))


def from_choosing_a_language(product: Product, target: str) -> str:
    return where(product.browser().post("/preferences", language="en", next=target))


def from_the_form_of_the_login_page(product: Product, target: str) -> str:
    page = product.browser().get("/login", query_string={"next": target}).text
    (value,) = re.findall(r'name="next" value="([^"]*)"', page.split("<main")[1])
    return str(value)


@pytest.mark.parametrize(
    "way", [from_the_login, from_the_login_page_of_somebody_who_is_in, from_choosing_a_language, from_the_form_of_the_login_page]
)
def test_no_way_leads_off_the_site(house_to_look_at: Product, way: Callable[[Product, str], str]) -> None:
    locations = {target: way(house_to_look_at, target) for target in ELSEWHERE}
    assert {target: location for target, location in locations.items() if not stays(location)} == {}


def stays(location: str) -> bool:
    """As browsers read it: blanks in front do not count, a backslash is a slash, control characters are not there."""
    seen = re.sub(r"[\t\r\n]", "", location).strip("\x00 ").replace("\\", "/")
    return seen.startswith("/") and not seen.startswith("//")


def test_a_path_of_ours_is_where_the_login_leads(house_to_look_at: Product) -> None:
    here = "/audit?action=login&actor=erin"
    assert where(house_to_look_at.browser().login("erin", PASSWORD, next=here)) == here


def test_a_refused_form_keeps_the_request_id_of_its_own_request(house_to_look_at: Product) -> None:
    browser: Browser = enter_all(house_to_look_at)["ada"]
    answer = browser.client.post("/people/x/disable", headers={"X-Request-ID": "a-refused-form"})
    assert answer.status_code == 400
    assert answer.headers.get("X-Request-ID") == "a-refused-form"
    assert "a-refused-form" in answer.text


@pytest.mark.parametrize("offered", ["short", "x" * 65, "with blanks in", "<script>alert(1)", "line%0abreak"])
def test_a_strange_request_id_is_replaced(house_to_look_at: Product, offered: str) -> None:
    answer = house_to_look_at.browser().client.get("/login", headers={"X-Request-ID": offered})
    assert re.fullmatch("[0-9a-f]{16}", answer.headers["X-Request-ID"])


def test_a_refusal_is_found_by_its_request_id(house_to_look_at: Product) -> None:
    browser = house_to_look_at.logged_in("erin")
    answer = browser.client.get("/clusters", headers={"X-Request-ID": "found-by-this"})
    assert answer.status_code == 403
    assert "found-by-this" in answer.text
    assert events(house_to_look_at, action="access.denied", limit=1)[0].request_id == "found-by-this"
