"""JSON that is read in one way only: no name twice, no endless numbers or depths, members of the kinds that they should have."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

LARGEST_NUMBER = 2**63 - 1
_HASH = re.compile(r"[0-9a-f]{64}")


class NotStrict(ValueError):
    """Not what it should be; the text says why."""


def document(text: str | bytes, members: Mapping[str, type]) -> dict[str, Any]:
    """An object with at least these members, of these types. Raises NotStrict."""
    try:
        found = json.loads(text, object_pairs_hook=_once, parse_int=_number, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise NotStrict(str(error) if isinstance(error, NotStrict) else "this is not JSON") from None
    if not isinstance(found, dict):
        raise NotStrict("this is no JSON object")
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise NotStrict("there is half a character in it") from None
    for name, kind in members.items():
        if type(found.get(name)) is not kind:
            raise NotStrict(f"{name} is missing, or not what it should be")
    return found


def is_hash(text: object) -> bool:
    """Whether this is a SHA-256 in lower-case hex, as hashes and keys are written."""
    return isinstance(text, str) and bool(_HASH.fullmatch(text))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise NotStrict("a name stands twice in one object")
    return found


def _number(digits: str) -> int:
    if len(digits) > 19 or abs(int(digits)) > LARGEST_NUMBER:
        raise NotStrict("a number is too large")
    return int(digits)


def _refuse(constant: str) -> Any:
    raise NotStrict(f"{constant} is no JSON")
