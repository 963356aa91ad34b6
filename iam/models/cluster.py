"""Clusters: where access lands, and how far reconciliation has come there."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from iam.models.base import Base, UtcDateTime, id_column


class Cluster(Base):
    """A registered cluster. Credentials and CA keys are encrypted under the settings' keys."""

    __tablename__ = "clusters"

    id: Mapped[str] = id_column()
    name: Mapped[str] = mapped_column(String(63), unique=True)
    title: Mapped[str] = mapped_column(String(120), default="")
    server: Mapped[str] = mapped_column(String(512))
    ca_pem: Mapped[str] = mapped_column(Text, default="")
    access: Mapped[str] = mapped_column(String(16))
    """How we reach it: ``credential``, ``in-cluster`` or ``offline`` (bindings are only shown as YAML)."""
    credential: Mapped[bytes | None] = mapped_column(LargeBinary)
    signer: Mapped[str] = mapped_column(String(16))
    """Who signs people's certificates: ``csr`` (the cluster's API), ``ca`` (a CA key kept here) or ``none``."""
    signer_ca_pem: Mapped[str] = mapped_column(Text, default="")
    signer_ca_key: Mapped[bytes | None] = mapped_column(LargeBinary)
    max_lifetime_seconds: Mapped[int] = mapped_column(default=12 * 3600)
    default_lifetime_seconds: Mapped[int] = mapped_column(default=3600)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    probe: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    probed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    reconcile: Mapped[ReconcileState] = relationship(
        back_populates="cluster", cascade="all, delete-orphan", passive_deletes=True, uselist=False
    )

    @property
    def label(self) -> str:
        """The name a person sees."""
        return self.title or self.name


class ReconcileState(Base):
    """How far one cluster is. Work is due while ``wanted`` is ahead of ``done``: a counter loses no wake-up."""

    __tablename__ = "reconcile_states"

    cluster_id: Mapped[str] = mapped_column(ForeignKey("clusters.id", ondelete="CASCADE"), primary_key=True)
    wanted: Mapped[int] = mapped_column(default=1)
    done: Mapped[int] = mapped_column(default=0)
    wanted_at: Mapped[datetime] = mapped_column(UtcDateTime)
    attempted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    succeeded_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    next_attempt_at: Mapped[datetime | None] = mapped_column(UtcDateTime, index=True)
    failures: Mapped[int] = mapped_column(default=0)
    error: Mapped[str] = mapped_column(String(500), default="")
    bindings: Mapped[int] = mapped_column(default=0)

    cluster: Mapped[Cluster] = relationship(back_populates="reconcile")

    @property
    def is_behind(self) -> bool:
        """Whether the cluster may not yet be as we want it."""
        return self.wanted > self.done
