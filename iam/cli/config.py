"""``iam config``: check the settings, print an annotated example, make keys."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from functools import partial

import click
from cryptography.fernet import Fernet

from iam import schema, services
from iam.cli.session import State, pass_state
from iam.errors import Misconfigured, Problem
from iam.models import Cluster
from iam.services import Services
from iam.services.base import operator
from iam.settings.example import example


@click.group()
def config() -> None:
    """Settings."""


@config.command()
@click.option("--offline", is_flag=True, help="Do not try to reach anything.")
@pass_state
def check(state: State, offline: bool) -> None:  # noqa: FBT001
    """Check the settings, then reach every directory, the database and every cluster."""
    loaded = state.settings
    mistakes: list[str] = []
    rows = [{"what": "settings", "name": "", "result": "ok"}]
    if not offline:
        app = state.app(check_schema=False)
        wrong = schema.mistake(app)
        rows.append({"what": "database", "name": "", "result": wrong or "ok"})
        mistakes += [wrong] if wrong else []
        with app.app_context():
            ours = services.current()
            targets: list[tuple[str, str, Callable[[], object]]] = [
                ("directory", name, directory.check) for name, directory in ours.world.directories.items()
            ]
            registered = () if wrong else ours.clusters.list(operator("config check"))
            targets += [("cluster", one.name, partial(_reach, ours, one)) for one in registered]
            for kind, name, reach in targets:
                try:
                    reach()
                    rows.append({"what": kind, "name": name, "result": "ok"})
                except Problem as problem:
                    rows.append({"what": kind, "name": name, "result": str(problem)})
                    mistakes.append(f"{kind} {name}: {problem}")
    state.show(rows)
    if mistakes:
        raise Misconfigured(mistakes)
    if not state.as_json:
        click.echo(f"{len(loaded.directories)} directories; all is well.")


def _reach(ours: Services, cluster: Cluster) -> None:
    ours.clusters.connection(cluster).namespaces()


@config.command("example")
def print_example() -> None:
    """Print every setting with its meaning and default."""
    click.echo(example())


@config.command("new-key")
def new_key() -> None:
    """Make a secret_key and an encryption key."""
    click.echo(f'secret_key = "{secrets.token_urlsafe(48)}"')
    click.echo(f'encryption_keys = ["{Fernet.generate_key().decode()}"]')
