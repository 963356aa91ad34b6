"""``iam catalogue|grants``: what can be asked for and who decides, as one file; the grants that run."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import click
import yaml

from iam.approval import times
from iam.cli.session import State, pass_state, read_text
from iam.errors import Invalid, NotFound, Problem
from iam.kube import manifest_yaml
from iam.services import Services
from iam.services.base import Actor
from iam.services.requests import rows
from iam.services.requests.asking import Ask
from iam.services.requests.catalogue import NewEntry
from iam.services.requests.doors import NewDoor
from iam.services.requests.rules import NewRule

_T = TypeVar("_T")
_PARTS = {"entries": NewEntry, "rules": NewRule, "doors": NewDoor}


@click.group()
def catalogue() -> None:
    """What can be asked for, who decides on it, and the emergency doors."""


@catalogue.command()
@pass_state
def export(state: State) -> None:
    """All of it as one YAML file, which ``apply`` reads."""
    with state.services() as (ours, actor):
        found = {
            "entries": [_written(rows.entry(one), NewEntry) for one in ours.catalogue.entries(actor)],
            "rules": [_written(rows.rule(one), NewRule, "position") for one in ours.rules.listed(actor)],
            "doors": [_written(rows.door(one), NewDoor) for one in ours.doors.listed(actor)],
        }
    click.echo(manifest_yaml.dump(found), nl=False)


@catalogue.command()
@click.argument("file", type=click.Path(path_type=Path))
@pass_state
def apply(state: State, file: Path) -> None:
    """Add and change what FILE says (- for standard input); what it does not name stays. Rules are put into the file's order."""
    wanted = {part: [_read(one, kind, part) for one in found] for (part, found), kind in _document(file)}
    with state.services() as (ours, actor):
        done = [_save(ours, actor, part, command, place) for part in _PARTS for place, command in enumerate(wanted.get(part, []), 1)]
    state.show([{"what": what, "name": name, "done": how} for what, name, how in done], empty="Nothing to do.")


@catalogue.command()
@click.argument("username")
@click.argument("entry")
@click.option("--cluster", "clusters", multiple=True, required=True)
@click.option("-n", "--namespace", "namespaces", multiple=True)
@click.option("--for", "duration", default="1h", show_default=True)
@click.option("--ticket", default="")
@click.option("--why", "reason", default="-", help="Where a rule wants a justification of a certain form.")
@pass_state
def simulate(
    state: State, /, username: str, entry: str, clusters: tuple[str, ...], namespaces: tuple[str, ...], *, duration: str, ticket: str,
    reason: str,
) -> None:
    """Who would decide if USERNAME asked for ENTRY now?"""
    ask = Ask(entry, clusters, namespaces, times.seconds_of(duration, field="--for"), reason=reason, ticket=ticket)
    with state.services() as (ours, actor):
        found = []
        for cluster, namespace, tried, outcome in ours.requests.simulate(actor, username, ask):
            parts = [rows.part(one) for one in outcome] if isinstance(outcome, list) else []
            stages = [" and ".join(need["need"] for need in stage) for one in parts for stage in one["stages"]]
            found.append({
                "cluster": cluster, "namespace": namespace or "(whole cluster)",
                "tried": [f"{one.rule.name}: {one.why_not or 'counts'}" for one in tried],
                "stages": stages or (["granted at once"] if parts else []), "problem": "" if parts else str(outcome),
            })
    state.show(found)


@click.group()
def grants() -> None:
    """Access for a time."""


@grants.command("list")
@click.option("--cluster", default="")
@pass_state
def list_grants(state: State, cluster: str) -> None:
    """Those that run or will begin, the one that ends first at the top."""
    with state.services() as (ours, actor):
        found = [rows.grant(one) for one in ours.grants.running(actor, cluster)]
    columns = ("id", "holder", "role", "cluster", "namespaces", "state", "ends_at", "applied_at")
    state.show(found if state.as_json else [{name: row[name] for name in columns} for row in found], empty="No grant runs.")


@grants.command()
@click.argument("grant_id")
@click.option("--reason", required=True)
@pass_state
def revoke(state: State, grant_id: str, reason: str) -> None:
    """Take a grant away before its end."""
    with state.services() as (ours, actor):
        ours.grants.revoke(actor, grant_id, reason)
    state.say(f"{grant_id} is revoked; the cluster follows within seconds.", id=grant_id, revoked=True)


def _document(file: Path) -> list[tuple[tuple[str, list[Any]], type[Any]]]:
    try:
        found = yaml.safe_load(read_text(file)) or {}
    except yaml.YAMLError as error:
        raise Invalid("%(file)s is not YAML: %(why)s", field=str(file), file=str(file), why=str(error).splitlines()[0]) from None
    if not isinstance(found, dict) or set(found) - set(_PARTS) or not all(isinstance(one, list) for one in found.values()):
        raise Invalid("%(file)s should have lists called entries, rules and doors, and nothing else.", field=str(file), file=str(file))
    return [((part, found[part]), kind) for part, kind in _PARTS.items() if part in found]


def _read(given: Any, kind: type[_T], part: str) -> _T:
    """One item, with every key known. Raises Invalid."""
    known = {field.name: field.type for field in fields(kind)}  # type: ignore[arg-type]
    if not isinstance(given, dict) or set(given) - set(known) or not isinstance(given.get("name"), str):
        raise Invalid("Each of %(part)s has a name, and only these keys: %(known)s.", field=part, part=part, known=", ".join(known))
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    for name, value in values.items():
        wanted = str if known[name] == "str" else bool if known[name] == "bool" else tuple if known[name] == "tuple[str, ...]" else int
        items = value if isinstance(value, tuple) else ()
        if not isinstance(value, wanted) or not all(isinstance(item, str) for item in items):
            raise Invalid("%(part)s, %(name)s: %(key)s is of the wrong kind.", field=part, part=part, name=given["name"], key=name)
    try:
        return kind(**values)
    except TypeError:
        raise Invalid("%(part)s, %(name)s: something is missing.", field=part, part=part, name=given["name"]) from None


def _save(ours: Services, actor: Actor, part: str, command: Any, place: int) -> tuple[str, str, str]:
    try:
        return part, command.name, _saved(ours, actor, part, command, place)
    except Problem as problem:
        problem.field = f"{part}, {command.name}: {problem.field or ''}".rstrip(": ")
        raise


def _saved(ours: Services, actor: Actor, part: str, command: Any, place: int) -> str:
    service: Any = {"entries": ours.catalogue, "rules": ours.rules, "doors": ours.doors}[part]
    look = {"entries": ours.catalogue.get, "rules": ours.rules.get, "doors": ours.doors.get}[part]
    if part == "rules":
        command = NewRule(**{field.name: getattr(command, field.name) for field in fields(command)} | {"position": place})
    try:
        look(actor, command.name)
    except NotFound:
        service.save(actor, command)
        return "added"
    service.save(actor, command, name=command.name)
    return "changed"


def _written(row: rows.Row, kind: type[Any], *besides: str) -> rows.Row:
    """What ``apply`` reads: the keys of the command, in its order."""
    return {field.name: row[field.name] for field in fields(kind) if field.name in row and field.name not in besides}
