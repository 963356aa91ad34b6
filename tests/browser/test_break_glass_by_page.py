"""Break-glass with a mouse, on a real cluster: taken at once with a reason and the password, told, reviewed, and gone."""

from __future__ import annotations

from pathlib import Path

import pytest
from fixtures.house import offer
from fixtures.live import Live, LiveMaker
from fixtures.offline import events
from fixtures.product import PASSWORD, Kubectl
from fixtures.visits import JAVASCRIPT, Visits, button, complaint, follow, kubeconfig, said
from playwright.sync_api import Page
from rigs.chromium import axe_violations

from iam.clusters.throwaway import ControlPlane

TAKE, SECOND = "Take cluster-admin now", "Ask the second person"


def open_door(page: Page, live: Live, name: str = TAKE, *, reason: str = "The shop is down.", password: str = PASSWORD) -> None:
    """Press the button of the only door."""
    page.goto(f"{live.base}/emergency")
    page.get_by_text("Open …").click()
    fill_in(page, name, reason=reason, password=password)


def fill_in(page: Page, name: str = TAKE, *, reason: str = "The shop is down.", password: str = PASSWORD) -> None:
    page.get_by_label("Why").fill(reason)
    page.get_by_label("Your password, once more").fill(password)
    follow(button(page, name))


@pytest.fixture
def real(make_live: LiveMaker, control_plane: ControlPlane) -> Live:
    live = make_live(control_plane)
    offer(live.product)
    live.product.work()
    return live


@pytest.fixture
def night(live: Live) -> Live:
    """The same on a cluster that is not there."""
    offer(live.product)
    return live


def seal(page: Page, live: Live) -> None:
    """An administrator names engineers too, and seals the door."""
    page.goto(f"{live.base}/emergency/doors")
    follow(page.get_by_role("link", name="Night shift"))
    page.get_by_label("The named few", exact=True).fill("local:leads\nlocal:engineers")
    page.get_by_label("Reviewers").fill("local:auditors\nlocal:administrators")
    page.get_by_label("Sealed: a second of the named few has to open it too").check()
    follow(button(page, "Save"))
    assert said(page) == "Saved."
    assert page.get_by_text("two people", exact=True).is_visible()


@JAVASCRIPT
def test_taken_at_once_and_ended_by_a_doubt(
    visit: Visits, real: Live, kubectl: Kubectl, tmp_path: Path, javascript: bool
) -> None:
    lee, aude = (visit(real, who, javascript=javascript) for who in ("lee", "aude"))
    config = kubeconfig(lee, real)
    assert "Forbidden" in kubectl(config, "get", "nodes", folder=tmp_path).stderr
    open_door(lee, real)
    assert lee.get_by_role("heading", name="Night shift").is_visible()
    real.settle()
    allowed = kubectl(config, "get", "nodes", folder=tmp_path)
    assert allowed.returncode == 0, allowed.stderr
    lee.reload()
    assert lee.get_by_text("on the cluster", exact=True).is_visible()
    assert button(lee, "Justified").count() == 0, "nobody reviews themselves"

    aude.goto(f"{real.base}/inbox")
    follow(aude.get_by_role("link", name="Review: Lee Lindqvist took Night shift"))
    follow(button(aude, "Questioned"))
    assert "Say what you found" in complaint(aude)
    aude.get_by_label("What did you find?").fill("The shop was up.")
    follow(button(aude, "Questioned"))
    assert said(aude) == "Reviewed."
    real.settle()
    assert "Forbidden" in kubectl(config, "get", "nodes", folder=tmp_path).stderr
    lee.reload()
    shown = lee.locator("main").inner_text()
    assert "The shop was up." in shown
    assert "revoked" in shown


@JAVASCRIPT
def test_its_time_is_over_by_the_clock(visit: Visits, real: Live, kubectl: Kubectl, tmp_path: Path, javascript: bool) -> None:
    lee = visit(real, "lee", javascript=javascript)
    config = kubeconfig(lee, real)
    open_door(lee, real)
    real.settle()
    assert kubectl(config, "get", "nodes", folder=tmp_path).returncode == 0
    real.product.clock.forward(minutes=31)
    real.settle()
    assert "Forbidden" in kubectl(config, "get", "nodes", folder=tmp_path).stderr
    lee.reload()
    assert "its time was over" in lee.locator("main").inner_text()
    aude = visit(real, "aude", javascript=javascript)
    aude.goto(lee.url)
    aude.get_by_label("What did you find?").fill("It was needed.")
    follow(button(aude, "Justified"))
    assert said(aude) == "Reviewed.", "it is reviewed also when it is over"


@JAVASCRIPT
def test_without_a_reason_or_the_password_it_stays_shut(visit: Visits, night: Live, javascript: bool) -> None:
    lee = visit(night, "lee", javascript=javascript)
    open_door(lee, night, reason="The till burns.", password="a guess")
    assert "password" in complaint(lee)
    assert lee.get_by_label("Why").input_value() == "The till burns."
    assert lee.get_by_label("Your password, once more").get_attribute("aria-invalid") == "true"
    assert lee.get_by_label("Your password, once more").input_value() == ""
    if javascript:
        assert [str(one) for one in axe_violations(lee)] == []
    fill_in(lee, reason="  ")
    assert "Say why" in complaint(lee)
    assert not events(night.product, action="emergency.opened")
    fill_in(lee)
    assert events(night.product, action="emergency.opened")


@JAVASCRIPT
def test_a_sealed_door_takes_two(visit: Visits, night: Live, javascript: bool) -> None:
    ada, lee, erin = (visit(night, who, javascript=javascript) for who in ("ada", "lee", "erin"))
    seal(ada, night)
    open_door(lee, night, SECOND)
    assert "Waits for a second person of those named" in lee.locator("main").inner_text()
    assert button(lee, "Open it too").count() == 0
    ada.goto(lee.url)
    assert button(ada, "Open it too").count() == 0, "only the named few"
    erin.goto(f"{night.base}/inbox")
    follow(erin.get_by_role("link", name="Lee Lindqvist asks a second person to open Night shift"))
    erin.get_by_label("Your password, once more").fill("a guess")
    follow(button(erin, "Open it too"))
    assert "password" in complaint(erin)
    erin.get_by_label("Your password, once more").fill(PASSWORD)
    follow(button(erin, "Open it too"))
    assert said(erin) == "Opened. It is there in a moment."
    assert button(erin, "Justified").count() == 0, "whoever had a part in it does not review it"
    ada.reload()
    assert button(ada, "Justified").is_visible()


@JAVASCRIPT
def test_who_asked_for_a_second_person_takes_it_back(visit: Visits, night: Live, javascript: bool) -> None:
    ada, lee, erin = (visit(night, who, javascript=javascript) for who in ("ada", "lee", "erin"))
    seal(ada, night)
    open_door(lee, night, SECOND)
    erin.goto(lee.url)
    follow(button(lee, "Take it back"))
    assert said(lee) == "Taken back."
    erin.get_by_label("Your password, once more").fill(PASSWORD)
    follow(button(erin, "Open it too"))
    assert complaint(erin) == "This request was cancelled by whoever asked."


def test_whoever_is_not_named_finds_no_door(visit: Visits, night: Live) -> None:
    page = visit(night, "nico")
    page.goto(f"{night.base}/emergency")
    assert page.get_by_text("You are not named for any emergency access.").is_visible()
    assert page.locator("main form").count() == 0


def test_a_door_that_nobody_could_review_is_not_written(visit: Visits, night: Live) -> None:
    page = visit(night, "ada")
    page.goto(f"{night.base}/emergency/doors/night")
    page.get_by_label("Reviewers").fill("local:leads")
    follow(button(page, "Save"))
    assert "Reviewers who had no part in opening it must be left" in complaint(page)
    assert page.get_by_label("Reviewers").input_value() == "local:leads"
    assert page.get_by_label("Reviewers").get_attribute("aria-invalid") == "true"
