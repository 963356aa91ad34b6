"""Shapes of the audit trail."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class EventOut(BaseModel):
    """An audit event."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    seq: int | None = Field(description="Its number in the chain; null until it is sealed, below zero if this service did not write it.")
    at: datetime
    action: str
    result: str
    actor_id: str
    actor_name: str
    target_kind: str
    target_name: str
    person: str = Field(description="Whom it concerns.")
    case_id: str = Field(description="The access request whose story it belongs to.")
    cluster: str
    address: str
    door: str
    request_id: str
    reason: str
    details: dict[str, Any]
    body: str = Field(description="The event as it is sealed, byte for byte.")


class Events(BaseModel):
    """Events, newest first; ``next_before`` continues with older ones."""

    items: list[EventOut]
    next_before: int | None


class Wanted(BaseModel):
    """Narrowing events; empty fields do not narrow."""

    model_config = ConfigDict(extra="forbid")

    actor: str = ""
    person: str = Field("", description="Whoever did it or was concerned.")
    action: str = Field("", description="One action, or a family such as grant. with its dot.")
    target: str = ""
    cluster: str = ""
    result: str = ""
    case: str = ""
    request: str = ""
    since: str = Field("", description="2026-11-22 or RFC 3339")
    until: str = ""


class EventQuery(Wanted):
    """Which events, and how many."""

    before: int | None = None
    limit: int = Field(100, ge=1, le=1000)


class ExportIn(Wanted):
    """Which events, and how."""

    format: Literal["jsonl", "csv", "cef", "ocsf"] = "jsonl"
    zipped: bool = Field(False, description="Compressed (gzip).")


class RestIn(BaseModel):
    """How much of an export has arrived, not compressed."""

    model_config = ConfigDict(extra="forbid")

    bytes: int = Field(gt=0)
    sha256: str = Field(pattern="^[0-9a-fA-F]{64}$", description="Of these bytes, hex.")


class KeyOut(BaseModel):
    """A public key of the chain."""

    fingerprint: str
    public: str = Field(description="The raw Ed25519 key, hex.")
    introduced_by: str
    signature: str
    created_at: datetime


class OutletOut(BaseModel):
    """An anchor or a forwarder."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    kind: str
    position: int = Field(description="The last event that arrived, or the last block that was anchored.")
    behind: int = Field(description="Events, or blocks, that have not arrived yet; below zero if somebody has cut the chain.")
    is_late: bool = Field(description="Whether that lasts longer than lag_alarm_seconds.")
    error: str
    delivered_at: datetime | None


class EvidenceOut(BaseModel):
    """How the chain is."""

    events: int
    blocks: int
    hash: str
    sealed_at: datetime | None
    waiting: int
    is_late: bool
    put_aside: int
    is_broken: bool
    keys: list[KeyOut]
    anchors: list[OutletOut]
    forwarders: list[OutletOut]
