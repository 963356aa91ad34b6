"""Migrations on both databases: what they build is what the models say, and they go down and up again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from fixtures.product import make_settings
from flask import Flask
from rigs.postgres import Postgres
from sqlalchemy import CheckConstraint, Inspector, UniqueConstraint, inspect, text

from iam import schema
from iam.app import create_app
from iam.errors import Misconfigured
from iam.models import Base, db

VERSION_TABLE = "alembic_version"


@pytest.fixture(params=["sqlite", "postgresql"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Flask]:
    """An app over an empty database."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'fresh.db'}"
        yield from over(url, tmp_path)
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    url = postgres.create_database("migrations")
    try:
        yield from over(url, tmp_path)
    finally:
        postgres.drop_database("migrations")


def over(url: str, folder: Path) -> Iterator[Flask]:
    made = create_app(make_settings(folder, database_url=url), check_schema=False)
    yield made
    with made.app_context():
        db.session.remove()
        db.engine.dispose()


def found(app: Flask) -> Inspector:
    with app.app_context():
        return inspect(db.engine)


def differences(app: Flask) -> list[object]:
    with app.app_context(), db.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        return list(compare_metadata(context, Base.metadata))


def test_migrations_build_exactly_what_the_models_say(app: Flask) -> None:
    schema.bring_up(app)
    assert differences(app) == []
    assert set(found(app).get_table_names()) == {*Base.metadata.tables, VERSION_TABLE}


def test_unique_and_check_constraints_are_really_there(app: Flask) -> None:
    schema.bring_up(app)
    inspector = found(app)
    for table in Base.metadata.sorted_tables:
        unique = {tuple(one["column_names"]) for one in inspector.get_unique_constraints(table.name)}
        wanted = {tuple(column.name for column in one.columns) for one in table.constraints if isinstance(one, UniqueConstraint)}
        assert unique == wanted, table.name
        checks = {one["name"] for one in inspector.get_check_constraints(table.name)}
        assert {one.name for one in table.constraints if isinstance(one, CheckConstraint) and one.name} <= checks
        keys = {tuple(one["constrained_columns"]) for one in inspector.get_foreign_keys(table.name)}
        assert keys == {tuple(one.column_keys) for one in table.foreign_key_constraints}, table.name


def test_they_go_down_to_nothing_and_up_again(app: Flask) -> None:
    schema.bring_up(app)
    schema.take_down(app)
    assert found(app).get_table_names() == [VERSION_TABLE]
    assert "the schema is at nothing" in (schema.mistake(app) or "")
    schema.bring_up(app)
    assert schema.mistake(app) is None
    assert differences(app) == []


def test_bringing_up_twice_changes_nothing(app: Flask) -> None:
    for _ in range(2):
        schema.bring_up(app)
        assert schema.mistake(app) is None


@pytest.mark.parametrize("revision", [None, "0000-of-the-future"])
def test_the_service_does_not_start_on_another_schema(app: Flask, tmp_path: Path, revision: str | None) -> None:
    schema.bring_up(app)
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(text(f"DELETE FROM {VERSION_TABLE}"))
        if revision:
            connection.execute(text(f"INSERT INTO {VERSION_TABLE} VALUES ('{revision}')"))
    with pytest.raises(Misconfigured, match="run `iam db upgrade`"):
        create_app(make_settings(tmp_path, database_url=app.config["SQLALCHEMY_DATABASE_URI"]))
