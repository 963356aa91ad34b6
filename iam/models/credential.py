"""Certificates that were issued: the certificate is archived, the key never was here (or is gone)."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from iam.models.base import Base, UtcDateTime
from iam.models.cluster import Cluster
from iam.models.person import Person


class Credential(Base):
    """One issued client certificate, found by the SHA-256 of its DER form as Kubernetes reports it (hex)."""

    __tablename__ = "credentials"
    __table_args__ = (UniqueConstraint("cluster_id", "key_fingerprint"),)

    fingerprint: Mapped[str] = mapped_column(String(64), primary_key=True)
    person_id: Mapped[str] = mapped_column(ForeignKey("people.id", ondelete="CASCADE"), index=True)
    cluster_id: Mapped[str | None] = mapped_column(ForeignKey("clusters.id", ondelete="SET NULL"), index=True)
    cluster_name: Mapped[str] = mapped_column(String(63))
    """Kept when the cluster is forgotten, like the whole record: the certificate may still run."""
    key_fingerprint: Mapped[str] = mapped_column(String(64), index=True)
    """SHA-256 over the public key's SubjectPublicKeyInfo."""
    key_origin: Mapped[str] = mapped_column(String(8))
    """``ours`` (made on request, sent once) or ``theirs`` (an uploaded request)."""
    username: Mapped[str] = mapped_column(String(255), index=True)
    """The certificate's CN: nobody else may get this name while the certificate runs."""
    certificate_pem: Mapped[str] = mapped_column(Text)
    request_name: Mapped[str] = mapped_column(String(80), default="")
    issued_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)

    person: Mapped[Person] = relationship()
    cluster: Mapped[Cluster | None] = relationship()
