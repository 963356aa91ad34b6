"""Checking a chain: blocks with their events go in, one after the other; what is wrong comes out, the first at the top."""

from __future__ import annotations

from bisect import insort
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from iam.evidence.blocks import NOTHING, Anchor, Block, Head, NotABlock, head_of
from iam.evidence.events import facts_of, leaf, moment, parsed_moment
from iam.evidence.keys import KeyRing

Sealed = tuple[int, bytes]
"""An event's number and its text."""
MOST = 100
"""Findings that are kept."""
PRUNED = "audit.pruned"
_LAST = 2**63
_PRUNED_MARK = f'"action":"{PRUNED}"'.encode()


class Kind(StrEnum):
    """What can be wrong."""

    CHANGED = "changed"
    REMOVED = "removed"
    INSERTED = "inserted"
    REORDERED = "reordered"
    CUT_OFF = "cut off"
    BLOCK_CHANGED = "block changed"
    BLOCK_REMOVED = "block removed"
    UNTRUSTED = "not signed by a trusted key"
    REWRITTEN = "not what was anchored"
    UNREADABLE = "unreadable"
    UNVOUCHED = "not written by this service"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, and where."""

    kind: Kind
    words: str
    seq: int = 0
    block: int = 0


@dataclass
class Report:
    """How it stands."""

    events: int = 0
    blocks: int = 0
    removed_by_retention: int = 0
    head: Head | None = None
    findings: list[Finding] = field(default_factory=list)
    unsealed: int = 0
    """Events that the next block will hold (of a database only)."""

    @property
    def is_whole(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    def add(self, kind: Kind, words: str, *, seq: int = 0, block: int = 0) -> None:
        """Note something wrong, in its place; of very many, the hundred that went wrong first."""
        insort(self.findings, Finding(kind, words, seq, block), key=lambda finding: finding.block or _LAST)
        del self.findings[MOST:]


class Proof:
    """One pass over one chain, or a part of it."""

    def __init__(self, ring: KeyRing, *, anchors: Iterable[Anchor] = (), is_complete: bool = True, starts_at: int = 1) -> None:
        """``is_complete``: every event and block must be there (an export that was filtered holds some of them);
        ``starts_at``: the number of the first block, 0 if it may be any.
        """
        self.report = Report()
        self._ring = ring
        self._anchors = list(anchors)
        self._anchored: dict[int, set[str]] = defaultdict(set)
        for anchor in self._anchors:
            self._anchored[anchor.head.number].add(anchor.head.hash)
        self._is_complete = is_complete
        self._starts_at = starts_at
        self._missing: list[_Emptied] = []
        self._removals: list[_Removal] = []

    def excuse(self, last: int, sealed_before: str) -> None:
        """Retention removed events up to this one, as a signed manifest says: its own event may lie behind the end of an export."""
        self._removals.append(_Removal(last + 1, last, sealed_before))

    def take(self, block: Block, events: Sequence[Sealed]) -> None:
        """The next block, with the events that stand before it."""
        head = self.report.head
        try:
            is_late = self._is_complete and head is not None and block.number <= head.number
            self._block(block)
        except NotABlock as problem:
            after = f"after block {self.report.head.number}" if self.report.head else "at the beginning"
            number = self.report.head.number + 1 if self.report.head else 1
            self.report.add(Kind.BLOCK_CHANGED, f"The block {after} is not one: {problem}.", block=number)
            return
        if events or not is_late:  # else its events may have stood in their place, before
            self._events(block, events)

    def finish(self, loose: Sequence[Sealed] = (), *, is_open_end: bool = True, until: str = "") -> Report:
        """After the last block; ``loose`` are events behind it. ``is_open_end`` says that the chain should reach its end here, as it was
        ``until`` then (now, if that is empty): what was anchored later may lie beyond it.
        """
        for block in self._missing:
            if any(removal.excuses(block) for removal in reversed(self._removals)):
                self.report.removed_by_retention += block.last - block.first + 1
            else:
                words = f"Event {block.first} is gone, and all others up to {block.last}; no retention took them."
                self.report.add(Kind.REMOVED, words, seq=block.first, block=block.number)
        for seq, _text in loose:
            self.report.add(Kind.INSERTED, f"Event {seq} stands behind the last block.", seq=seq)
        if is_open_end:
            self._end(until)
        return self.report

    def _block(self, block: Block) -> None:
        head, number = self.report.head, block.number
        expected = head.number + 1 if head else self._starts_at
        if self._is_complete and expected and number != expected:
            kind = Kind.BLOCK_REMOVED if number > expected else Kind.REORDERED
            self.report.add(kind, f"Block {expected} should stand here, and it is block {number}.", block=expected)
        elif self._follows(block) is False:
            self.report.add(Kind.BLOCK_CHANGED, f"Block {number} does not follow the one before: one of the two was changed.", block=number)
        if not block.is_whole:
            self.report.add(Kind.BLOCK_CHANGED, f"Block {number}: the hashes of its events are not those that were sealed.", block=number)
        if not self._ring.has_signed(block.key, block.header, block.signature):
            is_known = block.key in self._ring.known
            words = "the signature is not of this header" if is_known else f"nobody named its key {block.key[:16]}"
            self.report.add(Kind.BLOCK_CHANGED if is_known else Kind.UNTRUSTED, f"Block {number}: {words}.", block=number)
        elif not self._ring.is_trusted(block.key):
            self.report.add(Kind.UNTRUSTED, f"Block {number} is signed by the key {block.key[:16]}, which is not trusted.", block=number)
        if self._anchored.get(number, {block.hash}) != {block.hash}:
            self.report.add(Kind.REWRITTEN, f"Block {number} is another one than was anchored: history was written anew.", block=number)
        self.report.blocks += 1
        self.report.head = head_of(block)

    def _follows(self, block: Block) -> bool | None:
        """Whether it holds the hash of the block before, and goes on counting where that ended; None if that one is not here."""
        head = self.report.head
        if block.number == 1:
            return (block.previous, block.first) == (NOTHING, 1)
        if head is None or head.number != block.number - 1:
            return None
        return (block.previous, block.first) == (head.hash, head.last + 1)

    def _events(self, block: Block, events: Sequence[Sealed]) -> None:
        self.report.events += len(events)
        if not block.is_whole:
            return
        seqs, texts = zip(*events, strict=True) if events else ((), ())
        if b"".join(map(leaf, texts)) == block.leaves and seqs == tuple(range(block.first, block.last + 1)):
            self._removals += [removal for seq, text in events if _PRUNED_MARK in text and (removal := _removal(seq, text))]
            return
        if self._is_complete and not events:
            self._missing.append(_Emptied(block.number, block.first, block.last, block.sealed_at))
            return
        self._one_by_one(block, events)

    def _one_by_one(self, block: Block, events: Sequence[Sealed]) -> None:
        number, following = block.number, block.first
        known = {block.leaf(seq) for seq in range(block.first, block.last + 1)}
        for seq, text in events:
            if not following <= seq <= block.last:
                self.report.add(Kind.INSERTED, f"Event {seq} does not belong into block {number}.", seq=seq, block=number)
                continue
            self._gone(block, following, seq)
            following = seq + 1
            found = leaf(text)
            if found != block.leaf(seq):
                kind = Kind.REORDERED if found in known else Kind.CHANGED
                words = "stands in another's place" if kind is Kind.REORDERED else "is not what was sealed"
                self.report.add(kind, f"Event {seq} {words} (block {number}).", seq=seq, block=number)
        self._gone(block, following, block.last + 1)

    def _gone(self, block: Block, first: int, beyond: int) -> None:
        if self._is_complete:
            for seq in range(first, beyond):
                self.report.add(Kind.REMOVED, f"Event {seq} is gone (block {block.number}).", seq=seq, block=block.number)

    def _end(self, until: str) -> None:
        """An anchor further on than the chain says that its end was cut off."""
        reached = self.report.head.number if self.report.head else 0
        beyond = [one.head for one in self._anchors if one.head.number > reached and not (until and one.anchored_at > until)]
        if beyond:
            furthest = max(beyond, key=lambda head: head.number)
            first = (self.report.head.last if self.report.head else 0) + 1
            gone = f"event {first} to {furthest.last} are gone"
            words = f"The end was cut off: {gone}, block {furthest.number} was anchored, sealed at {furthest.sealed_at}."
            self.report.add(Kind.CUT_OFF, words, seq=first, block=reached + 1)


@dataclass(frozen=True, slots=True)
class _Emptied:
    """Of a block none of whose events is there, what counts."""

    number: int
    first: int
    last: int
    sealed_at: str


@dataclass(frozen=True, slots=True)
class _Removal:
    """A sealed event that says what retention removed."""

    seq: int
    last: int
    before: str
    """Blocks that were sealed before this moment."""

    def excuses(self, block: _Emptied) -> bool:
        """It removes only what was sealed before it, and is as old as it says that all of it was."""
        return block.last <= self.last < self.seq and block.sealed_at <= self.before


def _removal(seq: int, text: bytes) -> _Removal | None:
    try:
        facts = facts_of(text)
        details, at = facts["details"], parsed_moment(facts["at"])
        if (facts["action"], facts["result"]) != (PRUNED, "done"):
            return None
        return _Removal(seq, int(details["last"]), moment(at - timedelta(days=int(details["keep_days"]))))
    except (ValueError, KeyError, TypeError, OverflowError):
        return None
