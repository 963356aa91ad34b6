"""Logging in through a real LDAP server: names, passwords, encryption, and how little is asked."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from rigs.certificates import CertificateAuthority
from rigs.ranged_ldap import ranged_ldap
from rigs.slapd import Slapd
from rigs.slapd_files import CONFIG

from iam.directory.base import LoginRefused
from iam.directory.ldap import LdapDirectory
from iam.errors import Unavailable
from iam.settings.directories import LdapSettings

PASSWORD = "correct horse"
LOCKED_FOR_GOOD = "000001010000Z"


def settings(slapd: Slapd, **changes: Any) -> LdapSettings:
    return LdapSettings.model_validate({
        "kind": "ldap", "name": "corp", "servers": [slapd.uri], "ca_file": slapd.ca_file,
        "bind_dn": slapd.reader_dn, "bind_password": slapd.reader_password,
        "user_base": slapd.people, "group_base": slapd.groups, **changes,
    })  # fmt: skip


def directory(slapd: Slapd, **changes: Any) -> LdapDirectory:
    return LdapDirectory(settings(slapd, **changes), lambda: datetime.now(UTC))


@pytest.fixture
def anna(slapd: Slapd) -> Iterator[str]:
    slapd.clear()
    yield slapd.add_person("anna", "Anna Ek", "anna@example.org", PASSWORD)
    slapd.clear()


def asked(slapd: Slapd, before: dict[str, int]) -> dict[str, int]:
    """How often each operation happened since, in all the connections."""
    after = slapd.operations()
    names = ("bind", "search", "extended")
    return {name: after[name] - before[name] for name in names if after[name] != before[name]}


def test_a_person_comes_with_name_address_and_immutable_id(slapd: Slapd, anna: str) -> None:
    slapd.admin.search(anna, "(objectClass=*)", attributes=["entryUUID"])
    entry_uuid = slapd.admin.response[0]["attributes"]["entryUUID"][0]
    slapd.modify(anna, {"manager": slapd.admin_dn})
    found = directory(slapd).authenticate("anna", PASSWORD)
    assert (found.subject, found.display_name, found.email) == (entry_uuid, "Anna Ek", "anna@example.org")
    assert found.manager == slapd.admin_dn


def test_the_username_is_the_entrys_and_not_what_was_typed(slapd: Slapd, anna: str) -> None:
    slapd.add_person("Bo.Berg", "Bo", "bo@example.org", PASSWORD)
    by_mail = directory(slapd, user_filter="(mail={username})")
    assert by_mail.authenticate("Anna@Example.org", PASSWORD).username == "anna"
    assert directory(slapd).authenticate("bo.berg", PASSWORD).username == "bo.berg"


def test_an_entry_called_system_admin_is_refused_whatever_was_typed(slapd: Slapd, anna: str) -> None:
    slapd.add_person("system:admin", "Eve", "eve@example.org", PASSWORD)
    for typed, query in (("system:admin", "(uid={username})"), ("eve@example.org", "(mail={username})")):
        with pytest.raises(LoginRefused, match="system:"):
            directory(slapd, user_filter=query).authenticate(typed, PASSWORD)


def test_names_that_cannot_be_and_empty_passwords_never_reach_the_server(slapd: Slapd, anna: str) -> None:
    before = slapd.operations()
    impossible = ("anna\0", "a" * 300, "an\u200bna", "", "system:admin")
    for username, password in (("anna", ""), *((name, PASSWORD) for name in impossible)):
        with pytest.raises(LoginRefused):
            directory(slapd).authenticate(username, password)
    assert asked(slapd, before) == {}


def test_two_accounts_that_match_are_both_refused(slapd: Slapd, anna: str) -> None:
    slapd.add_person("anna2", "Anna Ek", "anna@example.org", PASSWORD)
    with pytest.raises(LoginRefused, match="2 accounts match"):
        directory(slapd, user_filter="(mail={username})").authenticate("anna@example.org", PASSWORD)


def test_an_account_outside_the_object_filter_is_nobody(slapd: Slapd, anna: str) -> None:
    with pytest.raises(LoginRefused, match="no such account"):
        directory(slapd, user_object_filter="(objectClass=posixAccount)").authenticate("anna", PASSWORD)


@pytest.mark.parametrize("password", ["soft\u00adhyphen", "zero\u200bwidth", "пароль 密码", "p" * 500, " \t ", "\u1680"])
def test_a_password_counts_as_it_was_typed(slapd: Slapd, anna: str, password: str) -> None:
    slapd.modify(anna, {"userPassword": password})
    assert directory(slapd).authenticate("anna", password).username == "anna"
    with pytest.raises(LoginRefused):
        directory(slapd).authenticate("anna", password.replace("\u200b", " ").replace("\u00ad", "") + "\u00ad")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, "StartTLS"),
        ({"start_tls": False, "insecure_plain": True}, "UNENCRYPTED"),
        ({"servers": "ldaps"}, "TLS"),
    ],
)
def test_encryption_is_as_set_and_is_told(slapd: Slapd, anna: str, changes: dict[str, Any], word: str) -> None:
    if changes.get("servers"):
        changes = {"servers": [slapd.ldaps_uri]}
    steps: list[tuple[str, str]] = []
    directory(slapd, **changes).authenticate("anna", PASSWORD, lambda what, result="": steps.append((what, result)))
    assert steps[0][1] == word
    assert PASSWORD not in repr(steps)
    assert slapd.reader_password not in repr(steps)


def test_plain_connections_want_an_explicit_setting(slapd: Slapd) -> None:
    with pytest.raises(ValidationError, match="in the clear"):
        settings(slapd, start_tls=False)


@pytest.mark.real_part("slapd")
@pytest.mark.parametrize("scheme", ["ldap", "ldaps"])
def test_a_certificate_of_another_host_gets_no_password(scheme: str) -> None:
    with Slapd(certificate_host="elsewhere.example.org") as elsewhere:
        before = elsewhere.operations()
        uri = elsewhere.uri if scheme == "ldap" else elsewhere.ldaps_uri
        with pytest.raises(Unavailable):
            directory(elsewhere, servers=[uri]).authenticate("anna", PASSWORD)
        assert "bind" not in asked(elsewhere, before)


@pytest.mark.parametrize("scheme", ["ldap", "ldaps"])
def test_a_certificate_of_another_authority_gets_no_password(slapd: Slapd, anna: str, scheme: str, tmp_path: Path) -> None:
    before = slapd.operations()
    uri = slapd.uri if scheme == "ldap" else slapd.ldaps_uri
    for ca_file in (CertificateAuthority(tmp_path).ca_file, None, tmp_path / "missing.crt"):
        with pytest.raises(Unavailable):
            directory(slapd, servers=[uri], ca_file=ca_file).authenticate("anna", PASSWORD)
    assert "bind" not in asked(slapd, before)


def test_a_server_that_refuses_starttls_gets_no_password(slapd: Slapd) -> None:
    with ranged_ldap({}) as stripped:
        stripped.faults = {("extended", 1): 2}
        with pytest.raises(Unavailable):
            directory(slapd, servers=[stripped.uri]).authenticate("anna", PASSWORD)
        assert (stripped.seen["extended"], stripped.passwords) == (1, [])


@pytest.mark.parametrize("name", ["anna", "o=b+c", "#hash", 'q"uo<te>', "back\\slash", "semi;colon", "*)(", "lör"])
def test_a_bind_template_takes_any_name_and_no_search_account(slapd: Slapd, anna: str, name: str) -> None:
    if name != "anna":
        slapd.add_person(name, "Odd", "odd@example.org", PASSWORD)
    by_template = directory(slapd, bind_template=f"uid={{username}},{slapd.people}", bind_dn="", user_base="")
    assert by_template.authenticate(name, PASSWORD).username == name.casefold()
    with pytest.raises(LoginRefused):
        by_template.authenticate(name, "wrong")
    with pytest.raises(LoginRefused):
        by_template.authenticate("nobody", PASSWORD)
    with pytest.raises(Unavailable, match="no search account"):
        by_template.lookup({"x": "anna"})


@pytest.mark.real_part("slapd")
def test_an_anonymous_search_finds_people_and_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    readable = CONFIG.replace("by users read by * none\noverlay", "by * read\noverlay")
    monkeypatch.setattr("rigs.slapd.CONFIG", readable)
    with Slapd() as slapd:
        slapd.add_group("developers", [slapd.add_person("anna", "Anna", "anna@example.org", PASSWORD)])
        anonymous = directory(slapd, bind_dn="", bind_password="")
        assert anonymous.authenticate("anna", PASSWORD).groups == frozenset({"developers"})


def test_a_refused_search_account_is_our_fault_and_not_the_persons(slapd: Slapd, anna: str) -> None:
    for changes in (
        {"bind_password": "wrong"},
        {"bind_password": ""},
        {"bind_dn": f"cn=nobody,{slapd.base}"},
    ):
        broken = directory(slapd, **changes)
        with pytest.raises(Unavailable):
            broken.authenticate("anna", PASSWORD)
        with pytest.raises(Unavailable):
            broken.lookup({"x": "anna"})
        with pytest.raises(Unavailable):
            broken.check()


def test_an_account_locked_by_hand_is_refused_and_not_found(slapd: Slapd, anna: str) -> None:
    known = directory(slapd).authenticate("anna", PASSWORD)
    slapd.modify(anna, {"pwdAccountLockedTime": LOCKED_FOR_GOOD})
    with pytest.raises(LoginRefused):
        directory(slapd).authenticate("anna", PASSWORD)
    assert directory(slapd).lookup({known.subject: "anna"}) == {known.subject: None}
    slapd.modify(anna, {"pwdAccountLockedTime": None})
    assert directory(slapd).lookup({known.subject: "anna"}) == {known.subject: known}


@pytest.mark.real_part("slapd")
def test_an_account_locked_by_wrong_passwords_is_refused_but_keeps_its_place() -> None:
    with Slapd() as slapd:
        slapd.add_person("anna", "Anna", "anna@example.org", PASSWORD)
        slapd.modify(slapd.policy_dn, {"pwdLockout": "TRUE", "pwdMaxFailure": "2"})
        known = directory(slapd).authenticate("anna", PASSWORD)
        for _ in range(2):
            with pytest.raises(LoginRefused):
                directory(slapd).authenticate("anna", "wrong")
        with pytest.raises(LoginRefused):
            directory(slapd).authenticate("anna", PASSWORD)
        assert directory(slapd).lookup({known.subject: "anna"}) == {known.subject: known}, "guessing shuts nobody out"


@pytest.mark.parametrize(
    ("changes", "operations"),
    [
        ({"group_membership": "memberOf", "nested_depth": 0}, {"bind": 2, "search": 1}),
        ({"group_membership": "memberOf", "nested_depth": 5}, {"bind": 3, "search": 2}),
        ({"group_membership": "member", "nested_depth": 0}, {"bind": 3, "search": 2}),
        ({"group_membership": "member", "nested_depth": 5}, {"bind": 3, "search": 3}),
    ],
)
def test_a_login_asks_no_more_than_it_needs(slapd: Slapd, anna: str, changes: dict[str, Any], operations: dict[str, int]) -> None:
    slapd.add_group("developers", [anna])
    corp, before = directory(slapd, **changes), slapd.operations()
    assert corp.authenticate("anna", PASSWORD).groups == frozenset({"developers"})
    assert asked(slapd, before) == {**operations, "extended": 1}


def test_a_login_by_template_binds_once(slapd: Slapd, anna: str) -> None:
    by_template = directory(slapd, bind_template=f"uid={{username}},{slapd.people}", group_membership="memberOf", nested_depth=0)
    before = slapd.operations()
    by_template.authenticate("anna", PASSWORD)
    assert asked(slapd, before) == {"bind": 1, "search": 1, "extended": 1}
