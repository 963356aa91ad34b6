"""Exports in other hands: verified with nothing but the file and a key, by our verifier and by one that is not ours; broken, resumed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from fixtures.cli import Iam, assert_one_clear_line
from fixtures.elsewhere import Auditor, House, auditor, house, iam
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from vectors.make_audit import FOLDER

from iam.evidence.exports import NotAnExport
from iam.evidence.keys import NotAKey, from_pem
from iam.evidence.reading import bounded, verify_export

__all__ = ["auditor", "house", "iam"]
VECTORS: list[dict[str, Any]] = json.loads((FOLDER / "vectors.json").read_text("utf-8"))["vectors"]
EXPORTS = {
    "whole.jsonl": (), "whole.jsonl.gz": (), "person.jsonl": ("--person", "person-3-1"), "nobody.jsonl": ("--person", "nobody"),
    "table.csv": ("--format", "csv"), "person.csv.gz": ("--person", "person-1-1", "--format", "csv"),
    "lines.cef": ("--format", "cef"), "lines.ocsf": ("--format", "ocsf"),
}  # fmt: skip
few = settings(deadline=None, database=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
sqlite = pytest.mark.parametrize("house", ["sqlite"], indirect=True)
place = st.floats(0, 1, exclude_max=True)
Hand = tuple[str, float, float, int]
hands = st.tuples(st.sampled_from(["byte", "drop", "double", "swap", "copy", "cut"]), place, place, st.integers(1, 255))


@pytest.fixture
def whole(house: House, iam: Iam, auditor: Auditor) -> Path:
    """An export of everything, for an auditor who has the first key."""
    auditor.key = house.key
    return house.export(iam, "whole.jsonl")


def by_hand(content: bytes, hand: Hand) -> bytes:
    """Somebody changed the file."""
    what, one, other, difference = hand
    lines = BytesIO(content).readlines()
    first, second = (int(len(lines) * at) for at in (one, other))
    if what == "byte":
        at = int(len(content) * one)
        return content[:at] + bytes([content[at] ^ difference]) + content[at + 1 :]
    if what == "cut":
        return content[: int(len(content) * one)]
    if what == "swap":
        lines[first], lines[second] = lines[second], lines[first]
    else:
        lines[first : first + (what == "drop")] = {"drop": [], "double": [lines[first]], "copy": [lines[second]]}[what]
    return b"".join(lines)


def is_whole(content: bytes, key: Path) -> bool:
    """What ours says, without a process of its own."""
    try:
        return verify_export(bounded(BytesIO(content)), from_pem(key.read_text("utf-8"))).report.is_whole
    except (NotAnExport, NotAKey):
        return False


@pytest.mark.parametrize("name", EXPORTS)
def test_an_export_is_whole_elsewhere(name: str, house: House, iam: Iam, auditor: Auditor) -> None:
    auditor.key = house.key
    asked = EXPORTS[name]
    file = house.export(iam, name, *asked)
    found = auditor.both(file, *(("--anchors", house.anchors) if name.startswith("whole") else ()))
    assert found["whole"], found
    assert found["filter"] == ({"person": asked[1]} if "--person" in asked else {})
    assert (found["events"] == 0) is (name == "nobody.jsonl")


@sqlite
@pytest.mark.parametrize("name", ["whole.jsonl", "person.jsonl", "table.csv"])
def test_another_key_does_not_do(name: str, house: House, iam: Iam, auditor: Auditor) -> None:
    auditor.key = FOLDER / "mallory.pem"
    assert not auditor.both(house.export(iam, name, *EXPORTS[name]))["whole"]


@pytest.mark.parametrize("vector", VECTORS, ids=[one["name"] for one in VECTORS])
def test_the_other_verifier_agrees_about_the_vectors(vector: dict[str, Any], auditor: Auditor) -> None:
    auditor.key = FOLDER / vector["key"]
    more = [part for name in ("anchors", "manifest") if name in vector for part in (f"--{name}", FOLDER / vector[name])]
    said = auditor.theirs(FOLDER / vector["file"], *more)
    assert (said.code, said.json["whole"]) == (0 if vector["whole"] else 1, vector["whole"]), said


def test_the_command_needs_nothing_but_the_file(tmp_path: Path) -> None:
    arguments = FOLDER / "whole.jsonl", "--key", FOLDER / "first.pem"
    command: list[str | Path] = [Path(sys.executable).parent / "iam", "audit", "verify", *arguments]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "6 events in 3 blocks, up to block 3.\nThe trail is whole.\n"
    assert list(tmp_path.iterdir()) == []


@sqlite
@few
@given(hand=hands)
def test_both_find_any_change(hand: Hand, whole: Path, auditor: Auditor, tmp_path: Path) -> None:
    content = whole.read_bytes()
    changed = by_hand(content, hand)
    assume(changed != content)
    file = tmp_path / "changed.jsonl"
    file.write_bytes(changed)
    assert not auditor.both(file)["whole"]


@sqlite
@settings(few, max_examples=100)
@given(hand=hands)
def test_ours_finds_any_change(hand: Hand, whole: Path, auditor: Auditor) -> None:
    content = whole.read_bytes()
    changed = by_hand(content, hand)
    assume(changed != content)
    assert not is_whole(changed, auditor.key)


def test_no_byte_of_the_manifest_is_free(auditor: Auditor) -> None:
    content, key = (FOLDER / "whole.jsonl").read_bytes(), FOLDER / "first.pem"
    assert is_whole(content, key)
    for at in range(content.rindex(b'{"manifest":'), len(content)):
        assert not is_whole(content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :], key), at


BREAKS: dict[str, Callable[[bytes], bytes]] = {
    "in the middle": lambda packed: packed[: len(packed) // 2] + bytes([packed[len(packed) // 2] ^ 0x55]) + packed[len(packed) // 2 + 1 :],
    "checksum": lambda packed: packed[:-8] + bytes(4) + packed[-4:],
    "length": lambda packed: packed[:-4] + bytes(4),
    "cut off": lambda packed: packed[: len(packed) // 2],
    "cut off at the end": lambda packed: packed[:-1],
    "cut off in the head": lambda packed: packed[:5],
    "something behind": lambda packed: packed + b"something",
    "itself behind": lambda packed: packed + packed,
    "another method": lambda packed: packed[:2] + b"\x07" + packed[3:],
}


@sqlite
@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_compressed_export_is_told(name: str, whole: Path, house: House, iam: Iam, auditor: Auditor, tmp_path: Path) -> None:
    file = tmp_path / "broken.jsonl.gz"
    file.write_bytes(BREAKS[name](house.export(iam, "whole.jsonl.gz").read_bytes()))
    assert not auditor.both(file)["whole"]


@pytest.mark.parametrize("size", [0, 20 * 1024 * 1024])
def test_nothing_and_one_endless_line_are_no_exports(size: int, auditor: Auditor, tmp_path: Path) -> None:
    auditor.key = FOLDER / "first.pem"
    with (tmp_path / "zeros").open("wb") as zeros:
        zeros.truncate(size)
    assert not auditor.both(tmp_path / "zeros")["whole"]


@sqlite
@pytest.mark.parametrize("name", ["table.csv", "lines.cef"])
def test_a_changed_table_is_told(name: str, house: House, iam: Iam, auditor: Auditor, tmp_path: Path) -> None:
    auditor.key = house.key
    content = house.export(iam, name, *EXPORTS[name]).read_bytes()
    file, beside = tmp_path / name, tmp_path / f"{name}.manifest.json"
    beside.write_bytes(Path(f"{house.made[name]}.manifest.json").read_bytes())
    for changed in (content[:-1], content.replace(b"person-1-1", b"person-1-2"), content.replace(b"\n", b"\r\n")):
        assert changed != content
        file.write_bytes(changed)
        assert not auditor.both(file)["whole"]
    file.write_bytes(content)
    assert auditor.both(file)["whole"]
    beside.write_bytes(beside.read_bytes().replace(b'"events":', b'"events":1'))
    assert not auditor.both(file)["whole"]


CUTS: dict[str, Callable[[list[bytes]], int]] = {
    "behind the opening": lambda lines: size(lines[:1]),
    "in the first event": lambda lines: size(lines[:1]) + 100,
    "behind an event": lambda lines: size(lines[:5]),
    "before an event's line end": lambda lines: size(lines[:5]) - 1,
    "in a block": lambda lines: size(lines[: first_block(lines)]) + 700,
    "before a block's line end": lambda lines: size(lines[: first_block(lines) + 1]) - 1,
    "behind a block": lambda lines: size(lines[: first_block(lines) + 1]),
    "in the last block": lambda lines: size(lines[:-2]) + 300,
    "before the manifest": lambda lines: size(lines[:-1]),
    "in the manifest": lambda lines: size(lines[:-1]) + 100,
    "before the manifest's line end": lambda lines: size(lines) - 1,
}


def size(lines: list[bytes]) -> int:
    return sum(map(len, lines))


def first_block(lines: list[bytes]) -> int:
    return next(at for at, line in enumerate(lines) if line.startswith(b'{"block":'))


@pytest.mark.parametrize("name", CUTS)
def test_an_export_that_broke_off_goes_on(name: str, whole: Path, iam: Iam, auditor: Auditor, tmp_path: Path) -> None:
    content, file = whole.read_bytes(), tmp_path / "cut.jsonl"
    lines = BytesIO(content).readlines()
    file.write_bytes(content[: CUTS[name](lines)])
    assert not is_whole(file.read_bytes(), auditor.key)
    said = iam("--json", "audit", "export", "--out", str(file), "--resume")
    assert said.code == 0, said
    assert auditor.both(file)["whole"]
    resumed = BytesIO(file.read_bytes()).readlines()
    assert resumed[:-1] == lines[:-1]
    manifests = [json.loads(one[-1])["manifest"] for one in (lines, resumed)]
    assert {name for name in manifests[0] if manifests[0][name] != manifests[1][name]} <= {"exported_at", "head"}
    assert said.json["sha256"] == manifests[1]["sha256"]


def test_it_may_break_off_again_and_again(whole: Path, iam: Iam, auditor: Auditor, tmp_path: Path) -> None:
    content, file = whole.read_bytes(), tmp_path / "cut.jsonl"
    file.write_bytes(content)
    for size in (20_000, 40_000, 60_000):
        assert size < len(content)
        file.write_bytes(file.read_bytes()[:size])
        assert iam("audit", "export", "--out", str(file), "--resume").code == 0
    assert auditor.both(file)["whole"]


REFUSED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "is complete": (lambda content: content, "it is complete already"),
    "is empty": (lambda _: b"", "cannot be resumed"),
    "was cut in the opening": (lambda content: content[:60], "its first line is not whole"),
    "was cut before the opening's line end": (lambda content: content[: content.index(b"\n")], "its first line is not whole"),
    "has a changed event": (lambda content: content[:30_000].replace(b"role-1-1", b"role-1-2"), "is not what was sealed"),
    "lacks an event": (lambda content: content[: content.index(b'{"seq":2,')] + content[content.index(b'{"seq":3,') : 30_000], "is gone"),
    "is of another trail": (lambda _: (FOLDER / "cut-after-block.jsonl").read_bytes(), "cannot be resumed"),
    "is a part": (lambda _: (FOLDER / "filtered.jsonl").read_bytes().partition(b'{"manifest"')[0], "cannot be resumed"),
    "is not ours": (lambda content: re.sub(rb'"export":"\w+"', b'"export":"none"', content[:30_000]), "No such export was begun here"),
}


@sqlite
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_go_on_says_why_and_stays(name: str, whole: Path, iam: Iam, tmp_path: Path) -> None:
    change, words = REFUSED[name]
    file, content = tmp_path / "cut.jsonl", change(whole.read_bytes())
    file.write_bytes(content)
    assert_one_clear_line(iam("audit", "export", "--out", str(file), "--resume"), words)
    assert file.read_bytes() == content
