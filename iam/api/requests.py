"""Asking, deciding, grants, break-glass."""

from __future__ import annotations

from datetime import UTC

from flask import Blueprint
from pydantic import BaseModel, Field

from iam import services
from iam.api.request_shapes import (
    AskIn,
    CommentIn,
    GrantOut,
    GrantsOut,
    InboxOut,
    OffersOut,
    OpeningIn,
    PartsOut,
    PasswordIn,
    ReasonIn,
    RequestOut,
    RequestsOut,
    ReviewIn,
    VerdictIn,
)
from iam.api.rule_shapes import DoorOut, DoorsOut
from iam.api.shapes import Done
from iam.api.spec import actor, answers, load_actor, spec
from iam.approval import times
from iam.errors import Invalid
from iam.models import AccessRequest
from iam.services.requests import rows
from iam.services.requests.asking import Ask
from iam.services.requests.deciding import Verdict
from iam.services.requests.emergency import Opening

routes = Blueprint("api_requests", __name__)
routes.before_request(load_actor)


class PageQuery(BaseModel):
    """Which page."""

    page: int = Field(1, ge=1, le=100_000)


class ClusterQuery(BaseModel):
    """Which cluster."""

    cluster: str = ""


@routes.get("/catalogue/offers")
@spec.validate(resp=answers(HTTP_200=OffersOut), tags=["requests"])
def offers() -> OffersOut:
    """What I may ask for."""
    return OffersOut(items=[rows.offer(entry, clusters) for entry, clusters in services.current().requests.offered(actor())])


@routes.post("/requests/preview")
@spec.validate(resp=answers(HTTP_200=PartsOut), tags=["requests"])
def preview(json: AskIn) -> PartsOut:
    """What a wish comes to: which rules count, who would be asked, what is dangerous in it."""
    return PartsOut(items=[rows.part(one) for one in services.current().requests.preview(actor(), as_ask(json))])


@routes.post("/requests")
@spec.validate(resp=answers(HTTP_201=RequestsOut), tags=["requests"])
def submit(json: AskIn) -> tuple[RequestsOut, int]:
    """Ask: one request for each cluster and rule, all or none."""
    made = services.current().requests.submit(actor(), as_ask(json))
    return RequestsOut(items=[_row(one) for one in made]), 201


@routes.get("/requests")
@spec.validate(resp=answers(HTTP_200=RequestsOut), tags=["requests"])
def mine() -> RequestsOut:
    """My own, the latest first."""
    return RequestsOut(items=[_row(one) for one in services.current().requests.mine(actor())])


@routes.get("/requests/<request_id>")
@spec.validate(resp=answers(HTTP_200=RequestOut), tags=["requests"])
def show(request_id: str) -> RequestOut:
    """One request."""
    return RequestOut(**_row(services.current().decisions.get(actor(), request_id)))


@routes.post("/requests/<request_id>/cancel")
@spec.validate(resp=answers(HTTP_200=RequestOut), tags=["requests"])
def cancel(request_id: str) -> RequestOut:
    """Take my own back."""
    return RequestOut(**_row(services.current().requests.cancel(actor(), request_id)))


@routes.post("/requests/<request_id>/decision")
@spec.validate(resp=answers(HTTP_200=RequestOut), tags=["requests"])
def decide(request_id: str, json: VerdictIn) -> RequestOut:
    """Yes, no, or yes to less, to what carries this digest."""
    seconds = times.seconds_of(json.duration, field="duration") if json.duration is not None else None
    namespaces = tuple(json.namespaces) if json.namespaces is not None else None
    verdict = Verdict(json.verdict, json.digest, json.comment, seconds, namespaces)
    return RequestOut(**_row(services.current().decisions.decide(actor(), request_id, verdict)))


@routes.post("/requests/<request_id>/comments")
@spec.validate(resp=answers(HTTP_201=Done), tags=["requests"])
def comment(request_id: str, json: CommentIn) -> tuple[Done, int]:
    """A word about it."""
    services.current().decisions.comment(actor(), request_id, json.text)
    return Done(), 201


@routes.get("/inbox")
@spec.validate(resp=answers(HTTP_200=InboxOut), tags=["requests"])
def inbox(query: PageQuery) -> InboxOut:
    """What waits for me, the most urgent first."""
    found = services.current().decisions.inbox(actor(), query.page)
    return InboxOut(items=[_row(one) for one in found.requests], total=found.total, page=found.page, pages=found.pages)


@routes.get("/me/grants")
@spec.validate(resp=answers(HTTP_200=GrantsOut), tags=["requests"])
def my_grants() -> GrantsOut:
    """My own that run or will begin."""
    return GrantsOut(items=[rows.grant(one) for one in services.current().grants.mine(actor())])


@routes.get("/grants")
@spec.validate(resp=answers(HTTP_200=GrantsOut), tags=["requests"])
def grants(query: ClusterQuery) -> GrantsOut:
    """Everybody's that run or will begin."""
    return GrantsOut(items=[rows.grant(one) for one in services.current().grants.running(actor(), query.cluster)])


@routes.post("/grants/<grant_id>/return")
@spec.validate(resp=answers(HTTP_200=GrantOut), tags=["requests"])
def give_back(grant_id: str) -> GrantOut:
    """I need it no more."""
    return GrantOut(**rows.grant(services.current().grants.give_back(actor(), grant_id)))


@routes.post("/grants/<grant_id>/revoke")
@spec.validate(resp=answers(HTTP_200=GrantOut), tags=["requests"])
def revoke(grant_id: str, json: ReasonIn) -> GrantOut:
    """Take it away."""
    return GrantOut(**rows.grant(services.current().grants.revoke(actor(), grant_id, json.reason)))


@routes.get("/emergency")
@spec.validate(resp=answers(HTTP_200=RequestsOut), tags=["break-glass"])
def openings() -> RequestsOut:
    """What was opened, as far as it concerns me."""
    return RequestsOut(items=[_row(one) for one in services.current().emergencies.openings(actor())])


@routes.get("/emergency/offers")
@spec.validate(resp=answers(HTTP_200=DoorsOut), tags=["break-glass"])
def door_offers() -> DoorsOut:
    """The doors that I am named for."""
    return DoorsOut(items=[DoorOut(**rows.door(one)) for one in services.current().emergencies.open_to(actor())])


@routes.get("/emergency/<request_id>")
@spec.validate(resp=answers(HTTP_200=RequestOut), tags=["break-glass"])
def opening(request_id: str) -> RequestOut:
    """One opening."""
    return RequestOut(**_row(services.current().emergencies.get(actor(), request_id)))


@routes.post("/emergency")
@spec.validate(resp=answers(HTTP_201=RequestOut), tags=["break-glass"])
def open_door(json: OpeningIn) -> tuple[RequestOut, int]:
    """Open a door that I am named for."""
    seconds = times.seconds_of(json.duration, field="duration")
    opening = Opening(json.door, json.cluster, seconds, json.reason, json.password)
    return RequestOut(**_row(services.current().emergencies.open(actor(), opening))), 201


@routes.post("/emergency/<request_id>/unseal")
@spec.validate(resp=answers(HTTP_200=RequestOut), tags=["break-glass"])
def unseal(request_id: str, json: PasswordIn) -> RequestOut:
    """Open a sealed door too, as the second person."""
    return RequestOut(**_row(services.current().emergencies.unseal(actor(), request_id, json.password)))


@routes.post("/emergency/<request_id>/review")
@spec.validate(resp=answers(HTTP_200=RequestOut), tags=["break-glass"])
def review(request_id: str, json: ReviewIn) -> RequestOut:
    """Say whether it was right."""
    return RequestOut(**_row(services.current().emergencies.review(actor(), request_id, json.verdict, json.review)))


def as_ask(body: AskIn) -> Ask:
    """The wish behind a body. Raises Invalid."""
    if body.starts_at and body.starts_at.tzinfo is None:
        raise Invalid("Write the moment with an offset: 2026-01-31T09:30+01:00.", field="starts_at")
    try:
        starts_at = body.starts_at.astimezone(UTC) if body.starts_at else None
    except OverflowError:
        raise Invalid("This moment is too far away.", field="starts_at") from None
    return Ask(
        body.entry, tuple(body.clusters), tuple(body.namespaces), times.seconds_of(body.duration, field="duration"),
        starts_at, body.reason, body.ticket, body.extends,
    )


def _row(one: AccessRequest) -> rows.Row:
    return rows.request(one, services.current().grants.of_request(one.id) if one.state == "approved" else None)
