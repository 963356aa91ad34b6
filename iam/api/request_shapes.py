"""What goes in and out about requests, grants, the catalogue, rules, break-glass and webhooks."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid")


_DURATION = "Such as 90m, 8h or 2d 12h."
_MOMENT = "RFC 3339 with an offset; null: as soon as it is approved."


class AskIn(_In):
    """A wish."""

    entry: str = Field(description="The name of a catalogue entry.")
    clusters: list[str]
    namespaces: list[str] = Field([], description="Empty: the whole cluster.")
    duration: str = Field("1h", description=_DURATION)
    starts_at: datetime | None = Field(None, description=_MOMENT)
    reason: str
    ticket: str = ""
    extends: str = Field("", description="The id of a grant that this goes on from.")


class SimulateIn(AskIn):
    """Whose wish it would be."""

    username: str


class OfferOut(BaseModel):
    """What I may ask for."""

    name: str
    title: str
    description: str
    role: str
    clusters: list[str]
    namespaces: list[str]
    longest: str


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


class TriedOut(BaseModel):
    """One rule that was tried."""

    rule: str
    why_not: str


class SimulatedOut(BaseModel):
    """One scope of a simulated wish."""

    cluster: str
    namespace: str
    tried: list[TriedOut]
    parts: list[PartOut]
    problem: str


class SimulationOut(BaseModel):
    """Which rules would count."""

    items: list[SimulatedOut]


class DecisionOut(BaseModel):
    """What somebody said."""

    approver: str
    verdict: str
    stage: int
    round: int
    comment: str
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


class VerdictIn(_In):
    """Yes or no."""

    verdict: Literal["approve", "deny"]
    digest: str
    comment: str = ""
    duration: str | None = Field(None, description="Less than was asked for. " + _DURATION)
    namespaces: list[str] | None = Field(None, description="Some of those asked for.")


class CommentIn(_In):
    """A word."""

    text: str


class ReasonIn(_In):
    """Why."""

    reason: str = ""


class EntryIn(_In):
    """A catalogue entry."""

    name: str
    title: str
    description: str = ""
    role_kind: Literal["Role", "ClusterRole"] = "ClusterRole"
    role_name: str
    clusters: list[str]
    namespaces: list[str] = Field(description='Names or patterns, and "(whole cluster)".')
    groups: list[str] = Field([], description="Who may ask, as directory:group; empty: everybody.")
    longest: str = Field("8h", description=_DURATION)
    is_open: bool = True


class EntryOut(EntryIn):
    """The same, with who wrote it."""

    changed_at: datetime
    changed_by: str


class EntriesOut(BaseModel):
    """The whole catalogue."""

    items: list[EntryOut]


class RuleIn(_In):
    """An approval rule."""

    name: str
    stages: str = Field(description="One stage a line, such as: lead and 1 of ldap:security; or automatic.")
    entry: str = Field("", description="Only for this catalogue entry; empty: for all.")
    clusters: list[str] = []
    namespaces: list[str] = []
    longest: str = Field("8h", description=_DURATION)
    lapses: str = Field("1d", description=_DURATION)
    reason_pattern: str = ""
    ticket_pattern: str = ""
    position: int | None = Field(None, ge=1, le=100_000, description="1 is tried first; null: at the end, or where it is.")


class RuleOut(RuleIn):
    """The same, with who wrote it."""

    changed_at: datetime
    changed_by: str


class RulesOut(BaseModel):
    """All rules, in their order."""

    items: list[RuleOut]


class DoorIn(_In):
    """An emergency door."""

    name: str
    title: str
    description: str = ""
    role_kind: Literal["Role", "ClusterRole"] = "ClusterRole"
    role_name: str
    clusters: list[str]
    namespaces: list[str] = []
    groups: list[str]
    tell: list[str] = []
    reviewers: list[str]
    longest: str = Field("1h", description=_DURATION)
    review_within: str = Field("1d", description=_DURATION)
    is_sealed: bool = False


class DoorOut(DoorIn):
    """The same, with who wrote it."""

    changed_at: datetime
    changed_by: str


class DoorsOut(BaseModel):
    """All doors."""

    items: list[DoorOut]


class OpeningIn(_In):
    """Opening a door."""

    door: str
    cluster: str
    duration: str = Field("30m", description=_DURATION)
    reason: str
    password: str = Field(description="Your password, once more.")


class PasswordIn(_In):
    """Your password, once more."""

    password: str


class ReviewIn(_In):
    """What a reviewer found."""

    verdict: Literal["justified", "questioned"]
    review: str


class WebhookIn(_In):
    """A webhook."""

    name: str
    url: str
    format: Literal["json", "slack"] = "json"
    events: list[str]


class WebhookOut(BaseModel):
    """A webhook; its address is sealed."""

    name: str
    host: str
    format: str
    events: list[str]
    created_at: datetime
    created_by: str
    secret: str = Field("", description="Only in the answer that creates it.")


class WebhooksOut(BaseModel):
    """All webhooks."""

    items: list[WebhookOut]
