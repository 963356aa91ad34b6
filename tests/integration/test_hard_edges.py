"""What a review found once, each as somebody would meet it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fixtures.offline import events, give, offline, person, stored, subjects
from fixtures.product import PASSWORD, Product, ProductMaker
from rigs.faulty_apiserver import RBAC, Answer, FaultyApiServer

from iam.clusters.base import Applied
from iam.clusters.client import ApiServer
from iam.clusters.connection import FileBindingStore
from iam.directory.base import Identity
from iam.errors import Conflict, Invalid, Unavailable
from iam.kube import names
from iam.kube.bindings import Plan
from iam.kube.kubeconfig import Access
from iam.models import AuditEvent, Credential, db
from iam.services.base import WORKER, Actor
from iam.services.login import Started

SSO = {"kind": "oidc", "name": "sso", "issuer": "https://sso.example.org", "client_id": "kube-iam"}
LOCAL_AND_SSO = [{"kind": "local", "name": "local"}, {**SSO, "username_prefix": "sso:"}]


def test_a_name_of_marks_without_end_is_refused_before_it_is_normalised() -> None:
    endless = "\u0315\u0300" * 200_000  # NFKC is quadratic over these: minutes
    for check in (names.canonical_username, names.group_name):
        with pytest.raises(Invalid):
            check(endless)


def enter(product: Product, identity: Identity) -> Started:
    visitor = Actor(name="visitor", door="page")
    with product.app.app_context():
        return product.services.logins._start(visitor, identity, "")


def test_a_role_known_from_a_login_lapses_with_the_memberships(make_product: ProductMaker) -> None:
    product = make_product(directories=LOCAL_AND_SSO, roles={"administrator": ["sso:platform"]})
    enter(product, Identity("sso", "1", "sso:ada", "Ada", groups=frozenset({"platform"})))
    with product.app.app_context():
        assert "administrator" in product.services.people.roles_of(product.services.people.by_username("sso:ada"))
        product.clock.forward(hours=25)
        assert product.services.people.roles_of(product.services.people.by_username("sso:ada")) == {"person"}


def test_nobody_takes_a_name_that_looks_like_another_directorys(make_product: ProductMaker) -> None:
    product = make_product(directories=LOCAL_AND_SSO, roles={})
    with pytest.raises(Conflict):
        enter(product, Identity("local", "1", "sso:ada", "Not Ada"))


def test_people_of_a_directory_that_is_configured_no_more_are_out(make_product: ProductMaker, tmp_path: Path) -> None:
    product = make_product(directories=[{"kind": "local", "name": "local"}], roles={})
    product.account("erin")
    browser = product.logged_in("erin")
    again = make_product(directories=[{"kind": "local", "name": "other"}], roles={}, secret_key="k" * 40)
    cookie = browser.client.get_cookie("kube_iam_session")
    assert cookie
    fresh = again.app.test_client()
    fresh.set_cookie("kube_iam_session", cookie.value)
    assert fresh.get("/").status_code == 302


def test_a_strange_display_name_stops_no_sync_of_others(product: Product) -> None:
    with product.app.app_context():
        found = product.services.people.remember(WORKER, Identity("local", "1", "mal", "Ma\0l\u202e", email="a\0b"))
        db.session.commit()
        assert (found.display_name, found.email) == ("Mal", "ab")


def test_a_change_during_a_failing_run_is_tried_again_at_once(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    offline(product)
    product.account("erin", "engineers")
    give(product, "local:engineers", "edit", "shop")
    product.logged_in("erin")

    def fail_while_somebody_is_shut_out(_self: FileBindingStore, _plan: Plan) -> Applied:
        product.services.people.disable(product.operator, person(product, "erin").id)
        return Applied(0, ("RoleBinding shop/x: no such namespace",))

    monkeypatch.setattr(FileBindingStore, "apply", fail_while_somebody_is_shut_out)
    with product.app.app_context():
        product.services.reconciler.run(product.operator, "prod")
        assert list(product.services.reconciler.due()) == ["prod"]


def test_what_is_found_is_read_before_what_is_desired(product: Product, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offline(product)
    product.account("erin", "engineers")
    give(product, "local:engineers", "edit", "shop")
    product.logged_in("erin")
    owned = FileBindingStore.owned

    def shut_out_meanwhile(store: FileBindingStore) -> Any:
        found = owned(store)
        product.services.people.disable(product.operator, person(product, "erin").id)
        return found

    monkeypatch.setattr(FileBindingStore, "owned", shut_out_meanwhile)
    with product.app.app_context():
        product.services.reconciler.run(product.operator, "prod")
    assert subjects(product, tmp_path) == {}


@pytest.mark.parametrize(
    "body",
    [{}, {"kind": "Status"}, {"kind": "RoleBindingList", "items": "abc"}, {"kind": "RoleBindingList", "items": [1]}],
    ids=["maintenance page", "status", "text for items", "numbers for objects"],
)
def test_an_answer_that_is_no_list_is_never_an_empty_list(tmp_path: Path, body: dict[str, Any]) -> None:
    with FaultyApiServer(tmp_path) as api:
        api.fault = lambda _call: Answer(200, body)
        server = ApiServer(Access(api.server, api.ca_pem, token="t"))
        with pytest.raises(Unavailable):
            server.list(f"{RBAC}/rolebindings")


def test_a_list_that_never_ends_is_given_up(tmp_path: Path) -> None:
    with FaultyApiServer(tmp_path) as api:
        api.fault = lambda _call: Answer(200, {"kind": "RoleBindingList", "items": [], "metadata": {"continue": "again"}})
        with pytest.raises(Unavailable):
            ApiServer(Access(api.server, api.ca_pem, token="t")).list(f"{RBAC}/rolebindings")


def test_a_cluster_is_not_forgotten_while_a_half_failed_run_left_bindings(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    offline(product)
    mapping = give(product, "local:engineers", "edit", "shop")
    monkeypatch.setattr(FileBindingStore, "apply", lambda *_: Applied(1, ("one failed",)))
    with product.app.app_context():
        product.services.access.remove(product.operator, mapping)
        with pytest.raises(Conflict):
            product.services.clusters.remove(product.operator, "prod")
        product.services.clusters.remove(product.operator, "prod", leave_bindings=True)
    assert events(product, action="cluster.removed")[0].details == {"leave_bindings": True}


def test_a_forgotten_cluster_leaves_the_record_of_certificates(product: Product) -> None:
    offline(product)
    product.account("erin", "engineers")
    mapping = give(product, "local:engineers", "edit", "shop")
    browser = product.logged_in("erin")
    assert browser.post("/kubeconfig/prod", key="ours").status_code == 200
    with product.app.app_context():
        product.services.access.remove(product.operator, mapping)
        product.services.clusters.remove(product.operator, "prod", leave_bindings=True)
    (kept,) = stored(product, Credential)
    assert (kept.cluster_id, kept.cluster_name, kept.username) == (None, "prod", "erin")


def test_an_administrator_does_not_shut_themselves_out(product: Product) -> None:
    product.account("ada", "administrators")
    answer = product.logged_in("ada").post(f"/people/{person(product, 'ada').id}/disable")
    assert answer.status_code == 409
    assert not person(product, "ada").is_disabled


def test_somebody_elses_guesses_lock_nobody_out(product: Product) -> None:
    product.account("erin")
    for _ in range(9):
        product.browser().login("erin", "wrong")
    assert product.browser().login("erin", PASSWORD).status_code == 429
    elsewhere = product.browser()
    elsewhere.client.environ_base["REMOTE_ADDR"] = "127.0.0.2"
    assert elsewhere.login("erin", PASSWORD).status_code == 302


def test_a_flood_of_wrong_tokens_is_recorded_up_to_a_limit(make_product: ProductMaker) -> None:
    product = make_product(throttle={"per_address": 5})
    statuses = [product.api("GET", "/me", {"Authorization": "Bearer kiam_wrong"}).status_code for _ in range(20)]
    assert statuses == [401] * 5 + [429] * 15
    assert len(stored(product, AuditEvent)) == 6


def test_a_refusal_about_something_endless_is_recorded_all_the_same(product: Product) -> None:
    product.account("erin")
    headers = product.token("erin", "read", "write", "kubeconfig")
    assert product.api("POST", "/kubeconfig", headers, {"clusters": ["c" * 300]}).status_code == 403
    assert events(product, action="access.denied")[0].cluster == "c" * 63


def test_the_log_tells_only_of_what_was_committed(product: Product, capsys: pytest.CaptureFixture[str]) -> None:
    with product.app.app_context():
        product.services.people.remember(WORKER, Identity("local", "1", "mal", "Mal"))
        db.session.rollback()
    assert "person.created" not in capsys.readouterr().err


def test_a_group_bound_by_the_cluster_itself_gives_no_certificate_of_ours(product: Product) -> None:
    offline(product)
    product.account("erin", "engineers")
    give(product, "local:engineers", "edit", "shop", subject_kind="Group")
    browser = product.logged_in("erin")
    assert "the cluster itself must know your groups" in browser.get("/").text
    assert browser.post("/kubeconfig/prod", key="ours").status_code == 403


def test_an_ended_token_frees_its_name(product: Product) -> None:
    product.account("erin")
    browser = product.logged_in("erin")
    for _ in range(2):
        assert browser.post("/account/tokens", name="ci", scopes=["read"], days="1").status_code == 200
        product.clock.forward(days=2)
        browser = product.logged_in("erin")


def test_a_host_name_that_is_not_ours_is_refused(product: Product) -> None:
    assert product.app.test_client().get("/login", headers={"Host": "evil.example"}).status_code == 400


@pytest.mark.parametrize("text", ["_", "%", "\\"])
def test_a_search_takes_every_character_as_it_is(product: Product, text: str) -> None:
    product.account("ada", "administrators")
    assert "0 found" in product.logged_in("ada").get("/people", query_string={"q": text}).text


def test_a_missed_worker_shows_on_every_administrators_page(product: Product) -> None:
    product.account("ada", "administrators")
    browser = product.logged_in("ada")
    product.work()
    assert "No worker has been seen" not in browser.get("/").text
    product.clock.moment += timedelta(minutes=2)
    assert "No worker has been seen" in browser.get("/").text

