"""Telling people: the outbox, who wants to hear what, and the webhooks."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, CheckConstraint, ForeignKey, Index, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from iam.models.base import Base, UtcDateTime, id_column
from iam.models.person import Person


class Webhook(Base):
    """An address that is told of events, with a signature."""

    __tablename__ = "webhooks"
    __table_args__ = (CheckConstraint("format IN ('json', 'slack')", name="format"),)

    id: Mapped[str] = id_column()
    name: Mapped[str] = mapped_column(String(63), unique=True)
    url: Mapped[bytes] = mapped_column(LargeBinary)
    """Sealed: the address of a chat's webhook is itself a secret."""
    host: Mapped[str] = mapped_column(String(255))
    format: Mapped[str] = mapped_column(String(8))
    secret: Mapped[bytes] = mapped_column(LargeBinary)
    """Sealed; signs what is sent."""
    events: Mapped[list[str]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    created_by: Mapped[str] = mapped_column(String(255))


class Notice(Base):
    """One thing to tell one person or one webhook; kept until it was delivered or given up."""

    __tablename__ = "notices"
    __table_args__ = (Index("ix_notices_next_attempt_at", "next_attempt_at"),)

    id: Mapped[str] = id_column()
    event: Mapped[str] = mapped_column(String(32))
    person_id: Mapped[str | None] = mapped_column(ForeignKey("people.id", ondelete="CASCADE"), index=True)
    webhook_id: Mapped[str | None] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"), index=True)
    facts: Mapped[dict[str, Any]] = mapped_column(JSON)
    link: Mapped[str] = mapped_column(String(200), default="")
    """The path of the page that it is about; nothing is decided by opening it."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    next_attempt_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """None: delivered, or given up."""
    attempts: Mapped[int] = mapped_column(default=0)
    sent_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    error: Mapped[str] = mapped_column(String(500), default="")

    person: Mapped[Person | None] = relationship()
    webhook: Mapped[Webhook | None] = relationship()


class Mute(Base):
    """One event that one person does not want to be mailed about."""

    __tablename__ = "mutes"

    person_id: Mapped[str] = mapped_column(ForeignKey("people.id", ondelete="CASCADE"), primary_key=True)
    event: Mapped[str] = mapped_column(String(32), primary_key=True)
