"""What exports hold when somebody means harm: cells that would be formulas, terminals that would obey, lines that would end early."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from fixtures.cli import Iam
from fixtures.elsewhere import HOSTILE, Auditor, House, auditor, house, iam
from fixtures.product import PASSWORD

from iam.services.audit.streams import HEADINGS

__all__ = ["auditor", "house", "iam"]
FORMULA = ("=", "+", "-", "@", "\t", "\r")
AGENT = ('\xff\xfe\x80\x1b[31m\u00e2\u0080\u00ae=1+1,"' * 80_000)[: 1024 * 1024]
"""A megabyte that is no UTF-8, as WSGI hands out bytes."""
HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Controls, marks of direction, half characters, line ends."""
NAMES = ["=cmd|' /C calc'!A0", "\u202egnp.exe", "\x1b[2J\x1b]0;owned\x07", "a\r\nb", 'x","=1+1', "\u2028", "\ufeffroot", "{{7*7}}"]
CEF_FIELD = re.compile(r"(?:^| )(\w+)=((?:[^\\=]|\\[\\=nr])*?)(?= \w+=|$)")


def facts(house: House) -> dict[int, dict[str, Any]]:
    """The sealed events by number."""
    return dict(enumerate(map(json.loads, house.texts()), 1))


def safe(cell: str) -> str:
    return f"'{cell}" if cell.startswith(FORMULA) else cell


def meant(escaped: re.Match[str]) -> str:
    return {"n": "\n", "r": "\r"}.get(escaped[1], escaped[1])


def visible(content: bytes) -> bool:
    """Whether it is nothing but printable ASCII in lines."""
    return all(line.isascii() and line.decode("ascii").isprintable() for line in content.split(b"\n"))


def test_csv_comes_back_and_computes_nothing(house: House, iam: Iam) -> None:
    content = house.export(iam, "table.csv", "--format", "csv").read_bytes().decode("utf-8")
    heading, *rows = csv.reader(io.StringIO(content, newline=""), strict=True)
    known = facts(house)
    assert heading == list(HEADINGS)
    assert [int(row[0]) for row in rows] == list(range(1, len(rows) + 1))
    for seq, *cells in rows:
        event = known[int(seq)]
        told = [event[name] for name in HEADINGS[1:-1]]
        assert cells[:-1] == [safe(one) for one in told]
        assert json.loads(cells[-1]) == event["details"]
        assert not any(cell.startswith(FORMULA) for cell in cells)
    reasons = [row[HEADINGS.index("reason")] for row in rows]
    assert {safe(text) for text in HOSTILE if text.isprintable()} <= set(reasons)
    assert {"'\t=1", "'\r=1", 'a,"b"\r\nc', '}}"\n'} <= set(reasons)


def test_csv_has_nothing_in_it_that_is_not_quoted(house: House, iam: Iam) -> None:
    content = house.export(iam, "table.csv", "--format", "csv").read_bytes()
    row = rb'"[^"]*(?:""[^"]*)*"'
    line = rb"%b(?:,%b){%d}\r\n" % (row, row, len(HEADINGS) - 1)
    assert re.fullmatch(rb"(?:%b)+" % line, content)


def test_cef_lines_are_read_back(house: House, iam: Iam) -> None:
    lines = house.export(iam, "lines.cef", "--format", "cef").read_text("utf-8").removesuffix("\n").split("\n")
    known = facts(house)
    for seq, line in enumerate(lines, 1):
        event = known[seq]
        assert not HIDDEN & set(map(unicodedata.category, line)), line
        *header, extension = re.split(r"(?<!\\)\|", line, maxsplit=7)
        assert header[0] == "CEF:0"
        assert header[4] == event["action"]
        assert CEF_FIELD.sub("", extension) == "", extension
        fields = CEF_FIELD.findall(extension)
        assert len(dict(fields)) == len(fields)
        found = {name: re.sub(r"\\(.)", meant, text) for name, text in fields}
        assert (found["externalId"], found["act"]) == (str(seq), event["result"])
        if event["reason"].isprintable() and event["reason"].isascii():
            assert found.get("reason", "") == event["reason"]


def test_ocsf_lines_are_read_back(house: House, iam: Iam) -> None:
    content = house.export(iam, "lines.ocsf", "--format", "ocsf").read_bytes()
    assert visible(content)
    known = facts(house)
    for seq, line in enumerate(content.splitlines(), 1):
        told = json.loads(line)
        assert (told["metadata"]["sequence"], told["unmapped"]) == (seq, known[seq])
        assert told["type_uid"] == told["class_uid"] * 100 + told["activity_id"]


def test_events_hide_nothing(house: House, iam: Iam, auditor: Auditor) -> None:
    auditor.key = house.key
    file = house.export(iam, "whole.jsonl")
    assert visible(file.read_bytes())
    said = [auditor.ours(file), auditor.theirs(file)]
    assert [one.code for one in said] == [0, 0]


def test_a_hostile_login_is_an_event_like_others(house: House, iam: Iam, auditor: Auditor, tmp_path: Path) -> None:
    auditor.key = house.key
    house.product.account("zoe")
    browser = house.product.browser()
    browser.client.environ_base |= {"HTTP_USER_AGENT": AGENT, "HTTP_X_REQUEST_ID": AGENT[:300], "HTTP_X_FORWARDED_FOR": AGENT[:300]}
    for name in NAMES:
        assert browser.login(name, AGENT[:100]).status_code in {200, 401, 422}
    assert browser.login("zoe", PASSWORD).status_code == 302
    assert not any(mark in browser.get("/account").text for mark in ("\x1b", "\u202e", "\ufffd[31m"))
    for number, kind in enumerate(("jsonl", "csv", "cef", "ocsf")):
        file = tmp_path / f"{number}.{kind}"
        assert iam("audit", "export", "--out", str(file), "--format", kind).code == 0
        found = auditor.both(file)
        assert found["whole"], found
    events = [json.loads(text) for text in house.texts()[-40:]]
    logins = [event for event in events if event["action"] == "login"]
    assert sum(event["result"] == "refused" for event in logins) >= len(NAMES) - 1
    assert logins[-1]["actor_name"] == "zoe"
    assert all(isinstance(event["reason"], str) and len(json.dumps(event)) < 2000 for event in logins)
    assert all(text.isprintable() for event in logins for text in event.values() if isinstance(text, str))
    said = iam("audit", "list", "--action", "login", "--limit", str(len(NAMES)))
    assert said.code == 0
    assert all(line.isprintable() for line in said.out.splitlines())


@pytest.mark.parametrize("name", ["table.csv", "lines.cef"])
def test_an_export_can_be_read_by_its_owner_only(name: str, house: House, iam: Iam) -> None:
    file = house.export(iam, name, "--format", name.rpartition(".")[2])
    assert file.stat().st_mode & 0o777 == 0o600
