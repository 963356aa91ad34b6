"""Whatever stands in an event, small parsers of other making read each format back: every field, and no other."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from iam.evidence.cef import CUT, cef, milliseconds
from iam.evidence.ocsf import PLACES, ocsf
from iam.evidence.rfc5424 import message

KEYS = {"reason": "reason", "msg": "", "suser": "actor_name", "suid": "actor_id", "duser": "person"}
LABELS = {"cs1": "cluster", "cs2": "target_kind", "cs3": "target_name", "cs5": "case_id", "cs6": "request_id"}
LABELLED = {"cs1": "cluster", "cs2": "target kind", "cs3": "target", "cs4": "details", "cs5": "case", "cs6": "request"}

_bits = st.sampled_from([
    "|", "=", "\\", "\n", "\r", "\r\n", "\t", '"', "]", "[", " ", "  ", " suser=root", " cs1=", "act=done", "\\=", "\\n", "\\u001b",
    "\u202e", "\u200f", "\u2028", "\x85", "\x7f", "\ufeff", "CEF:0|", "<0>1 ", '] [x y="1"', "运维", "ü", "𝔘", "\U000e0041",
    "\x1b[31m", "x" * 300,
])  # fmt: skip
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20) | st.lists(_bits, max_size=8).map("".join)
addresses = st.ip_addresses().map(str) | st.just("")
values = st.recursive(texts | st.integers() | st.booleans() | st.none(), lambda inner: st.lists(inner, max_size=3), max_leaves=4)


@st.composite
def events(draw: st.DrawFn) -> dict[str, Any]:
    """Facts, with anything in them but in those that come from closed lists."""
    named = ("reason", "actor_name", "actor_id", "request_id", "target_kind", "target_name", "person", "case_id", "cluster")
    at = draw(st.datetimes()).strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")
    return {
        "at": at, "action": draw(st.sampled_from([*PLACES])), "result": draw(st.sampled_from(["done", "refused", "failed"])),
        "door": draw(st.sampled_from(["page", "api", "cli", "worker"])), "address": draw(addresses),
        "details": draw(st.dictionaries(texts, values, max_size=3)), **{name: draw(texts) for name in named},
    }  # fmt: skip


def is_plain(text: str) -> bool:
    """One line, and nothing in it that acts on a terminal or on the direction of writing."""
    turning = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    acting = {char for char in text if unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} or unicodedata.bidirectional(char) in turning}
    return acting == {*"\u200b\u200e\u200f\u061c\ufeff"}.intersection(text) == set()


def revealed(text: str) -> str:
    """A text with the hidden characters that are written out; to be compared with one that is revealed too."""
    units = re.sub(r"\\u([0-9a-f]{4})", lambda found: chr(int(found[1], 16)), text)
    whole = units.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    return re.sub(r"\\([bftnr])", lambda found: {"b": "\b", "f": "\f", "t": "\t", "n": "\n", "r": "\r"}[found[1]], whole)


def unescaped(text: str, meaning: dict[str, str]) -> str:
    """What stands for itself or for a line break behind a backslash; KeyError for a backslash that nobody may write."""
    return re.sub(r"\\(.?)", lambda found: meaning[found[1]], text)


def parsed_cef(line: str) -> tuple[list[str], list[tuple[str, str]]]:
    """The seven fields of the header, and all keys with their values."""
    found = re.fullmatch(r"((?:(?:\\.|[^\\|])*\|){7})(.*)", line)
    assert found
    header = [unescaped(field, {"\\": "\\", "|": "|"}) for field in re.findall(r"((?:\\.|[^\\|])*)\|", found[1])]
    pieces = re.split(r"(?:^| )([A-Za-z0-9]+)=", found[2])
    assert pieces[0] == ""
    pairs = zip(pieces[1::2], pieces[2::2], strict=True)
    return header, [(key, unescaped(value, {"\\": "\\", "=": "=", "n": "\n", "r": "\r"})) for key, value in pairs]


def same(shown: str, text: str, most: int) -> bool:
    """Whether it is the text, or the beginning of one that is too long."""
    if revealed(shown) == revealed(text):
        return len(shown) <= most
    known = revealed(shown[:-1])[:-12]  # at the end there may be half of what is written out
    return len(shown) == most and shown.endswith(CUT) and revealed(text).startswith(known)


@settings(deadline=None)
@given(st.integers(1, 2**63 - 1), events(), texts, texts)
def test_cef_is_read_back_and_holds_no_key_that_a_value_brought(seq: int, facts: dict[str, Any], version: str, about: str) -> None:
    line = cef(seq, facts, version=version, about=about)
    assert is_plain(line)
    header, pairs = parsed_cef(line)
    assert header[:3] == ["CEF:0", "kube-iam", "kube-iam"]
    assert same(header[3], version, 31)
    assert header[4] == facts["action"]
    assert 0 <= int(header[6]) <= 10
    found = dict(pairs)
    assert len(found) == len(pairs), "no key twice"
    given_texts = {key: facts[name] if name else about for key, name in KEYS.items()} | {key: facts[name] for key, name in LABELS.items()}
    details = {"cs4"} if facts["details"] else set()
    labelled = {key for key in LABELS if given_texts[key]} | details
    source = {4: {"src"}, 6: {"c6a2", "c6a2Label"}, 0: set[str]()}[0 if not facts["address"] else 6 if ":" in facts["address"] else 4]
    fixed = {"rt", "externalId", "act", "outcome", "deviceFacility"}
    assert found.keys() == fixed | source | {key for key in KEYS if given_texts[key]} | labelled | {f"{key}Label" for key in labelled}
    assert all(found[f"{key}Label"] == LABELLED[key] for key in labelled)
    assert all(same(found[key], text, 4000 if key in LABELS else 1023) for key, text in given_texts.items() if text)
    assert (found["externalId"], found["act"], found["deviceFacility"]) == (str(seq), facts["result"], facts["door"])
    if details and not found["cs4"].endswith(CUT):
        assert json.loads(found["cs4"]) == facts["details"], "JSON means the same, whatever became visible"


@settings(deadline=None)
@given(events(), st.sampled_from([*KEYS, *LABELS]), st.sampled_from(["a", "a\n", "=", " ", "|\\"]))
def test_a_very_long_value_changes_its_own_field_and_no_other(facts: dict[str, Any], key: str, piece: str) -> None:
    field = {**KEYS, **LABELS}[key]
    short, long = ({**facts, field: text, "": ""} for text in ("x", piece * 200_000))
    (header, before), (again, after) = (parsed_cef(cef(1, one, version="1", about=one[""] or "x")) for one in (short, long))
    if field:
        assert [name for name, _ in before] == [name for name, _ in after]
        assert [pair for pair in before if pair[0] != key] == [pair for pair in after if pair[0] != key]
        assert dict(after)[key] == (piece * 200_000)[: (4000 if key in LABELS else 1023) - 1] + CUT
    assert header == again


SD_VALUE = r'"((?:\\["\\\]]|[^"\\\]])*)"'


@settings(deadline=None)
@given(st.integers(1, 2**63 - 1), events(), texts, texts, st.integers(0, 23))
def test_syslog_is_read_back(seq: int, facts: dict[str, Any], text: str, host: str, facility: int) -> None:
    whole = message(seq, facts, text, host=host, facility=facility).decode("utf-8", "strict")
    found = re.fullmatch(
        rf'<(\d{{1,3}})>1 (\S+) ([!-~]{{1,255}}) ([!-~]{{1,48}}) - ([!-~]{{1,32}}) \[meta sequenceId="(\d+)"\]'
        rf"\[kube-iam@32473 seq={SD_VALUE} action={SD_VALUE} actor={SD_VALUE} result={SD_VALUE} cluster={SD_VALUE}\] (\ufeff?)(.*)",
        whole,
    )
    assert found
    assert divmod(int(found[1]), 8) == (facility, {"failed": 3, "refused": 4, "done": 5}[facts["result"]])
    assert (found[2], found[5]) == (facts["at"], facts["action"])
    assert 1 <= int(found[6]) <= 2**31 - 1
    assert (int(found[6]) - seq) % (2**31 - 1) == 0
    shown = [unescaped(value, {"\\": "\\", '"': '"', "]": "]"}) for value in found.groups()[6:11]]
    for value, fact in zip(shown, [str(seq), *(facts[name] for name in ("action", "actor_name", "result", "cluster"))], strict=True):
        assert same(value, fact, 255)
    assert bool(found[12]) is not found[13].isascii()
    assert is_plain(whole.replace(f" {found[12]}{found[13]}", f" {found[13]}"))
    assert revealed(found[13]) == revealed(text)


@settings(deadline=None)
@given(st.integers(1, 2**63 - 1), events())
def test_ocsf_keeps_every_fact(seq: int, facts: dict[str, Any]) -> None:
    event = json.loads(json.dumps(ocsf(seq, facts, version="1")))
    assert event["unmapped"] == facts
    assert event["type_uid"] == event["class_uid"] * 100 + event["activity_id"]
    assert (event["metadata"]["sequence"], event["metadata"]["uid"]) == (seq, str(seq))
    assert event["status_id"] == (1 if facts["result"] == "done" else 2)


@given(st.datetimes())
def test_a_time_is_the_millisecond_that_has_begun(at: Any) -> None:
    text = at.strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")
    whole, part = divmod(milliseconds(text), 1000)
    assert part == at.microsecond // 1000
    assert whole % 60 == at.second
