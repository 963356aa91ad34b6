"""The chains that make_audit.py hands out: six events in three blocks, with fixed keys and times."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from iam.evidence import exports
from iam.evidence.blocks import Block, Head, head_of, seal
from iam.evidence.events import FIELDS, moment, parsed_moment, text_of
from iam.evidence.keys import Introduction, SigningKey

BEGINNING = datetime(2026, 11, 22, 21, 35, 17, 123456, UTC)
FIRST, SECOND, MALLORY = (SigningKey.from_hex(hashlib.sha256(name).hexdigest()) for name in (b"first", b"second", b"mallory"))
NAMED = [Introduction(FIRST.fingerprint, FIRST.public.hex()), FIRST.introduce(SECOND)]
Lines = list[bytes]


def at(days: float) -> datetime:
    """So long after the beginning."""
    return BEGINNING + timedelta(days=days)


def event(number: int, action: str, actor: str, **facts: Any) -> bytes:
    """One text."""
    told: dict[str, Any] = dict.fromkeys(FIELDS, "") | {"details": {}, "door": "page", "result": "done"}
    told |= {"id": f"{number:032x}", "at": at(5 * number), "action": action, "actor_name": actor, "request_id": f"{number:08x}"}
    return text_of(told | facts).encode()


EVENTS = [
    event(1, "login", "ada", address="10.0.0.7", target_kind="directory", target_name="local"),
    event(2, "mapping.created", "ada", target_kind="mapping", cluster="prod", details={"namespaces": ["shop"], "subject_kind": "group"}),
    event(3, "request.submitted", "erin", case_id="c0ffee", reason='"Grüße", \\ 你好 \u202e,"event":', details={"seconds": 3600}),
    event(4, "request.denied", "lee", person="erin", case_id="c0ffee", cluster="prod", result="refused", reason=',"leaves":"00"}'),
    event(5, "audit.key.rotated", "operator", door="cli", details={"key": SECOND.fingerprint, "introduced_by": FIRST.fingerprint}),
    event(6, "grant.ended", "lee", person="erin", case_id="c0ffee", cluster="prod", reason="=1+1"),
]
PRUNED = {"first": 1, "last": 2, "block": 1, "keep_days": 10}
"""Of the fifth event; the first block was old enough by then, the second was not."""
OTHER = event(4, "request.approved", "lee", person="erin", case_id="c0ffee", cluster="prod")
"""What Mallory would like to have stood there."""


def pruned(result: str = "done", **details: int) -> list[bytes]:
    """The events, and what retention announced in place of the fifth."""
    told = event(5, "audit.pruned", "kube-iam", result=result, door="worker", target_name="retention", details=PRUNED | details)
    return [*EVENTS[:4], told, EVENTS[5]]


def sealed(texts: Sequence[bytes], signers: Sequence[SigningKey] = (FIRST, FIRST, SECOND)) -> list[Block]:
    """Two events a block."""
    blocks: list[Block] = []
    for number, key in enumerate(signers):
        before = head_of(blocks[-1]) if blocks else None
        blocks.append(seal(texts[2 * number : 2 * number + 2], before, key, at(10 * number + 11)))
    return blocks


@dataclass
class Trail:
    """A chain, and how it is handed out."""

    texts: Sequence[bytes]
    signers: Sequence[SigningKey] = (FIRST, FIRST, SECOND)
    named: Sequence[Introduction] = ()
    begun: float = 60
    pruned: Mapping[str, Any] | None = None
    """As the manifest says it."""

    def facts(self, kind: str = "jsonl", wanted: Mapping[str, str] | None = None) -> dict[str, Any]:
        """What the first line says."""
        upto = 2 * len(self.signers)
        return {"export": "e" * 32, "kind": kind, "filter": dict(wanted or {}), "upto": upto, "begun_at": moment(at(self.begun))}

    def export(self, held: Iterable[int] = range(1, 7), wanted: Mapping[str, str] | None = None) -> Lines:
        """Its lines, with the events of these numbers."""
        facts, numbers = self.facts(wanted=wanted), set(held)
        lines = [exports.opening(facts, self.named or NAMED)]
        for block in sealed(self.texts, self.signers):
            inside = [seq for seq in range(block.first, block.last + 1) if seq in numbers]
            lines += [exports.event_line(seq, self.texts[seq - 1]) for seq in inside]
            if inside or not wanted:
                lines.append(exports.block_line(block))
        return closed(lines, facts, self.signers[-1], head_of(sealed(self.texts, self.signers)[-1]), self.pruned)

    def anchors(self) -> bytes:
        """All heads, as they were anchored."""
        blocks = sealed(self.texts, self.signers)
        return b"".join(exports.anchor_line(head_of(one), one.key, one.signature, parsed_moment(one.sealed_at)) for one in blocks)


def closed(lines: Lines, facts: Mapping[str, Any], key: SigningKey, head: Head, removed: Mapping[str, Any] | None) -> Lines:
    """With a manifest that tells the truth about these lines."""
    numbers = [exports.read_event(line)[0] for line in lines if exports.is_event(line)]
    text, signature = exports.manifest(said(facts, b"".join(lines), numbers, head) | {"pruned": removed}, key)
    return [*lines, exports.manifest_line(text, signature)]


def said(facts: Mapping[str, Any], content: bytes, numbers: Sequence[int], head: Head) -> dict[str, Any]:
    """What a manifest says."""
    first, last = (numbers[0], numbers[-1]) if numbers else (0, 0)
    return {
        **{name: facts[name] for name in ("export", "kind", "filter")}, "by": "ada", "begun_at": facts["begun_at"],
        "exported_at": moment(at(61)), "upto": facts["upto"], "first": first, "last": last, "events": len(numbers), "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(), "pruned": None,
        "head": {"number": head.number, "last": head.last, "hash": head.hash},
    }  # fmt: skip
