"""Grants: access for a time. The end is a moment in the database, and the next reconcile carries it out."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, CheckConstraint, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from iam.models.base import Base, UtcDateTime, id_column
from iam.models.cluster import Cluster
from iam.models.person import Person
from iam.models.request import AccessRequest

SCHEDULED, ACTIVE, ENDED = "scheduled", "active", "ended"
EXPIRED, RETURNED, REVOKED, GONE, CHANGED = "expired", "returned", "revoked", "gone", "changed"


class Grant(Base):
    """One approved request, carried out: it goes from scheduled to active to ended, and never back."""

    __tablename__ = "grants"
    __table_args__ = (
        CheckConstraint("state IN ('scheduled', 'active', 'ended')", name="state"),
        CheckConstraint("state <> 'active' OR ends_at IS NOT NULL", name="active_has_an_end"),
        Index("ix_grants_state_starts_at", "state", "starts_at"),
        Index("ix_grants_state_ends_at", "state", "ends_at"),
        Index("ix_grants_cluster_id_state", "cluster_id", "state"),
    )

    id: Mapped[str] = id_column()
    request_id: Mapped[str] = mapped_column(ForeignKey("access_requests.id"), unique=True)
    person_id: Mapped[str] = mapped_column(ForeignKey("people.id"), index=True)
    cluster_id: Mapped[str | None] = mapped_column(ForeignKey("clusters.id", ondelete="SET NULL"))
    cluster_name: Mapped[str] = mapped_column(String(63))
    role_kind: Mapped[str] = mapped_column(String(16))
    role_name: Mapped[str] = mapped_column(String(253))
    namespaces: Mapped[list[str]] = mapped_column(JSON)
    state: Mapped[str] = mapped_column(String(16), default=SCHEDULED)
    seconds: Mapped[int]
    starts_at: Mapped[datetime] = mapped_column(UtcDateTime)
    activated_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    ends_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """Set at activation: the clock runs from then."""
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    end_reason: Mapped[str] = mapped_column(String(16), default="")
    """``expired``, ``returned``, ``revoked``, ``gone`` (the cluster), ``changed`` (the role, before it began)."""
    ended_by: Mapped[str] = mapped_column(String(255), default="")
    applied_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When a reconcile first had it on the cluster."""
    gone_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When a reconcile had taken it off the cluster."""
    warn_at: Mapped[datetime | None] = mapped_column(UtcDateTime, index=True)
    """When its holder is told that it ends; None: told, or not begun."""

    person: Mapped[Person] = relationship()
    cluster: Mapped[Cluster | None] = relationship()
    request: Mapped[AccessRequest] = relationship()
