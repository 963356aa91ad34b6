"""The audit trail: events, the chain, exports."""

from __future__ import annotations

from dataclasses import asdict

from flask import Blueprint, Response

from iam import services
from iam.api.audit_shapes import EventOut, EventQuery, Events, EvidenceOut, ExportIn, KeyOut, OutletOut, RestIn
from iam.api.spec import actor, answers, load_actor, spec, streamed
from iam.services.audit import Filter, Target
from iam.services.audit.exporting import Export
from iam.zipped import compressed

routes = Blueprint("api_audit", __name__)
routes.before_request(load_actor)


@routes.get("/audit")
@spec.validate(resp=answers(HTTP_200=Events), tags=["audit"])
def index(query: EventQuery) -> Events:
    """Audit events, newest first: all for auditors and administrators, one's own for everybody else."""
    found = services.current().audit.list(actor(), Filter.asked(query.model_dump()))
    return Events(
        items=[EventOut.model_validate(event) for event in found], next_before=found[-1].id if len(found) == query.limit else None
    )


@routes.get("/audit/events/<row>")
@spec.validate(resp=answers(HTTP_200=EventOut), tags=["audit"])
def show(row: str) -> EventOut:
    """One event."""
    return EventOut.model_validate(services.current().audit.get(actor(), int(row) if row.isdecimal() and len(row) < 19 else 0))


@routes.get("/audit/evidence")
@spec.validate(resp=answers(HTTP_200=EvidenceOut), tags=["audit"])
def evidence() -> EvidenceOut:
    """How the chain, its anchors and its forwarders are, and the public keys."""
    ours = services.current()
    fields = ("fingerprint", "public", "introduced_by", "signature", "created_at")
    return EvidenceOut(
        **asdict(ours.chain.state(actor())),
        keys=[KeyOut(**{name: getattr(key, name) for name in fields}) for key in ours.signing_keys.public(actor())],
        anchors=[OutletOut.model_validate(one) for one in ours.anchoring.standings(actor())],
        forwarders=[OutletOut.model_validate(one) for one in ours.forwarding.standings(actor())],
    )


@routes.post("/audit/exports")
@spec.validate(resp=answers(), tags=["audit"])
def export(json: ExportIn) -> Response:
    """The events that were asked for, streamed; an export as JSON Lines proves itself, for others see the manifest.

    The header X-Export names it, for its manifest and, if it breaks off, for its rest.
    """
    asked = Filter.asked(json.model_dump(exclude={"format", "zipped"}))
    return _streamed(services.current().exports.begin(actor(), json.format, asked), is_zipped=json.zipped)


@routes.post("/audit/exports/<export_id>/rest")
@spec.validate(resp=answers(), tags=["audit"])
def rest(export_id: str, json: RestIn) -> Response:
    """What is missing of an export that broke off."""
    return _streamed(services.current().exports.rest(actor(), export_id, json.bytes, json.sha256))


def _streamed(running: Export, *, is_zipped: bool = False) -> Response:
    parts = services.current().exports.parts(running)
    answer = streamed(compressed(parts) if is_zipped else parts, "application/gzip" if is_zipped else "application/octet-stream")
    answer.headers["X-Export"] = running.id
    return answer


@routes.get("/audit/exports/<export_id>/manifest")
@spec.validate(resp=answers(), tags=["audit"])
def manifest(export_id: str) -> Response:
    """The signed manifest of an export that is complete."""
    ours = services.current()
    line = ours.exports.manifest_of(actor(), export_id)
    ours.audit.downloaded(actor(), Target("export", export_id))
    return Response(line, mimetype="application/json")
