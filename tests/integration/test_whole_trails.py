"""Trails that nobody has touched are whole: whatever keys signed, retention removed, and waits; at every moment."""

from __future__ import annotations

from pathlib import Path

import pytest
from fixtures.product import Product
from fixtures.sealed import (
    DAYS,
    Trail,
    a_day,
    anchored,
    away,
    first_finding,
    fresh,
    moments,
    opened,
    original,
    seal,
    sealing,
    spare,
    sweep,
    trail,
    worn,
)

from iam.evidence.keys import to_pem

__all__ = ["fresh", "original", "sealing", "spare", "trail", "worn"]
LAST = DAYS + 2
"""Blocks."""


def test_with_every_key_and_with_anchors(trail: Trail) -> None:
    for more in ((), trail.key(1), trail.vault, (*trail.key(1), *trail.vault), (*trail.key(1), *trail.key(2))):
        said = trail.verify(*more)
        assert (said.code, said.json["whole"], said.json["events"], said.json["blocks"]) == (0, True, trail.end, LAST)


def test_after_another_rotation(spare: Trail, tmp_path: Path) -> None:
    assert spare.iam("audit", "rotate-key").code == 0
    with opened(spare.url, tmp_path) as product:
        seal(product)
    (newest,) = spare.sql("SELECT public FROM audit_keys WHERE number = 3")
    path = tmp_path / "newest.pem"
    path.write_text(to_pem(bytes.fromhex(newest.public)), "utf-8")
    for more in (spare.key(1), (*spare.key(1), "--key", str(path)), spare.vault):
        said = spare.verify(*more)
        assert (said.code, said.json["blocks"]) == (0, LAST + 1), said
    assert first_finding(spare.verify("--key", str(path))) == ("not signed by a trusted key", 0, 1), "trust goes on, never back"


def test_programs_are_told_the_head(trail: Trail) -> None:
    head = trail.verify().json["head"]
    assert (head["number"], head["last"]) == (LAST, trail.end)


def test_nothing_yet(trail: Trail) -> None:
    for table in ("audit_trail", "audit_blocks", "audit_keys"):
        trail.sql(f"DELETE FROM {table}")
    said = trail.verify()
    assert (said.code, said.json["events"], said.json["head"]) == (0, 0, None)


def test_with_events_that_wait(spare: Trail, tmp_path: Path) -> None:
    with opened(spare.url, tmp_path) as product:
        away(product, 5)
    said = spare.verify(*spare.vault)
    assert (said.code, said.json["unsealed"], said.json["events"]) == (0, 5, spare.end)


def test_after_retention_also_the_second_time(spare: Trail, tmp_path: Path) -> None:
    with opened(spare.url, tmp_path, audit=anchored(tmp_path, keep_days=4)) as product:
        sweep(product)
        seal(product)
        said = spare.verify(*spare.key(1), *spare.vault)
        assert (said.code, said.json["removed_by_retention"]) == (0, spare.blocks[5][1]), said
        a_day(product, DAYS + 1)
        product.clock.forward(days=3)
        seal(product)
        sweep(product)
        seal(product)
    said = spare.verify(*spare.key(1), *spare.vault)
    assert (said.code, said.json["removed_by_retention"]) == (0, spare.end), said


def test_after_retention_before_its_event_is_sealed(spare: Trail, tmp_path: Path) -> None:
    with opened(spare.url, tmp_path, audit=anchored(tmp_path, keep_days=4)) as product:
        sweep(product)
    said = spare.verify()
    assert (said.code, said.json["removed_by_retention"]) == (0, spare.blocks[5][1]), said


@pytest.mark.parametrize("is_pruned", [False, True], ids=["grows", "grows and is pruned"])
def test_while_it_changes_at_any_moment_of_the_verification(sealing: Product, tmp_path: Path, is_pruned: bool) -> None:
    reader, url = sealing, str(sealing.services.world.settings.database_url)
    with opened(url, tmp_path, audit=anchored(tmp_path, keep_days=1)) as writer:

        def go_on() -> None:
            seal(writer)
            if is_pruned:
                writer.clock.forward(days=2)
                sweep(writer)
                seal(writer)
            away(writer)

        go_on()

        def verify() -> None:
            with reader.app.app_context():
                assert reader.services.verifier.verify(reader.operator).findings == []

        assert max(moments(reader, go_on, verify)) > 5


def test_retention_goes_by_what_was_signed(spare: Trail, tmp_path: Path) -> None:
    spare.change_block(LAST, sealed_at="2001-01-01 00:00:00")
    with opened(spare.url, tmp_path, audit=anchored(tmp_path, keep_days=30)) as product:
        sweep(product)
    assert spare.sql("SELECT count(*) FROM audit_trail WHERE seq > 0")[0][0] == spare.end
