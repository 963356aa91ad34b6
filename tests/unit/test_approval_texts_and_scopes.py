"""What people write for others to read, the expressions that ask for it, and which names a pattern is about."""

from __future__ import annotations

import pytest

from iam.approval import scopes
from iam.approval.scopes import MAX_PATTERNS, WHOLE_CLUSTER, covers, is_exact
from iam.approval.texts import MAX_REASON, MAX_TICKET, line, matches, paragraphs, pattern
from iam.errors import Invalid


def reason(text: str) -> str:
    return paragraphs(text, MAX_REASON, field="reason")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a\nb", "a\nb"), ("a\r\nb\rc", "a\nb\nc"), ("a\r\n\r\nb", "a\n\nb"), ("a\n\n\n\n\nb", "a\n\nb"), ("a\n \n\t\n\r\nb", "a\n\nb"),
        ("\r\n  a  \r\n", "a"), (" \r\n\t ", ""), ("", ""),
    ],
)  # fmt: skip
def test_line_breaks_are_of_one_kind(text: str, kept: str) -> None:
    assert reason(text) == kept


@pytest.mark.parametrize(
    "text",
    ["<script>alert(1)</script> &amp; <b>'x'</b>", "{{ 7*7 }} ${x} %(y)s %s", "' OR 1=1 --", "Größe 运维 naïve 🚀 نص", "[31m is no colour"],
)
def test_what_only_a_page_could_take_for_more_is_kept_for_the_page_to_escape(text: str) -> None:
    assert reason(text) == text
    assert line(text, MAX_REASON, field="reason") == text


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("\x1b[31mred\x1b[0m", "red"), ("\x1b[38;5;196mred\x1b[m", "red"), ("\x1b[2J\x1b[1;1Hx", "x"), ("a\x1b[?25lb", "ab"),
        ("\x1b]0;root@prod\x07x", "x"), ("\x1b]0;root@prod\x1b\\x", "x"), ("\x1b]8;;https://evil.example\x1b\\here\x1b]8;;\x1b\\", "here"),
        ("\x1b]52;c;cm0gLXJm\x07x", "x"), ("first\x1b[K\r\nsecond", "first\nsecond"), ("x\x1b", "x"), ("\x1bMx", "x"),
    ],
)  # fmt: skip
def test_what_a_terminal_would_obey_is_removed_with_what_belongs_to_it(text: str, kept: str) -> None:
    assert reason(text) == kept


@pytest.mark.parametrize(
    "text", ["\x1b\x1b[31m[31mx", "\x1b\x00[31mx", "\x9b31mx", "\x1b[", "\x1bP1$r\x1b\\x", "\x1b[31", "\x1b\u200b[31mx"]
)
def test_no_sequence_arises_from_what_is_removed(text: str) -> None:
    assert not {"\x1b", "\x9b", "\x00"} & set(reason(text))


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a\x00b", "ab"), ("\x00", ""), ("a\x08\x07b", "ab"), ("a\x7fb", "ab"), ("\ud800x", "x"), ("\U000e0041x", "x"), ("a\u00adb", "ab"),
        ("\u202egnp.exe\u202c", "gnp.exe"), ("\u2066a\u2069 \u200fb", "a b"), ("pass\u200bwo\u200drd\ufeff", "password"),
        ("\u2028\u200b", ""),
    ],
)  # fmt: skip
def test_what_nobody_sees_is_removed(text: str, kept: str) -> None:
    assert reason(text) == kept


@pytest.mark.parametrize("most", [MAX_REASON, MAX_TICKET])
def test_a_text_that_is_too_long_is_refused_with_both_numbers(most: int) -> None:
    for length in (most + 1, 64 * 1024):
        with pytest.raises(Invalid) as found:
            paragraphs("x" * length, most, field="reason")
        assert found.value.field == "reason"
        assert str(length) in str(found.value)
        assert str(most) in str(found.value)
    assert paragraphs("x" * most, most, field="reason") == "x" * most
    assert paragraphs("运" * most, most, field="reason") == "运" * most


def test_a_long_text_of_sequences_is_refused_too() -> None:
    with pytest.raises(Invalid):
        reason("\x1b[0m" * 2000)


def test_one_line_is_one_line() -> None:
    assert line("CHG-1\r\n\r\n <b>2</b>\u00a0\n3 ", MAX_TICKET, field="ticket") == "CHG-1 <b>2</b> 3"
    assert line("\x1b[31m\n\x00", MAX_TICKET, field="ticket") == ""
    with pytest.raises(Invalid) as found:
        line("\n" * (MAX_TICKET + 1), MAX_TICKET, field="ticket")
    assert found.value.field == "ticket"


@pytest.mark.parametrize("text", ["", r"CHG-\d+", r"[A-Z]{2,5}-\d+", "(?i)incident .{10,}", ".*", r"(CHG|INC)\d{7}", "运维.+", "a" * 200])
def test_an_expression_that_can_be_used_is_kept(text: str) -> None:
    assert pattern(text, field="ticket_pattern") == text


@pytest.mark.parametrize(
    "text",
    [
        "(", "[", "*a", "a**", "(?P<x", "\\", "(?<=a+)b", "[z-a]", r"\1", "(?P=x)", "a{2,1}", "(" * 5000,
        "(" * 5000 + ")" * 5000,
    ],
    ids=lambda text: repr(text[:20]),
)  # fmt: skip
def test_what_is_no_expression_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as found:
        pattern(text, field="ticket_pattern")
    assert found.value.field == "ticket_pattern"
    assert len(str(found.value)) < 200


@pytest.mark.parametrize(
    "text",
    ["(a+)+$", "(a*)*b", "(a|a)*b", "(.*a){20}", "a*a*a*a*a*a*b", "(?:a|a?)+b", "(a?){30}a{30}b", r"(\w+\s?)+$"],
)
def test_an_expression_that_would_try_for_ever_answers(text: str) -> None:
    assert not matches("a" * 4000 + "!", pattern(text, field="ticket_pattern"))


@pytest.mark.parametrize(
    ("text", "good", "bad"), [
        (r"OPS-\d+", "OPS-17", "OPS-"), (r"[A-Z]{2,5}-\d{1,6}", "CHG-1", "chg-1"), ("(?i)incident .{3,}", "Incident 007", "incident"),
        (".+", "two\nlines", ""), ("[*+]", "+", "++"), ("(ab)*c", "ababc", "abab"), ("运维.*", "运维一", "x运维"),
    ],
)
def test_a_text_is_as_a_pattern_wants_it_from_end_to_end(text: str, good: str, bad: str) -> None:
    assert matches(good, pattern(text, field="ticket_pattern"))
    assert not matches(bad, text)
    assert not matches(good + "\nx", r"OPS-\d+")


def test_a_long_expression_is_refused() -> None:
    with pytest.raises(Invalid, match="200"):
        pattern("a" * 201, field="reason_pattern")


@pytest.mark.parametrize(
    ("patterns", "name", "covered"),
    [
        (["shop"], "shop", True), (["shop"], "shop-2", False), (["shop"], "sho", False), (["shop"], "a-shop", False), ([], "shop", False),
        (["team-*"], "team-a", True), (["team-*"], "team-", True), (["team-*"], "team", False), (["team-*"], "a-team-a", False),
        (["*-dev"], "shop-dev", True), (["*-dev"], "shop-dev-2", False), (["a*z"], "az", True), (["a*z"], "abcz", True),
        (["a*z"], "abc", False),
        (["*"], "shop", True), (["**"], "shop", True), (["bank", "sh*"], "shop", True), (["SHOP"], "shop", False),
        (["*"], WHOLE_CLUSTER, False), (["**"], WHOLE_CLUSTER, False), (["(*"], WHOLE_CLUSTER, False), ([], WHOLE_CLUSTER, False),
        ([WHOLE_CLUSTER], WHOLE_CLUSTER, True), (["shop", WHOLE_CLUSTER], WHOLE_CLUSTER, True), ([WHOLE_CLUSTER], "shop", False),
        (["*", WHOLE_CLUSTER], WHOLE_CLUSTER, True), (["*", WHOLE_CLUSTER], "shop", True),
    ],
)  # fmt: skip
def test_a_pattern_is_about_the_whole_name_and_never_by_chance_about_the_whole_cluster(
    patterns: list[str], name: str, covered: bool
) -> None:
    assert covers(patterns, name) is covered


def test_names_and_patterns_are_kept_once_and_sorted() -> None:
    assert scopes.check(["shop", "bank", "shop", "team-*"], field="namespaces") == ["bank", "shop", "team-*"]
    assert set(scopes.check(["*", WHOLE_CLUSTER], field="namespaces")) == {"*", WHOLE_CLUSTER}
    assert scopes.check([], field="namespaces") == []
    assert scopes.check(["a" * 63], field="namespaces") == ["a" * 63]
    assert scopes.check(["a"] * (MAX_PATTERNS + 1), field="namespaces") == ["a"]


@pytest.mark.parametrize(
    "name",
    [
        "", " ", "Shop", "shop dev", "shop\n", "shop.dev", "shop_dev", "-shop", "shop-", "-*", "*-", "?", "sh?p", "[a-z]", "a" * 64,
        "shöp", "a,b", "../x", "x\x00", "(whole cluster) ", "(whole cluster", "system:x",
    ],
)  # fmt: skip
def test_what_no_name_could_match_is_refused_by_name(name: str) -> None:
    with pytest.raises(Invalid) as found:
        scopes.check(["shop", name], field="namespaces")
    assert found.value.field == "namespaces"
    assert repr(name) in str(found.value)


def test_too_many_names_are_refused_with_the_limit() -> None:
    names = [f"team-{number}" for number in range(MAX_PATTERNS + 1)]
    with pytest.raises(Invalid, match=str(MAX_PATTERNS)) as found:
        scopes.check(names, field="clusters")
    assert found.value.field == "clusters"
    assert len(scopes.check(names[1:], field="clusters")) == MAX_PATTERNS


def test_only_a_name_is_exact() -> None:
    assert is_exact("shop")
    assert is_exact(WHOLE_CLUSTER)
    assert not any(map(is_exact, ["*", "team-*", "*-dev", "a*z"]))
