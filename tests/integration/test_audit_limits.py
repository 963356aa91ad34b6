"""Exports at their limits: a disk that is full, very many events, a key that is replaced meanwhile, events that retention removed."""

from __future__ import annotations

import os
import subprocess
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from fixtures.cli import Iam, assert_one_clear_line
from fixtures.elsewhere import Auditor, auditor, lived, over
from fixtures.offline import events
from fixtures.product import Product, ProductMaker
from sqlalchemy import insert

from iam.evidence.blocks import LARGEST
from iam.evidence.events import FIELDS, text_of
from iam.evidence.keys import to_pem
from iam.models import AuditEvent, db
from iam.services.audit import Filter

__all__ = ["auditor"]
MANY = 50_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("old")


@pytest.fixture(scope="module")
def old(folder: Path) -> Iterator[Product]:
    """Four days, of which two are kept; the tests share it."""
    product = lived(folder, audit={"anchors": [{"kind": "file", "name": "vault", "path": folder / "vault.jsonl"}], "keep_days": 2})
    yield product
    with product.app.app_context():
        db.session.remove()
        db.engine.dispose()


@pytest.fixture
def iam(old: Product, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iam:
    return over(old, monkeypatch, capsys, tmp_path)


@pytest.fixture
def auditor_of_old(folder: Path, auditor: Auditor) -> Auditor:
    auditor.key = folder / "first.pem"
    return auditor


class Disk:
    """A disk of so many bytes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def mount(self, size: int, *more: str) -> None:
        options = ",".join([f"size={size}", *more])
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", self.folder], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no small disk can be mounted: {done.stderr.strip()}")

    def fill(self, free: int = 0) -> None:
        """But for so many pages."""
        space = os.statvfs(self.folder)
        (self.folder / "filler").write_bytes(bytes((space.f_bavail - free) * space.f_frsize))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    disk = Disk(tmp_path / "disk")
    disk.mount(32 * 1024)
    yield disk
    subprocess.run(["umount", disk.folder], check=True)


def exported(product: Product) -> list[tuple[str, str]]:
    """How the exports ended, the newest first."""
    return [(event.result, event.reason) for event in events(product, action="audit.exported")]


BROKEN_OFF = ("failed", "the export was broken off")


def test_a_full_disk_is_told_and_the_export_goes_on(old: Product, iam: Iam, disk: Disk, auditor_of_old: Auditor) -> None:
    out = disk.folder / "whole.jsonl"
    said = iam("audit", "export", "--out", str(out))
    assert_one_clear_line(said, f"{out}: No space left on device. --resume goes on from the last whole block.")
    assert exported(old)[0] == BROKEN_OFF
    assert not auditor_of_old.both(out)["whole"]
    assert_one_clear_line(iam("audit", "export", "--out", str(out), "--resume"), "No space left on device")
    assert exported(old)[:2] == [BROKEN_OFF] * 2
    disk.mount(8 * 1024 * 1024, "remount")
    assert iam("audit", "export", "--out", str(out), "--resume").code == 0
    assert [result for result, _reason in exported(old)[:3]] == ["done", "failed", "failed"]
    assert auditor_of_old.both(out)["whole"]


@pytest.mark.parametrize(
    ("name", "kind", "free"),
    [("part.jsonl", "jsonl", 0), ("part.jsonl.gz", "jsonl", 0), ("part.csv", "csv", 0), ("part.csv", "csv", 1)],
)
def test_a_disk_that_is_full_in_the_end_is_no_success(name: str, kind: str, free: int, old: Product, iam: Iam, disk: Disk) -> None:
    disk.fill(free)
    said = iam("audit", "export", "--out", str(disk.folder / name), "--format", kind, "--person", "nobody")
    assert_one_clear_line(said, "No space left on device")
    assert exported(old)[0] == BROKEN_OFF


@pytest.mark.parametrize(
    ("name", "arguments"), [("part.jsonl", ("--person", "person-1-1")), ("whole.jsonl.gz", ()), ("table.csv", ("--format", "csv"))]
)
def test_what_cannot_go_on_is_not_said_to(name: str, arguments: tuple[str, ...], iam: Iam, disk: Disk) -> None:
    disk.fill()
    said = iam("audit", "export", "--out", str(disk.folder / name), *arguments)
    assert_one_clear_line(said, "No space left on device")
    assert "--resume" not in said.err


def test_no_folder_is_told(iam: Iam, tmp_path: Path) -> None:
    assert_one_clear_line(iam("audit", "export", "--out", str(tmp_path / "nowhere" / "whole.jsonl")), "No such file or directory")


def test_a_new_key_does_not_break_an_export_that_goes_on(old: Product, iam: Iam, auditor_of_old: Auditor, tmp_path: Path) -> None:
    out = tmp_path / "whole.jsonl"
    assert iam("audit", "export", "--out", str(out)).code == 0
    out.write_bytes(out.read_bytes()[:30_000])
    with old.app.app_context():
        old.services.signing_keys.rotate(old.operator)
    assert iam("audit", "export", "--out", str(out), "--resume").code == 0
    assert auditor_of_old.both(out)["whole"]


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_a_new_key_does_not_break_an_export_that_runs(kind: str, old: Product, auditor_of_old: Auditor, tmp_path: Path) -> None:
    out = tmp_path / f"whole.{kind}"
    with old.app.app_context():
        export = old.services.exports.begin(old.operator, kind, Filter())
        parts = old.services.exports.parts(export, Path(f"{out}.manifest.json").write_bytes)
        content = next(parts)
        old.services.signing_keys.rotate(old.operator)
        out.write_bytes(content + b"".join(parts))
    assert auditor_of_old.both(out)["whole"]


def test_events_that_retention_removed_are_excused(old: Product, iam: Iam, auditor_of_old: Auditor, tmp_path: Path, folder: Path) -> None:
    before, after, cut = (tmp_path / f"{name}.jsonl" for name in ("before", "after", "cut"))
    assert iam("audit", "export", "--out", str(before)).code == 0
    with old.app.app_context():
        old.services.housekeeping.sweep()
        db.session.remove()
    assert iam("audit", "export", "--out", str(after)).code == 0
    found = auditor_of_old.both(after, "--anchors", folder / "vault.jsonl")
    assert found["whole"], found
    assert found["removed_by_retention"] > 30
    cut.write_bytes(before.read_bytes()[:30_000])
    assert iam("audit", "export", "--out", str(cut), "--resume").code == 0
    assert auditor_of_old.both(cut)["whole"]
    lines = after.read_bytes().splitlines(keepends=True)
    start = next(at for at, line in enumerate(lines) if line.startswith(b'{"seq":'))
    end = next(at for at in range(start, len(lines)) if lines[at].startswith(b'{"block":'))
    after.write_bytes(b"".join([*lines[:start], *lines[end:]]))
    first = auditor_of_old.both(after)["findings"][0]
    assert (first["kind"], first["event"]) == ("removed", found["removed_by_retention"] + 1)


@pytest.fixture
def crowded(make_product: ProductMaker, tmp_path: Path) -> Product:
    """Very many events."""
    product = make_product()
    mark = product.services.world.vault.mark
    facts = dict.fromkeys(FIELDS, "") | {"at": product.clock(), "action": "login", "result": "done", "details": {"comment": "x" * 200}}
    head, tail = text_of(facts | {"id": "("}).split("(")
    texts = (f"{head}{number:032x}{tail}" for number in range(MANY))
    with product.app.app_context():
        db.session.execute(insert(AuditEvent), [{"body": text, "mark": mark(text.encode())} for text in texts])
        db.session.commit()
        product.services.sealer.seal()
        key = to_pem(bytes.fromhex(product.services.signing_keys.named()[0].public))
        db.session.remove()
    (tmp_path / "first.pem").write_text(key, "utf-8")
    return product


def peak(product: Product, out: Path, upto: int = 0) -> int:
    """The most memory, in bytes, that an export took at a time."""
    with product.app.app_context(), out.open("wb") as target:
        export = product.services.exports.begin(product.operator, "jsonl", Filter())
        export.upto = upto or export.upto
        tracemalloc.start()
        for part in product.services.exports.parts(export):
            target.write(part)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        db.session.remove()
    return most


def test_memory_does_not_grow_with_an_export(crowded: Product, auditor: Auditor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iam.services.audit.streams.PAGE", 2000)  # two pages are held at a time, so that there is much to grow by
    out, auditor.key = tmp_path / "whole.jsonl", tmp_path / "first.pem"
    half, all_of_it = peak(crowded, out, MANY // 2 // LARGEST * LARGEST), peak(crowded, out)
    assert out.stat().st_size > 25_000_000
    assert all_of_it < 1.1 * half
    found = auditor.both(out)
    assert found["whole"], found
    assert found["events"] > MANY
