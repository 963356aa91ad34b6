"""Events in words: one headline each, in the reader's language."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask_babel import gettext as _

from iam.approval import times
from iam.approval.scopes import WHOLE_CLUSTER


def headline(event: str, facts: Mapping[str, Any]) -> str:
    """What happened, in one line. Works without a request, inside ``force_locale``."""
    known = {
        "request.waits": _("%(requester_name)s asks for %(title)s in %(cluster)s"),
        "request.changed": _("Something changed, so %(title)s in %(cluster)s is asked again"),
        "request.commented": _("%(by)s wrote about %(title)s in %(cluster)s"),
        "request.approved": _("Approved: %(title)s in %(cluster)s"),
        "request.denied": _("Denied: %(title)s in %(cluster)s"),
        "request.cancelled": _("%(requester_name)s took back the request for %(title)s in %(cluster)s"),
        "request.lapsed": _("Nobody answered in time: %(title)s in %(cluster)s"),
        "request.closed": _("Closed: %(title)s in %(cluster)s"),
        "grant.applied": _("You can use it now: %(title)s in %(cluster)s"),
        "grant.ending": _("Ends soon: %(title)s in %(cluster)s"),
        "grant.revoked": _("Revoked: %(title)s in %(cluster)s"),
        "grant.gone": _("Over: %(title)s in %(cluster)s"),
        "emergency.waits": _("Break-glass: %(requester_name)s asks a second person to open %(title)s in %(cluster)s"),
        "emergency.opened": _("Break-glass: %(requester_name)s took %(title)s in %(cluster)s"),
        "review.due": _("Please review: %(requester_name)s took %(title)s in %(cluster)s"),
        "review.overdue": _("Overdue: the review of %(title)s in %(cluster)s, taken by %(requester_name)s"),
        "review.done": _("Reviewed: %(title)s in %(cluster)s, taken by %(requester_name)s"),
    }
    return str(known[event]) % _safe(facts)


def lines(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(label, value) of what a reader wants to know; empty values are left out."""
    found = [
        (_("Who"), f"{facts.get('requester_name', '')} ({facts.get('requester', '')})"),
        (_("Role"), str(facts.get("role", ""))),
        (_("Cluster"), str(facts.get("cluster", ""))),
        (_("Where"), _less(_where(facts, "namespaces"), _where(facts, "asked_namespaces"))),
        (_("How long"), _less(_span(facts, "seconds"), _span(facts, "asked_seconds"))),
        (_("Until"), str(facts.get("until", "")).replace("T", " ")[:16] + " UTC" if facts.get("until") else ""),
        (_("Why"), str(facts.get("reason", ""))),
        (_("Ticket"), str(facts.get("ticket", ""))),
        (_("Dangerous in it"), ", ".join(facts.get("risks") or [])),
        (_("By"), str(facts.get("by", ""))),
        (_("Comment"), str(facts.get("comment", "") or facts.get("why", ""))),
    ]
    return [(str(label), value) for label, value in found if value]


def _where(facts: Mapping[str, Any], name: str) -> str:
    return ", ".join(facts.get(name, facts.get("namespaces")) or [WHOLE_CLUSTER])


def _span(facts: Mapping[str, Any], name: str) -> str:
    return times.words(int(facts.get(name, facts.get("seconds", 0))))


def _less(given: str, asked: str) -> str:
    """What was given, and what was asked for where that was more."""
    return given if given == asked else f"{given} ({_('asked: %(time)s', time=asked)})"


def _safe(facts: Mapping[str, Any]) -> dict[str, str]:
    """Every value that a headline names, on one line."""
    named = ("requester_name", "title", "cluster", "by")
    return {name: " ".join(str(facts.get(name, "")).split()) for name in named}
