"""The audit trail: a timeline that is searched, one event, one story, and the evidence: chain, keys, exports."""

from __future__ import annotations

from flask import Blueprint, Response, render_template, request

from iam import services
from iam.errors import Problem
from iam.services.audit import PAGE, Event, Filter
from iam.services.audit.exporting import KINDS
from iam.services.audit.filters import TEXTS
from iam.services.streaming import Steps
from iam.web.audit_words import FAMILIES, by_day, sentence
from iam.web.downloads import attachment
from iam.web.language import translated
from iam.web.visitors import actor, login_required
from iam.zipped import compressed

pages = Blueprint("audit", __name__, url_prefix="/audit")
FIELDS = (*TEXTS, "since", "until")
MIME = {"jsonl": "application/jsonl", "csv": "text/csv", "cef": "text/plain", "ocsf": "application/jsonl"}


@pages.get("")
@login_required
def index() -> tuple[str, int]:
    """Newest first, filtered, older ones by a link."""
    ours, fields, error, status = services.current(), _fields(), "", 200
    try:
        events = ours.audit.list(actor(), Filter.asked(fields | {"before": request.args.get("before")}))
    except Problem as problem:
        events, error, status = [], translated(problem), problem.status
    older = events[-1].id if len(events) == PAGE else None
    state = ours.chain.state(actor()) if actor().has("auditor", "administrator") else None
    page = render_template(
        "audit/index.html", days=list(by_day(events)), fields=fields, older=older, actions=[one.value for one in Event], families=FAMILIES,
        sentence=sentence, error=error, state=state, carried={name: value for name, value in fields.items() if value},
    )
    return page, status


@pages.get("/events/<row>")
@login_required
def event(row: str) -> str:
    """One event: in words, as it is sealed, and what else happened then."""
    ours = services.current()
    found = ours.audit.get(actor(), number(row))
    return render_template(
        "audit/event.html", event=found, sentence=sentence, around=ours.stories.around(actor(), found), block=ours.stories.block_of(found)
    )


@pages.get("/stories/<case>")
@login_required
def story(case: str) -> str:
    """Everything that came of one request."""
    found = services.current().stories.of_case(actor(), case)
    return render_template("audit/story.html", story=found, days=list(by_day(found.events)), sentence=sentence)


@pages.get("/evidence")
@login_required
def evidence() -> str:
    """How the chain is, where it is anchored and forwarded, its keys, and exports."""
    ours = services.current()
    return render_template(
        "audit/evidence.html", state=ours.chain.state(actor()), glance=ours.verifier.glance(actor()),
        keys=ours.signing_keys.public(actor()),
        anchors=ours.anchoring.standings(actor()), forwarders=ours.forwarding.standings(actor()), exported=ours.chain.exported(actor()),
        kinds=KINDS, fields=_fields(), actions=[one.value for one in Event], families=FAMILIES, settings=ours.world.settings.audit,
    )


@pages.post("/export")
@login_required
def export() -> Response:
    """The events that were asked for, streamed."""
    ours, kind = services.current(), request.form.get("format", "jsonl")
    running = ours.exports.begin(actor(), kind, Filter.asked({name: request.form.get(name, "") for name in FIELDS}))
    is_zipped = request.form.get("zipped") == "yes"
    parts = ours.exports.parts(running)
    name = f"kube-iam-audit-{running.id}.{kind}{'.gz' if is_zipped else ''}"
    headers = {"Content-Disposition": f"attachment; filename={name}", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    mime = "application/gzip" if is_zipped else MIME[kind]
    return Response(Steps(compressed(parts) if is_zipped else parts), mimetype=mime, headers=headers)


@pages.get("/exports/<export_id>/manifest")
@login_required
def manifest(export_id: str) -> Response:
    """The signed manifest of an export, to be kept beside a file that cannot hold it."""
    line = services.current().exports.manifest_of(actor(), export_id)
    return attachment(line, f"kube-iam-audit-{export_id}.manifest.json", "application/json")


@pages.get("/key.pem")
@login_required
def key() -> Response:
    """The public keys."""
    return attachment(services.current().signing_keys.pem(actor()), "kube-iam-audit.pem", "application/x-pem-file")


def number(row: str) -> int:
    """A row's number from an address; 0, which no row has, for anything else."""
    return int(row) if row.isdecimal() and len(row) < 19 else 0


def _fields() -> dict[str, str]:
    return {name: request.args.get(name, "").strip() for name in FIELDS}
