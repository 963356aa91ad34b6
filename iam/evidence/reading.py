"""Verifying an export with nothing but the file and public keys: line by line, in constant memory."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from gzip import BadGzipFile
from typing import IO, Any

from iam.evidence import exports
from iam.evidence.blocks import LARGEST, Anchor
from iam.evidence.keys import KeyRing, NotAKey
from iam.evidence.proof import Kind, Proof, Report, Sealed

LONGEST_LINE = 16 * 1024 * 1024
LONGEST_BLOCK = 2 * LONGEST_LINE
"""Bytes of a block's events that are held at a time, and then of the block."""
CHAIN = "jsonl"
"""The kind of export that proves its events by themselves."""
LONGEST_MANIFEST = 1024 * 1024


@dataclass(frozen=True)
class Proven:
    """How an export stands, and what it says that it is."""

    report: Report
    says: dict[str, Any]
    """The manifest's facts, empty if there is none."""


class _Reader:
    """One pass over an export of the kind jsonl."""

    def __init__(self, first: bytes, trusted: Sequence[bytes], anchors: Iterable[Anchor]) -> None:
        self._opening, keys = exports.read_opening(first)
        self._ring = KeyRing(trusted, keys)
        is_complete = not self._opening["filter"]
        self._proof = Proof(self._ring, anchors=anchors, is_complete=is_complete, starts_at=1 if is_complete else 0)
        self._is_complete = is_complete
        self._waiting: list[Sealed] = []
        self._held = 0
        self._digest = hashlib.sha256(first)
        self._size = len(first)
        self._lines = 1
        self._manifest: dict[str, Any] = {}

    def read(self, lines: Iterable[bytes]) -> Proven:
        report = self._proof.report
        for line in _until_cut(lines, report):
            self._lines += 1
            if self._manifest:
                report.add(Kind.INSERTED, f"Line {self._lines} stands behind the manifest.")
                break
            try:
                self._take(line)
            except (exports.NotAnExport, NotAKey) as problem:
                is_cut = not line.endswith(b"\n")
                words = "the file was cut off here" if is_cut else str(problem)
                report.add(Kind.CUT_OFF if is_cut else Kind.UNREADABLE, f"Line {self._lines}: {words}.")
                break
        if not self._manifest and report.is_whole:
            report.add(Kind.CUT_OFF, f"The manifest is missing: the file was cut off after line {self._lines}.")
        is_open_end = self._is_complete and bool(self._manifest)
        self._proof.finish(self._waiting, is_open_end=is_open_end, until=self._opening["begun_at"])
        self._compare(report)
        return Proven(report, self._manifest)

    def _take(self, line: bytes) -> None:
        if exports.is_event(line):
            self._held += len(line)
            if len(self._waiting) == LARGEST or self._held > LONGEST_BLOCK:
                raise exports.NotAnExport("there are more events than a block holds, and no block")
            self._waiting.append(exports.read_event(line))
        elif exports.is_block(line):
            self._proof.take(exports.read_block(line), self._waiting)
            self._waiting, self._held = [], 0
        elif exports.is_manifest(line):
            self._manifest = _checked_manifest(line, self._ring, self._proof.report)
            _compare_bytes(self._manifest, self._digest.hexdigest(), self._size, self._proof.report)
            self._excuse(self._manifest.get("pruned"))
            return
        else:
            raise exports.NotAnExport("this is neither an event nor a block nor a manifest")
        self._digest.update(line)
        self._size += len(line)

    def _excuse(self, pruned: Any) -> None:
        if isinstance(pruned, dict) and type(pruned.get("last")) is int and isinstance(pruned.get("before"), str):
            self._proof.excuse(pruned["last"], pruned["before"])

    def _compare(self, report: Report) -> None:
        reached, upto = report.head.last if report.head else 0, self._opening["upto"]
        if self._manifest and self._is_complete and reached != upto:
            words = f"The export should reach event {upto}, and ends at {reached}."
            report.add(Kind.CUT_OFF, words, seq=reached + 1, block=report.head.number + 1 if report.head else 1)
        if self._manifest and self._manifest.get("events") != report.events:
            words = f"The manifest says {self._manifest['events']} events, and there are {report.events}."
            report.add(Kind.REMOVED if report.events < self._manifest["events"] else Kind.INSERTED, words)
        shared = ("export", "kind", "filter", "upto", "begun_at")
        if self._manifest and any(self._manifest.get(name) != self._opening.get(name) for name in shared):
            report.add(Kind.CHANGED, "The first line and the manifest are of two exports.")


def bounded(content: IO[bytes]) -> Iterator[bytes]:
    """The lines of a file, none so long that it fills the memory. Raises NotAnExport."""
    while line := content.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE:
            raise exports.NotAnExport("a line is too long for any event or block")
        yield line


def _until_cut(lines: Iterable[bytes], report: Report) -> Iterator[bytes]:
    try:
        yield from lines
    except (EOFError, BadGzipFile, zlib.error):
        report.add(Kind.CUT_OFF, f"The compressed file is cut off or broken behind event {report.head.last if report.head else 0}.")
    except exports.NotAnExport as problem:
        report.add(Kind.UNREADABLE, f"{problem}.")


def verify_export(lines: Iterable[bytes], trusted: Sequence[bytes], anchors: Iterable[Anchor] = ()) -> Proven:
    """An export of the kind jsonl. Lines keep their line ends. Raises NotAnExport where the first line is none, NotAKey."""
    iterator = iter(lines)
    return _Reader(next(iterator, b""), trusted, anchors).read(iterator)


def verify_table(parts: Iterable[bytes], manifest: bytes, trusted: Sequence[bytes]) -> Proven:
    """Any other kind, beside its manifest: whether these are the bytes that were exported. Raises NotAnExport, NotAKey."""
    report = Report()
    facts = _checked_manifest(manifest, KeyRing(trusted), report)
    if facts["kind"] == CHAIN:
        raise exports.NotAnExport("the manifest of an export as jsonl stands at its end, and proves nothing elsewhere")
    digest, size = hashlib.sha256(), 0
    for part in _until_cut(parts, report):
        digest.update(part)
        size += len(part)
    _compare_bytes(facts, digest.hexdigest(), size, report)
    report.events = facts["events"]
    return Proven(report, facts)


def read_anchors(lines: Iterable[bytes]) -> Iterator[Anchor]:
    """The heads of a file of anchors; what a crash has cut short in a file that can only grow is none. Raises NotAnExport."""
    return (exports.read_anchor(line) for line in lines if line.rstrip().endswith(b"}"))


def _checked_manifest(line: bytes, ring: KeyRing, report: Report) -> dict[str, Any]:
    text, facts, signature, keys = exports.read_manifest(line)
    ring.name(keys)
    key = facts["key"]
    if not ring.has_signed(key, text, signature):
        words = "The manifest's signature is not of this manifest." if key in ring.known else f"Nobody named the manifest's key {key[:16]}."
        report.add(Kind.CHANGED if key in ring.known else Kind.UNTRUSTED, words)
    elif not ring.is_trusted(key):
        report.add(Kind.UNTRUSTED, f"The manifest is signed by the key {key[:16]}, which is not trusted.")
    return facts


def _compare_bytes(facts: dict[str, Any], sha256: str, size: int, report: Report) -> None:
    if facts["sha256"] == sha256:
        return
    if size < facts["bytes"]:
        report.add(Kind.CUT_OFF, f"The file has {size} bytes of the {facts['bytes']} that were exported.")
    elif report.is_whole:
        report.add(Kind.CHANGED, "The file is not, byte for byte, what was exported.")
