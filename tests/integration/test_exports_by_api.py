"""Exports over the API: streamed, gone on with behind the bytes that arrived, on record however they end. And how the evidence stands."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from fixtures.elsewhere import Auditor, House, auditor, house
from fixtures.offline import events
from fixtures.product import Product, ProductMaker
from sqlalchemy import text
from werkzeug.test import TestResponse

from iam.models import db

__all__ = ["auditor", "house"]
ASKED: dict[str, dict[str, Any]] = {
    "whole.jsonl": {}, "person.jsonl": {"person": "person-3-1"}, "table.csv": {"format": "csv"},
    "person.csv": {"format": "csv", "person": "person-1-1"}, "lines.cef": {"format": "cef", "action": "mapping."},
}  # fmt: skip
Cut = Callable[[bytes], int]
CUTS: dict[str, Cut] = {
    "a byte": lambda _content: 1,
    "in a line": lambda content: content.index(b"\n", len(content) // 2) + 20,
    "before a line's end": lambda content: content.index(b"\n", len(content) // 2),
    "behind a line": lambda content: content.index(b"\n", len(content) // 2) + 1,
    "all": len,
}
"""Where the line breaks off."""
sqlite = pytest.mark.parametrize("house", ["sqlite"], indirect=True)


@dataclass
class Client:
    """An auditor's program."""

    product: Product
    headers: dict[str, str]

    def export(self, **asked: Any) -> TestResponse:
        return self.product.api("POST", "/audit/exports", self.headers, asked)

    def rest(self, export: str, beginning: bytes, **wrong: Any) -> TestResponse:
        """What is missing, or what is said to be."""
        body = {"bytes": len(beginning), "sha256": hashlib.sha256(beginning).hexdigest()} | wrong
        return self.product.api("POST", f"/audit/exports/{export}/rest", self.headers, body)

    def ended(self, export: str) -> list[str]:
        """How it ended, each time that somebody took it, the newest first."""
        return [one.result for one in events(self.product, action="audit.exported", target=export)]

    def rotate(self) -> None:
        with self.product.app.app_context():
            self.product.services.signing_keys.rotate(self.product.operator)


@pytest.fixture(scope="module")
def tokens(house: House) -> dict[str, dict[str, str]]:
    """Of an auditor, of somebody who is none, of one that may not read, and of nobody."""
    product = house.product
    for username, group in (("aude", "auditors"), ("erin", "engineers"), ("ada", "administrators")):
        product.account(username, group)
    found = {username: product.token(username, scope) for username, scope in (("aude", "read"), ("erin", "read"), ("ada", "write"))}
    return found | {"nobody": {}}


@pytest.fixture
def client(house: House, tokens: dict[str, dict[str, str]], auditor: Auditor, monkeypatch: pytest.MonkeyPatch) -> Client:
    """Its exports come in many parts."""
    auditor.key = house.key
    monkeypatch.setattr("iam.services.audit.exporting.AT_ONCE", 1)
    monkeypatch.setattr("iam.services.audit.streams.PAGE", 20)
    return Client(house.product, tokens["aude"])


def content_of(answer: TestResponse) -> bytes:
    """Without the manifest at its end, which is not the same the next time."""
    return bytes(answer.data.partition(b'{"manifest":')[0])


@pytest.mark.parametrize("name", ASKED)
def test_an_export_is_streamed_and_whole(client: Client, auditor: Auditor, tmp_path: Path, name: str) -> None:
    answer = client.export(**ASKED[name])
    export = answer.headers["X-Export"]
    assert answer.is_streamed
    assert "Content-Length" not in answer.headers
    assert client.ended(export) == [], "nothing is read ahead of who takes it"
    file = tmp_path / name
    file.write_bytes(answer.data)
    assert client.ended(export) == ["done"]
    keep_manifest(client, export, file)
    assert auditor.both(file)["whole"]


def keep_manifest(client: Client, export: str, file: Path) -> None:
    """Beside a file that cannot hold it."""
    if file.suffix != ".jsonl":
        answer = client.product.api("GET", f"/audit/exports/{export}/manifest", client.headers)
        assert answer.status_code == 200
        Path(f"{file}.manifest.json").write_bytes(answer.data)


@sqlite
@pytest.mark.parametrize("name", ["whole.jsonl", "table.csv"])
def test_it_comes_compressed(client: Client, auditor: Auditor, tmp_path: Path, name: str) -> None:
    answer = client.export(**ASKED[name], zipped=True)
    assert (answer.mimetype, answer.is_streamed) == ("application/gzip", True)
    file = tmp_path / name
    file.write_bytes(gzip.decompress(answer.data))
    keep_manifest(client, answer.headers["X-Export"], file)
    assert auditor.both(file)["whole"]


WHOLE, IN_A_LINE = "whole.jsonl", "in a line"
BROKEN = [*((WHOLE, cut, False) for cut in CUTS), *((name, IN_A_LINE, False) for name in ASKED if name != WHOLE)]
AFTER_ANOTHER_KEY = [(WHOLE, IN_A_LINE, True), ("table.csv", "all", True)]


@pytest.mark.parametrize(("name", "cut", "is_rotated"), [*BROKEN, *AFTER_ANOTHER_KEY])
def test_the_rest_is_exactly_what_is_missing(
    client: Client, auditor: Auditor, tmp_path: Path, name: str, cut: str, is_rotated: bool
) -> None:
    answer = client.export(**ASKED[name])
    export, content = answer.headers["X-Export"], content_of(answer)
    beginning = content[: CUTS[cut](content)]
    if is_rotated:
        client.rotate()
    rest = client.rest(export, beginning)
    assert (rest.status_code, rest.headers["X-Export"], rest.is_streamed) == (200, export, True)
    file = tmp_path / name
    file.write_bytes(beginning + rest.data)
    assert content_of(rest) == content[len(beginning) :]
    keep_manifest(client, export, file)
    found = auditor.both(file)
    assert found["whole"], found
    assert client.ended(export) == ["done", "done"]


@sqlite
def test_it_may_break_off_again_and_again(client: Client, auditor: Auditor, tmp_path: Path) -> None:
    answer = client.export()
    export, arrived = answer.headers["X-Export"], b""
    for _ in range(4):
        arrived += b"".join(islice(answer.iter_encoded(), 2))[:-100]
        answer.close()
        answer = client.rest(export, arrived)
    assert b'{"manifest":' not in arrived
    file = tmp_path / "whole.jsonl"
    file.write_bytes(arrived + answer.data)
    assert auditor.both(file)["whole"]
    assert client.ended(export) == ["done", *["failed"] * 4]


@pytest.mark.parametrize("is_begun", [False, True], ids=["before its first byte", "on its way"])
@pytest.mark.parametrize("zipped", [False, True], ids=["", "compressed"])
def test_an_export_that_is_broken_off_failed(client: Client, zipped: bool, is_begun: bool) -> None:
    answer = client.export(zipped=zipped)
    if is_begun:
        assert next(iter(answer.iter_encoded()))
    answer.close()
    (told,) = events(client.product, action="audit.exported", target=answer.headers["X-Export"])
    assert (told.result, told.reason, told.actor_name) == ("failed", "the export was broken off", "aude")


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "another hash": ({"sha256": "0" * 64}, "sha256"),
    "no hash": ({"sha256": "abc"}, "sha256"),
    "a byte less": ({"bytes": 9_999}, "sha256"),
    "a byte more": ({"bytes": 10_001}, "sha256"),
    "more than there is": ({"bytes": 10**9}, "sha256"),
    "nothing": ({"bytes": 0}, "bytes"),
    "something else too": ({"format": "csv"}, "format"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_not_its_beginning_is_refused(client: Client, name: str) -> None:
    answer = client.export()
    wrong, field = WRONG[name]
    beginning, export = answer.data[:10_000], answer.headers["X-Export"]
    refused = client.rest(export, beginning, **wrong)
    assert (refused.status_code, refused.mimetype, refused.get_json()["field"]) == (422, "application/problem+json", field)
    assert client.ended(export) == ["done"]
    assert len(events(client.product, action="audit.export.begun", target=export)) == 1


def test_an_export_that_nobody_began_has_no_rest(client: Client) -> None:
    refused = client.rest("0" * 24, b"something")
    assert (refused.status_code, refused.mimetype) == (422, "application/problem+json")
    assert "No such export was begun here" in refused.get_json()["detail"]


@sqlite
@pytest.mark.parametrize(("who", "status"), [("erin", 403), ("ada", 403), ("nobody", 401)])
def test_who_may_not_gets_none_of_it(client: Client, tokens: dict[str, dict[str, str]], who: str, status: int) -> None:
    answer = client.export()
    export, beginning = answer.headers["X-Export"], answer.data[:100]
    client.headers = tokens[who]
    for refused in (client.export(), client.rest(export, beginning)):
        assert (refused.status_code, refused.mimetype) == (status, "application/problem+json")
    denied = events(client.product, action="access.denied", limit=2)
    assert {one.details["path"] for one in denied} == {"/api/v1/audit/exports", f"/api/v1/audit/exports/{export}/rest"}


@pytest.fixture
def lagging(make_product: ProductMaker, tmp_path: Path) -> Product:
    """Its trail arrives nowhere: a file is where its folder should be."""
    (tmp_path / "blocked").write_text("a file", "utf-8")
    where = {name: {"kind": "file", "name": name, "path": tmp_path / "blocked" / name} for name in ("vault", "siem")}
    product = make_product(audit={"anchors": [where["vault"]], "forward": [where["siem"]]})
    product.account("aude", "auditors")
    return product


def evidence(product: Product, headers: dict[str, str]) -> Any:
    answer = product.api("GET", "/audit/evidence", headers)
    assert answer.status_code == 200, answer.text
    return answer.get_json()


def test_the_evidence_says_how_far_behind_everything_is(lagging: Product) -> None:
    headers = lagging.token("aude", "read")
    lagging.work()
    lagging.work()
    found = evidence(lagging, headers)
    assert found["blocks"] > 0
    assert [(one["behind"], one["is_late"]) for one in found["anchors"]] == [(found["blocks"], False)]
    assert [(one["behind"], one["is_late"]) for one in found["forwarders"]] == [(found["events"], False)]
    assert "blocked" in found["anchors"][0]["error"]
    lagging.clock.forward(minutes=10)
    found = evidence(lagging, headers)
    assert [one["is_late"] for one in (*found["anchors"], *found["forwarders"])] == [True, True]
    assert not found["is_broken"]


def test_the_evidence_says_that_the_chain_is_broken(lagging: Product) -> None:
    headers = lagging.token("aude", "read")
    lagging.work()
    with lagging.app.app_context(), db.engine.begin() as connection:
        connection.execute(text("UPDATE audit_blocks SET header = '[]'"))
    assert evidence(lagging, headers)["is_broken"]
    assert lagging.logged_in("aude").get("/audit/evidence").status_code == 200
