"""``iam abac``: policy files generated, linted, imported, compared, converted, published."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from iam.cli.session import State, pass_state, read_text
from iam.errors import Invalid
from iam.files import replaced
from iam.kube import manifest_yaml
from iam.kube.abac import Policy
from iam.kube.abac_lint import Severity
from iam.services import policy_drafts
from iam.services.policies import NewPolicy
from iam.services.policy_drafts import Draft, has_references


@click.group()
def abac() -> None:
    """ABAC policy files. A SOURCE is a file, - for standard input, or a stored policy as NAME or NAME@VERSION."""


@abac.command("list")
@pass_state
def list_policies(state: State) -> None:
    """All stored policies."""
    with state.services() as (ours, actor):
        found = [
            {
                "name": one.name, "cluster": one.cluster.name if one.cluster else "-", "owner": one.owner, "version": one.current,
                "published": one.published_version, "at": one.published_at,
            }
            for one in ours.policies.list(actor)
        ]
    state.show(found, empty="No policy yet: iam abac import FILE NAME --reason WHY")


@abac.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("name")
@click.option("--reason", required=True, help="Why; kept with the version.")
@click.option("--cluster", default="", help="Which cluster it is for.")
@click.option("--owner", default="", help="Who answers for it; else whoever imports it.")
@click.option("--beside-rbac", is_flag=True, help="RBAC decides there too, so nobody is locked out by what is missing here.")
@pass_state
def import_policy(state: State, file: Path, name: str, reason: str, cluster: str, owner: str, *, beside_rbac: bool) -> None:
    """Keep FILE as policy NAME, or as its next version. Every line is kept as it stands, or nothing is."""
    text = read_text(file)
    with state.services() as (ours, actor):
        known = [one for one in ours.policies.list(actor) if one.name == name]
        if known:
            version = ours.policies.save(actor, name, text, reason, known[0].current).number
        else:
            version = ours.policies.create(actor, NewPolicy(name, text, reason, cluster, owner, not beside_rbac)).current
        lines = ours.policies.version(actor, name).lines
    state.say(f"{name}, version {version}: {lines} policies.", name=name, version=version, policies=lines)


@abac.command()
@click.argument("source")
@click.option("--out", type=click.Path(path_type=Path), help="Written whole or not at all; else standard output.")
@pass_state
def generate(state: State, source: str, out: Path | None) -> None:
    """The policy file for kube-apiserver: canonical lines, directory groups replaced by their people."""
    with _draft(state, source) as draft:
        draft.require_readable()
        if out:
            with replaced(out.absolute(), draft.rendered) as put:
                put()
            state.say(f"{out}: {len(draft.numbered)} lines.", file=str(out), lines=len(draft.numbered), digest=draft.digest)
        else:
            click.echo(draft.rendered, nl=False)


@abac.command()
@click.argument("source")
@click.option("--beside-rbac", is_flag=True, help="Another authorizer stands beside ABAC: no lock-outs.")
@pass_state
@click.pass_context
def lint(context: click.Context, state: State, source: str, *, beside_rbac: bool) -> None:
    """What is wrong with it. Ends with exit code 1 when there are errors."""
    with _draft(state, source) as draft:
        found = draft.findings(alone=False if beside_rbac else None)
    rows = [{"line": one.line or None, "severity": str(one.severity), "finding": str(one.code), "says": str(one.says)} for one in found]
    state.show(rows, empty="Nothing found.")
    context.exit(1 if any(one.severity == Severity.ERROR for one in found) else 0)


@abac.command()
@click.argument("before")
@click.argument("after")
@pass_state
def diff(state: State, before: str, after: str) -> None:
    """Who gains and who loses what, from one to the other."""
    with _draft(state, before) as old, _draft(state, after) as new:
        old.require_readable()
        new.require_readable()
        found = policy_drafts.changes(old, new)
    sides = (("gains", found.gained), ("loses", found.lost))
    state.show([_change(side, policy) for side, policies in sides for policy in policies], empty="Nobody gains or loses anything.")


@abac.command()
@click.argument("source")
@click.option("--name", default="abac", show_default=True, help="Begins the names of roles and bindings.")
@pass_state
@click.pass_context
def convert(context: click.Context, state: State, source: str, name: str) -> None:
    """The same as RBAC objects, as YAML. Lines that RBAC cannot say are named on standard error, with exit code 1."""
    with _draft(state, source) as draft:
        converted = draft.converted(name)
    click.echo(manifest_yaml.dump_all(converted.manifests), nl=False)
    for left in converted.left_over:
        click.echo(f"line {left.line}: {left.why}", err=True)
    context.exit(1 if converted.left_over else 0)


@abac.command()
@click.argument("name")
@click.option("--accept", is_flag=True, help="Publish although errors were found.")
@pass_state
def publish(state: State, name: str, *, accept: bool) -> None:
    """Write the newest version into abac.folder, where the API server reads it at its next start."""
    with state.services() as (ours, actor):
        file = ours.publishing.publish(actor, name, accept=accept)
        path, steps = ours.publishing.path_of(file), ours.publishing.next_steps(file)
    state.say(f"{path} is written. Start kube-apiserver anew with {' '.join(steps)}", file=str(path), flags=list(steps))


@abac.command()
@click.argument("name")
@pass_state
@click.pass_context
def check(context: click.Context, state: State, name: str) -> None:
    """Does the running API server decide by it already? Exit code 0 if nothing says otherwise, 1 if not."""
    with state.services() as (ours, actor):
        found = ours.publishing.check(actor, name)
    answered = f"It answers {found.asked} questions as the file does." if found.asked else "Nothing to ask: no line allows anything."
    differing = [{"question": str(asked.as_review()), "the cluster says": "yes" if said else "no"} for asked, said in found.differing]
    state.show(differing, empty=answered)
    context.exit(0 if found.decides_by_it else 1)


@contextmanager
def _draft(state: State, source: str) -> Iterator[Draft]:
    """A file, read without a database unless it names people or groups; else a stored policy."""
    if source == "-" or Path(source).exists() or "/" in source:
        text = read_text(Path(source))
        if not has_references(text):
            yield policy_drafts.read(text, lambda _: {}, source)
            return
        with state.services() as (ours, actor):
            yield ours.policies.draft(actor, text, source)
        return
    name, _, number = source.partition("@")
    if number and not number.isdigit():
        raise Invalid("A version is a number: NAME@3.", field="source")
    with state.services() as (ours, actor):
        yield ours.policies.stored(actor, name, int(number) if number else None)


def _change(side: str, policy: Policy) -> dict[str, Any]:
    return {
        "who": " + ".join(filter(None, (policy.user, policy.group and f"group {policy.group}"))), "": side,
        "may": "read" if policy.readonly else "do anything with", "what": policy.non_resource_path or policy.resource,
        "api group": "" if policy.non_resource_path else policy.api_group or "core",
        "namespace": "" if policy.non_resource_path else policy.namespace or "none",
    }
