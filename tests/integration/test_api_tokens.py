"""API tokens: scoped, ending, revocable, of no use as a cookie, and kept as a hash."""

from __future__ import annotations

import hashlib
import re

import pytest
from fixtures.offline import events, person, stored
from fixtures.product import Product

from iam.models import ApiToken
from iam.web.visitors import SESSION_COOKIE


@pytest.fixture
def known(product: Product) -> Product:
    """The product with two people and an administrator."""
    for name, groups in (("erin", ["engineers"]), ("olga", ["engineers"]), ("ada", ["administrators"])):
        product.account(name, *groups)
    return product


def test_a_token_does_what_its_scopes_say_and_no_more(known: Product) -> None:
    reading = known.token("ada", "read")
    assert known.api("GET", "/mappings", reading).status_code == 200
    refused = known.api("POST", f"/people/{person(known, 'ada').id}/disable", reading)
    assert refused.status_code == 403
    assert "write" in refused.get_json()["detail"]
    assert known.api("POST", "/kubeconfig", reading, {}).status_code == 403
    assert not person(known, "ada").is_disabled


def test_a_token_holds_no_more_than_its_person(known: Product) -> None:
    assert known.api("GET", "/mappings", known.token("erin", "read", "write", "kubeconfig")).status_code == 403


def test_a_token_ends_on_its_day(known: Product) -> None:
    headers = known.token("erin", "read")
    known.clock.forward(hours=23, minutes=59)
    assert known.api("GET", "/me", headers).status_code == 200
    known.clock.forward(minutes=2)
    assert known.api("GET", "/me", headers).status_code == 401


def test_a_revoked_token_is_worth_nothing(known: Product) -> None:
    headers = known.token("erin", "read")
    browser = known.logged_in("erin")
    (found,) = re.findall(r"/account/tokens/([0-9a-f]+)/revoke", browser.get("/account").text)
    stranger = known.logged_in("olga").post(f"/account/tokens/{found}/revoke")
    assert stranger.status_code == 404
    assert known.api("GET", "/me", headers).status_code == 200
    browser.post(f"/account/tokens/{found}/revoke")
    assert known.api("GET", "/me", headers).status_code == 401


def test_disabling_a_person_ends_their_tokens(known: Product) -> None:
    headers = known.token("erin", "read")
    with known.app.app_context():
        known.services.people.disable(known.operator, known.services.people.by_username("erin").id)
    assert known.api("GET", "/me", headers).status_code == 401


def test_the_key_is_shown_once_and_kept_as_a_hash(known: Product) -> None:
    key = known.token("erin", "read")["Authorization"].removeprefix("Bearer ")
    (token,) = stored(known, ApiToken)
    assert token.key_hash == hashlib.sha256(key.encode()).hexdigest()
    assert key not in known.logged_in("erin").get("/account").text


def test_a_token_is_no_cookie_and_a_cookie_is_no_token(known: Product) -> None:
    key = known.token("erin", "read")["Authorization"].removeprefix("Bearer ")
    browser = known.browser()
    browser.client.set_cookie(SESSION_COOKIE, key)
    assert browser.get("/").status_code == 302
    session = known.logged_in("erin").client.get_cookie(SESSION_COOKIE)
    assert session
    assert known.api("GET", "/me", {"Authorization": f"Bearer {session.value}"}).status_code == 401


@pytest.mark.parametrize("header", ["Bearer wrong", "Bearer kiam_wrong", "Basic ZXJpbjp4", "Token abc", "bearer \u00e9"])
def test_a_credential_that_does_not_work_is_refused_and_audited(known: Product, header: str) -> None:
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
def test_a_token_that_cannot_be_is_refused_with_a_sentence(known: Product, form: dict[str, object], words: str) -> None:
    answer = known.logged_in("erin").post("/account/tokens", **form)
    assert answer.status_code == 422
    assert words in answer.text
    assert stored(known, ApiToken) == []


def test_a_second_token_of_the_same_name_is_refused(known: Product) -> None:
    browser = known.logged_in("erin")
    form = {"name": "ci", "scopes": ["read"], "days": "1"}
    assert browser.post("/account/tokens", **form).status_code == 200
    assert browser.post("/account/tokens", **form).status_code == 409
