"""Makes tests/vectors/audit: small exports, whole and broken, and what a verifier must answer. Built with iam.evidence alone.

    cd tests && python -m vectors.make_audit

Keys and times are fixed, so the bytes are the same each time, and a change of the format shows in a diff.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vectors.audit_trails import EVENTS, FIRST, MALLORY, NAMED, OTHER, SECOND, Lines, Trail, at, closed, pruned, said, sealed

from iam.evidence import exports, tables
from iam.evidence.blocks import Block, head_of
from iam.evidence.events import moment
from iam.evidence.keys import Introduction, to_pem

FOLDER = Path(__file__).parent / "audit"
CHANGED, REMOVED, INSERTED, REORDERED = "changed", "removed", "inserted", "reordered"
CUT_OFF, BLOCK_CHANGED, BLOCK_REMOVED = "cut off", "block changed", "block removed"
ERIN = {"person": "erin"}
UNTRUSTED, REWRITTEN, UNREADABLE = "not signed by a trusted key", "not what was anchored", "unreadable"


def table() -> tuple[bytes, bytes]:
    """CSV, and the manifest beside it."""
    content = tables.heading(("seq", "action", "actor_name", "reason", "details"))
    for seq, text in enumerate(EVENTS, 1):
        facts = json.loads(text)
        cells = [str(seq), facts["action"], facts["actor_name"], facts["reason"], text.decode()]
        content += tables.page([tables.row(",".join('"' + cell.replace('"', '""') + '"' for cell in cells).encode() + b"\n")])
    facts = Trail(EVENTS).facts("csv")
    text, signature = exports.manifest(said(facts, content, range(1, 7), head_of(sealed(EVENTS)[-1])), SECOND)
    return content, exports.manifest_line(text, signature, NAMED)


def forged_manifest(line: bytes, content: bytes, **more: Any) -> bytes:
    """A second text in the line of a manifest that was really signed: readers of JSON take the last."""
    facts = json.loads(line)["manifest"] | {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), **more}
    return line[:-2] + b',"manifest":' + json.dumps(facts, separators=(",", ":")).encode() + b"}\n"


def signed(line: bytes) -> tuple[bytes, str]:
    """The text and the signature of a manifest's line."""
    text, _facts, signature, _keys = exports.read_manifest(line)
    return text, signature


def swapped(lines: Lines, one: int, other: int) -> Lines:
    """Two lines in each other's place."""
    numbers = {one: other, other: one}
    return [lines[numbers.get(at, at)] for at in range(len(lines))]


def without(lines: Lines, *places: int) -> Lines:
    """The other lines."""
    return [line for at, line in enumerate(lines) if at not in places]


def replaced(lines: Lines, place: int, old: bytes, new: bytes) -> Lines:
    """One line changed."""
    assert old in lines[place], (place, old)
    return [*lines[:place], lines[place].replace(old, new), *lines[place + 1 :]]


@dataclass(frozen=True)
class Vector:
    """One file and what a verifier must say. ``first`` is None where the format leaves open what is named first."""

    name: str
    why: str
    lines: Lines
    first: tuple[str, int, int] | None = None
    whole: bool = False
    keys: str = "first.pem"
    anchors: str = ""
    manifest: str = ""
    file: str = ""

    def facts(self) -> dict[str, Any]:
        """As vectors.json has it."""
        first = dict(zip(("kind", "event", "block"), self.first, strict=True)) if self.first else None
        beside = {name: value for name, value in (("anchors", self.anchors), ("manifest", self.manifest)) if value}
        return {"name": self.name, "file": self.path, "key": self.keys, **beside, "whole": self.whole, "first": first, "why": self.why}

    @property
    def path(self) -> str:
        """The file's name."""
        return self.file or f"{self.name}.jsonl"


def twice() -> Lines:
    """The second block has two counts."""
    lines = Trail(EVENTS).export()
    block = sealed(EVENTS)[1]
    header = block.header.replace(b'"count":2', b'"count":1,"count":2')
    return [*lines[:6], exports.block_line(Block(header, block.leaves, FIRST.sign(header))), *lines[7:]]


def begun_later() -> Lines:
    """Signed in order, but for the moment in the first line: with another, anchors would count, or not."""
    trail = Trail(EVENTS)
    opening = exports.opening(trail.facts() | {"begun_at": moment(at(-999))}, NAMED)
    return closed([opening, *trail.export()[1:-1]], trail.facts(), SECOND, head_of(sealed(EVENTS)[-1]), None)


def ends_early() -> Lines:
    """Signed in order, but for the last block, which is not there."""
    trail = Trail(EVENTS)
    return closed(trail.export()[:7], trail.facts(), SECOND, head_of(sealed(EVENTS)[-1]), None)


def good() -> list[Vector]:
    """Whole."""
    retained, by_manifest = Trail(pruned()).export(range(3, 7)), {"last": 2, "before": moment(at(15))}
    lines, csv = Trail(EVENTS).export(), [table()[0]]
    same: dict[str, Any] = {"file": "whole.jsonl", "whole": True}
    return [
        Vector("whole", "The third block is signed by a second key, which the first introduced.", lines, whole=True),
        Vector("whole-both-keys", "A file may hold many keys.", lines, keys="both.pem", **same),
        Vector("whole-anchored", "All heads are as they were anchored.", lines, anchors="anchors.jsonl", **same),
        Vector("filtered", "Not every event of a block is there, and not every block.", Trail(EVENTS).export([3, 6], ERIN), whole=True),
        Vector("nothing", "The filter found nothing: an opening and a manifest.", Trail(EVENTS).export([], {"person": "fay"}), whole=True),
        Vector("retention", "A sealed event says that the events of the first block were removed.", retained, whole=True),
        Vector("retention-by-manifest", "The manifest says so.", Trail(EVENTS, pruned=by_manifest).export(range(3, 7)), whole=True),
        Vector("table", "Beside its manifest.", csv, whole=True, file="table.csv", manifest="table.csv.manifest.json"),
    ]


def changed_files() -> list[Vector]:
    """The file of a whole export, changed afterwards. Its lines: 0 opening, 1 2 events, 3 block, 4 5, 6, 7 8, 9, 10 manifest."""
    lines, filtered = Trail(EVENTS).export(), Trail(EVENTS).export([3, 6], ERIN)
    end = lines[-1]
    text, signature = end[len(b'{"manifest":') :].rsplit(b',"signature":"', 1)[0], end[-131:-3]
    again, by_mallory = [Trail(EVENTS, begun=61).export()[-1]], [exports.manifest_line(text, MALLORY.sign(text))]
    bad: dict[str, tuple[str, Lines, tuple[str, int, int] | None]] = {
        "changed": ("One letter of an event.", replaced(lines, 4, b"erin", b"eron"), (CHANGED, 3, 2)),
        "removed": ("One event.", without(lines, 4), (REMOVED, 3, 2)),
        "removed-last": ("The last event.", without(lines, 8), (REMOVED, 6, 3)),
        "emptied": ("All events of a block, and no retention says so.", without(lines, 4, 5), (REMOVED, 3, 2)),
        "inserted": ("An event that no block has.", [*lines[:5], exports.event_line(9, OTHER), *lines[5:]], (INSERTED, 9, 2)),
        "inserted-twice": ("One event stands there twice.", [*lines[:5], *lines[4:]], (INSERTED, 3, 2)),
        "reordered": (
            "Two events in each other's place.",
            [*lines[:4], exports.event_line(3, EVENTS[3]), exports.event_line(4, EVENTS[2]), *lines[6:]], (REORDERED, 3, 2),
        ),
        "lines-swapped": ("Two lines of events.", swapped(lines, 4, 5), None),
        "block-removed": ("A block with its events.", without(lines, 4, 5, 6), (BLOCK_REMOVED, 0, 2)),
        "block-line-removed": ("A block without its events.", without(lines, 6), (BLOCK_REMOVED, 0, 2)),
        "block-reordered": ("Two blocks with their events.", [*lines[:4], *lines[7:10], *lines[4:7], end], (BLOCK_REMOVED, 0, 2)),
        "header-changed": ("When a block was sealed.", replaced(lines, 6, b"T21:35", b"T21:36"), (BLOCK_CHANGED, 0, 2)),
        "leaves-changed": ("A hash beside a header.", replaced(lines, 6, b'"leaves":"', b'"leaves":"00'), (BLOCK_CHANGED, 0, 2)),
        "signature-forged": (
            "Another key has signed a header.", replaced(lines, 6, lines[6][-131:-3], MALLORY.sign(sealed(EVENTS)[1].header).encode()),
            (BLOCK_CHANGED, 0, 2),
        ),
        "header-huge": ("It counts a billion of events.", replaced(lines, 6, b'"count":2', b'"count":1000000000'), None),
        "cut-in-line": ("In the middle of an event.", [*lines[:7], lines[7][:100]], (CUT_OFF, 0, 0)),
        "cut-in-manifest": ("In the middle of the manifest.", [*lines[:-1], end[:100]], (CUT_OFF, 0, 0)),
        "cut-before-manifest": ("Only the manifest is missing.", lines[:-1], (CUT_OFF, 0, 0)),
        "cut-after-block": ("Behind a block.", lines[:7], (CUT_OFF, 0, 0)),
        "cut-in-opening": ("In the first line.", [lines[0][:60]], (UNREADABLE, 0, 0)),
        "introduction-forged": (
            "The signature under the introduction of the second key.", replaced(lines, 0, NAMED[1].signature.encode(), b"0" * 128), None,
        ),
        "manifest-changed": ("It says who exported.", replaced(lines, 10, b'"by":"ada"', b'"by":"lee"'), (CHANGED, 0, 0)),
        "manifest-other": ("Of another export.", [*lines[:-1], *again], None),
        "manifest-forged": ("Signed by another than its key.", [*lines[:-1], *by_mallory], (CHANGED, 0, 0)),
        "manifest-twice": ("Something stands behind it.", [*lines, end], (INSERTED, 0, 0)),
        "manifest-capitals": ("Hex is lower-case.", replaced(lines, 10, signature, signature.upper()), None),
        "manifest-blank": ("A blank behind it.", [*lines[:-1], end[:-1] + b" \n"], None),
        "manifest-member": ("A member more.", [*lines[:-1], end[:-2] + b',"by":"lee"}\n'], None),
        "manifest-no-line-end": ("The last line feed is missing.", [*lines[:-1], end[:-1]], None),
        "manifest-two-texts": (
            "An event was removed from a filtered export; a second text in the manifest's line hides it.",
            [*filtered[:3], forged_manifest(filtered[-1], b"".join(filtered[:3]), events=1, last=3)], None,
        ),
        "key-no-text": ("A number where a key should stand.", replaced(lines, 0, f'"{SECOND.public.hex()}"'.encode(), b"5"), None),
        "opening-nested": ("Brackets without end.", [b"[" * 4096 + b"\n", *lines[1:]], (UNREADABLE, 0, 0)),
    }  # fmt: skip
    return [Vector(name, *told) for name, told in bad.items()]


def bad_trails() -> list[Vector]:
    """What a service, or whoever has its keys, has exported in order."""
    rewritten = [*EVENTS[:3], OTHER, *EVENTS[4:]]
    forged = Introduction(MALLORY.fingerprint, MALLORY.public.hex(), FIRST.fingerprint, NAMED[1].signature)
    alone, known = (MALLORY, MALLORY, MALLORY), [Introduction(MALLORY.fingerprint, MALLORY.public.hex())]
    content = table()[0]
    other = content.replace(b'"lee"', b'"ada"')
    young = {"last": 4, "before": moment(at(15))}
    anchored: dict[str, Any] = {"anchors": "anchors.jsonl"}
    csv = Vector("table-changed", "A cell.", [other], (CHANGED, 0, 0), file="table-changed.csv", manifest="table.csv.manifest.json")
    two = Vector("table-two-texts", "The manifest's line has a second text.", [other], file="table-changed.csv", manifest="two-texts.json")
    return [
        Vector("wrong-key", "Whole, for others.", Trail(EVENTS).export(), (UNTRUSTED, 0, 1), file="whole.jsonl", keys="mallory.pem"),
        Vector("second-key", "Trust never goes back.", Trail(EVENTS).export(), (UNTRUSTED, 0, 1), file="whole.jsonl", keys="second.pem"),
        Vector(
            "filtered-second-key", "Nor in a part.", Trail(EVENTS).export([3, 6], ERIN), (UNTRUSTED, 0, 2),
            file="filtered.jsonl", keys="second.pem",
        ),
        Vector("forged-trail", "Another key has signed all of it.", Trail(rewritten, alone, known).export(), (UNTRUSTED, 0, 1)),
        Vector("forged-introduction", "And says that the first introduced it.", Trail(rewritten, alone, [NAMED[0], forged]).export(),
               (UNTRUSTED, 0, 1)),
        Vector("key-unknown", "Of the second block.", Trail(EVENTS, (FIRST, MALLORY, SECOND)).export(), (UNTRUSTED, 0, 2)),
        Vector("retention-beyond", "More is missing than it says.", Trail(pruned()).export([5, 6]), (REMOVED, 3, 2)),
        Vector("retention-young", "The second block was not old enough.", Trail(pruned(last=4)).export([5, 6]), (REMOVED, 3, 2)),
        Vector("retention-itself", "It says that it removes itself.", Trail(pruned(last=5)).export(range(3, 7)), (REMOVED, 1, 1)),
        Vector("retention-failed", "It failed, and removed nothing.", Trail(pruned("failed")).export(range(3, 7)), (REMOVED, 1, 1)),
        Vector("retention-by-manifest-young", "So the manifest says.", Trail(EVENTS, pruned=young).export([5, 6]), (REMOVED, 3, 2)),
        Vector("ends-early", "It says that it reaches the last event.", ends_early(), (CUT_OFF, 5, 3)),
        Vector("begun-otherwise", "First line and manifest say another beginning.", begun_later(), (CHANGED, 0, 0)),
        Vector("key-no-hash", "A name of a key that a terminal would obey.",
               replaced(Trail(EVENTS).export(), 3, FIRST.fingerprint.encode(), b"\\u001b[2J"), (BLOCK_CHANGED, 0, 1)),
        Vector("chain-as-table", "The manifest of a chain proves nothing beside one.", Trail(rewritten).export()[:-1],
               manifest="whole-manifest.json"),
        Vector("header-name-twice", "A header that is read in two ways, well signed.", twice(), None),
        Vector("anchors-beyond", "A block was anchored that is not there.", Trail(EVENTS[:4], (FIRST, FIRST)).export(), (CUT_OFF, 5, 3),
               **anchored),
        Vector("anchors-rewritten", "History anew, by the real keys.", Trail(rewritten).export(), (REWRITTEN, 0, 2), **anchored),
        Vector("anchors-early", "And exported long ago, it says.", Trail(rewritten, begun=-999).export(), (REWRITTEN, 0, 2), **anchored),
        csv, two,
    ]  # fmt: skip


def made() -> dict[str, bytes]:
    """All files."""
    vectors = [*good(), *changed_files(), *bad_trails()]
    pems = {"first.pem": [FIRST], "second.pem": [SECOND], "both.pem": [SECOND, FIRST], "mallory.pem": [MALLORY]}
    files = {name: "".join(to_pem(key.public) for key in keys).encode() for name, keys in pems.items()}
    content, manifest = table()
    files |= {"anchors.jsonl": Trail(EVENTS).anchors(), "table.csv.manifest.json": manifest}
    files["whole-manifest.json"] = exports.manifest_line(*signed(Trail(EVENTS).export()[-1]), NAMED)
    files["two-texts.json"] = forged_manifest(manifest, content.replace(b'"lee"', b'"ada"'))
    files |= {vector.path: b"".join(vector.lines) for vector in vectors}
    listed = {"format": "kube-iam audit vectors 1", "vectors": [vector.facts() for vector in vectors]}
    return files | {"vectors.json": json.dumps(listed, indent=1, ensure_ascii=False).encode() + b"\n"}


if __name__ == "__main__":
    for name, content in made().items():
        (FOLDER / name).write_bytes(content)
