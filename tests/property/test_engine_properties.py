"""The indexed authorizers decide as the plain reading of Kubernetes' own loops does."""

from __future__ import annotations

import random
from collections.abc import Iterable

from fixtures import strategies
from hypothesis import given, settings
from hypothesis import strategies as st

from iam.kube import abac
from iam.kube.abac import AbacAuthorizer, Policy
from iam.kube.authorizer import Snapshot
from iam.kube.rbac import Role, RoleBinding
from iam.kube.requests import MASTERS, Decision, Request

policy_lists = st.lists(strategies.policies, max_size=12)
role_lists = st.lists(strategies.roles, max_size=8, unique_by=lambda role: role.key)
binding_lists = st.lists(strategies.bindings, max_size=10, unique_by=lambda binding: binding.key)
request_lists = st.lists(strategies.requests, min_size=1, max_size=12)
steps = st.lists(st.tuples(st.lists(strategies.roles, max_size=3), st.lists(strategies.bindings, max_size=3), st.randoms()), max_size=4)
Indexed = dict[tuple[str, str], set[tuple[str, str]]]


def first_line_that_matches(policies: Iterable[Policy], request: Request) -> int | None:
    """As PolicyList.Authorize."""
    return next((number for number, policy in enumerate(policies, start=1) if policy.matches(request)), None)


def linear(roles: Iterable[Role], bindings: Iterable[RoleBinding], request: Request) -> bool:
    """As DefaultRuleResolver.VisitRulesFor: all cluster bindings, then those of the namespace."""
    rules = {role.key: role.rules for role in roles}
    return MASTERS in request.groups or any(
        rule.allows(request)
        for binding in bindings
        if binding.namespace in {"", request.namespace}
        and (request.user in binding.users or set(request.groups) & set(binding.groups))
        for rule in rules.get(binding.role, ())
    )


def index_of(snapshot: Snapshot) -> list[dict[str, Indexed]]:
    """Whom every index leads to which bindings, without order and emptied places."""
    return [
        {
            subject: {(namespace, subject): {binding.key for binding in held} for namespace, held in scopes.items() if held}
            for subject, scopes in index.items()
            if any(scopes.values())
        }
        for index in (snapshot._of_user, snapshot._of_group)
    ]


@given(policy_lists)
def test_abac_parse_render_parse_is_the_identity(policies: list[Policy]) -> None:
    text = abac.render(policies)
    read = [line.policy for line in abac.parse(text)]
    assert read == policies
    assert abac.render(policy for policy in read if policy) == text


@given(st.lists(strategies.narrow_policies, max_size=15), request_lists)
def test_abac_decides_as_the_first_line_that_matches(policies: list[Policy], requests: list[Request]) -> None:
    authorizer = AbacAuthorizer(enumerate(policies, start=1))
    for request in requests:
        decision, number = authorizer.decide(request), first_line_that_matches(policies, request)
        if MASTERS in request.groups:
            assert decision.allowed
        elif number is None:
            assert decision == Decision(allowed=False, reason="No policy matched.")
        else:
            assert (decision.allowed, decision.binding) == (True, f"line {number}")


@given(role_lists, binding_lists, request_lists)
def test_rbac_decides_as_a_walk_over_all_bindings(roles: list[Role], bindings: list[RoleBinding], requests: list[Request]) -> None:
    snapshot = Snapshot.of(roles, bindings)
    for request in requests:
        assert snapshot.decide(request).allowed is linear(roles, bindings, request)


@given(role_lists, binding_lists, request_lists)
def test_what_allows_is_a_binding_that_alone_allows_it(
    roles: list[Role], bindings: list[RoleBinding], requests: list[Request]
) -> None:
    snapshot = Snapshot.of(roles, bindings)
    for request in requests:
        decision = snapshot.decide(request)
        if decision.allowed and decision.binding != MASTERS:
            named = [one for one in bindings if decision.binding == f"{one.kind} {'/'.join(filter(None, one.key))}"]
            assert len(named) == 1
            assert linear(roles, named, request)


@given(strategies.roles, request_lists)
def test_the_quick_no_of_a_role_never_hides_a_rule(role: Role, requests: list[Request]) -> None:
    for request in requests:
        assert role.rule_that_allows(request) == next((rule for rule in role.rules if rule.allows(request)), None)


@settings(deadline=None)
@given(role_lists, binding_lists, steps, request_lists)
def test_changes_in_any_order_end_where_building_anew_does(
    roles: list[Role],
    bindings: list[RoleBinding],
    changes: list[tuple[list[Role], list[RoleBinding], random.Random]],
    requests: list[Request],
) -> None:
    wanted_roles, wanted = {role.key: role for role in roles}, {binding.key: binding for binding in bindings}
    snapshot = Snapshot.of(roles, bindings)
    for changed_roles, changed_bindings, rng in changes:
        gone_roles = [key for key in wanted_roles if rng.random() < 0.3]
        gone = [key for key in wanted if rng.random() < 0.3] + [("nowhere", "absent")]
        before = dict(snapshot.roles), dict(snapshot.bindings), index_of(snapshot)
        after = snapshot.with_changes(changed_roles, changed_bindings, gone_roles, gone)
        assert (dict(snapshot.roles), dict(snapshot.bindings), index_of(snapshot)) == before
        wanted_roles = {key: role for key, role in wanted_roles.items() if key not in gone_roles}
        wanted = {key: binding for key, binding in wanted.items() if key not in gone}
        wanted_roles |= {role.key: role for role in changed_roles}
        wanted |= {binding.key: binding for binding in changed_bindings}
        snapshot = after
    anew = Snapshot.of(wanted_roles.values(), wanted.values())
    assert (dict(snapshot.roles), dict(snapshot.bindings)) == (dict(anew.roles), dict(anew.bindings))
    assert index_of(snapshot) == index_of(anew)
    for request in requests:
        assert snapshot.decide(request).allowed is anew.decide(request).allowed is linear(wanted_roles.values(), wanted.values(), request)
