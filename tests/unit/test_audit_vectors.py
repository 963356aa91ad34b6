"""The test vectors of the evidence: iam.evidence answers what tests/vectors/audit/vectors.json says, and nothing in them has changed."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import pytest
from vectors.make_audit import FOLDER, made

from iam.evidence.exports import NotAnExport
from iam.evidence.keys import NotAKey, from_pem
from iam.evidence.proof import Report
from iam.evidence.reading import bounded, read_anchors, verify_export, verify_table

VECTORS: list[dict[str, Any]] = json.loads((FOLDER / "vectors.json").read_text("utf-8"))["vectors"]


def verified(vector: dict[str, Any]) -> Report:
    """As ``iam audit verify`` does it."""
    keys = from_pem((FOLDER / vector["key"]).read_text("utf-8"))
    content = BytesIO((FOLDER / vector["file"]).read_bytes())
    if "manifest" in vector:
        return verify_table(content, (FOLDER / vector["manifest"]).read_bytes(), keys).report
    anchors = read_anchors(BytesIO((FOLDER / vector["anchors"]).read_bytes())) if "anchors" in vector else ()
    return verify_export(bounded(content), keys, anchors).report


@pytest.mark.parametrize("vector", VECTORS, ids=[one["name"] for one in VECTORS])
def test_it_is_verified_as_it_should_be(vector: dict[str, Any]) -> None:
    try:
        report = verified(vector)
    except (NotAnExport, NotAKey):
        assert not vector["whole"]
        assert vector["first"] in ({"kind": "unreadable", "event": 0, "block": 0}, None)
        return
    assert report.is_whole is vector["whole"]
    found = [{"kind": one.kind.value, "event": one.seq, "block": one.block} for one in report.findings]
    if vector["first"]:
        assert found[0] == vector["first"]


MADE = made()


@pytest.mark.parametrize("name", sorted(MADE))
def test_a_vector_is_still_made_of_the_same_bytes(name: str) -> None:
    assert MADE[name] == (FOLDER / name).read_bytes()


def test_nothing_else_is_there() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(MADE)


def test_removed_by_retention_is_told() -> None:
    (vector,) = (one for one in VECTORS if one["name"] == "retention")
    assert verified(vector).removed_by_retention == 2
