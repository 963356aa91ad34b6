"""What holds for every distinguished name, whatever is in it."""

from __future__ import annotations

import unicodedata
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st
from ldap3.utils.dn import escape_rdn

from iam.directory.ldap_groups import normalise_dn

attributes = st.sampled_from(["cn", "ou", "dc", "uid", "2.5.4.3"])
# ldap3's escape_rdn fails on two: a NUL, which RFC 4514 wants in hex, and a single blank, which it escapes twice.
characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
values = st.text(characters, min_size=1, max_size=20).filter(lambda value: value != " ")
parts = st.lists(st.tuples(attributes, values), min_size=1, max_size=5)
Parts = list[tuple[str, str]]


def written(parts: Parts) -> str:
    return ",".join(f"{attribute}={escape_rdn(value)}" for attribute, value in parts)


def in_hex(value: str) -> str:
    return "".join(f"\\{byte:02X}" for byte in value.encode())


def folded(value: str) -> str:
    return " ".join(unicodedata.normalize("NFC", value).lower().split())


@given(parts)
def test_what_was_escaped_is_found_again(parts: Parts) -> None:
    assert normalise_dn(written(parts)) == tuple(((attribute, folded(value)),) for attribute, value in parts)


@given(parts)
def test_every_byte_may_be_escaped(parts: Parts) -> None:
    assert normalise_dn(",".join(f"{attribute}={in_hex(value)}" for attribute, value in parts)) == normalise_dn(written(parts))


@given(parts)
def test_blanks_around_the_signs_and_upper_case_attributes_do_not_matter(parts: Parts) -> None:
    loose = " , ".join(f" {attribute.upper()} =  {escape_rdn(value)} " for attribute, value in parts)
    assert normalise_dn(loose) == normalise_dn(written(parts))


@given(st.lists(st.tuples(attributes, st.text("abcxyz-_.,+\\#", min_size=1)), min_size=1, max_size=5))
def test_case_does_not_matter(parts: Parts) -> None:
    assert normalise_dn(written(parts).upper()) == normalise_dn(written(parts))


@given(parts, parts)
def test_a_dn_below_another_ends_with_it(below: Parts, base: Parts) -> None:
    whole, end = normalise_dn(f"{written(below)},{written(base)}"), normalise_dn(written(base))
    assert whole[-len(end) :] == end
    assert len(whole) == len(below) + len(base)


@given(parts, parts)
def test_two_dns_are_equal_only_if_their_values_are(one: Parts, other: Parts) -> None:
    equal = [(a, folded(v)) for a, v in one] == [(a, folded(v)) for a, v in other]
    assert (normalise_dn(written(one)) == normalise_dn(written(other))) == equal


@given(st.text(max_size=60) | st.text('cn=ou,+;"\\# 2C', max_size=60))
def test_any_text_is_a_dn_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        assert normalise_dn(text)
