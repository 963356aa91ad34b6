"""``iam audit``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from iam.cli.audit_export import export
from iam.cli.audit_verify import verify
from iam.cli.session import Row, State, pass_state
from iam.errors import Invalid
from iam.models import AuditEvent
from iam.services.audit import Event, Filter
from iam.services.audit.filters import RESULTS
from iam.services.audit.vocabulary import described


@click.group()
def audit() -> None:
    """The audit trail."""


@audit.command("list")
@click.option("--actor", default="")
@click.option("--person", default="", help="Whoever did it or was concerned.")
@click.option("--action", default="", help="One action, or a family such as grant.")
@click.option("--target", default="")
@click.option("--cluster", default="")
@click.option("--case", default="", help="The id of an access request.")
@click.option("--request", default="", help="The id of one call: everything that happened in it.")
@click.option("--result", type=click.Choice(["", *RESULTS]), default="")
@click.option("--since", default="", help="2026-11-22 or 2026-11-22T10:00:00Z")
@click.option("--until", default="")
@click.option("--before", type=int, help="Older than this event (its id).")
@click.option("--limit", default=50, show_default=True)
@pass_state
def list_events(state: State, /, **asked: Any) -> None:
    """Events, newest first."""
    with state.services() as (ours, actor):
        events = ours.audit.list(actor, Filter.asked(asked))
        rows = [
            {
                "at": event.at, "who": event.actor_name, "action": event.action, "target": event.target_name, "cluster": event.cluster,
                "result": event.result, "from": event.address or event.door, "reason": event.reason, "request": event.request_id,
            }
            | (_more(event) if state.as_json else {})
            for event in events
        ]
    state.show(rows, empty="No such events.")


@audit.command()
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="A file; else the terminal.")
@pass_state
def key(state: State, out: Path | None) -> None:
    """The public keys (PEM) that the trail is verified with. Keep a copy where nobody can change it."""
    with state.services() as (ours, actor):
        pem = ours.signing_keys.pem(actor)
        known = ours.signing_keys.public(actor)
        rows = [{"key": one.fingerprint, "since": one.created_at, "introduced_by": one.introduced_by} for one in known]
    if out:
        try:
            out.write_text(pem, "utf-8")
        except OSError as error:
            raise Invalid("%(path)s: %(why)s.", field="--out", path=str(out), why=error.strerror or str(error)) from None
        state.say(f"{len(rows)} public keys in {out}.", keys=rows, file=str(out))
    elif state.as_json:
        state.show(rows)
    else:
        click.echo(pem, nl=False)


@audit.command("rotate-key")
@pass_state
def rotate_key(state: State) -> None:
    """Let a new key sign from now on; it is introduced by the old one, which is forgotten."""
    with state.services() as (ours, actor):
        fingerprint = ours.signing_keys.rotate(actor)
    state.say(f"The key {fingerprint} signs from now on. Give its public half to your auditors: iam audit key.", key=fingerprint)


@audit.command()
@pass_state
def status(state: State) -> None:
    """How the chain, its anchors and its forwarders are."""
    with state.services() as (ours, actor):
        head, waiting = ours.sealer.head(), ours.sealer.waiting()
        rows: list[Row] = [_row("chain", "", head.sealed_at if head else None, head.last if head else 0, waiting)]
        for what, outlets in (("anchor", ours.anchoring.standings(actor)), ("forward", ours.forwarding.standings(actor))):
            rows += [_row(f"{what} ({one.kind})", one.name, one.delivered_at, one.position, one.behind, one.error) for one in outlets]
    state.show(rows)


@audit.command()
@pass_state
def vocabulary(state: State) -> None:
    """Every event that there is, as docs/audit-events.md has it."""
    if state.as_json:
        state.show([{"event": one.value, "says": one.sentence, "fields": sorted(one.fields)} for one in Event])
    else:
        click.echo(described(), nl=False)


audit.add_command(export)
audit.add_command(verify)


def _more(event: AuditEvent) -> dict[str, Any]:
    return {"id": event.id, "seq": event.seq, "person": event.person, "case": event.case_id, "details": event.details}


def _row(what: str, name: str, at: object, position: int, behind: int | None, error: str = "") -> Row:
    return {"what": what, "name": name, "at": at, "position": position, "behind": behind, "error": error}
