"""What every table shares: the metadata, aware UTC time, short random ids."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Any

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import DateTime, Dialect, MetaData, String, event
from sqlalchemy.engine import Engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC datetimes in both databases. SQLite keeps no zone, so it is taken off and put back here."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive times: they have no meaning."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a naive datetime cannot be stored")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Aware again."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """Constraint names are deterministic, so that migrations can name them on both databases."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


db = SQLAlchemy(model_class=Base)


def new_id() -> str:
    """A random, unguessable, URL-safe row id (96 bits)."""
    return secrets.token_hex(12)


def id_column() -> Mapped[str]:
    """The primary key of most tables."""
    return mapped_column(String(24), primary_key=True, default=new_id)


def _text_of(kept: bytes) -> str:
    """Whatever somebody has written into the file: what is no UTF-8 can be told of, and stops nobody."""
    return kept.decode("utf-8", "replace")


@event.listens_for(Engine, "connect")
def _postgresql_as_we_need_it(connection: Any, _record: Any) -> None:
    """A replica that loses its network gives its locks back within half a minute, not after hours."""
    if type(connection).__module__.startswith("psycopg"):
        with connection.cursor() as cursor:
            cursor.execute("SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3")
            cursor.execute("SET tcp_user_timeout = 15000")
        connection.commit()


@event.listens_for(Engine, "connect")
def _sqlite_as_we_need_it(connection: Any, _record: Any) -> None:
    """SQLite: enforce foreign keys, wait for a writer instead of failing, let readers and one writer overlap."""
    if type(connection).__module__.startswith("sqlite3"):
        connection.text_factory = _text_of
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA busy_timeout=10000")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
