"""CSV that a spreadsheet opens without being told what to compute.

A cell that begins with ``= + - @``, a tab or a carriage return is a formula to spreadsheets; it gets an apostrophe in
front (OWASP, CSV Injection). Every cell is quoted, and quotes in cells are doubled (RFC 4180), so a quote, a comma, a
quote and one of these signs are the beginning of a cell wherever they stand.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_FORMULA = re.compile(rb'","(?=[=+\-@\t\r])')
_TEXT, _DETAILS, _END = b',"{""', b'""details"":', b'}"\n'
"""Where the last cell begins, where in it the details do, and how it ends. Quotes in cells are doubled, so these stand nowhere else:
only other cells may begin as the last one does, and only within the details may there be others. What somebody has put in the place
of a text stands there as it is.
"""


def heading(names: tuple[str, ...]) -> bytes:
    """The first row."""
    return ",".join(f'"{name}"' for name in names).encode() + b"\r\n"


def row(quoted: bytes) -> bytes:
    """A row of quoted cells, the first a number and the last an event's text, of which the details are kept."""
    text = quoted.rfind(_TEXT) + 2
    details = quoted.find(_DETAILS, text)
    is_event = text > 1 and details > 0 and quoted.endswith(_END)
    return b'%b%b"\r\n' % ((quoted[:text], quoted[details + len(_DETAILS) : -len(_END)]) if is_event else (quoted[:-2], b""))


def page(rows: Iterable[bytes]) -> bytes:
    """Rows, one after the other, made safe."""
    return _FORMULA.sub(b"\",\"'", b"".join(rows))
