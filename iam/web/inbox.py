"""The inbox: what waits for me, the most urgent first; what is alike can be answered together. And the grants that run."""

from __future__ import annotations

from collections import Counter

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext as _
from werkzeug.wrappers import Response as AnyResponse

from iam import services
from iam.errors import Problem
from iam.services.requests.deciding import Verdict, alike
from iam.services.requests.shown import digest
from iam.web.forms import typed
from iam.web.language import translated
from iam.web.pages import address_of
from iam.web.visitors import actor, login_required

pages = Blueprint("inbox", __name__)


@pages.get("/inbox")
@login_required
def index() -> str:
    """Requests, and break-glass that waits for a second person or a review."""
    return _page()


@pages.post("/inbox")
@login_required
def decide() -> str | AnyResponse | tuple[str, int]:
    """The same answer to several that are alike, each to what was shown of it."""
    step = typed("step")
    chosen = [(one, Verdict(step, typed(f"digest-{one}"), typed("comment"))) for one in request.form.getlist("chosen")]
    try:
        results = services.current().decisions.decide_all(actor(), chosen)
    except Problem as problem:
        return _page(translated(problem)), problem.status
    wrong = {str(found): found for _id, found in results if found}
    done = sum(found is None for _id, found in results)
    if not done:
        first = next(iter(wrong.values()))
        return _page(translated(first)), first.status
    flash(_("%(count)s answered.", count=done))
    for found in wrong.values():
        flash(translated(found), "danger")
    return redirect(url_for("inbox.index"))


@pages.get("/grants")
@login_required
def grants() -> str:
    """Everybody's grants that run or will begin."""
    cluster = request.args.get("cluster", "").strip()
    return render_template("requests/grants.html", grants=services.current().grants.running(actor(), cluster), cluster=cluster)


@pages.post("/grants/<grant_id>/return")
@login_required
def give_back(grant_id: str) -> AnyResponse:
    """I need it no more."""
    grant = services.current().grants.give_back(actor(), grant_id)
    flash(_("Given back. It is gone in a moment."))
    return redirect(address_of(grant.request))


@pages.post("/grants/<grant_id>/revoke")
@login_required
def revoke(grant_id: str) -> AnyResponse:
    """Take it away."""
    grant = services.current().grants.revoke(actor(), grant_id, typed("reason"))
    flash(_("Revoked. It is gone in a moment."))
    return redirect(address_of(grant.request))


def _page(error: str = "") -> str:
    ours = services.current()
    found = ours.decisions.inbox(actor(), request.args.get("page", 1, type=int))
    kinds = Counter(map(alike, found.requests))
    return render_template(
        "requests/inbox.html", found=found, error=error, digest=digest, reviews=ours.emergencies.to_review(actor()),
        sealed=ours.emergencies.to_unseal(actor()), comment=typed("comment"), chosen=request.form.getlist("chosen"),
        alike_ones={one.id for one in found.requests if kinds[alike(one)] > 1},
    )
