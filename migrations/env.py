"""How Alembic reaches the database: through the app's engine, with timeouts so that a lock never hangs a rollout."""

from __future__ import annotations

from alembic import context
from flask import current_app
from sqlalchemy import text

migrate = current_app.extensions["migrate"]
database = migrate.db


def run() -> None:
    with database.engine.connect() as connection:
        context.configure(connection=connection, target_metadata=database.metadata, **migrate.configure_args)
        with context.begin_transaction():
            if connection.dialect.name == "postgresql":  # both for this transaction only
                connection.execute(text("SET LOCAL lock_timeout = '10s'"))
                connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('kube-iam migrations'))"))
            context.run_migrations()


run()
