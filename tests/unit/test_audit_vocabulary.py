"""The vocabulary: what the code records is what the documents say, and every event has its words."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from iam.services.audit import Event
from iam.services.audit.vocabulary import described

ROOT = Path(__file__).parent.parent.parent


def test_the_document_is_made_from_the_code() -> None:
    assert (ROOT / "docs" / "audit-events.md").read_text("utf-8") == described(), "iam audit vocabulary > docs/audit-events.md"


@pytest.mark.parametrize("event", list(Event), ids=str)
def test_a_sentence_needs_only_what_every_event_has_or_this_one(event: Event) -> None:
    known = dict.fromkeys({"actor", "target", "person", "cluster"} | event.fields, "x")
    assert "%(" not in event.sentence % known


def test_every_event_is_recorded_somewhere_and_no_other() -> None:
    named = {
        node.attr for path in (ROOT / "iam").rglob("*.py") if path.name != "vocabulary.py"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Event" and node.attr.isupper()
    }  # fmt: skip
    assert named == {event.name for event in Event}
