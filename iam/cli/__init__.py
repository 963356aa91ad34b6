"""The command line: for administrators beside the database. Wrong input ends with a sentence and exit code 2."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from iam import __version__
from iam.cli import abac, access, audit, catalogue, clusters, config, database, demo, directories, mappings, my, people, serve
from iam.cli.session import State
from iam.errors import Misconfigured, Problem


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="iam")
@click.option("--config", type=click.Path(path_type=Path), help="Settings file; else KUBE_IAM_CONFIG.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
@click.pass_context
def cli(context: click.Context, config: Path | None, as_json: bool) -> None:  # noqa: FBT001
    """Access management for Kubernetes."""
    context.obj = State(config, as_json)


for group in (config.config, database.database, directories.directory, people.people, clusters.clusters, mappings.mappings):
    cli.add_command(group)
for group in (access.access, abac.abac, audit.audit, catalogue.catalogue, catalogue.grants, my.my):
    cli.add_command(group)
for command in (serve.serve, serve.worker, directories.sync, clusters.reconcile, demo.demo, database.rotate_keys, people.kubeconfig):
    cli.add_command(command)


def main() -> None:
    """Run, and turn our own errors into one clear line each."""
    try:
        code = cli(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except Problem as problem:
        where = f"{problem.field}: " if problem.field else ""
        click.echo(f"Error: {where}{problem}", err=True)
        sys.exit(2)
    except Misconfigured as wrong:
        for line in wrong.mistakes:
            click.echo(f"Error: {line}", err=True)
        sys.exit(2)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
