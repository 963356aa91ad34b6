"""What holds for every name, whatever somebody types."""

from __future__ import annotations

import unicodedata
from contextlib import suppress

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from iam.errors import Invalid
from iam.kube.names import (
    MAX_USERNAME,
    canonical_username,
    group_name,
    object_name,
    refuse_reserved,
    role_name,
)

texts = st.text(st.characters(), max_size=40)
letters = st.text(st.characters(categories=["L", "Nd"]), min_size=1, max_size=30)


def accepted(raw: str) -> str:
    """The canonical name; a refused one is not what a property is about."""
    try:
        return canonical_username(raw)
    except Invalid:
        assume(False)
        raise


@settings(deadline=None)
@given(texts | letters)
@example("ΐ")
@example("ǰ")
@example("İ")
def test_canonicalising_twice_is_canonicalising_once(raw: str) -> None:
    name = accepted(raw)
    assert canonical_username(name) == name


@settings(deadline=None)
@given(letters)
def test_case_and_form_never_make_another_person(raw: str) -> None:
    name = accepted(raw)
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        spelling = unicodedata.normalize(form, raw)
        assert accepted(spelling) == name
        assert accepted(f" {spelling} ") == name
        assert accepted(spelling.casefold()) == name


@settings(deadline=None)
@given(texts)
def test_a_canonical_name_is_safe_to_bind(raw: str) -> None:
    name = accepted(raw)
    assert 0 < len(name) <= MAX_USERNAME
    assert not any(char.isspace() or char == "," or unicodedata.category(char)[0] == "C" for char in name)
    assert not name.startswith("system:")


seven_choices = st.lists(st.booleans(), min_size=7, max_size=7)


@settings(deadline=None)
@given(st.text(max_size=10), seven_choices, seven_choices)
def test_no_mix_of_case_and_width_gets_system_past(rest: str, upper: list[bool], wide: list[bool]) -> None:
    cased = [char.upper() if is_upper else char for char, is_upper in zip("system:", upper, strict=True)]
    widened = [chr(ord(char) + 0xFEE0 * is_wide) for char, is_wide in zip(cased, wide, strict=True)]
    disguise = "".join(widened)
    for check in (canonical_username, group_name, refuse_reserved):
        with pytest.raises(Invalid):
            check(disguise + rest)


@settings(deadline=None)
@given(texts)
def test_a_group_name_is_stable_and_never_reserved(raw: str) -> None:
    try:
        name = group_name(raw)
    except Invalid:
        return
    assert group_name(name) == name
    assert not unicodedata.normalize("NFKC", name).casefold().startswith("system:")


@settings(deadline=None)
@given(texts)
def test_names_are_refused_as_invalid_or_returned_unchanged(raw: str) -> None:
    for check in (object_name, role_name, refuse_reserved):
        with suppress(Invalid):
            assert check(raw) == raw
