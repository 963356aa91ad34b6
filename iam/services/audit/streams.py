"""Reading very many events in the order of the chain, page by page, so that no slow reader holds a transaction open.

PostgreSQL hands pages out by COPY, which is several times faster than rows; SQLite by rows.
"""

from __future__ import annotations

import csv
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any

from sqlalchemy import Select, select

from iam.errors import Unavailable
from iam.evidence import tables
from iam.evidence.blocks import Block, NotABlock, unhex
from iam.evidence.events import moment
from iam.evidence.proof import Sealed
from iam.models import AuditBlock, AuditEvent, db
from iam.services.audit.filters import Filter

PAGE, BLOCKS = 20_000, 200
_CELL = b"\x1f"
"""Between number and text; never in either, for a text is printable ASCII."""
COLUMNS = (
    AuditEvent.seq, AuditEvent.at, AuditEvent.action, AuditEvent.result, AuditEvent.actor_name, AuditEvent.person, AuditEvent.target_kind,
    AuditEvent.target_name, AuditEvent.cluster, AuditEvent.reason, AuditEvent.door, AuditEvent.address, AuditEvent.request_id,
    AuditEvent.case_id, AuditEvent.actor_id,
)  # fmt: skip
HEADINGS = (*(column.key for column in COLUMNS), "details")


def texts(wanted: Filter, after: int, upto: int) -> Iterator[list[Sealed]]:
    """Pages of (number, text) with ``after < number <= upto``, in order."""
    query = select(AuditEvent.seq, AuditEvent.body)
    while page := _page(wanted.narrow(query), after, upto):
        after = page[-1][0]
        yield page


def table(wanted: Filter, after: int, upto: int) -> Iterator[list[bytes]]:
    """Pages of rows of CSV, with the HEADINGS, not made safe yet."""
    query = select(*COLUMNS, AuditEvent.body)
    while page := _csv_page(wanted.narrow(query), after, upto):
        after = number_of(page[-1])
        yield page


def number_of(row: bytes) -> int:
    """The first cell of a row of CSV."""
    return int(row[1 : row.index(b'"', 1)])


def chain(wanted: Filter, after: int, upto: int) -> Iterator[tuple[Block, list[Sealed]]]:
    """Blocks with their events. Of the whole trail every block, also one whose events are gone; of a part, blocks that hold any of it.

    Raises Unavailable where an event belongs to no block: then the trail has been changed, and verifying says how.
    """
    pages, held, start = texts(wanted, after, upto), list[Sealed](), 0
    whole, is_narrow = blocks(after + 1, upto), wanted.is_narrow
    while True:
        if is_narrow and start == len(held):
            held, start = next(pages, []), 0
            if not held:
                return
        block = next(blocks(held[start][0], held[start][0]) if is_narrow else whole, None)
        if block is None:
            break
        if not is_narrow and not _is_readable(block):
            yield block, []
            continue
        while (start == len(held) or held[-1][0] <= block.last) and (page := next(pages, None)):
            held, start = held[start:] + page, 0
        cut = bisect_right(held, block.last, lo=start, key=itemgetter(0))
        events, start = held[start:cut], cut
        is_partial = not is_narrow and 0 < len(events) <= block.last - block.first
        yield block, [] if is_partial and _was_emptied(block) else events
    if is_narrow:
        raise Unavailable("The audit trail is not whole: an event belongs to no block. Run iam audit verify.")


def _is_readable(block: Block) -> bool:
    try:
        return block.last > 0
    except NotABlock:
        return False


def _was_emptied(block: Block) -> bool:
    """Whether its events have vanished while we read them, as those do that retention removes: all of them, at once."""
    left = select(AuditEvent.id).where(AuditEvent.seq >= block.first, AuditEvent.seq <= block.last).limit(1)
    with db.engine.connect() as connection:
        return connection.scalar(left) is None


def blocks(first_seq: int, last_seq: int) -> Iterator[Block]:
    """The blocks that hold any of these numbers, in order."""
    columns = AuditBlock.number, AuditBlock.header, AuditBlock.leaves, AuditBlock.signature
    number, is_more = 0, True
    while is_more:
        query = select(*columns).where(AuditBlock.last_seq >= first_seq, AuditBlock.first_seq <= last_seq, AuditBlock.number > number)
        with db.engine.connect() as connection:
            rows = connection.execute(query.order_by(AuditBlock.number).limit(BLOCKS)).all()
        is_more = len(rows) == BLOCKS
        for row in rows:
            number = row.number
            yield Block(row.header.encode(), unhexed(row.leaves), row.signature)


def unhexed(text: str) -> bytes:
    """The leaves of a block as its row keeps them; none, where they are none."""
    try:
        return unhex(text)
    except ValueError:  # somebody wrote into it: a block without its leaves does not verify
        return b""


def _page(query: Select[*tuple[Any, ...]], after: int, upto: int) -> list[Sealed]:
    query = _between(query, after, upto)
    if db.engine.dialect.name != "postgresql":
        with db.engine.connect() as connection:
            return [(row.seq, row.body.encode()) for row in connection.execute(query)]
    rows = _copied(query, r"FORMAT csv, DELIMITER E'\x1f', QUOTE E'\x01'")
    return [(int(number), text[:-1]) for number, _cell, text in (row.partition(_CELL) for row in rows)]


def _csv_page(query: Select[*tuple[Any, ...]], after: int, upto: int) -> list[bytes]:
    query = _between(query, after, upto)
    if db.engine.dialect.name == "postgresql":
        return [tables.row(row) for row in _copied(query, "FORMAT csv, FORCE_QUOTE *")]
    with db.engine.connect() as connection:
        found = connection.execute(query).all()
    page = list[str]()
    writer = csv.writer(_Lines(page.append), quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows([row[0], moment(row[1]), *row[2:]] for row in found)
    return [tables.row(line.encode()) for line in page]


@dataclass
class _Lines:
    """A file for the csv module, which writes a row at a time."""

    write: Callable[[str], None]


def _between(query: Select[*tuple[Any, ...]], after: int, upto: int) -> Select[*tuple[Any, ...]]:
    return query.where(AuditEvent.seq > after, AuditEvent.seq <= upto).order_by(AuditEvent.seq).limit(PAGE)


def _copied(query: Select[*tuple[Any, ...]], form: str) -> Iterator[bytes]:
    compiled = query.compile(dialect=db.engine.dialect, compile_kwargs={"render_postcompile": True})
    values = {name: moment(value) if isinstance(value, datetime) else value for name, value in compiled.params.items()}
    with db.engine.connect() as connection:
        cursor: Any = connection.connection.cursor()
        with cursor, cursor.copy(f"COPY ({compiled}) TO STDOUT WITH ({form})", values) as copy:
            for row in copy:
                yield bytes(row)
