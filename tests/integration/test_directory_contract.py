"""What every directory does, whatever stands behind it: a suite for each of the two shapes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qs, parse_qsl, urlsplit
from uuid import uuid4

import pytest

from iam.directory.base import (
    Directory,
    Identity,
    LoginRefused,
    PasswordDirectory,
    RedirectDirectory,
)
from iam.directory.ldap import LdapDirectory
from iam.directory.local import Account, LocalDirectory, hasher
from iam.directory.oidc import OidcDirectory
from iam.settings.directories import LdapSettings, LocalSettings, OidcSettings

if TYPE_CHECKING:
    from rigs.openid_provider import OpenIDProvider
    from rigs.slapd import Slapd

PASSWORD = "correct horse battery"
GROUPS = ("admins", "developers")
CALLBACK = "http://127.0.0.1/contract"
SCOPES = ["openid", "profile", "email", "groups"]


class House(Protocol):
    """A directory with people in it, and what its administrator does there."""

    directory: PasswordDirectory

    def add(self, username: str, password: str, *groups: str) -> None: ...

    def regroup(self, username: str, *groups: str) -> None: ...

    def disable(self, username: str) -> None: ...

    def remove(self, username: str) -> None: ...


class LocalHouse:
    """Accounts in memory."""

    def __init__(self) -> None:
        self._accounts: dict[str, Account] = {}
        settings = LocalSettings(kind="local", name="house", username_prefix="h-")
        self.directory: PasswordDirectory = LocalDirectory(settings, self)

    def by_username(self, directory: str, username: str) -> Account | None:
        return self._accounts.get(username)

    def by_ids(self, directory: str, ids: list[str]) -> list[Account]:
        return [account for account in self._accounts.values() if account.id in ids]

    def add(self, username: str, password: str, *groups: str) -> None:
        self._accounts[username] = Account(
            str(uuid4()), username, username.title(), f"{username}@example.org", frozenset(groups),
            hasher.hash(password), disabled=False,
        )  # fmt: skip

    def regroup(self, username: str, *groups: str) -> None:
        self._accounts[username] = replace(self._accounts[username], groups=frozenset(groups))

    def disable(self, username: str) -> None:
        self._accounts[username] = replace(self._accounts[username], disabled=True)

    def remove(self, username: str) -> None:
        del self._accounts[username]


class LdapHouse:
    """slapd, with membership stored in one of its ways."""

    def __init__(self, slapd: Slapd, layout: str) -> None:
        self._slapd = slapd
        self._attribute = "member" if layout == "memberOf" else layout
        object_class = {"uniqueMember": "groupOfUniqueNames", "memberUid": "posixGroup"}.get(layout, "groupOfNames")
        for number, group in enumerate(GROUPS):
            more = {"gidNumber": str(5000 + number)} if layout == "memberUid" else {}
            slapd.add_group(group, [], object_class, **more)
        settings = LdapSettings.model_validate({
            "kind": "ldap", "name": "house", "username_prefix": "h-",
            "servers": [slapd.uri], "ca_file": slapd.ca_file,
            "bind_dn": slapd.reader_dn, "bind_password": slapd.reader_password, "user_base": slapd.people,
            "group_base": slapd.groups,
            "group_membership": layout, "group_filter": f"(objectClass={object_class})",
        })  # fmt: skip
        self.directory: PasswordDirectory = LdapDirectory(settings, lambda: datetime.now(UTC))

    def _dn(self, username: str) -> str:
        return f"uid={username},{self._slapd.people}"

    def add(self, username: str, password: str, *groups: str) -> None:
        mail = f"{username}@example.org"
        self._slapd.add_person(username, username.title(), mail, password, objectClass="shadowAccount")
        self.regroup(username, *groups)

    def regroup(self, username: str, *groups: str) -> None:
        member = username if self._attribute == "memberUid" else self._dn(username)
        nobody = [] if self._attribute == "memberUid" else [self._slapd.empty_group_member]
        for group in GROUPS:
            members = [member] if group in groups else nobody
            self._slapd.modify(f"cn={group},{self._slapd.groups}", {self._attribute: members})

    def disable(self, username: str) -> None:
        self._slapd.modify(self._dn(username), {"shadowExpire": "1"})

    def remove(self, username: str) -> None:
        self._slapd.delete(self._dn(username))


LAYOUTS = ["member", "uniqueMember", "memberUid", "memberOf"]


@pytest.fixture(params=["local", *(pytest.param(layout, marks=pytest.mark.real_part("slapd")) for layout in LAYOUTS)])
def house(request: pytest.FixtureRequest) -> Iterator[House]:
    if request.param == "local":
        yield LocalHouse()
        return
    slapd: Slapd = request.getfixturevalue("slapd")
    slapd.clear()
    yield LdapHouse(slapd, request.param)
    slapd.clear()


def login(house: House, username: str = "anna") -> Identity:
    return house.directory.authenticate(username, PASSWORD)


def lookup(house: House, known: Identity) -> Identity | None:
    return house.directory.lookup({known.subject: known.username.removeprefix("h-")})[known.subject]


def test_it_is_of_exactly_one_shape(house: House) -> None:
    assert isinstance(house.directory, PasswordDirectory)
    assert not isinstance(house.directory, RedirectDirectory)
    assert (house.directory.name, house.directory.label) == ("house", "house")
    house.directory.check()


def test_the_right_password_tells_who_it_is(house: House) -> None:
    house.add("anna", PASSWORD, "developers", "admins")
    anna = login(house)
    assert (anna.directory, anna.username, anna.display_name) == ("house", "h-anna", "Anna")
    assert anna.email == "anna@example.org"
    assert anna.groups == frozenset({"developers", "admins"})
    assert anna.subject


@pytest.mark.parametrize("password", ["", "wrong", PASSWORD + " ", PASSWORD.upper(), "\0", PASSWORD + "\0", "\ud800"])
def test_no_other_password_will_do(house: House, password: str) -> None:
    house.add("anna", PASSWORD, "developers")
    with pytest.raises(LoginRefused):
        house.directory.authenticate("anna", password)


@pytest.mark.parametrize(
    "username",
    [
        "", " ", "nobody", "*", "an*", "anna)(uid=*", "*)(", "anna\0", "a" * 300, "an\u200bna", "anna\u2060",
        "an na", "anna,ou=people", "system:admin", "SYSTEM:masters", "\ud800",
    ],
)  # fmt: skip
def test_no_other_name_will_do(house: House, username: str) -> None:
    house.add("anna", PASSWORD, "developers")
    with pytest.raises(LoginRefused):
        house.directory.authenticate(username, PASSWORD)


@pytest.mark.parametrize("spelling", ["anna", "ANNA", "Anna ", "\uff21\uff4e\uff4e\uff41"])
def test_every_spelling_of_a_name_is_the_same_person(house: House, spelling: str) -> None:
    house.add("anna", PASSWORD, "developers")
    assert login(house, spelling) == login(house)


def test_a_lookup_finds_what_a_login_finds(house: House) -> None:
    house.add("anna", PASSWORD, "developers")
    anna = login(house)
    assert lookup(house, anna) == anna


def test_a_lookup_sees_changed_groups(house: House) -> None:
    house.add("anna", PASSWORD, "developers")
    anna = login(house)
    house.regroup("anna", "admins")
    assert lookup(house, anna) == replace(anna, groups=frozenset({"admins"}))
    house.regroup("anna")
    assert lookup(house, anna) == login(house) == replace(anna, groups=frozenset())


def test_somebody_gone_is_none_and_the_others_stay(house: House) -> None:
    house.add("anna", PASSWORD, "developers")
    house.add("bo", PASSWORD)
    anna, bo = login(house), login(house, "bo")
    house.remove("bo")
    found = house.directory.lookup({anna.subject: "anna", bo.subject: "bo", "never-was": "cy"})
    assert found == {anna.subject: anna, bo.subject: None, "never-was": None}
    with pytest.raises(LoginRefused):
        login(house, "bo")


def test_a_new_account_of_an_old_name_is_somebody_else(house: House) -> None:
    house.add("anna", PASSWORD)
    first = login(house)
    house.remove("anna")
    house.add("anna", PASSWORD)
    assert login(house).subject != first.subject
    assert lookup(house, first) is None


def test_a_disabled_account_neither_logs_in_nor_is_found(house: House) -> None:
    house.add("anna", PASSWORD, "developers")
    anna = login(house)
    house.disable("anna")
    assert lookup(house, anna) is None
    with pytest.raises(LoginRefused):
        login(house)


@pytest.fixture
def redirecting(openid_provider: OpenIDProvider) -> RedirectDirectory:
    openid_provider.register(CALLBACK, "http://127.0.0.1/bye")
    account = {
        "name": "Anna",
        "preferred_username": "anna",
        "email": "anna@example.org",
        "groups": ["developers"],
    }
    openid_provider.set_account("contract-anna", account)
    return OidcDirectory(
        OidcSettings.model_validate({
            "kind": "oidc", "name": "house", "issuer": openid_provider.issuer, "insecure_http": True,
            "client_id": openid_provider.client_id, "client_secret": openid_provider.client_secret,
            "scopes": SCOPES, "username_prefix": "h-",
        })
    )  # fmt: skip


def answer_of(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))


def test_a_redirect_directory_is_of_exactly_one_shape(redirecting: Directory) -> None:
    assert isinstance(redirecting, RedirectDirectory)
    assert not isinstance(redirecting, PasswordDirectory)
    redirecting.check()


def test_each_login_begins_with_secrets_of_its_own(redirecting: RedirectDirectory) -> None:
    first, second = redirecting.begin(CALLBACK), redirecting.begin(CALLBACK)
    assert not set(first.transaction.values()) & set(second.transaction.values())
    asked = parse_qs(urlsplit(first.url).query)
    assert first.transaction["verifier"] not in first.url
    assert (asked["code_challenge_method"], asked["response_type"]) == (["S256"], ["code"])


def test_coming_back_tells_who_it_is(redirecting: RedirectDirectory, openid_provider: OpenIDProvider) -> None:
    begun = redirecting.begin(CALLBACK)
    answer = answer_of(openid_provider.sign_in(begun.url, "contract-anna"))
    finished = redirecting.finish(CALLBACK, answer, begun.transaction)
    anna = Identity("house", "contract-anna", "h-anna", "Anna", "anna@example.org", frozenset({"developers"}))
    assert finished.identity == anna


def test_an_answer_counts_once_and_for_one_browser(redirecting: RedirectDirectory, openid_provider: OpenIDProvider) -> None:
    ours, theirs = redirecting.begin(CALLBACK), redirecting.begin(CALLBACK)
    answer = answer_of(openid_provider.sign_in(ours.url, "contract-anna"))
    with pytest.raises(LoginRefused):
        redirecting.finish(CALLBACK, answer, theirs.transaction)
    redirecting.finish(CALLBACK, answer, ours.transaction)
    with pytest.raises(LoginRefused):
        redirecting.finish(CALLBACK, answer, ours.transaction)
