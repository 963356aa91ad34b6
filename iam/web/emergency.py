"""Break-glass: the doors that I am named for, opening one, the second person's part, the review; and writing doors."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext as _
from werkzeug.wrappers import Response as AnyResponse

from iam import services
from iam.approval import times
from iam.errors import Invalid, Problem
from iam.models import EmergencyDoor
from iam.services.requests.doors import NewDoor
from iam.services.requests.emergency import Opening
from iam.web.forms import groups_listed, listed, tried, typed
from iam.web.language import translated
from iam.web.visitors import actor, login_required

pages = Blueprint("emergency", __name__, url_prefix="/emergency")
DOOR = {"name": "", "title": "", "description": "", "role_kind": "ClusterRole", "role_name": "", "clusters": "", "namespaces": "",
        "groups": "", "tell": "", "reviewers": "", "longest": "1h", "review_within": "1d", "is_sealed": ""}


@pages.get("")
@login_required
def index() -> str:
    """My doors, and what was opened."""
    return _index()


@pages.post("")
@login_required
def open_door() -> AnyResponse | tuple[str, int]:
    """Open one: with a reason, and the password once more."""
    try:
        seconds = times.seconds_of(typed("how_long") or "30m", field="how_long")
        opening = Opening(typed("door"), typed("cluster"), seconds, typed("reason"), typed("password"))
        found = services.current().emergencies.open(actor(), opening)
    except Problem as problem:
        return _index(translated(problem), problem.field or ""), problem.status
    return redirect(url_for("emergency.show", request_id=found.id))


@pages.get("/<request_id>")
@login_required
def show(request_id: str) -> str:
    """One opening."""
    return _page(request_id)


@pages.post("/<request_id>")
@login_required
def act(request_id: str) -> str | AnyResponse | tuple[str, int]:
    """The second person's part, taking it back, or the review."""
    ours, step = services.current(), typed("step")
    try:
        if step == "unseal":
            ours.emergencies.unseal(actor(), request_id, typed("password"))
            flash(_("Opened. It is there in a moment."))
        elif step == "cancel":
            ours.requests.cancel(actor(), request_id)
            flash(_("Taken back."))
        elif step == "review":
            ours.emergencies.review(actor(), request_id, typed("verdict"), typed("review"))
            flash(_("Reviewed."))
        else:
            raise Invalid("There is nothing to do.")
    except Problem as problem:
        return _page(request_id, translated(problem), problem.field or ""), problem.status
    return redirect(url_for("emergency.show", request_id=request_id))


@pages.get("/doors")
@login_required
def doors() -> str:
    """All doors."""
    return render_template("emergency/doors.html", doors=services.current().doors.listed(actor()))


@pages.route("/doors/new", methods=["GET", "POST"])
@pages.route("/doors/<name>", methods=["GET", "POST"])
@login_required
def door(name: str = "") -> str | AnyResponse | tuple[str, int]:
    """Write a door."""
    ours, is_sent = services.current(), request.method == "POST"
    ours.audit.require(actor(), "administrator", scope="write")
    sent: dict[str, Any] = {known: typed(known) for known in DOOR}
    fields = sent if is_sent else _fields(ours.doors.get(actor(), name)) if name else dict(DOOR)
    error, field, status = "", "", 200
    if is_sent:
        removes = typed("step") == "remove"
        error, field, status = tried(
            lambda: ours.doors.remove(actor(), name) if removes else ours.doors.save(actor(), _door(fields), name=name)
        )
        if not error:
            flash(_("Removed.") if removes else _("Saved."))
            return redirect(url_for("emergency.doors"))
    page = render_template(
        "emergency/door.html", name=name, fields=fields, error=error, field=field, groups=ours.access.known_groups(actor()),
        clusters=ours.clusters.list(actor()),
    )
    return page, status


def _index(error: str = "", field: str = "") -> str:
    ours = services.current()
    return render_template(
        "emergency/index.html", doors=ours.emergencies.open_to(actor()), openings=ours.emergencies.openings(actor()), error=error,
        field=field, typed=typed,
    )


def _page(request_id: str, error: str = "", field: str = "") -> str:
    ours = services.current()
    found = ours.emergencies.get(actor(), request_id)
    grant = ours.grants.of_request(found.id)
    may_unseal = any(one.id == found.id for one in ours.emergencies.to_unseal(actor()))
    return render_template(
        "emergency/show.html", it=found, grant=grant, error=error, field=field, may_review=ours.emergencies.may_review(actor(), found),
        typed=typed, may_unseal=may_unseal, may_revoke=bool(grant and grant.state != "ended" and ours.grants.may_revoke(actor(), grant)),
    )


def _door(fields: dict[str, Any]) -> NewDoor:
    plain = ("name", "title", "description", "role_kind", "longest", "review_within")
    groups: dict[str, Any] = {name: groups_listed(fields[name]) for name in ("groups", "tell", "reviewers")}
    return NewDoor(
        **{name: fields[name] for name in plain}, **groups, role_name=fields["role_name"].strip(), clusters=listed(fields["clusters"]),
        namespaces=listed(fields["namespaces"]), is_sealed=bool(fields["is_sealed"]),
    )


def _fields(found: EmergencyDoor) -> dict[str, Any]:
    plain = ("name", "title", "description", "role_kind", "role_name")
    groups = {name: "\n".join(getattr(found, name)) for name in ("groups", "tell", "reviewers")}
    return {name: getattr(found, name) for name in plain} | groups | {
        "clusters": " ".join(found.clusters), "namespaces": " ".join(found.namespaces), "longest": times.words(found.longest_seconds),
        "review_within": times.words(found.review_seconds), "is_sealed": "yes" if found.is_sealed else "",
    }
