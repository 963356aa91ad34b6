"""``iam access``: what an authorizer would say, from files or from a registered cluster."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path
from typing import Any, TextIO

import click

from iam.cli import explore
from iam.cli.session import State, pass_state, read_text
from iam.errors import Invalid
from iam.kube import abac, rbac_files
from iam.kube.authorizer import Snapshot
from iam.kube.requests import Decision, Request, from_review, in_words, with_implied_groups

MAX_REVIEW_BYTES = 1024 * 1024
Decide = Callable[[Request], Decision]


@click.group()
def access() -> None:
    """Questions about access."""


for command in explore.COMMANDS:
    access.add_command(command)


@access.command()
@click.argument("verb", required=False)
@click.argument("resource", required=False)
@click.argument("name", required=False, default="")
@click.option("--rbac", type=click.Path(path_type=Path), help="RBAC objects, as kubectl get -o json|yaml prints them.")
@click.option("--abac", "policies", type=click.Path(path_type=Path), help="An ABAC policy file.")
@click.option("--cluster", help="A registered cluster's RBAC, as it is now.")
@click.option("--reviews", help="SubjectAccessReviews, one JSON object a line; - for standard input.")
@click.option("--as", "user", default="", help="The user; authentication's own groups are added.")
@click.option("--as-group", "groups", multiple=True)
@click.option("-n", "--namespace", default="")
@pass_state
@click.pass_context
def check(context: click.Context, state: State, /, **given: Any) -> None:
    """May they? VERB RESOURCE[.GROUP][/SUBRESOURCE] [NAME], or VERB /path; or many questions with --reviews.

    One question ends with exit code 0 when it is allowed and 1 when it is not.
    """
    decide = _authorizer(state, given)
    if given["reviews"]:
        _answer_reviews(decide, given["reviews"])
        return
    if not given["verb"] or not given["resource"] or not (given["user"] or given["groups"]):
        raise Invalid("Ask VERB and RESOURCE with --as (or --as-group), or give --reviews.", field="question")
    decision = decide(_question(given))
    words = f"{'yes' if decision.allowed else 'no'}{' - ' + decision.reason if decision.reason else ''}"
    state.say(words, allowed=decision.allowed, reason=decision.reason)
    context.exit(0 if decision.allowed else 1)


def _authorizer(state: State, given: dict[str, Any]) -> Decide:
    chosen = [name for name in ("rbac", "policies", "cluster") if given[name]]
    if len(chosen) != 1:
        raise Invalid("Give one of --rbac, --abac and --cluster.", field="source")
    if given["rbac"]:
        return Snapshot.from_documents(rbac_files.read(read_text(given["rbac"]), str(given["rbac"]))).decide
    if given["policies"]:
        return abac.AbacAuthorizer.from_lines(abac.lines(read_text(given["policies"]), str(given["policies"]))).decide
    with state.services() as (ours, actor):
        return ours.clusters.snapshot(actor, given["cluster"]).decide


def _question(given: dict[str, Any]) -> Request:
    wanted = in_words(given["verb"], given["resource"], given["name"], given["namespace"])
    return wanted.by(given["user"], with_implied_groups(given["user"], tuple(given["groups"])))


def _answer_reviews(decide: Decide, source: str) -> None:
    """One answer a line, in order, nothing else on standard output."""
    try:
        with _lines_of(source) as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    decision = decide(_review(line, f"{source}:{number}"))
                    sys.stdout.write(json.dumps({"allowed": decision.allowed, "reason": decision.reason}) + "\n")
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid("%(path)s cannot be read: %(why)s", field="--reviews", path=source, why=str(error)) from None


def _lines_of(source: str) -> TextIO:
    if source != "-":
        return Path(source).open(encoding="utf-8", newline="\n")
    if isinstance(sys.stdin, TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", newline="\n")
    return sys.stdin


def _review(line: str, where: str) -> Request:
    if len(line.encode("utf-8", "replace")) > MAX_REVIEW_BYTES:
        raise Invalid("A review is larger than 1 MiB.", field=where)
    try:
        return from_review(json.loads(line))
    except (ValueError, RecursionError):
        raise Invalid("This is not JSON.", field=where) from None
    except Invalid as problem:
        raise Invalid(problem.message, field=f"{where} {problem.field or ''}".strip(), **problem.params) from None
