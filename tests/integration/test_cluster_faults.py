"""Clusters that are down, silent, confused or hostile: a clear error, nothing stored, an event."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from fixtures.offline import events, give, stored
from fixtures.product import Browser, Product
from rigs.faulty_apiserver import CERTIFICATES, Answer, Call, FaultyApiServer, Forgery
from rigs.processes import free_port

from iam.clusters.csr import CsrSigner
from iam.models import Credential
from iam.services.clusters import Registration

CN, O = NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME  # noqa: E741 - as subjects write it


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits 20 s for a cluster here."""
    monkeypatch.setattr("iam.clusters.client.TIMEOUT_SECONDS", (1.0, 0.3))
    monkeypatch.setattr(CsrSigner.__init__, "__defaults__", (0.3,))


@pytest.fixture
def api(tmp_path: Path) -> Iterator[FaultyApiServer]:
    with FaultyApiServer(tmp_path / "api") as server:
        yield server


def register(product: Product, api: FaultyApiServer, name: str = "prod") -> None:
    with product.app.app_context():
        product.services.clusters.register(
            product.operator, Registration(name, server=api.server, ca_pem=api.ca_pem, token=api.token)
        )


@pytest.fixture
def erin(product: Product, api: FaultyApiServer) -> Browser:
    """A person with access in a cluster that works so far."""
    product.account("erin", "engineers")
    register(product, api)
    give(product, "local:engineers", "edit", "shop")
    product.work()
    return product.logged_in("erin")


def status(code: int) -> Callable[[Call], Answer]:
    return lambda _call: Answer(code, {"kind": "Status", "message": f"no luck with {code}"})


def always(answer: Answer) -> Callable[[Call], Answer]:
    return lambda _call: answer


def on_read(document: dict[str, Any]) -> Callable[[Call], Answer | None]:
    """The request is taken and approved; this is what comes of it."""

    def fault(call: Call) -> Answer | None:
        return Answer(body={"metadata": {}, "status": document}) if call.method == "GET" and call.path.startswith(CERTIFICATES) else None

    return fault


def condition(kind: str) -> dict[str, Any]:
    return {"conditions": [{"type": kind, "status": "True", "reason": "Policy", "message": "not on my watch"}]}


FAULTS: dict[str, tuple[Callable[[Call], Answer | None], str]] = {
    "401": (status(401), "refuses our own credential: no luck with 401"),
    "403": (status(403), "refuses our own credential: no luck with 403"),
    "404": (status(404), "has no"),
    "409": (status(409), "no luck with 409"),
    "429": (status(429), "answered 429"),
    "500": (status(500), "answered 500"),
    "503": (status(503), "answered 503"),
    "hangs up": (always(Answer(raw=b"")), "the connection broke"),
    "speaks no HTTP": (always(Answer(raw=b"220 mail.example.org ESMTP\r\n" * 3)), "the connection broke"),
    "silent": (always(Answer(silent=True)), "timed out"),
    "answers with a page": (always(Answer(body=b"<html>Welcome to nginx</html>")), "where an object was expected"),
    "answers with nothing": (always(Answer(body=b"")), "where an object was expected"),
    "answers with a list": (always(Answer(body=[1, 2])), "where an object was expected"),
    "answers with depth": (always(Answer(body=b"[" * 100_000)), "where an object was expected"),
    "denied": (on_read(condition("Denied")), "Denied, not on my watch"),
    "failed": (on_read(condition("Failed")), "Failed, not on my watch"),
    "never signed": (on_read({}), "did not sign it within"),
    "not base64": (on_read({"certificate": "%%%"}), "is not a certificate"),
    "not a certificate": (on_read({"certificate": "aGVsbG8="}), "is not a certificate"),
}
IN_SIGNING = {name: FAULTS.pop(name) for name in ("denied", "failed", "never signed", "not base64", "not a certificate")}
FORGERIES: dict[str, tuple[Forgery, str]] = {
    "somebody else's name": (Forgery(subject=[(CN, "root")]), "another subject"),
    "with a group": (Forgery(subject=[(O, "system:masters"), (CN, "erin")]), "another subject"),
    "another key": (Forgery(own_key=True), "another key"),
    "longer than asked": (Forgery(lifetime=timedelta(days=365)), "lives longer than was asked for"),
    "not valid yet": (Forgery(starts_in=timedelta(hours=1)), "not valid now"),
    "over already": (Forgery(starts_in=timedelta(hours=-2), lifetime=timedelta(hours=-1)), "not valid now"),
    "good for servers": (
        Forgery(purposes=[ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]), "more than client authentication",
    ),
    "a CA": (Forgery(ca=True), "more than client authentication"),
    "with names": (Forgery(names=["kubernetes.default"]), "more than client authentication"),
}


def assert_told_and_on_record(product: Product, browser: Browser, words: str) -> None:
    answer = browser.post("/kubeconfig/prod", key="ours")
    assert answer.status_code in {404, 409, 503}, answer.status_code
    assert words in answer.text.replace("&#39;", "'")
    assert "client-key-data" not in answer.text
    assert stored(product, Credential) == []
    event = events(product)[0]
    assert (event.action, event.cluster, event.actor_name) == ("credential.issued", "prod", "erin")
    assert event.result in {"failed", "refused"}
    assert words in event.reason


def test_a_cluster_without_faults_hands_out_a_kubeconfig(product: Product, erin: Browser) -> None:
    assert "client-key-data" in erin.post("/kubeconfig/prod", key="ours").text
    assert len(stored(product, Credential)) == 1


@pytest.mark.parametrize(("fault", "words"), (FAULTS | IN_SIGNING).values(), ids=FAULTS | IN_SIGNING)
def test_a_download_from_a_faulty_cluster_fails_with_a_sentence(
    product: Product, api: FaultyApiServer, erin: Browser, fault: Callable[[Call], Answer], words: str
) -> None:
    api.fault = fault
    assert_told_and_on_record(product, erin, words)


@pytest.mark.parametrize(("forgery", "words"), FORGERIES.values(), ids=FORGERIES)
def test_a_certificate_that_was_not_asked_for_is_not_handed_on(
    product: Product, api: FaultyApiServer, erin: Browser, forgery: Forgery, words: str
) -> None:
    api.forgery = forgery
    assert_told_and_on_record(product, erin, words)


WRONG_SHAPES: list[Any] = [
    {"hello": "world"}, {"metadata": 1, "items": 2, "status": 3, "kind": "List"}, {"status": {"conditions": 7}},
    {"status": {"conditions": ["Denied"]}}, {"status": {"certificate": 5}}, {"status": [1]}, {"kind": "List", "items": [{"metadata": 1}]},
    {"kind": "List", "items": [{"metadata": {"name": 1}, "roleRef": 1, "subjects": 1}]},
]


@pytest.mark.parametrize("body", WRONG_SHAPES, ids=json.dumps)
def test_json_of_the_wrong_shape_is_the_clusters_mistake_and_not_ours(
    product: Product, api: FaultyApiServer, erin: Browser, body: Any
) -> None:
    api.fault = always(Answer(body=body))
    answer = erin.post("/kubeconfig/prod", key="ours")
    assert answer.status_code == 503
    assert stored(product, Credential) == []
    assert (events(product)[0].action, events(product)[0].result) == ("credential.issued", "failed")
    with product.app.app_context():
        outcome = product.services.reconciler.run(product.operator, "prod")
        assert outcome is not None
        assert outcome.error
        assert product.services.clusters.probe(product.operator, "prod").probe is not None


def test_a_list_without_end_is_given_up(product: Product, api: FaultyApiServer, erin: Browser) -> None:
    api.fault = always(Answer(body={"kind": "List", "items": [], "metadata": {"continue": "again"}}))
    with product.app.app_context():
        outcome = product.services.reconciler.run(product.operator, "prod")
    assert outcome is not None
    assert "no Kubernetes API" in outcome.error


def test_a_cluster_that_is_down_is_told_from_one_that_refuses(product: Product, api: FaultyApiServer, erin: Browser) -> None:
    with product.app.app_context():
        gone = Registration("prod", server=f"https://127.0.0.1:{free_port()}", ca_pem=api.ca_pem, token=api.token)
        product.services.clusters.renew(product.operator, gone)
    assert_told_and_on_record(product, erin, "connection refused")


def test_the_api_says_the_same_as_problem_details(product: Product, api: FaultyApiServer, erin: Browser) -> None:
    headers = product.token("erin", "kubeconfig")
    api.fault = status(500)
    answer = product.api("POST", "/kubeconfig", headers, {"clusters": ["prod"]})
    assert (answer.status_code, answer.mimetype) == (503, "application/problem+json")
    assert "no luck with 500" in answer.get_json()["detail"]


def test_one_faulty_cluster_out_of_two_gives_no_file_and_keeps_on_record_what_was_signed(
    product: Product, api: FaultyApiServer, erin: Browser, tmp_path: Path
) -> None:
    with FaultyApiServer(tmp_path / "other") as other:
        register(product, other, "other")
        give(product, "local:engineers", "view", cluster="other")
        other.fault = status(500)
        answer = erin.post("/kubeconfig/all", key="ours")
    assert answer.status_code == 503
    assert "client-key-data" not in answer.text
    assert {(one.cluster, one.result) for one in events(product, action="credential.issued")} == {("other", "failed"), ("prod", "done")}
    assert len(stored(product, Credential)) == 1


def test_a_conflict_while_approving_is_tried_once_more(product: Product, api: FaultyApiServer, erin: Browser) -> None:
    conflicts = iter([Answer(409, {"message": "modified meanwhile"})])
    api.fault = lambda call: next(conflicts, None) if call.name == "approval" else None
    assert erin.post("/kubeconfig/prod", key="ours").status_code == 200


@pytest.mark.parametrize("code", [301, 302, 307, 308])
def test_a_redirect_is_not_followed_so_no_credential_travels(
    product: Product, api: FaultyApiServer, erin: Browser, tmp_path: Path, code: int
) -> None:
    with FaultyApiServer(tmp_path / "thief") as thief:
        api.fault = lambda call: Answer(code, {}, {"Location": thief.server + call.path})
        assert_told_and_on_record(product, erin, f"answered {code}")
    assert thief.calls == []


@pytest.mark.parametrize(
    ("hosts", "trusted", "words"),
    [(["other.example.org"], True, "its certificate is for another host"), (["127.0.0.1"], False, "not signed by the CA")],
    ids=["wrong host", "unknown CA"],
)
def test_a_cluster_that_cannot_prove_who_it_is_gets_no_token_of_ours(
    product: Product, api: FaultyApiServer, tmp_path: Path, hosts: list[str], trusted: bool, words: str
) -> None:
    with FaultyApiServer(tmp_path / "pretender", hosts) as pretender:
        pretender.ca_pem = pretender.ca_pem if trusted else api.ca_pem
        register(product, pretender)
        product.account("erin", "engineers")
        give(product, "local:engineers", "edit")
        assert_told_and_on_record(product, product.logged_in("erin"), words)
    assert pretender.calls == []


PROBED = FAULTS | {name: IN_SIGNING[name] for name in ("denied", "failed", "never signed", "not base64")}


@pytest.mark.parametrize(("fault", "words"), PROBED.values(), ids=PROBED)
def test_registering_a_faulty_cluster_keeps_it_and_says_what_is_wrong(
    product: Product, api: FaultyApiServer, fault: Callable[[Call], Answer], words: str
) -> None:
    api.fault = fault
    product.account("ada", "administrators")
    browser = product.logged_in("ada")
    form = {"name": "prod", "server": api.server, "ca_pem": api.ca_pem, "token": api.token}
    assert browser.post("/clusters/new", **form).location == "/clusters/prod"
    assert words in browser.get("/clusters/prod").text.replace("&#39;", "'")
    (probed,) = events(product, action="cluster.probed")
    assert (probed.result, words in json.dumps(probed.details)) == ("failed", True)


@pytest.mark.parametrize(("fault", "words"), FAULTS.values(), ids=FAULTS)
def test_reconciling_waits_says_so_once_and_goes_on_when_the_fault_is_over(
    product: Product, api: FaultyApiServer, erin: Browser, fault: Callable[[Call], Answer], words: str
) -> None:
    api.fault = fault
    give(product, "local:engineers", "view", "stage")
    for _ in range(3):
        product.work()
        product.clock.forward(minutes=6)
    with product.app.app_context():
        (state,) = product.services.reconciler.states(product.operator)
        assert (state.is_behind, state.failures) == (True, 3)
        assert words in state.error
    assert [words in event.reason for event in events(product, action="cluster.away")] == [True]

    api.fault = None
    product.work()
    assert any("/namespaces/stage/rolebindings/" in path for path in api.objects)
    with product.app.app_context():
        (state,) = product.services.reconciler.states(product.operator)
        assert (state.is_behind, state.failures, state.error) == (False, 0, "")


def test_one_binding_that_is_refused_holds_up_no_other(product: Product, api: FaultyApiServer, erin: Browser) -> None:
    api.fault = lambda call: Answer(403, {"message": "hands off"}) if call.method == "POST" and "/kube-system/" in call.path else None
    give(product, "local:engineers", "view", "kube-system", "stage")
    product.work()
    assert any("/namespaces/stage/rolebindings/" in path for path in api.objects)
    (event,) = events(product, action="cluster.reconciled", result="failed")
    assert "hands off" in event.reason
