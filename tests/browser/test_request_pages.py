"""The pages of asking, deciding and ruling, with and without JavaScript: what they say to whom, and that nothing typed is lost."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from fixtures.house import ask, furnish, offer, say
from fixtures.live import Live, LiveMaker
from fixtures.offline import events, stored
from fixtures.visits import JAVASCRIPT, Visits, button, complaint, fact, follow, said
from playwright.sync_api import Page
from rigs.chromium import axe_violations

from iam.models import AccessRequest, Grant, Notice, db

PREVIEW, SEND = "Show what this comes to", "Ask for it"
STAGING = ("a-staging", "b-staging")


def grave(page: Page, javascript: bool = True) -> list[str]:
    """What keeps somebody out; axe itself needs JavaScript."""
    return [str(one) for one in axe_violations(page)] if javascript else []


@pytest.fixture
def office(make_live: LiveMaker) -> Live:
    """The house with the demo's catalogue, rules and door, and a mail server that nobody reaches."""
    live = make_live(mail={"host": "127.0.0.1", "port": 9, "security": "none"})
    offer(live.product)
    return live


def told_of(live: Live, event: str) -> list[tuple[str, dict[str, Any]]]:
    """Who is mailed about such an event, and what."""
    with live.product.app.app_context():
        found = db.session.scalars(db.select(Notice).where(Notice.event == event))
        return [(one.person.username, one.facts) for one in found if one.person]


def staging(live: Live, username: str = "erin", *namespaces: str, reason: str = "because") -> str:
    """Ask for the staging shop behind the pages; the request's path."""
    return f"/requests/{ask(live.product, username, 'change-staging', *(namespaces or STAGING), seconds=7200, reason=reason)}"


@JAVASCRIPT
def test_yes_to_less_is_told(visit: Visits, office: Live, javascript: bool) -> None:
    path = staging(office)
    erin, lee = (visit(office, who, javascript=javascript) for who in ("erin", "lee"))
    lee.goto(office.base + path)
    lee.get_by_text("Approve for less").click()
    lee.get_by_label("For how long").fill("3h")
    follow(button(lee, "Approve"))
    assert "This lies between 5m and 2h." in complaint(lee)
    lee.get_by_label("For how long").fill("30m")
    lee.get_by_role("checkbox", name="b-staging").uncheck()
    lee.get_by_label("Comment", exact=True).fill("Half an hour will do.")
    follow(button(lee, "Approve"))
    assert said(lee) == "Approved. It is there in a moment."
    erin.goto(office.base + path)
    assert fact(erin, "How long") == "30m (asked: 2h)"
    assert "a-staging" in fact(erin, "Where")
    assert "b-staging" not in fact(erin, "Where")
    assert "b-staging" in fact(erin, "Asked at first")
    assert "Half an hour will do." in erin.locator(".change.new").inner_text()
    (grant,) = stored(office.product, Grant)
    assert (grant.namespaces, grant.seconds) == (["a-staging"], 1800)
    told = told_of(office, "request.approved")
    assert [(who, facts["seconds"], facts["namespaces"]) for who, facts in told] == [("erin", 1800, ["a-staging"])]


@JAVASCRIPT
def test_of_a_cancel_and_a_yes_one_wins_and_both_are_told(visit: Visits, office: Live, javascript: bool) -> None:
    paths = [staging(office, "erin", name) for name in STAGING]
    erin, lee = (visit(office, who, javascript=javascript) for who in ("erin", "lee"))
    for page, path in ((erin, paths[0]), (lee, paths[0])):
        page.goto(office.base + path)
    follow(button(erin, "Take it back"))
    assert said(erin) == "Taken back."
    follow(button(lee, "Approve"))
    assert complaint(lee) == "This request was cancelled by whoever asked."
    assert button(lee, "Approve").count() == 0
    for page, path in ((erin, paths[1]), (lee, paths[1])):
        page.goto(office.base + path)
    follow(button(lee, "Approve"))
    follow(button(erin, "Take it back"))
    assert complaint(erin) == "This request was approved a moment ago."
    assert button(erin, "Give back").is_visible()
    assert sorted(one.state for one in stored(office.product, AccessRequest)) == ["approved", "cancelled"]


@JAVASCRIPT
def test_a_no_wants_a_word_and_is_read(visit: Visits, office: Live, javascript: bool) -> None:
    path = staging(office)
    erin, lee = (visit(office, who, javascript=javascript) for who in ("erin", "lee"))
    lee.goto(office.base + path)
    follow(button(lee, "Deny"))
    assert complaint(lee) == "Say why not, so that a better request can follow."
    assert lee.get_by_label("Comment", exact=True).get_attribute("aria-invalid") == "true"
    lee.get_by_label("Comment", exact=True).fill("Not before the sale.")
    follow(button(lee, "Deny"))
    assert said(lee) == "Denied."
    erin.goto(office.base + path)
    assert fact(erin, "Outcome") == "Not before the sale."
    follow(erin.get_by_role("link", name="My requests").first)
    follow(erin.get_by_role("link", name="Ask for Change the staging shop again"))
    assert erin.get_by_label("Namespaces").input_value() == " ".join(STAGING)
    assert erin.get_by_label("For how long").input_value() == "2h"
    assert erin.get_by_label("Why").input_value() == "because"


@JAVASCRIPT
def test_a_word_goes_to_and_fro(visit: Visits, office: Live, javascript: bool) -> None:
    path = staging(office)
    for who, words in (("lee", "Which shop?"), ("erin", "The one in staging.\nBoth of them.")):
        page = visit(office, who, javascript=javascript)
        page.goto(office.base + path)
        page.get_by_label("A comment").fill(words)
        follow(button(page, "Send"))
        assert words in page.locator("main").inner_text()
    told = [(who, facts["comment"]) for who, facts in told_of(office, "request.commented")]
    assert sorted(told) == [("erin", "Which shop?"), ("lee", "The one in staging.\nBoth of them.")]


@JAVASCRIPT
def test_what_is_alike_is_answered_together(visit: Visits, office: Live, javascript: bool) -> None:
    for username in ("erin", "nico"):
        staging(office, username)
    other = staging(office, "erin", "c-staging")
    lee = visit(office, "lee", javascript=javascript)
    lee.goto(f"{office.base}/inbox")
    assert lee.locator("tbody tr").count() == 3
    assert lee.get_by_role("checkbox").count() == 2, "the third differs"
    assert grave(lee, javascript) == []
    for name in ("Erin Engel", "Nico Neumann"):
        lee.get_by_label(f"Choose the request of {name}").check()
    follow(button(lee, "Deny the chosen"))
    assert "Say why not" in lee.locator("main").inner_text()
    for name in ("Erin Engel", "Nico Neumann"):
        lee.get_by_label(f"Choose the request of {name}").check()
    follow(button(lee, "Approve the chosen"))
    assert said(lee) == "2 answered."
    assert lee.locator("tbody tr").count() == 1
    assert lee.get_by_role("link", name="Change the staging shop").get_attribute("href") == other
    assert lee.get_by_role("checkbox").count() == 0


@JAVASCRIPT
def test_what_was_typed_wrong_comes_back(visit: Visits, office: Live, javascript: bool) -> None:
    erin = visit(office, "erin", javascript=javascript)
    erin.goto(f"{office.base}/requests/new?entry=run-shop")
    erin.get_by_label("Offline cluster").check()
    for wrong, words in (("soon", "Write how long as 90m, 8h or 2d."), ("10000d", "This lies between 5m and"), ("3h", "2h")):
        erin.get_by_label("For how long").fill(wrong)
        erin.get_by_label("Why").fill("It is <b>down</b> & nobody pays.\n\nReally.")
        erin.get_by_label("Ticket").fill("OPS-7")
        follow(button(erin, PREVIEW))
        assert words in complaint(erin)
        assert erin.get_by_label("For how long").get_attribute("aria-invalid") == "true"
        assert erin.get_by_label("For how long").input_value() == wrong
        assert erin.get_by_label("Why").input_value() == "It is <b>down</b> & nobody pays.\n\nReally."
        assert erin.get_by_label("Ticket").input_value() == "OPS-7"
        assert erin.get_by_label("Offline cluster").is_checked()
    assert grave(erin, javascript) == []
    erin.get_by_label("For how long").fill("1h")
    erin.get_by_label("Why").fill("")
    follow(button(erin, PREVIEW))
    assert complaint(erin) == "Say why: whoever decides has only your words."
    erin.get_by_label("Why").fill("down")
    erin.get_by_text("From when").click() if not erin.get_by_label("Begins").is_visible() else None
    erin.get_by_label("Begins").fill("2020-01-31T09:30")
    follow(button(erin, PREVIEW))
    assert complaint(erin) == "The start lies in the past."
    assert erin.get_by_label("Begins").input_value() == "2020-01-31T09:30"
    assert stored(office.product, AccessRequest) == []


@JAVASCRIPT
def test_a_draft_waits_and_is_sent(visit: Visits, office: Live, javascript: bool) -> None:
    erin = visit(office, "erin", javascript=javascript)
    erin.goto(f"{office.base}/requests/new?entry=change-staging")
    erin.get_by_label("Why").fill("half a sent")
    follow(button(erin, "Keep as a draft"))
    assert said(erin) == "Kept as a draft."
    follow(erin.locator("section", has_text="Drafts").get_by_role("link").first)
    assert erin.get_by_label("Why").input_value() == "half a sent"
    erin.get_by_label("Offline cluster").check()
    erin.get_by_label("Namespaces").fill("a-staging")
    follow(button(erin, PREVIEW))
    assert grave(erin, javascript) == []
    follow(button(erin, SEND))
    erin.goto(f"{office.base}/requests")
    assert erin.get_by_role("heading", name="Drafts").count() == 0


@JAVASCRIPT
def test_an_extension_begins_where_the_grant_ends(visit: Visits, office: Live, javascript: bool) -> None:
    furnished = furnish(office.product)
    erin = visit(office, "erin", javascript=javascript)
    erin.goto(f"{office.base}/requests/{furnished['granted']}")
    follow(erin.get_by_role("link", name="Extend …"))
    assert erin.get_by_role("heading", name="Extend what you have").is_visible()
    assert erin.get_by_label("Time zone").input_value() == "UTC"
    follow(button(erin, PREVIEW))
    follow(button(erin, SEND))
    (first,) = (one for one in stored(office.product, Grant) if one.id == furnished["grant"])
    (second,) = (one for one in stored(office.product, Grant) if one.state == "scheduled")
    assert first.ends_at - timedelta(minutes=2) <= second.starts_at <= first.ends_at


def test_requests_are_nobody_elses_business(visit: Visits, office: Live) -> None:
    path = staging(office)
    nico = visit(office, "nico")
    answer = nico.goto(office.base + path)
    assert answer
    assert answer.status == 404
    nico.goto(f"{office.base}/requests")
    assert nico.get_by_role("link", name="Inbox").count() == 0
    assert nico.get_by_role("link", name="Catalogue").count() == 0


def test_nobody_is_asked_about_what_is_theirs(visit: Visits, office: Live) -> None:
    path = staging(office, "lee")
    lee = visit(office, "lee")
    lee.goto(office.base + path)
    assert button(lee, "Approve").count() == 0
    assert button(lee, "Take it back").is_visible()


def test_an_approver_need_hold_no_role_of_ours(visit: Visits, office: Live) -> None:
    """Whoever is asked sees the inbox, though they are neither approver nor administrator."""
    with office.product.app.app_context():
        office.product.services.rules.remove(office.product.operator, "everything-else")
    ada = visit(office, "ada")
    ada.goto(f"{office.base}/rules/new")
    ada.get_by_label("Name", exact=True).fill("auditors")
    ada.get_by_label("Who decides").fill("1 of local:engineers")
    follow(button(ada, "Save"))
    path = staging(office, "nico")
    erin = visit(office, "erin")
    erin.goto(office.base)
    follow(erin.get_by_role("link", name="Requests (1)"))
    follow(erin.get_by_role("link", name="Inbox (1)"))
    follow(erin.get_by_role("link", name="Change the staging shop"))
    follow(button(erin, "Approve"))
    assert said(erin) == "Approved. It is there in a moment."
    nico = visit(office, "nico")
    nico.goto(office.base + path)
    assert "approved" in nico.locator(".head").inner_text()


@JAVASCRIPT
def test_mails_are_chosen(visit: Visits, office: Live, javascript: bool) -> None:
    page = visit(office, "lee", javascript=javascript)
    page.goto(f"{office.base}/notifications")
    page.get_by_label("A request waits for me").uncheck()
    assert page.get_by_label("Break-glass was used").is_disabled()
    follow(button(page, "Save"))
    assert said(page) == "Saved."
    assert not page.get_by_label("A request waits for me").is_checked()
    assert page.get_by_label("My request was denied").is_checked()
    staging(office)
    assert told_of(office, "request.waits") == []


def test_what_happened_is_in_the_audit_trail(visit: Visits, office: Live) -> None:
    say(office.product, "lee", staging(office).rpartition("/")[2], "approve", "Go ahead.")
    ada = visit(office, "ada")
    ada.goto(f"{office.base}/audit")
    shown = ada.locator("main").inner_text()
    for action in ("request.submitted", "request.approved", "request.granted", "grant.started"):
        assert action in shown
        assert events(office.product, action=action)
