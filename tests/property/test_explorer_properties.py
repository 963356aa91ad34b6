"""The explorer's answers are the authorizer's: over small worlds that shrink, and over large ones asked on the edge of what is held."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

from fixtures import strategies, vocabulary
from fixtures.questions import held_by_rbac, questions
from fixtures.rbac_worlds import rbac_world
from hypothesis import given, settings
from hypothesis import strategies as st

from iam.kube.authorizer import Snapshot
from iam.kube.explorer import Asker, Near, Powers, Way, compare, condensed, lacks, nearest, permissions_of, roles_that_allow, ways, who_can
from iam.kube.rbac import PolicyRule, Role, RoleBinding
from iam.kube.requests import Request, from_review

World = tuple[Snapshot, list[Request]]
MOST = 12
"""Questions an example."""
WORLDS, QUESTIONS = 4, 250


@cache
def large_world(seed: int) -> World:
    """As the real API server is asked in test_engine_differential."""
    rng = random.Random(seed)
    documents = rbac_world(rng)
    return Snapshot.from_documents(documents), [from_review(spec) for spec in questions(rng, held_by_rbac(documents), QUESTIONS)]


@st.composite
def _large(draw: st.DrawFn) -> World:
    snapshot, asked = large_world(draw(st.integers(1, WORLDS)))
    return snapshot, draw(st.lists(st.sampled_from(asked), min_size=1, max_size=MOST))


_small = st.builds(
    lambda roles, bindings, requests: (Snapshot.of(roles, bindings), requests),
    st.lists(strategies.roles, max_size=8, unique_by=lambda role: role.key),
    st.lists(strategies.bindings, max_size=10, unique_by=lambda binding: binding.key),
    st.lists(strategies.requests, min_size=1, max_size=MOST),
)
worlds = _small | _large()
# ``resourceNames: [""]`` has a test of its own (tests/unit/test_explorer.py).
_rules = st.lists(strategies.resource_rules | strategies.path_rules, max_size=4).map(
    lambda rules: tuple(replace(rule, resource_names=tuple(filter(None, rule.resource_names))) for rule in rules)
)
_held = st.dictionaries(strategies.namespaces, _rules, max_size=3)


def asker_of(request: Request) -> Asker:
    return Asker(request.user, request.groups)


def allowed(snapshot: Snapshot, asker: Asker, wanted: Request) -> bool:
    return snapshot.decide(replace(wanted, user=asker.user, groups=asker.groups)).allowed


def everywhere(snapshot: Snapshot, wanted: Request) -> list[Request]:
    """The same in each namespace that anything is bound in, and in none."""
    namespaces = {"", wanted.namespace, *(binding.namespace for binding in snapshot.bindings.values())}
    return [wanted] if wanted.path is not None else [replace(wanted, namespace=namespace) for namespace in namespaces]


def subject(kind: str, name: str) -> Asker:
    return Asker(name) if kind == "User" else Asker("nobody that is bound", (name,))


@settings(deadline=None)
@given(worlds)
def test_who_can_lists_exactly_those_whom_the_authorizer_allows(world: World) -> None:
    snapshot, requests = world
    askers = [asker for asker in map(asker_of, requests) if not asker.is_master]
    for wanted in requests:
        found = who_can(snapshot, wanted, askers)
        assert set(found.askers) == {asker for asker in askers if allowed(snapshot, asker, wanted)}
        for asker, why in found.askers.items():
            assert set(why) == set(ways(snapshot, asker, wanted))


@settings(deadline=None)
@given(worlds)
def test_who_can_anywhere_lists_exactly_those_who_may_in_some_namespace(world: World) -> None:
    snapshot, requests = world
    askers = [asker for asker in map(asker_of, requests) if not asker.is_master]
    for wanted in requests:
        found = who_can(snapshot, wanted, askers, anywhere=True)
        places = everywhere(snapshot, wanted)
        assert set(found.askers) == {asker for asker in askers if any(allowed(snapshot, asker, one) for one in places)}


@settings(deadline=None)
@given(worlds)
def test_who_can_names_every_other_subject_that_may(world: World) -> None:
    snapshot, requests = world
    askers = [asker_of(request) for request in requests[::2]]
    known = {("User", asker.user) for asker in askers}
    subjects = {*(("User", name) for name in snapshot.users), *(("Group", name) for name in snapshot.groups)}
    for wanted in requests:
        may = {one for one in subjects if allowed(snapshot, subject(*one), wanted)}
        assert set(who_can(snapshot, wanted, askers).others) == may - known


@settings(deadline=None)
@given(worlds)
def test_there_is_a_way_exactly_when_the_authorizer_allows_and_each_way_alone_is_enough(world: World) -> None:
    snapshot, requests = world
    for wanted in requests:
        asker = asker_of(wanted)
        found = ways(snapshot, asker, wanted)
        if not asker.is_master:
            assert bool(found) is snapshot.decide(wanted).allowed
        for way in found:
            assert way.rule.allows(wanted)
            assert way.subject in ((asker.user,) if way.subject_kind == "User" else asker.groups)
            alone = Snapshot.of([Role(way.binding.role[2], way.binding.role[1], (way.rule,))], [way.binding])
            assert allowed(alone, subject(way.subject_kind, way.subject), wanted)


def in_place(way: Way, wanted: Request) -> bool:
    """Whether this rule allows the request where its binding counts."""
    scope = way.binding.namespace
    return (not scope or (scope == wanted.namespace and wanted.path is None)) and way.rule.allows(wanted)


def repaired(near: Near, wanted: Request, part: str) -> tuple[Near, Request]:
    """With one part as the rule has it; a path is the whole cluster's, so there it is the binding that gives way."""
    way, rule = near.way, near.way.rule
    if part == "namespace" and wanted.path is not None:
        return replace(near, way=replace(way, binding=replace(way.binding, namespace=""))), wanted
    changes = {
        "verb": lambda: replace(wanted, verb=rule.verbs[0]),
        "apiGroup": lambda: replace(wanted, api_group=rule.api_groups[0]),
        "subresource": lambda: replace(wanted, subresource=""),
        "name": lambda: replace(wanted, name=rule.resource_names[0]),
        "namespace": lambda: replace(wanted, namespace=way.binding.namespace),
    }
    return near, changes[part]()


def allows_once_repaired(near: Near, wanted: Request, parts: tuple[str, ...]) -> bool:
    for part in parts:
        near, wanted = repaired(near, wanted, part)
    return in_place(near.way, wanted)


@settings(deadline=None)
@given(worlds)
def test_the_nearest_rules_lack_just_what_is_said(world: World) -> None:
    snapshot, requests = world
    for wanted in requests:
        if snapshot.decide(wanted).allowed:
            continue
        found = nearest(snapshot, asker_of(wanted), wanted, most=100)
        assert found[:5] == nearest(snapshot, asker_of(wanted), wanted)
        assert [len(near.missing) for near in found] == sorted(len(near.missing) for near in found)
        for near in found:
            assert near.missing, "a rule that allows in place is no near miss"
            assert allows_once_repaired(near, wanted, near.missing)
            for part in near.missing:
                others = tuple(one for one in near.missing if one != part)
                assert not allows_once_repaired(near, wanted, others), f"{part} was said to be missing, and is not"


@given(strategies.resource_rules | strategies.path_rules, strategies.requests)
def test_a_rule_lacks_nothing_exactly_when_it_allows(rule: PolicyRule, wanted: Request) -> None:
    assert (lacks(rule, wanted) == ()) is rule.allows(wanted)


def snapshot_of(held: dict[str, tuple[PolicyRule, ...]], user: str = "alice") -> Snapshot:
    """Somebody who holds just these rules in these scopes."""
    key = "ClusterRole", ""
    roles = [Role(f"{user}-{scope}", "", rules) for scope, rules in held.items()]
    return Snapshot.of(roles, [RoleBinding(f"{user}-b", scope, (*key, f"{user}-{scope}"), (user,)) for scope in held])


def concrete(permission: Request, user: str) -> Iterator[Request]:
    """Requests under a permission, those that it names and some that only its wildcards reach."""
    if permission.path is not None:
        stem = permission.path.rstrip("*")
        paths = [stem, f"{stem}x", f"{stem}/a/b*c"] if permission.path.endswith("*") else [permission.path]
        yield from (Request(user, verb, path=path) for verb in _under(permission.verb) for path in paths)
        return
    resources = ["pods", "widgets", "pods/log"] if permission.resource == "*" else [permission.resource]
    for verb in _under(permission.verb):
        for group in _under(permission.api_group):
            for resource in resources:
                word, _, subresource = resource.partition("/")
                for namespace in [permission.namespace] if permission.namespace else ["", "dev", "elsewhere"]:
                    for name in [permission.name] if permission.name else ["", "web", "any"]:
                        sub = permission.subresource or subresource
                        yield Request(user, verb, (), group, word, sub, name, namespace)


def _under(word: str) -> list[str]:
    return ["get", "apps", "strange"] if word == "*" else [word]


@settings(deadline=None)
@given(_held, _held)
def test_what_is_covered_is_allowed_for_every_concrete_request_under_it(
    held: dict[str, tuple[PolicyRule, ...]], asked: dict[str, tuple[PolicyRule, ...]]
) -> None:
    snapshot = snapshot_of(held)
    powers = Powers.of(snapshot, Asker("alice"))
    for scope, rules in (*asked.items(), *held.items()):
        for permission in (one for rule in rules for one in permissions_of(rule, scope)):
            if powers.cover(permission):
                assert [one for one in concrete(permission, "alice") if not snapshot.decide(one).allowed] == []


@settings(deadline=None)
@given(_held)
def test_somebody_covers_all_permissions_of_their_own(held: dict[str, tuple[PolicyRule, ...]]) -> None:
    powers = Powers.of(snapshot_of(held), Asker("alice"))
    assert powers.beyond(powers) == []
    assert not powers.exceed(powers)
    own = list(powers.permissions())
    assert {(replace(thing, verb=verb)) for thing, verbs in condensed(own) for verb in verbs} == set(own)


@settings(deadline=None)
@given(_held, _held)
def test_compare_parts_the_permissions_of_two(
    first: dict[str, tuple[PolicyRule, ...]], second: dict[str, tuple[PolicyRule, ...]]
) -> None:
    one, other = snapshot_of(first, "alice"), snapshot_of(second, "bob")
    both_worlds = one.with_changes(other.roles.values(), other.bindings.values())
    alice, bob = Asker("alice"), Asker("bob")
    powers, others = Powers.of(both_worlds, alice), Powers.of(both_worlds, bob)
    found = compare(both_worlds, alice, bob)
    assert [p for p in found.only_first if others.cover(p) or not powers.cover(p)] == []
    assert [p for p in found.only_second if powers.cover(p) or not others.cover(p)] == []
    assert [p for p in found.both if not (powers.cover(p) and others.cover(p))] == []
    assert {*found.only_first, *found.both} == set(powers.permissions())
    turned = compare(both_worlds, bob, alice)
    assert (found.only_first, found.only_second) == (turned.only_second, turned.only_first)
    assert powers.exceed(others) is bool(found.only_first)
    together = powers | others
    assert [p for p in (*powers.permissions(), *others.permissions()) if not together.cover(p)] == []


@settings(deadline=None)
@given(worlds)
def test_roles_that_allow_are_exactly_those_that_would_once_bound(world: World) -> None:
    snapshot, requests = world
    for wanted in requests:
        found = roles_that_allow(snapshot, wanted)
        for role in snapshot.roles.values():
            bound = RoleBinding("new", wanted.namespace, role.key, ("newcomer",))
            fits = role.namespace in {"", wanted.namespace}
            would = fits and allowed(Snapshot.of([role], [bound]), Asker("newcomer"), wanted)
            assert (role in found) is would
    assert not any(role.name.startswith("system:") for role in roles_that_allow(snapshot, requests[0]))


def test_the_large_worlds_are_asked_on_the_edge() -> None:
    """Questions that are all refused, or rules that never come near, would prove little."""
    answers = [(snapshot.decide(one).allowed, bool(nearest(snapshot, asker_of(one), one))) for snapshot, requests in
               map(large_world, range(1, WORLDS + 1)) for one in requests]  # fmt: skip
    assert 0.1 < sum(is_allowed for is_allowed, _ in answers) / len(answers) < 0.9
    assert sum(is_near for is_allowed, is_near in answers if not is_allowed) > len(answers) / 20
    assert set(vocabulary.NAMESPACES) <= {b.namespace for b in large_world(1)[0].bindings.values()}
