"""What I am mailed about; and for administrators, the webhooks and what was sent lately."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext as _
from werkzeug.wrappers import Response as AnyResponse

from iam import services
from iam.errors import Problem, Unavailable
from iam.services.telling.notices import ALWAYS, Told
from iam.services.telling.webhooks import NewWebhook
from iam.web.forms import typed
from iam.web.language import translated
from iam.web.visitors import actor, login_required

pages = Blueprint("notifications", __name__, url_prefix="/notifications")


@pages.get("")
@login_required
def index() -> str:
    """My mails, and the webhooks."""
    return _page()


@pages.post("")
@login_required
def choose() -> AnyResponse:
    """Mail me about these."""
    wanted = set(request.form.getlist("events"))
    services.current().notices.mute(actor(), [event for event in Told if event not in ALWAYS and event not in wanted])
    flash(_("Saved."))
    return redirect(url_for("notifications.index"))


@pages.post("/webhooks")
@login_required
def new_webhook() -> str | tuple[str, int]:
    """Its secret is shown on the answer to this request and never again."""
    command = NewWebhook(typed("name"), typed("url"), typed("format"), tuple(request.form.getlist("events")))
    try:
        _webhook, secret = services.current().webhooks.create(actor(), command)
    except Problem as problem:
        return _page(translated(problem), problem.field or ""), problem.status
    return _page(secret=secret)


@pages.post("/webhooks/<name>")
@login_required
def change_webhook(name: str) -> AnyResponse:
    """Try it, or forget it."""
    ours = services.current()
    if typed("step") == "remove":
        ours.webhooks.remove(actor(), name)
        flash(_("Removed."))
        return redirect(url_for("notifications.index"))
    try:
        ours.webhooks.test(actor(), name)
        flash(_("It answered as it should."))
    except Unavailable as problem:
        flash(translated(problem), "danger")
    return redirect(url_for("notifications.index"))


def _page(error: str = "", field: str = "", secret: str = "") -> str:
    ours, watches = services.current(), actor().has("administrator", "auditor")
    return render_template(
        "notifications/index.html", error=error, field=field, secret=secret, events=list(Told), always=ALWAYS,
        muted=ours.notices.muted(actor()), webhooks=ours.webhooks.listed(actor()) if watches else (),
        sent=ours.outbox.latest(actor()) if watches else (), watches=watches, typed=_nothing if secret else typed,
        chosen=request.form.getlist("events"),
        mails=bool(ours.world.settings.mail.host), email=ours.people.get(actor(), actor().person_id).email,
    )


def _nothing(_name: str) -> str:
    """What a form shows after it was taken: an address that is a secret is not repeated."""
    return ""
