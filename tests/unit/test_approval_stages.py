"""Stages as an administrator writes them, and whether those who said yes are enough."""

from __future__ import annotations

import pytest

from iam.approval.quorum import unmet, unsatisfiable
from iam.approval.stages import MAX_COUNT, MAX_NEEDS, MAX_STAGES, Need, Stage, parse, written
from iam.errors import Invalid

LEAD, OWNERS = Need("lead"), Need("owners")


def group(name: str, count: int = 1) -> Need:
    return Need("group", count, name)


RED, BLUE, GREEN = group("ldap:red"), group("ldap:blue"), group("ldap:green")


def refused(text: str) -> Invalid:
    with pytest.raises(Invalid) as found:
        parse(text, field="approval")
    return found.value


def test_one_stage_a_line_and_needs_joined_with_and() -> None:
    text = 'lead\n2 of ldap:security and 1 of owners\n1 of "ldap:Research and Development"'
    stages = parse(text)
    assert stages == ((LEAD,), (group("ldap:security", 2), OWNERS), (group("ldap:Research and Development"),))
    assert written(stages) == text


@pytest.mark.parametrize(
    ("text", "stages"),
    [
        ("automatic", ()),
        ("  Automatic \r\n", ()),
        ("LEAD", ((LEAD,),)),
        ("1 of Lead", ((LEAD,),)),
        ('"lead"', ((LEAD,),)),
        ("Owners AND Lead", ((OWNERS, LEAD),)),
        ("3 of owners", ((Need("owners", 3),),)),
        ("ldap:ops", ((group("ldap:ops"),),)),
        ("\tlead\tand   2  of\towners ", ((LEAD, Need("owners", 2)),)),
        ("lead\r\n\r\n  \nowners\n", ((LEAD,), (OWNERS,))),
        ("ldap:lead and ldap:owners", ((group("ldap:lead"), group("ldap:owners")),)),
        ("2 of ldap:and and lead", ((group("ldap:and", 2), LEAD),)),
        ("oidc:realm:ops", ((group("oidc:realm:ops"),),)),
        ("ldap:Straße", ((group("ldap:Straße"),),)),
        ("ldap:运维", ((group("ldap:运维"),),)),
        ("ldap:Cafe\u0301", ((group("ldap:Café"),),)),
        ('2 of "ldap:a and b" and "ldap:3 of owners"', ((group("ldap:a and b", 2), group("ldap:3 of owners")),)),
        ('"ldap:a\u00a0b" and "ldap:c\u3000d"', ((group("ldap:a\u00a0b"), group("ldap:c\u3000d")),)),
        ('"ldap:Ops " and lead', ((group("ldap:Ops"), LEAD),)),
    ],
)
def test_what_is_read_is_read_again_from_what_is_written(text: str, stages: tuple[Stage, ...]) -> None:
    assert parse(text) == stages
    assert parse(written(stages)) == stages


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("2 of lead", "everybody has one lead at the most"),
        ("security", "security is neither lead, owners nor directory:group"),
        ("ldap:", "ldap: is neither"),
        (":security", ":security is neither"),
        ("automatic", "automatic is neither"),
        ("lead and", "needs are joined with and"),
        ("lead owners", "needs are joined with and"),
        ("lead or owners", "needs are joined with and"),
        ("and lead", "and is neither"),
        ("lead, owners", "lead, is neither"),
        ("2of owners", "2of is neither"),
        ("-1 of owners", "-1 is neither"),
        ("0 of owners", "between 1 and 10"),
        ("11 of owners", "between 1 and 10"),
        ("999 of ldap:ops", "between 1 and 10"),
        ("lead and lead", "names the same people twice"),
        ("owners and 2 of owners", "names the same people twice"),
        ('ldap:ops and 2 of "ldap:ops"', "names the same people twice"),
        ('""', "should read like"),
        ('lead and "ldap:never closed', "should read like"),
        ('ldap:never opened"', "needs are joined with and"),
        (" and ".join(f"ldap:g{number}" for number in range(MAX_NEEDS + 1)), "at most 5 needs"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_field(line: str, says: str) -> None:
    error = refused(f"lead\n{line}\nowners")
    assert error.field == "approval"
    assert str(error).startswith("Line 2")
    assert says in str(error)


@pytest.mark.parametrize("text", ["", " \n\t\r\n ", "lead\n" * (MAX_STAGES + 1)])
def test_none_and_too_many_stages_are_refused_with_the_limit(text: str) -> None:
    error = refused(text)
    assert error.field == "approval"
    assert "one to 5 stages" in str(error)
    assert "automatic" in str(error)


@pytest.mark.parametrize("name", ["system:masters", "SYSTEM:masters", "*", "a\u200bb", "a\u202eb", "a\x00b", "x" * 513, "x" * 100_000])
def test_a_group_that_cannot_be_is_refused(name: str) -> None:
    refused(f"2 of ldap:{name}")


def test_the_limits_themselves_are_within() -> None:
    line = " and ".join(f"{MAX_COUNT} of ldap:g{number}" for number in range(MAX_NEEDS))
    stages = parse("\n".join([line] * MAX_STAGES))
    assert [len(stage) for stage in stages] == [MAX_NEEDS] * MAX_STAGES
    assert {need.count for stage in stages for need in stage} == {MAX_COUNT}


@pytest.mark.parametrize("text", ["1" + " " * 50_000 + "x", "lead and " * 20_000, '"' * 50_000, "9" * 50_000, "lead\n" * 50_000])
def test_a_flood_is_refused(text: str) -> None:
    refused(text)


def test_one_person_counts_once() -> None:
    both = {RED, BLUE}
    assert unmet((RED, BLUE), {"ann": both}) in ([RED], [BLUE])
    assert unmet((RED, BLUE), {"ann": both, "bob": both}) == []
    assert unmet((group("ldap:red", 2),), {"ann": {group("ldap:red", 2)}}) == [group("ldap:red", 2)]


def test_somebody_in_two_groups_counts_for_the_one_that_needs_them() -> None:
    assert unmet((RED, BLUE), {"ann": {RED, BLUE}, "bob": {RED}}) == []
    assert unmet((RED, BLUE), {"bob": {RED}, "ann": {RED, BLUE}}) == []
    assert unmet((BLUE, RED), {"ann": {RED, BLUE}, "bob": {RED}}) == []
    chain = {"ann": {RED, BLUE}, "bob": {BLUE, GREEN}, "cid": {RED}}
    assert unmet((RED, BLUE, GREEN), chain) == []
    assert unmet((LEAD, Need("owners", 2)), {"lea": {LEAD, Need("owners", 2)}, "o1": {Need("owners", 2)}, "o2": {Need("owners", 2)}}) == []


def test_what_is_open_is_named_as_often_as_it_is_missing() -> None:
    three = Need("owners", 3)
    assert unmet((three, LEAD), {}) == [three, three, three, LEAD]
    assert unmet((three, LEAD), {"lea": {LEAD}, "o": {three}}) == [three, three]
    assert unmet((three, LEAD), {"else": {RED}, "nothing": set()}) == [three, three, three, LEAD]
    assert unmet((), {"ann": {RED}}) == []


def test_more_who_said_yes_than_are_needed_do_no_harm() -> None:
    assert unmet((RED, LEAD), {**{str(number): {RED} for number in range(50)}, "lea": {LEAD}}) == []


def test_the_same_person_cannot_be_counted_on_in_two_stages() -> None:
    assert unsatisfiable([(RED,), (BLUE,)], {RED: ["ann"], BLUE: ["ann"]}) in ([RED], [BLUE])
    assert unsatisfiable([(RED,), (BLUE,)], {RED: ["ann", "bob"], BLUE: ["ann"]}) == []
    assert unsatisfiable([(RED,), (RED,)], {RED: ["ann"]}) == [RED]


def test_a_need_without_anybody_is_named_once() -> None:
    many = group("ldap:red", 5)
    assert unsatisfiable([(many, BLUE)], {many: [], BLUE: ["ann"]}) == [many]
    assert unsatisfiable([(many,)], {many: ["a", "b", "c", "d"]}) == [many]
    assert unsatisfiable([(many,)], {many: ["a", "b", "c", "d", "e"]}) == []


def test_what_depends_on_who_asks_is_not_judged() -> None:
    assert unsatisfiable([(LEAD, OWNERS), (RED,)], {RED: ["ann"]}) == []
    assert unsatisfiable([(LEAD,)], {}) == []
    assert unsatisfiable([], {RED: []}) == []


def test_the_largest_approval_that_can_be_written_is_judged() -> None:
    needs = [group(f"ldap:g{number}", MAX_COUNT) for number in range(MAX_NEEDS)]
    people = [f"p{number}" for number in range(MAX_STAGES * MAX_NEEDS * MAX_COUNT)]
    stages = [tuple(needs)] * MAX_STAGES
    assert unsatisfiable(stages, dict.fromkeys(needs, people)) == []
    assert len(unsatisfiable(stages, dict.fromkeys(needs, people[1:]))) == 1
