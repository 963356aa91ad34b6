"""One event as a line of ArcSight's Common Event Format.

Source: CEF Implementation Standard, document version 27 (https://www.microfocus.com/documentation/arcsight/
arcsight-smartconnectors-25.1/cef-implementation-standard/): chapter 1 for the header and the escaping, 2 for the keys
and their lengths, 3 for IPv6 addresses. Its lengths name no unit; they are read as characters before the escaping.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from iam.evidence.events import parsed_moment

PRODUCT = "kube-iam"
CUT = "…"
"""Stands at the end of a value of which the rest does not fit."""
ALARMS = frozenset({"emergency.opened", "review.overdue", "sync.stopped", "audit.forged", "audit.late"})
"""What somebody should look at today, whoever did it and however it ended."""
_DAILY = frozenset({"login", "logout", "session.ended", "cluster.probed", "cluster.reconciled", "request.commented", "notices.changed"})
_SEVERITIES = {"done": 3, "refused": 5, "failed": 6}
_LENGTHS = {"externalId": 40, "act": 63, "outcome": 63, **dict.fromkeys((f"cs{number}" for number in range(1, 7)), 4000)}
_LENGTH = 1023
_IN_HEADER = str.maketrans({"\\": r"\\", "|": r"\|"})
_IN_EXTENSION = str.maketrans({"\\": r"\\", "=": r"\=", "\n": r"\n", "\r": r"\r"})
_HIDDEN = re.compile(
    r"[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]"
)
"""Controls, line ends, lone surrogates, what turns the direction of writing, and what has no width."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def cef(seq: int, facts: Mapping[str, Any], *, version: str, about: str = "") -> str:
    """``CEF:0|kube-iam|kube-iam|1.0|grant.ended|Grant ended|3|rt=…``: one line, without its end.

    ``version`` is the product's, ``about`` a sentence for readers. Keys without a value are left out. No value can end its
    field or begin another: see ``visible`` for what CEF cannot carry, and CUT for what is longer than the standard allows.
    """
    action = facts["action"]
    header = ((PRODUCT, 63), (PRODUCT, 63), (version, 31), (action, 1023), (title(action), 512))
    fields = [within(text, most).translate(_IN_HEADER) for text, most in header]
    return "|".join(["CEF:0", *fields, str(severity(action, facts["result"])), _extension(_keys(seq, facts, about))])


def severity(action: str, result: str) -> int:
    """0 to 10: 8 for an alarm, 6 for what failed, 5 for what was refused, 3 for what was changed, 1 for daily life."""
    if action in ALARMS:
        return 8
    return 1 if result == "done" and action in _DAILY else _SEVERITIES.get(result, 6)


def title(action: str) -> str:
    """``grant.ended`` as ``Grant ended``."""
    return action.replace(".", " ").capitalize()


def milliseconds(at: str) -> int:
    """An event's time since 1970, rounded down. Raises ValueError."""
    return (parsed_moment(at) - _EPOCH) // timedelta(milliseconds=1)


def as_ip(address: str) -> IPv4Address | IPv6Address | None:
    """The address without its zone, or nothing if it is none."""
    try:
        return ip_address(address.partition("%")[0])
    except ValueError:
        return None


def visible(text: str, *, but: str = "") -> str:
    r"""The text with control and invisible characters as JSON writes them (``\u001b``), so that JSON still means the same."""
    return _HIDDEN.sub(lambda found: found[0] if found[0] in but else json.dumps(found[0])[1:-1], text)


def within(text: str, most: int, *, but: str = "") -> str:
    """The same with at most so many characters."""
    shown = visible(text[: most + 1], but=but)
    return shown if len(shown) <= most else shown[: most - len(CUT)] + CUT


def _keys(seq: int, facts: Mapping[str, Any], about: str) -> dict[str, str]:
    return {
        "rt": str(milliseconds(facts["at"])), "externalId": str(seq),
        "act": facts["result"], "outcome": "success" if facts["result"] == "done" else "failure", "reason": facts["reason"],
        "msg": about, "suser": facts["actor_name"], "suid": facts["actor_id"], **_source(facts["address"]), "duser": facts["person"],
        **_labelled(facts),
        "deviceFacility": facts["door"],  # at the end, where blanks after a value would be lost: it has none
    }  # fmt: skip


def _source(address: str) -> dict[str, str]:
    ip = as_ip(address)
    if ip is None:
        return {"shost": address}
    return {"src": str(ip)} if ip.version == 4 else {"c6a2": str(ip), "c6a2Label": "Source IPv6 Address"}


def _labelled(facts: Mapping[str, Any]) -> dict[str, str]:
    """``cs1`` to ``cs6``; a number always has the same label, whether or not those before it have a value."""
    texts = {
        "cluster": facts["cluster"], "target kind": facts["target_kind"], "target": facts["target_name"],
        "details": json.dumps(facts["details"], ensure_ascii=False, separators=(",", ":")) if facts["details"] else "",
        "case": facts["case_id"], "request": facts["request_id"],
    }  # fmt: skip
    numbered = [(f"cs{number}", label, text) for number, (label, text) in enumerate(texts.items(), 1) if text]
    return {key: value for name, label, text in numbered for key, value in ((name, text), (f"{name}Label", label))}


def _extension(keys: Mapping[str, str]) -> str:
    shown = {key: within(text, _LENGTHS.get(key, _LENGTH), but="\r\n") for key, text in keys.items() if text}
    return " ".join(f"{key}={text.translate(_IN_EXTENSION)}" for key, text in shown.items())
