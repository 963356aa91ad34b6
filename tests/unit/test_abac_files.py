"""ABAC policy files: what kube-apiserver reads is read alike, and what it refuses or misreads is refused with its place.

What the API server does was tried with kube-apiserver 1.36; tests/integration/test_abac_files_real.py repeats the telling ones.
"""

from __future__ import annotations

import json

import pytest

from iam.errors import Invalid
from iam.kube import abac
from iam.kube.abac import AbacAuthorizer, Policy
from iam.kube.requests import AUTHENTICATED, Request

HEAD = '"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy"'
LONGEST = 64 * 1024 - 1
"""Bytes that fit into bufio.Scanner's buffer beside the newline."""


def line(spec: str) -> str:
    return f'{{{HEAD},"spec":{spec}}}'


def padded(length: int) -> str:
    """A policy line of so many bytes."""
    return line('{"user":"' + "u" * (length - len(line('{"user":""}'))) + '"}')


def only(text: str) -> Policy:
    (policy,) = [one.policy for one in abac.parse(text) if one.policy]
    return policy


@pytest.mark.parametrize(("text", "policy"), [
    ('{"user":"alice"}', Policy("alice", "", False, "*", "*", "*", "*")),
    ('{"group":"dev"}', Policy("", "dev", False, "*", "*", "*", "*")),
    ("{}", Policy("", AUTHENTICATED, False, "*", "*", "*", "*")),
    ('{"user":"*"}', Policy("", AUTHENTICATED, False, "*", "*", "*", "*")),
    ('{"user":"alice","group":"*"}', Policy("", AUTHENTICATED, False, "*", "*", "*", "*")),
    ('{"user":"a","namespace":"dev"}', Policy("a", "", False, "dev", "*", "*")),
    ('{"user":"a","resource":"pods"}', Policy("a", "", False, "*", "pods", "*")),
    ('{"user":"a","namespace":"*","readonly":true}', Policy("a", "", True, "*", "*", "*")),
    ('{"user":null,"resource":"pods"}', Policy("", AUTHENTICATED, False, "*", "pods", "*")),
])  # fmt: skip
def test_a_legacy_line_means_what_its_conversion_says(text: str, policy: Policy) -> None:
    """pkg/apis/abac/v0/conversion.go, and its test's table."""
    assert only(text) == policy


@pytest.mark.parametrize(("spec", "policy"), [
    ('{"user":"alice"}', Policy("alice")),
    ("{}", Policy()),
    ('{"user":"*"}', Policy("", AUTHENTICATED)),
    ('{"user":"alice","group":"*","namespace":"*"}', Policy("", AUTHENTICATED, namespace="*")),
    ('{"user":"\\u00fcn\\ud83d\\ude00","readonly":null}', Policy("ün😀")),
    ('{"nonResourcePath":"/a*","apiGroup":"apps","resource":"pods"}', Policy(api_group="apps", resource="pods", non_resource_path="/a*")),
])  # fmt: skip
def test_a_line_means_what_it_says(spec: str, policy: Policy) -> None:
    assert only(line(spec)) == policy


def test_a_line_without_subject_is_for_nobody() -> None:
    everything = Policy(namespace="*", resource="*", api_group="*", non_resource_path="*")
    for request in (Request("alice", "get", (AUTHENTICATED,), resource="pods"), Request("", "get", ("",), path="/")):
        assert not everything.matches(request)
        assert not AbacAuthorizer([(1, everything)]).decide(request).allowed


@pytest.mark.parametrize("ignored", [
    "# comment", "  # indented", "\t#", "#" * LONGEST, "", "   ", "\t\v\f ", "\u00a0\u2003\u3000\u0085", " " * LONGEST, '# {"user":"*"}',
    "#\r", "\r",
])  # fmt: skip
def test_comments_and_blank_lines_are_kept_and_grant_nothing(ignored: str) -> None:
    found = abac.parse(f'{ignored}\n{{"user":"a"}}\n')
    assert [(one.number, one.policy is None) for one in found] == [(1, True), (2, False)]
    assert found[0].text == ignored.removesuffix("\r")


@pytest.mark.parametrize(("text", "numbers"), [
    ("", []), ("\n", [1]), ("{}", [1]), ("{}\n", [1]), ("{}\r\n{}\r\n", [1, 2]), ("\n\n{}", [1, 2, 3]), ("{}\n\n", [1, 2]),
])  # fmt: skip
def test_lines_are_numbered_as_editors_do(text: str, numbers: list[int]) -> None:
    assert [one.number for one in abac.parse(text)] == numbers


@pytest.mark.parametrize(("text", "where", "what"), [
    (line('{"user":"a","verb":"get"}'), "p:1 spec.verb", "known are apiGroup, group, namespace"),
    (line('{"User":"a"}'), "p:1 spec.User", "Unknown field"),  # the API server reads keys by case, and passes over this one
    (line('{"user":"a"}')[:-1] + ',"metadata":{}}', "p:1 metadata", "known are apiVersion, kind, spec"),
    ('{"user":"a","apiGroup":"apps"}', "p:1 apiGroup", "Unknown field"),  # passed over too: would grant every group
    ('{"apiVersion":"v1","kind":"Policy","spec":{}}', "p:1 apiVersion", "abac.authorization.kubernetes.io/v1beta1"),
    ('{"apiVersion":"abac.authorization.kubernetes.io/v1","kind":"Policy","spec":{}}', "p:1 apiVersion", "v1beta1"),
    ('{"kind":"Policy","spec":{}}', "p:1 apiVersion", "v1beta1"),
    ('{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","spec":{}}', "p:1 kind", "Policy"),
    ('{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"policy","spec":{}}', "p:1 kind", "Policy"),
    (f"{{{HEAD}}}", "p:1 spec", "needs a spec"),
    (line("null"), "p:1 spec", "an object"),
    (line("[]"), "p:1 spec", "an object"),
    (line('{"user":5}'), "p:1 spec.user", "string"),
    (line('{"user":["a"]}'), "p:1 spec.user", "string"),
    (line('{"namespace":true}'), "p:1 spec.namespace", "string"),
    (line('{"readonly":"true"}'), "p:1 spec.readonly", "boolean"),
    (line('{"readonly":1}'), "p:1 spec.readonly", "boolean"),
    ('{"user":1}', "p:1 user", "string"),
    ("[]", "p:1", "JSON object"),
    ('"alice"', "p:1", "JSON object"),
    ("null", "p:1", "JSON object"),  # kube-apiserver reads it as YAML, and as a line that allows everything to everybody
    ("alice", "p:1", "not JSON"),
    ("user: alice", "p:1", "not JSON"),  # the same
    ("{user: alice}", "p:1", "not JSON"),
    ('{"user":"a",}', "p:1", "not JSON"),
    ('{"user":"a"} # why', "p:1", "not JSON"),
    ('{"user":"a"}{"user":"b"}', "p:1", "not JSON"),
    ('{"user":"a"}\r{"user":"b"}', "p:1", "not JSON"),
    ('{"user":"a"}\0', "p:1", "not JSON"),
    ('{"user":"a\0b"}', "p:1", "not JSON"),
    ("\0", "p:1", "not JSON"),
    ("\x1c", "p:1", "not JSON"),
    ("\x1c# no comment", "p:1", "not JSON"),
    ('{"user":"a\tb"}', "p:1", "not JSON"),
    ('{"user":"\\ud800"}', "p:1", "not JSON"),
    ('\u00a0{"user":"a"}', "p:1", "not JSON"),
    ('\v{"user":"a"}', "p:1", "not JSON"),
    ('{"user":' + "[" * 60_000, "p:1", "not JSON"),
    ('{"user":' + "1" * 5000 + "}", "p:1", "not JSON"),
])  # fmt: skip
def test_a_bad_line_is_refused_with_file_line_and_field(text: str, where: str, what: str) -> None:
    with pytest.raises(Invalid) as refused:
        abac.parse(text, "p")
    assert refused.value.field == where
    assert what in str(refused.value)
    with pytest.raises(Invalid) as refused:
        abac.parse(f'# first\r\n\r\n{{"user":"a"}}\n{text}\n{{"user":"b"}}\n', "p")
    assert refused.value.field == where.replace("p:1", "p:4")


@pytest.mark.parametrize(("text", "name"), [
    ('{"user":"a","user":"b"}', "user"),
    ('{"user":"a","user":"a"}', "user"),
    (f'{{{HEAD},"spec":{{"user":"a","resource":"*"}},"spec":{{"user":"b"}}}}', "spec"),  # the API server merges the two
    (line('{"namespace":"a","namespace":null}'), "namespace"),  # the API server keeps the first
    (f'{{{HEAD},"kind":"Policy","spec":{{}}}}', "kind"),
])  # fmt: skip
def test_a_field_that_stands_twice_is_refused_by_name(text: str, name: str) -> None:
    with pytest.raises(Invalid, match=f"{name}.*twice") as refused:
        abac.parse(text, "p")
    assert refused.value.field == "p:1"


@pytest.mark.parametrize("mark", ["\ufeff", '\ufeff{"user":"a"}', "\ufeff# comment\n"])
def test_a_byte_order_mark_is_refused_with_what_to_do(mark: str) -> None:
    """The API server takes such a line for YAML, and a comment behind it for a line that allows everything to everybody."""
    with pytest.raises(Invalid, match=r"byte order mark.*without one") as refused:
        abac.parse(mark, "p")
    assert refused.value.field == "p:1"


def test_a_byte_order_mark_within_the_file_is_refused_too() -> None:
    with pytest.raises(Invalid) as refused:
        abac.parse('{"user":"a"}\n\ufeff# appended\n', "p")
    assert refused.value.field == "p:2"


@pytest.mark.parametrize("ending", ["", "\n", "\n{}"])
@pytest.mark.parametrize(("longest", "too_long"), [
    (padded(LONGEST), padded(LONGEST + 1)),
    (padded(LONGEST - 1) + "\r", padded(LONGEST) + "\r"),
    (padded(LONGEST - 1)[:-4] + 'ü"}}', padded(LONGEST - 1)[:-4] + '€"}}'),
    ("{}" + " " * (LONGEST - 2), "{}" + " " * (LONGEST - 1)),
    ("#" * LONGEST, "#" * (LONGEST + 1)),
    (" " * LONGEST, " " * (LONGEST + 1)),
])  # fmt: skip
def test_a_line_and_its_newline_fit_into_64_kib(longest: str, too_long: str, ending: str) -> None:
    assert abac.parse(longest + ending, "p")[:1] or not longest.strip()
    with pytest.raises(Invalid, match="64 KiB") as refused:
        abac.parse(f"# first\n{too_long}{ending}", "p")
    assert refused.value.field == "p:2"


def test_two_megabytes_on_one_line_are_refused_and_on_many_are_read() -> None:
    with pytest.raises(Invalid, match="64 KiB"):
        abac.parse(padded(2 * 1024 * 1024), "p")
    many = (padded(1023) + "\n") * 2048
    assert len(many) == 2 * 1024 * 1024
    assert len(abac.parse(many)) == 2048


def test_a_hundred_thousand_lines_are_read_whatever_they_are() -> None:
    assert len(abac.parse('{"user":"a","resource":"pods"}\n' * 50_000 + "\n" * 50_000)) == 100_000


def test_reading_stops_at_the_first_bad_line() -> None:
    found = abac.lines("{}\n[]\n{}\n", "p")
    assert next(found).number == 1
    with pytest.raises(Invalid):
        next(found)


def test_a_rendered_line_is_canonical_v1beta1() -> None:
    policy = Policy("ünï", "dev", True, "*", "pods", "", "")
    assert policy.render() == line('{"user":"ünï","group":"dev","readonly":true,"namespace":"*","resource":"pods"}')
    assert json.loads(Policy().render())["spec"] == {}
    assert abac.render([policy, policy]) == f"{policy.render()}\n{policy.render()}\n"
    assert abac.render([]) == ""
