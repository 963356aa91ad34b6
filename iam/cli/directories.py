"""``iam directory`` and ``iam sync``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Protocol, runtime_checkable

import click

from iam.cli.session import State, pass_state
from iam.directory.base import Identity, LoginRefused, PasswordDirectory, Step
from iam.errors import Invalid, NotFound, Problem, Unavailable


@runtime_checkable
class _Findable(Protocol):
    def find(self, username: str, step: Step) -> Identity: ...


@click.group()
def directory() -> None:
    """Where people log in."""


@directory.command("list")
@pass_state
def list_directories(state: State) -> None:
    """The configured directories."""
    state.show([{"name": one.name, "kind": one.kind, "title": one.label} for one in state.settings.directories])


@directory.command()
@click.argument("name")
@click.argument("user")
@click.option("--password", "ask_password", is_flag=True, help="Ask for the password and log in for real.")
@pass_state
def test(state: State, name: str, user: str, ask_password: bool) -> None:  # noqa: FBT001
    """Print step by step what a directory is asked about a user, and what it answers."""

    def step(what: str, result: str = "") -> None:
        if not state.as_json:
            click.echo(f"{what}{': ' + result if result else ''}")

    with state.services() as (ours, _actor):
        chosen = ours.world.directories.get(name)
        if chosen is None:
            raise NotFound("There is no directory %(name)s in the settings.", name=name)
        try:
            if ask_password and isinstance(chosen, PasswordDirectory):
                identity = chosen.authenticate(user, click.prompt("Password", hide_input=True), step)
            elif isinstance(chosen, _Findable):
                identity = chosen.find(user, step)
            else:
                chosen.check(step)
                state.say("The directory answers. Only a login tells more.", status="ok")
                return
        except LoginRefused as refused:
            raise Invalid("%(user)s could not log in: %(reason)s", user=user, reason=refused.reason) from None
    state.show([asdict(identity)])


@click.command()
@click.argument("name", required=False)
@click.option("--accept-removals", is_flag=True, help="Go on although many people would be removed.")
@pass_state
def sync(state: State, name: str | None, accept_removals: bool) -> None:  # noqa: FBT001
    """Re-read the groups of known people."""
    with state.services() as (ours, actor):
        names = [name] if name else ours.sync.names()
        results = [ours.sync.run(actor, one, accept_removals=accept_removals) for one in names]
    state.show([asdict(result) for result in results])
    stopped: list[Problem] = [Unavailable("%(name)s: %(why)s", name=one.directory, why=one.alarm) for one in results if one.alarm]
    if stopped:
        raise stopped[0]
