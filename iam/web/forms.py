"""What several forms read alike: lists of names, durations, moments."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime

from flask import request

from iam.approval import times
from iam.errors import Problem
from iam.web.language import translated


def listed(text: str | None) -> tuple[str, ...]:
    """Names separated by blanks, commas or lines; ``(whole cluster)`` is none of them."""
    return tuple(filter(None, re.split(r"[\s,]+", text or "")))


def groups_listed(text: str | None) -> tuple[str, ...]:
    """Group references, a line each or separated by commas: their names may have blanks."""
    return tuple(filter(None, (one.strip() for one in re.split(r"[,\r\n]+", text or ""))))


def starting(text: str | None, zone: str | None) -> datetime | None:
    """A moment from a date-and-time field and a zone's name; None when left empty. Raises Invalid."""
    return times.moment(text, zone or "UTC") if text and text.strip() else None


def typed(name: str) -> str:
    """A field of the form that was sent."""
    return request.form.get(name, "")


def tried(action: Callable[[], object]) -> tuple[str, str, int]:
    """(what went wrong, at which field, the status) of doing it; an empty first part when it went well."""
    try:
        action()
    except Problem as problem:
        return translated(problem), problem.field or "", problem.status
    return "", "", 200
