"""``iam clusters`` and ``iam reconcile``."""

from __future__ import annotations

from pathlib import Path

import click

from iam.cli.session import State, pass_state
from iam.errors import Invalid, Unavailable
from iam.models import Cluster
from iam.services.clusters import Registration, role_ref
from iam.services.reconcile import Outcome, summary


@click.group()
def clusters() -> None:
    """Clusters."""


def _registration_options(command: click.decorators.FC) -> click.decorators.FC:
    for option in (
        click.option("--kubeconfig", type=click.Path(path_type=Path), help="A kubeconfig with inline data only."),
        click.option("--context", default="", help="Which of its contexts; else the current one."),
        click.option("--server", default="", help="https://host:6443, with --ca and --token-file."),
        click.option("--ca", type=click.Path(path_type=Path), help="The CA that signed the server's certificate."),
        click.option("--token-file", type=click.Path(path_type=Path), help="Our ServiceAccount's token."),
        click.option("--in-cluster", is_flag=True, help="We run inside that cluster."),
    ):
        command = option(command)
    return command


@clusters.command()
@click.argument("name")
@click.option("--title", default="")
@click.option("--signer", type=click.Choice(["csr", "ca", "none"]), default="csr", show_default=True)
@click.option("--signer-ca", type=click.Path(path_type=Path), help="With --signer ca: its certificate.")
@click.option("--signer-key", type=click.Path(path_type=Path), help="With --signer ca: its key.")
@click.option("--default-minutes", default=60, show_default=True)
@click.option("--max-minutes", default=720, show_default=True)
@_registration_options
@pass_state
def add(state: State, /, name: str, **options: object) -> None:
    """Register a cluster and probe it."""
    with state.services() as (ours, actor):
        rows = [_row(ours.clusters.register(actor, _registration(name, options)))]
    state.show(rows)


@clusters.command()
@click.argument("name")
@_registration_options
@pass_state
def renew(state: State, /, name: str, **options: object) -> None:
    """Give a registered cluster a new address or credential."""
    with state.services() as (ours, actor):
        rows = [_row(ours.clusters.renew(actor, _registration(name, options)))]
    state.show(rows)


@clusters.command()
@click.argument("name")
@click.option("--title")
@click.option("--default-minutes", type=int)
@click.option("--max-minutes", type=int)
@pass_state
def change(state: State, name: str, title: str | None, default_minutes: int | None, max_minutes: int | None) -> None:
    """Change title and lifetimes; what is not named stays."""
    with state.services() as (ours, actor):
        now = ours.clusters.get(actor, name)
        changed = ours.clusters.change(
            actor, name, title=now.title if title is None else title,
            default_lifetime_seconds=now.default_lifetime_seconds if default_minutes is None else default_minutes * 60,
            max_lifetime_seconds=now.max_lifetime_seconds if max_minutes is None else max_minutes * 60,
        )
        rows = [_row(changed)]
    state.show(rows)


@clusters.command("list")
@pass_state
def list_clusters(state: State) -> None:
    """Registered clusters."""
    with state.services() as (ours, actor):
        rows = [_row(cluster) for cluster in ours.clusters.list(actor)]
    state.show(rows, empty="No cluster is registered yet: iam clusters add NAME --kubeconfig FILE")


@clusters.command()
@click.argument("name")
@pass_state
def probe(state: State, name: str) -> None:
    """Look at a cluster: version, missing rights, whether it signs."""
    with state.services() as (ours, actor):
        found = ours.clusters.probe(actor, name).probe or {}
    state.show([found])
    if found.get("problem"):
        raise Unavailable("%(problem)s", problem=found["problem"])


@clusters.command()
@click.argument("name", default="")
@click.option("--role", "roles", multiple=True, help="ClusterRole to be able to bind (Role/NAME for a Role).")
@pass_state
def manifest(state: State, name: str, roles: tuple[str, ...]) -> None:
    """Print the least ServiceAccount and ClusterRole that we need on a cluster."""
    refs = [role_ref(kind or "ClusterRole", role) for kind, _, role in (role.rpartition("/") for role in roles)]
    with state.services() as (ours, actor):
        click.echo(ours.clusters.manifest(actor, name, refs), nl=False)


@clusters.command()
@click.argument("name")
@click.option("--leave-bindings", is_flag=True, help="The cluster exists no more.")
@click.confirmation_option(prompt="Forget this cluster and its registration?")
@pass_state
def remove(state: State, name: str, leave_bindings: bool) -> None:  # noqa: FBT001
    """Forget a cluster without mappings."""
    with state.services() as (ours, actor):
        ours.clusters.remove(actor, name, leave_bindings=leave_bindings)
    state.say(f"{name} is forgotten.", removed=name)


@click.command()
@click.argument("name", required=False)
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@pass_state
def reconcile(state: State, name: str | None, dry_run: bool) -> None:  # noqa: FBT001
    """Bring clusters in line now."""
    with state.services() as (ours, actor):
        names = [name] if name else [cluster.name for cluster in ours.clusters.list(actor)]
        outcomes = [Outcome(one, ours.reconciler.plan(actor, one)) if dry_run else ours.reconciler.run(actor, one) for one in names]
    done = [outcome for outcome in outcomes if outcome]
    state.show([summary(outcome) for outcome in done], empty="No cluster is registered yet.")
    for outcome in done:
        if outcome.error:
            raise Unavailable("%(cluster)s: %(why)s", cluster=outcome.cluster, why=outcome.error)


def _registration(name: str, options: dict[str, object]) -> Registration:
    def text(option: str) -> str:
        value = options.get(option)
        return _read(value, option) if isinstance(value, Path) else str(value or "")

    def seconds(option: str, default: int) -> int:
        value = options.get(option)
        return value * 60 if isinstance(value, int) else default

    return Registration(
        name=name, title=text("title"), access="in-cluster" if options.get("in_cluster") else "credential",
        kubeconfig=text("kubeconfig"), context=text("context"), server=text("server"), ca_pem=text("ca"), token=text("token_file"),
        signer=text("signer") or "csr", signer_ca_pem=text("signer_ca"), signer_ca_key=text("signer_key"),
        default_lifetime_seconds=seconds("default_minutes", 3600), max_lifetime_seconds=seconds("max_minutes", 43200),
    )


def _read(path: Path, option: str) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid("%(path)s cannot be read: %(why)s", field=f"--{option.replace('_', '-')}", path=str(path), why=str(error)) from None


def _row(cluster: Cluster) -> dict[str, object]:
    found = cluster.probe or {}
    return {
        "name": cluster.name, "server": cluster.server, "version": found.get("version"), "signer": cluster.signer,
        "signs": found.get("signs"), "missing_rights": found.get("missing_rights", []), "problem": found.get("problem", ""),
        "behind": cluster.reconcile.is_behind, "error": cluster.reconcile.error,
    }
