"""Requests for access, what was said to them, and the decisions. Nobody decides on their own: the database refuses it too."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from iam.models.base import Base, UtcDateTime, id_column
from iam.models.catalogue import EmergencyDoor
from iam.models.cluster import Cluster
from iam.models.person import Person

PENDING, APPROVED, DENIED, CANCELLED, LAPSED, CLOSED = "pending", "approved", "denied", "cancelled", "lapsed", "closed"
STATES = (PENDING, APPROVED, DENIED, CANCELLED, LAPSED, CLOSED)
ORDINARY, EMERGENCY = "request", "emergency"


class AccessRequest(Base):
    """One person asks for one role on one cluster, in namespaces or as a whole, for a time."""

    __tablename__ = "access_requests"
    __table_args__ = (
        CheckConstraint(f"state IN {STATES}", name="state"),
        CheckConstraint("kind IN ('request', 'emergency')", name="kind"),
        CheckConstraint("reviewer_id <> person_id", name="reviewed_by_another"),
        UniqueConstraint("id", "requester_subject", "requester_human"),
        Index("ix_access_requests_person_id_created_at", "person_id", "created_at"),
        Index("ix_access_requests_state_urgent_at", "state", "urgent_at"),
    )

    id: Mapped[str] = id_column()
    kind: Mapped[str] = mapped_column(String(16), default=ORDINARY)
    state: Mapped[str] = mapped_column(String(16), default=PENDING)
    version: Mapped[int] = mapped_column(default=1)
    """Moves with every change: whoever changes the row takes it first."""
    person_id: Mapped[str] = mapped_column(ForeignKey("people.id"))
    requester_subject: Mapped[str] = mapped_column(String(300))
    """``directory:subject``, which never changes."""
    requester_human: Mapped[str] = mapped_column(String(400))
    """The same for all accounts of one person, as far as the directories tell."""
    entry_id: Mapped[str | None] = mapped_column(ForeignKey("catalogue_entries.id", ondelete="SET NULL"))
    door_id: Mapped[str | None] = mapped_column(ForeignKey("emergency_doors.id", ondelete="SET NULL"))
    title: Mapped[str] = mapped_column(String(120))
    cluster_id: Mapped[str | None] = mapped_column(ForeignKey("clusters.id", ondelete="SET NULL"), index=True)
    cluster_name: Mapped[str] = mapped_column(String(63))
    role_kind: Mapped[str] = mapped_column(String(16))
    role_name: Mapped[str] = mapped_column(String(253))
    namespaces: Mapped[list[str]] = mapped_column(JSON, default=list)
    """Empty: the whole cluster. What is asked for now; an approver may make it less."""
    seconds: Mapped[int]
    asked_namespaces: Mapped[list[str]] = mapped_column(JSON, default=list)
    asked_seconds: Mapped[int]
    """As the requester asked at first."""
    starts_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """None: as soon as it is approved."""
    reason: Mapped[str] = mapped_column(Text, default="")
    ticket: Mapped[str] = mapped_column(String(200), default="")
    batch: Mapped[str] = mapped_column(String(24), default="", index=True)
    """The same for all that were asked for at once."""
    extends: Mapped[str] = mapped_column(String(24), default="")
    """The grant that this one goes on from."""

    rule_id: Mapped[str | None] = mapped_column(ForeignKey("approval_rules.id", ondelete="SET NULL"))
    rule_name: Mapped[str] = mapped_column(String(63), default="")
    stages: Mapped[str] = mapped_column(Text, default="")
    """The stages as the rule said when they were asked."""
    round: Mapped[int] = mapped_column(default=1)
    """Goes up whenever something changed and everybody is asked again; yeses of older rounds count no more."""
    stage: Mapped[int] = mapped_column(default=0)
    risks: Mapped[list[str]] = mapped_column(JSON, default=list)
    rules_digest: Mapped[str] = mapped_column(String(64), default="")
    """SHA-256 of the role's rules as they were shown."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    submitted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    lapses_at: Mapped[datetime | None] = mapped_column(UtcDateTime, index=True)
    urgent_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When it lapses or is wanted, whichever is sooner."""
    decided_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    outcome: Mapped[str] = mapped_column(String(500), default="")
    """Why it ended as it did, in a word or a sentence."""

    review_due_at: Mapped[datetime | None] = mapped_column(UtcDateTime, index=True)
    reviewed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    reviewer_id: Mapped[str | None] = mapped_column(ForeignKey("people.id"))
    verdict: Mapped[str] = mapped_column(String(16), default="")
    """``justified`` or ``questioned``."""
    review: Mapped[str] = mapped_column(String(2000), default="")
    chased_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    person: Mapped[Person] = relationship(foreign_keys=[person_id])
    reviewer: Mapped[Person | None] = relationship(foreign_keys=[reviewer_id])
    cluster: Mapped[Cluster | None] = relationship()
    door: Mapped[EmergencyDoor | None] = relationship()
    decisions: Mapped[list[Decision]] = relationship(order_by="Decision.at", viewonly=True)
    comments: Mapped[list[Comment]] = relationship(order_by="Comment.at", viewonly=True)


class Asked(Base):
    """Whom a pending request waits for now: one row for each group, lead or namespace's owners of its stage."""

    __tablename__ = "asked"

    request_id: Mapped[str] = mapped_column(ForeignKey("access_requests.id", ondelete="CASCADE"), primary_key=True)
    who: Mapped[str] = mapped_column(String(64), primary_key=True, index=True)
    """``group:<id>`` or ``person:<id>``."""


class Decision(Base):
    """A yes or a no of one person in one round. The constraints hold whatever the services do."""

    __tablename__ = "decisions"
    __table_args__ = (
        UniqueConstraint("request_id", "round", "approver_human"),
        UniqueConstraint("request_id", "round", "approver_subject"),
        ForeignKeyConstraint(
            ["request_id", "requester_subject", "requester_human"],
            ["access_requests.id", "access_requests.requester_subject", "access_requests.requester_human"],
            name="fk_decisions_request",
        ),
        CheckConstraint("approver_subject <> requester_subject", name="not_oneself"),
        CheckConstraint("approver_human <> requester_human", name="not_ones_other_account"),
        CheckConstraint("verdict IN ('approve', 'deny')", name="verdict"),
    )

    id: Mapped[str] = id_column()
    request_id: Mapped[str] = mapped_column(String(24))
    requester_subject: Mapped[str] = mapped_column(String(300))
    requester_human: Mapped[str] = mapped_column(String(400))
    approver_id: Mapped[str] = mapped_column(ForeignKey("people.id"), index=True)
    approver_subject: Mapped[str] = mapped_column(String(300))
    approver_human: Mapped[str] = mapped_column(String(400))
    round: Mapped[int]
    stage: Mapped[int]
    verdict: Mapped[str] = mapped_column(String(8))
    seconds: Mapped[int]
    namespaces: Mapped[list[str]] = mapped_column(JSON)
    """What was agreed to: as asked, or less."""
    comment: Mapped[str] = mapped_column(String(2000), default="")
    digest: Mapped[str] = mapped_column(String(64))
    """SHA-256 of what was shown."""
    at: Mapped[datetime] = mapped_column(UtcDateTime)

    approver: Mapped[Person] = relationship()


class Draft(Base):
    """A request as somebody began to write it."""

    __tablename__ = "drafts"

    id: Mapped[str] = id_column()
    person_id: Mapped[str] = mapped_column(ForeignKey("people.id", ondelete="CASCADE"), index=True)
    fields: Mapped[dict[str, Any]] = mapped_column(JSON)
    """The form as it was filled in, right or wrong."""
    at: Mapped[datetime] = mapped_column(UtcDateTime)


class Comment(Base):
    """A word about a request, of the requester or of somebody who may decide."""

    __tablename__ = "comments"

    id: Mapped[str] = id_column()
    request_id: Mapped[str] = mapped_column(ForeignKey("access_requests.id", ondelete="CASCADE"), index=True)
    person_id: Mapped[str] = mapped_column(ForeignKey("people.id"))
    text: Mapped[str] = mapped_column(String(2000))
    at: Mapped[datetime] = mapped_column(UtcDateTime)

    person: Mapped[Person] = relationship()
