"""What is written is read again, a quorum is what counting by hand says, and no text or clock surprises."""

from __future__ import annotations

import random
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import product
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iam.approval.quorum import unmet, unsatisfiable
from iam.approval.scopes import WHOLE_CLUSTER, check, covers, is_exact
from iam.approval.stages import MAX_COUNT, MAX_NEEDS, MAX_STAGES, Need, Stage, parse, written
from iam.approval.texts import line, paragraphs
from iam.approval.times import DAY, HOUR, LEAST, MINUTE, MOST, moment, seconds_of, words
from iam.errors import Invalid
from iam.kube.names import group_name

_words = st.sampled_from(
    ["and", "of", "lead", "owners", "automatic", "2 of owners", "AND", "Research", "Größe", "运维", "a:b", ",", "#", "\u00a0"]
)
_plain = st.characters(exclude_categories=["C", "Zl", "Zp"], exclude_characters='"')


def _is_group(name: str) -> bool:
    try:
        return bool(group_name(name))
    except Invalid:
        return False


_names = st.text(_plain, min_size=1, max_size=20) | st.lists(_words, min_size=1, max_size=5).map(" ".join)
group_names = _names.filter(_is_group).map(group_name)
needs = st.just(Need("lead")) | st.builds(Need, st.just("owners"), st.integers(1, MAX_COUNT)) | st.builds(
    lambda count, directory, name: Need("group", count, f"{directory}:{name}"),
    st.integers(1, MAX_COUNT), st.sampled_from(["ldap", "oidc", "l-2", "and", "lead"]), group_names,
)  # fmt: skip
stage_lists = st.lists(
    st.lists(needs, min_size=1, max_size=MAX_NEEDS, unique_by=lambda need: (need.kind, need.group)).map(tuple), max_size=MAX_STAGES
).map(tuple)


@settings(deadline=None)
@given(stage_lists)
def test_stages_that_are_written_are_read_again(stages: tuple[Stage, ...]) -> None:
    assert parse(written(stages)) == stages


@settings(deadline=None)
@given(stage_lists, st.randoms(use_true_random=False))
def test_blanks_and_capitals_of_our_own_words_mean_nothing(stages: tuple[Stage, ...], rng: random.Random) -> None:
    def sloppy(need: Need) -> str:
        gap = rng.choice([" ", "\t", "   "])
        if need.kind == "lead":
            return rng.choice(["lead", "Lead", "LEAD", f"1{gap}of{gap}lead"])
        name = rng.choice(["owners", "OWNERS", '"Owners"']) if need.kind == "owners" else f'"{need.group}"'
        return name if need.count == 1 and rng.random() < 0.5 else f"{need.count}{gap}of{gap}{name}"

    lines = [rng.choice([" and ", " AND\t", "  And  "]).join(map(sloppy, stage)) for stage in stages] or ["AUTOMATIC"]
    assert parse(rng.choice(["\n", "\r\n", "\n \n\n"]).join(f"{rng.choice(['', '  '])}{one} " for one in lines)) == stages


_pieces = st.sampled_from(["lead", "owners", "and", "of", "2", '"', "ldap:", "ops", " ", " ", "\n", "automatic", "11", "\t"])


@settings(deadline=None)
@given(st.text(max_size=60) | st.lists(_pieces, max_size=15).map("".join))
def test_any_text_is_refused_or_read_the_same_twice(text: str) -> None:
    try:
        stages = parse(text)
    except Invalid:
        return
    assert parse(written(stages)) == stages


_asked = [Need("group", 1, "x:a"), Need("group", 2, "x:b"), Need("owners", 2), Need("lead")]
people = st.sampled_from(["ann", "bob", "cid", "dee", "eve"])
small_stages = st.lists(st.sampled_from(_asked), min_size=1, max_size=3, unique=True).map(tuple)
said_yes = st.dictionaries(people, st.sets(st.sampled_from(_asked)))


def ways_to_count(held: Mapping[str, Collection[Need]]) -> Iterator[Counter[Need]]:
    """Every way in which each person counts for one need at the most."""
    for choice in product(*([None, *needs] for needs in held.values())):
        yield Counter(one for one in choice if one is not None)


@settings(deadline=None)
@given(small_stages, said_yes)
def test_what_is_open_is_the_least_that_counting_by_hand_leaves(stage: Stage, said: dict[str, set[Need]]) -> None:
    wanted = Counter({need: need.count for need in stage})
    left = [wanted - counted for counted in ways_to_count(said)]
    found = unmet(stage, said)
    assert len(found) == min(one.total() for one in left)
    assert Counter(found) in left, "what is named can really be what is left"


@settings(deadline=None)
@given(small_stages, said_yes, people, st.sets(st.sampled_from(_asked)), st.randoms(use_true_random=False))
def test_a_yes_never_makes_more_open_and_their_order_means_nothing(
    stage: Stage, said: dict[str, set[Need]], person: str, more: set[Need], rng: random.Random
) -> None:
    before = len(unmet(stage, said))
    after = len(unmet(stage, {**said, person: {*said.get(person, ()), *more}}))
    assert before - 1 <= after <= before
    shuffled = list(said.items())
    rng.shuffle(shuffled)
    assert len(unmet(tuple(reversed(stage)), dict(shuffled))) == before


@settings(deadline=None)
@given(st.lists(small_stages, max_size=3), st.dictionaries(st.sampled_from(_asked), st.sets(people)))
def test_what_cannot_be_met_is_what_counting_by_hand_cannot_fill(stages: Sequence[Stage], candidates: dict[Need, set[str]]) -> None:
    judged = [need for stage in stages for need in stage if need in candidates]
    wanted = Counter[Need]()
    for need in judged:
        wanted[need] += need.count
    held = {person: [need for need, who in candidates.items() if person in who] for person in set().union(*candidates.values())}
    missing = unsatisfiable(stages, candidates)
    assert bool(missing) is all(wanted - counted for counted in ways_to_count(held))
    assert len(set(missing)) == len(missing)
    assert {need for need in wanted if wanted[need] > len(candidates[need])} <= set(missing) <= set(judged)
    without = [tuple(need for need in stage if need not in missing) for stage in stages]
    assert unsatisfiable(without, candidates) == []


@given(st.integers(LEAST // MINUTE, MOST // MINUTE))
def test_a_duration_that_is_told_is_read_again(minutes: int) -> None:
    assert seconds_of(words(minutes * MINUTE), field="f") == minutes * MINUTE


_parts = st.tuples(st.integers(0, 999), st.sampled_from(["m", "min", "h", "d", "w"]))


@given(st.lists(_parts, min_size=1, max_size=4), st.sampled_from(["", " "]))
def test_the_parts_of_a_duration_add_up(parts: list[tuple[int, str]], gap: str) -> None:
    sizes = {"m": MINUTE, "min": MINUTE, "h": HOUR, "d": DAY, "w": 7 * DAY}
    text = " ".join(f"{count}{gap}{unit}" for count, unit in parts)
    assert seconds_of(text, field="f", least=0, most=10**12) == sum(count * sizes[unit] for count, unit in parts)


ZONES = [
    "UTC", "Europe/Berlin", "Europe/Dublin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca",
    "Asia/Kathmandu", "Antarctica/Troll",
]  # fmt: skip


@cache
def changes(zone: str) -> tuple[datetime, ...]:
    """The hours of two years at which the clock changes, and some at which it does not."""
    hours = [datetime(year, 1, 1, tzinfo=UTC) + timedelta(hours=hour) for year in (2011, 2026) for hour in range(366 * 24)]
    offsets = [hour.astimezone(ZoneInfo(zone)).utcoffset() for hour in hours]
    return (*hours[:2], *(hours[at] for at in range(1, len(hours)) if offsets[at] != offsets[at - 1]))


@st.composite
def _local_times(draw: st.DrawFn) -> tuple[str, datetime]:
    """A zone and a wall clock's time, mostly around a change."""
    zone = draw(st.sampled_from(ZONES))
    near = draw(st.sampled_from(changes(zone))) + timedelta(minutes=draw(st.integers(-180, 180)))
    offset = draw(st.sampled_from([ZoneInfo(zone).utcoffset(near + timedelta(days=day)) or timedelta() for day in (-3, 3)]))
    return zone, near + offset


@settings(deadline=None)
@given(_local_times())
def test_a_local_time_is_the_one_instant_at_which_the_clock_shows_it(given_time: tuple[str, datetime]) -> None:
    zone, clock = given_time
    text = clock.strftime("%Y-%m-%dT%H:%M")
    offsets = {(clock + timedelta(hours=hours)).astimezone(ZoneInfo(zone)).utcoffset() or timedelta() for hours in range(-72, 73)}
    instants = sorted(clock - one for one in offsets if (clock - one).astimezone(ZoneInfo(zone)).strftime("%Y-%m-%dT%H:%M") == text)
    if len(instants) == 1:
        assert moment(text, zone) == instants[0]
        return
    with pytest.raises(Invalid) as found:
        moment(text, zone)
    message = str(found.value)
    assert ("does not exist" in message) is (not instants)
    assert [moment(one) for one in re.findall(r"\d{4}-\S+[+-]\d\d:\d\d", message)] == instants


@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)), st.integers(-1439, 1439), st.sampled_from(ZONES))  # noqa: DTZ001
def test_an_offset_says_more_than_any_zone(clock: datetime, minutes: int, zone: str) -> None:
    sign, (hours, rest) = "-" if minutes < 0 else "+", divmod(abs(minutes), 60)
    assert moment(f"{clock.isoformat()}{sign}{hours:02}:{rest:02}", zone) == clock.replace(tzinfo=UTC) - timedelta(minutes=minutes)


@settings(deadline=None)
@given(st.text(max_size=30), st.text(max_size=30) | st.sampled_from(ZONES))
def test_any_moment_and_zone_are_read_or_refused(text: str, zone: str) -> None:
    for one in (text, "2026-06-01T09:30"):
        try:
            found = moment(one, zone).tzinfo is UTC
        except Invalid as error:
            found = error.field == "starts_at"
        assert found


_control = ["\x1b", "[", "31", "m", "]", "0;", "\x07", "\\", "\r", "\n", " ", "\t", "\u202e", "\u200b", "\x00", "\x9b", "x", "<b>"]
_tricky = st.lists(st.sampled_from(_control), max_size=20)


@settings(deadline=None)
@given(st.text(max_size=80) | _tricky.map("".join))
def test_a_text_holds_nothing_but_what_can_be_seen_and_is_not_changed_again(text: str) -> None:
    kept = paragraphs(text, 100, field="f")
    assert [char for char in kept if unicodedata.category(char) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"} and char != "\n"] == []
    assert "\n\n\n" not in kept
    assert kept == kept.strip()
    assert paragraphs(kept, 100, field="f") == kept
    assert line(text, 100, field="f") == " ".join(kept.split())


@given(st.text(st.characters(categories=["L", "N", "P", "Sm"], exclude_characters="\u115f\u1160\u3164\uffa0\u17b4\u17b5"), max_size=80))
def test_what_can_be_seen_is_kept(text: str) -> None:
    assert paragraphs(text, 80, field="f") == text


names = st.text("ab-", min_size=1, max_size=8).filter(lambda name: name.strip("-") == name)


@given(st.lists(st.text("ab-*", min_size=1, max_size=6), max_size=4), names)
def test_a_pattern_covers_what_its_stars_stand_for_and_never_the_whole_cluster(patterns: list[str], name: str) -> None:
    expected = any(re.fullmatch("[ab-]*".join(map(re.escape, re.split(r"\*+", one))), name) for one in patterns)
    assert covers(patterns, name) is expected
    assert not covers(patterns, WHOLE_CLUSTER)
    assert covers([*patterns, WHOLE_CLUSTER], name) is expected
    assert covers([*patterns, WHOLE_CLUSTER], WHOLE_CLUSTER)


@given(st.lists(names | names.map(lambda name: f"{name}*") | st.just(WHOLE_CLUSTER), max_size=6))
def test_patterns_that_are_kept_cover_what_was_given(patterns: list[str]) -> None:
    kept = check(patterns, field="f")
    assert kept == sorted(set(patterns)) == check(reversed(kept), field="f")
    assert all(covers(kept, one) for one in patterns if is_exact(one))
