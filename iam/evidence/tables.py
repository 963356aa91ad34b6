"""CSV that a spreadsheet opens without being told what to compute.

A cell that begins with ``= + - @``, a tab or a carriage return is a formula to spreadsheets; it gets an apostrophe in
front (OWASP, CSV Injection). Every cell is quoted, and quotes in cells are doubled (RFC 4180), so a quote, a comma, a
quote and one of these signs are the beginning of a cell wherever they stand.
"""

from __future__ import annotations

import re

_FORMULA = re.compile(rb'","(?=[=+\-@\t\r])')
_END = b'}}"\n'
"""The last cell is the details' end of an event's text, with the brace that closes the text."""


def heading(names: tuple[str, ...]) -> bytes:
    """The first row."""
    return ",".join(f'"{name}"' for name in names).encode() + b"\r\n"


def rows(page: bytes) -> bytes:
    """Rows of quoted cells, the first a number and the last the rest of an event's text, made safe."""
    return _FORMULA.sub(b"\",\"'", page).replace(_END, b'}"\r\n')
