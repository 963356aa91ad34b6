"""Whoever has the database open can change it, and cannot hide it: ``iam audit verify`` names what went wrong first."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fixtures.cli import Iam
from fixtures.sealed import DATABASES, DAYS, KEY, Trail, database, first_finding, lived
from sqlalchemy.exc import DBAPIError, IntegrityError

from iam.evidence.blocks import Head, head_of, seal
from iam.evidence.events import parsed_moment
from iam.evidence.keys import SigningKey, to_pem
from iam.services.vault import Vault

Wrong = tuple[str, int, int]
"""What is named first: its kind, the event, the block."""
Hand = Callable[[Trail], Wrong]
FORGED = "not written by this service"
UNTRUSTED = "not signed by a trusted key"


@pytest.fixture(scope="module", params=DATABASES)
def original(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, Path]]:
    """A trail of six blocks, which is only copied."""
    folder = tmp_path_factory.mktemp("original")
    with database(request, request.param, folder, "tampering_original") as url:
        lived(url, folder)
        yield request.param, url, folder


@pytest.fixture
def trail(
    request: pytest.FixtureRequest, original: tuple[str, str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Trail]:
    """A copy of it; heads and public keys are where the database's administrator cannot write."""
    kind, url, folder = original
    with database(request, kind, tmp_path, "tampering", copy_of=url) as copy:
        yield Trail(copy, folder, Iam(monkeypatch, capsys, tmp_path / "kube-iam.toml"))


def body_of(trail: Trail, seq: int) -> str:
    return str(trail.sql("SELECT body FROM audit_trail WHERE seq = :seq", seq=seq)[0].body)


def rewrite(trail: Trail, seq: int, body: str) -> None:
    trail.sql("UPDATE audit_trail SET body = :body WHERE seq = :seq", seq=seq, body=body)


def insert(trail: Trail, body: str, *, seq: int | None = None, mark: str = "0" * 32, row: int = 100_000) -> None:
    trail.sql("INSERT INTO audit_trail (id, seq, body, mark) VALUES (:row, :seq, :body, :mark)", row=row, seq=seq, body=body, mark=mark)


def forged(trail: Trail, **facts: Any) -> str:
    """The text of an event that never was."""
    return json.dumps(json.loads(body_of(trail, trail.inside(2))) | facts, separators=(",", ":"))


def delete(trail: Trail, first: int, last: int) -> None:
    trail.sql("DELETE FROM audit_trail WHERE seq BETWEEN :first AND :last", first=first, last=last)


def block_of(trail: Trail, number: int) -> Any:
    return trail.sql("SELECT * FROM audit_blocks WHERE number = :number", number=number)[0]


def change_block(trail: Trail, number: int, **values: Any) -> None:
    settings = ", ".join(f"{name} = :{name}" for name in values)
    trail.sql(f"UPDATE audit_blocks SET {settings} WHERE number = :this", this=number, **values)


def change_key(trail: Trail, number: int, **values: Any) -> None:
    settings = ", ".join(f"{name} = :{name}" for name in values)
    trail.sql(f"UPDATE audit_keys SET {settings} WHERE number = :this", this=number, **values)


def history_anew(trail: Trail, key: SigningKey, start: int) -> None:
    """Blocks from here on, over the events as they are now, signed by this key."""
    before: Head | None = None
    for number, (first, last) in sorted(trail.blocks.items()):
        row = block_of(trail, number)
        if number < start:
            header = json.loads(row.header)
            before = Head(number, last, row.hash, header["sealed_at"])
            continue
        found = trail.sql("SELECT body FROM audit_trail WHERE seq BETWEEN :first AND :last ORDER BY seq", first=first, last=last)
        block = seal([one.body.encode() for one in found], before, key, parsed_moment(json.loads(row.header)["sealed_at"]))
        before = head_of(block)
        change_block(trail, number, header=block.header.decode(), leaves=block.leaves.hex(), signature=block.signature, hash=block.hash)


# -- rows --------------------------------------------------------------------------------------------------------------


def a_row_is_changed(trail: Trail) -> Wrong:
    seq = trail.inside(3)
    rewrite(trail, seq, re.sub(r'"actor_name":"[^"]*"', '"actor_name":"mallory"', body_of(trail, seq)))
    return "changed", seq, 3


def a_row_is_changed_by_one_blank(trail: Trail) -> Wrong:
    rewrite(trail, trail.end, body_of(trail, trail.end) + " ")
    return "changed", trail.end, DAYS


def a_row_is_gone_in_the_middle(trail: Trail) -> Wrong:
    seq = trail.inside(4)
    delete(trail, seq, seq)
    return "removed", seq, 4


def the_first_row_is_gone(trail: Trail) -> Wrong:
    delete(trail, 1, 1)
    return "removed", 1, 1


def the_last_row_is_gone(trail: Trail) -> Wrong:
    delete(trail, trail.end, trail.end)
    return "removed", trail.end, DAYS


def many_rows_are_gone(trail: Trail) -> Wrong:
    delete(trail, trail.inside(2), trail.inside(5))
    return "removed", trail.inside(2), 2


def all_rows_are_gone(trail: Trail) -> Wrong:
    delete(trail, 1, trail.end)
    return "removed", 1, 0


def a_block_of_rows_and_a_later_row_are_gone(trail: Trail) -> Wrong:
    delete(trail, *trail.blocks[2])
    delete(trail, trail.inside(4), trail.inside(4))
    return "removed", trail.blocks[2][0], 0


def two_bodies_are_swapped(trail: Trail) -> Wrong:
    one, other = trail.inside(3, 2), trail.inside(3, 9)
    texts = body_of(trail, one), body_of(trail, other)
    rewrite(trail, one, texts[1])
    rewrite(trail, other, texts[0])
    return "reordered", one, 3


def swap(trail: Trail, one: int, other: int) -> None:
    for before, now in ((one, -1), (other, one), (-1, other)):
        trail.sql("UPDATE audit_trail SET seq = :now WHERE seq = :before", before=before, now=now)


def two_numbers_are_swapped(trail: Trail) -> Wrong:
    swap(trail, trail.inside(3, 2), trail.inside(3, 9))
    return "reordered", trail.inside(3, 2), 3


def two_numbers_of_two_blocks_are_swapped(trail: Trail) -> Wrong:
    swap(trail, trail.inside(2), trail.inside(5))
    return "changed", trail.inside(2), 2


def a_row_is_taken_back_to_those_that_wait(trail: Trail) -> Wrong:
    trail.sql("UPDATE audit_trail SET seq = NULL WHERE seq = :seq", seq=trail.inside(3))
    return "removed", trail.inside(3), 3


# -- rows that we did not write ----------------------------------------------------------------------------------------


def a_forged_row_waits(trail: Trail) -> Wrong:
    insert(trail, forged(trail, actor_name="mallory"))
    return FORGED, 0, 0


def a_forged_row_carries_a_mark_of_another(trail: Trail) -> Wrong:
    (old,) = trail.sql("SELECT mark FROM audit_trail WHERE seq = :seq", seq=trail.inside(2))
    delete(trail, trail.inside(6), trail.inside(6))
    trail.sql("UPDATE audit_trail SET mark = 'moved' WHERE seq = :seq", seq=trail.inside(2))
    insert(trail, forged(trail, actor_name="mallory"), mark=old.mark)
    return "removed", trail.inside(6), 6


def a_forged_row_has_a_strange_mark(trail: Trail) -> Wrong:
    insert(trail, forged(trail, actor_name="mallory"), mark="\u00e4" * 32)
    return FORGED, 0, 0


def a_forged_row_stands_at_the_end(trail: Trail) -> Wrong:
    insert(trail, forged(trail), seq=trail.end + 1)
    return "inserted", trail.end + 1, 0


def a_forged_row_stands_far_behind_the_end(trail: Trail) -> Wrong:
    insert(trail, forged(trail), seq=2**62)
    return "inserted", 2**62, 0


def a_forged_row_has_the_number_zero(trail: Trail) -> Wrong:
    insert(trail, forged(trail), seq=0)
    return FORGED, 0, 0


def a_forged_row_has_a_negative_number(trail: Trail) -> Wrong:
    insert(trail, forged(trail), seq=-7)
    return FORGED, 0, 0


def an_old_row_is_replayed(trail: Trail) -> Wrong:
    (old,) = trail.sql("SELECT id, body, mark FROM audit_trail WHERE seq = :seq", seq=trail.inside(2))
    with pytest.raises(IntegrityError):
        insert(trail, old.body, mark=old.mark)
    trail.sql("UPDATE audit_trail SET mark = 'moved' WHERE id = :row", row=old.id)
    insert(trail, old.body, mark=old.mark)
    return FORGED, 0, 0


def retention_is_forged(trail: Trail, last: int) -> str:
    return forged(trail, action="audit.pruned", result="done", details={"first": 1, "last": last, "block": 2})


def a_waiting_row_excuses_a_removal(trail: Trail) -> Wrong:
    delete(trail, 1, trail.blocks[2][1])
    insert(trail, retention_is_forged(trail, trail.blocks[2][1]) if trail.sql("SELECT 1 FROM audit_trail WHERE seq = :seq",
           seq=trail.inside(2)) else json.dumps(json.loads(body_of(trail, trail.inside(4))) | {
               "action": "audit.pruned", "result": "done", "details": {"last": trail.blocks[2][1]}}, separators=(",", ":")))
    return "removed", 1, 0


def a_row_behind_the_end_excuses_a_removal(trail: Trail) -> Wrong:
    text = retention_is_forged(trail, trail.blocks[2][1])
    delete(trail, 1, trail.blocks[2][1])
    insert(trail, text, seq=trail.end + 1)
    return "removed", 1, 0


def a_changed_row_excuses_a_removal(trail: Trail) -> Wrong:
    rewrite(trail, trail.inside(5), retention_is_forged(trail, trail.blocks[2][1]))
    delete(trail, 1, trail.blocks[2][1])
    return "removed", 1, 0


# -- blocks ------------------------------------------------------------------------------------------------------------


def a_header_is_changed(trail: Trail) -> Wrong:
    change_block(trail, 3, header=block_of(trail, 3).header.replace('Z"', '1Z"'))
    return "block changed", 0, 3
