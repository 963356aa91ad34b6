"""What goes in and out about asking, deciding, grants and break-glass."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Input(BaseModel):
    """What is sent: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


DURATION = "Such as 90m, 8h or 2d 12h."
_MOMENT = "RFC 3339 with an offset; null: as soon as it is approved."


class AskIn(Input):
    """A wish."""

    entry: str = Field(description="The name of a catalogue entry.")
    clusters: list[str]
    namespaces: list[str] = Field([], description="Empty: the whole cluster.")
    duration: str = Field("1h", description=DURATION)
    starts_at: datetime | None = Field(None, description=_MOMENT)
    reason: str
    ticket: str = ""
    extends: str = Field("", description="The id of a grant that this goes on from.")


class OfferOut(BaseModel):
    """What I may ask for."""

    name: str
    title: str
    description: str
    role: str
    clusters: list[str]
    namespaces: list[str]
    longest: str
    risks: list[str]


class OffersOut(BaseModel):
    """The catalogue as it is offered to me."""

    items: list[OfferOut]


class NeedOut(BaseModel):
    """Who is asked for one need of a stage."""

    need: str
    people: list[str]


class PartOut(BaseModel):
    """One request that a wish becomes."""

    cluster: str
    namespaces: list[str]
    rule: str
    risks: list[str]
    stages: list[list[NeedOut]] = Field(description="Empty: granted at once.")


class PartsOut(BaseModel):
    """What a wish comes to."""

    items: list[PartOut]


class DecisionOut(BaseModel):
    """What somebody said."""

    approver: str
    verdict: str
    stage: int
    round: int
    comment: str
    at: datetime


class CommentOut(BaseModel):
    """A word."""

    by: str
    text: str
    at: datetime


class GrantOut(BaseModel):
    """Access for a time."""

    id: str
    request: str
    holder: str
    cluster: str
    role: str
    namespaces: list[str]
    state: str
    starts_at: datetime
    ends_at: datetime | None
    applied_at: datetime | None = Field(description="When it was first seen on the cluster.")
    gone_at: datetime | None = Field(description="When it was seen to be off the cluster.")
    end_reason: str


class GrantsOut(BaseModel):
    """Grants."""

    items: list[GrantOut]


class RequestOut(BaseModel):
    """A request."""

    id: str
    kind: str
    state: str
    title: str
    requester: str
    cluster: str
    role: str
    namespaces: list[str]
    duration: str
    asked_namespaces: list[str]
    asked_duration: str
    starts_at: datetime | None
    reason: str
    ticket: str
    rule: str
    stages: str
    stage: int
    round: int
    risks: list[str]
    created_at: datetime
    lapses_at: datetime | None
    outcome: str
    digest: str = Field(description="An approval carries it: it stands for all that was shown.")
    decisions: list[DecisionOut]
    comments: list[CommentOut]
    extends: str
    grant: GrantOut | None
    review_due_at: datetime | None
    verdict: str
    review: str


class RequestsOut(BaseModel):
    """Requests."""

    items: list[RequestOut]


class InboxOut(RequestsOut):
    """What waits for me."""

    total: int
    page: int
    pages: int


class VerdictIn(Input):
    """Yes or no."""

    verdict: Literal["approve", "deny"]
    digest: str
    comment: str = ""
    duration: str | None = Field(None, description="Less than was asked for. " + DURATION)
    namespaces: list[str] | None = Field(None, description="Some of those asked for.")


class CommentIn(Input):
    """A word."""

    text: str


class ReasonIn(Input):
    """Why."""

    reason: str = ""


class OpeningIn(Input):
    """Opening a door."""

    door: str
    cluster: str
    duration: str = Field("30m", description=DURATION)
    reason: str
    password: str = Field(description="Your password, once more.")


class PasswordIn(Input):
    """Your password, once more."""

    password: str


class ReviewIn(Input):
    """What a reviewer found."""

    verdict: Literal["justified", "questioned"]
    review: str
