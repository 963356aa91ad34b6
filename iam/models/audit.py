"""Audit events: written in the transaction of the change they tell of, never updated."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from iam.models.base import Base, UtcDateTime


class AuditEvent(Base):
    """Who did what, on what, from where, with which result."""

    __tablename__ = "audit_events"
    __table_args__ = (
        Index("ix_audit_events_actor", "actor_name", "id"),
        Index("ix_audit_events_actor_id", "actor_id", "id"),
        Index("ix_audit_events_action", "action", "id"),
        Index("ix_audit_events_target", "target_kind", "target_name", "id"),
    )

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    action: Mapped[str] = mapped_column(String(64))
    result: Mapped[str] = mapped_column(String(16))
    """``done``, ``refused`` or ``failed``."""
    actor_id: Mapped[str] = mapped_column(String(24), default="")
    actor_name: Mapped[str] = mapped_column(String(255))
    target_kind: Mapped[str] = mapped_column(String(32), default="")
    target_name: Mapped[str] = mapped_column(String(255), default="")
    cluster: Mapped[str] = mapped_column(String(63), default="", index=True)
    address: Mapped[str] = mapped_column(String(64), default="")
    door: Mapped[str] = mapped_column(String(16), default="")
    """``page``, ``api``, ``cli`` or ``worker``."""
    request_id: Mapped[str] = mapped_column(String(64), default="", index=True)
    reason: Mapped[str] = mapped_column(String(500), default="")
    details: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
