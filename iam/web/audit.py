"""The audit list."""

from __future__ import annotations

from flask import Blueprint, render_template, request

from iam import services
from iam.services.audit import PAGE, Event, Filter
from iam.web.visitors import actor, login_required

pages = Blueprint("audit", __name__, url_prefix="/audit")


@pages.get("")
@login_required
def index() -> str:
    """Newest first, filtered, older ones by a link."""
    fields = {name: request.args.get(name, "").strip() for name in ("actor", "action", "target", "cluster", "result")}
    events = services.current().audit.list(actor(), Filter.asked(fields | {"before": request.args.get("before", type=int)}))
    older = events[-1].id if len(events) == PAGE else None
    return render_template("audit/index.html", events=events, fields=fields, older=older, actions=list(Event))
