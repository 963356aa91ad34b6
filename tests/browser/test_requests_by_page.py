"""Access for a time, with a mouse, on a real cluster: asked for, decided on, used with kubectl, and gone when it is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from fixtures.house import offer
from fixtures.live import Live, LiveMaker
from fixtures.product import Kubectl
from fixtures.real import RBAC, own_namespace
from fixtures.visits import JAVASCRIPT, Visits, button, complaint, fact, follow, kubeconfig, said
from playwright.sync_api import Page

from iam.clusters.client import ApiServer
from iam.clusters.throwaway import ControlPlane
from iam.errors import NotFound
from iam.kube.kubeconfig import read
from iam.services.requests.catalogue import NewEntry
from iam.services.requests.rules import NewRule

PREVIEW, SEND = "Show what this comes to", "Ask for it"
LEDGER = "reader-of-the-ledger"
Try = Callable[..., "CompletedProcess[str]"]


def ask(page: Page, live: Live, title: str, namespaces: str, how_long: str = "1h", reason: str = "The till is down.") -> str:
    """From the catalogue to the request; its address."""
    page.goto(f"{live.base}/requests")
    follow(page.get_by_role("link", name="Ask for access").first)
    follow(page.get_by_role("link", name=title))
    page.locator("input[name=clusters][value=demo]").check()
    page.get_by_label("Namespaces").fill(namespaces)
    page.get_by_label("For how long").fill(how_long)
    page.get_by_label("Why").fill(reason)
    follow(button(page, PREVIEW))
    follow(button(page, SEND))
    return page.url


def approve(page: Page, live: Live, title: str) -> None:
    """The first of this title in the inbox, by its button."""
    page.goto(f"{live.base}/inbox")
    follow(page.get_by_role("link", name=title).first)
    follow(button(page, "Approve"))


@pytest.fixture
def real(make_live: LiveMaker, control_plane: ControlPlane) -> Live:
    """The house on a real cluster, with the demo's catalogue, rules and door; what other tests have bound there is gone."""
    live = make_live(control_plane)
    offer(live.product)
    live.product.work()
    return live


@pytest.fixture
def tries(kubectl: Kubectl, tmp_path: Path) -> Try:
    return lambda config, *arguments: kubectl(config, *arguments, folder=tmp_path)


@pytest.fixture
def api(control_plane: ControlPlane) -> ApiServer:
    return ApiServer(read(control_plane.kubeconfig()))


@pytest.fixture
def ledger(api: ApiServer, real: Live) -> Iterator[str]:
    """A ClusterRole of our own, which reads pods: Read the ledger, in the namespace that this returns."""
    namespace, role = own_namespace(api, "ledger"), f"{RBAC}/clusterroles/{LEDGER}"
    with suppress(NotFound):
        api.delete(role)
    api.post(f"{RBAC}/clusterroles", ledger_role("pods"))
    with real.product.app.app_context():
        entry = NewEntry("ledger", "Read the ledger", role_name=LEDGER, clusters=("demo",), namespaces=(namespace,))
        real.product.services.catalogue.save(real.product.operator, entry)
        rule = NewRule("ledger", "lead\n1 of local:administrators", entry="ledger", position=1)
        real.product.services.rules.save(real.product.operator, rule)
    yield namespace
    api.delete(role)


def ledger_role(*resources: str) -> dict[str, object]:
    return {"metadata": {"name": LEDGER}, "rules": [{"verbs": ["list"], "apiGroups": [""], "resources": list(resources)}]}


@JAVASCRIPT
def test_from_asking_to_forbidden_again(visit: Visits, real: Live, tries: Try, javascript: bool) -> None:
    erin, lee, ada = (visit(real, who, javascript=javascript) for who in ("erin", "lee", "ada"))
    erin.goto(f"{real.base}/requests")
    follow(erin.get_by_role("link", name="Ask for access").first)
    follow(erin.get_by_role("link", name="Run the shop"))
    assert erin.get_by_label("Namespaces").input_value() == "shop"
    erin.get_by_label("Throwaway control plane").check()
    erin.get_by_label("For how long").fill("10m")
    erin.get_by_label("Why").fill("The till is down.\nNobody can pay.")
    follow(button(erin, PREVIEW))
    preview = erin.locator("section", has=erin.get_by_role("heading", name="What you ask for")).last.inner_text()
    assert "the lead of whoever asks (Lee Lindqvist)" in preview
    assert "1 of local:administrators (Ada Adeyemi)" in preview
    assert "reads Secrets" in preview
    assert "rolebindings" in erin.locator("section dl.facts").inner_html()
    assert "You hold there now: edit" in " ".join(preview.split())
    follow(button(erin, SEND))
    assert said(erin) == "Asked. You are told when there is an answer."
    assert erin.get_by_role("heading", name="Run the shop").is_visible()
    asked = erin.url

    config = kubeconfig(erin, real)
    assert "Forbidden" in tries(config, "-n", "shop", "get", "rolebindings").stderr
    assert real.product.browser().get("/inbox").status_code == 302
    ada.goto(f"{real.base}/inbox")
    assert ada.get_by_text("Nothing waits for you").is_visible(), "the first stage comes first"
    lee.goto(f"{real.base}/inbox")
    assert "The till is down." in lee.locator("td[data-label=Why]").inner_text()
    follow(lee.get_by_role("link", name="Run the shop"))
    assert lee.locator("li.change.new", has_text="rolebindings").first.is_visible()
    assert fact(lee, "How long") == "10m"
    follow(button(lee, "Approve"))
    assert said(lee) == "Approved. It waits for others now."
    real.settle()
    assert "Forbidden" in tries(config, "-n", "shop", "get", "rolebindings").stderr, "one of two stages"
    approve(ada, real, "Run the shop")
    assert said(ada) == "Approved. It is there in a moment."
    real.settle()

    allowed = tries(config, "-n", "shop", "get", "rolebindings")
    assert allowed.returncode == 0, allowed.stderr
    erin.goto(asked)
    assert erin.get_by_text("on the cluster", exact=True).is_visible()
    real.product.clock.forward(minutes=9)
    real.settle()
    assert tries(config, "-n", "shop", "get", "rolebindings").returncode == 0, "not yet"
    real.product.clock.forward(minutes=2)
    real.settle()
    assert "Forbidden" in tries(config, "-n", "shop", "get", "rolebindings").stderr
    assert tries(config, "-n", "shop", "get", "pods").returncode == 0, "what the group holds stays"
    erin.goto(asked)
    grant = erin.locator("section", has=erin.get_by_role("heading", name="The grant")).last.inner_text()
    assert "ended" in grant
    assert "its time was over" in grant
    assert fact(erin, "Seen to be gone")


@JAVASCRIPT
def test_what_is_given_back_is_gone(visit: Visits, real: Live, tries: Try, javascript: bool) -> None:
    erin, lee = (visit(real, who, javascript=javascript) for who in ("erin", "lee"))
    ask(erin, real, "Change the staging shop", "shop-staging")
    config = kubeconfig(erin, real)
    approve(lee, real, "Change the staging shop")
    real.settle()
    assert tries(config, "-n", "shop-staging", "create", "configmap", "by-erin").returncode == 0
    assert tries(config, "-n", "shop-staging", "delete", "configmap", "by-erin").returncode == 0
    erin.goto(f"{real.base}/requests")
    follow(button(erin, "Give back"))
    assert said(erin) == "Given back. It is gone in a moment."
    real.settle()
    assert "Forbidden" in tries(config, "-n", "shop-staging", "get", "configmaps").stderr
    erin.reload()
    assert "given back" in erin.locator("main").inner_text()


@JAVASCRIPT
def test_what_is_revoked_is_gone(visit: Visits, real: Live, tries: Try, javascript: bool) -> None:
    erin, ada = (visit(real, who, javascript=javascript) for who in ("erin", "ada"))
    asked = ask(erin, real, "Look around", "shop-staging")
    assert said(erin) == "Granted. It is there in a moment.", "nothing in it is dangerous, so nobody is asked"
    config = kubeconfig(erin, real)
    real.settle()
    assert tries(config, "-n", "shop-staging", "get", "pods").returncode == 0
    ada.goto(f"{real.base}/grants")
    follow(ada.locator("tr", has_text="Erin Engel").get_by_role("link", name="Look around"))
    ada.get_by_text("Revoke …").click()
    ada.locator("form[action$=revoke]").get_by_label("Why").fill("She has left the team.")
    follow(button(ada, "Revoke now"))
    assert said(ada) == "Revoked. It is gone in a moment."
    real.settle()
    assert "Forbidden" in tries(config, "-n", "shop-staging", "get", "pods").stderr
    erin.goto(asked)
    assert "revoked (ada)" in erin.locator("main").inner_text()
    assert button(erin, "Give back").count() == 0
    erin.goto(f"{real.base}/requests")
    assert erin.get_by_role("heading", name="Granted for a time").count() == 0


@JAVASCRIPT
def test_a_role_that_changed_is_asked_about_again(
    visit: Visits, real: Live, api: ApiServer, ledger: str, tries: Try, javascript: bool
) -> None:
    erin, lee, ada = (visit(real, who, javascript=javascript) for who in ("erin", "lee", "ada"))
    ask(erin, real, "Read the ledger", ledger)
    approve(lee, real, "Read the ledger")
    ada.goto(f"{real.base}/inbox")
    follow(ada.get_by_role("link", name="Read the ledger"))
    assert ada.locator("li.change.new").all_inner_texts() == [f"list pods {ledger}"]
    api.put(f"{RBAC}/clusterroles/{LEDGER}", ledger_role("pods", "secrets"))
    follow(button(ada, "Approve"))
    assert "The role changed meanwhile, so everybody is asked again." in complaint(ada)
    assert ada.locator(".note.warn", has_text="round 2").is_visible()
    assert button(ada, "Approve").count() == 0, "the lead comes first again"
    assert "before it changed; counts no more" in ada.locator("main").inner_text()
    real.settle()
    config = kubeconfig(erin, real)
    assert "Forbidden" in tries(config, "-n", ledger, "get", "pods").stderr
    lee.goto(f"{real.base}/inbox")
    follow(lee.get_by_role("link", name="Read the ledger"))
    assert lee.locator("li.change.new").all_inner_texts() == [f"list pods {ledger}", f"list secrets {ledger}"]
    assert fact(lee, "Dangerous in it") == "reads Secrets"
    follow(button(lee, "Approve"))
    approve(ada, real, "Read the ledger")
    real.settle()
    assert tries(config, "-n", ledger, "get", "secrets").returncode == 0


def test_a_role_that_changed_before_it_was_looked_at_says_so(visit: Visits, real: Live, api: ApiServer, ledger: str) -> None:
    erin, lee = (visit(real, who) for who in ("erin", "lee"))
    ask(erin, real, "Read the ledger", ledger)
    api.put(f"{RBAC}/clusterroles/{LEDGER}", ledger_role("pods", "secrets"))
    lee.goto(f"{real.base}/inbox")
    follow(lee.get_by_role("link", name="Read the ledger"))
    assert "The role is not what it was when this was asked." in lee.locator(".note.warn").inner_text()
    follow(button(lee, "Approve"))
    assert "so everybody is asked again" in complaint(lee)
    follow(button(lee, "Approve"))
    assert said(lee) == "Approved. It waits for others now."


def test_a_cluster_that_does_not_answer_is_said_so(visit: Visits, make_live: LiveMaker, kubectl: Kubectl) -> None:
    with ControlPlane() as plane:
        live = make_live(plane)
        offer(live.product)
        erin, lee = (visit(live, who) for who in ("erin", "lee"))
        asked = ask(erin, live, "Change the staging shop", "shop-staging")
    lee.goto(asked)
    assert "so it cannot be approved now" in complaint(lee)
    assert button(lee, "Approve").is_disabled()
    lee.get_by_label("Comment", exact=True).fill("Ask again when it is back.")
    follow(button(lee, "Deny"))
    assert said(lee) == "Denied."
