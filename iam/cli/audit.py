"""``iam audit``."""

from __future__ import annotations

import click

from iam.cli.session import State, pass_state
from iam.services.audit import Filter


@click.group()
def audit() -> None:
    """The audit trail."""


@audit.command("list")
@click.option("--actor", "who", default="")
@click.option("--action", default="")
@click.option("--target", default="")
@click.option("--cluster", default="")
@click.option("--result", type=click.Choice(["", "done", "refused", "failed"]), default="")
@click.option("--limit", default=50, show_default=True)
@pass_state
def list_events(state: State, who: str, action: str, target: str, cluster: str, result: str, limit: int) -> None:
    """Events, newest first."""
    with state.services() as (ours, actor):
        events = ours.audit.list(actor, Filter(who, action, target, cluster, result, limit=limit))
        rows = [
            {
                "at": event.at, "who": event.actor_name, "action": event.action, "target": event.target_name, "cluster": event.cluster,
                "result": event.result, "from": event.address or event.door, "reason": event.reason, "request": event.request_id,
            }
            | ({"id": event.id, "details": event.details} if state.as_json else {})
            for event in events
        ]
    state.show(rows, empty="No such events.")
