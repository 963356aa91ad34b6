"""``iam audit export``: into a file, with progress, resumed where it broke off."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import IO, Any

import click

from iam.cli.session import State, pass_state, progress
from iam.errors import Conflict, Invalid, Unavailable
from iam.evidence import exports
from iam.services import Services
from iam.services.audit import Filter
from iam.services.audit.exporting import KINDS, Export
from iam.services.base import Actor
from iam.zipped import Zipped


@click.command()
@click.option("--format", "kind", type=click.Choice(KINDS), default="jsonl", show_default=True, help="jsonl proves every event by itself.")
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The file; compressed if it ends with .gz.")
@click.option("--resume", is_flag=True, help="Go on with a file that broke off (jsonl of the whole trail, not compressed).")
@click.option("--actor", default="")
@click.option("--person", default="", help="Whoever did it or was concerned.")
@click.option("--action", default="", help="One action, or a family such as grant.")
@click.option("--cluster", default="")
@click.option("--case", default="", help="The id of an access request.")
@click.option("--since", default="", help="2026-11-22 or 2026-11-22T10:00:00Z")
@click.option("--until", default="")
@pass_state
def export(state: State, /, kind: str, out: Path, resume: bool, **asked: str) -> None:  # noqa: FBT001
    """Write the trail, or the part that is asked for, to a file that can be verified without us.

    Kinds other than jsonl get their manifest beside them, in FILE.manifest.json.
    """
    wanted = Filter.asked(asked)
    if out.exists() and not resume:
        raise Conflict("%(path)s is there already; choose another name, or --resume.", field="--out", path=str(out))
    with state.services() as (ours, actor):
        running = _resumed(ours, actor, out, wanted) if resume else ours.exports.begin(actor, kind, wanted)
        try:
            _write(ours, running, out, quiet=state.as_json)
        except OSError as error:
            words = "%(path)s: %(why)s. What was written is whole up to there; --resume goes on."
            raise Unavailable(words, path=str(out), why=error.strerror or str(error)) from None
    state.say(
        f"{running.events} events in {out}.", events=running.events, bytes=running.size, sha256=running.digest.hexdigest(),
        export=running.id, first=running.first, last=running.last, file=str(out),
    )


def _write(ours: Services, running: Export, out: Path, *, quiet: bool) -> None:
    with _target(out, is_continued=running.is_continued) as target, progress(quiet=quiet) as bar:
        task = bar.add_task("events", total=ours.exports.estimate(running))
        for part in ours.exports.parts(running):
            target.write(part)
            bar.update(task, completed=running.events)
    if running.kind != "jsonl":
        Path(f"{out}.manifest.json").write_bytes(running.manifest)


def _target(out: Path, *, is_continued: bool) -> IO[bytes] | Zipped:
    handle = os.open(out, os.O_WRONLY | os.O_CREAT | (os.O_APPEND if is_continued else os.O_EXCL), 0o600)
    return Zipped(os.fdopen(handle, "wb")) if out.suffix == ".gz" else os.fdopen(handle, "ab" if is_continued else "wb")


def _resumed(ours: Services, actor: Actor, out: Path, wanted: Filter) -> Export:
    """What stands in the file up to its last whole block stays; what is behind is cut away."""
    if wanted.is_narrow or out.suffix == ".gz":
        raise Invalid("Only an export of the whole trail as jsonl, not compressed, can be resumed.", field="--resume")
    try:
        opening, whole, first, last, digest, events = _read(out)
    except OSError as error:
        raise Invalid("%(path)s cannot be read: %(why)s", field="--out", path=str(out), why=str(error)) from None
    except exports.NotAnExport as problem:
        raise Invalid("%(path)s cannot be resumed: %(why)s.", field="--resume", path=str(out), why=str(problem)) from None
    running = ours.exports.resume(actor, opening, last)
    os.truncate(out, whole)
    running.digest, running.size, running.events, running.first, running.last = digest, whole, events, first, last
    return running


def _read(out: Path) -> tuple[dict[str, Any], int, int, int, Any, int]:
    with out.open("rb") as lines:
        head = next(lines, b"")
        opening, _keys = exports.read_opening(head)
        digest, waiting = hashlib.sha256(head), list[bytes]()
        whole, first, last, events = len(head), 0, 0, 0
        for line in lines:
            if exports.is_manifest(line):
                raise exports.NotAnExport("it is complete already")
            waiting.append(line)
            if not exports.is_block(line) or not line.endswith(b"\n"):
                continue
            last = exports.read_block(line).last
            first = first or (exports.read_event(waiting[0])[0] if len(waiting) > 1 else 0)
            events += len(waiting) - 1
            for one in waiting:
                digest.update(one)
                whole += len(one)
            waiting = []
    return opening, whole, first, last, digest, events
