"""Groups from a real LDAP server, however membership is stored; a login and a lookup always agree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from rigs.ranged_ldap import ranged_ldap
from rigs.slapd import Slapd

from iam.directory.ldap import LdapDirectory
from iam.errors import Unavailable
from iam.settings.directories import LdapSettings

PASSWORD = "correct horse"
LAYOUTS = ["member", "uniqueMember", "memberOf"]
CLASSES = {"uniqueMember": "groupOfUniqueNames", "memberUid": "posixGroup"}


def make(slapd: Slapd, **changes: Any) -> LdapDirectory:
    settings = LdapSettings.model_validate({
        "kind": "ldap", "name": "corp", "servers": [slapd.uri], "ca_file": slapd.ca_file,
        "bind_dn": slapd.reader_dn, "bind_password": slapd.reader_password,
        "user_base": slapd.people, "group_base": slapd.groups, **changes,
    })  # fmt: skip
    return LdapDirectory(settings, lambda: datetime.now(UTC))


def groups_of(corp: LdapDirectory, username: str = "anna") -> frozenset[str]:
    """The groups that a login finds, after making sure that a lookup finds the same."""
    known = corp.authenticate(username, PASSWORD)
    assert corp.lookup({known.subject: username}) == {known.subject: known}
    assert corp.find(username) == known
    return known.groups


@pytest.fixture
def anna(slapd: Slapd) -> Iterator[str]:
    slapd.clear()
    yield slapd.add_person("anna", "Anna Ek", "anna@example.org", PASSWORD)
    slapd.clear()


@pytest.fixture(scope="module")
def dynlist() -> Iterator[Slapd]:
    """A server that computes nested memberOf itself, and returns at most 50 entries without paging."""
    with Slapd(member_of="dynlist", size_limit=50) as server:
        yield server


def nest(slapd: Slapd, person: str, names: Sequence[str], layout: str = "member") -> list[str]:
    """Groups that each hold the one before; the first holds the person, and the last one too: a cycle."""
    attribute = "uniqueMember" if layout == "uniqueMember" else "member"
    made = []
    inner = person
    for name in names:
        inner = slapd.add_group(name, [inner], CLASSES.get(layout, "groupOfNames"))
        made.append(inner)
    slapd.add_member(made[0], inner, attribute=attribute)
    return made


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("depth", "last"), [(0, 1), (1, 2), (2, 3), (5, 4), (20, 4)])
def test_groups_in_groups_are_followed_as_deep_as_set_and_cycles_end(slapd: Slapd, anna: str, layout: str, depth: int, last: int) -> None:
    chain = ["first", "second", "third", "fourth"]
    nest(slapd, anna, chain, layout)
    slapd.add_group("unrelated", [], CLASSES.get(layout, "groupOfNames"))
    assert groups_of(make(slapd, group_membership=layout, nested_depth=depth)) == frozenset(chain[:last])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_group_that_holds_itself_ends(slapd: Slapd, anna: str, layout: str) -> None:
    nest(slapd, anna, ["alone"], layout)
    assert groups_of(make(slapd, group_membership=layout)) == frozenset({"alone"})


@pytest.mark.real_part("slapd")
@pytest.mark.parametrize("depth", [0, 5])
def test_nested_memberof_by_dynlist(dynlist: Slapd, depth: int) -> None:
    dynlist.clear()
    person = dynlist.add_person("anna", "Anna", "anna@example.org", PASSWORD)
    inner = dynlist.add_group("inner", [person])
    dynlist.add_group("outer", [inner])
    corp = make(dynlist, group_membership="memberOf", nested_depth=depth)
    assert groups_of(corp) == frozenset({"inner", "outer"})
    dynlist.remove_member(inner, person)
    assert groups_of(corp) == frozenset()


def test_memberuid_names_are_compared_with_case_as_the_server_does(slapd: Slapd, anna: str) -> None:
    slapd.add_person("Bo.Berg", "Bo", "bo@example.org", PASSWORD)
    slapd.add_group("as-in-the-entry", ["Bo.Berg"], "posixGroup", gidNumber="1")
    slapd.add_group("canonical", ["bo.berg"], "posixGroup", gidNumber="2")
    slapd.add_group("neither", ["BO.BERG"], "posixGroup", gidNumber="3")
    slapd.add_group("system:masters", ["Bo.Berg"], "posixGroup", gidNumber="4")
    corp = make(slapd, group_membership="memberUid")
    assert groups_of(corp, "bo.berg") == frozenset({"as-in-the-entry", "canonical"})
    assert groups_of(corp) == frozenset()


@pytest.mark.real_part("slapd")
@pytest.mark.parametrize("layout", ["member", "memberOf"])
def test_hundreds_of_people_and_groups_come_page_by_page(dynlist: Slapd, layout: str) -> None:
    dynlist.clear()
    people = [f"uid=p{n},{dynlist.people}" for n in range(300)]
    dynlist.stop()
    entry = "dn: {dn}\nobjectClass: inetOrgPerson\nuid: p{n}\ncn: P {n}\nsn: P\nuserPassword: {password}\n\n"
    group = "dn: cn=g{n},{base}\nobjectClass: groupOfNames\ncn: g{n}\nmember: {dn}\nmember: {first}\n\n"
    dynlist.load(
        "".join(entry.format(dn=dn, n=n, password=PASSWORD) for n, dn in enumerate(people))
        + "".join(group.format(dn=dn, n=n, base=dynlist.groups, first=people[-1 if n == 0 else 0]) for n, dn in enumerate(people))
    )
    dynlist.start()
    corp = make(dynlist, group_membership=layout, page_size=10, server_seconds=30, deadline_seconds=60)
    known = [corp.authenticate(f"p{n}", PASSWORD) for n in (0, 1, 299)]
    assert known[0].groups == frozenset(f"g{n}" for n in range(300))
    assert known[1].groups == frozenset({"g1"})
    dynlist.admin.search(dynlist.people, "(uid=p*)", attributes=["uid", "entryUUID"], paged_size=1000)
    subjects = {e["attributes"]["entryUUID"][0]: e["attributes"]["uid"][0] for e in dynlist.admin.response}
    found = corp.lookup({**subjects, "gone": "gone"})
    assert len(subjects) == 300
    assert [subject for subject, identity in found.items() if identity is None] == ["gone"]
    assert {known_one.subject: found[known_one.subject] for known_one in known} == {one.subject: one for one in known}
    assert all(f"g{username[1:]}" in found[subject].groups for subject, username in subjects.items())  # type: ignore[union-attr]
    dynlist.clear()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "name",
    [
        "Ops, Linux",
        "C# developers",
        "a=b",
        "plus+and",
        'quo"ted',
        "back\\slash",
        "<less>; (x)*",
        "Größe",
        " pad ",
    ],
)
def test_any_name_of_a_group_comes_through(slapd: Slapd, anna: str, layout: str, name: str) -> None:
    nest(slapd, anna, [name, "outer"], layout)
    assert groups_of(make(slapd, group_membership=layout)) == frozenset({name.strip(), "outer"})


@pytest.mark.parametrize(
    "spelling",
    [
        "UID=ANNA, OU=People ,DC=example,DC=org", "uid=\\61nna,ou=people,dc=example,dc=org",
        "uid= anna ,  ou = people,dc=example,dc=org",
        "0.9.2342.19200300.100.1.1=anna,ou=people,dc=example,dc=org",
    ],
)  # fmt: skip
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_member_counts_however_its_dn_is_spelled(slapd: Slapd, anna: str, layout: str, spelling: str) -> None:
    slapd.add_group("developers", [spelling], CLASSES.get(layout, "groupOfNames"))
    corp = make(slapd, group_membership=layout, group_base="OU=Groups, DC=example , DC=org")
    assert groups_of(corp) == frozenset({"developers"})


@pytest.mark.parametrize("member", ["uid=Smith\\, Jo,{people}", "uid=Smith\\2C Jo,{people}", "uid=smith\\2c  jo,{people}"])
def test_a_comma_in_a_name_is_the_same_in_every_escape(slapd: Slapd, anna: str, member: str) -> None:
    slapd.add_person("Smith, Jo", "Jo", "jo", PASSWORD)
    slapd.add_group("developers", [member.format(people=slapd.people)])
    assert groups_of(make(slapd, username_attribute="mail", user_filter="(mail={username})"), "jo") == {"developers"}


def test_people_whose_names_fold_alike_keep_their_own_groups(slapd: Slapd, anna: str) -> None:
    for uid, mail in (("strasse", "one"), ("straße", "two")):
        slapd.add_group(f"of-{mail}", [slapd.add_person(uid, "X", mail, PASSWORD)])
    corp = make(slapd, username_attribute="mail", user_filter="(mail={username})")
    assert [groups_of(corp, name) for name in ("one", "two")] == [{"of-one"}, {"of-two"}]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_group_called_system_masters_never_comes_through(slapd: Slapd, anna: str, layout: str) -> None:
    for name in ("system:masters", "in\u200bvisible", "fine"):
        slapd.add_group(name, [anna], CLASSES.get(layout, "groupOfNames"))
    nest(slapd, anna, ["SYSTEM:nodes", "through it"], layout)
    assert groups_of(make(slapd, group_membership=layout)) == frozenset({"fine", "through it"})


def twin(slapd: Slapd, person: str) -> None:
    """A second group called ops, elsewhere."""
    entry = f"dn: cn=ops,{slapd.people}\nobjectClass: groupOfNames\ncn: ops\nmember: {person}\n"
    slapd.load(entry)


@pytest.mark.parametrize("layout", ["member", "memberOf"])
def test_two_groups_of_one_name_are_refused(slapd: Slapd, anna: str, layout: str) -> None:
    slapd.add_group("ops", [anna])
    twin(slapd, anna)
    filtered = {"group_filter": "(objectClass=groupOfNames)"}
    for more in ({}, filtered):
        corp = make(slapd, group_membership=layout, group_base=slapd.base, **more)
        with pytest.raises(Unavailable):
            corp.authenticate("anna", PASSWORD)
        with pytest.raises(Unavailable):
            corp.lookup({"x": "anna"})
    by_dn = make(slapd, group_membership=layout, group_base=slapd.base, group_name_attribute="dn", **filtered)
    assert groups_of(by_dn) == {f"cn=ops,{slapd.groups}", f"cn=ops,{slapd.people}"}


@pytest.mark.parametrize("layout", ["member", "memberOf"])
def test_somebody_in_only_the_second_group_of_a_name_is_refused_too(slapd: Slapd, anna: str, layout: str) -> None:
    slapd.add_group("ops", [])
    twin(slapd, anna)
    with pytest.raises(Unavailable):
        make(slapd, group_membership=layout, group_base=slapd.base).authenticate("anna", PASSWORD)


@pytest.mark.parametrize("layout", ["member", "memberOf"])
def test_groups_elsewhere_are_neither_counted_nor_climbed(slapd: Slapd, anna: str, layout: str) -> None:
    twin(slapd, anna)
    slapd.add_group("outer", [f"cn=ops,{slapd.people}"])
    slapd.add_group("own", [anna])
    assert groups_of(make(slapd, group_membership=layout)) == {"own"}


@pytest.mark.parametrize("layout", ["member", "memberOf"])
def test_groups_outside_the_filter_are_neither_counted_nor_climbed(slapd: Slapd, anna: str, layout: str) -> None:
    marked = slapd.add_group("marked", [anna], description="iam")
    unmarked = slapd.add_group("unmarked", [anna])
    slapd.add_group("by-marked", [marked], description="iam")
    slapd.add_group("by-unmarked", [unmarked], description="iam")
    assert groups_of(make(slapd, group_membership=layout, group_filter="(description=iam)")) == {
        "marked",
        "by-marked",
    }


@pytest.mark.parametrize("layout", ["member", "memberOf"])
@pytest.mark.parametrize("depth", [0, 5])
def test_groups_are_called_by_the_attribute_that_is_set(slapd: Slapd, anna: str, layout: str, depth: int) -> None:
    slapd.add_group("developers", [anna], description="Those who develop", o=["first", "second"])
    several = {"group_membership": layout, "nested_depth": depth}
    assert groups_of(make(slapd, **several, group_name_attribute="description")) == {"Those who develop"}
    assert groups_of(make(slapd, **several, group_name_attribute="CN")) == {"developers"}
    assert groups_of(make(slapd, **several, group_name_attribute="dn")) == {f"cn=developers,{slapd.groups}"}
    slapd.modify(f"cn=developers,{slapd.groups}", {"cn": ["alias", "developers"]})
    assert groups_of(make(slapd, **several)) == {"developers"}


@pytest.mark.parametrize("depth", [0, 5])
def test_memberof_without_a_group_base_takes_groups_from_anywhere(slapd: Slapd, anna: str, depth: int) -> None:
    nest(slapd, anna, ["inner", "outer"])
    corp = make(slapd, group_membership="memberOf", group_base="", nested_depth=depth, page_size=1)
    assert groups_of(corp) == ({"inner", "outer"} if depth else {"inner"})


def test_members_that_come_in_ranges_are_read_to_the_end() -> None:
    people = {f"uid=p{n},ou=people,dc=x": {"uid": [f"p{n}"], "entryUUID": [f"u{n}"]} for n in range(100)}
    group = {"cn=all,ou=groups,dc=x": {"cn": ["all"], "member": list(people)}}
    with ranged_ldap({**people, **group}, at_once=15) as server:
        settings = LdapSettings.model_validate({
            "kind": "ldap", "name": "corp", "servers": [server.uri], "start_tls": False,
            "insecure_plain": True, "user_base": "ou=people,dc=x", "group_base": "ou=groups,dc=x",
        })  # fmt: skip
        corp = LdapDirectory(settings, lambda: datetime.now(UTC))
        everybody = {f"u{n}": f"p{n}" for n in range(100)}
        found = corp.lookup(everybody)
        assert {identity.groups for identity in found.values() if identity} == {frozenset({"all"})}
        assert None not in found.values()
        for search in range(2, 8):  # the first asks for the group, the others for the rest of its members
            server.seen.clear()
            server.faults = {("search", search): 53}
            with pytest.raises(Unavailable):
                corp.lookup(everybody)
