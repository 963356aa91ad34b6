"""The audit trail: every change, login, refusal and download, in the same transaction; read by those who may."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fixtures.offline import events, give, offline, person, stored
from fixtures.product import PASSWORD, Browser, Product
from sqlalchemy.exc import IntegrityError

from iam.errors import Problem
from iam.models import Session
from iam.services.base import WORKER
from iam.services.clusters import Registration


class Desk:
    """The product with somebody of each role, logged in, and one of each thing to change."""

    def __init__(self, product: Product) -> None:
        self.product = product
        for name, *groups in (("ada", "administrators"), ("aude", "auditors"), ("lee", "leads"), ("erin", "engineers"), ("fay",)):
            product.account(name, *groups)
        offline(product)
        offline(product, "spare")
        self.mapping = give(product, "local:engineers", "edit", "shop")
        self.ada, self.aude, self.lee, self.erin = (product.logged_in(name) for name in ("ada", "aude", "lee", "erin"))
        self.elsewhere = product.logged_in("erin")
        self.token = product.token("ada", "read", "write", "kubeconfig")
        product.api("GET", "/me", self.token)  # its first use is noted
        product.work()

    def id_of(self, username: str) -> str:
        return str(person(self.product, username).id)

    def token_id(self, browser: Browser) -> str:
        return str(re.findall(r"/account/tokens/([0-9a-f]+)/revoke", browser.get("/account").text)[0])

    def session_id(self) -> str:
        return next(str(one.id) for one in stored(self.product, Session) if one.person_id == self.id_of("erin"))

    def service(self, call: Callable[[], object]) -> int:
        """The status that a page would have."""
        with self.product.app.app_context():
            try:
                call()
            except (IntegrityError, Problem):
                return 500
        return 200


@pytest.fixture
def desk(product: Product) -> Desk:
    return Desk(product)


def disabled(desk: Desk) -> Desk:
    desk.ada.post(f"/people/{desk.id_of('erin')}/disable")
    return desk


def regrouped(desk: Desk, database: Path) -> None:
    """The directory says something new about erin."""
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE local_accounts SET groups = 'leads' WHERE username = 'erin'")


NEW_CLUSTER = Registration("new", access="offline", server="https://new.invalid", signer="none")
NEW_MAPPING = {"group": "local:leads", "cluster": "prod", "role_name": "view", "namespaces": "shop", "step": "save"}
LIMITS = {"title": "Production", "default_lifetime_seconds": 600, "max_lifetime_seconds": 900}
CHANGES: dict[str, Callable[[Desk], int]] = {
    "login": lambda desk: desk.product.browser().login("fay", PASSWORD).status_code,
    "logout": lambda desk: desk.erin.post("/logout").status_code,
    "session.ended": lambda desk: desk.erin.post(f"/account/sessions/{desk.session_id()}/end").status_code,
    "token.created": lambda desk: desk.erin.post("/account/tokens", name="ci", scopes=["read"], days="1").status_code,
    "token.revoked": lambda desk: desk.ada.post(f"/account/tokens/{desk.token_id(desk.ada)}/revoke").status_code,
    "cluster.registered": lambda desk: desk.service(lambda: desk.product.services.clusters.register(desk.product.operator, NEW_CLUSTER)),
    "cluster.changed": lambda desk: desk.product.api("PUT", "/clusters/prod", desk.token, LIMITS).status_code,
    "cluster.removed": lambda desk: desk.ada.post("/clusters/spare/remove").status_code,
    "cluster.probed": lambda desk: desk.ada.post("/clusters/prod/probe").status_code,
    "mapping.created": lambda desk: desk.ada.post("/mappings/new", role_kind="ClusterRole", subject_kind="User", **NEW_MAPPING).status_code,
    "mapping.removed": lambda desk: desk.ada.post(f"/mappings/{desk.mapping}/remove").status_code,
    "credential.issued": lambda desk: desk.erin.post("/kubeconfig/prod", key="ours").status_code,
    "person.disabled": lambda desk: desk.ada.post(f"/people/{desk.id_of('erin')}/disable").status_code,
    "person.enabled": lambda desk: desk.ada.post(f"/people/{desk.id_of('erin')}/enable").status_code,
    "person.changed": lambda desk: desk.ada.post("/status/sync/local").status_code,
    "account.created": lambda desk: desk.service(lambda: desk.product.account("new-one")),
    "keys.rotated": lambda desk: desk.service(lambda: desk.product.services.clusters.rotate_keys(desk.product.operator)),
}


@pytest.fixture(params=CHANGES)
def change(request: pytest.FixtureRequest, desk: Desk, tmp_path: Path) -> str:
    """The name of a change, with everything that it needs there."""
    name = str(request.param)
    if name == "person.enabled":
        disabled(desk)
    if name == "person.changed":
        regrouped(desk, tmp_path / "test.db")
    return name


NOTES = {"failed_logins", "sync_states"}
"""Counters and timestamps of our own, which no event tells of."""


def everything_but_the_trail(database: Path) -> dict[str, list[Any]]:
    with sqlite3.connect(database) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            table: sorted(map(repr, connection.execute(f"SELECT * FROM {table}")))
            for table in tables if table not in {"audit_trail", *NOTES}
        }


def break_the_trail(database: Path) -> None:
    """From now on no event can be written."""
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TRIGGER no_more BEFORE INSERT ON audit_trail BEGIN SELECT RAISE(ABORT, 'the trail is broken'); END")


def test_a_change_is_an_event_that_says_what_happened(desk: Desk, change: str) -> None:
    before = len(events(desk.product))
    assert CHANGES[change](desk) < 400
    fresh = events(desk.product)[: len(events(desk.product)) - before]
    assert (change, "done") in [(event.action, event.result) for event in fresh]


def test_a_change_whose_event_cannot_be_written_does_not_happen(desk: Desk, change: str, tmp_path: Path) -> None:
    before = everything_but_the_trail(tmp_path / "test.db")
    assert sum(map(len, before.values())) > 20
    break_the_trail(tmp_path / "test.db")
    status = CHANGES[change](desk)
    assert status >= 400 or change == "person.changed", "a sync goes on to the next person"
    assert everything_but_the_trail(tmp_path / "test.db") == before


def test_a_refusal_whose_event_cannot_be_written_is_still_a_refusal(desk: Desk, tmp_path: Path) -> None:
    before = everything_but_the_trail(tmp_path / "test.db")
    break_the_trail(tmp_path / "test.db")
    for answer in (desk.erin.post(f"/people/{desk.id_of('ada')}/disable"), desk.erin.post("/kubeconfig/spare", key="ours")):
        assert answer.status_code >= 400
    assert everything_but_the_trail(tmp_path / "test.db") == before


class TestWhoWhatWhere:
    def test_from_a_page(self, desk: Desk) -> None:
        answer = desk.erin.client.get("/clusters", headers={"X-Request-ID": "from-the-proxy-1"})
        (event,) = events(desk.product, action="access.denied")
        assert (event.actor_name, event.actor_id, event.door, event.address) == ("erin", desk.id_of("erin"), "page", "127.0.0.1")
        assert event.request_id == answer.headers["X-Request-ID"] == "from-the-proxy-1"
        assert event.at == desk.product.clock()

    @pytest.mark.parametrize("offered", ["", "short", "x" * 65, "with blank inside", "<script>alert(1)</script>"])
    def test_a_request_id_that_is_not_one_is_replaced(self, desk: Desk, offered: str) -> None:
        answer = desk.erin.client.get("/clusters", headers={"X-Request-ID": offered})
        (event,) = events(desk.product, action="access.denied")
        assert event.request_id == answer.headers["X-Request-ID"] != offered
        assert re.fullmatch("[0-9a-f]{16}", event.request_id)

    def test_from_the_api(self, desk: Desk) -> None:
        answer = desk.product.api("PUT", "/clusters/prod", desk.token, LIMITS)
        (event,) = events(desk.product, action="cluster.changed")
        assert (event.actor_name, event.door, event.target_name, event.request_id) == ("ada", "api", "prod", answer.headers["X-Request-ID"])

    def test_from_the_worker(self, desk: Desk) -> None:
        (event,) = events(desk.product, action="cluster.reconciled")
        assert (event.actor_name, event.door, event.cluster) == (WORKER.name, "worker", "prod")
        assert event.details["created"]

    def test_from_the_operator(self, desk: Desk) -> None:
        assert {(event.actor_name, event.door) for event in events(desk.product, action="account.created")} == {("operator:test", "cli")}

    @pytest.mark.parametrize(
        ("username", "password", "shown"),
        [("erin", "wrong", "local:erin"), ("nobody", "wrong", "local:nobody"), ("ERIN", "", "local:erin"), ("*)(\x00", "x", "local:*)(")],
    )
    def test_a_login_that_was_refused_names_the_account_and_no_password(
        self, desk: Desk, username: str, password: str, shown: str
    ) -> None:
        assert desk.product.browser().login(username, password).status_code == 401
        (event,) = events(desk.product, action="login", result="refused")
        assert (event.actor_name, event.actor_id, event.target_name) == (shown, "", "local")
        assert event.reason

    def test_a_refused_change_says_what_it_was_aimed_at(self, desk: Desk) -> None:
        desk.erin.post(f"/people/{desk.id_of('ada')}/disable")
        (event,) = events(desk.product, action="access.denied")
        assert (event.actor_name, event.target_kind, event.target_name) == ("erin", "person", "ada")
        assert "administrator" in event.reason


class TestReading:
    @pytest.mark.parametrize("who", ["erin", "lee"])
    def test_everybody_else_sees_only_what_they_did_themselves(self, desk: Desk, who: str) -> None:
        headers = desk.product.token(who, "read")
        seen = desk.product.api("GET", "/audit?limit=1000", headers).get_json()["items"]
        assert {event["actor_name"] for event in seen} == {who}
        for filtered in ("actor=ada", "target=prod", "cluster=prod", "action=cluster.registered"):
            assert desk.product.api("GET", f"/audit?{filtered}", headers).get_json()["items"] == []
        page = {"erin": desk.erin, "lee": desk.lee}[who].get("/audit?actor=ada").text
        assert "cluster.registered" not in re.sub("<option.*?</option>|<select.*?</select>", "", page, flags=re.DOTALL)

    @pytest.mark.parametrize("who", ["aude", "ada"])
    def test_auditors_and_administrators_see_all(self, desk: Desk, who: str) -> None:
        headers = desk.token if who == "ada" else desk.product.token(who, "read")
        seen = desk.product.api("GET", "/audit?limit=1000", headers).get_json()["items"]
        assert {"ada", "erin", "lee", "aude", "kube-iam", "operator:test"} <= {event["actor_name"] for event in seen}

    def test_an_auditor_changes_nothing(self, desk: Desk) -> None:
        for path in (f"/people/{desk.id_of('erin')}/disable", f"/mappings/{desk.mapping}/remove", "/clusters/prod/reconcile"):
            assert desk.aude.post(path).status_code == 403
        assert {event.actor_name for event in events(desk.product, action="access.denied")} == {"aude"}

    @pytest.mark.parametrize("asked", ["", "&since=2001-01-01", "&until=2999-01-01&since=2001-01-01"])
    def test_pages_of_the_trail_join_without_gap_or_repetition(self, desk: Desk, asked: str) -> None:
        desk.product.clock.forward(hours=-1)
        desk.product.api("GET", "/people", desk.product.token("erin", "read"))
        whole = [event.id for event in sorted(events(desk.product), key=lambda one: (one.at if asked else 0, one.id), reverse=True)]
        found: list[int] = []
        before: int | None = None
        while not found or before:
            path = f"/audit?limit=7{asked}" + (f"&before={before}" if before else "")
            answer = desk.product.api("GET", path, desk.token).get_json()
            found += [event["id"] for event in answer["items"]]
            before = answer["next_before"]
        assert found == whole

    def test_the_trail_holds_no_secret(self, desk: Desk) -> None:
        key = desk.token["Authorization"].removeprefix("Bearer ")
        desk.erin.post("/kubeconfig/prod", key="ours")
        desk.product.browser().login("erin", "mistyped-password-4711")
        with desk.product.app.app_context():
            desk.product.services.clusters.register(
                replace(desk.product.operator),
                Registration("live", server="https://127.0.0.1:9", token="secret-token-4711"),
            )
        trail = json.dumps([[event.details, event.reason, event.target_name, event.actor_name] for event in events(desk.product)])
        assert [secret for secret in (PASSWORD, key, "4711", "PRIVATE KEY", "CERTIFICATE") if secret in trail] == []
