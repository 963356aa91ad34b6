"""How everything is: clusters, directories, the last runs."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, url_for
from flask_babel import gettext as _
from werkzeug.wrappers import Response as AnyResponse

from iam import services
from iam.web.visitors import actor, login_required

pages = Blueprint("status", __name__, url_prefix="/status")


@pages.get("")
@login_required
def index() -> str:
    """Everything at one glance."""
    ours = services.current()
    syncs = {state.directory: state for state in ours.sync.states(actor())}
    return render_template(
        "status/index.html", states=ours.reconciler.states(actor()), syncs=syncs, directories=ours.world.settings.directories,
        syncable=ours.sync.names(), counts=ours.access.counts(), settings=ours.world.settings,
    )


@pages.post("/sync/<directory>")
@login_required
def sync(directory: str) -> AnyResponse:
    """Re-read one directory now."""
    synced = services.current().sync.run(actor(), directory)
    if synced.alarm:
        flash(synced.alarm, "danger")
    else:
        flash(_("%(name)s: %(people)d people read, %(gone)d gone.", name=directory, people=synced.people, gone=synced.gone))
    return redirect(url_for("status.index"))
