"""Durations and moments as people write them: ``90m``, ``8h``, ``2d 12h``; a local time in a named zone, or RFC 3339."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, available_timezones

from iam.errors import Invalid

MINUTE, HOUR, DAY = 60, 3600, 86400
LEAST, MOST = 5 * MINUTE, 365 * DAY
_UNITS = {"m": MINUTE, "min": MINUTE, "h": HOUR, "d": DAY, "w": 7 * DAY}
_PART = re.compile(r"(\d{1,6})\s*(min|[mhdw])")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:[Zz]|[+-]\d\d:\d\d)?", re.ASCII)
_ALL = re.compile(rf"(?:{_PART.pattern}\s*)+")


def seconds_of(text: str, *, field: str, least: int = LEAST, most: int = MOST) -> int:
    """A duration in seconds. Raises Invalid for what is none, or lies outside of the limits."""
    given = text.strip().lower()
    if not given or len(given) > 40 or not _ALL.fullmatch(given):
        raise Invalid("Write how long as 90m, 8h or 2d.", field=field)
    seconds = sum(int(count) * _UNITS[unit] for count, unit in _PART.findall(given))
    return check(seconds, field=field, least=least, most=most)


def check(seconds: int, *, field: str, least: int = LEAST, most: int = MOST) -> int:
    """The same seconds. Raises Invalid outside of the limits."""
    if not least <= seconds <= most:
        raise Invalid("This lies between %(least)s and %(most)s.", field=field, least=words(least), most=words(most))
    return seconds


def words(seconds: int) -> str:
    """``2d 12h``: what ``seconds_of`` reads, to the minute."""
    parts = []
    for unit, size in (("d", DAY), ("h", HOUR), ("m", MINUTE)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts) or "0m"


def moment(text: str, zone: str = "UTC", *, field: str = "starts_at") -> datetime:
    """A moment in UTC from ``2026-03-29T09:30`` in a zone, or from RFC 3339 with an offset of its own.

    Raises Invalid for a local time that does not exist (clocks go forward) or exists twice (clocks go back).
    """
    text = text.strip()
    if not _MOMENT.fullmatch(text):
        raise _unclear(field)
    try:
        found = datetime.fromisoformat(text.upper())
        if found.tzinfo:
            return found.astimezone(UTC)
        if zone not in available_timezones():
            raise Invalid("There is no time zone %(zone)s.", field=field, zone=zone[:60])
        here = ZoneInfo(zone)
        early, late = (found.replace(tzinfo=here, fold=fold) for fold in (0, 1))
        first, second = early.astimezone(UTC), late.astimezone(UTC)
        is_real = first.astimezone(here).replace(tzinfo=None) == found
    except (ValueError, OverflowError):
        raise _unclear(field) from None
    if not is_real:
        raise Invalid("%(text)s does not exist in %(zone)s: clocks go forward then.", field=field, text=text, zone=zone)
    if first != second:
        detail = "minutes" if len(text) == len("2026-01-31T09:30") else "auto"
        raise Invalid(
            "%(text)s happens twice in %(zone)s, because clocks go back then. Write it with an offset: %(first)s or %(second)s.",
            field=field, text=text, zone=zone, first=early.isoformat(timespec=detail), second=late.isoformat(timespec=detail),
        )
    return first


def _unclear(field: str) -> Invalid:
    return Invalid("Write the moment as 2026-01-31T09:30, or with an offset: 2026-01-31T09:30+01:00.", field=field)
