"""Blocks: events in their order under one signed hash, each block holding the hash of the one before.

The header is a text as an event is, and its hash is SHA-256 over these bytes. It holds the root, which is SHA-256 over
the hashes of the events one after the other; the list of these (the leaves) stands beside the block, so that a changed
event can be named, events left out of an export still count, and events removed by retention leave their hashes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from iam.evidence.events import leaf, moment, parsed_moment
from iam.evidence.keys import SigningKey
from iam.evidence.strict import NotStrict, document, is_hash

FORMAT = "kube-iam audit block 1"
NOTHING = "0" * 64
"""The hash before the first block."""
LARGEST = 256
"""Events of one block."""
_DIGEST = 32
_MEMBERS = {
    "format": str, "number": int, "previous": str, "first": int, "count": int, "root": str, "sealed_at": str, "key": str,
}  # fmt: skip


class NotABlock(ValueError):
    """What was read is no block of this format."""


@dataclass(frozen=True)
class Block:
    """A sealed block."""

    header: bytes
    leaves: bytes
    """32 bytes for each event, in order."""
    signature: str
    """Ed25519 over the header, hex."""

    @cached_property
    def facts(self) -> dict[str, Any]:
        """The header's facts. Raises NotABlock."""
        try:
            facts = document(self.header, _MEMBERS)
        except NotStrict as error:
            raise NotABlock(f"the header is none: {error}") from error
        if facts.keys() != _MEMBERS.keys() or facts["format"] != FORMAT:
            raise NotABlock(f"the header is not of the format {FORMAT!r}")
        if not (facts["number"] > 0 and facts["first"] > 0 and 0 < facts["count"] <= LARGEST):
            raise NotABlock("the header's numbers are not those of a block")
        if not all(is_hash(facts[name]) for name in ("previous", "root", "key")):
            raise NotABlock("the header's hashes are none")
        try:
            parsed_moment(facts["sealed_at"])
        except ValueError:
            raise NotABlock("the header does not say when it was sealed") from None
        return facts

    @property
    def number(self) -> int:
        """1 for the first."""
        return int(self.facts["number"])

    @property
    def first(self) -> int:
        """The number of its first event; events are numbered from 1 over all blocks, without gaps."""
        return int(self.facts["first"])

    @property
    def last(self) -> int:
        """The number of its last event."""
        return self.first + int(self.facts["count"]) - 1

    @property
    def previous(self) -> str:
        """The hash of the block before, hex."""
        return str(self.facts["previous"])

    @property
    def key(self) -> str:
        """The fingerprint of the key that signed."""
        return str(self.facts["key"])

    @property
    def sealed_at(self) -> str:
        """When, as a text."""
        return str(self.facts["sealed_at"])

    @cached_property
    def hash(self) -> str:
        """SHA-256 over the header, hex."""
        return hashlib.sha256(self.header).hexdigest()

    @cached_property
    def is_whole(self) -> bool:
        """Whether the leaves are those of the root."""
        return len(self.leaves) == (self.last - self.first + 1) * _DIGEST and root(self.leaves) == str(self.facts["root"])

    def each_leaf(self) -> Iterator[bytes]:
        """The hashes of its events, in order."""
        return (self.leaves[start : start + _DIGEST] for start in range(0, len(self.leaves), _DIGEST))

    def leaf(self, seq: int) -> bytes:
        """The hash of one of its events."""
        start = (seq - self.first) * _DIGEST
        return self.leaves[start : start + _DIGEST]


@dataclass(frozen=True, slots=True)
class Head:
    """Where a chain ends, as it is anchored outside."""

    number: int
    last: int
    hash: str
    sealed_at: str


@dataclass(frozen=True, slots=True)
class Anchor:
    """A head, and when it was anchored by the clock of that moment, which a block's own time may be ahead of."""

    head: Head
    anchored_at: str


def unhex(leaves: str) -> bytes:
    """Hashes as they are written. Raises ValueError, also for blanks between them, which Python would allow."""
    if not leaves.isalnum():
        raise ValueError("is not hex")
    return bytes.fromhex(leaves)


def root(leaves: bytes) -> str:
    """SHA-256 over all leaves, hex."""
    return hashlib.sha256(leaves).hexdigest()


def seal(texts: Sequence[bytes], before: Head | None, key: SigningKey, now: datetime) -> Block:
    """The next block after ``before``. Its time never lies before that of the last: a clock that was put back is not followed."""
    leaves = b"".join(map(leaf, texts))
    header = {
        "format": FORMAT, "number": before.number + 1 if before else 1, "previous": before.hash if before else NOTHING,
        "first": before.last + 1 if before else 1, "count": len(texts), "root": root(leaves),
        "sealed_at": max(moment(now), before.sealed_at if before else ""), "key": key.fingerprint,
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    return Block(text, leaves, key.sign(text))


def head_of(block: Block) -> Head:
    """The head that a chain has with this block."""
    return Head(block.number, block.last, block.hash, block.sealed_at)
