"""The lines of an export that proves itself: what it is, events, each block after its events, and the manifest at the end.

Each line is JSON. What is hashed and signed stands in it byte for byte, so that nothing has to be rendered again:
an event between ``"event":`` and the last brace, a header between ``{"block":`` and ``,"leaves":``, a manifest between
``{"manifest":`` and ``,"signature":``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from iam.evidence.blocks import Block, Head
from iam.evidence.keys import Introduction, SigningKey

FORMAT = "kube-iam audit export 1"
MANIFEST = "kube-iam audit manifest 1"
_EVENT, _EVENT_TEXT = b'{"seq":', b',"event":'
_BLOCK, _LEAVES, _SIGNATURE = b'{"block":', b',"leaves":"', b'","signature":"'
_MANIFEST, _MANIFEST_SIGNATURE = b'{"manifest":', b',"signature":"'
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
    """The last line; beside an export that cannot hold it, a file of its own, which also names the keys."""
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
    try:
        facts = json.loads(line)
        if facts["format"] != FORMAT:
            raise NotAnExport(f"the first line does not say {FORMAT!r}")
        return facts, [Introduction(**key) for key in facts["keys"]]
    except (ValueError, KeyError, TypeError) as error:
        raise NotAnExport(f"the first line does not say {FORMAT!r}") from error


def read_event(line: bytes) -> tuple[int, bytes]:
    """The number and the text of an event. Raises NotAnExport."""
    cut = line.find(_EVENT_TEXT, 7, 40)
    number = line[7:cut]
    if cut < 0 or not number.isdigit() or not line.endswith(b"}}\n"):
        raise NotAnExport("the line of an event is not whole")
    return int(number), line[cut + 9 : -2]


def read_block(line: bytes) -> Block:
    """A block. Raises NotAnExport."""
    header, leaves, rest = line.partition(_LEAVES)
    hashes, mark, signature = rest.partition(_SIGNATURE)
    if not leaves or not mark or not line.endswith(b'"}\n'):
        raise NotAnExport("the line of a block is not whole")
    try:
        return Block(header.removeprefix(_BLOCK), bytes.fromhex(hashes.decode("ascii")), signature[:-3].decode("ascii"))
    except ValueError as error:
        raise NotAnExport("the line of a block is not whole") from error


def read_manifest(line: bytes) -> tuple[bytes, dict[str, Any], str, list[Introduction]]:
    """A manifest's text, its facts, its signature, and the keys if it names them. Raises NotAnExport."""
    try:
        whole = json.loads(line)
        facts = whole["manifest"]
        if facts["format"] != MANIFEST:
            raise NotAnExport(f"the manifest does not say {MANIFEST!r}")
        text = line.removeprefix(_MANIFEST).rpartition(_MANIFEST_SIGNATURE + whole["signature"].encode())[0]
        return text, facts, str(whole["signature"]), [Introduction(**key) for key in whole.get("keys", ())]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotAnExport("the manifest cannot be read") from error


def anchor_line(head: Head, key: str, signature: str) -> bytes:
    """A head as it is anchored outside."""
    return _json({**asdict(head), "key": key, "signature": signature}) + b"\n"


def read_anchor(line: bytes) -> Head:
    """One line of a file of anchors. Raises NotAnExport."""
    try:
        facts = json.loads(line)
        return Head(int(facts["number"]), int(facts["last"]), str(facts["hash"]), str(facts["sealed_at"]))
    except (ValueError, KeyError, TypeError) as error:
        raise NotAnExport("a line is no anchor") from error


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
