"""Names: what is let in, what is folded to one spelling, what is kept for Kubernetes."""

from __future__ import annotations

import pytest

from iam.errors import Invalid
from iam.kube.names import (
    MAX_USERNAME,
    canonical_username,
    group_name,
    object_name,
    refuse_reserved,
    role_name,
)

INVISIBLE = {
    "NUL": "\0",
    "newline": "\n",
    "escape": "\x1b",
    "zero-width space": "\u200b",
    "zero-width joiner": "\u200d",
    "byte order mark": "\ufeff",
    "word joiner": "\u2060",
    "soft hyphen": "\u00ad",
    "grapheme joiner": "\u034f",
    "right-to-left mark": "\u200f",
    "right-to-left override": "\u202e",
    "isolate": "\u2066",
    "Hangul filler": "\u3164",
    "line separator": "\u2028",
    "tag letter": "\U000e0061",
    "private use": "\ue000",
    "unassigned": "\u0378",
    "surrogate": "\ud800",
}
invisible = pytest.mark.parametrize("char", INVISIBLE.values(), ids=INVISIBLE.keys())

SYSTEM_IN_DISGUISE = [
    "system:masters",
    "SYSTEM:masters",
    "SyStEm:masters",
    "  system:masters",
    "\u3000system:masters",
    "ｓｙｓｔｅｍ：masters",
    "ＳＹＳＴＥＭ：masters",
    "ſyſtem:masters",
    "ⓢⓨⓢⓣⓔⓜ:masters",
    "𝐬𝐲𝐬𝐭𝐞𝐦:masters",
    "system︓masters",
    "system﹕masters",
    "system:",
    "system:node:a",
    "system:\u0301",
]
disguises = pytest.mark.parametrize("name", SYSTEM_IN_DISGUISE, ids=ascii)


@pytest.mark.parametrize(
    ("raw", "canonical"),
    [
        ("alice", "alice"),
        ("ALICE", "alice"),
        ("  alice\t", "alice"),
        ("Alice@Example.COM", "alice@example.com"),
        ("ａｌｉｃｅ", "alice"),
        ("ＡＬＩＣＥ", "alice"),
        ("STRASSE", "strasse"),
        ("straße", "strasse"),
        ("Jose\u0301", "jos\u00e9"),
        ("ΣΊΣΥΦΟΣ", "σίσυφοσ"),
        ("王小明", "王小明"),
        ("ﬁona", "fiona"),
        ("systemd", "systemd"),
        ("ecosystem:alice", "ecosystem:alice"),
    ],
)
def test_every_spelling_of_a_username_becomes_one(raw: str, canonical: str) -> None:
    assert canonical_username(raw) == canonical


def test_a_filter_injection_is_only_a_strange_name_here() -> None:
    """Escaping belongs to whoever builds the filter; a name like this maps to nobody and stays as it is."""
    assert canonical_username("*)(uid=*") == "*)(uid=*"


@invisible
def test_a_username_with_an_invisible_character_inside_is_refused(char: str) -> None:
    with pytest.raises(Invalid, match="invisible") as caught:
        canonical_username(f"ali{char}ce")
    assert caught.value.field == "username"


@invisible
@pytest.mark.parametrize("name", ["{}alice", "alice{}"])
def test_an_invisible_character_at_an_end_never_survives(char: str, name: str) -> None:
    try:
        assert canonical_username(name.format(char)) == "alice"
    except Invalid:
        assert not char.isspace()


@pytest.mark.parametrize("raw", ["", " ", "\t\n", "\u3000"])
def test_an_empty_username_is_refused(raw: str) -> None:
    with pytest.raises(Invalid, match="empty"):
        canonical_username(raw)


@pytest.mark.parametrize("raw", ["a,b", "a，b", "a b", "a\u00a0b", "a\u3000b", "a\u2003b"], ids=ascii)
def test_a_username_with_a_comma_or_a_blank_inside_is_refused(raw: str) -> None:
    with pytest.raises(Invalid, match="commas"):
        canonical_username(raw)


def test_a_username_is_at_most_200_characters_after_folding() -> None:
    assert len(canonical_username("a" * MAX_USERNAME)) == 200
    for raw in ("a" * 201, "a" * 300, "ß" * 101, "ﷺ" * 50):
        with pytest.raises(Invalid, match="200"):
            canonical_username(raw)


@disguises
def test_no_user_can_be_called_system(name: str) -> None:
    with pytest.raises(Invalid, match="reserved for Kubernetes") as caught:
        canonical_username(name)
    assert caught.value.field == "username"


@disguises
def test_no_group_can_be_called_system(name: str) -> None:
    with pytest.raises(Invalid, match="reserved for Kubernetes") as caught:
        group_name(name)
    assert caught.value.field == "group"


@disguises
def test_reserved_names_are_refused_wherever_they_come_from(name: str) -> None:
    with pytest.raises(Invalid):
        refuse_reserved(name)


@pytest.mark.parametrize("name", ["sys{}tem:x", "{}system:x", "system{}:x", "system:{}x"])
@pytest.mark.parametrize("char", ["\u200b", "\u202e", "\ufeff", "\u00ad", "\u034f"], ids=ascii)
def test_system_hidden_behind_invisible_characters_is_refused(name: str, char: str) -> None:
    for check in (canonical_username, group_name):
        with pytest.raises(Invalid):
            check(name.format(char))


@pytest.mark.parametrize("name", ["system", "systems:x", "a-system:x", "mysystem:masters"])
def test_only_the_prefix_itself_is_reserved(name: str) -> None:
    assert refuse_reserved(name) == canonical_username(name) == group_name(name) == name


@pytest.mark.parametrize(
    "name", ["Domain Admins", "CN=Ops,OU=Groups,DC=example,DC=org", "/team/dev", "研发", "a,b", "Ünïcode"]
)
def test_a_group_keeps_its_directory_spelling(name: str) -> None:
    assert group_name(f" {name} ") == name


def test_a_group_has_one_spelling_of_its_accents_but_keeps_its_case() -> None:
    assert group_name("E\u0301quipe") == group_name("\u00c9quipe") != group_name("\u00e9quipe")


@pytest.mark.parametrize("name", ["", "  ", "x" * 513])
def test_a_group_without_a_usable_name_is_refused(name: str) -> None:
    with pytest.raises(Invalid):
        group_name(name)
    assert group_name("x" * 512)


@invisible
def test_a_group_with_an_invisible_character_is_refused(char: str) -> None:
    with pytest.raises(Invalid):
        group_name(f"ad{char}mins")


@pytest.mark.parametrize("name", ["a", "prod-1", "0", "a" * 63])
def test_labels_are_object_names(name: str) -> None:
    assert object_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "A", "-a", "a-", "a.b", "a_b", "a" * 64, "a\n", "ä", "a b", "../a", "１"], ids=ascii
)
def test_what_is_no_label_is_no_object_name(name: str) -> None:
    with pytest.raises(Invalid) as caught:
        object_name(name, field="cluster")
    assert caught.value.field == "cluster"


@pytest.mark.parametrize("name", ["view", "system:node-reader", "Mixed Case", "a..b", "角色", "x" * 253])
def test_roles_may_be_called_any_path_segment(name: str) -> None:
    assert role_name(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "a%2fb", "x" * 254, "a\0b", "a\u200bb", "a\nb"], ids=ascii
)
def test_what_could_leave_its_path_is_no_role(name: str) -> None:
    with pytest.raises(Invalid) as caught:
        role_name(name)
    assert caught.value.field == "role"

