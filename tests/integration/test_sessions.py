"""Sessions, throttling and API tokens, as the person at the browser or behind a token meets them."""

from __future__ import annotations

import hashlib
import re

import pytest
from fixtures.offline import events, person, stored
from fixtures.product import PASSWORD, Browser, Product, ProductMaker

from iam.models import ApiToken, Session
from iam.web.visitors import SESSION_COOKIE


@pytest.fixture
def known(product: Product) -> Product:
    """The product with two people and an administrator."""
    for name, groups in (("erin", ["engineers"]), ("olga", ["engineers"]), ("ada", ["administrators"])):
        product.account(name, *groups)
    return product


def cookie(browser: Browser) -> str:
    found = browser.client.get_cookie(SESSION_COOKIE)
    return found.value if found else ""


def is_in(browser: Browser) -> bool:
    return browser.get("/").status_code == 200


def own_sessions(browser: Browser) -> list[str]:
    return re.findall(r"/account/sessions/([0-9a-f]+)/end", browser.get("/account").text)


def disable(product: Product, username: str) -> None:
    with product.app.app_context():
        product.services.people.disable(product.operator, product.services.people.by_username(username).id)


def enable(product: Product, username: str) -> None:
    with product.app.app_context():
        product.services.people.enable(product.operator, product.services.people.by_username(username).id)


class TestSessions:
    def test_a_session_that_is_not_used_for_an_hour_ends(self, known: Product) -> None:
        browser = known.logged_in("erin")
        known.clock.forward(minutes=59)
        assert is_in(browser)
        known.clock.forward(minutes=61)
        answer = browser.get("/account")
        assert answer.location == "/login?next=/account"

    def test_a_session_in_constant_use_ends_after_twelve_hours(self, known: Product) -> None:
        browser = known.logged_in("erin")
        for _ in range(23):
            known.clock.forward(minutes=30)
            assert is_in(browser)
        known.clock.forward(minutes=30)
        assert not is_in(browser)

    def test_both_limits_are_settings(self, make_product: ProductMaker) -> None:
        product = make_product(sessions={"idle_minutes": 5, "absolute_hours": 1})
        product.account("erin")
        idle, busy = product.logged_in("erin"), product.logged_in("erin")
        for _ in range(14):
            product.clock.forward(minutes=4)
            assert is_in(busy)
        assert not is_in(idle)
        product.clock.forward(minutes=4)
        assert not is_in(busy)

    def test_a_login_gives_a_new_key_whatever_the_browser_carried(self, known: Product) -> None:
        browser = known.browser()
        browser.client.set_cookie(SESSION_COOKIE, "planted-by-somebody-else")
        browser.login("erin", PASSWORD)
        first = cookie(browser)
        browser.post("/logout")
        browser.login("erin", PASSWORD)
        second = cookie(browser)
        assert len({"planted-by-somebody-else", first, second}) == 3
        thief = known.browser()
        thief.client.set_cookie(SESSION_COOKIE, "planted-by-somebody-else")
        assert not is_in(thief)

    def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(self, make_product: ProductMaker) -> None:
        product = make_product(server={"public_url": "https://iam.example.org"})
        product.account("erin")
        client = product.app.test_client()
        page = client.get("/login", base_url="https://iam.example.org").text
        token = re.search(r'name="csrf_token" value="([^"]+)"', page)
        assert token
        answer = client.post(
            "/login", base_url="https://iam.example.org", headers={"Referer": "https://iam.example.org/login"},
            data={"csrf_token": token[1], "directory": "local", "username": "erin", "password": PASSWORD},
        )
        (line,) = [value for name, value in answer.headers if name == "Set-Cookie" and value.startswith(SESSION_COOKIE)]
        assert {"Secure", "HttpOnly", "SameSite=Lax", "Path=/"} <= set(line.split("; "))

    def test_the_database_keeps_only_a_hash_of_the_key(self, known: Product) -> None:
        browser = known.logged_in("erin")
        (session,) = stored(known, Session)
        assert session.key_hash == hashlib.sha256(cookie(browser).encode()).hexdigest()

    def test_disabling_a_person_ends_their_sessions_at_once_and_for_good(self, known: Product) -> None:
        browser, other = known.logged_in("erin"), known.logged_in("olga")
        disable(known, "erin")
        assert not is_in(browser)
        assert is_in(other)
        enable(known, "erin")
        assert not is_in(browser)
        assert known.browser().login("erin", PASSWORD).status_code == 302

    def test_a_disabled_person_cannot_log_in_and_reads_the_sentence_that_everybody_reads(self, known: Product) -> None:
        known.logged_in("erin")
        disable(known, "erin")
        disabled = known.browser().login("erin", PASSWORD)
        wrong = known.browser().login("olga", "wrong password")
        assert disabled.status_code == wrong.status_code == 401
        assert re.findall("The login did not work[^<]*", disabled.text) == re.findall("The login did not work[^<]*", wrong.text) != []

    def test_the_account_page_lists_own_running_sessions_and_ends_one(self, known: Product) -> None:
        here, there = known.logged_in("erin"), known.logged_in("erin")
        known.logged_in("olga")
        (other,) = own_sessions(here)
        assert here.post(f"/account/sessions/{other}/end").status_code == 302
        assert not is_in(there)
        assert is_in(here)
        assert own_sessions(here) == []
        assert events(known, action="session.ended")[0].actor_name == "erin"

    def test_an_idle_session_is_not_listed_any_more(self, known: Product) -> None:
        known.logged_in("erin")
        known.clock.forward(minutes=61)
        assert own_sessions(known.logged_in("erin")) == []

    @pytest.mark.parametrize("who", ["olga", "ada"])
    def test_nobody_ends_the_session_of_somebody_else(self, known: Product, who: str) -> None:
        browser, other = known.logged_in("erin"), known.logged_in(who)
        (session,) = [one.id for one in stored(known, Session) if one.person_id == person(known, "erin").id]
        assert other.post(f"/account/sessions/{session}/end").status_code == 404
        assert is_in(browser)

    def test_logging_out_ends_the_session_on_the_server_too(self, known: Product) -> None:
        browser = known.logged_in("erin")
        key = cookie(browser)
        assert browser.post("/logout").location == "/goodbye"
        assert cookie(browser) == ""
        thief = known.browser()
        thief.client.set_cookie(SESSION_COOKIE, key)
        assert not is_in(thief)
        assert [one.actor_name for one in events(known, action="logout")] == ["erin"]


class TestThrottle:
    def refused_after(self, product: Product, username: str) -> int:
        for attempt in range(1, 60):
            if product.browser().login(username, "wrong password").status_code == 429:
                return attempt
        return 0

    @pytest.mark.parametrize("username", ["erin", "nobody-of-this-name", "ERIN"])
    def test_the_ninth_attempt_on_one_name_is_refused_whether_it_exists_or_not(self, known: Product, username: str) -> None:
        assert self.refused_after(known, username) == 9

    def test_known_and_unknown_names_read_the_same_answers(self, known: Product) -> None:
        def answers(username: str) -> list[tuple[int, list[str]]]:
            sent = [known.browser().login(username, "wrong password") for _ in range(10)]
            return [(one.status_code, re.findall("The login did not work[^<]*|Too many failed[^<]*", one.text)) for one in sent]

        assert answers("erin") == answers("nobody-of-this-name")
        assert all(len(words) == 1 for _status, words in answers("somebody-else"))

    def test_not_even_the_right_password_gets_in_until_the_window_is_over(self, known: Product) -> None:
        self.refused_after(known, "erin")
        answer = known.browser().login("erin", PASSWORD)
        assert answer.status_code == 429
        assert "900 s" in answer.text
        assert known.browser().login("olga", PASSWORD).status_code == 302
        known.clock.forward(minutes=15, seconds=1)
        assert known.browser().login("erin", PASSWORD).status_code == 302

    def test_a_login_that_works_forgets_the_failures_before(self, known: Product) -> None:
        for _ in range(7):
            known.browser().login("erin", "wrong password")
        known.logged_in("erin")
        assert self.refused_after(known, "erin") == 9

    def test_one_address_that_tries_many_names_is_refused_for_every_name(self, make_product: ProductMaker) -> None:
        product = make_product(throttle={"per_address": 5})
        product.account("erin")
        for number in range(5):
            assert product.browser().login(f"guess-{number}", "wrong password").status_code == 401
        assert product.browser().login("erin", PASSWORD).status_code == 429
        elsewhere = product.browser()
        elsewhere.client.environ_base["REMOTE_ADDR"] = "127.0.0.2"
        assert elsewhere.login("erin", PASSWORD).status_code == 302

    def test_a_success_does_not_forget_the_failures_of_the_address(self, make_product: ProductMaker) -> None:
        product = make_product(throttle={"per_address": 3})
        product.account("mallory")
        for number in range(3):
            product.browser().login(f"guess-{number}", "wrong password")
            if number < 2:
                product.logged_in("mallory")
        assert product.browser().login("mallory", PASSWORD).status_code == 429

    def test_every_refusal_is_an_event_with_the_name_that_was_tried(self, known: Product) -> None:
        self.refused_after(known, "erin")
        seen = events(known, action="login", result="refused")
        assert len(seen) == 9
        assert {one.actor_name for one in seen} == {"local:erin"}
        assert "Too many" in seen[0].reason


class TestTokens:
    def test_a_token_does_what_its_scopes_say_and_no_more(self, known: Product) -> None:
        reading = known.token("ada", "read")
        assert known.api("GET", "/mappings", reading).status_code == 200
        refused = known.api("POST", f"/people/{person(known, 'ada').id}/disable", reading)
        assert refused.status_code == 403
        assert "write" in refused.get_json()["detail"]
        assert known.api("POST", "/kubeconfig", reading, {}).status_code == 403
        assert not person(known, "ada").is_disabled

    def test_a_token_holds_no_more_than_its_person(self, known: Product) -> None:
        assert known.api("GET", "/mappings", known.token("erin", "read", "write", "kubeconfig")).status_code == 403

    def test_a_token_ends_on_its_day(self, known: Product) -> None:
        headers = known.token("erin", "read")
        known.clock.forward(hours=23, minutes=59)
        assert known.api("GET", "/me", headers).status_code == 200
        known.clock.forward(minutes=2)
        assert known.api("GET", "/me", headers).status_code == 401

    def test_a_revoked_token_is_worth_nothing(self, known: Product) -> None:
        headers = known.token("erin", "read")
        browser = known.logged_in("erin")
        (found,) = re.findall(r"/account/tokens/([0-9a-f]+)/revoke", browser.get("/account").text)
        stranger = known.logged_in("olga").post(f"/account/tokens/{found}/revoke")
        assert stranger.status_code == 404
        assert known.api("GET", "/me", headers).status_code == 200
        browser.post(f"/account/tokens/{found}/revoke")
        assert known.api("GET", "/me", headers).status_code == 401

    def test_disabling_a_person_ends_their_tokens(self, known: Product) -> None:
        headers = known.token("erin", "read")
        disable(known, "erin")
        assert known.api("GET", "/me", headers).status_code == 401

    def test_the_key_is_shown_once_and_kept_as_a_hash(self, known: Product) -> None:
        key = known.token("erin", "read")["Authorization"].removeprefix("Bearer ")
        (token,) = stored(known, ApiToken)
        assert token.key_hash == hashlib.sha256(key.encode()).hexdigest()
        assert key not in known.logged_in("erin").get("/account").text

    def test_a_token_is_no_cookie_and_a_cookie_is_no_token(self, known: Product) -> None:
        key = known.token("erin", "read")["Authorization"].removeprefix("Bearer ")
        browser = known.browser()
        browser.client.set_cookie(SESSION_COOKIE, key)
        assert not is_in(browser)
        session = cookie(known.logged_in("erin"))
        assert known.api("GET", "/me", {"Authorization": f"Bearer {session}"}).status_code == 401

    @pytest.mark.parametrize("header", ["Bearer wrong", "Bearer kiam_wrong", "Basic ZXJpbjp4", "Token abc", "bearer \u00e9"])
    def test_a_credential_that_does_not_work_is_refused_and_audited(self, known: Product, header: str) -> None:
        answer = known.app.test_client().get("/api/v1/me", headers={"Authorization": header, "X-Request-ID": "request-4711"})
        assert answer.status_code == 401
        assert answer.mimetype == "application/problem+json"
        (event,) = events(known, action="access.denied")
        assert (event.result, event.target_name, event.door, event.address, event.request_id) == (
            "refused", "/api/v1/me", "api", "127.0.0.1", "request-4711",
        )

    @pytest.mark.parametrize(
        ("form", "words"),
        [
            ({"name": "", "scopes": ["read"], "days": "1"}, "1 to 80 characters"),
            ({"name": "x" * 81, "scopes": ["read"], "days": "1"}, "1 to 80 characters"),
            ({"name": "a\u200bb", "scopes": ["read"], "days": "1"}, "1 to 80 characters"),
            ({"name": "ci", "scopes": [], "days": "1"}, "at least one scope"),
            ({"name": "ci", "scopes": ["root"], "days": "1"}, "at least one scope"),
            ({"name": "ci", "scopes": ["read"], "days": "0"}, "between 1 and 365 days"),
            ({"name": "ci", "scopes": ["read"], "days": "366"}, "between 1 and 365 days"),
            ({"name": "ci", "scopes": ["read"], "days": "soon"}, "between 1 and 365 days"),
        ],
    )
    def test_a_token_that_cannot_be_is_refused_with_a_sentence(self, known: Product, form: dict[str, object], words: str) -> None:
        answer = known.logged_in("erin").post("/account/tokens", **form)
        assert answer.status_code == 422
        assert words in answer.text
        assert stored(known, ApiToken) == []

    def test_a_second_token_of_the_same_name_is_refused(self, known: Product) -> None:
        browser = known.logged_in("erin")
        form = {"name": "ci", "scopes": ["read"], "days": "1"}
        assert browser.post("/account/tokens", **form).status_code == 200
        assert browser.post("/account/tokens", **form).status_code == 409
