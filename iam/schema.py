"""The database's schema: brought up to date on command, never behind one's back."""

from __future__ import annotations

from typing import Literal

from alembic import command
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from flask import Flask
from flask_migrate import Migrate
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from iam.errors import Misconfigured
from iam.files import folder
from iam.models import db


def attach(app: Flask) -> None:
    """Make the migrations known to the app."""
    Migrate(app, db, directory=str(folder("migrations")), render_as_batch=True, compare_type=True)


def bring_up(app: Flask) -> None:
    """Migrate to the newest schema."""
    _migrate(app, "upgrade", "head")


def take_down(app: Flask, revision: str = "base") -> None:
    """Migrate back."""
    _migrate(app, "downgrade", revision)


def _migrate(app: Flask, way: Literal["upgrade", "downgrade"], revision: str) -> None:
    """Alembic itself, not Flask-Migrate's commands, which end the process on a mistake. Raises Misconfigured."""
    unreachable = _reach(app)
    if unreachable:
        raise Misconfigured([unreachable])
    with app.app_context():
        config = app.extensions["migrate"].migrate.get_config()
        try:
            getattr(command, way)(config, revision)
        except CommandError as error:
            raise Misconfigured([f"revision: {error}"]) from None


def mistake(app: Flask) -> str | None:
    """What is wrong with the database's schema, and the command that mends it; None when all is well."""
    unreachable = _reach(app)
    if unreachable:
        return unreachable
    wanted = ScriptDirectory(str(folder("migrations"))).get_current_head()
    with app.app_context(), db.engine.connect() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    if found == wanted:
        return None
    return f"database_url: the schema is at {found or 'nothing'} and should be at {wanted}: run `iam db upgrade`"


def _reach(app: Flask) -> str | None:
    try:
        with app.app_context(), db.engine.connect() as connection:
            connection.execute(text("SELECT 1"))
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", error)).splitlines()[0]
        return f"database_url: the database cannot be reached: {reason}"
    return None


def require_current(app: Flask) -> None:
    """Raises Misconfigured on a stale schema."""
    wrong = mistake(app)
    if wrong:
        raise Misconfigured([wrong])
