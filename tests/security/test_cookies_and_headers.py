"""Cookies that scripts and other sites cannot have, a fresh session key at each login, and the headers of every answer."""

from __future__ import annotations

import re
from http.cookies import Morsel, SimpleCookie

import pytest
from fixtures.house import form_token, inhabit, mapping_id, person_id, session_key
from fixtures.product import PASSWORD, Product, ProductMaker
from fixtures.routes import PAGES
from flask import Flask
from werkzeug.test import TestResponse

from iam.web.language import COOKIE as LANGUAGE_COOKIE
from iam.web.pages import THEME_COOKIE
from iam.web.visitors import SESSION_COOKIE

PUBLIC = "https://iam.example.org"
STATE_COOKIE = "kube_iam_state"


def cookies(*answers: TestResponse) -> dict[str, Morsel[str]]:
    """What these answers set, by name."""
    jar: SimpleCookie = SimpleCookie()
    for answer in answers:
        for header in answer.headers.getlist("Set-Cookie"):
            jar.load(header)
    return dict(jar.items())


def all_cookies(product: Product, base_url: str) -> dict[str, Morsel[str]]:
    """Every cookie that we know how to set, as a browser at this address gets them."""
    client = product.app.test_client()
    page = client.get("/login", base_url=base_url)
    token = re.search(r'name="csrf_token" value="([^"]+)"', page.text)
    assert token
    form = {"csrf_token": token.group(1), "directory": "local", "username": "erin", "password": PASSWORD, "language": "en", "theme": "dark"}
    headers = {"Referer": f"{base_url}/login"}
    chosen = client.post("/preferences", data=form, base_url=base_url, headers=headers)
    entered = client.post("/login", data=form, base_url=base_url, headers=headers)
    assert entered.status_code == 302, entered.text
    return cookies(page, chosen, entered)


class TestCookies:
    @pytest.mark.parametrize(("base_url", "is_secure"), [("http://127.0.0.1:8000", False), (PUBLIC, True)])
    def test_scripts_and_other_sites_cannot_have_them(self, make_product: ProductMaker, base_url: str, is_secure: bool) -> None:
        product = make_product(server={"public_url": base_url})
        inhabit(product)
        found = all_cookies(product, base_url)
        assert found.keys() == {SESSION_COOKIE, STATE_COOKIE, LANGUAGE_COOKIE, THEME_COOKIE}
        for cookie in found.values():
            assert cookie["httponly"], cookie.key
            assert cookie["samesite"] == "Lax", cookie.key
            assert bool(cookie["secure"]) == is_secure, cookie.key
            assert cookie["domain"] == "", cookie.key
            assert cookie["path"] == "/", cookie.key

    def test_a_session_key_is_not_to_be_guessed(self, house: Product) -> None:
        keys = {session_key(house.logged_in("erin")) for _ in range(3)}
        assert len(keys) == 3
        assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", key) for key in keys)

    def test_a_key_from_before_the_login_is_worth_nothing_afterwards(self, house: Product) -> None:
        victim, attacker = house.browser(), house.logged_in("nico")
        planted = session_key(attacker)
        victim.client.set_cookie(SESSION_COOKIE, planted)
        form = {"csrf_token": form_token(victim), "directory": "local", "username": "ada", "password": PASSWORD}
        victim.client.post("/login", data=form)
        assert session_key(victim) != planted
        assert "Ada Adeyemi" in victim.get("/").text
        assert "Ada Adeyemi" not in attacker.get("/").text

    def test_the_form_token_of_before_the_login_is_worth_nothing_afterwards(self, house: Product) -> None:
        browser = house.browser()
        before = form_token(browser, "/login")
        browser.login("ada", PASSWORD)
        assert browser.client.post("/status/sync/local", data={"csrf_token": before}).status_code == 400

    def test_logging_out_ends_the_session_itself(self, house: Product) -> None:
        browser = house.logged_in("erin")
        key = session_key(browser)
        assert browser.post("/logout").status_code == 302
        assert session_key(browser) == ""
        thief = house.browser()
        thief.client.set_cookie(SESSION_COOKIE, key)
        assert thief.get("/").location == "/login?next=/"

    @pytest.mark.parametrize("key", ["", "x", "0" * 4000, "'; DROP TABLE sessions; --", "é\u2028"])
    def test_a_made_up_key_opens_nothing(self, house: Product, key: str) -> None:
        stranger = house.browser()
        stranger.client.set_cookie(SESSION_COOKIE, key)
        assert stranger.get("/").location == "/login?next=/"


def policy(answer: TestResponse) -> dict[str, list[str]]:
    directives = (part.split() for part in answer.headers["Content-Security-Policy"].split(";"))
    return {name: values for name, *values in directives}


def check(answer: TestResponse) -> None:
    """The headers that every answer has."""
    found = policy(answer)
    assert found["default-src"] == ["'none'"]
    assert found["frame-ancestors"] == ["'none'"]
    assert found["base-uri"] == ["'none'"]
    assert found["form-action"] == ["'self'"]
    assert found["script-src"] == ["'self'"]
    assert found["style-src"] == ["'self'"]
    assert not {"'unsafe-inline'", "'unsafe-eval'", "*", "http:", "https:"} & {value for values in found.values() for value in values}
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Referrer-Policy"] in {"same-origin", "no-referrer", "strict-origin"}
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Origin" not in answer.headers


class TestHeaders:
    @pytest.mark.parametrize("route", [route for route in PAGES if route.method == "GET"], ids=str)
    def test_of_every_page(self, house_to_look_at: Product, furniture: dict[str, str], route: object) -> None:
        product = house_to_look_at
        path = str(getattr(route, "path", "")).format(person=person_id(product, "erin"), mapping=mapping_id(product), **furniture)
        for who in ("ada", "erin"):
            answer = product.logged_in(who).get(path)
            check(answer)
            assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=|javascript:", answer.text)
            assert not re.search(r'(?:src|href|action)="(?:https?:)?//', answer.text)

    def test_of_the_kubeconfig(self, house: Product) -> None:
        answer = house.logged_in("erin").post("/kubeconfig/demo", key="ours")
        assert answer.mimetype == "application/yaml"
        assert answer.headers["Content-Disposition"].startswith("attachment;")
        check(answer)

    def test_of_a_new_token(self, house: Product) -> None:
        answer = house.logged_in("erin").post("/account/tokens", name="one", scopes=["read"], days="1")
        assert "kiam_" in answer.text
        check(answer)

    @pytest.mark.parametrize("path", [
        "/login", "/goodbye", "/nowhere", "/clusters", "/healthz", "/readyz", "/metrics", "/api/v1/me", "/api/v1/openapi.json",
    ])
    def test_of_what_visitors_get(self, house: Product, path: str) -> None:
        check(house.browser().get(path))

    def test_of_a_refused_form_and_of_an_endless_one(self, house: Product) -> None:
        browser = house.logged_in("ada")
        for form, status in (({"a": "b"}, 400), ({"a": "x" * 2**20}, 413)):
            answer = browser.client.post("/clusters/new", data=form)
            assert answer.status_code == status
            check(answer)

    def test_of_our_own_mistakes_which_tell_nothing(self, house: Product, monkeypatch: pytest.MonkeyPatch) -> None:
        browser = house.logged_in("erin")
        browser.client.application.config["PROPAGATE_EXCEPTIONS"] = False
        monkeypatch.setattr("iam.services.holdings.Holdings.of", _fail)
        answer = browser.get("/")
        assert answer.status_code == 500
        check(answer)
        assert "the secret detail" not in answer.text
        assert "Traceback" not in answer.text
        assert answer.headers["X-Request-ID"] in answer.text

    def test_under_https_browsers_stay_there(self, make_product: ProductMaker) -> None:
        secure, plain = make_product(server={"public_url": PUBLIC}), make_product()
        assert "max-age=31536000" in secure.browser().client.get("/login", base_url=PUBLIC).headers["Strict-Transport-Security"]
        assert "Strict-Transport-Security" not in plain.browser().get("/login").headers

    def test_static_files_may_be_kept_but_not_reinterpreted(self, house: Product) -> None:
        for path in ("/static/app.js", "/static/app.css", "/static/theme.js", "/static/mark.svg"):
            answer = house.browser().get(path)
            assert answer.status_code == 200
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert "no-store" not in answer.headers.get("Cache-Control", "")
            assert "Set-Cookie" not in answer.headers


def _fail(*_: object) -> None:
    raise RuntimeError("the secret detail")


def test_debugging_is_off(house: Product) -> None:
    app: Flask = house.app
    assert not app.debug
    assert not app.testing
