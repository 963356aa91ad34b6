"""Mappings: list, write with a preview of who gains what, remove with a preview of who loses what."""

from __future__ import annotations

import re

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext as _
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response as AnyResponse
from wtforms import StringField

from iam import services
from iam.errors import Problem
from iam.services.access import NewMapping
from iam.web.language import translated
from iam.web.visitors import actor, login_required

pages = Blueprint("mappings", __name__, url_prefix="/mappings")
PAGE = 100


class MappingForm(FlaskForm):  # type: ignore[misc]  # Flask-WTF ships no types
    """A mapping as it is typed."""

    group = StringField()
    cluster = StringField()
    role_kind = StringField(default="ClusterRole")
    role_name = StringField()
    namespaces = StringField()
    subject_kind = StringField(default="User")
    note = StringField()


@pages.get("")
@login_required
def index() -> str:
    """All mappings, searched and in pages."""
    wanted = request.args.get("q", "").strip().lower()
    found = [
        mapping for mapping in services.current().access.mappings(actor())
        if wanted in f"{mapping.group.reference} {mapping.cluster.name} {mapping.role_name} {' '.join(mapping.namespaces)}".lower()
    ]
    pages_count = max(1, -(-len(found) // PAGE))
    page = min(max(1, request.args.get("page", 1, type=int)), pages_count)
    shown = found[(page - 1) * PAGE : page * PAGE]
    return render_template("mappings/index.html", mappings=shown, total=len(found), q=wanted, page=page, pages=pages_count)


@pages.route("/new", methods=["GET", "POST"])
@login_required
def new() -> str | AnyResponse | tuple[str, int]:
    """First shows the effect; saves when that was seen."""
    ours = services.current()
    form = MappingForm(request.form if request.method == "POST" else request.args)
    error, field, status, effect = "", "", 422, None
    ours.audit.require(actor(), "administrator", scope="write")
    if request.method == "POST" and form.validate():
        command = _command(form)
        try:
            if request.form.get("step") == "save":
                ours.access.create(actor(), command)
                flash(_("Saved. The cluster follows within seconds."))
                return redirect(url_for("mappings.index"))
            effect = ours.access.preview(actor(), command)
        except Problem as problem:
            error, field, status = translated(problem), problem.field or "", problem.status
    clusters = ours.clusters.list(actor())
    chosen = form.cluster.data or (clusters[0].name if len(clusters) == 1 else "")
    namespaces, roles = ours.clusters.choices(actor(), chosen) if any(one.name == chosen for one in clusters) else ((), ())
    page = render_template(
        "mappings/new.html", form=form, error=error, field=field, effect=effect, clusters=clusters, chosen=chosen, namespaces=namespaces,
        cluster_choices=[*([] if len(clusters) == 1 else [("", "–")]), *((one.name, one.label) for one in clusters)],
        roles=sorted({role.name for _namespace, role in roles if not role.name.startswith("system:")}),
        groups=ours.access.known_groups(actor()),
    )
    return (page, status) if error else page


@pages.route("/<mapping_id>/remove", methods=["GET", "POST"])
@login_required
def remove(mapping_id: str) -> str | AnyResponse:
    """Shows who loses what, and asks."""
    ours = services.current()
    if request.method == "POST":
        ours.access.remove(actor(), mapping_id)
        flash(_("Removed. The cluster follows within seconds."))
        return redirect(url_for("mappings.index"))
    effect = ours.access.preview_removal(actor(), mapping_id)
    return render_template("mappings/remove.html", mapping=ours.access.mapping(actor(), mapping_id), effect=effect)


def _command(form: MappingForm) -> NewMapping:
    namespaces = tuple(filter(None, re.split(r"[\s,]+", form.namespaces.data or "")))
    return NewMapping(
        group=(form.group.data or "").strip(), cluster=(form.cluster.data or "").strip(),
        role_kind=form.role_kind.data or "", role_name=(form.role_name.data or "").strip(),
        namespaces=namespaces, subject_kind=form.subject_kind.data or "", note=form.note.data or "",
    )
