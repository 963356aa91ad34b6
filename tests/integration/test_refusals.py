"""Nobody is turned away, and nothing is handed out, without an event; and what events say of it is found where one looks for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fixtures.asking import DIRECTORIES, Scene, scene
from fixtures.cli import Iam
from fixtures.elsewhere import over
from fixtures.house import enter_all, furnish, inhabit, product_in, session_key
from fixtures.offline import events, give, stored
from fixtures.product import Browser, Product, ProductMaker, TestClock, cheap_hashes
from werkzeug.test import TestResponse

from iam.errors import Forbidden
from iam.models import ApiToken, AuditEvent, Session
from iam.services.audit import Event, Target
from iam.services.audit.vocabulary import ALARMS
from iam.services.base import WORKER, transaction
from iam.web.visitors import SESSION_COOKIE

__all__ = ["scene"]
NOBODYS = "0" * 24
STRANGERS = 5
"""Who are recorded from one address before it is a flood."""


@dataclass
class House:
    """Inhabited and furnished; the tests share it and change nothing but the trail."""

    product: Product
    browsers: dict[str, Browser]
    things: dict[str, str]
    tokens: dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with product_in(tmp_path_factory.mktemp("shared"), TestClock()) as product, cheap_hashes():
        inhabit(product)
        browsers, things = enter_all(product), furnish(product)
        tokens = {who: product.token(who, "read", "write") for who in ("erin", "nico", "ada")}
        erin = next(one for one in stored(product, Session))
        (token,) = (one for one in stored(product, ApiToken) if one.person_id == erin.person_id)
        yield House(product, browsers, things | {"session": erin.id, "token": token.id}, tokens)


@contextmanager
def recorded(product: Product, action: str = "access.denied") -> Iterator[list[AuditEvent]]:
    """The events of this kind that the block leads to."""
    known, found = {one.id for one in events(product, action=action, limit=1000)}, list[AuditEvent]()
    yield found
    found += [one for one in events(product, action=action, limit=1000) if one.id not in known]


REVIEW = {"verdict": "justified", "review": "It burned."}
HIDDEN: dict[str, tuple[str, str, dict[str, Any]]] = {
    "request": ("GET", "/requests/{request}", {}),
    "request to take back": ("POST", "/requests/{request}", {"step": "cancel"}),
    "request to comment on": ("POST", "/requests/{request}", {"step": "comment", "comment": "why?"}),
    "grant": ("POST", "/grants/{grant}/return", {}),
    "opening": ("GET", "/emergency/{emergency}", {}),
    "opening to review": ("POST", "/emergency/{emergency}", REVIEW | {"step": "review"}),
    "session": ("POST", "/account/sessions/{session}/end", {}),
    "token": ("POST", "/account/tokens/{token}/revoke", {}),
    "event": ("GET", "/audit/events/{event}", {}),
    "request by API": ("GET", "/api/v1/requests/{request}", {}),
    "request to take back by API": ("POST", "/api/v1/requests/{request}/cancel", {}),
    "request to comment on by API": ("POST", "/api/v1/requests/{request}/comments", {"text": "why?"}),
    "grant by API": ("POST", "/api/v1/grants/{grant}/return", {}),
    "opening by API": ("GET", "/api/v1/emergency/{emergency}", {}),
    "opening to review by API": ("POST", "/api/v1/emergency/{emergency}/review", REVIEW),
    "event by API": ("GET", "/api/v1/audit/events/{event}", {}),
}


def call(house: House, who: str, method: str, path: str, body: dict[str, Any]) -> TestResponse:
    """By page or by API."""
    if path.startswith("/api/v1"):
        return house.product.api(method, path.removeprefix("/api/v1"), house.tokens[who], body or None)
    return house.browsers[who].get(path) if method == "GET" else house.browsers[who].post(path, **body)


class TestHidden:
    @pytest.mark.parametrize("name", HIDDEN)
    def test_what_is_somebody_elses_is_not_found_and_that_is_on_record(self, shared: House, name: str) -> None:
        method, path, body = HIDDEN[name]
        theirs = path.format(**shared.things)
        with recorded(shared.product) as found:
            assert call(shared, "nico", method, theirs, body).status_code == 404
        assert {(one.actor_name, one.result, one.details["path"]) for one in found} == {("nico", "refused", theirs)}

    @pytest.mark.parametrize("name", HIDDEN)
    def test_what_is_not_there_is_not_found_and_that_is_no_event(self, shared: House, name: str) -> None:
        method, path, body = HIDDEN[name]
        with recorded(shared.product) as found:
            assert call(shared, "nico", method, path.format(**dict.fromkeys(shared.things, NOBODYS)), body).status_code == 404
        assert found == []


def with_cookie(product: Product) -> TestResponse:
    browser = product.browser()
    browser.client.set_cookie(SESSION_COOKIE, "made-up")
    return browser.get("/clusters")


STRANGE: dict[str, tuple[Callable[[Product], TestResponse], str, int]] = {
    "no token": (lambda product: product.api("GET", "/me", {}), "/api/v1/me", 401),
    "another scheme": (lambda product: product.api("GET", "/me", {"Authorization": "Basic YTpi"}), "/api/v1/me", 401),
    "a wrong token": (lambda product: product.api("DELETE", "/clusters/x", {"Authorization": "Bearer kiam_x"}), "/api/v1/clusters/x", 401),
    "a form without its token": (lambda product: product.browser().client.post("/login", data={"username": "erin"}), "/login", 400),
    "a session that was never given": (with_cookie, "/clusters", 302),
}
GUESSES = {"another scheme", "a wrong token"}
"""They count as logins too, which are refused in the end."""


class TestStrangers:
    @pytest.mark.parametrize("name", STRANGE)
    def test_each_is_on_record(self, shared: House, name: str) -> None:
        act, path, status = STRANGE[name]
        with recorded(shared.product) as found:
            assert act(shared.product).status_code == status
        assert [(one.actor_name, one.result, one.details["path"]) for one in found] == [("visitor", "refused", path)]
        assert found[0].address == "127.0.0.1"

    @pytest.mark.parametrize("name", STRANGE)
    def test_a_flood_of_them_is_answered_and_not_recorded(self, make_product: ProductMaker, name: str) -> None:
        act, _path, status = STRANGE[name]
        product = make_product(throttle={"per_address": STRANGERS})
        product.account("erin")
        answers = [act(product).status_code for _ in range(3 * STRANGERS)]
        assert set(answers) <= {status, 429 if name in GUESSES else status}
        assert len(events(product, action="access.denied")) == STRANGERS
        if name not in GUESSES:
            product.logged_in("erin")
        product.clock.forward(minutes=16)
        assert act(product).status_code == status
        assert len(events(product, action="access.denied")) == STRANGERS + 1

    def test_a_cookie_that_was_never_given_is_taken_away(self, shared: House) -> None:
        browser = shared.product.browser()
        browser.client.set_cookie(SESSION_COOKIE, "made-up")
        with recorded(shared.product) as found:
            answer = browser.get("/login")
            assert session_key(browser) == ""
            browser.get("/login")
        assert answer.status_code == 200
        assert len(found) == 1

    def test_the_cookie_of_a_session_that_is_over_too_and_nobody_is_refused(self, shared: House) -> None:
        browser = shared.product.logged_in("nico")
        key = session_key(browser)
        browser.post("/logout")
        browser.client.set_cookie(SESSION_COOKIE, key)
        with recorded(shared.product) as found:
            browser.get("/login")
        assert (session_key(browser), found) == ("", [])

    def test_a_form_without_its_token_is_told_of_whoever_is_logged_in(self, shared: House) -> None:
        with recorded(shared.product) as found:
            shared.browsers["nico"].client.post("/account/tokens", data={"name": "mine"})
        assert [(one.actor_name, one.details["path"]) for one in found] == [("nico", "/account/tokens")]


class TestConflicts:
    def test_whoever_would_decide_on_oneself_is_told_of_with_the_request(self, scene: Scene) -> None:
        scene.rule("1 of local:leads")
        asked = scene.ask("lee", "shop")
        with recorded(scene.product) as found, pytest.raises(Forbidden):
            scene.yes("lee", asked)
        (told,) = found
        assert (told.actor_name, told.target_kind, told.target_name) == ("lee", "request", asked)
        assert (told.person, told.case_id, told.cluster) == ("lee", asked, "prod")

    @pytest.mark.parametrize("path", ["/clusters/demo/remove", "/api/v1/clusters/demo"])
    def test_a_cluster_that_has_mappings_is_not_removed_and_that_is_told(self, shared: House, path: str) -> None:
        with recorded(shared.product) as found:
            answer = call(shared, "ada", "DELETE" if "api" in path else "POST", path, {})
        assert answer.status_code == 409
        (told,) = found
        assert (told.actor_name, told.target_name, told.cluster, told.details["path"]) == ("ada", "demo", "demo", path)
        assert "still has mappings" in told.reason


@pytest.mark.parametrize(("directory", "prefix"), [("local", ""), ("partner", "partner:")])
def test_a_refused_login_stands_in_the_timeline_of_who_was_tried(make_product: ProductMaker, directory: str, prefix: str) -> None:
    product = make_product(directories=DIRECTORIES, throttle={"per_account": 1})
    product.account("ada", "administrators")
    ada = product.logged_in("ada")
    product.browser().login("Erin", "wrong", directory)
    product.browser().login("erin", "wrong", directory)
    found = events(product, person=f"{prefix}erin")
    assert [(one.action, one.result, one.target_name) for one in found] == [("login", "refused", directory)] * 2
    assert "too many" in found[0].reason.lower()
    page = ada.get(f"/audit?person={prefix}erin").text
    assert len(re.findall(rf">Refused: {directory}:erin logged in", page)) == 2


DOWNLOADS: dict[str, tuple[str, str, str]] = {
    "manifest of a cluster": ("ada", "/clusters/demo/manifest", "demo"),
    "answer as CSV": ("erin", "/explorer/what-can?cluster=demo&format=csv", "access.csv"),
    "answer as JSON": ("ada", "/explorer/who-can?cluster=demo&verb=get&resource=pods&format=json", "access.json"),
    "manifest of an export": ("aude", "/audit/exports/{export}/manifest", "kube-iam-audit-{export}.manifest.json"),
    "manifest of an export by API": ("ada", "/api/v1/audit/exports/{export}/manifest", "{export}"),
    "public key": ("erin", "/audit/key.pem", "kube-iam-audit.pem"),
    "policy as RBAC": ("aude", "/policies/base/rbac?format=yaml", "base-rbac.yaml"),
    "policy": ("ada", "/policies/base/publish", "base.jsonl"),
}


@pytest.mark.parametrize("name", DOWNLOADS)
def test_whoever_downloads_something_is_on_record(shared: House, name: str) -> None:
    who, path, target = (text.format(**shared.things) for text in DOWNLOADS[name])
    with recorded(shared.product, "downloaded") as found:
        answer = call(shared, who, "POST" if name == "policy" else "GET", path, {"step": "download"} if name == "policy" else {})
    assert answer.status_code == 200
    told = [(one.actor_name, one.target_name, one.details["path"]) for one in found]
    assert told == [(who, target, path.partition("?")[0])]


@pytest.fixture
def iam(shared: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iam:
    return over(shared.product, monkeypatch, capsys, tmp_path)


@pytest.mark.parametrize(("field", "value"), [("action", "nonsense"), ("action", "nonsense."), ("action", "grant"), ("result", "maybe")])
def test_events_that_do_not_exist_are_not_looked_for(shared: House, iam: Iam, tmp_path: Path, field: str, value: str) -> None:
    page = shared.browsers["ada"].get(f"/audit?{field}={value}")
    assert page.status_code == 422
    assert re.search("There is no event |A result is one of ", page.text)
    assert shared.browsers["ada"].post("/audit/export", **{field: value}).status_code == 422
    for method, path, body in (("GET", f"/audit?{field}={value}", None), ("POST", "/audit/exports", {field: value})):
        answer = shared.product.api(method, path, shared.tokens["ada"], body)
        assert (answer.status_code, answer.get_json()["field"]) == (422, field)
    assert iam("audit", "list", f"--{field}", value).code == 2
    out = tmp_path / "part.jsonl"
    assert iam("audit", "export", "--out", str(out), f"--{field}", value).code == 2
    assert not out.exists()


def test_an_alarm_did_happen(shared: House) -> None:
    with shared.product.app.app_context(), transaction():
        for one in (*ALARMS, Event.LOGIN):
            shared.product.services.audit.record(WORKER, one, Target("test", "of alarms"), result="failed")
    said = re.findall(r'class="said"[^>]*>([^<]*)<', shared.browsers["aude"].get("/audit?target=of+alarms").text)
    assert len(said) == len(ALARMS) + 1
    assert [one for one in said if one.startswith(("Failed:", "Refused:"))] == ["Failed: kube-iam logged in through of alarms"]


@pytest.mark.parametrize("end", ["given back", "revoked", "over"])
def test_a_story_holds_the_reconciles_of_its_grant_and_no_other(scene: Scene, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    def tick(clock: TestClock) -> Any:
        clock.forward(seconds=1)
        return clock.moment

    monkeypatch.setattr(TestClock, "__call__", tick)
    scene.rule("1 of local:leads")
    asked, other = scene.ask("erin", "shop"), scene.ask("emil", "shop", seconds=7200)
    for one, mapped in ((asked, "view"), (other, "admin")):
        scene.yes("lee", one)
        scene.round()
        give(scene.product, "local:engineers", mapped)
        scene.round()
    if end == "over":
        scene.product.clock.forward(hours=1)
    elif end == "revoked":
        scene.revoke("ada", scene.granted(asked).id)
    else:
        scene.give_back("erin", scene.granted(asked).id)
    scene.round()
    give(scene.product, "local:leads", "view")
    scene.round()
    auditor = scene.actor("aude")
    with scene.open() as product:
        story = product.services.stories.of_case(auditor, asked)
        found = [one.details for one in story.events if one.action == "cluster.reconciled"]
    assert len(events(scene.product, action="cluster.reconciled")) == 6
    assert [(len(one["created"]), len(one["replaced"]), one["grants"]) for one in found] == [
        (1, 0, [scene.granted(asked).id]), (0, 1, [scene.granted(asked).id]),
    ]  # fmt: skip
