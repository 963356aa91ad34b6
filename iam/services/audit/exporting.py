"""Exports: every event that was asked for, in order, with what proves it. Streamed in constant memory, each one an event itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hmac import compare_digest
from itertools import chain, islice
from typing import Any, TypeVar

from sqlalchemy import func, select

from iam import __version__
from iam.errors import Invalid, NotFound, Unavailable
from iam.evidence import exports, tables
from iam.evidence.blocks import Head
from iam.evidence.cef import cef
from iam.evidence.events import facts_of, moment
from iam.evidence.keys import Introduction
from iam.evidence.ocsf import ocsf
from iam.models import db, new_id
from iam.models.audit import AuditEvent, says
from iam.services.audit import streams
from iam.services.audit.filters import Filter
from iam.services.audit.retention import Retention
from iam.services.audit.sealing import Sealer
from iam.services.audit.signing import SigningKeys
from iam.services.audit.trail import Audit, Target
from iam.services.audit.vocabulary import Event
from iam.services.base import READ, Actor, World, transaction

KINDS = ("jsonl", "csv", "cef", "ocsf")
AT_ONCE = 32
"""Blocks of one part."""
_T = TypeVar("_T")


def _nowhere(_manifest: bytes) -> None:
    """Whoever wants the manifest asks for it."""


@dataclass
class Export:
    """One export, on its way."""

    kind: str
    wanted: Filter
    upto: int
    """The last number that it may hold: what is recorded meanwhile does not count."""
    actor: Actor
    keys: list[Introduction]
    id: str = field(default_factory=new_id)
    after: int = 0
    """What an earlier, broken attempt has got already."""
    is_continued: bool = False
    begun_at: str = ""
    first: int = 0
    last: int = 0
    events: int = 0
    size: int = 0
    digest: Any = field(default_factory=hashlib.sha256)
    remainder: Iterator[bytes] | None = None
    """What is still to go out, where somebody has the beginning."""

    def opening(self) -> dict[str, Any]:
        """What the first line says."""
        return {"export": self.id, "kind": self.kind, "filter": self.wanted.facts(), "upto": self.upto, "begun_at": self.begun_at}

    def took(self, part: bytes) -> bytes:
        """Count a part that goes out."""
        self.size += len(part)
        self.digest.update(part)
        return part

    def counted(self, first: int, last: int, events: int) -> None:
        """Note that these went out."""
        self.first = self.first or first
        self.last, self.events = last, self.events + events


class Exports:
    """Use cases about exports."""

    def __init__(self, world: World, audit: Audit, sealer: Sealer, keys: SigningKeys, retention: Retention) -> None:
        self._world = world
        self._audit = audit
        self._sealer = sealer
        self._keys = keys
        self._retention = retention

    def begin(self, actor: Actor, kind: str, wanted: Filter) -> Export:
        """Seal what waits, and say that an export begins. Raises Forbidden, Invalid."""
        self._audit.require(actor, "auditor", "administrator", scope=READ, target=Target("audit", "export"))
        if kind not in KINDS:
            raise Invalid("The format is one of %(formats)s.", field="format", formats=", ".join(KINDS))
        wanted = replace(wanted, before=None)
        wanted.check()
        self._sealer.seal()
        with transaction():
            self._keys.current()
            begun_at = moment(self._world.now())  # before the head is read: what was anchored until now is in it
        head = self._sealer.head()
        export = Export(kind, wanted, head.last if head else 0, actor, self._keys.named(), begun_at=begun_at)
        self._say_begun(export)
        return export

    def resume(self, actor: Actor, export_id: str, opening: bytes, reached: Head | None) -> Export:
        """Go on with an export of the whole trail as jsonl, of which everything up to a block is there and verified.

        What it is says the event of its beginning, and so has the file's first line. Raises Forbidden, Invalid.
        """
        export = self._begun(actor, export_id)
        if opening != exports.opening(export.opening(), export.keys):
            raise Invalid("The file's first line is not the one of this export; begin it again.", field="resume")
        if export.wanted.is_narrow or export.kind != "jsonl":
            raise Invalid("Only an export of the whole trail as jsonl, made here, can be resumed; begin this one again.", field="resume")
        block = next(streams.blocks(reached.last, reached.last), None) if reached else None
        if reached and (block is None or block.hash != reached.hash):
            raise Invalid("The file is not of this trail; begin the export again.", field="resume")
        self._say_begun(export, reason="it goes on")
        export.keys, export.after, export.is_continued = self._keys.named(), reached.last if reached else 0, True
        return export

    def rest(self, actor: Actor, export_id: str, size: int, sha256: str) -> Export:
        """Go on behind the first bytes of any export, so many, with this SHA-256: we keep none, so they are made again and compared.

        Raises Forbidden, Invalid.
        """
        export = self._begun(actor, export_id)
        content = self._content(export)
        part = next(content, b"")
        while part and export.size + len(part) < size:
            export.took(part)
            part = next(content, b"")
        kept, digest = part[: size - export.size], export.digest.copy()
        digest.update(kept)
        if export.size + len(kept) != size or not compare_digest(digest.hexdigest(), sha256.lower()):
            raise Invalid("What you have is not how this export begins (any more); begin it again.", field="sha256")
        export.took(part)
        export.remainder = chain([part[len(kept) :]], map(export.took, content))
        self._say_begun(export, reason="it goes on")
        return export

    def _begun(self, actor: Actor, export_id: str) -> Export:
        """An export as the event of its beginning says that it is. Raises Forbidden, Invalid."""
        self._audit.require(actor, "auditor", "administrator", scope=READ, target=Target("audit", "export"))
        event = self._audit.newest(Event.AUDIT_EXPORT_BEGUN, says(AuditEvent.target_name, export_id))
        if event is None:
            raise Invalid("No such export was begun here; begin it again.", field="resume")
        facts = event.details
        named = self._keys.named()
        keys = named[: 1 + next((at for at, one in enumerate(named) if one.key == facts["key"]), len(named))]
        wanted = Filter.asked(facts["filter"])
        return Export(facts["kind"], wanted, int(facts["upto"]), actor, keys, id=export_id, begun_at=facts["begun_at"])

    def _say_begun(self, export: Export, *, reason: str = "") -> None:
        told = export.opening() | {"key": export.keys[-1].key}
        with transaction():
            self._audit.record(export.actor, Event.AUDIT_EXPORT_BEGUN, Target("export", export.id), reason=reason, **told)

    def estimate(self, export: Export) -> int:
        """How many events it will hold."""
        query = select(func.count()).select_from(AuditEvent).where(AuditEvent.seq > export.after, AuditEvent.seq <= export.upto)
        return db.session.scalar(export.wanted.narrow(query)) or 0

    def parts(self, export: Export, beside: Callable[[bytes], object] = _nowhere) -> Generator[bytes, None, None]:
        """The export's bytes, in parts of about a megabyte, to the end of which a manifest belongs: the last part of JSON Lines; of other
        kinds it goes ``beside``, and can be asked for later. However it ends, an event says so: that it is done, when all has been taken.
        """
        parts = self._parts(export, beside)
        next(parts)  # from here on an end is told of, also one before the first part
        return parts

    def _parts(self, export: Export, beside: Callable[[bytes], object]) -> Generator[bytes, None, None]:
        is_done = False
        try:
            yield b""
            yield from export.remainder or map(export.took, self._content(export))
            facts, text, signature = self._manifest(export)
            line = exports.manifest_line(text, signature, self._unnamed(export))
            if export.kind == "jsonl":
                yield line
            else:
                beside(line)
            self._tell_done(export, facts, text, signature)
            is_done = True
        finally:
            if not is_done:
                db.session.rollback()
                with transaction():
                    self._audit.record(
                        export.actor, Event.AUDIT_EXPORTED, Target("export", export.id), result="failed",
                        reason="the export was broken off", export=export.id, kind=export.kind, filter=export.wanted.facts(),
                        events=export.events,
                    )

    def manifest_of(self, actor: Actor, export_id: str) -> bytes:
        """The manifest of an export that is complete, to be kept beside it. Raises NotFound, Forbidden."""
        self._audit.require(actor, "auditor", "administrator", scope=READ)
        event = self._audit.newest(Event.AUDIT_EXPORTED, AuditEvent.result == "done", says(AuditEvent.target_name, export_id))
        if event is None:
            raise NotFound("There is no such export.")
        return exports.manifest_line(event.details["manifest"].encode(), event.details["signature"], self._keys.named())

    def _content(self, export: Export) -> Iterator[bytes]:
        if export.kind == "csv":
            yield tables.heading(streams.HEADINGS)
            for rows in streams.table(export.wanted, export.after, export.upto):
                export.counted(streams.number_of(rows[0]), streams.number_of(rows[-1]), len(rows))
                yield tables.page(rows)
            return
        if export.kind == "jsonl":
            if not export.is_continued:
                yield exports.opening(export.opening(), export.keys)
            yield from self._proven(export)
            return
        for page in streams.texts(export.wanted, export.after, export.upto):
            export.counted(page[0][0], page[-1][0], len(page))
            yield b"".join(_formatted(export.kind, seq, text) for seq, text in page)

    def _proven(self, export: Export) -> Iterator[bytes]:
        """Events, and behind those of each block the block. Raises Unavailable where the trail does not reach as far as it did."""
        block = None
        for batch in batched(streams.chain(export.wanted, export.after, export.upto), AT_ONCE):
            part = []
            for block, events in batch:
                if events:
                    export.counted(events[0][0], events[-1][0], len(events))
                part += [exports.event_line(seq, text) for seq, text in events]
                part.append(exports.block_line(block))
            yield b"".join(part)
        if not export.wanted.is_narrow and (block.last if block else export.after) != export.upto:
            raise Unavailable("The audit trail is not whole: it ends before its head. Run iam audit verify.")

    def _manifest(self, export: Export) -> tuple[dict[str, Any], bytes, str]:
        """Its facts, its text, and the signature over that."""
        head = self._sealer.head()
        facts = {
            "export": export.id, "kind": export.kind, "filter": export.wanted.facts(), "by": export.actor.name, "begun_at": export.begun_at,
            "exported_at": moment(self._world.now()), "upto": export.upto, "first": export.first, "last": export.last,
            "events": export.events, "bytes": export.size, "sha256": export.digest.hexdigest(),
            "pruned": self._retention.said(),
            "head": {"number": head.number, "last": head.last, "hash": head.hash} if head else None,
        }
        with transaction():
            return facts, *exports.manifest(facts, self._keys.current())

    def _unnamed(self, export: Export) -> Sequence[Introduction]:
        """The keys, if the export's opening has not named them all."""
        named = self._keys.named()
        is_named_before = export.kind == "jsonl" and not export.is_continued and export.keys == named
        return () if is_named_before else named

    def _tell_done(self, export: Export, facts: Mapping[str, Any], manifest: bytes, signature: str) -> None:
        told = {name: facts[name] for name in ("export", "kind", "filter", "first", "last", "events", "bytes", "sha256", "exported_at")}
        with transaction():
            self._audit.record(
                export.actor, Event.AUDIT_EXPORTED, Target("export", export.id), manifest=manifest.decode(), signature=signature, **told
            )


def batched(items: Iterator[_T], size: int) -> Iterator[list[_T]]:
    """Some at a time (Python 3.12 has its own)."""
    while batch := list(islice(items, size)):
        yield batch


def _formatted(kind: str, seq: int, text: bytes) -> bytes:
    if kind == "cef":
        return cef(seq, facts_of(text), version=__version__).encode() + b"\n"
    return json.dumps(ocsf(seq, facts_of(text), version=__version__), separators=(",", ":")).encode() + b"\n"
