"""``iam audit verify``: the database, or an export with nothing but a public key."""

from __future__ import annotations

import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from iam.cli.session import State, pass_state, progress
from iam.errors import Invalid
from iam.evidence import exports, reading
from iam.evidence.blocks import Anchor
from iam.evidence.keys import NotAKey, from_pem
from iam.evidence.proof import Report
from iam.zipped import opened

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_PART = 1024 * 1024


@click.command()
@click.argument("file", required=False, type=_FILE)
@click.option("--key", "keys", multiple=True, type=_FILE, help="Public keys (PEM) that you got from whom you trust. Needed for a file.")
@click.option("--anchors", multiple=True, type=_FILE, help="Heads that were anchored (JSON Lines).")
@click.option("--manifest", type=_FILE, help="Beside an export as CSV, CEF or OCSF; FILE.manifest.json if it is there.")
@pass_state
def verify(state: State, file: Path | None, keys: tuple[Path, ...], anchors: tuple[Path, ...], manifest: Path | None) -> int:
    """Whether the trail is whole: FILE is an export (also compressed); without it, the database.

    Ends with 0 if it is, with 1 and what is wrong, the first at the top, if it is not. For a file neither settings nor a
    database are needed.
    """
    trusted = [key for path in keys for key in _keys(path)]
    anchored = [one for path in anchors for one in _anchored(path)]
    if file is None:
        with state.services() as (ours, actor), progress(quiet=state.as_json) as bar:
            task = bar.add_task("events", total=ours.verifier.size())
            report = ours.verifier.verify(actor, trusted, anchored, step=lambda events: bar.update(task, completed=events))
        return _tell(state, report, {}, is_pinned=bool(trusted))
    if not trusted:
        raise Invalid("Verifying a file needs --key with a public key that did not come with the file.", field="--key")
    beside = manifest or Path(f"{file}.manifest.json")
    is_table = manifest is not None or beside.exists()
    if is_table and anchored:
        raise Invalid("Anchors belong to a chain, which only an export as jsonl holds.", field="--anchors")
    try:
        with opened(file) as content:
            if is_table:
                found = reading.verify_table(iter(lambda: content.read(_PART), b""), _manifest(beside), trusted)
            else:
                found = reading.verify_export(reading.bounded(content), trusted, anchored)
    except (exports.NotAnExport, NotAKey) as problem:
        raise Invalid("%(path)s is no export that can be verified: %(why)s", field=str(file), path=str(file), why=str(problem)) from None
    except (OSError, EOFError, zlib.error) as problem:
        raise Invalid("%(path)s cannot be read: %(why)s", field=str(file), path=str(file), why=str(problem)) from None
    return _tell(state, found.report, found.says, is_pinned=True, is_table=is_table)


def _tell(state: State, report: Report, says: dict[str, Any], *, is_pinned: bool, is_table: bool = False) -> int:
    facts = {
        "whole": report.is_whole, "events": report.events, "blocks": report.blocks, "removed_by_retention": report.removed_by_retention,
        "unsealed": report.unsealed, "head": asdict(report.head) if report.head else None, "export": says.get("export"),
        "filter": says.get("filter"),
        "findings": [{"kind": one.kind.value, "event": one.seq, "block": one.block, "what": one.words} for one in report.findings],
    }
    blocks = f" in {report.blocks} blocks{f', up to block {report.head.number}' if report.head else ''}"
    sentence = [f"{report.events} events{'' if is_table else blocks}."]
    if report.removed_by_retention:
        sentence.append(f"{report.removed_by_retention} events were removed by retention; their hashes are whole.")
    if report.unsealed:
        sentence.append(f"{report.unsealed} events wait to be sealed.")
    if not is_pinned:
        sentence.append("The key was taken from the database itself; an auditor gives --key with a copy of their own.")
    sentence += [f"{one.kind.value.upper()}: {one.words}" for one in report.findings]
    good = "These are the bytes that were exported; an export as jsonl proves its events by themselves."
    good = good if is_table else "The part of the trail is as it was sealed." if says.get("filter") else "The trail is whole."
    sentence.append(good if report.is_whole else "The trail is NOT whole; what is named first went wrong first.")
    state.say("\n".join(sentence), **facts)
    return 0 if report.is_whole else 1


def _manifest(path: Path) -> bytes:
    with path.open("rb") as content:
        return content.read(reading.LONGEST_MANIFEST)


def _keys(path: Path) -> list[bytes]:
    try:
        return from_pem(path.read_text("utf-8"))
    except (NotAKey, OSError, UnicodeDecodeError) as problem:
        raise Invalid("%(path)s: %(why)s", field="--key", path=str(path), why=str(problem)) from None


def _anchored(path: Path) -> list[Anchor]:
    try:
        with path.open("rb") as lines:
            return list(reading.read_anchors(lines))
    except (exports.NotAnExport, OSError) as problem:
        raise Invalid("%(path)s: %(why)s", field="--anchors", path=str(path), why=str(problem)) from None
