"""``iam mappings``."""

from __future__ import annotations

import click

from iam.cli.session import State, pass_state
from iam.services.access import Effect, NewMapping


@click.group()
def mappings() -> None:
    """Which directory group holds which role where."""


@mappings.command("list")
@pass_state
def list_mappings(state: State) -> None:
    """All mappings."""
    with state.services() as (ours, actor):
        rows = [
            {
                "id": one.id, "group": one.group.reference, "cluster": one.cluster.name, "role": f"{one.role_kind}/{one.role_name}",
                "namespaces": one.namespaces or ["(whole cluster)"], "subjects": one.subject_kind,
            }
            for one in ours.access.mappings(actor)
        ]
    state.show(rows, empty="No mapping yet: iam mappings add DIRECTORY:GROUP CLUSTER ROLE -n NAMESPACE")


@mappings.command()
@click.argument("group")
@click.argument("cluster")
@click.argument("role")
@click.option("-n", "--namespace", "namespaces", multiple=True, help="Only there; else in the whole cluster.")
@click.option("--subjects", type=click.Choice(["User", "Group"]), default="User", show_default=True)
@click.option("--note", default="")
@click.option("--dry-run", is_flag=True, help="Only show who would gain it.")
@pass_state
def add(
    state: State, group: str, cluster: str, role: str, namespaces: tuple[str, ...], subjects: str, note: str, dry_run: bool  # noqa: FBT001
) -> None:
    """Map GROUP (directory:group) to ROLE (a ClusterRole, or Role/NAME) in CLUSTER."""
    kind, _, name = role.rpartition("/")
    command = NewMapping(group, cluster, kind or "ClusterRole", name, namespaces, subjects, note)
    with state.services() as (ours, actor):
        effect = ours.access.preview(actor, command)
        saved = None if dry_run else ours.access.create(actor, command).id
        _tell(state, effect, saved)


@mappings.command()
@click.argument("mapping_id")
@click.option("--dry-run", is_flag=True, help="Only show who would lose it.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_state
def remove(state: State, mapping_id: str, dry_run: bool, yes: bool) -> None:  # noqa: FBT001
    """Remove a mapping."""
    with state.services() as (ours, actor):
        effect = ours.access.preview_removal(actor, mapping_id)
        _tell(state, effect, mapping_id)
        if dry_run:
            return
        if not yes and not state.as_json:
            click.confirm("Remove it?", abort=True)
        ours.access.remove(actor, mapping_id)


def _tell(state: State, effect: Effect, mapping_id: str | None) -> None:
    gaining = [person.username for person in effect.gaining]
    losing = [person.username for person in effect.losing]
    words = f"gain: {', '.join(gaining) or 'nobody'}; lose: {', '.join(losing) or 'nobody'}; unchanged: {effect.unchanged}"
    state.say(words, id=mapping_id, gaining=gaining, losing=losing, unchanged=effect.unchanged)
