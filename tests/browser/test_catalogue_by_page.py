"""What administrators write by page: the catalogue, its rules, webhooks; with and without JavaScript."""

from __future__ import annotations

import pytest
from fixtures.house import offer
from fixtures.live import Live
from fixtures.offline import stored
from fixtures.visits import JAVASCRIPT, Visits, button, complaint, follow, said
from rigs.chromium import axe_violations

from iam.models import Webhook


@pytest.fixture
def office(live: Live) -> Live:
    """The house with the demo's catalogue, rules and door."""
    offer(live.product)
    return live


@JAVASCRIPT
def test_an_entry_and_its_rule_are_written_tried_and_removed(visit: Visits, office: Live, javascript: bool) -> None:
    ada = visit(office, "ada", javascript=javascript)
    ada.goto(f"{office.base}/catalogue")
    follow(ada.get_by_role("link", name="New entry"))
    ada.get_by_label("Name", exact=True).fill("read-all")
    ada.get_by_label("Title").fill("Read everything")
    ada.get_by_label("Role", exact=True).fill("admin")
    follow(button(ada, "Save"))
    assert "Say in which namespaces" in complaint(ada)
    assert ada.get_by_label("Title").input_value() == "Read everything"
    ada.get_by_label("Also in the whole cluster").check()
    follow(button(ada, "Save"))
    assert said(ada) == "Saved."
    follow(ada.get_by_role("link", name="Rules"))
    follow(ada.get_by_role("link", name="New rule"))
    ada.get_by_label("Name", exact=True).fill("read-all")
    ada.get_by_label("For the entry").select_option("read-all")
    ada.get_by_label("Who decides").fill("5 of local:leads")
    follow(button(ada, "Save"))
    assert "Nobody could ever meet this" in complaint(ada)
    assert ada.get_by_label("Who decides").get_attribute("aria-invalid") == "true"
    assert ada.get_by_label("For the entry").input_value() == "read-all"
    ada.get_by_label("Who decides").fill("1 of local:auditors")
    ada.get_by_text("More", exact=True).click()
    ada.get_by_label("Place").fill("1")
    follow(button(ada, "Save"))
    assert ada.locator("tbody tr").first.locator("td").nth(1).inner_text() == "read-all"
    follow(ada.get_by_role("link", name="Simulate"))
    ada.get_by_label("Who asks").fill("nico")
    ada.get_by_label("For the entry").select_option("read-all")
    ada.get_by_label("Clusters").fill("demo")
    follow(button(ada, "Simulate"))
    assert "1 of local:auditors (Aude Aubert)" in ada.locator("ol.steps").inner_text()
    for path, name in (("/rules/read-all", "read-all"), ("/catalogue/read-all", "Read everything")):
        ada.goto(office.base + path)
        ada.get_by_text("Remove …").click()
        follow(button(ada, f"Remove {name}"))
        assert said(ada) == "Removed."


@pytest.mark.parametrize("address", ["https://127.0.0.1/x", "https://[::1]/x", "http://10.0.0.1/", "https://localhost/hook", "ftp://a.b/"])
def test_a_webhook_into_our_own_network_is_refused(visit: Visits, office: Live, address: str) -> None:
    page = visit(office, "ada")
    page.goto(f"{office.base}/notifications")
    page.get_by_text("New webhook").click()
    page.get_by_label("Name", exact=True).fill("chat")
    page.get_by_label("Address").fill(address)
    follow(page.locator("form[action$=webhooks]").get_by_role("button", name="Save"))
    assert complaint(page)
    assert page.get_by_label("Address").get_attribute("aria-invalid") == "true"
    assert page.get_by_label("Name", exact=True).input_value() == "chat"
    assert [str(one) for one in axe_violations(page)] == []
    assert stored(office.product, Webhook) == []
