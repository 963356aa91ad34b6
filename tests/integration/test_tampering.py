"""Whoever has the database open can change it, and cannot hide it: ``iam audit verify`` names what went wrong first."""

from __future__ import annotations

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

from iam.evidence.keys import SigningKey, to_pem
from iam.services.vault import Vault

Hand = Callable[[Trail], object]
Wrong = Callable[[Trail], tuple[str, int | None, int | None]]
"""What is to be named first: its kind, the event and the block; None where both have one."""
FORGED, UNTRUSTED = "not written by this service", "not signed by a trusted key"
MALLORY = SigningKey.new()


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


def named(text: str, name: str) -> str:
    return re.sub(r'"actor_name":"[^"]*"', f'"actor_name":"{name}"', text)


def swap_bodies(trail: Trail, one: int, other: int) -> None:
    texts = trail.body(one), trail.body(other)
    trail.rewrite(one, texts[1])
    trail.rewrite(other, texts[0])


def replay(trail: Trail) -> None:
    (old,) = trail.sql("SELECT id, body, mark FROM audit_trail WHERE seq = :seq", seq=trail.inside(2))
    with pytest.raises(IntegrityError):
        trail.insert(old.body, mark=old.mark)
    trail.change("audit_trail", f"id = {old.id}", mark="moved")
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
    for number in range(after + 1, DAYS + 1):
        drop(trail, number, events=True)


def stolen(trail: Trail) -> SigningKey:
    """The key itself, of an attacker who has the settings too."""
    (row,) = trail.sql("SELECT private FROM audit_keys WHERE number = 2")
    return SigningKey.from_hex(Vault([KEY]).open(bytes(row.private))["private"])


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
    "changed by a blank": (lambda t: t.rewrite(t.end, t.body(t.end) + " "), lambda t: ("changed", t.end, DAYS)),
    "changed at the beginning": (lambda t: t.rewrite(1, named(t.body(1), "")), lambda t: ("changed", 1, 1)),
    "another's text": (lambda t: t.rewrite(t.inside(2), t.body(t.inside(5))), lambda t: ("changed", t.inside(2), 2)),
    "removed in the middle": (lambda t: t.delete(t.inside(4), t.inside(4)), lambda t: ("removed", t.inside(4), 4)),
    "removed at the beginning": (lambda t: t.delete(1, 1), lambda t: ("removed", 1, 1)),
    "removed at the end": (lambda t: t.delete(t.end, t.end), lambda t: ("removed", t.end, DAYS)),
    "many removed": (lambda t: t.delete(t.inside(2), t.inside(5)), lambda t: ("removed", t.inside(2), 2)),
    "all removed": (lambda t: t.delete(1, t.end), lambda t: ("removed", 1, None)),
    "all of a block removed, and a later one": (
        both(lambda t: t.delete(*t.blocks[2]), lambda t: t.delete(t.inside(4), t.inside(4))), lambda t: ("removed", t.blocks[2][0], None),
    ),
    "bodies swapped": (lambda t: swap_bodies(t, t.inside(3, 2), t.inside(3, 9)), lambda t: ("reordered", t.inside(3, 2), 3)),
    "numbers swapped": (lambda t: t.swap(t.inside(3, 2), t.inside(3, 9)), lambda t: ("reordered", t.inside(3, 2), 3)),
    "numbers of two blocks swapped": (lambda t: t.swap(t.inside(2), t.inside(5)), lambda t: ("changed", t.inside(2), 2)),
    "unsealed again": (lambda t: t.change("audit_trail", f"seq = {t.inside(3)}", seq=None), lambda t: ("removed", t.inside(3), 3)),
    "forged, waits": (lambda t: t.insert(t.forged(actor_name="mallory")), lambda t: (FORGED, 0, 0)),
    "forged, mark is not ASCII": (lambda t: t.insert(t.forged(), mark="\u00e4" * 32), lambda t: (FORGED, 0, 0)),
    "forged, at the end": (lambda t: t.insert(t.forged(), seq=t.end + 1), lambda t: ("inserted", t.end + 1, 0)),
    "forged, far behind the end": (lambda t: t.insert(t.forged(), seq=2**62), lambda t: ("inserted", 2**62, 0)),
    "forged, number zero": (lambda t: t.insert(t.forged(), seq=0), lambda t: (FORGED, 0, 0)),
    "forged, below zero": (lambda t: t.insert(t.forged(), seq=-7), lambda t: (FORGED, 0, 0)),
    "replayed": (replay, lambda t: (FORGED, 0, 0)),
    "removal excused by a row that waits": (
        both(lambda t: t.insert(pruned(t)), prune), lambda t: ("removed", 1, None),
    ),
    "removal excused by a row behind the end": (
        both(lambda t: t.insert(pruned(t), seq=t.end + 1), prune), lambda t: ("removed", 1, None),
    ),
    "removal excused by a changed row": (
        both(lambda t: t.rewrite(t.inside(5), pruned(t)), prune), lambda t: ("removed", 1, None),
    ),
}
BLOCKS: dict[str, tuple[Hand, Wrong]] = {
    "header, time": (lambda t: header(t, 3, r"\.\d{6}Z", ".000001Z"), lambda t: ("block changed", 0, 3)),
    "header, time of the last": (lambda t: header(t, DAYS, r"\.\d{6}Z", ".000001Z"), lambda t: ("block changed", 0, DAYS)),
    "header, endless count": (lambda t: header(t, 3, r'"count":\d+', '"count":' + "9" * 15), lambda t: ("block changed", 0, 3)),
    "header, other number": (lambda t: header(t, 3, '"number":3', '"number":4'), lambda t: ("block removed", 0, 3)),
    "header, another's key": (lambda t: header(t, 3, '"key":"[^"]*"', f'"key":"{MALLORY.fingerprint}"'), lambda t: ("block changed", 0, 4)),
    "header, no JSON": (lambda t: t.change_block(3, header="[]"), lambda t: ("block changed", 0, None)),
    "leaves": (lambda t: raw(t, 3, "leaves", "0" * 64), lambda t: ("block changed", 0, 3)),
    "leaves, one more": (lambda t: t.change_block(3, leaves=t.block(3).leaves + "0" * 64), lambda t: ("block changed", 0, 3)),
    "leaves, no hex": (lambda t: raw(t, 3, "leaves", "zz"), lambda t: ("block changed", 0, 3)),
    "signature": (lambda t: raw(t, 3, "signature", "0" * 16), lambda t: ("block changed", 0, 3)),
    "signature, no hex": (lambda t: raw(t, 3, "signature", "zz"), lambda t: ("block changed", 0, 3)),
    "hash": (lambda t: raw(t, 3, "hash", "0" * 16), lambda t: ("block changed", 0, 3)),
    "first number": (lambda t: t.change_block(3, first_seq=t.blocks[3][0] + 1), lambda t: ("block changed", 0, 3)),
    "last number": (lambda t: t.change_block(3, last_seq=t.blocks[3][1] - 1), lambda t: ("block changed", 0, 3)),
    "time": (lambda t: t.change_block(3, sealed_at="2001-01-01 00:00:00"), lambda t: ("block changed", 0, 3)),
    "number": (lambda t: t.change_block(3, number=100), lambda t: ("block removed", 0, 3)),
    "number of the last": (lambda t: t.change_block(DAYS, number=100), lambda t: ("block changed", 0, DAYS)),
    "removed with its events": (lambda t: drop(t, 3, events=True), lambda t: ("block removed", 0, 3)),
    "removed without its events": (lambda t: drop(t, 3, events=False), lambda t: ("block removed", 0, 3)),
    "first removed with its events": (lambda t: drop(t, 1, events=True), lambda t: ("block removed", 0, 1)),
    "last removed without its events": (lambda t: drop(t, DAYS, events=False), lambda t: ("inserted", t.blocks[DAYS][0], 0)),
    "of another key from the fourth on": (lambda t: t.history_anew(MALLORY, 4), lambda t: (UNTRUSTED, 0, 4)),
}
KEYS: dict[str, tuple[Hand, Wrong]] = {
    "another public key": (lambda t: t.change_key(2, public=MALLORY.public.hex()), lambda t: (UNTRUSTED, 0, 4)),
    "another key": (
        lambda t: t.change_key(2, public=MALLORY.public.hex(), fingerprint=MALLORY.fingerprint), lambda t: (UNTRUSTED, 0, 4),
    ),
    "another key, and its blocks": (
        both(lambda t: t.change_key(2, public=MALLORY.public.hex(), fingerprint=MALLORY.fingerprint), lambda t: t.history_anew(MALLORY, 4)),
        lambda t: (UNTRUSTED, 0, 4),
    ),
    "introduction": (lambda t: t.change_key(2, signature="0" * 128), lambda t: (UNTRUSTED, 0, 4)),
    "introduction, no hex": (lambda t: t.change_key(2, signature="zz"), lambda t: (UNTRUSTED, 0, 4)),
    "introduced by itself": (
        lambda t: t.change_key(2, introduced_by=MALLORY.fingerprint, signature=MALLORY.introduce(MALLORY).signature,
                               public=MALLORY.public.hex(), fingerprint=MALLORY.fingerprint),
        lambda t: (UNTRUSTED, 0, 4),
    ),
    "introduction removed": (lambda t: t.sql("DELETE FROM audit_keys WHERE number = 2"), lambda t: (UNTRUSTED, 0, 4)),
    "public key, no hex": (lambda t: t.change_key(2, public="zz"), lambda t: (UNTRUSTED, 0, 4)),
    "all keys removed": (lambda t: t.sql("DELETE FROM audit_keys"), lambda t: (UNTRUSTED, 0, 1)),
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
    found = wrong_first(trail)
    assert tuple(one if told is not None else None for one, told in zip(found, expected, strict=True)) == expected
