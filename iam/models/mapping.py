"""Mappings: which directory group holds which role where."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, CheckConstraint, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from iam.models.base import Base, UtcDateTime, id_column
from iam.models.cluster import Cluster
from iam.models.person import Group


class Mapping(Base):
    """A directory group -> a Role or ClusterRole -> the whole cluster (no namespaces) or some namespaces."""

    __tablename__ = "mappings"
    __table_args__ = (
        CheckConstraint("role_kind IN ('Role', 'ClusterRole')", name="role_kind"),
        CheckConstraint("subject_kind IN ('User', 'Group')", name="subject_kind"),
    )

    id: Mapped[str] = id_column()
    group_id: Mapped[str] = mapped_column(ForeignKey("groups.id"), index=True)
    cluster_id: Mapped[str] = mapped_column(ForeignKey("clusters.id", ondelete="CASCADE"), index=True)
    role_kind: Mapped[str] = mapped_column(String(16))
    role_name: Mapped[str] = mapped_column(String(253))
    namespaces: Mapped[list[str]] = mapped_column(JSON, default=list)
    subject_kind: Mapped[str] = mapped_column(String(8), default="User")
    note: Mapped[str] = mapped_column(String(500), default="")
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    created_by: Mapped[str] = mapped_column(String(255))

    group: Mapped[Group] = relationship()
    cluster: Mapped[Cluster] = relationship()
