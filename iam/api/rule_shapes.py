"""What goes in and out about the catalogue, approval rules, emergency doors and webhooks."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from iam.api.request_shapes import DURATION, AskIn, Input, PartOut


class SimulateIn(AskIn):
    """Whose wish it would be."""

    username: str


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


class EntryIn(Input):
    """A catalogue entry."""

    name: str
    title: str
    description: str = ""
    role_kind: Literal["Role", "ClusterRole"] = "ClusterRole"
    role_name: str
    clusters: list[str]
    namespaces: list[str] = Field(description='Names or patterns, and "(whole cluster)".')
    groups: list[str] = Field([], description="Who may ask, as directory:group; empty: everybody.")
    longest: str = Field("8h", description=DURATION)
    is_open: bool = True


class EntryOut(EntryIn):
    """The same, with who wrote it and what is dangerous in it."""

    risks: list[str] = Field(description="As the role was on the clusters when the entry was saved.")
    changed_at: datetime
    changed_by: str


class EntriesOut(BaseModel):
    """The whole catalogue."""

    items: list[EntryOut]


class RuleIn(Input):
    """An approval rule."""

    name: str
    stages: str = Field(description="One stage a line, such as: lead and 1 of ldap:security; or automatic.")
    entry: str = Field("", description="Only for this catalogue entry; empty: for all.")
    clusters: list[str] = Field([])
    namespaces: list[str] = Field([])
    longest: str = Field("8h", description=DURATION)
    lapses: str = Field("1d", description=DURATION)
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


class DoorIn(Input):
    """An emergency door."""

    name: str
    title: str
    description: str = ""
    role_kind: Literal["Role", "ClusterRole"] = "ClusterRole"
    role_name: str
    clusters: list[str]
    namespaces: list[str] = Field([])
    groups: list[str]
    tell: list[str] = Field([])
    reviewers: list[str]
    longest: str = Field("1h", description=DURATION)
    review_within: str = Field("1d", description=DURATION)
    is_sealed: bool = False


class DoorOut(DoorIn):
    """The same, with who wrote it."""

    changed_at: datetime
    changed_by: str


class DoorsOut(BaseModel):
    """All doors."""

    items: list[DoorOut]


class WebhookIn(Input):
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
