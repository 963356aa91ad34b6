"""Access for a time, with a mouse, on a real cluster: asked for, decided on, used with kubectl, and gone when it is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from fixtures.house import offer
from fixtures.live import Live, LiveMaker
from fixtures.product import Kubectl
from fixtures.real import own_namespace
from fixtures.stage import rule
from fixtures.visits import JAVASCRIPT, Visits, follow
from playwright.sync_api import Locator, Page

from iam.clusters.client import ApiServer
from iam.clusters.throwaway import ControlPlane
from iam.errors import NotFound
from iam.kube.kubeconfig import read
from iam.services.requests.catalogue import NewEntry

PREVIEW, SEND = "Show what this comes to", "Ask for it"
ROLES = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
Try = Callable[..., "CompletedProcess[str]"]


def button(page: Page | Locator, name: str) -> Locator:
    return page.get_by_role("button", name=name, exact=True)


def said(page: Page) -> str:
    return page.get_by_role("status").inner_text()


def complaint(page: Page) -> str:
    return page.locator(".note.bad[role=alert]").inner_text()


def fact(page: Page, name: str) -> str:
    """What stands beside a term."""
    return page.locator("dt", has_text=name).first.locator("xpath=following-sibling::dd[1]").inner_text()


def settle(live: Live) -> None:
    """The worker goes round until what the clock says is on the cluster, and seen there."""
    for _ in range(3):
        live.product.work()


def ask(page: Page, live: Live, title: str, namespaces: str, how_long: str = "1h", reason: str = "The till is down.") -> str:
    """From the catalogue to the request; its address."""
    page.goto(f"{live.base}/requests")
    follow(page.get_by_role("link", name="Ask for access"))
    follow(page.get_by_role("link", name=title))
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


def download(page: Page, live: Live) -> str:
    page.goto(f"{live.base}/kubeconfig/demo")
    page.get_by_label("Lifetime in minutes").fill("10")
    with page.expect_download() as started:
        button(page, "Download kubeconfig").click()
    return started.value.path().read_text("utf-8")


@pytest.fixture
def real(make_live: LiveMaker, control_plane: ControlPlane) -> Live:
    """The house on a real cluster, with the demo's catalogue, rules and door."""
    live = make_live(control_plane)
    offer(live.product)
    return live


@pytest.fixture
def tries(kubectl: Kubectl, tmp_path: Path) -> Try:
    return lambda kubeconfig, *arguments: kubectl(kubeconfig, *arguments, folder=tmp_path)


@pytest.fixture
def api(control_plane: ControlPlane) -> ApiServer:
    return ApiServer(read(control_plane.kubeconfig()))


@pytest.fixture
def reader(api: ApiServer, real: Live) -> Iterator[tuple[str, str]]:
    """A ClusterRole of our own that can be asked for as Read the ledger, in one namespace; both names."""
    with ExitStack() as stack:
        namespace = own_namespace(api, "ledger")
        name = f"reader-of-{namespace}"
        stack.callback(lambda: _remove(api, f"{ROLES}/{name}"))
        api.post(ROLES, _role(name, "pods"))
        with real.product.app.app_context():
            entry = NewEntry("ledger", "Read the ledger", role_name=name, clusters=("demo",), namespaces=(namespace,))
            real.product.services.catalogue.save(real.product.operator, entry)
        rules = ["lead"]
        with real.product.app.app_context():
            from iam.services.requests.rules import NewRule

            real.product.services.rules.save(real.product.operator, NewRule("ledger", rules[0], entry="ledger", position=1))
        yield name, namespace


def _role(name: str, *resources: str) -> dict[str, object]:
    return {"metadata": {"name": name}, "rules": [rule("list", resource) for resource in resources]}


def _remove(api: ApiServer, path: str) -> None:
    with suppress(NotFound):
        api.delete(path)
