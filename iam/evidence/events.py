"""An event is its text: one line of ASCII JSON, written once, sealed, stored and handed out byte for byte.

Whoever verifies needs no canonical form of JSON, for nothing is ever rendered a second time.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

FIELDS = (
    "id", "at", "action", "result", "reason", "actor_name", "actor_id", "door", "address", "request_id",
    "target_kind", "target_name", "person", "case_id", "cluster", "details",
)  # fmt: skip
"""In the order of the text. ``person`` is whom it concerns, ``case_id`` the access request that it belongs to."""
LONGEST, MOST = 16_384, 1000
"""Characters of one value in the details, and values of one list; what is longer is cut and says so."""
_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
_LEAF = b"\x00"
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")


def text_of(facts: Mapping[str, Any]) -> str:
    """The text of a new event. Facts have exactly the FIELDS."""
    return _ENCODER.encode({field: _clean(facts[field]) for field in FIELDS})


def facts_of(text: str | bytes) -> dict[str, Any]:
    """The facts back. Raises ValueError for what is no event."""
    try:
        facts = json.loads(text)
    except RecursionError:
        raise ValueError("is nested too deeply for an event") from None
    if not isinstance(facts, dict) or not set(FIELDS) <= facts.keys():
        raise ValueError("is not the text of an event")
    return facts


def leaf(text: bytes) -> bytes:
    """The hash of one event: SHA-256 over a zero byte and the text (the leaves of RFC 9162, section 2.1.1)."""
    return hashlib.sha256(_LEAF + text).digest()


def moment(at: datetime) -> str:
    """``2026-11-22T21:35:17.123456Z``: always UTC, always microseconds, so that texts sort as times do (RFC 3339)."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def parsed_moment(text: str) -> datetime:
    """The aware time back. Raises ValueError."""
    if not _MOMENT.fullmatch(text):
        raise ValueError("is not a time as events write it")
    return datetime.fromisoformat(text)


def _clean(value: Any) -> Any:
    """What every database and every reader can hold: no NUL, no lone surrogates, no endless values."""
    if isinstance(value, str):
        if len(value) <= LONGEST and value.isascii() and "\0" not in value:
            return value
        whole = value[:LONGEST] + "…" if len(value) > LONGEST else value
        return whole.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, Mapping):
        return {_clean(str(key)): _clean(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        every = sorted(value) if isinstance(value, set | frozenset) else list(value)
        return [*map(_clean, every[:MOST]), *([f"… and {len(every) - MOST} more"] if len(every) > MOST else [])]
    return value
