"""What somebody has tried to deceive the trail with: hands in the database while we run, clocks, files. It does not work (any more)."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fixtures.asking import Scene, people
from fixtures.cli import assert_one_clear_line
from fixtures.offline import events
from fixtures.product import Product
from fixtures.sealed import DATABASES, Trail, anchored, away, first_finding, fresh, opened, original, seal, sealing, spare, trail, worn
from sqlalchemy import insert

from iam.errors import Unavailable
from iam.evidence import blocks, exports
from iam.evidence.events import facts_of, moment
from iam.evidence.keys import SigningKey
from iam.models import AuditEvent, db
from iam.services.audit import Filter

__all__ = ["fresh", "original", "sealing", "spare", "trail", "worn"]
on_sqlite = pytest.mark.parametrize("original", DATABASES[:1], indirect=True)
on_postgresql = pytest.mark.parametrize("original", DATABASES[1:], indirect=True)
FORGED = "not written by this service", 0, 0
ROW = 100_000
"""The row that somebody inserts."""


@pytest.fixture
def product(spare: Trail, tmp_path: Path) -> Iterator[Product]:
    """Runs over the spare trail, which is forwarded and anchored."""
    forward = [{"kind": "file", "name": "siem", "path": tmp_path / "siem.jsonl"}]
    with opened(spare.url, tmp_path, audit=anchored(tmp_path, forward=forward)) as product:
        yield product


def last(trail: Trail) -> int:
    """The last block."""
    return int(max(trail.blocks))


def seq_of(trail: Trail, row: int = ROW) -> Any:
    """Where in the chain a row stands."""
    return trail.sql("SELECT seq FROM audit_trail WHERE id = :row", row=row)[0].seq


def told(product: Product, action: str) -> list[dict[str, Any]]:
    """The details of these events, the newest first."""
    return [one.details for one in events(product, action=action)]


def deep(body: str, depth: int = 990) -> str:
    """About as deep as SQLite takes."""
    return f'{body[:-1]},"x":{"[" * depth}{"]" * depth}}}'


def exported(trail: Trail, path: Path, *more: str) -> Path:
    """By command."""
    said = trail.iam("audit", "export", "--out", str(path), *more)
    assert said.code == 0, said
    return path


def export(product: Product, meanwhile: Callable[[], object] = lambda: None) -> bytes:
    """An export of everything, with something that happens after its beginning."""
    with product.app.app_context():
        begun = product.services.exports.begin(product.operator, "jsonl", Filter())
        meanwhile()
        return b"".join(product.services.exports.parts(begun))


def remove_end(trail: Trail, *, events: bool) -> None:
    trail.sql("DELETE FROM audit_blocks WHERE number = :last", last=last(trail))
    if events:
        trail.delete(*trail.blocks[last(trail)])


HIDING: dict[str, Callable[[Trail], object]] = {
    "by its first number": lambda trail: trail.change_block(last(trail), first_seq=10**9),
    "removed": lambda trail: remove_end(trail, events=False),
    "removed with its events": lambda trail: remove_end(trail, events=True),
}
"""The last block."""


class TestFiles:
    def test_a_manifest_beside_the_chain_that_it_belongs_to_proves_nothing(self, trail: Trail, tmp_path: Path) -> None:
        trail.rewrite(trail.inside(3), trail.body(trail.inside(4)))
        file = exported(trail, tmp_path / "whole.jsonl")
        chain, mark, manifest = file.read_bytes().rpartition(b'{"manifest":')
        file.write_bytes(chain)
        keys = json.dumps(json.loads(chain.partition(b"\n")[0])["keys"]).encode()
        Path(f"{file}.manifest.json").write_bytes(mark + manifest[:-2] + b',"keys":' + keys + b"}\n")
        assert_one_clear_line(trail.verify(str(file), *trail.key(1)), "stands at its end, and proves nothing elsewhere")

    def test_anchors_say_nothing_about_a_table(self, trail: Trail, tmp_path: Path) -> None:
        file = exported(trail, tmp_path / "table.csv", "--format", "csv")
        assert trail.verify(str(file), *trail.key(1)).code == 0
        assert_one_clear_line(trail.verify(str(file), *trail.key(1), *trail.vault), "Anchors belong to a chain")

    @pytest.mark.parametrize(("at", "words"), [("2001-01-01T00:00:00.000000Z", "The file's first line"), ("0", "is no time")])
    def test_what_says_to_have_begun_at_another_time_does_not_go_on(self, trail: Trail, tmp_path: Path, at: str, words: str) -> None:
        file = exported(trail, tmp_path / "whole.jsonl")
        changed = re.sub(rb'"begun_at":"[^"]*"', f'"begun_at":"{at}"'.encode(), file.read_bytes()[:30_000], count=1)
        file.write_bytes(changed)
        assert_one_clear_line(trail.iam("audit", "export", "--out", str(file), "--resume"), words)
        assert file.read_bytes() == changed

    @pytest.mark.parametrize("where", ["event", "block", "manifest"])
    def test_deep_json_is_told_of(self, trail: Trail, tmp_path: Path, where: str) -> None:
        file, nested = exported(trail, tmp_path / "whole.jsonl"), b"[" * 100_000 + b"]" * 100_000
        event = b'{"action":"audit.pruned","details":' + nested + b"}"
        line = {
            "event": exports.event_line(1, event) + exports.block_line(blocks.seal([event], None, SigningKey.new(), datetime.now(UTC))),
            "block": exports.block_line(blocks.Block(nested, b"", "")),
            "manifest": b'{"manifest":{"x":' + nested + b'},"signature":"' + b"0" * 128 + b'"}\n',
        }[where]
        file.write_bytes(file.read_bytes().partition(b"\n")[0] + b"\n" + line)
        assert trail.verify(str(file), *trail.key(1)).code == 1

    @pytest.mark.parametrize("name", HIDING)
    def test_an_export_that_ends_before_the_head_is_none(self, spare: Trail, product: Product, name: str) -> None:
        with pytest.raises(Unavailable, match="ends before its head"):
            export(product, lambda: HIDING[name](spare))
        assert [one.result for one in events(product, action="audit.exported")] == ["failed"]

    def test_a_block_that_was_hidden_before_is_missed_too(self, spare: Trail, tmp_path: Path) -> None:
        HIDING["by its first number"](spare)
        said = spare.iam("audit", "export", "--out", str(tmp_path / "whole.jsonl"))
        assert_one_clear_line(said, "The audit trail is not whole: it ends before its head")

    def test_an_end_that_was_cut_off_is_found_after_a_clock_ran_ahead(self, spare: Trail, product: Product, tmp_path: Path) -> None:
        for hours in (2, -2, 0, 0):
            product.clock.forward(hours=hours, minutes=10)
            away(product)
            seal(product)
            with product.app.app_context():
                product.services.anchoring.anchor("vault")
        (end,) = spare.sql("SELECT number, first_seq FROM audit_blocks ORDER BY number DESC LIMIT 1 OFFSET 1")
        spare.sql("DELETE FROM audit_blocks WHERE number >= :number", number=end.number)
        spare.delete(end.first_seq, 2**62)
        out = tmp_path / "whole.jsonl"
        out.write_bytes(export(product))
        assert spare.verify(str(out), *spare.key(1)).code == 0
        found = spare.verify(str(out), *spare.key(1), "--anchors", str(tmp_path / "vault.jsonl"))
        assert first_finding(found) == ("cut off", end.first_seq, end.number)


HIDDEN: dict[str, dict[str, Any]] = {
    "itself": {}, "its block, by a time": {"sealed_at": "2001-01-01T00:00:00.000000Z"}, "its block, by no hashes": {"leaves": ""},
}  # fmt: skip


class TestSealing:
    @pytest.mark.parametrize("name", HIDDEN)
    def test_no_event_is_doubled_while_the_sealed_one_is_hidden(self, spare: Trail, product: Product, name: str) -> None:
        at, block = spare.inside(3), spare.block(3)
        (row,) = spare.sql("SELECT body, mark FROM audit_trail WHERE seq = :at", at=at)
        spare.rewrite(at, row.body + " ")
        spare.change_block(3, has_events=True, **HIDDEN[name])
        spare.insert(row.body, mark=row.mark, row=ROW)
        with suppress(Unavailable):  # where a block was changed, nothing is sealed
            seal(product)
        spare.rewrite(at, row.body)
        spare.change_block(3, sealed_at=block.sealed_at, leaves=block.leaves)
        seal(product)
        assert first_finding(spare.verify()) == FORGED
        assert [one["row"] for one in told(product, "audit.forged")] == [ROW]

    def test_what_waited_long_is_told_of_once_a_round(self, spare: Trail, product: Product) -> None:
        away(product)
        (oldest,) = spare.sql("SELECT min(id) AS row FROM audit_trail WHERE seq IS NULL")
        product.clock.forward(hours=6)
        away(product)
        seal(product)
        assert told(product, "audit.late") == [{"row": oldest.row, "seconds": 6 * 3600, "events": 3}]
        product.clock.forward(seconds=59)
        seal(product)
        assert len(told(product, "audit.late")) == 1

    def test_what_waited_for_the_first_sealing_of_all_is_not_late(self, sealing: Product) -> None:
        sealing.clock.forward(hours=6)
        seal(sealing)
        assert told(sealing, "audit.late") == []

    def test_a_copy_with_a_number_below_zero_does_not_push_the_real_one_aside(self, spare: Trail, product: Product) -> None:
        away(product, 1)
        (real,) = spare.sql("SELECT id, body FROM audit_trail WHERE seq IS NULL")
        spare.insert(real.body, seq=-7)
        seal(product)
        assert seq_of(spare, real.id) == spare.end + 1
        assert first_finding(spare.verify()) == FORGED

    def test_deep_json_in_a_row_stops_nobody(self, spare: Trail, product: Product) -> None:
        spare.insert(deep(spare.body(spare.end)))
        assert first_finding(spare.verify()) == FORGED
        assert spare.iam("--json", "audit", "list").json[0]["details"] == {}
        seal(product)
        assert [one["row"] for one in told(product, "audit.forged")] == [ROW]
        assert seq_of(spare) < 0

    @on_postgresql
    def test_very_many_events_may_wait(self, spare: Trail, product: Product) -> None:
        facts, mark = facts_of(spare.body(spare.end)), product.services.world.vault.mark
        more = ({"id": f"{at:024x}", "at": moment(product.clock() + timedelta(microseconds=at))} for at in range(9_000))
        texts = [json.dumps(facts | one) for one in more]
        with product.app.app_context():
            db.session.execute(insert(AuditEvent), [{"body": one, "mark": mark(one.encode())} for one in texts])
            db.session.commit()
        said = spare.verify()
        assert (said.code, said.json["unsealed"]) == (0, 9_000)


class TestWorking:
    def test_a_block_that_cannot_be_read_stops_no_other_work(
        self, spare: Trail, product: Product, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)  # where the bindings of an offline cluster are, if the database is not a file
        scene = people(Scene(product, tmp_path))
        scene.offer()
        scene.rule("1 of local:leads")
        asked = scene.ask("erin", "shop")
        scene.yes("lee", asked)
        spare.change_block(last(spare), header="[]")
        product.work()
        assert scene.bound() == {"shop/edit": ["erin"]}
        product.clock.forward(hours=1)
        product.work()
        product.work()
        assert scene.bound() == {}
        assert scene.granted(asked).gone_at

    @pytest.mark.parametrize("knows", [{"audit.keep_days": "9"}, None], ids=["that says that all is known", "that says nothing"])
    def test_a_forged_event_hides_no_other_settings(self, spare: Trail, product: Product, tmp_path: Path, knows: Any) -> None:
        with product.app.app_context():
            product.services.started.note()
        (facts,) = told(product, "settings.changed")
        details = {"settings": facts["settings"] | knows} if knows else {}
        spare.insert(spare.forged(action="settings.changed", result="done", details=details))
        with opened(spare.url, tmp_path, audit=anchored(tmp_path, keep_days=9)) as other:
            with other.app.app_context():
                other.services.started.note()
            seal(other)
            newest, *older = told(other, "settings.changed")
            assert "audit.keep_days" in newest["changed"]
            assert len(older) == 1

    @on_sqlite
    def test_an_index_that_leaves_something_out_is_found(self, spare: Trail) -> None:
        name, (hidden,) = "ix_audit_trail_actor_name", spare.sql("SELECT id FROM audit_trail WHERE actor_name = 'mallory' LIMIT 1")
        whole, part = "actor_name <> ''", f"actor_name <> '' AND id <> {hidden.id}"
        for old, new in ((whole, part), (part, whole)):
            spare.engine.dispose()
            with closing(sqlite3.connect(spare.url.removeprefix("sqlite:///"), isolation_level=None)) as connection:
                connection.execute("PRAGMA writable_schema = ON")
                connection.execute("UPDATE sqlite_master SET sql = replace(sql, ?, ?) WHERE name = ?", (old, new, name))
            if new == part:
                spare.sql(f"REINDEX {name}")
        said = spare.verify(*spare.key(1))
        assert first_finding(said) == ("changed", 0, 0)
        assert name in said.json["findings"][0]["what"]


class TestForwarding:
    def turn(self, product: Product, folder: Path) -> tuple[str, list[int]]:
        """Of the forwarder: its error, and the events that have arrived by now."""
        with product.app.app_context():
            product.services.forwarding.deliver("siem")
            (standing,) = product.services.forwarding.standings(product.operator)
        product.clock.forward(minutes=10)
        return standing.error, [json.loads(line)["seq"] for line in (folder / "siem.jsonl").read_text("utf-8").splitlines()]

    def test_a_mark_that_was_changed_after_the_sealing_stops_nothing(self, spare: Trail, product: Product, tmp_path: Path) -> None:
        spare.change("audit_trail", f"seq = {spare.inside(4)}", mark="x")
        assert self.turn(product, tmp_path) == ("", list(range(1, spare.end + 1)))

    @pytest.mark.parametrize("name", ["changed", "swapped", "removed"])
    def test_what_was_changed_does_not_go_on_until_it_is_put_back(self, spare: Trail, product: Product, tmp_path: Path, name: str) -> None:
        at = spare.inside(5)
        hands = {"changed": lambda: spare.rewrite(at, spare.body(at + 1)), "swapped": lambda: spare.swap(at, at + 1)}
        spare.keep()
        hands.get(name, lambda: spare.delete(at, at))()
        for _ in range(2):
            error, arrived = self.turn(product, tmp_path)
            assert f"Event {at} " in error
            assert "Run iam audit verify" in error
            assert arrived == list(range(1, spare.blocks[5][0]))
        spare.put_back()
        assert self.turn(product, tmp_path) == ("", list(range(1, spare.end + 1)))
