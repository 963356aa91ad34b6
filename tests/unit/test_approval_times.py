"""How long and when, as people write it: limits, clocks that change, and zones that are none."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from iam.approval.times import DAY, HOUR, LEAST, MINUTE, MOST, check, moment, seconds_of, words
from iam.errors import Invalid

TEN_YEARS = 3650 * DAY


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5m", LEAST), ("5min", LEAST), ("90m", 90 * MINUTE), ("90 min", 90 * MINUTE), ("8h", 8 * HOUR), ("8H", 8 * HOUR),
        (" 8 h\n", 8 * HOUR),
        ("2d 12h", 2 * DAY + 12 * HOUR), ("2d12h", 2 * DAY + 12 * HOUR), ("12h 2d", 2 * DAY + 12 * HOUR), ("1h 30m", 90 * MINUTE),
        ("1w", 7 * DAY), ("52w 1d", MOST), ("365d", MOST), ("8760h", MOST), ("525600m", MOST), ("0d 8h", 8 * HOUR), ("1h 1h", 2 * HOUR),
    ],
)  # fmt: skip
def test_a_duration_is_read(text: str, seconds: int) -> None:
    assert seconds_of(text, field="longest") == seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0m"), (5 * MINUTE, "5m"), (HOUR, "1h"), (90 * MINUTE, "1h 30m"), (DAY, "1d"), (DAY + MINUTE, "1d 1m"), (MOST, "365d")],
)
def test_a_duration_is_told(seconds: int, text: str) -> None:
    assert words(seconds) == text


@pytest.mark.parametrize(
    "text",
    [
        "", "  ", "8", "h", "1h30", "1.5h", "1,5h", "-8h", "+8h", "8 hours", "10y", "1mo", "8h!", "PT8H", "1e3m", "1000000m", "8h" * 21,
        "8h" * 10**6,
    ],
    ids=lambda text: repr(text[:20]),
)  # fmt: skip
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(Invalid, match="90m, 8h or 2d") as found:
        seconds_of(text, field="longest")
    assert found.value.field == "longest"


@pytest.mark.parametrize("text", ["0m", "4m", "366d", "53w", "3650d", "87600h", "520w", "525601m", "999999w", "365d 1m"])
def test_a_duration_outside_of_the_limits_is_refused_with_both(text: str) -> None:
    with pytest.raises(Invalid, match="between 5m and 365d") as found:
        seconds_of(text, field="longest")
    assert found.value.field == "longest"


def test_the_limits_are_those_that_are_asked_for() -> None:
    assert seconds_of("3650d", field="f", most=TEN_YEARS) == TEN_YEARS
    assert seconds_of("1m", field="f", least=MINUTE) == MINUTE
    with pytest.raises(Invalid, match="between 1h and 2h"):
        seconds_of("3h", field="f", least=HOUR, most=2 * HOUR)
    for seconds in (LEAST - 1, MOST + 1, 0, -1, TEN_YEARS):
        with pytest.raises(Invalid) as found:
            check(seconds, field="seconds")
        assert found.value.field == "seconds"
    assert (check(LEAST, field="f"), check(MOST, field="f")) == (LEAST, MOST)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "zone", "instant"),
    [
        ("2026-01-31T09:30", "UTC", "2026-01-31T09:30"),
        (" 2026-01-31 09:30\n", "UTC", "2026-01-31T09:30"),
        ("2026-01-31T09:30", "Europe/Berlin", "2026-01-31T08:30"),
        ("2026-07-31T09:30", "Europe/Berlin", "2026-07-31T07:30"),
        ("2026-07-31T09:30", "America/New_York", "2026-07-31T13:30"),
        ("2026-07-31T09:30", "Asia/Kathmandu", "2026-07-31T03:45"),
        ("2026-07-31T09:30", "Australia/Lord_Howe", "2026-07-30T23:00"),
        ("2026-01-31T09:30", "Australia/Lord_Howe", "2026-01-30T22:30"),
        ("2026-01-31T09:30Z", "Europe/Berlin", "2026-01-31T09:30"),
        ("2026-01-31T09:30:15.5Z", "Europe/Berlin", "2026-01-31T09:30:15.5"),
        ("2026-01-31T09:30+01:00", "America/New_York", "2026-01-31T08:30"),
        ("2026-01-31T09:30-00:00", "America/New_York", "2026-01-31T09:30"),
        ("2026-01-31T09:30+05:45", "", "2026-01-31T03:45"),
        ("2026-01-31T00:30+01:00", "UTC", "2026-01-30T23:30"),
        ("2026-01-31T09:30-23:59", "UTC", "2026-02-01T09:29"),
        ("2024-02-29T00:00", "UTC", "2024-02-29T00:00"),
    ],
)
def test_a_moment_is_read_in_its_zone_unless_it_has_an_offset(text: str, zone: str, instant: str) -> None:
    assert moment(text, zone) == utc(instant)
    assert moment(text, zone).tzinfo is UTC


@pytest.mark.parametrize(
    ("zone", "last", "gone", "first"),
    [
        ("Europe/Berlin", "2026-03-29T01:59", ["2026-03-29T02:00", "2026-03-29T02:30", "2026-03-29T02:59"], "2026-03-29T03:00"),
        ("America/New_York", "2026-03-08T01:59", ["2026-03-08T02:00", "2026-03-08T02:59"], "2026-03-08T03:00"),
        ("Australia/Lord_Howe", "2026-10-04T01:59", ["2026-10-04T02:00", "2026-10-04T02:29"], "2026-10-04T02:30"),
        ("Pacific/Apia", "2011-12-29T23:59", ["2011-12-30T00:00", "2011-12-30T12:00", "2011-12-30T23:59"], "2011-12-31T00:00"),
    ],
)
def test_a_time_that_the_clock_jumps_over_is_refused(zone: str, last: str, gone: list[str], first: str) -> None:
    for text in gone:
        with pytest.raises(Invalid, match="clocks go forward") as found:
            moment(text, zone, field="starts_at")
        assert found.value.field == "starts_at"
        assert text in str(found.value)
        assert zone in str(found.value)
    assert moment(first, zone) - moment(last, zone) == timedelta(minutes=1)


@pytest.mark.parametrize(
    ("zone", "twice", "offsets", "apart", "alone"),
    [
        ("Europe/Berlin", ["2026-10-25T02:00", "2026-10-25T02:59"], ("+02:00", "+01:00"), 60, ["2026-10-25T01:59", "2026-10-25T03:00"]),
        ("America/New_York", ["2026-11-01T01:00", "2026-11-01T01:59"], ("-04:00", "-05:00"), 60, ["2026-11-01T00:59", "2026-11-01T02:00"]),
        ("Australia/Lord_Howe", ["2026-04-05T01:30"], ("+11:00", "+10:30"), 30, ["2026-04-05T01:29", "2026-04-05T02:00"]),
    ],
)
def test_a_time_that_is_there_twice_is_refused_with_both_ways_to_write_it(
    zone: str, twice: list[str], offsets: tuple[str, str], apart: int, alone: list[str]
) -> None:
    for text in twice:
        with pytest.raises(Invalid, match="happens twice") as found:
            moment(text, zone)
        offered = re.findall(r"\S+[+-]\d\d:\d\d(?=[ .]|$)", str(found.value))
        assert offered[-2:] == [f"{text}{offset}" for offset in offsets]
        first, second = (moment(one.rstrip("."), zone) for one in offered[-2:])
        assert second - first == timedelta(minutes=apart)
    for text in alone:
        moment(text, zone)


@pytest.mark.parametrize(
    "zone",
    [
        "../../etc/passwd", "/etc/passwd", "Europe/../../../../etc/passwd", "Europe/../UTC", "Europe//Berlin", "Europe/", "Europe", "", ".",
        "..",
        "\x00", "UTC\x00", "UTC\n", "\ud800", "Mars/Olympus", "utc+1", "+01:00", "tzdata.zi", "zone.tab", "leapseconds", "__init__.py",
        "a" * 5000,
        "..\\..\\etc", "Europe.Berlin", "<script>",
    ],
    ids=lambda zone: repr(zone[:40]),
)  # fmt: skip
def test_a_zone_that_is_none_is_refused_and_nothing_of_a_file_is_told(zone: str) -> None:
    with pytest.raises(Invalid, match="There is no time zone") as found:
        moment("2026-06-01T09:30", zone)
    assert found.value.field == "starts_at"
    assert str(found.value) == f"There is no time zone {zone[:60]}."


@pytest.mark.parametrize(
    "text",
    [
        "", "now", "tomorrow 9:30", "31.01.2026 09:30", "01/31/2026", "2026-02-30T09:30", "2025-02-29T00:00", "2026-13-01T00:00",
        "2026-01-31T25:00",
        "2026-01-31T09:60", "2026-01-31T23:59:60Z", "2026-01-31T09:30+24:00", "2026-01-31T09:30+1", "2026-01-31T09:30 01:00",
        "0000-01-01T00:00",
        "10000-01-01T00:00", "-2026-01-31T09:30", "\ud800" * 16, "9" * 100_000, "1769851800",
    ],
    ids=lambda text: repr(text[:40]),
)  # fmt: skip
def test_what_is_no_moment_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(Invalid, match=r"2026-01-31T09:30\+01:00") as found:
        moment(text, field="from")
    assert found.value.field == "from"


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("0001-01-01T00:00", "Europe/Berlin"), ("0001-01-01T00:00", "Asia/Tokyo"), ("9999-12-31T23:59", "America/New_York"),
        ("0001-01-01T00:00+01:00", "UTC"), ("9999-12-31T23:59-01:00", "UTC"),
    ],
)  # fmt: skip
def test_moments_beyond_the_calendar_are_refused(text: str, zone: str) -> None:
    with pytest.raises(Invalid) as found:
        moment(text, zone)
    assert found.value.field == "starts_at"


def test_the_calendar_is_read_to_its_ends() -> None:
    assert moment("0001-01-01T00:00") == datetime.min.replace(tzinfo=UTC)
    assert moment("9999-12-31T23:59:59.999999Z") == datetime.max.replace(tzinfo=UTC)
