"""Events as sentences, in the reader's language."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import groupby
from textwrap import shorten
from typing import Any

from flask_babel import gettext as _

from iam.models import AuditEvent
from iam.services.audit import Event
from iam.services.audit.vocabulary import ALARMS

FAMILIES = sorted({one.value.partition(".")[0] + "." for one in Event if "." in one.value})
"""What the events of one kind begin with."""
_KNOWN = {one.value: one for one in Event}


def sentence(event: AuditEvent) -> str:
    """What happened, or what somebody tried."""
    try:
        known = _KNOWN[event.action]
    except KeyError:  # of a newer version, before somebody went back
        return f"{event.action}: {event.target_name}"
    values: dict[str, str] = defaultdict(lambda: "–")
    values |= {name: _plain(value) for name, value in event.details.items()}
    values |= {"actor": event.actor_name, "target": event.target_name or "–", "cluster": event.cluster or "–"}
    values["person"] = event.person or event.actor_name
    said = str(_(known.sentence)) % values
    if known in ALARMS:
        return said
    if event.result == "refused":
        said = str(_("Refused: %(what)s", what=said))
    return str(_("Failed: %(what)s", what=said)) if event.result == "failed" else said


def by_day(events: Iterable[AuditEvent]) -> Iterator[tuple[str, list[AuditEvent]]]:
    """(2026-11-22, its events) as they come."""
    for day, found in groupby(events, key=lambda event: event.at.strftime("%Y-%m-%d")):
        yield day, list(found)


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return shorten(", ".join(map(str, value)), 160, placeholder=" …") or "–"
    return str(value)[:200]
