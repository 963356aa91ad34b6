"""What people write for others to read: plain paragraphs, without what a terminal or a page could take for more."""

from __future__ import annotations

import re

from iam.errors import Invalid
from iam.kube.names import printable

MAX_REASON, MAX_COMMENT, MAX_TICKET, MAX_DESCRIPTION = 4000, 2000, 200, 2000
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])")
"""ANSI sequences (ECMA-48), with what belongs to them."""


def paragraphs(text: str, most: int, *, field: str) -> str:
    """The text with its line breaks, without control and invisible characters. Raises Invalid for one that is too long."""
    if len(text) > most:
        raise Invalid("This has %(length)s characters; at most %(most)s are kept.", field=field, length=len(text), most=most)
    lines = (printable(line, most) for line in _ESCAPES.sub("", text).replace("\r\n", "\n").replace("\r", "\n").split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def line(text: str, most: int, *, field: str) -> str:
    """The same on one line."""
    return " ".join(paragraphs(text, most, field=field).split())


def pattern(text: str, *, field: str) -> str:
    """A regular expression that can be used. Raises Invalid."""
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError):
        raise Invalid("%(text)r is not a regular expression.", field=field, text=text[:100]) from None
    if len(text) > 200 or re.search(r"[*+}]\)?[*+{]", text):
        raise Invalid("Keep the expression below 200 characters, and repeat nothing that repeats already.", field=field)
    return text
