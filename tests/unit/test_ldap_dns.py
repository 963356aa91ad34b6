"""Distinguished names as comparable values."""

from __future__ import annotations

import pytest

from iam.directory.ldap_groups import normalise_dn


def same(*spellings: str) -> bool:
    return len({normalise_dn(spelling) for spelling in spellings}) == 1


@pytest.mark.parametrize(
    "spelling",
    [
        "cn=Ops\\, Linux,ou=groups,dc=example",
        "CN=ops\\2C linux,OU=Groups,DC=Example",
        "cn=ops\\2c linux,ou=groups,dc=example",
        "cn=ops\\,  linux , ou=groups , dc=example",
        "cn = \\6f\\70\\73\\2c\\20linux\\20 ,ou=groups,dc=example",
    ],
)
def test_case_blanks_and_escapes_do_not_matter(spelling: str) -> None:
    assert same(spelling, "cn=ops\\, linux,ou=groups,dc=example")


def test_escapes_are_of_bytes_in_utf8() -> None:
    assert same("cn=Gr\\C3\\B6\\C3\\9Fe,dc=x", "cn=GRÖße,dc=x", "cn=gro\u0308ße,dc=x")


@pytest.mark.parametrize(
    "dn",
    [
        "cn=C# developers,dc=x", "cn=a=b,dc=x", "cn=a\\=b,dc=x", "cn=\\#1,dc=x", "cn=#0403616263,dc=x",
        "ou=,dc=x", "cn=a\\\\,dc=x", "cn=a\\0ACNF:1f,dc=x", "cn=<a>,dc=x", "cn=a\\ ,dc=x",
        "2.5.4.3=a,dc=x", "cn=a\nb,dc=x", "dc=x", "cn=\\ff\\fe,dc=x",
    ],
)  # fmt: skip
def test_what_servers_send_is_a_dn(dn: str) -> None:
    assert normalise_dn(dn)[-1] == (("dc", "x"),)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "anna",
        "=a",
        "cn=a,",
        ",cn=a",
        "cn=a,,dc=x",
        "cn=a+,dc=x",
        "cn=a;dc=x",
        'cn="a,b",dc=x',
        "cn=a\\",
        "c n=a",
        "1,dc=x",
    ],
)
def test_what_is_no_dn_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a DN"):
        normalise_dn(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cn=a,ou=b,dc=x", "cn=a+ou=b,dc=x"),
        ("cn=a\\,ou=b,dc=x", "cn=a,ou=b,dc=x"),
        ("cn=a\\+ou=b,dc=x", "cn=a+ou=b,dc=x"),
        ("cn=a,dc=x", "ou=a,dc=x"),
        ("cn=a,dc=x", "cn=a,dc=x,dc=x"),
        ("cn=straße,dc=x", "cn=strasse,dc=x"),
        ("cn=\\ff,dc=x", "cn=\\fe,dc=x"),
        ("cn=ab,dc=x", "cn=a b,dc=x"),
        ("cn=a\\5c2C,dc=x", "cn=a\\2C,dc=x"),
    ],
)
def test_different_entries_stay_different(one: str, other: str) -> None:
    assert not same(one, other)


def test_the_order_of_values_in_one_part_does_not_matter() -> None:
    assert same("cn=a+ou=b,dc=x", "OU=B + CN=A,dc=x")


def test_a_long_name_takes_no_long_time() -> None:
    assert normalise_dn("cn=" + "a\\,\\2c " * 20_000 + ",dc=x")
    with pytest.raises(ValueError, match="not a DN"):
        normalise_dn("cn=" + "a\\,\\2c " * 20_000 + '"')
