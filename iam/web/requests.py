"""Asking for access: my requests and grants, a new request with all that it comes to, one request with its decision."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext as _
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response as AnyResponse

from iam import services
from iam.approval import stages, times
from iam.approval.scopes import WHOLE_CLUSTER
from iam.errors import NotFound, Problem
from iam.kube.role_words import allowances
from iam.models import AccessRequest
from iam.services.explorer import LOOKING
from iam.services.requests.asking import OVERLAP, Ask, Part
from iam.services.requests.cases import covers
from iam.services.requests.deciding import Verdict
from iam.services.requests.shown import Shown, digest
from iam.web.forms import listed, starting, typed
from iam.web.language import translated
from iam.web.visitors import actor, login_required

pages = Blueprint("requests", __name__, url_prefix="/requests")
FIELDS = ("entry", "namespaces", "whole", "how_long", "starts", "zone", "reason", "ticket", "extends")


@pages.get("")
@login_required
def index() -> str:
    """What I asked for, what I was granted, what I began to write."""
    ours = services.current()
    return render_template(
        "requests/index.html", requests=ours.requests.mine(actor()), grants=ours.grants.mine(actor()), drafts=ours.drafts.mine(actor()),
        offered=ours.requests.offered(actor()),
    )


@pages.route("/new", methods=["GET", "POST"])
@login_required
def new() -> str | AnyResponse | tuple[str, int]:
    """Choose, fill in, see what it comes to, send; or keep as a draft."""
    ours = services.current()
    fields = _fields(request.form) if request.method == "POST" else _prefilled()
    draft, error, field, status, parts = request.values.get("draft", ""), "", "", 422, None
    try:
        if request.method == "POST" and typed("step") == "draft":
            ours.drafts.keep(actor(), fields, draft)
            flash(_("Kept as a draft."))
            return redirect(url_for("requests.index"))
        if request.method == "POST":
            ask = _ask(fields)
            parts = ours.requests.preview(actor(), ask)
            if typed("step") == "send" and typed("seen") != _seal(fields, parts):
                error, status = _("This is not what you were shown before. Look at it, and ask for it then."), 409
            elif typed("step") == "send":
                made = ours.requests.submit(actor(), ask, draft=draft)
                waits = any(one.state == "pending" for one in made)
                flash(_("Asked. You are told when there is an answer.") if waits else _("Granted. It is there in a moment."))
                return redirect(url_for("requests.show", request_id=made[0].id) if len(made) == 1 else url_for("requests.index"))
    except Problem as problem:
        error, field, status, parts = translated(problem), problem.field or "", problem.status, None
    offered = ours.requests.offered(actor())
    entry = next(((one, clusters) for one, clusters in offered if one.name == fields["entry"]), None)
    page = render_template(
        "requests/new.html", offered=offered, entry=entry, fields=fields, error=error, field=field, parts=parts, draft=draft,
        seal=_seal(fields, parts) if parts else "",
        WHOLE_CLUSTER=WHOLE_CLUSTER, allowances=allowances, held=ours.holdings.of(ours.people.get(actor(), actor().person_id)),
    )
    return (page, status) if error else page


@pages.post("/drafts/<draft_id>/drop")
@login_required
def drop_draft(draft_id: str) -> AnyResponse:
    """Throw a draft away."""
    services.current().drafts.drop(actor(), draft_id)
    flash(_("Thrown away."))
    return redirect(url_for("requests.index"))


@pages.get("/<request_id>")
@login_required
def show(request_id: str) -> str:
    """One request, and what an approver needs to see of it."""
    return _page(services.current().decisions.get(actor(), request_id))


@pages.post("/<request_id>")
@login_required
def decide(request_id: str) -> str | AnyResponse | tuple[str, int]:
    """Yes, no, yes to less, a word, or taking it back. Nothing is decided by opening a link."""
    ours, step = services.current(), typed("step")
    try:
        if step == "cancel":
            ours.requests.cancel(actor(), request_id)
            flash(_("Taken back."))
        elif step == "comment":
            ours.decisions.comment(actor(), request_id, typed("comment"))
        else:
            done = ours.decisions.decide(actor(), request_id, _verdict(step))
            flash(_("Denied.") if step == "deny" else _("Approved. It is there in a moment.") if done.state == "approved" else _(
                "Approved. It waits for others now."
            ))
            return redirect(url_for("inbox.index"))
    except NotFound:
        raise
    except Problem as problem:
        return _page(ours.decisions.get(actor(), request_id), translated(problem), problem.field or ""), problem.status
    return redirect(url_for("requests.show", request_id=request_id))


def _page(found: AccessRequest, error: str = "", field: str = "") -> str:
    ours = services.current()
    decides = ours.decisions.may_decide(actor(), found)
    shown, gain, unread = _looked_at(found)
    grant = ours.grants.of_request(found.id)
    return render_template(
        "requests/show.html", it=found, error=error, field=field, decides=decides, shown=shown, gain=gain, unread=unread, grant=grant,
        digest=digest(found, found.rules_digest), changed=bool(shown and shown.digest != found.rules_digest), past=ours.cases.past(found),
        overlapping=ours.cases.overlapping(found), besides=ours.cases.open_besides(found), needs=ours.decisions.open_needs(found),
        allowances=allowances, covers=covers, stages=stages.parse(found.stages) if found.stages else (), typed=typed,
        chosen=request.form.getlist("namespaces"), looks=actor().has(*LOOKING), extended=ours.grants.extended_by(found),
        knows=decides or found.person_id == actor().person_id or actor().has(*LOOKING),
        may_revoke=bool(grant and grant.state != "ended" and ours.grants.may_revoke(actor(), grant)),
    )


def _looked_at(found: AccessRequest) -> tuple[Shown | None, Any, str]:
    """What it allows and adds, as long as it is open and the cluster answers; else why not."""
    ours = services.current()
    if found.state != "pending" or found.cluster is None:
        return None, None, ""
    try:
        shown = ours.decisions.shown(found)
        return shown, ours.cases.gain(actor(), found.person.username, found.cluster, shown), ""
    except Problem as problem:
        return None, None, translated(problem)


def _verdict(step: str) -> Verdict:
    asked = typed("how_long").strip()
    chosen = tuple(request.form.getlist("namespaces"))
    return Verdict(
        step, typed("digest"), typed("comment"), seconds=times.seconds_of(asked, field="how_long") if asked and step == "approve" else None,
        namespaces=chosen if typed("narrows") else None,
    )


def _seal(fields: dict[str, Any], parts: list[Part]) -> str:
    """Carried from what was shown to what is sent: the form, who would decide, and what the role allows."""
    shown = [[part.cluster.name, part.namespaces, part.rule.stages, part.shown.digest] for part in parts]
    return hashlib.sha256(json.dumps([fields, shown], sort_keys=True).encode()).hexdigest()


def _fields(form: MultiDict[str, str]) -> dict[str, Any]:
    return {name: form.get(name, "").strip() if name != "reason" else form.get(name, "") for name in FIELDS} | {
        "clusters": form.getlist("clusters")
    }


def _prefilled() -> dict[str, Any]:
    """From a draft, an earlier request, a grant to extend, or the address."""
    ours, given = services.current(), request.args
    empty = _fields(MultiDict(given))
    if given.get("draft"):
        kept = next((one for one in ours.drafts.mine(actor()) if one.id == given["draft"]), None)
        return empty | dict(kept.fields) if kept else empty
    if given.get("extend"):
        grant = ours.grants.own(actor(), given["extend"])
        return _of(replace(ours.requests.as_ask(grant.request), namespaces=tuple(grant.namespaces), extends=grant.id)) | {
            "starts": (grant.ends_at - OVERLAP).strftime("%Y-%m-%dT%H:%M") if grant.ends_at else "", "zone": "UTC",
        }
    if given.get("again"):
        return _of(ours.requests.as_ask(ours.requests.own(actor(), given["again"])))
    return empty


def _of(ask: Ask) -> dict[str, Any]:
    return {
        "entry": ask.entry, "clusters": list(ask.clusters), "namespaces": " ".join(ask.namespaces),
        "whole": "" if ask.namespaces else "yes", "how_long": times.words(ask.seconds), "starts": "", "zone": "",
        "reason": ask.reason, "ticket": ask.ticket, "extends": ask.extends,
    }


def _ask(fields: dict[str, Any]) -> Ask:
    return Ask(
        fields["entry"], tuple(fields["clusters"]), () if fields["whole"] else listed(fields["namespaces"]),
        times.seconds_of(fields["how_long"] or "1h", field="how_long"), starting(fields["starts"], fields["zone"]), fields["reason"],
        fields["ticket"], fields["extends"],
    )
