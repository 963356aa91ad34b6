"""What people write for others to read: plain paragraphs, without what a terminal or a page could take for more."""

from __future__ import annotations

import re

import re2

from iam.errors import Invalid
from iam.kube.names import printable

MAX_REASON, MAX_COMMENT, MAX_TICKET, MAX_DESCRIPTION = 4000, 2000, 200, 2000
MAX_PATTERN = 200
_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)?|[PX^_][^\x1b\x9c\n]*(?:\x1b\\|\x9c)?|[ -/]+[0-~]|[0-~])"
    r"|\x9b[0-?]*[ -/]*[@-~]|\x9d[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)?"
)
"""ANSI sequences (ECMA-48), with what belongs to them; one that does not end is over with its line."""
_LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")


def paragraphs(text: str, most: int, *, field: str) -> str:
    """The text with its line breaks, without control and invisible characters. Raises Invalid for one that is too long."""
    text = _LINE_ENDS.sub("\n", text)
    if len(text) > most:
        raise Invalid("This has %(length)s characters; at most %(most)s are kept.", field=field, length=len(text), most=most)
    lines = (printable(line, most) for line in _ESCAPES.sub("", text).replace("\t", " ").split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def line(text: str, most: int, *, field: str) -> str:
    """The same on one line."""
    return " ".join(paragraphs(text, most, field=field).split())


def pattern(text: str, *, field: str) -> str:
    """A regular expression that can be used, in RE2's syntax: its matching takes linear time, whatever is written. Raises Invalid."""
    if len(text) > MAX_PATTERN:
        raise Invalid("Keep the expression within %(most)s characters.", field=field, most=MAX_PATTERN)
    try:
        _compiled(text)
    except (re2.error, UnicodeError):
        raise Invalid("%(text)r is not a regular expression in RE2's syntax.", field=field, text=text[:100]) from None
    return text


def matches(text: str, wanted: str) -> bool:
    """Whether the whole text is as a pattern wants it."""
    return _compiled(wanted).fullmatch(text) is not None


def _compiled(text: str) -> re2._Regexp:
    options = re2.Options()
    options.log_errors, options.dot_nl = False, True
    return re2.compile(text, options)
