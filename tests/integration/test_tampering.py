"""Whoever has the database open can change it, and cannot hide it: ``iam audit verify`` names what went wrong first."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fixtures.cli import assert_one_clear_line
from fixtures.sealed import DAYS, KEY, Trail, first_finding, original, spare, trail, worn
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from iam.evidence.blocks import Head, seal
from iam.evidence.keys import SigningKey, to_pem
from iam.services.vault import Vault

__all__ = ["original", "spare", "trail", "worn"]
Hand = Callable[[Trail], object]
Wrong = Callable[[Trail], tuple[str, int | None, int | None]]
"""What is to be named first: its kind, the event and the block; None where both have one."""
FORGED, UNTRUSTED = "not written by this service", "not signed by a trusted key"
MALLORY = SigningKey.new()
LAST = DAYS + 2
"""Blocks: two before the first day; the second key signs from the sixth on."""
JUNK = """INSERT INTO audit_blocks (number, first_seq, last_seq, hash, header, leaves, signature, sealed_at, has_events)
    SELECT 1000000, -2, -1, hash, 'junk', leaves, signature, sealed_at, has_events FROM audit_blocks WHERE number = 1"""


def named(text: str, name: str) -> str:
    return re.sub(r'"actor_name":"[^"]*"', f'"actor_name":"{name}"', text)


def swap_bodies(trail: Trail, one: int, other: int) -> None:
    texts = trail.body(one), trail.body(other)
    trail.rewrite(one, texts[1])
    trail.rewrite(other, texts[0])


def replay(trail: Trail) -> None:
    (old,) = trail.sql("SELECT id, body, mark FROM audit_trail WHERE seq = :seq", seq=trail.inside(3))
    trail.insert(old.body, mark=old.mark)


def pruned(trail: Trail) -> str:
    """Says that retention removed the first two blocks."""
    return trail.forged(action="audit.pruned", result="done", details={"first": 1, "last": trail.blocks[2][1], "block": 2})


def prune(trail: Trail) -> None:
    trail.delete(1, trail.blocks[2][1])


def drop(trail: Trail, number: int, *, events: bool) -> None:
    trail.sql("DELETE FROM audit_blocks WHERE number = :number", number=number)
    if events:
        trail.delete(*trail.blocks[number])


def cut(trail: Trail, after: int) -> None:
    for number in range(after + 1, LAST + 1):
        drop(trail, number, events=True)


def add_block(trail: Trail, **values: Any) -> None:
    values |= {"number": LAST + 1, "first_seq": trail.end + 1, "last_seq": trail.end + 1}
    names = list(values)
    trail.sql(f"INSERT INTO audit_blocks ({', '.join(names)}) VALUES ({', '.join(f':{name}' for name in names)})", **values)


def add_forged_block(trail: Trail) -> None:
    last, text = trail.block(LAST), trail.forged(actor_name="mallory")
    before = Head(LAST, trail.end, last.hash, json.loads(last.header)["sealed_at"])
    block = seal([text.encode()], before, MALLORY, datetime.now(UTC))
    trail.insert(text, seq=block.first)
    values = {"header": block.header.decode(), "leaves": block.leaves.hex(), "signature": block.signature, "hash": block.hash}
    add_block(trail, **(dict(last._mapping) | values))


def stolen(trail: Trail) -> SigningKey:
    """The key itself, of an attacker who has the settings too."""
    (row,) = trail.sql("SELECT private FROM audit_keys WHERE number = 2")
    return SigningKey.from_hex(Vault([KEY]).open(bytes(row.private))["private"])


def introduced_by_itself(trail: Trail) -> None:
    key, words = MALLORY, MALLORY.introduce(MALLORY)
    trail.change_key(2, public=words.public, fingerprint=key.fingerprint, introduced_by=key.fingerprint, signature=words.signature)


def second(_trail: Trail) -> tuple[str, int, int]:
    """What the second key has signed is not trusted."""
    return UNTRUSTED, 0, 6


def both(*hands: Hand) -> Hand:
    return lambda trail: [hand(trail) for hand in hands]


def header(trail: Trail, at: int, old: str, new: str) -> None:
    changed = re.sub(old, new, trail.block(at).header)
    assert changed != trail.block(at).header
    trail.change_block(at, header=changed)


def raw(trail: Trail, at: int, name: str, start: str) -> None:
    """A column of a block, its first characters replaced."""
    trail.change_block(at, **{name: start + str(getattr(trail.block(at), name))[len(start) :]})


ROWS: dict[str, tuple[Hand, Wrong]] = {
    "changed": (lambda t: t.rewrite(t.inside(3), named(t.body(t.inside(3)), "mallory")), lambda t: ("changed", t.inside(3), 3)),
    "changed by a blank": (lambda t: t.rewrite(t.end, t.body(t.end) + " "), lambda t: ("changed", t.end, LAST)),
    "changed at the beginning": (lambda t: t.rewrite(1, named(t.body(1), "")), lambda t: ("changed", 1, 1)),
    "another's text": (lambda t: t.rewrite(t.inside(3), t.body(t.inside(6))), lambda t: ("changed", t.inside(3), 3)),
    "removed in the middle": (lambda t: t.delete(t.inside(4), t.inside(4)), lambda t: ("removed", t.inside(4), 4)),
    "removed at the beginning": (lambda t: t.delete(1, 1), lambda t: ("removed", 1, 1)),
    "removed at the end": (lambda t: t.delete(t.end, t.end), lambda t: ("removed", t.end, LAST)),
    "many removed": (lambda t: t.delete(t.inside(3), t.inside(6)), lambda t: ("removed", t.inside(3), 3)),
    "all removed": (lambda t: t.delete(1, t.end), lambda t: ("removed", 1, None)),
    "a block of them removed, and a later one": (
        both(lambda t: t.delete(*t.blocks[3]), lambda t: t.delete(t.inside(5), t.inside(5))), lambda t: ("removed", t.blocks[3][0], None),
    ),
    "a block of them removed, and hundreds later": (
        both(lambda t: t.delete(*t.blocks[3]), lambda t: t.sql(f"DELETE FROM audit_trail WHERE seq > {t.inside(5)} AND seq % 5 > 0")),
        lambda t: ("removed", t.blocks[3][0], 3),
    ),
    "removed, and its block says that it has none": (
        both(lambda t: t.delete(t.inside(3), t.inside(3)), lambda t: t.change_block(3, has_events=False)),
        lambda t: ("removed", t.inside(3), 3),
    ),
    "bodies swapped": (lambda t: swap_bodies(t, t.inside(3, 2), t.inside(3, 9)), lambda t: ("reordered", t.inside(3, 2), 3)),
    "numbers swapped": (lambda t: t.swap(t.inside(3, 2), t.inside(3, 9)), lambda t: ("reordered", t.inside(3, 2), 3)),
    "numbers of two blocks swapped": (lambda t: t.swap(t.inside(3), t.inside(6)), lambda t: ("changed", t.inside(3), 3)),
    "unsealed again": (lambda t: t.change("audit_trail", f"seq = {t.inside(3)}", seq=None), lambda t: ("removed", t.inside(3), 3)),
    "forged, waits": (lambda t: t.insert(t.forged(actor_name="mallory")), lambda t: (FORGED, 0, 0)),
    "forged, mark is not ASCII": (lambda t: t.insert(t.forged(), mark="\u00e4" * 32), lambda t: (FORGED, 0, 0)),
    "forged, at the end": (lambda t: t.insert(t.forged(), seq=t.end + 1), lambda t: ("inserted", t.end + 1, 0)),
    "forged, far behind the end": (lambda t: t.insert(t.forged(), seq=2**62), lambda t: ("inserted", 2**62, 0)),
    "forged, number zero": (lambda t: t.insert(t.forged(), seq=0), lambda t: (FORGED, 0, 0)),
    "forged, below zero": (lambda t: t.insert(t.forged(), seq=-7), lambda t: (FORGED, 0, 0)),
    "replayed": (replay, lambda t: (FORGED, 0, 0)),
    "removal excused by a row that waits": (both(lambda t: t.insert(pruned(t)), prune), lambda t: ("removed", 1, None)),
    "removal excused by a row at the end": (both(lambda t: t.insert(pruned(t), seq=t.end + 1), prune), lambda t: ("removed", 1, None)),
    "removal excused by a changed row": (both(lambda t: t.rewrite(t.inside(5), pruned(t)), prune), lambda t: ("removed", 1, None)),
}
BLOCKS: dict[str, tuple[Hand, Wrong]] = {
    "header, time": (lambda t: header(t, 3, r"\.\d{6}Z", ".000001Z"), lambda t: ("block changed", 0, 3)),
    "header, time of the last": (lambda t: header(t, LAST, r"\.\d{6}Z", ".000001Z"), lambda t: ("block changed", 0, LAST)),
    "header, other number": (lambda t: header(t, 3, '"number":3', '"number":4'), lambda t: ("block removed", 0, 3)),
    "header, another's key": (lambda t: header(t, 3, '"key":"[^"]*"', f'"key":"{MALLORY.fingerprint}"'), lambda t: (UNTRUSTED, 0, 3)),
    "header, endless count": (lambda t: header(t, 3, r'"count":\d+', '"count":' + "9" * 15), lambda t: ("block changed", 0, None)),
    "header, not one": (lambda t: t.change_block(3, header="[]"), lambda t: ("block changed", 0, None)),
    "header of the last, not one": (lambda t: t.change_block(LAST, header="[]"), lambda t: ("block changed", 0, LAST)),
    "leaves": (lambda t: raw(t, 3, "leaves", "0" * 64), lambda t: ("block changed", 0, 3)),
    "leaves, one more": (lambda t: t.change_block(3, leaves=t.block(3).leaves + "0" * 64), lambda t: ("block changed", 0, 3)),
    "leaves, no hex": (lambda t: raw(t, 3, "leaves", "zz"), lambda t: ("block changed", 0, None)),
    "signature": (lambda t: raw(t, 3, "signature", "0" * 16), lambda t: ("block changed", 0, 3)),
    "signature, no hex": (lambda t: raw(t, 3, "signature", "zz"), lambda t: ("block changed", 0, 3)),
    "hash": (lambda t: raw(t, 3, "hash", "0" * 16), lambda t: ("block changed", 0, 3)),
    "first event": (lambda t: t.change_block(3, first_seq=t.blocks[3][0] + 1), lambda t: ("block changed", 0, 3)),
    "last event": (lambda t: t.change_block(3, last_seq=t.blocks[3][1] - 1), lambda t: ("block changed", 0, 3)),
    "last event of the last": (lambda t: t.change_block(LAST, last_seq=t.end + 5), lambda t: ("block changed", 0, LAST)),
    "time": (lambda t: t.change_block(3, sealed_at="2001-01-01 00:00:00"), lambda t: ("block changed", 0, 3)),
    "number": (lambda t: t.change_block(3, number=100), lambda t: ("block removed", 0, 3)),
    "number of the last": (lambda t: t.change_block(LAST, number=100), lambda t: ("block changed", 0, None)),
    "removed with its events": (lambda t: drop(t, 3, events=True), lambda t: ("block removed", 0, 3)),
    "removed without its events": (lambda t: drop(t, 3, events=False), lambda t: ("block removed", 0, 3)),
    "first removed with its events": (lambda t: drop(t, 1, events=True), lambda t: ("block removed", 0, 1)),
    "last removed without its events": (lambda t: drop(t, LAST, events=False), lambda t: ("inserted", t.blocks[LAST][0], 0)),
    "a copy behind the last": (lambda t: add_block(t, **t.block(LAST)._mapping), lambda t: ("reordered", 0, LAST + 1)),
    "junk far outside": (lambda t: t.sql(JUNK), lambda t: ("block changed", 0, 10**6)),
    "a forged one behind the last": (add_forged_block, lambda t: (UNTRUSTED, 0, LAST + 1)),
    "signed by another key from here on": (lambda t: t.history_anew(MALLORY, 4), lambda t: (UNTRUSTED, 0, 4)),
}
KEYS: dict[str, tuple[Hand, Wrong]] = {
    "another public key": (lambda t: t.change_key(2, public=MALLORY.public.hex()), second),
    "another key": (lambda t: t.change_key(2, public=MALLORY.public.hex(), fingerprint=MALLORY.fingerprint), second),
    "another key, and its blocks": (
        both(lambda t: t.change_key(2, public=MALLORY.public.hex(), fingerprint=MALLORY.fingerprint), lambda t: t.history_anew(MALLORY, 6)),
        second,
    ),
    "another secret as the private key": (lambda t: t.change_key(2, private=Vault([KEY]).seal({"url": "https://x"})), second),
    "public key of the first, no hex": (lambda t: t.change_key(1, public="zz"), lambda t: ("inserted", 0, 0)),
    "introduction": (lambda t: t.change_key(2, signature="0" * 128), second),
    "introduction, no hex": (lambda t: t.change_key(2, signature="zz"), second),
    "introduced by itself": (introduced_by_itself, second),
    "introduction removed": (lambda t: t.sql("DELETE FROM audit_keys WHERE number = 2"), second),
    "public key, no hex": (lambda t: t.change_key(2, public="zz"), second),
    "all removed": (lambda t: t.sql("DELETE FROM audit_keys"), second),
}
HANDS = {f"{what}: {name}": hand for what, hands in (("row", ROWS), ("block", BLOCKS), ("key", KEYS)) for name, hand in hands.items()}


def wrong_first(trail: Trail, *more: str) -> tuple[str, int, int]:
    said = trail.verify(*more)
    assert (said.code, said.json["whole"]) == (1, False), said
    return first_finding(said)


@pytest.mark.parametrize("name", HANDS)
def test_what_went_wrong_first_is_named(trail: Trail, name: str) -> None:
    hand, wrong = HANDS[name]
    expected = wrong(trail)
    hand(trail)
    if name.startswith("key"):
        assert wrong_first(trail)[0] == UNTRUSTED
    found = wrong_first(trail, *trail.key(1))
    assert tuple(one if told is not None else None for one, told in zip(found, expected, strict=True)) == expected


def rewrite_schema(spare: Trail, old: str, new: str) -> None:
    """SQLite keeps the schema as text, which whoever has the file can write."""
    with spare.engine.connect() as connection:
        connection.execute(text("PRAGMA writable_schema = ON"))
        change = text("UPDATE sqlite_master SET sql = replace(sql, :old, :new) WHERE name = 'audit_trail'")
        connection.execute(change, {"old": old, "new": new})
    spare.engine.dispose()


GENERATED = "actor_name TEXT NOT NULL GENERATED ALWAYS AS (json_extract(body, '$.actor_name')) STORED"


def test_a_column_that_is_searched_cannot_lie(spare: Trail) -> None:
    lie = "UPDATE audit_trail SET actor_name = 'mallory' WHERE seq = 5"
    with pytest.raises(DBAPIError):
        spare.sql(lie)
    if spare.is_sqlite:
        rewrite_schema(spare, GENERATED, "actor_name TEXT NOT NULL")
    else:
        spare.sql("ALTER TABLE audit_trail ALTER actor_name DROP EXPRESSION")
    spare.sql(lie)
    assert wrong_first(spare)[0] == "changed"


def test_a_column_that_is_generated_cannot_lie_either(spare: Trail) -> None:
    lie = "UPDATE audit_trail SET actor_name = 'mallory' WHERE seq = 5"
    if spare.is_sqlite:
        rewrite_schema(spare, GENERATED, "actor_name TEXT NOT NULL")
        spare.sql(lie)
        rewrite_schema(spare, "actor_name TEXT NOT NULL", GENERATED)
    else:
        spare.sql("ALTER TABLE audit_trail DROP COLUMN actor_name")
        column = "CASE seq WHEN 5 THEN 'mallory' ELSE body::json ->> 'actor_name' END"
        spare.sql(f"ALTER TABLE audit_trail ADD COLUMN actor_name text NOT NULL GENERATED ALWAYS AS ({column}) STORED")
    assert spare.sql("SELECT actor_name FROM audit_trail WHERE seq = 5")[0].actor_name == "mallory"
    assert wrong_first(spare) == ("changed", 5, 0)


@pytest.mark.parametrize("kept", [LAST - 1, 3, 0])
def test_an_end_that_was_cut_off_is_found_with_anchors_only(trail: Trail, kept: int) -> None:
    cut(trail, kept)
    if not kept:
        trail.sql("DELETE FROM audit_keys")
    assert trail.verify().code == 0
    assert wrong_first(trail, *trail.vault) == ("cut off", trail.blocks[kept + 1][0], kept + 1)


def test_another_history_is_found_by_a_key_that_was_kept_and_by_anchors(trail: Trail) -> None:
    trail.rewrite(trail.inside(3), named(trail.body(trail.inside(3)), "mallory"))
    trail.history_anew(MALLORY)
    trail.sql("DELETE FROM audit_keys WHERE number = 2")
    trail.change_key(1, public=MALLORY.public.hex(), fingerprint=MALLORY.fingerprint)
    assert wrong_first(trail) == (UNTRUSTED, 0, 1), "a key that is not under our lock is none of ours"
    assert wrong_first(trail, *trail.key(1)) == (UNTRUSTED, 0, 1)
    said = trail.verify(*trail.vault)
    assert ("not what was anchored", 3) in {(one["kind"], one["block"]) for one in said.json["findings"]}


def test_another_history_by_the_key_itself_is_found_by_anchors_only(trail: Trail) -> None:
    trail.rewrite(trail.inside(6), named(trail.body(trail.inside(6)), "mallory"))
    trail.history_anew(stolen(trail), 6)
    assert trail.verify(*trail.key(1)).code == 0
    assert wrong_first(trail, *trail.vault) == ("not what was anchored", 0, 6)


def test_a_wrong_key_trusts_nothing(trail: Trail, tmp_path: Path) -> None:
    wrong, broken = tmp_path / "wrong.pem", tmp_path / "broken.pem"
    wrong.write_text(to_pem(MALLORY.public), "utf-8")
    broken.write_text("no key", "utf-8")
    assert wrong_first(trail, "--key", str(wrong)) == (UNTRUSTED, 0, 1)
    assert_one_clear_line(trail.verify("--key", str(broken)), str(broken))


@pytest.mark.parametrize("original", ["sqlite"], indirect=True)
def test_the_real_command_says_so_too(trail: Trail, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "iam", "--config", str(trail.iam.config), "audit", "verify", *trail.key(1), *trail.vault]
    trail.delete(trail.inside(4), trail.inside(4))
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, done
    told = f"REMOVED: Event {trail.inside(4)} is gone (block 4).", "The trail is NOT whole; what is named first went wrong first."
    assert tuple(done.stdout.splitlines()[1:]) == told
