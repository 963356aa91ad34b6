"""Sessions and throttling, as the person at the browser meets them."""

from __future__ import annotations

import hashlib
import re

import pytest
from fixtures.offline import events, person, stored
from fixtures.product import PASSWORD, Browser, Product, ProductMaker

from iam.models import Session
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

    def test_logins_that_work_do_not_count(self, known: Product) -> None:
        for _ in range(12):
            known.logged_in("erin")
        assert self.refused_after(known, "erin") == 9

    def test_a_stranger_elsewhere_does_not_lock_somebody_out(self, known: Product) -> None:
        stranger = known.browser()
        stranger.client.environ_base["REMOTE_ADDR"] = "127.0.0.9"
        assert [stranger.login("erin", "wrong password").status_code for _ in range(9)] == [401] * 8 + [429]
        assert known.browser().login("erin", PASSWORD).status_code == 302

    def test_strangers_from_many_addresses_do_not_get_to_guess_for_ever(self, make_product: ProductMaker) -> None:
        product = make_product(throttle={"per_account": 2})
        product.account("erin")
        codes = []
        for number in range(12):
            stranger = product.browser()
            stranger.client.environ_base["REMOTE_ADDR"] = f"127.0.1.{number}"
            codes.append(stranger.login("erin", "wrong password").status_code)
        assert codes == [401] * 10 + [429] * 2

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
