"""Reading very many events in the order of the chain, page by page, so that no slow reader holds a transaction open.

PostgreSQL hands pages out by COPY, which is several times faster than rows; SQLite by rows.
"""

from __future__ import annotations

import csv
import io
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any

from sqlalchemy import Select, func, select

from iam.errors import Unavailable
from iam.evidence.blocks import Block, NotABlock
from iam.evidence.events import moment
from iam.evidence.proof import Sealed
from iam.models import AuditBlock, AuditEvent, db
from iam.services.audit.filters import Filter

PAGE, BLOCKS = 20_000, 200
_CELL = b"\x1f"
"""Between number and text; never in either, for a text is printable ASCII."""
_DETAILS = '"details":'
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


def table(wanted: Filter, after: int, upto: int) -> Iterator[tuple[int, int, bytes]]:
    """Pages of CSV, every cell quoted: how many rows, the number of the last one, the rows."""
    query = select(*COLUMNS, func.substr(AuditEvent.body, _position() + len(_DETAILS)))
    while (page := _csv_page(wanted.narrow(query), after, upto))[0]:
        after = page[1]
        yield page


def chain(wanted: Filter, after: int, upto: int) -> Iterator[tuple[Block, list[Sealed]]]:
    """Blocks with their events. Of the whole trail every block, also one whose events are gone; of a part, blocks that hold any of it.

    Raises Unavailable where an event belongs to no block: then the trail has been changed, and verifying says how.
    """
    pages, held = texts(wanted, after, upto), list[Sealed]()
    whole = blocks(after + 1, upto)
    while True:
        if wanted.is_narrow and not held and not (held := next(pages, [])):
            return
        block = next(blocks(held[0][0], held[0][0]) if wanted.is_narrow else whole, None)
        if block is None:
            break
        if not wanted.is_narrow and not _is_readable(block):
            yield block, []
            continue
        while (not held or held[-1][0] <= block.last) and (page := next(pages, None)):
            held += page
        cut = bisect_right(held, block.last, key=itemgetter(0))
        events, held = held[:cut], held[cut:]
        is_partial = not wanted.is_narrow and 0 < len(events) <= block.last - block.first
        yield block, [] if is_partial and _was_emptied(block) else events
    if wanted.is_narrow:
        raise Unavailable("The audit trail is not whole: an event belongs to no block. Run iam audit verify.")


def _is_readable(block: Block) -> bool:
    try:
        return block.last > 0
    except NotABlock:
        return False


def _was_emptied(block: Block) -> bool:
    """Whether retention removed its events while we read them."""
    with db.engine.connect() as connection:
        return connection.scalar(select(AuditBlock.has_events).where(AuditBlock.number == block.number)) is False


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
            yield Block(row.header.encode(), _unhex(row.leaves), row.signature)


def _unhex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:  # somebody wrote into it: a block without its leaves does not verify
        return b""


def _position() -> Any:
    name = "strpos" if db.engine.dialect.name == "postgresql" else "instr"
    return getattr(func, name)(AuditEvent.body, _DETAILS)


def _page(query: Select[*tuple[Any, ...]], after: int, upto: int) -> list[Sealed]:
    query = _between(query, after, upto)
    if db.engine.dialect.name != "postgresql":
        with db.engine.connect() as connection:
            return [(row.seq, row.body.encode()) for row in connection.execute(query)]
    rows = []
    for row in _copied(query, r"FORMAT csv, DELIMITER E'\x1f', QUOTE E'\x01'"):
        number, _cell, text = row.partition(_CELL)
        rows.append((int(number), text[:-1]))
    return rows


def _csv_page(query: Select[*tuple[Any, ...]], after: int, upto: int) -> tuple[int, int, bytes]:
    query = _between(query, after, upto)
    if db.engine.dialect.name == "postgresql":
        rows: Sequence[bytes] = list(_copied(query, "FORMAT csv, FORCE_QUOTE *"))
        return len(rows), int(rows[-1][1 : rows[-1].index(b'"', 1)]) if rows else after, b"".join(rows)
    with db.engine.connect() as connection:
        found = connection.execute(query).all()
    page = io.StringIO()
    csv.writer(page, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([row[0], moment(row[1]), *row[2:]] for row in found)
    return len(found), found[-1][0] if found else after, page.getvalue().encode()


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
