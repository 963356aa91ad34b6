"""What holds for every set of entitlements and everything that a cluster may hold."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Literal

from hypothesis import given, settings
from hypothesis import strategies as st

from iam.kube.bindings import Binding, Entitlement, Plan, RoleRef, Subject, compile_bindings, plan

Wanted = list[Entitlement]
Bindings = dict[tuple[str, str], Binding]

names = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=12)
kinds: st.SearchStrategy[Literal["User", "Group"]] = st.sampled_from(["User", "Group"])
roles = st.builds(RoleRef, st.just("ClusterRole"), st.sampled_from(["view", "a:b", "a-b", "角色"]) | names)
reasons = st.from_regex(r"(mapping|grant):[0-9]{1,4}", fullmatch=True)
entitlements = st.builds(
    Entitlement,
    subject=st.builds(Subject, kinds, st.sampled_from(["alice", "bob"]) | names),
    role=roles,
    namespace=st.sampled_from(["dev", "prod", None]),
    because=reasons,
)
many = st.lists(entitlements, max_size=25)


def apply(steps: Plan, found: Mapping[tuple[str, str], Binding]) -> Bindings:
    """What a cluster holds after the plan: it refuses to create what is there and to replace what is not."""
    after = dict(found)
    for gone in steps.remove:
        del after[gone.key]
    for changed in steps.replace:
        assert changed.key in after
        after[changed.key] = changed
    for new in steps.create:
        assert new.key not in after
        after[new.key] = new
    return after


def granted(bindings: Bindings) -> set[tuple[Subject, RoleRef, str | None]]:
    return {(subject, b.role, b.namespace) for b in bindings.values() for subject in b.subjects}


@settings(deadline=None)
@given(many)
def test_bindings_grant_exactly_what_was_entitled(wanted: Wanted) -> None:
    assert granted(compile_bindings(wanted)) == {(e.subject, e.role, e.namespace) for e in wanted}


@settings(deadline=None)
@given(many, st.randoms(use_true_random=False))
def test_neither_order_nor_repetition_changes_the_bindings(wanted: Wanted, rng: random.Random) -> None:
    shuffled = wanted + wanted[:3]
    rng.shuffle(shuffled)
    once, again = compile_bindings(wanted), compile_bindings(shuffled)
    assert once == again
    assert {k: b.manifest("x") for k, b in once.items()} == {k: b.manifest("x") for k, b in again.items()}


@settings(deadline=None)
@given(many)
def test_what_is_as_desired_needs_no_plan(wanted: Wanted) -> None:
    assert plan(compile_bindings(wanted), compile_bindings(wanted)).is_empty


@settings(deadline=None)
@given(many, many)
def test_applying_the_plan_gives_what_is_desired_and_once_is_enough(new: Wanted, old: Wanted) -> None:
    desired, found = compile_bindings(new), compile_bindings(old)
    after = apply(plan(desired, found), found)
    assert after == desired
    assert plan(desired, after).is_empty


@settings(deadline=None)
@given(many, many, st.randoms(use_true_random=False))
def test_a_plan_depends_on_its_input_alone(new: Wanted, old: Wanted, rng: random.Random) -> None:
    desired, found = compile_bindings(new), compile_bindings(old)
    keys = list(found)
    rng.shuffle(keys)
    assert plan(desired, found) == plan(dict(reversed(desired.items())), {key: found[key] for key in keys})


@settings(deadline=None)
@given(many, many)
def test_a_plan_touches_only_what_was_passed_in(new: Wanted, old: Wanted) -> None:
    desired, found = compile_bindings(new), compile_bindings(old)
    steps = plan(desired, found)
    assert {b.key for b in steps.remove} <= found.keys() - desired.keys()
    assert {b.key for b in steps.replace} <= found.keys() & desired.keys()
    assert {b.key for b in steps.create} <= desired.keys() - found.keys()
    assert len(steps) == len({b.key for b in (*steps.remove, *steps.replace, *steps.create)})


@settings(deadline=None)
@given(many, many)
def test_bindings_left_out_stay_as_they_are(ours: Wanted, theirs: Wanted) -> None:
    found = compile_bindings(ours)
    foreign = {(key[0], f"foreign-{key[1]}"): b for key, b in compile_bindings(theirs).items()}
    cluster = found | foreign
    for step in plan({}, found).remove:
        del cluster[step.key]
    assert cluster == foreign


@settings(deadline=None)
@given(many)
def test_a_manifest_survives_the_way_through_a_cluster(wanted: Wanted) -> None:
    desired = compile_bindings(wanted)
    found = {key: Binding.from_manifest(binding.manifest("x")) for key, binding in desired.items()}
    assert found == desired
    assert plan(desired, found).is_empty


@settings(deadline=None)
@given(many, entitlements)
def test_one_entitlement_more_takes_nothing_from_anybody(wanted: Wanted, more: Entitlement) -> None:
    before, after = compile_bindings(wanted), compile_bindings([*wanted, more])
    assert granted(before) <= granted(after)
    assert not plan(after, before).remove
    assert len(plan(after, before)) <= 1
