"""People and the directory groups they are in."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from iam.models.base import Base, UtcDateTime, id_column


class Group(Base):
    """A group as a directory names it. Exists as soon as a mapping or a person refers to it."""

    __tablename__ = "groups"
    __table_args__ = (UniqueConstraint("directory", "name"),)

    id: Mapped[str] = id_column()
    directory: Mapped[str] = mapped_column(String(32))
    name: Mapped[str] = mapped_column(String(512))

    @property
    def reference(self) -> str:
        """``directory:group``, as settings and the API write it."""
        return f"{self.directory}:{self.name}"


class Membership(Base):
    """One person in one group, as the directory said last."""

    __tablename__ = "memberships"

    person_id: Mapped[str] = mapped_column(ForeignKey("people.id", ondelete="CASCADE"), primary_key=True)
    group_id: Mapped[str] = mapped_column(ForeignKey("groups.id", ondelete="CASCADE"), primary_key=True, index=True)


class Person(Base):
    """Somebody who logged in (or was synced): (directory, subject) never changes, the rest may.

    ``username`` is the Kubernetes user name: canonical, prefixed, unique over all directories.
    """

    __tablename__ = "people"
    __table_args__ = (
        UniqueConstraint("directory", "subject"),
        UniqueConstraint("username"),
        Index("ix_people_display_name", "display_name"),
    )

    id: Mapped[str] = id_column()
    directory: Mapped[str] = mapped_column(String(32))
    subject: Mapped[str] = mapped_column(String(255))
    username: Mapped[str] = mapped_column(String(255))
    display_name: Mapped[str] = mapped_column(String(255))
    email: Mapped[str] = mapped_column(String(320), default="")
    manager: Mapped[str] = mapped_column(String(512), default="")
    """The ``entry`` of the person's lead."""
    entry: Mapped[str] = mapped_column(String(512), default="", index=True)
    """How other entries of the directory name this person: a normalised DN, or a name."""
    language: Mapped[str] = mapped_column(String(8), default="")
    """What they were seen to read last, for mails."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    last_login_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    synced_at: Mapped[datetime] = mapped_column(UtcDateTime)
    disabled_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    disabled_reason: Mapped[str] = mapped_column(String(32), default="")
    """``directory`` (sync found them gone; comes back with them) or ``administrator`` (stays until lifted)."""

    groups: Mapped[list[Group]] = relationship(secondary="memberships", order_by=Group.name, passive_deletes=True)

    @property
    def is_disabled(self) -> bool:
        """Whether this person may do nothing at all."""
        return self.disabled_at is not None


class LocalAccount(Base):
    """An account of the local directory. The password is an argon2id hash."""

    __tablename__ = "local_accounts"
    __table_args__ = (UniqueConstraint("directory", "username"),)

    id: Mapped[str] = id_column()
    directory: Mapped[str] = mapped_column(String(32))
    username: Mapped[str] = mapped_column(String(255))
    display_name: Mapped[str] = mapped_column(String(255))
    email: Mapped[str] = mapped_column(String(320), default="")
    groups: Mapped[str] = mapped_column(String(4096), default="")
    """Comma-separated group names."""
    manager: Mapped[str] = mapped_column(String(255), default="")
    """Username of the lead."""
    password_hash: Mapped[str] = mapped_column(String(255))
    disabled: Mapped[bool] = mapped_column(default=False)
