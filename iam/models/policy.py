"""ABAC policies as they are written: named files with versions. Versions never change; what is published is remembered."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from iam.models.base import Base, UtcDateTime, id_column
from iam.models.cluster import Cluster


class PolicyFile(Base):
    """One policy file, for one cluster or for none yet."""

    __tablename__ = "policy_files"

    id: Mapped[str] = id_column()
    name: Mapped[str] = mapped_column(String(63), unique=True)
    cluster_id: Mapped[str | None] = mapped_column(ForeignKey("clusters.id", ondelete="SET NULL"))
    owner: Mapped[str] = mapped_column(String(255))
    """Who answers for it: a person's username, or any other name."""
    is_alone: Mapped[bool] = mapped_column(default=True)
    """Whether ABAC is the only authorizer there, so that a gap locks the cluster out."""
    current: Mapped[int] = mapped_column(default=1)
    """The newest version's number; saving compares and swaps it."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    published_version: Mapped[int | None]
    published_digest: Mapped[str] = mapped_column(String(64), default="")
    """SHA-256 of the bytes that were published: with references in it, they change with the directory."""
    published_members: Mapped[str] = mapped_column(String(64), default="")
    """SHA-256 of who was behind the references then."""
    published_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    published_text: Mapped[str] = mapped_column(Text, default="", deferred=True)
    """The file as it was published."""
    withdrawn_text: Mapped[str] = mapped_column(Text, default="", deferred=True)
    """Lines that were published before and are no more: an API server that was not restarted still has them."""
    is_in_folder: Mapped[bool] = mapped_column(default=False)
    """Whether we keep the published file, or somebody carried it off."""

    cluster: Mapped[Cluster | None] = relationship()
    versions: Mapped[list[PolicyVersion]] = relationship(
        back_populates="file", cascade="all, delete-orphan", passive_deletes=True, order_by="PolicyVersion.number.desc()"
    )


class PolicyVersion(Base):
    """One version: the text as somebody wrote or imported it, comments and all."""

    __tablename__ = "policy_versions"
    __table_args__ = (UniqueConstraint("file_id", "number"),)

    id: Mapped[str] = id_column()
    file_id: Mapped[str] = mapped_column(ForeignKey("policy_files.id", ondelete="CASCADE"))
    number: Mapped[int]
    text: Mapped[str] = mapped_column(Text, deferred=True)
    lines: Mapped[int]
    """How many lines are policies."""
    references: Mapped[list[list[str]]] = mapped_column(JSON)
    """[kind, ``directory:name``] of the people and directory groups that it names."""
    reason: Mapped[str] = mapped_column(String(500))
    author: Mapped[str] = mapped_column(String(255))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)

    file: Mapped[PolicyFile] = relationship(back_populates="versions")
