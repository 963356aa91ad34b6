"""The audit trail: events, written in the transaction of the change they tell of; the blocks that seal them; keys and positions.

An event *is* its text. The columns to search by are generated from it by the database, so that they cannot say
anything else.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, Computed, Index, Integer, String, Text, and_, literal_column, text
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import InstrumentedAttribute, Mapped, mapped_column
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.types import TypeDecorator

from iam.evidence.blocks import Block, unhex
from iam.evidence.events import facts_of, moment, parsed_moment
from iam.models.base import Base, UtcDateTime

_Number = BigInteger().with_variant(Integer, "sqlite")


class Moment(TypeDecorator[datetime]):
    """A time as the text of an event writes it; such texts sort as times do."""

    impl = String(27)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """As a text."""
        return moment(value) if value else None

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Aware UTC; what is no time, in a row that somebody else wrote, is the beginning of time."""
        try:
            return parsed_moment(value) if value else None
        except (ValueError, TypeError):
            return datetime.fromtimestamp(0, UTC)


class Written(TypeDecorator[str]):
    """A text, also where somebody has put bytes in its place, which SQLite keeps in any column."""

    impl = Text
    cache_ok = True

    def process_result_value(self, value: str | bytes | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """As far as it is one."""
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


class Place(TypeDecorator[int]):
    """A number in the chain; 0, which no event has, where somebody has put something else."""

    impl = _Number
    cache_ok = True

    def process_result_value(self, value: Any, dialect: Dialect) -> int | None:  # noqa: ARG002
        """As far as it is one."""
        return value if value is None or type(value) is int else 0


class FromBody(ColumnElement[str]):
    """One field of the text, in the words of the database."""

    inherit_cache = True

    def __init__(self, field: str) -> None:
        self.field = field


@compiles(FromBody)
def _in_json_path(element: FromBody, _compiler: SQLCompiler, **_more: Any) -> str:
    return f"json_extract(body, '$.{element.field}')"


@compiles(FromBody, "postgresql")
def _in_json_operator(element: FromBody, _compiler: SQLCompiler, **_more: Any) -> str:
    return f"((body)::json ->> '{element.field}'::text)"


def _derived(field: str) -> Mapped[str]:
    return mapped_column(Text, Computed(FromBody(field), persisted=True))


USUAL = {
    "actor_name": "", "actor_id": "", "target_name": "", "person": "", "case_id": "", "cluster": "", "request_id": "", "result": "done",
}  # fmt: skip
"""What most events say is not indexed: nobody looks for it, and every change would wait for it."""


AND_WITHIN = {"cluster": ("action",)}
"""What is looked for within an index, in its order, without a look at the table."""
WORKER = "kube-iam"
"""The actor of about every third event."""


def _index(name: str, where: str, *columns: str) -> Index:
    return Index(f"ix_audit_trail_{name}", *columns, sqlite_where=text(where), postgresql_where=text(where))


def says(column: InstrumentedAttribute[str], value: str) -> ColumnElement[bool]:
    """That a column of events holds this, in words for which a database uses the index that leaves out what is usual."""
    if column.key == "actor_name" and value == WORKER:
        return column == literal_column(f"'{WORKER}'")
    usual = USUAL.get(column.key, value)
    return column == value if value == usual else and_(column == value, column != literal_column(f"'{usual}'"))


class AuditEvent(Base):
    """Who did what, on what, from where, with which result."""

    __tablename__ = "audit_trail"
    __mapper_args__ = {"eager_defaults": False}  # noqa: RUF012  # SQLAlchemy's own; what is generated is read when it is asked for
    __table_args__ = (
        Index("ix_audit_trail_action", "action", "id"),
        Index("ix_audit_trail_at", "at", "id"),
        *(_index(name, f"{name} <> '{usual}'", name, "id", *AND_WITHIN.get(name, ())) for name, usual in USUAL.items()),
        _index("worker", f"actor_name = '{WORKER}'", "action", "id"),
        *(_index(f"trouble_{name}", "result <> 'done'", name, "id") for name in ("actor_name", "action", "cluster")),
        _index("unsealed", "seq IS NULL", "id"),
    )

    id: Mapped[int] = mapped_column(_Number, primary_key=True, autoincrement=True)
    seq: Mapped[int | None] = mapped_column(Place, unique=True)
    """Its number in the chain, from 1 without gaps. None: not sealed yet; below zero: this service did not write it."""
    body: Mapped[str] = mapped_column(Written)
    """The event: see iam.evidence.events."""
    mark: Mapped[str] = mapped_column(Written)
    """Proves to the sealer that this service wrote it."""

    at: Mapped[datetime] = mapped_column(Moment, Computed(FromBody("at"), persisted=True))
    action: Mapped[str] = _derived("action")
    result: Mapped[str] = _derived("result")
    """``done``, ``refused`` or ``failed``."""
    reason: Mapped[str] = _derived("reason")
    actor_name: Mapped[str] = _derived("actor_name")
    actor_id: Mapped[str] = _derived("actor_id")
    door: Mapped[str] = _derived("door")
    """``page``, ``api``, ``cli`` or ``worker``."""
    address: Mapped[str] = _derived("address")
    request_id: Mapped[str] = _derived("request_id")
    target_kind: Mapped[str] = _derived("target_kind")
    target_name: Mapped[str] = _derived("target_name")
    person: Mapped[str] = _derived("person")
    """Whom it concerns, if that is somebody else than the target."""
    case_id: Mapped[str] = _derived("case_id")
    """The access request whose story it belongs to."""
    cluster: Mapped[str] = _derived("cluster")

    @property
    def details(self) -> dict[str, Any]:
        """What only events of this kind have; nothing, in a row that somebody else wrote wrongly."""
        try:
            found = facts_of(self.body)["details"]
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


class AuditBlock(Base):
    """Events sealed together; stays when retention removes the events."""

    __tablename__ = "audit_blocks"

    number: Mapped[int] = mapped_column(_Number, primary_key=True, autoincrement=False)
    first_seq: Mapped[int] = mapped_column(Place, unique=True)
    last_seq: Mapped[int] = mapped_column(Place, unique=True)
    hash: Mapped[str] = mapped_column(Written)
    header: Mapped[str] = mapped_column(Written)
    leaves: Mapped[str] = mapped_column(Written)
    """The hashes of its events, hex."""
    signature: Mapped[str] = mapped_column(Written)
    sealed_at: Mapped[datetime] = mapped_column(Moment, index=True)
    has_events: Mapped[bool] = mapped_column(default=True)
    """False once retention has removed them."""

    @property
    def block(self) -> Block:
        """As it is verified. Raises ValueError for leaves that are none."""
        return Block(self.header.encode(), unhex(self.leaves), self.signature)


class AuditKey(Base):
    """A key that signs or has signed blocks; the newest signs."""

    __tablename__ = "audit_keys"

    number: Mapped[int] = mapped_column(primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64), unique=True)
    public: Mapped[str] = mapped_column(String(64))
    private: Mapped[bytes | None]
    """Sealed by the vault; forgotten when the next one takes over."""
    introduced_by: Mapped[str] = mapped_column(String(64), default="")
    signature: Mapped[str] = mapped_column(String(128), default="")
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class AuditOutlet(Base):
    """Somewhere outside that the trail goes on to: a forwarder or an anchor, and how far it has come."""

    __tablename__ = "audit_outlets"

    name: Mapped[str] = mapped_column(String(80), primary_key=True)
    """``forward <name>`` or ``anchor <name>``."""
    position: Mapped[int] = mapped_column(_Number, default=0)
    """The last event that has arrived, or the last block that was anchored."""
    delivered_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    attempts: Mapped[int] = mapped_column(default=0)
    """Failures since the last success."""
    next_attempt_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    error: Mapped[str] = mapped_column(String(500), default="")
    is_alarmed: Mapped[bool] = mapped_column(default=False)
    """Whether the trail says already that it lags."""

    @property
    def is_tried(self) -> bool:
        """Whether anything was ever sent there, or should have been: a new one has its first turn before it can be late."""
        return self.attempts > 0 or self.delivered_at is not None
