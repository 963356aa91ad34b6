"""Logins that last: browser sessions, API tokens, and the failed attempts that throttle them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, ForeignKey, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from iam.models.base import Base, UtcDateTime, id_column
from iam.models.person import Person


class Session(Base):
    """A browser session. The cookie holds a random key; we keep only its SHA-256."""

    __tablename__ = "sessions"

    id: Mapped[str] = id_column()
    key_hash: Mapped[str] = mapped_column(String(64), unique=True)
    person_id: Mapped[str] = mapped_column(ForeignKey("people.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    last_used_at: Mapped[datetime] = mapped_column(UtcDateTime)
    ends_at: Mapped[datetime] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    address: Mapped[str] = mapped_column(String(64), default="")
    user_agent: Mapped[str] = mapped_column(String(255), default="")
    logout: Mapped[bytes | None] = mapped_column(LargeBinary)
    """What the logout at the provider wants to know, encrypted."""

    person: Mapped[Person] = relationship()


class ApiToken(Base):
    """A bearer token for the API: shown once, kept as SHA-256, scoped, expiring."""

    __tablename__ = "api_tokens"
    __table_args__ = (UniqueConstraint("person_id", "name"),)

    id: Mapped[str] = id_column()
    key_hash: Mapped[str] = mapped_column(String(64), unique=True)
    person_id: Mapped[str] = mapped_column(ForeignKey("people.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(80))
    scopes: Mapped[list[str]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    last_used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    person: Mapped[Person] = relationship()


class FailedLogin(Base):
    """Failures counted per account and per address within a window; the key is a keyed hash, not the name."""

    __tablename__ = "failed_logins"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    count: Mapped[int] = mapped_column(default=0)
    window_ends_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
