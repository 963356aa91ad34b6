"""``iam access who-can|what-can|why|namespaces|compare|paths``: the explorer on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from iam.cli.session import State, pass_state
from iam.errors import Invalid
from iam.kube.requests import in_words
from iam.services import Services
from iam.services import explorer_rows as rows
from iam.services.access import NewMapping
from iam.services.tables import csv_text
from iam.services.views import Standpoint, View

_TOO_WIDE = {"display_name", "binding", "mapping", "subject"}
"""Left out of tables for people; JSON and CSV have them."""
_F = TypeVar("_F", bound=Callable[..., Any])


def about_a_cluster(command: _F) -> _F:
    """The options that every question takes."""
    for option in (
        click.option("--csv", "as_csv", is_flag=True, help="Comma-separated values."),
        click.option("--removing", default="", metavar="MAPPING", help="As it would be without this mapping."),
        click.option("--adding", default="", metavar="'GROUP ROLE [NAMESPACE,...]'", help="As it would be with this mapping."),
        click.option("--planned", is_flag=True, help="As it will be after the next reconcile."),
        click.option("--cluster", required=True),
    ):
        command = option(command)
    return command


@click.command("who-can")
@click.argument("verb")
@click.argument("resource")
@click.argument("name", default="")
@click.option("-n", "--namespace", default="")
@click.option("--anywhere", is_flag=True, help="In whichever namespace.")
@about_a_cluster
@pass_state
def who_can(state: State, /, verb: str, resource: str, name: str, namespace: str, *, anywhere: bool, **given: Any) -> None:
    """Who may do this, and through what?"""
    wanted = in_words(verb, resource, name, namespace)
    with _view(state, given) as (ours, view):
        found = ours.explorer.who_can(view, wanted, anywhere=anywhere)
        _show(state, given, rows.who_can(ours.explorer.grounds(view, found)), empty="Nobody but system:masters.")


@click.command("what-can")
@click.argument("user")
@about_a_cluster
@pass_state
def what_can(state: State, /, user: str, **given: Any) -> None:
    """What may this user do, and through what?"""
    with _view(state, given) as (ours, view):
        _show(state, given, rows.what_can(ours.explorer.what_can(view, user)))


@click.command("why")
@click.argument("user")
@click.argument("verb")
@click.argument("resource")
@click.argument("name", default="")
@click.option("-n", "--namespace", default="")
@about_a_cluster
@pass_state
def why(state: State, /, user: str, verb: str, resource: str, name: str, namespace: str, **given: Any) -> None:
    """May this user do this: by what, or why not and what would help?"""
    wanted = in_words(verb, resource, name, namespace)
    with _view(state, given) as (ours, view):
        answer = ours.explorer.may(view, user, wanted)
        if state.as_json:
            click.echo(json.dumps(rows.may(answer), ensure_ascii=False))
        elif given["as_csv"]:
            click.echo(csv_text(rows.may_in_lines(answer)), nl=False)
        else:
            _tell(state, rows.may_in_lines(answer), answer.decision.reason)


def _tell(state: State, facts: Sequence[rows.Row], reason: str) -> None:
    """Yes or no, and a table a kind of fact."""
    click.echo(f"{facts[0]['allowed']}{' - ' + reason if reason else ''}")
    for title in dict.fromkeys(fact["fact"] for fact in facts if fact["role"]):
        click.echo(f"\n{title.capitalize()}:")
        found = [fact for fact in facts if fact["fact"] == title]
        columns = [name for name in found[0] if name not in {"allowed", "fact", *_TOO_WIDE} and any(fact[name] for fact in found)]
        state.show([{name: fact[name] for name in columns} for fact in found])


@click.command("namespaces")
@click.argument("user")
@about_a_cluster
@pass_state
def namespaces(state: State, /, user: str, **given: Any) -> None:
    """Which namespaces may this user use? An empty one is the whole cluster."""
    with _view(state, given) as (ours, view):
        _show(state, given, rows.places(ours.explorer.places(view, user)))


@click.command("compare")
@click.argument("first")
@click.argument("second")
@about_a_cluster
@pass_state
def compare(state: State, /, first: str, second: str, **given: Any) -> None:
    """What may one that the other may not?"""
    with _view(state, given) as (ours, view):
        _show(state, given, rows.compare(ours.explorer.compare(view, first, second)))


@click.command("paths")
@click.argument("user", default="")
@click.option("--of-kubernetes", is_flag=True, help="Also Kubernetes' own users and service accounts.")
@about_a_cluster
@pass_state
def paths(state: State, /, user: str, *, of_kubernetes: bool, **given: Any) -> None:
    """Who could reach more than they hold (or what USER could), step by step?"""
    with _view(state, given) as (ours, view):
        explorer = ours.explorer
        steps = rows.steps(explorer.paths(view, user)) if user else rows.climbs(explorer.climbs(view, of_kubernetes=of_kubernetes))
        _show(state, given, steps, empty="Nobody reaches more than they hold.")


@contextmanager
def _view(state: State, given: dict[str, Any]) -> Iterator[tuple[Services, View]]:
    with state.services() as (ours, actor):
        standpoint = Standpoint(given["planned"], _mapping(given["adding"], given["cluster"]), given["removing"])
        yield ours, ours.explorer.view(actor, given["cluster"], standpoint)


def _mapping(words: str, cluster: str) -> NewMapping | None:
    """``local:developers view web,shop``; a Role is written ``Role/name``."""
    if not words:
        return None
    group, role, scopes, *rest = [*words.split(), "", "", ""]
    if not role or any(rest):
        raise Invalid("This should read 'GROUP ROLE [NAMESPACE,...]'.", field="--adding")
    kind, slash, name = role.partition("/")
    scopes_named = tuple(filter(None, scopes.split(",")))
    return NewMapping(group, cluster, kind if slash else "ClusterRole", name if slash else role, scopes_named)


def _show(state: State, given: dict[str, Any], found: Sequence[rows.Row], *, empty: str = "Nothing.") -> None:
    if given["as_csv"]:
        click.echo(csv_text(found), nl=False)
    elif state.as_json:
        state.show(found, empty=empty)
    else:
        state.show([{name: value for name, value in row.items() if name not in _TOO_WIDE} for row in found], empty=empty)


COMMANDS = (who_can, what_can, why, namespaces, compare, paths)
