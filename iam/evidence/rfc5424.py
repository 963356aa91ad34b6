"""One event as a syslog message (RFC 5424), without the framing of its transport."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from iam.evidence.cef import visible, within

# 32473 is the number that RFC 5612 keeps for examples: this product has no enterprise number of its own (RFC 5424, 7.2.2).
_OURS = "kube-iam@32473"
_SEVERITIES = {"failed": 3, "refused": 4, "done": 5}
"""Error, warning, notice (6.2.1)."""
_LAST_SEQUENCE = 2**31 - 1
_LONGEST = 255
"""Of a parameter: what is longer stands whole in the message, which a receiver that cuts would lose behind it."""
_IN_PARAMETER = str.maketrans({"\\": r"\\", '"': r"\"", "]": r"\]"})
_BOM = "\ufeff"


def message(seq: int, facts: Mapping[str, Any], text: str, *, host: str, app: str = "kube-iam", facility: int = 13) -> bytes:
    """``<109>1 2026-11-22T21:35:17.123456Z host kube-iam - grant.ended [meta …][kube-iam@32473 …] text``, on one line.

    ``facility`` lies between 0 and 23, 13 being the log of audits (6.2.1). ``text`` is the event's JSON or its CEF, which
    are kept as they are; in any other text control and invisible characters, line ends too, become visible as JSON writes
    them. It begins with a BOM if it is not ASCII (6.4).
    """
    priority = facility * 8 + _SEVERITIES[facts["result"]]
    header = [f"<{priority}>1", facts["at"], _name(host, 255), _name(app, 48), "-", _name(facts["action"], 32)]
    data = _element("meta", sequenceId=str((seq - 1) % _LAST_SEQUENCE + 1)) + _element(
        _OURS, seq=str(seq), action=facts["action"], actor=facts["actor_name"], result=facts["result"], cluster=facts["cluster"]
    )
    shown = visible(text)
    return f"{' '.join(header)} {data} {'' if shown.isascii() else _BOM}{shown}".encode()


def _name(text: str, most: int) -> str:
    """A field of the header: printable ASCII without blanks, or ``-`` (section 6)."""
    return re.sub(r"[^!-~]", "?", text[:most]) or "-"


def _element(name: str, **parameters: str) -> str:
    """Structured data (6.3.1), its values escaped (6.3.3)."""
    pairs = (f' {key}="{within(text, _LONGEST).translate(_IN_PARAMETER)}"' for key, text in parameters.items())
    return f"[{name}{''.join(pairs)}]"
