"""The database's schema: brought up to date on command, never behind one's back."""

from __future__ import annotations

from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import Flask
from flask_migrate import Migrate, downgrade, upgrade
from sqlalchemy.exc import SQLAlchemyError

from iam.errors import Misconfigured
from iam.files import folder
from iam.models import db


def attach(app: Flask) -> None:
    """Make the migrations known to the app."""
    Migrate(app, db, directory=str(folder("migrations")), render_as_batch=True, compare_type=True)


def bring_up(app: Flask) -> None:
    """Migrate to the newest schema."""
    with app.app_context():
        upgrade()


def take_down(app: Flask, revision: str = "base") -> None:
    """Migrate back."""
    with app.app_context():
        downgrade(revision=revision)


def mistake(app: Flask) -> str | None:
    """What is wrong with the database's schema, and the command that mends it; None when all is well."""
    wanted = ScriptDirectory(str(folder("migrations"))).get_current_head()
    try:
        with app.app_context(), db.engine.connect() as connection:
            found = MigrationContext.configure(connection).get_current_revision()
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", error)).splitlines()[0]
        return f"database_url: the database cannot be reached: {reason}"
    if found == wanted:
        return None
    return f"database_url: the schema is at {found or 'nothing'} and should be at {wanted}: run `iam db upgrade`"


def require_current(app: Flask) -> None:
    """Raises Misconfigured on a stale schema."""
    wrong = mistake(app)
    if wrong:
        raise Misconfigured([wrong])
