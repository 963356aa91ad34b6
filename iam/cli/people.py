"""``iam people`` and ``iam kubeconfig``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from iam.cli.session import State, pass_state
from iam.errors import Invalid
from iam.services.credentials import Ask


@click.group()
def people() -> None:
    """People."""


@people.command("create-admin")
@click.argument("username")
@click.option("--name", default="", help="Full name.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@pass_state
def create_admin(state: State, username: str, name: str, password_stdin: bool) -> None:  # noqa: FBT001
    """Create a local account that is an administrator."""
    password = sys.stdin.readline() if password_stdin else click.prompt("Password", hide_input=True, confirmation_prompt=True)
    with state.services() as (ours, actor):
        group = ours.accounts.administrators_group()
        directory = ours.accounts.create(
            actor, username=username, password=password.rstrip("\n"), display_name=name, groups=frozenset({group})
        )
    state.say(f"{username} can log in through {directory} and is an administrator.", username=username, directory=directory)


@people.command("set-password")
@click.argument("username")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@pass_state
def set_password(state: State, username: str, password_stdin: bool) -> None:  # noqa: FBT001
    """Give a local account a new password."""
    password = sys.stdin.readline() if password_stdin else click.prompt("Password", hide_input=True, confirmation_prompt=True)
    with state.services() as (ours, actor):
        ours.accounts.set_password(actor, username=username, password=password.rstrip("\n"))
    state.say(f"{username} has a new password.", username=username)


@people.command("list")
@click.argument("text", default="")
@click.option("--page", default=1)
@pass_state
def list_people(state: State, text: str, page: int) -> None:
    """Known people."""
    with state.services() as (ours, actor):
        found = ours.people.search(actor, text, page)
        rows = [
            {
                "username": person.username, "name": person.display_name, "directory": person.directory,
                "disabled": person.is_disabled, "last_login_at": person.last_login_at,
            }
            for person in found.people
        ]
    state.show(rows, empty="Nobody has logged in yet.")


@people.command()
@click.argument("username")
@pass_state
def disable(state: State, username: str) -> None:
    """Shut a person out: sessions and tokens now, bindings within seconds."""
    with state.services() as (ours, actor):
        ours.people.disable(actor, ours.people.by_username(username).id)
    state.say(f"{username} is shut out.", username=username, disabled=True)


@people.command()
@click.argument("username")
@pass_state
def enable(state: State, username: str) -> None:
    """Let a person in again."""
    with state.services() as (ours, actor):
        ours.people.enable(actor, ours.people.by_username(username).id)
    state.say(f"{username} may log in again.", username=username, disabled=False)


@click.command()
@click.argument("username")
@click.option("--cluster", "clusters", multiple=True, help="Only these clusters; else all of theirs.")
@click.option("--minutes", type=int, help="Lifetime; else each cluster's default.")
@click.option("--csr", type=click.Path(path_type=Path), help="The person's own signing request (PEM).")
@click.option("--output", type=click.Path(path_type=Path), help="Write here (mode 0600) instead of standard output.")
@pass_state
def kubeconfig(state: State, username: str, clusters: tuple[str, ...], minutes: int | None, csr: Path | None, output: Path | None) -> None:
    """A kubeconfig for a person who has logged in before."""
    pem = _read(csr) if csr else b""
    if output:
        _refuse_unwritable(output)  # before anything is signed
    with state.services() as (ours, actor):
        person = ours.people.by_username(username)
        ask = Ask(clusters, minutes * 60 if minutes is not None else None, pem, on_behalf_of=person.id)
        handed = ours.credentials.issue(actor, ask)
    if output:
        _write_secret(output, handed.kubeconfig)
        state.say(f"Written to {output}: {', '.join(handed.clusters)}.", output=str(output), expires=handed.expires)
    else:
        click.echo(handed.kubeconfig, nl=False)


def _write_secret(path: Path, text: str) -> None:
    """For its owner only, and whole or not at all: beside it, then in its place. Raises Invalid."""
    fresh = path.with_name(f".{path.name}.new")
    try:
        fresh.unlink(missing_ok=True)
        fresh.touch(mode=0o600)
        fresh.write_text(text, "utf-8")
        fresh.replace(path)
    except OSError as error:
        raise Invalid("%(path)s cannot be written: %(why)s", field="--output", path=str(path), why=error.strerror) from None


def _refuse_unwritable(path: Path) -> None:
    if not os.access(path.parent, os.W_OK) or path.is_dir():
        raise Invalid("%(path)s cannot be written: %(why)s", field="--output", path=str(path), why="no such folder, or not ours")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Invalid("%(path)s cannot be read: %(why)s", field="csr", path=str(path), why=error.strerror) from None
