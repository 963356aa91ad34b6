"""``iam db``: the schema."""

from __future__ import annotations

import click

from iam import schema
from iam.cli.session import State, pass_state
from iam.errors import Misconfigured


@click.group("db")
def database() -> None:
    """The database's schema."""


@database.command()
@pass_state
def upgrade(state: State) -> None:
    """Bring the schema up to date."""
    app = state.app(check_schema=False)
    schema.bring_up(app)
    wrong = schema.mistake(app)
    if wrong:
        raise Misconfigured([wrong])
    state.say("The schema is up to date.", status="done")


@database.command()
@click.argument("revision", default="base")
@click.confirmation_option(prompt="This drops tables and what is in them. Go on?")
@pass_state
def downgrade(state: State, revision: str) -> None:
    """Take the schema down to a revision."""
    schema.take_down(state.app(check_schema=False), revision)
    state.say(f"The schema is at {revision}.", revision=revision)


@database.command("check")
@pass_state
def check_schema(state: State) -> None:
    """Whether the schema is the one this version needs."""
    wrong = schema.mistake(state.app(check_schema=False))
    if wrong:
        raise Misconfigured([wrong])
    state.say("The schema is up to date.", status="ok")


@click.command("rotate-keys")
@pass_state
def rotate_keys(state: State) -> None:
    """Encrypt every stored secret under the first of encryption_keys."""
    with state.services() as (ours, actor):
        count = ours.clusters.rotate_keys(actor)
    state.say(f"{count} secrets are under the current key now.", rotated=count)
