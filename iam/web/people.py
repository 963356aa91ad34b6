"""People: search, one person with what they hold and why, disable and enable."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext as _
from werkzeug.wrappers import Response as AnyResponse

from iam import services
from iam.services.audit import Filter
from iam.web.audit_words import by_day, sentence
from iam.web.visitors import actor, login_required

pages = Blueprint("people", __name__, url_prefix="/people")


@pages.get("")
@login_required
def index() -> str:
    """Everybody, searched and in pages."""
    text = request.args.get("q", "")
    found = services.current().people.search(actor(), text, request.args.get("page", 1, type=int))
    return render_template("people/index.html", found=found, q=text)


@pages.get("/<person_id>")
@login_required
def show(person_id: str) -> str:
    """One person."""
    ours = services.current()
    person = ours.people.get(actor(), person_id)
    events = ours.audit.list(actor(), Filter(person=person.username, limit=10)) if actor().has("administrator", "auditor") else []
    return render_template(
        "people/show.html", person=person, roles=sorted(ours.people.roles_of(person)), holdings=ours.holdings.of(person),
        days=list(by_day(events)), sentence=sentence,
    )


@pages.post("/<person_id>/disable")
@login_required
def disable(person_id: str) -> AnyResponse:
    """Shut out now."""
    person = services.current().people.disable(actor(), person_id)
    flash(_("%(name)s is shut out: sessions and tokens ended, bindings go within seconds.", name=person.display_name))
    return redirect(url_for("people.show", person_id=person_id))


@pages.post("/<person_id>/enable")
@login_required
def enable(person_id: str) -> AnyResponse:
    """Let in again."""
    person = services.current().people.enable(actor(), person_id)
    flash(_("%(name)s may log in again.", name=person.display_name))
    return redirect(url_for("people.show", person_id=person_id))
