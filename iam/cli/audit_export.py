"""``iam audit export``: into a file, with progress, resumed where it broke off."""

from __future__ import annotations

import hashlib
import os
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import click

from iam.cli.session import State, pass_state, progress
from iam.errors import Conflict, Invalid, Unavailable
from iam.evidence import exports, reading
from iam.evidence.keys import KeyRing
from iam.evidence.proof import Proof, Report, Sealed
from iam.services import Services
from iam.services.audit import Filter
from iam.services.audit.exporting import KINDS, Export
from iam.services.audit.filters import RESULTS
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
@click.option("--target", default="")
@click.option("--case", default="", help="The id of an access request.")
@click.option("--request", default="", help="The id of one call.")
@click.option("--result", type=click.Choice(["", *RESULTS]), default="")
@click.option("--since", default="", help="2026-11-22 or 2026-11-22T10:00:00Z")
@click.option("--until", default="")
@pass_state
def export(state: State, /, kind: str, out: Path, resume: bool, **asked: str) -> None:  # noqa: FBT001
    """Write the trail, or the part that is asked for, to a file that can be verified without us.

    Kinds other than jsonl get their manifest beside them, in FILE.manifest.json.
    """
    wanted = Filter.asked(asked)
    if _is_there(out) and not resume:
        raise Conflict("%(path)s is there already; choose another name, or --resume.", field="--out", path=str(out))
    with state.services() as (ours, actor):
        running = _resumed(ours, actor, out, wanted) if resume else ours.exports.begin(actor, kind, wanted)
        try:
            _write(ours, running, out, quiet=state.as_json)
        except OSError as error:
            can_resume = kind == "jsonl" and not wanted.is_narrow and out.suffix != ".gz" and out.is_file()
            next_step = "--resume goes on from the last whole block." if can_resume else "Mend that, remove what is there, and begin again."
            words = "%(path)s: %(why)s. %(next)s"
            raise Unavailable(words, path=str(out), why=error.strerror or str(error), next=next_step) from None
    state.say(
        f"{running.events} events in {out}.", events=running.events, bytes=running.size, sha256=running.digest.hexdigest(),
        export=running.id, first=running.first, last=running.last, file=str(out),
    )


def _is_there(out: Path) -> bool:
    try:
        return out.exists()
    except OSError as error:
        raise Invalid("%(path)s: %(why)s.", field="--out", path=str(out), why=error.strerror or str(error)) from None


def _write(ours: Services, running: Export, out: Path, *, quiet: bool) -> None:
    parts = ours.exports.parts(running, beside=Path(f"{out}.manifest.json").write_bytes)
    with closing(parts), _target(out, is_continued=running.is_continued) as target, progress(quiet=quiet) as bar:
        task = bar.add_task("events", total=ours.exports.estimate(running))
        for part in parts:
            target.write(part)
            target.flush()  # a full disk shows here, before an event says that all is done
            bar.update(task, completed=running.events)


def _target(out: Path, *, is_continued: bool) -> IO[bytes] | Zipped:
    handle = os.open(out, os.O_WRONLY | os.O_CREAT | (os.O_APPEND if is_continued else os.O_EXCL), 0o600)
    return Zipped(os.fdopen(handle, "wb")) if out.suffix == ".gz" else os.fdopen(handle, "ab" if is_continued else "wb")


def _resumed(ours: Services, actor: Actor, out: Path, wanted: Filter) -> Export:
    """What stands in the file up to its last whole block is verified and stays; what is behind is cut away."""
    if wanted.is_narrow or out.suffix == ".gz":
        raise Invalid("Only an export of the whole trail as jsonl, not compressed, can be resumed.", field="--resume")
    try:
        kept = _read(out, KeyRing(bytes.fromhex(key.public) for key in ours.signing_keys.named()))
    except OSError as error:
        raise Invalid("%(path)s cannot be read: %(why)s", field="--out", path=str(out), why=str(error)) from None
    except exports.NotAnExport as problem:
        raise Invalid("%(path)s cannot be resumed: %(why)s.", field="--resume", path=str(out), why=str(problem)) from None
    running = ours.exports.resume(actor, kept.export, kept.opening, kept.report.head)
    os.truncate(out, kept.size)
    running.digest, running.size, running.events, running.first = kept.digest, kept.size, kept.report.events, kept.first
    running.last = running.after if kept.report.events else 0
    return running


@dataclass
class _Kept:
    """The beginning of an export."""

    export: str
    opening: bytes
    report: Report
    digest: Any
    size: int
    first: int = 0


def _read(out: Path, ring: KeyRing) -> _Kept:
    with out.open("rb") as content:
        lines = reading.bounded(content)
        head = next(lines, b"")
        if not head.endswith(b"\n"):
            raise exports.NotAnExport("its first line is not whole")
        opening, _keys = exports.read_opening(head)
        proof = Proof(ring)
        kept = _Kept(opening["export"], head, proof.report, hashlib.sha256(head), len(head))
        part, events = b"", list[Sealed]()
        for line in lines:
            if not line.endswith(b"\n"):
                break
            if exports.is_manifest(line):
                raise exports.NotAnExport("it is complete already")
            part += line
            if exports.is_event(line):
                events.append(exports.read_event(line))
                continue
            proof.take(exports.read_block(line), events)
            if proof.report.findings:
                raise exports.NotAnExport(proof.report.findings[0].words.rstrip("."))
            kept.first = kept.first or (events[0][0] if events else 0)
            kept.digest.update(part)
            kept.size += len(part)
            part, events = b"", []
    return kept
