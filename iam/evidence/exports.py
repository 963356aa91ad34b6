"""The lines of an export that proves itself: what it is, events, each block after its events, and the manifest at the end.

Each line is JSON. What is hashed and signed stands in it byte for byte, so that nothing has to be rendered again:
an event between ``"event":`` and the last brace, a header between ``{"block":`` and ``,"leaves":``, a manifest between
``{"manifest":`` and ``,"signature":``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from iam.evidence.blocks import Anchor, Block, Head, unhex
from iam.evidence.events import moment, parsed_moment
from iam.evidence.keys import Introduction, SigningKey
from iam.evidence.strict import NotStrict, document, is_hash

FORMAT = "kube-iam audit export 1"
MANIFEST = "kube-iam audit manifest 1"
_EVENT, _EVENT_TEXT = b'{"seq":', b',"event":'
_BLOCK, _LEAVES, _SIGNATURE = b'{"block":', b',"leaves":"', b'","signature":"'
_MANIFEST, _MANIFEST_SIGNATURE = b'{"manifest":', b',"signature":"'
_SIGNED = re.compile(rb',"signature":"([0-9a-f]{128})"(?:,"keys":(\[.*\]))?\}\n')
_END = b'"}'


class NotAnExport(ValueError):
    """A line is not what it should be."""


def opening(facts: Mapping[str, Any], keys: Iterable[Introduction]) -> bytes:
    """The first line: what was asked for, and the public keys."""
    return _json({"format": FORMAT, **facts, "keys": [asdict(key) for key in keys]}) + b"\n"


def event_line(seq: int, text: bytes) -> bytes:
    """One event."""
    return b"%b%d%b%b}\n" % (_EVENT, seq, _EVENT_TEXT, text)


def block_line(block: Block) -> bytes:
    """One block, with the hashes of all of its events, whether the export holds these or not."""
    return b"".join([_BLOCK, block.header, _LEAVES, block.leaves.hex().encode(), _SIGNATURE, block.signature.encode(), _END, b"\n"])


def manifest(facts: Mapping[str, Any], key: SigningKey) -> tuple[bytes, str]:
    """The text of a manifest, and the signature over it."""
    text = _json({"format": MANIFEST, **facts, "key": key.fingerprint})
    return text, key.sign(text)


def manifest_line(text: bytes, signature: str, keys: Sequence[Introduction] = ()) -> bytes:
    """The last line, or a file of its own beside an export that cannot hold it; with the keys, if no opening has named them."""
    named = b',"keys":' + _json([asdict(key) for key in keys]) if keys else b""
    return b"".join([_MANIFEST, text, _MANIFEST_SIGNATURE, signature.encode(), b'"', named, b"}\n"])


def is_event(line: bytes) -> bool:
    """Whether an event stands on this line."""
    return line.startswith(_EVENT)


def is_block(line: bytes) -> bool:
    """Whether a block stands on this line."""
    return line.startswith(_BLOCK)


def is_manifest(line: bytes) -> bool:
    """Whether a manifest stands on this line."""
    return line.startswith(_MANIFEST)


def read_opening(line: bytes) -> tuple[dict[str, Any], list[Introduction]]:
    """The first line again. Raises NotAnExport."""
    facts = _read(line, {"format": str, "export": str, "kind": str, "filter": dict, "upto": int, "begun_at": str, "keys": list}, FORMAT)
    _moment(facts["begun_at"])
    return facts, _introductions(facts["keys"])


def read_event(line: bytes) -> tuple[int, bytes]:
    """The number and the text of an event. Raises NotAnExport."""
    cut = line.find(_EVENT_TEXT, 7, 40)
    number = line[7:cut]
    if cut < 0 or not number.isdigit() or len(number) > 18 or not line.endswith(b"}}\n"):
        raise NotAnExport("the line of an event is not whole")
    return int(number), line[cut + 9 : -2]


def read_block(line: bytes) -> Block:
    """A block. Raises NotAnExport."""
    header, leaves, rest = line.partition(_LEAVES)
    hashes, mark, signature = rest.partition(_SIGNATURE)
    if not leaves or not mark or not line.endswith(b'"}\n'):
        raise NotAnExport("the line of a block is not whole")
    try:
        return Block(header.removeprefix(_BLOCK), unhex(hashes.decode("ascii")), signature[:-3].decode("ascii"))
    except ValueError as error:
        raise NotAnExport("the line of a block is not whole") from error


def read_manifest(line: bytes) -> tuple[bytes, dict[str, Any], str, list[Introduction]]:
    """A manifest's text, its facts, its signature, and the keys if it names them. Only what is signed is read. Raises NotAnExport."""
    end = line.find(b"}" + _MANIFEST_SIGNATURE) + 1  # nowhere before, for a quote within a text is escaped
    signed = _SIGNED.fullmatch(line, end)
    if not line.startswith(_MANIFEST) or not end or not signed:
        raise NotAnExport("the manifest is not whole")
    text = line[len(_MANIFEST) : end]
    members = {"export": str, "kind": str, "filter": dict, "begun_at": str, "upto": int, "events": int, "bytes": int, "sha256": str}
    facts = _read(text, {"format": str, "key": str} | members, MANIFEST)
    if not is_hash(facts["key"]):
        raise NotAnExport("the manifest's key is none")
    named = _read(b'{"keys":%b}' % (signed[2] or b"[]"), {"keys": list})["keys"]
    return text, facts, signed[1].decode(), _introductions(named)


def anchor_line(head: Head, key: str, signature: str, now: datetime) -> bytes:
    """A head as it is anchored outside."""
    return _json({**asdict(head), "key": key, "signature": signature, "anchored_at": moment(now)}) + b"\n"


def read_anchor(line: bytes) -> Anchor:
    """One line of a file of anchors. Raises NotAnExport."""
    facts = _read(line, {"number": int, "last": int, "hash": str, "sealed_at": str, "anchored_at": str})
    return Anchor(Head(facts["number"], facts["last"], facts["hash"], facts["sealed_at"]), _moment(facts["anchored_at"]))


def _read(text: bytes, members: dict[str, type], form: str = "") -> dict[str, Any]:
    try:
        facts = document(text, members)
    except NotStrict as error:
        raise NotAnExport(f"a line cannot be read: {error}") from error
    if form and facts["format"] != form:
        raise NotAnExport(f"this does not say {form!r}")
    return facts


def _moment(text: str) -> str:
    try:
        parsed_moment(text)
    except ValueError:
        raise NotAnExport(f"{text[:40]!a} is no time") from None
    return text


def _introductions(found: list[Any]) -> list[Introduction]:
    names = {"key", "public", "introduced_by", "signature"}
    if not all(isinstance(one, dict) and one.keys() == names and all(isinstance(value, str) for value in one.values()) for one in found):
        raise NotAnExport("the keys are not named as they should be")
    return [Introduction(**one) for one in found]


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
