"""The JSON API: what the pages can, with a bearer token; problem details for all that goes wrong."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml
from fixtures.offline import events, give, offline, person, request_of, subjects
from fixtures.product import PASSWORD, Product
from sqlalchemy import func, select

from iam.models import Cluster, db

JSON = {"Content-Type": "application/json"}
MAPPING = {"group": "local:engineers", "cluster": "prod", "role_name": "edit", "namespaces": ["shop"]}


@pytest.fixture
def ready(product: Product) -> Product:
    product.account("ada", "administrators")
    product.account("erin", "engineers")
    offline(product)
    return product


@pytest.fixture
def ada(ready: Product) -> dict[str, str]:
    return ready.token("ada", "read", "write", "kubeconfig")


@pytest.fixture
def erin(ready: Product) -> dict[str, str]:
    return ready.token("erin", "read", "write", "kubeconfig")


def problem(answer: Any, status: int) -> dict[str, Any]:
    """The answer as RFC 9457 says that it looks."""
    assert (answer.status_code, answer.mimetype) == (status, "application/problem+json"), answer.text
    found: dict[str, Any] = answer.get_json()
    assert found["status"] == status
    assert re.fullmatch(r"(urn|https?):\S+", found["type"])
    assert found["title"]
    assert found["detail"]
    assert found["request_id"] == answer.headers["X-Request-ID"]
    return found


class TestAbilities:
    def test_a_mapping_from_preview_to_removal(self, ready: Product, ada: dict[str, str], erin: dict[str, str], tmp_path: Path) -> None:
        assert ready.api("POST", "/mappings/preview", ada, MAPPING).get_json() == {"gaining": ["erin"], "losing": [], "unchanged": 0}
        assert ready.api("GET", "/mappings", ada).get_json()["items"] == []
        made = ready.api("POST", "/mappings", ada, MAPPING)
        assert made.status_code == 201
        assert ready.api("GET", "/mappings", ada).get_json()["items"] == [made.get_json()]
        assert ready.api("GET", "/me/access", erin).get_json()["items"] == [
            {"cluster": "prod", "role": "ClusterRole/edit", "namespaces": ["shop"], "group": "local:engineers", "until": None}
        ]
        planned = ready.api("GET", "/clusters/prod/plan", ada).get_json()
        assert subjects(ready, tmp_path) == {}
        assert ready.api("POST", "/clusters/prod/reconcile", ada).get_json() == planned
        assert subjects(ready, tmp_path) == {"shop/edit": ["erin"]}
        path = f"/mappings/{made.get_json()['id']}"
        assert ready.api("GET", f"{path}/removal", ada).get_json()["losing"] == ["erin"]
        assert ready.api("DELETE", path, ada).get_json() == {"status": "done"}
        assert ready.api("POST", "/clusters/prod/reconcile", ada).get_json()["removed"] == planned["created"]
        assert subjects(ready, tmp_path) == {}

    def test_a_cluster_from_registration_to_removal(self, ready: Product, ada: dict[str, str]) -> None:
        body = {"name": "stage", "title": "Staging", "access": "offline", "server": "https://stage.invalid:6443", "signer": "none"}
        made = ready.api("POST", "/clusters", ada, body)
        assert made.status_code == 201
        assert made.get_json()["probe"]["version"] == "offline"
        assert "token" not in made.text
        limits = {"title": "Stage", "default_lifetime_seconds": 600, "max_lifetime_seconds": 1200}
        assert limits.items() <= ready.api("PUT", "/clusters/stage", ada, limits).get_json().items()
        assert ready.api("POST", "/clusters/stage/probe", ada).status_code == 200
        assert "kind: ClusterRole" in ready.api("GET", "/clusters/stage/manifest", ada).get_json()["yaml"]
        assert [one["name"] for one in ready.api("GET", "/clusters", ada).get_json()["items"]] == ["prod", "stage"]
        assert ready.api("DELETE", "/clusters/stage", ada).status_code == 200
        problem(ready.api("GET", "/clusters/stage", ada), 404)

    def test_people_are_searched_shut_out_and_let_in(self, ready: Product, ada: dict[str, str], erin: dict[str, str]) -> None:
        found = ready.api("GET", "/people?q=ERI", ada).get_json()
        assert [(one["username"], one["groups"]) for one in found["items"]] == [("erin", ["engineers"])]
        path = f"/people/{found['items'][0]['id']}"
        assert ready.api("POST", f"{path}/disable", ada).get_json()["disabled"] is True
        assert ready.api("GET", "/me", erin).status_code == 401
        assert ready.browser().login("erin", PASSWORD).status_code == 401
        assert ready.api("POST", f"{path}/enable", ada).get_json()["disabled"] is False
        assert ready.browser().login("erin", PASSWORD).status_code == 302

    def test_a_directory_is_synced(self, ready: Product, ada: dict[str, str]) -> None:
        answer = ready.api("POST", "/directories/local/sync", ada, {})
        assert answer.get_json() == {"directory": "local", "people": 1, "gone": 0, "alarm": ""}

    @pytest.mark.parametrize("own", [False, True])
    def test_a_kubeconfig_with_our_key_or_an_own_request(self, ready: Product, erin: dict[str, str], own: bool) -> None:
        give(ready, "local:engineers", "edit", "shop")
        body = {"csr": request_of("erin").decode(), "key_path": "erin.key"} if own else {"lifetime_seconds": 600}
        answer = ready.api("POST", "/kubeconfig", erin, body)
        (user,) = yaml.safe_load(answer.get_json()["kubeconfig"])["users"]
        assert ("client-key" in user["user"], "client-key-data" in user["user"]) == (own, not own)
        assert answer.get_json()["clusters"] == ["prod"]
        assert answer.headers["Cache-Control"] == "no-store"

    def test_who_am_i(self, ready: Product, ada: dict[str, str]) -> None:
        assert ready.api("GET", "/me", ada).get_json() == {
            "username": "ada", "display_name": "Ada", "roles": ["administrator", "person"], "scopes": ["kubeconfig", "read", "write"],
        }


class TestProblems:
    BAD_BODIES: tuple[tuple[str, bytes, str], ...] = (
        ("no JSON", b"{not json", "application/json"),
        ("half a document", b'{"clusters": [', "application/json"),
        ("a list", b"[]", "application/json"),
        ("null", b"null", "application/json"),
        ("a number", b"7", "application/json"),
        ("not UTF-8", b"\xff\xfe", "application/json"),
        ("too deep", b'{"clusters":' + b"[" * 100_000 + b"}", "application/json"),
        ("half a surrogate pair", b'{"clusters": ["\\ud800"], "group": "\\ud800", "name": "\\ud800"}', "application/json"),
        ("a form", b"clusters=prod", "application/x-www-form-urlencoded"),
        ("text", b"hello", "text/plain"),
    )

    @pytest.mark.parametrize("path", ["/kubeconfig", "/mappings", "/clusters", "/directories/local/sync"])
    @pytest.mark.parametrize(("body", "kind"), [one[1:] for one in BAD_BODIES], ids=[one[0] for one in BAD_BODIES])
    def test_a_body_that_is_no_json_object_changes_nothing(
        self, ready: Product, ada: dict[str, str], path: str, body: bytes, kind: str
    ) -> None:
        give(ready, "local:administrators", "edit")
        before = len(events(ready, result="done"))
        answer = ready.app.test_client().post(f"/api/v1{path}", data=body, headers=ada | {"Content-Type": kind})
        assert answer.status_code in {400, 415, 422}
        problem(answer, answer.status_code)
        assert len(events(ready, result="done")) == before

    @pytest.mark.parametrize(
        ("method", "path", "body", "field"),
        [
            ("POST", "/mappings", MAPPING | {"role": "admin"}, "role"),
            ("POST", "/mappings", {"cluster": "prod"}, "group"),
            ("POST", "/mappings", MAPPING | {"namespaces": "shop"}, "namespaces"),
            ("POST", "/mappings", MAPPING | {"role_kind": "Secret"}, "role_kind"),
            ("POST", "/mappings", MAPPING | {"group": "engineers"}, "group"),
            ("POST", "/mappings", MAPPING | {"group": "local:system:masters"}, "group"),
            ("POST", "/mappings", MAPPING | {"group": "elsewhere:engineers"}, "group"),
            ("POST", "/mappings", MAPPING | {"namespaces": ["Shop"]}, "namespaces"),
            ("POST", "/mappings", MAPPING | {"role_kind": "Role", "namespaces": []}, "namespaces"),
            ("POST", "/mappings", MAPPING | {"role_name": "../admin"}, "role_name"),
            ("POST", "/mappings", MAPPING | {"role_name": "system:masters"}, "role_name"),
            ("POST", "/clusters", {"name": "Prod!"}, "name"),
            ("POST", "/clusters", {"name": "p", "access": "telnet"}, "access"),
            ("POST", "/clusters", {"name": "p", "server": "http://127.0.0.1", "token": "t"}, "server"),
            ("POST", "/clusters", {"name": "p", "server": "https://u:p@127.0.0.1", "token": "t"}, "server"),
            ("POST", "/clusters", {"name": "p", "server": "https://127.0.0.1"}, "credential"),
            ("POST", "/clusters", {"name": "p", "server": "https://127.0.0.1", "token": "t", "ca_pem": "x"}, "ca_pem"),
            ("POST", "/clusters", {"name": "p", "kubeconfig": "kind: Pod"}, "kubeconfig"),
            ("PUT", "/clusters/prod", {"default_lifetime_seconds": 60, "max_lifetime_seconds": 900}, "default_lifetime_seconds"),
            ("PUT", "/clusters/prod", {"default_lifetime_seconds": 900, "max_lifetime_seconds": 10**9}, "max_lifetime_seconds"),
            ("GET", "/people?page=0", None, "page"),
            ("GET", "/audit?limit=1001", None, "limit"),
            ("GET", "/audit?before=soon", None, "before"),
            ("GET", "/audit?before=99999999999999999999999", None, "before"),
            ("GET", "/audit?colour=red", None, "colour"),
        ],
    )
    def test_wrong_values_are_refused_naming_the_field(
        self, ready: Product, ada: dict[str, str], method: str, path: str, body: Any, field: str
    ) -> None:
        assert problem(ready.api(method, path, ada, body), 422)["field"] == field

    @pytest.mark.parametrize("path", ["/nope", "/clusters/nope", "/people/nope", "/mappings/nope/removal", "/clusters/a%2fb"])
    def test_what_is_not_there_is_404(self, ready: Product, ada: dict[str, str], path: str) -> None:
        problem(ready.api("GET", path, ada), 404)

    @pytest.mark.parametrize(("method", "path"), [("DELETE", "/me"), ("PATCH", "/clusters/prod"), ("GET", "/kubeconfig")])
    def test_a_method_that_is_not_offered_is_405_and_says_which_are(
        self, ready: Product, ada: dict[str, str], method: str, path: str
    ) -> None:
        answer = ready.api(method, path, ada)
        problem(answer, 405)
        assert answer.headers["Allow"]

    def test_more_than_a_mebibyte_is_413(self, ready: Product, ada: dict[str, str]) -> None:
        answer = ready.app.test_client().post("/api/v1/clusters", data=b" " * (1024 * 1024 + 1), headers=ada | JSON)
        problem(answer, 413)

    def test_twice_the_same_is_409(self, ready: Product, ada: dict[str, str]) -> None:
        ready.api("POST", "/mappings", ada, MAPPING)
        problem(ready.api("POST", "/mappings", ada, MAPPING), 409)
        problem(ready.api("POST", "/clusters", ada, {"name": "prod", "access": "offline", "server": "https://x", "signer": "none"}), 409)
        with ready.app.app_context():
            assert db.session.scalar(select(func.count()).select_from(Cluster)) == 1

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/clusters"), ("POST", "/clusters/prod/probe"), ("GET", "/clusters/prod/manifest"), ("GET", "/clusters/prod/plan"),
            ("POST", "/clusters/prod/reconcile"), ("DELETE", "/clusters/prod"), ("GET", "/mappings"), ("GET", "/people"),
        ],
    )
    def test_a_person_without_the_role_is_told_403_and_it_is_on_record(
        self, ready: Product, erin: dict[str, str], method: str, path: str
    ) -> None:
        problem(ready.api(method, path, erin), 403)
        (event,) = events(ready, action="access.denied")
        assert (event.actor_name, event.result) == ("erin", "refused")

    def test_nobody_sees_another_person(self, ready: Product, ada: dict[str, str], erin: dict[str, str]) -> None:
        problem(ready.api("GET", f"/people/{person(ready, 'ada').id}", erin), 403)
        assert ready.api("GET", f"/people/{person(ready, 'erin').id}", erin).get_json()["username"] == "erin"

    def test_a_cookie_opens_no_door(self, ready: Product) -> None:
        browser = ready.logged_in("ada")
        answer = browser.get("/api/v1/me")
        problem(answer, 401)
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        problem(browser.client.post("/api/v1/clusters/prod/probe"), 401)


class TestDocument:
    @pytest.fixture
    def document(self, ready: Product) -> Any:
        return ready.app.test_client().get("/api/v1/openapi.json").get_json()

    def test_it_tells_of_every_route_and_of_no_page(self, ready: Product, document: Any) -> None:
        routes = {
            (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
            for rule in ready.app.url_map.iter_rules() if rule.endpoint.startswith("api_")
            for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        }
        assert {(path, method) for path, methods in document["paths"].items() for method in methods} == routes

    def test_it_is_valid(self, document: Any) -> None:
        assert document["openapi"].startswith("3.1")
        assert document["info"]["title"]
        assert document["info"]["version"]
        for schema in document["components"]["schemas"].values():
            jsonschema_rs.meta.validate(schema)
        references = set(re.findall(r"'\$ref': '([^']+)'", str(document)))
        assert references <= {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
        for path, methods in document["paths"].items():
            for operation in methods.values():
                declared = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "path"}
                assert declared == set(re.findall(r"{(\w+)}", path))
                assert {"401", "403"} < operation["responses"].keys()
                assert operation["summary"]
        ids = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
        assert len(ids) == len(set(ids))

    def test_it_asks_for_a_bearer_token(self, document: Any) -> None:
        ((name, scheme),) = document["components"]["securitySchemes"].items()
        assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
        assert document["security"] == [{name: []}]
