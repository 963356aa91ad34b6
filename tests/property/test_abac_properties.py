"""Whatever stands in a policy file: references come back, no finding is wrong, and RBAC made from it allows the same.

Requests here are such as pass authentication: they carry the groups that it implies, and ``system:unauthenticated`` belongs to
``system:anonymous`` alone. Reviews of what no HTTP request can ask, an empty path or an empty resource, are left out where it matters.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest
import yaml
from fixtures import strategies
from hypothesis import example, given, settings
from hypothesis import strategies as st

from iam.errors import Invalid
from iam.kube import abac, rbac_files
from iam.kube.abac import AbacAuthorizer, Policy, Reference
from iam.kube.abac_convert import Converted, convert
from iam.kube.abac_coverage import Coverage, gained, halves, witness
from iam.kube.abac_lint import Code, lint
from iam.kube.authorizer import Snapshot
from iam.kube.requests import AUTHENTICATED, UNAUTHENTICATED, Request, with_implied_groups
from iam.kube.resources import BUILT_IN, GROUPS

Numbered = list[tuple[int, Policy]]

ROBOT = "system:serviceaccount:dev:robot"
users = st.sampled_from(["alice", "bob", ROBOT, "system:anonymous"])
groups = st.sampled_from(["dev", "ops", AUTHENTICATED, UNAUTHENTICATED, "system:serviceaccounts", "system:serviceaccounts:dev"])
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=6)
directories = texts.filter(lambda one: ":" not in one)
references = st.builds(Reference, st.sampled_from(abac.REFERENCES), st.builds("{}:{}".format, directories, texts))
nobodies = strategies.policies.map(lambda policy: replace(policy, user="", group=""))
authored = st.lists(strategies.policies.map(lambda policy: (policy, None)) | st.tuples(nobodies, references), max_size=8)

RESOURCES = ("pods", "deployments", "events", "nodes", "namespaces", "services")
places = st.sampled_from(["dev", "prod", "*", ""])
some = [(group, name) for group, name in BUILT_IN if name in RESOURCES] + [("*", name) for name in RESOURCES] + [("*", "*"), ("", "")]
one_subject = st.tuples(users, st.just("")) | st.tuples(st.just(""), groups)
subjects = one_subject | st.tuples(users, groups) | st.just(("", ""))


def line(who: tuple[str, str], that: tuple[str, str], place: str, path: str, readonly: bool) -> Policy:
    return Policy(who[0], who[1], readonly, place, that[1], that[0], path)


plain = st.builds(line, one_subject, st.sampled_from(some), places, strategies.paths, st.booleans())
lines = st.builds(lambda who, policy: replace(policy, user=who[0], group=who[1]), subjects, strategies.narrow_policies)
alike = st.builds(
    Policy, st.sampled_from(["alice", ROBOT, ""]), st.sampled_from(["", AUTHENTICATED, UNAUTHENTICATED, "system:serviceaccounts"]),
    st.just(False),
    st.just("dev"), st.sampled_from(["pods", "*"]), st.just(""), st.sampled_from(["/a*", ""]),
)
line_lists = st.lists(lines, max_size=8) | st.lists(alike, max_size=6)
mixed_lists = st.lists(plain | lines | strategies.policies, max_size=8)


def authenticated(request: Request) -> Request:
    """As the API server sees it once it knows who asks."""
    own = () if request.user == "system:anonymous" else tuple(group for group in request.groups if group != UNAUTHENTICATED)
    return replace(request, groups=with_implied_groups(request.user, own))


VERBS, USERS = ("get", "create"), ("alice", "bob", ROBOT, "system:anonymous")
PATHS = [Request("", verb, path=path) for verb in VERBS for path in ("/", "/a", "/a/", "/a/b", "/ax", "/b", "/b*c")]
PLACES = [
    Request("", verb, (), group, resource, namespace=namespace)
    for verb in VERBS for group in ("", "apps") for resource in ("pods", "secrets") for namespace in ("dev", "prod", "")
]
SERVED = [
    Request("", verb, (), resource.api_group, resource.name, subresource, namespace=namespace)
    for verb in VERBS for resource in BUILT_IN.values() for subresource in ("", *resource.subresources)
    for namespace in (("dev", "prod", "") if resource.is_namespaced or resource.name == "namespaces" else ("",))
]
"""Resources that an API server serves, in a namespace only where they lie in one."""


def asked_by_all(questions: Iterable[Request]) -> list[Request]:
    """By everybody in a small world."""
    return [
        authenticated(replace(question, user=user, groups=held))
        for question in questions for user in USERS for held in ((), ("dev",), ("ops", "dev"))
    ]


ODD = [
    Request("", "get", (), "", resource, subresource, namespace="dev")
    for resource in ("pods", "pods/log", "pods/absent", "services/proxy", "absent", "*") for subresource in ("", "log", "absent", "*")
]
EVERY = asked_by_all([*PATHS, *PLACES])
EVERY_SERVED = asked_by_all([*PATHS, *(one for one in SERVED if one.resource in RESOURCES)])


wild = strategies.requests | st.builds(
    Request, users | texts, strategies.verbs | texts, strategies.tuples(groups | texts), strategies.api_groups | texts,
    st.sampled_from(["pods", "pods/log", "services/proxy", "pods/log/x", "/log", ""]) | texts,
    st.sampled_from(["", "log", "*", "/"]) | texts, strategies.names, strategies.namespaces | texts,
)


def numbered(policies: Iterable[Policy]) -> Numbered:
    return list(enumerate(policies, start=1))


def allows(policies: Iterable[Policy], request: Request) -> bool:
    return AbacAuthorizer(numbered(policies)).decide(request).allowed


def allowed_by(policies: list[Policy]) -> set[Request]:
    """Of every request in the small world."""
    authorizer = AbacAuthorizer(numbered(policies))
    return {request for request in EVERY if authorizer.decide(request).allowed}


def kept(found: Numbered, converted: Converted) -> list[Policy]:
    """The halves that conversion took over."""
    left = {(one.line, one.policy) for one in converted.left_over}
    return [half for number, policy in found for half in halves(policy) if (number, half) not in left]


@given(authored)
def test_authored_lines_come_back(written: list[tuple[Policy, Reference | None]]) -> None:
    text = "".join(abac.render_line(policy, reference) + "\n" for policy, reference in written)
    found = list(abac.lines(text, references=True))
    assert [(line.policy, line.reference) for line in found] == written
    assert "".join(abac.render_line(line.policy, line.reference) + "\n" for line in found if line.policy) == text


@given(nobodies, references)
def test_a_reference_is_refused_where_the_api_server_reads(policy: Policy, reference: Reference) -> None:
    with pytest.raises(Invalid, match="Unknown field") as refused:
        abac.parse(f"# first\n{abac.render_line(policy, reference)}\n", "p")
    assert refused.value.field == f"p:2 spec.{reference.kind}"


@given(authored, st.dictionaries(references, st.lists(strategies.text.filter(bool), max_size=5)))
def test_a_reference_becomes_its_users_in_order_and_once(
    written: list[tuple[Policy, Reference | None]], behind: dict[Reference, list[str]]
) -> None:
    pool = list(behind)
    if pool:
        written = [(policy, reference and pool[number % len(pool)]) for number, (policy, reference) in enumerate(written)]
    found = list(abac.lines("".join(abac.render_line(*one) + "\n" for one in written), references=True))
    became = list(abac.expanded(found, lambda reference: behind.get(reference, [])))
    wanted = []
    for number, (policy, reference) in enumerate(written, start=1):
        each = sorted(set(behind.get(reference, []))) if reference else None
        wanted += [(number, policy)] if each is None else [(number, replace(policy, user=user)) for user in each]
    assert became == wanted
    assert [line.policy for line in abac.parse(abac.render(policy for _, policy in became))] == [policy for _, policy in became]


def test_a_person_called_star_does_not_become_everybody() -> None:
    """The API server reads ``"user":"*"`` as system:authenticated, and a directory may well know somebody by that name."""
    found = abac.lines(abac.render_line(Policy(namespace="dev", resource="secrets"), Reference("person", "staff:*")), references=True)
    written = abac.render(policy for _, policy in abac.expanded(found, lambda _: ["*"]))
    assert AUTHENTICATED not in {line.policy.group for line in abac.parse(written) if line.policy}


@settings(deadline=None)
@example([Policy("alice", "", False, "dev", "pods"), Policy("alice", AUTHENTICATED, False, "dev", "pods")])
@given(line_lists)
def test_without_all_covered_lines_every_decision_stays(policies: list[Policy]) -> None:
    coverage = Coverage(numbered(policies))
    left = [policy for number, policy in numbered(policies) if next(halves(policy), None) and not coverage.by_others(number, policy)]
    assert allowed_by(left) == allowed_by(policies)
    spared = {finding.line for finding in lint(numbered(policies)) if finding.code is Code.SHADOWED}
    assert allowed_by([policy for number, policy in numbered(policies) if number not in spared]) == allowed_by(policies)


@settings(deadline=None)
@example([Policy("alice", resource="*"), Policy("alice", non_resource_path="*"), Policy("alice", resource="pods", non_resource_path="/a")])
@given(line_lists)
def test_the_lines_that_are_named_allow_all_of_the_other(policies: list[Policy]) -> None:
    coverage = Coverage(numbered(policies))
    for number, policy in numbered(policies):
        others = coverage.by_others(number, policy)
        assert number not in others
        assert not others or allowed_by([policy]) <= allowed_by([policies[other - 1] for other in others])


@settings(deadline=None)
@given(line_lists, line_lists)
def test_nothing_gained_means_nothing_more_is_allowed(before: list[Policy], after: list[Policy]) -> None:
    assert allowed_by(after) <= allowed_by([*before, *gained(before, after)])
    known = [policy for policy in after if not gained(before, [policy])]
    assert gained(before, known) == []
    assert allowed_by(known) <= allowed_by(before)
    assert gained(before + after, after) == []


@settings(deadline=None)
@given(line_lists, line_lists)
def test_what_is_gained_is_shown_by_a_witness(before: list[Policy], after: list[Policy]) -> None:
    """No line here says ``kube-iam-witness``, which could allow the one question without covering what it stands for."""
    more = gained(before, after)
    assert len(more) == len(set(more))
    for half in more:
        assert allows(after, witness(half))
        assert not allows(before, witness(half))


@settings(deadline=None)
@given(mixed_lists)
def test_converted_lines_allow_the_same(policies: list[Policy]) -> None:
    converted = convert(numbered(policies))
    snapshot = Snapshot.from_documents(converted.manifests)
    authorizer = AbacAuthorizer(numbered(kept(numbered(policies), converted)))
    for request in EVERY_SERVED:
        assert snapshot.decide(request).allowed is authorizer.decide(request).allowed, request


@settings(deadline=None)
@given(mixed_lists, st.lists(wild, min_size=1, max_size=20))
def test_converted_lines_never_allow_more(policies: list[Policy], requests: list[Request]) -> None:
    """A review, though no request, may call its resource ``pods/log``: RBAC takes that for the subresource, as which we ask ABAC."""
    snapshot = Snapshot.from_documents(convert(numbered(policies)).manifests)
    authorizer = AbacAuthorizer(numbered(policies))
    for request in (*requests, *EVERY, *asked_by_all(ODD)):
        if snapshot.decide(request).allowed:
            whole, _, part = request.combined_resource.partition("/")
            assert any(authorizer.decide(one).allowed for one in (request, replace(request, resource=whole, subresource=part))), request


@settings(deadline=None)
@given(mixed_lists, st.randoms(use_true_random=False))
def test_manifests_are_rbac_and_the_same_in_any_order(policies: list[Policy], rng: random.Random) -> None:
    converted = convert(numbered(policies))
    assert rbac_files.read(yaml.safe_dump_all(converted.manifests), "converted") == list(converted.manifests)
    shuffled = policies + policies[:2]
    rng.shuffle(shuffled)
    again = convert(numbered(shuffled))
    assert again.manifests == converted.manifests
    assert {(one.policy, one.why.message) for one in again.left_over} == {(one.policy, one.why.message) for one in converted.left_over}
    keys = [(one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in converted.manifests]
    assert len(keys) == len(set(keys))


def near(known: Sequence[str]) -> st.SearchStrategy[str]:
    """These words, and what looks like them."""
    forms = (*["{}"] * 8, "{}*", " {}", "{}/log", "*", "", "{}.x")
    return st.builds(lambda word, form, is_upper: form.format(word.upper() if is_upper else word),
                     st.sampled_from(known), st.sampled_from(forms), st.sampled_from([False] * 8 + [True]))


odd_lines = st.builds(
    Policy, users, groups | st.just(""), st.booleans(), near(["dev", "prod"]), near(RESOURCES), near(sorted(GROUPS)) | st.just(""),
    st.sampled_from(["", "", "a", "healthz", "a*", "*", "/a*"]),
) | lines


@settings(deadline=None)
@given(st.lists(odd_lines, min_size=5, max_size=20))
def test_a_line_that_never_matches_allows_no_real_request(policies: list[Policy]) -> None:
    never = {finding.line for finding in lint(numbered(policies)) if finding.code is Code.NEVER_MATCHES}
    for policy in (policies[number - 1] for number in never):
        for request in (*SERVED, *PATHS):
            assert not policy.matches(replace(request, user=policy.user, groups=(policy.group,))), request
