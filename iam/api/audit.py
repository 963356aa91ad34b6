"""The audit trail: events, the chain, exports."""

from __future__ import annotations

from dataclasses import asdict

from flask import Blueprint, Response, stream_with_context

from iam import services
from iam.api.audit_shapes import EventOut, EventQuery, Events, EvidenceOut, ExportIn, KeyOut, OutletOut
from iam.api.spec import actor, answers, load_actor, spec
from iam.services.audit import Filter

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
        anchors=[
            OutletOut(name=one.name, kind=one.kind, position=one.number, behind=0, error=one.error, delivered_at=one.at)
            for one in ours.anchoring.standings(actor())
        ],
        forwarders=[
            OutletOut(
                name=one.name, kind=one.kind, position=one.position, behind=one.behind, error=one.error, delivered_at=one.delivered_at
            )
            for one in ours.forwarding.standings(actor())
        ],
    )


@routes.post("/audit/exports")
@spec.validate(resp=answers(), tags=["audit"])
def export(json: ExportIn) -> Response:
    """The events that were asked for, streamed; an export as JSON Lines proves itself, for others see the manifest."""
    ours = services.current()
    running = ours.exports.begin(actor(), json.format, Filter.asked(json.model_dump(exclude={"format"})))
    answer = Response(stream_with_context(ours.exports.parts(running)), mimetype="application/octet-stream")
    answer.headers["X-Export"] = running.id
    return answer


@routes.get("/audit/exports/<export_id>/manifest")
@spec.validate(resp=answers(), tags=["audit"])
def manifest(export_id: str) -> Response:
    """The signed manifest of an export that is complete."""
    return Response(services.current().exports.manifest_of(actor(), export_id), mimetype="application/json")
