"""What can be asked for, and who decides on it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, CheckConstraint, ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from iam.models.base import Base, UtcDateTime, id_column


class CatalogueEntry(Base):
    """A Role or ClusterRole that people may ask for, described in plain words."""

    __tablename__ = "catalogue_entries"
    __table_args__ = (CheckConstraint("role_kind IN ('Role', 'ClusterRole')", name="role_kind"),)

    id: Mapped[str] = id_column()
    name: Mapped[str] = mapped_column(String(63), unique=True)
    title: Mapped[str] = mapped_column(String(120))
    description: Mapped[str] = mapped_column(String(2000), default="")
    role_kind: Mapped[str] = mapped_column(String(16))
    role_name: Mapped[str] = mapped_column(String(253))
    clusters: Mapped[list[str]] = mapped_column(JSON, default=list)
    """Names or patterns of clusters."""
    namespaces: Mapped[list[str]] = mapped_column(JSON, default=list)
    """Names or patterns of namespaces; ``(whole cluster)`` for a ClusterRoleBinding."""
    groups: Mapped[list[str]] = mapped_column(JSON, default=list)
    """``directory:group`` of those who may ask; empty: everybody."""
    longest_seconds: Mapped[int]
    is_open: Mapped[bool] = mapped_column(default=True)
    """Whether it can be asked for now."""
    risks: Mapped[list[str]] = mapped_column(JSON, default=list)
    """What is dangerous in the role on any of the clusters, when the entry was saved."""
    missing_in: Mapped[list[str]] = mapped_column(JSON, default=list)
    """The clusters on which there was no such role then."""
    changed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    changed_by: Mapped[str] = mapped_column(String(255))


class ApprovalRule(Base):
    """Who decides on which requests; the first rule that fits counts."""

    __tablename__ = "approval_rules"

    id: Mapped[str] = id_column()
    position: Mapped[int] = mapped_column(index=True)
    name: Mapped[str] = mapped_column(String(63), unique=True)
    entry_id: Mapped[str | None] = mapped_column(ForeignKey("catalogue_entries.id", ondelete="CASCADE"))
    """Only for this entry; None: for all."""
    clusters: Mapped[list[str]] = mapped_column(JSON, default=list)
    namespaces: Mapped[list[str]] = mapped_column(JSON, default=list)
    """Names or patterns; empty: any, and the whole cluster."""
    stages: Mapped[str] = mapped_column(Text)
    """As ``iam.approval.stages`` reads it."""
    longest_seconds: Mapped[int]
    lapse_seconds: Mapped[int]
    """How long a request may stay unanswered."""
    reason_pattern: Mapped[str] = mapped_column(String(200), default="")
    ticket_pattern: Mapped[str] = mapped_column(String(200), default="")
    """Regular expressions that the whole justification or ticket must match; empty: anything."""
    changed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    changed_by: Mapped[str] = mapped_column(String(255))
    changed_by_human: Mapped[str] = mapped_column(String(400), default="")
    """Who wrote it, over all their accounts: what decides by itself does not decide for its author."""

    entry: Mapped[CatalogueEntry | None] = relationship()


class EmergencyDoor(Base):
    """Break-glass: a role that a named few take at once, with a reason, for a short time, and are asked about afterwards."""

    __tablename__ = "emergency_doors"
    __table_args__ = (CheckConstraint("role_kind IN ('Role', 'ClusterRole')", name="role_kind"),)

    id: Mapped[str] = id_column()
    name: Mapped[str] = mapped_column(String(63), unique=True)
    title: Mapped[str] = mapped_column(String(120))
    description: Mapped[str] = mapped_column(String(2000), default="")
    role_kind: Mapped[str] = mapped_column(String(16))
    role_name: Mapped[str] = mapped_column(String(253))
    clusters: Mapped[list[str]] = mapped_column(JSON, default=list)
    namespaces: Mapped[list[str]] = mapped_column(JSON, default=list)
    """Exact names; empty: the whole cluster."""
    groups: Mapped[list[str]] = mapped_column(JSON)
    """``directory:group`` of the named few."""
    tell: Mapped[list[str]] = mapped_column(JSON, default=list)
    """``directory:group`` of those who are told at once."""
    reviewers: Mapped[list[str]] = mapped_column(JSON)
    """``directory:group`` of those who review."""
    longest_seconds: Mapped[int]
    review_seconds: Mapped[int]
    """Within which time a review is demanded."""
    is_sealed: Mapped[bool] = mapped_column(default=False)
    """Whether a second of the named few has to open it too."""
    changed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    changed_by: Mapped[str] = mapped_column(String(255))
