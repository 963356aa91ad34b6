"""The audit trail in a browser: searched, followed from cause to effect, exported, and verified by somebody else."""

from __future__ import annotations

import gzip
from pathlib import Path

from fixtures.house import ask, offer, say
from fixtures.live import Live, LiveMaker
from fixtures.visits import JAVASCRIPT, Visits, button, complaint, follow
from playwright.sync_api import Page
from rigs.chromium import axe_violations

from iam.evidence.keys import from_pem
from iam.evidence.reading import verify_export


def sentences(page: Page) -> list[str]:
    return page.locator("a.said").all_inner_texts()


@JAVASCRIPT
def test_an_auditor_takes_a_file_home_and_proves_it(visit: Visits, live: Live, tmp_path: Path, javascript: bool) -> None:
    aude = visit(live, "aude", javascript=javascript)
    aude.goto(f"{live.base}/audit")
    follow(aude.get_by_role("link", name="Evidence and exports"))
    with aude.expect_download() as key:
        aude.get_by_role("link", name="Download as PEM").click()
    with aude.expect_download() as export:
        button(aude, "Export").click()
    key.value.save_as(tmp_path / "key.pem")
    export.value.save_as(tmp_path / "export.gz")
    with gzip.open(tmp_path / "export.gz") as content:
        proven = verify_export(content, from_pem((tmp_path / "key.pem").read_text()))
    assert proven.report.findings == []
    assert proven.says["by"] == "aude"
    aude.reload()
    row = aude.locator("tr", has_text="jsonl")
    assert str(proven.says["events"]) in row.inner_text()
    with aude.expect_download() as manifest:
        row.get_by_role("link", name="Download").click()
    assert export.value.suggested_filename.split(".")[0] == manifest.value.suggested_filename.split(".")[0]


@JAVASCRIPT
def test_a_story_goes_from_the_request_to_the_certificate(visit: Visits, make_live: LiveMaker, javascript: bool) -> None:
    live = make_live()
    offer(live.product)
    asked = ask(live.product, "erin", "change-staging", "shop-staging", seconds=3600, reason="The till is slow.")
    say(live.product, "lee", asked, "approve", "Yes.")
    live.product.work()
    live.product.work()
    live.product.logged_in("erin").post("/kubeconfig/demo", key="ours")
    aude = visit(live, "aude", javascript=javascript)
    aude.goto(f"{live.base}/audit?person=erin&action=request.")
    follow(aude.get_by_role("link", name="whole story").first)
    told = sentences(aude)
    steps = ["erin asked for", "lee said yes to erin", "erin gets", "began", "was seen at work on demo", "erin was given a certificate"]
    places = [next(place for place, one in enumerate(told) if step in one) for step in steps]
    assert places == sorted(places)
    assert aude.locator(".stations .reached").count() == 3
    follow(aude.locator("a.said", has_text="lee said yes"))
    assert "lee said yes to erin" in aude.locator("h1").inner_text()
    assert "Yes." in aude.locator("main").inner_text()
    follow(aude.get_by_role("link", name="The whole story of this request"))
    assert sentences(aude) == told
    assert not (axe_violations(aude) if javascript else [])


def test_filters_that_make_no_sense_say_so_and_keep_what_was_typed(visit: Visits, live: Live) -> None:
    aude = visit(live, "aude")
    aude.goto(f"{live.base}/audit?since=yesterday&person=erin")
    assert complaint(aude)
    assert aude.get_by_label("From (UTC)").input_value() == "yesterday"
    assert aude.get_by_label("Who did it or was concerned").input_value() == "erin"
