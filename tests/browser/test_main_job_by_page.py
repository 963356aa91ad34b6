"""The main job with a mouse: log in, look, download, and kubectl works with the file; with and without JavaScript."""

from __future__ import annotations

from pathlib import Path

import pytest
from fixtures.live import Live, LiveMaker
from fixtures.product import Kubectl
from fixtures.visits import JAVASCRIPT, Visits, follow, log_in
from playwright.sync_api import Page

from iam.clusters.throwaway import ControlPlane


def download(page: Page, minutes: str = "10") -> str:
    """Press the button on the download page; the file's text."""
    page.get_by_label("Lifetime in minutes").fill(minutes)
    with page.expect_download() as started:
        page.get_by_role("button", name="Download kubeconfig").click()
    return started.value.path().read_text("utf-8")


@JAVASCRIPT
def test_from_login_to_kubectl(
    visit: Visits, make_live: LiveMaker, control_plane: ControlPlane, kubectl: Kubectl, tmp_path: Path, javascript: bool
) -> None:
    live = make_live(control_plane)
    page = visit(live, javascript=javascript)
    log_in(page, live, "erin")
    live.product.work()
    page.goto(live.base)
    assert page.get_by_role("heading", name="My access").is_visible()
    card = page.locator("article", has_text="Throwaway control plane")
    assert card.get_by_role("cell", name="edit").is_visible()
    assert card.get_by_role("cell", name="shop").is_visible()
    assert card.get_by_text("in line").is_visible()
    follow(card.get_by_role("link", name="Download kubeconfig"))
    kubeconfig = download(page)

    assert "erin" in kubectl(kubeconfig, "auth", "whoami", folder=tmp_path).stdout
    allowed = kubectl(kubeconfig, "-n", "shop", "get", "pods", folder=tmp_path)
    assert allowed.returncode == 0, allowed.stderr
    assert "Forbidden" in kubectl(kubeconfig, "-n", "shop-staging", "get", "pods", folder=tmp_path).stderr
    page.goto(live.base)
    assert page.get_by_role("heading", name="My running certificates").is_visible()


@JAVASCRIPT
def test_a_cluster_is_registered_with_its_kubeconfig(
    visit: Visits, live: Live, control_plane: ControlPlane, javascript: bool
) -> None:
    page = visit(live, "ada", javascript=javascript)
    page.goto(f"{live.base}/clusters")
    follow(page.get_by_role("link", name="Register a cluster"))
    page.get_by_label("Name", exact=True).fill("real")
    page.get_by_label("Title (optional)").fill("A real one")
    page.get_by_label("Kubeconfig", exact=True).fill(control_plane.kubeconfig())
    follow(page.get_by_role("button", name="Register and look at it"))
    assert page.get_by_role("status").inner_text() == "A real one is registered."
    assert page.locator("dd", has_text="v1.").is_visible()
    assert page.locator("dt", has_text="Signs client certificates").locator("xpath=following-sibling::dd[1]").inner_text() == "yes"


@JAVASCRIPT
def test_the_downloaded_file_is_for_one_person_and_one_cluster(visit: Visits, live: Live, javascript: bool) -> None:
    page = visit(live, "lee", javascript=javascript)
    page.goto(f"{live.base}/kubeconfig/demo")
    kubeconfig = download(page, "30")
    assert "user: lee@demo" in kubeconfig or "name: lee@demo" in kubeconfig
    assert "PRIVATE KEY" not in page.content()


@JAVASCRIPT
def test_a_lifetime_beyond_the_limit_is_refused_on_the_page(visit: Visits, live: Live, javascript: bool) -> None:
    page = visit(live, "lee", javascript=javascript)
    page.goto(f"{live.base}/kubeconfig/demo")
    page.locator("form[data-download]").evaluate("form => { form.noValidate = true; }")
    page.get_by_label("Lifetime in minutes").fill("100000")
    follow(page.get_by_role("button", name="Download kubeconfig"))
    assert "between 10 and 720 minutes" in page.locator(".note.bad[role=alert]").inner_text()
    assert page.get_by_label("Lifetime in minutes").input_value() == "100000"


def test_an_own_signing_request_is_answered_without_a_key(visit: Visits, live: Live, tmp_path: Path) -> None:
    from fixtures.offline import request_of

    page = visit(live, "lee")
    page.goto(f"{live.base}/kubeconfig/demo")
    assert page.get_by_label("Signing request (PEM)").is_hidden()
    page.get_by_label("I bring a signing request").check()
    request = tmp_path / "lee.csr"
    request.write_bytes(request_of("lee"))
    page.get_by_label("Signing request (PEM)").set_input_files(request)
    page.get_by_label("Where your key is").fill("/home/lee/lee.key")
    kubeconfig = download(page)
    assert "client-key: /home/lee/lee.key" in kubeconfig
    assert "client-key-data" not in kubeconfig


def test_a_command_is_copied_with_a_button(visit: Visits, live_to_look_at: Live) -> None:
    page = visit(live_to_look_at, "lee")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"{live_to_look_at.base}/kubeconfig/demo")
    page.locator("li", has_text="Use it in this terminal").get_by_role("button", name="Copy").click()
    page.get_by_role("button", name="✓").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == "export KUBECONFIG=~/Downloads/kubeconfig-demo.yaml"


def test_without_javascript_there_is_no_dead_copy_button(visit: Visits, live_to_look_at: Live) -> None:
    page = visit(live_to_look_at, "lee", javascript=False)
    page.goto(f"{live_to_look_at.base}/kubeconfig/demo")
    assert page.locator("[data-copy]:visible").count() == 0
    assert page.get_by_label("Signing request (PEM)").is_visible()


@pytest.mark.parametrize(("who", "words"), [("nico", "No access yet"), ("lee", "My access")])
def test_home_says_what_one_has(visit: Visits, live_to_look_at: Live, who: str, words: str) -> None:
    page = visit(live_to_look_at, who)
    page.goto(live_to_look_at.base)
    assert page.get_by_role("heading", name=words).is_visible()
