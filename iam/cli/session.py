"""What every command shares: settings and services on demand, and answers as a table or as JSON."""

from __future__ import annotations

import json
import os
import pwd
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import click
from flask import Flask
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from iam import log, services, settings
from iam.app import create_app
from iam.errors import Invalid
from iam.services import Services
from iam.services.base import Actor, operator

Row = Mapping[str, Any]


class State:
    """One call of the command line."""

    def __init__(self, config: Path | None, as_json: bool) -> None:  # noqa: FBT001
        self._config = config
        self.as_json = as_json

    @cached_property
    def settings(self) -> settings.Settings:
        """Loaded on first use. Raises Misconfigured."""
        return settings.load(self._config)

    def app(self, *, check_schema: bool = True) -> Flask:
        """The application, without a server."""
        app = create_app(self.settings, check_schema=check_schema)
        log.configure("warning", json=False)
        return app

    @contextmanager
    def services(self) -> Iterator[tuple[Services, Actor]]:
        """The use cases, and the operator who calls them."""
        with self.app().app_context():
            yield services.current(), operator(_whoever(), click.get_current_context().command_path)

    def show(self, rows: Sequence[Row], *, empty: str = "Nothing.") -> None:
        """A table for people, a list for programs."""
        if self.as_json:
            click.echo(json.dumps(list(rows), default=_plain, ensure_ascii=False))
        elif not rows:
            click.echo(empty)
        else:
            table = Table(box=None, header_style="bold", pad_edge=False)
            for column in rows[0]:
                table.add_column(column, overflow="fold")
            for row in rows:
                table.add_row(*(_text(value) for value in row.values()))
            Console(highlight=False, markup=False, emoji=False).print(table)  # cells are what people wrote

    def say(self, sentence: str, **facts: Any) -> None:
        """One sentence for people, the facts for programs."""
        click.echo(json.dumps(facts, default=_plain, ensure_ascii=False) if self.as_json else sentence)


pass_state = click.pass_obj


def progress(*, quiet: bool) -> Progress:
    """A bar on standard error, where somebody looks at it."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    return Progress(*columns, console=Console(stderr=True), disable=quiet or not sys.stderr.isatty())


def read_text(path: Path) -> str:
    """A file's text as it stands, or standard input's for ``-``. Raises Invalid, naming it."""
    try:
        if str(path) == "-":
            piped = getattr(sys.stdin, "buffer", None)
            return bytes(piped.read()).decode("utf-8") if piped else sys.stdin.read()
        return path.read_bytes().decode("utf-8")  # no universal newlines: to the API server a lone CR ends no line
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid("%(path)s cannot be read: %(why)s", field=str(path), path=str(path), why=str(error)) from None


def _whoever() -> str:
    """Who the system says that we are, which no variable of the environment changes; behind sudo, also who became that."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a user that has no name, as in a container
        name = str(os.getuid())
    became = os.environ.get("SUDO_USER", "") if os.getuid() == 0 else ""
    return f"{name} ({became})" if became and became != name else name


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, frozenset | set | tuple):
        return sorted(value)
    return str(value)


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, list | tuple | frozenset | set):
        return ", ".join(str(item) for item in value) or "-"
    return "yes" if value is True else "no" if value is False else str(value)
