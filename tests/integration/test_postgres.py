"""The main use cases on PostgreSQL, and what replicas that share nothing but the database must agree on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fixtures.offline import events, give, offline, person, stored, subjects
from fixtures.product import PASSWORD, Product, ProductMaker
from rigs.postgres import Postgres
from sqlalchemy import text

from iam import services
from iam.app import create_app
from iam.models import AuditEvent, Credential, FailedLogin, Group, Mapping, Person, db
from iam.services.locks import only_one

EDGES = ["\x00", "\ud800", "x" * 300, "'; DROP TABLE people; --", "%", "_", "\u202e", "\U0001f600"]
Replica = Callable[[], Product]


@pytest.fixture
def url(postgres: Postgres) -> Iterator[str]:
    yield postgres.create_database("use_cases")
    postgres.drop_database("use_cases")


@pytest.fixture
def replica(url: str, make_product: ProductMaker, tmp_path: Path) -> Iterator[Replica]:
    """More processes over the same database: each call is another one."""
    first = make_product(database_url=url, server={"threads": 4})
    made: list[Product] = []

    def another() -> Product:
        if not made:
            made.append(first)
            return first
        app = create_app(first.services.world.settings, now=first.clock)
        with app.app_context():
            made.append(Product(app, first.clock, services.current()))
        return made[-1]

    yield another
    for product in made[1:]:
        with product.app.app_context():
            db.session.remove()
            db.engine.dispose()


@pytest.fixture
def product(replica: Replica, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Product:
    """On PostgreSQL, with an offline cluster (whose bindings lie in the working folder)."""
    monkeypatch.chdir(tmp_path)
    product = replica()
    product.account("ada", "administrators")
    product.account("erin", "engineers")
    offline(product)
    return product


def test_it_is_postgresql(product: Product) -> None:
    with product.app.app_context():
        assert str(db.session.scalar(text("SELECT version()"))).startswith("PostgreSQL")


def test_from_login_over_mapping_and_download_to_leaving(product: Product, tmp_path: Path) -> None:
    browser = product.logged_in("erin")
    mapping = give(product, "local:engineers", "edit", "shop")
    product.work()
    assert subjects(product, tmp_path) == {"shop/edit": ["erin"]}
    assert "edit" in browser.get("/").text
    assert "client-key-data" in browser.post("/kubeconfig/prod", key="ours").text
    (credential,) = stored(product, Credential)
    assert credential.expires_at.tzinfo is not None
    with product.app.app_context():
        product.services.access.remove(product.operator, mapping)
        product.services.people.disable(product.operator, person(product, "erin").id)
    product.work()
    assert subjects(product, tmp_path) == {}
    assert browser.get("/").status_code == 302


def test_the_api_answers_for_everything_that_can_be_listed(product: Product) -> None:
    headers = product.token("ada", "read", "write")
    give(product, "local:engineers", "edit", "shop")
    for path in ("/me", "/me/access", "/clusters", "/mappings", "/people?q=a", "/audit?limit=5", "/clusters/prod/plan"):
        assert product.api("GET", path, headers).status_code == 200, path
    for path in ("/", "/clusters", "/mappings", "/people", "/audit", "/status", "/account", "/metrics", "/readyz"):
        assert product.logged_in("ada").get(path).status_code == 200, path


def test_the_throttle_counts_on_postgresql_too(product: Product) -> None:
    answers = [product.browser().login("erin", "wrong password").status_code for _ in range(9)]
    assert answers == [401] * 8 + [429]
    product.clock.forward(minutes=16)
    assert product.browser().login("erin", PASSWORD).status_code == 302


@pytest.mark.parametrize("edge", EDGES, ids=ascii)
def test_no_text_is_too_strange_for_a_clear_answer(product: Product, edge: str) -> None:
    headers = product.token("ada", "read", "write", "kubeconfig")
    mapping = {"group": f"local:{edge}", "cluster": "prod", "role_name": "view"}
    attempts: list[tuple[str, str, Any]] = [
        ("POST", "/kubeconfig", {"clusters": [edge]}),
        ("POST", "/mappings", mapping),
        ("POST", "/mappings", mapping | {"group": "local:x", "cluster": edge}),
        ("POST", "/mappings", mapping | {"group": "local:x", "role_name": edge}),
        ("POST", "/mappings", mapping | {"group": "local:x", "note": edge}),
        ("POST", "/clusters", {"name": "new", "title": edge, "access": "offline", "server": "https://new.invalid", "signer": "none"}),
        ("POST", "/clusters", {"name": "new", "access": "offline", "server": f"https://new.invalid/{edge * 2}", "signer": "none"}),
    ]
    for method, path, body in attempts:
        assert product.api(method, path, headers, body).status_code < 500, (path, body)
    sendable = edge.encode("utf-8", "replace").decode()  # a browser has no half surrogate pairs
    for path, field in (("/people", "q"), ("/audit", "target"), ("/audit", "cluster")):
        answer = product.app.test_client().get(f"/api/v1{path}", query_string={field: sendable}, headers=headers)
        assert answer.status_code < 500, path
    assert product.browser().login(sendable, "wrong password").status_code in {401, 422}
    with product.app.app_context():
        assert db.session.scalar(text("SELECT count(*) FROM people")) == 1


class TestReplicas:
    def test_two_reconcilers_at_once_have_one_holder_for_each_cluster(self, product: Product, replica: Replica) -> None:
        offline(product, "other")
        give(product, "local:engineers", "edit", "shop")
        other = replica()
        with product.app.app_context(), only_one("reconcile prod") as mine:
            assert mine
            with other.app.app_context():
                assert other.services.reconciler.run(other.operator, "prod") is None
                assert other.services.reconciler.run(other.operator, "other") is not None
        with other.app.app_context():
            assert other.services.reconciler.run(other.operator, "prod") is not None

    def test_the_lock_goes_with_a_holder_that_crashes(self, product: Product, replica: Replica) -> None:
        other = replica()
        with product.app.app_context(), pytest.raises(ZeroDivisionError), only_one("reconcile prod"):
            _ = 1 / 0
        with other.app.app_context(), only_one("reconcile prod") as mine:
            assert mine

    def test_while_one_worker_is_at_a_slow_cluster_another_does_the_rest(
        self, product: Product, replica: Replica, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        offline(product, "quick")
        give(product, "local:engineers", "edit", "shop")
        other = replica()
        reached, go_on = threading.Event(), threading.Event()
        connect = product.services.world.connect

        def slowly(cluster: Any) -> Any:
            if cluster.name == "prod":
                reached.set()
                assert go_on.wait(20)
            return connect(cluster)

        object.__setattr__(product.services.world, "connect", slowly)

        def run(name: str) -> object:
            with product.app.app_context():
                return product.services.reconciler.run(product.operator, name)

        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(run, "prod")
            assert reached.wait(20)
            other.work()
            with other.app.app_context():
                done = {state.cluster.name: state.succeeded_at is not None for state in other.services.reconciler.states(other.operator)}
            assert done == {"prod": False, "quick": True}
            go_on.set()
            assert first.result() is not None

    def test_a_session_of_one_replica_is_good_at_the_other_and_ends_at_both(self, product: Product, replica: Replica) -> None:
        browser = product.logged_in("erin")
        cookie = browser.client.get_cookie("kube_iam_session")
        assert cookie
        elsewhere = replica().browser()
        elsewhere.client.set_cookie("kube_iam_session", cookie.value)
        assert elsewhere.get("/").status_code == 200
        browser.post("/logout")
        assert elsewhere.get("/").status_code == 302

    def test_many_first_logins_at_once_make_one_person(self, product: Product, replica: Replica) -> None:
        both = [product, replica()]
        with ThreadPoolExecutor(8) as pool:
            codes = list(pool.map(lambda number: both[number % 2].browser().login("erin", PASSWORD).status_code, range(8)))
        assert codes == [302] * 8
        assert len(stored(product, Person)) == 1
        assert len(stored(product, Group)) == 1

    def test_many_wrong_passwords_at_once_are_all_counted(self, product: Product, replica: Replica) -> None:
        both = [product, replica()]
        with ThreadPoolExecutor(6) as pool:
            codes = list(pool.map(lambda number: both[number % 2].browser().login("erin", "wrong password").status_code, range(6)))
        assert codes == [401] * 6
        assert {row.count for row in stored(product, FailedLogin)} == {6}
        assert len(events(product, action="login", result="refused")) == 6

    def test_the_same_mapping_twice_at_once_is_one_mapping(self, product: Product, replica: Replica) -> None:
        headers = product.token("ada", "write")
        body = {"group": "local:new-group", "cluster": "prod", "role_name": "view"}
        both = [product, replica()]
        with ThreadPoolExecutor(6) as pool:
            codes = list(pool.map(lambda number: both[number % 2].api("POST", "/mappings", headers, body).status_code, range(6)))
        assert sorted(codes) == [201] + [409] * 5
        assert len(stored(product, Mapping)) == 1
        assert len([event for event in stored(product, AuditEvent) if event.action == "mapping.created"]) == 1
