"""What the last sync of a directory found, and whether it stopped and asks."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from iam.models.base import Base, UtcDateTime


class SyncState(Base):
    """One row a directory."""

    __tablename__ = "sync_states"

    directory: Mapped[str] = mapped_column(String(32), primary_key=True)
    attempted_at: Mapped[datetime] = mapped_column(UtcDateTime)
    succeeded_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    people: Mapped[int] = mapped_column(default=0)
    alarm: Mapped[str] = mapped_column(String(500), default="")
    """Why the last run stopped, empty if it did not."""
