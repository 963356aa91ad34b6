"""SubjectAccessReviews as they are sent to an API server: what is asked, and what is wrong with one, by field."""

from __future__ import annotations

import json
from typing import Any

import pytest

from iam.errors import Invalid
from iam.kube.authorizer import Snapshot
from iam.kube.rbac import PolicyRule, Role, RoleBinding
from iam.kube.requests import Request, from_review, service_account_user, with_implied_groups

RESOURCE = {"verb": "get", "resource": "pods"}
PATH = {"verb": "get", "path": "/healthz"}


@pytest.mark.parametrize(("spec", "request_"), [
    ({"user": "alice", "resourceAttributes": RESOURCE}, Request("alice", "get", resource="pods")),
    (
        {"user": "a", "groups": ["g"], "uid": "1", "extra": {"k": ["v"]}, "resourceAttributes": {
            "verb": "v", "group": "g", "version": "v1", "resource": "r", "subresource": "s", "name": "n", "namespace": "ns",
        }},
        Request("a", "v", ("g",), "g", "r", "s", "n", "ns"),
    ),
    ({"groups": ["", "g", "g"], "nonResourceAttributes": PATH}, Request("", "get", ("", "g", "g"), path="/healthz")),
    ({"user": "a", "groups": None, "resourceAttributes": {}}, Request("a", "")),
    ({"user": "a", "nonResourceAttributes": {}}, Request("a", "", path="")),
    ({"user": "a", "resourceAttributes": RESOURCE, "nonResourceAttributes": None}, Request("a", "get", resource="pods")),
    ({"user": "a", "resourceAttributes": {**RESOURCE, "name": None}}, Request("a", "get", resource="pods")),
    ({"user": "a", "resourceAttributes": {**RESOURCE, "labelSelector": {"rawSelector": "a=b"}}}, Request("a", "get", resource="pods")),
])  # fmt: skip
def test_a_spec_is_read_with_and_without_the_review_around_it(spec: dict[str, Any], request_: Request) -> None:
    assert from_review(spec) == request_
    assert from_review({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "metadata": {}, "spec": spec}) == request_


@pytest.mark.parametrize(("review", "field", "what"), [
    (None, "review", "JSON object"),
    ([], "review", "JSON object"),
    ("get pods", "review", "JSON object"),
    ({"spec": None}, "spec", "object"),
    ({"spec": []}, "spec", "object"),
    ({}, "spec.user", "One of user and groups"),
    ({"user": "", "groups": [], "resourceAttributes": RESOURCE}, "spec.user", "One of user and groups"),
    ({"user": "a"}, "spec.resourceAttributes", "either resourceAttributes or nonResourceAttributes"),
    ({"user": "a", "resourceAttributes": None, "nonResourceAttributes": None}, "spec.resourceAttributes", "either"),
    ({"user": "a", "resourceAttributes": RESOURCE, "nonResourceAttributes": PATH}, "spec.resourceAttributes", "either"),
    ({"user": "a", "resourceAttributes": []}, "spec.resourceAttributes", "object"),
    ({"user": "a", "nonResourceAttributes": "/healthz"}, "spec.nonResourceAttributes", "object"),
    ({"user": 5, "resourceAttributes": RESOURCE}, "spec.user", "string"),
    ({"user": ["a"], "resourceAttributes": RESOURCE}, "spec.user", "string"),
    ({"user": "a", "groups": "g", "resourceAttributes": RESOURCE}, "spec.groups", "list of strings"),
    ({"user": "a", "groups": [1], "resourceAttributes": RESOURCE}, "spec.groups", "list of strings"),
    ({"user": "a", "group": ["g"], "resourceAttributes": RESOURCE}, "spec.group", "known are extra, groups"),
    ({"user": "a", "User": "b", "resourceAttributes": RESOURCE}, "spec.User", "Unknown field"),
    ({"user": "a", "resourceAttributes": {**RESOURCE, "verb": 1}}, "spec.resourceAttributes.verb", "string"),
    ({"user": "a", "resourceAttributes": {**RESOURCE, "namespace": False}}, "spec.resourceAttributes.namespace", "string"),
    ({"user": "a", "resourceAttributes": {**RESOURCE, "apiGroup": ""}}, "spec.resourceAttributes.apiGroup", "known are fieldSelector"),
    ({"user": "a", "resourceAttributes": {**RESOURCE, "path": "/"}}, "spec.resourceAttributes.path", "Unknown field"),
    ({"user": "a", "nonResourceAttributes": {**PATH, "path": ["/"]}}, "spec.nonResourceAttributes.path", "string"),
    ({"user": "a", "nonResourceAttributes": {**PATH, "resource": "pods"}}, "spec.nonResourceAttributes.resource", "known are path, verb"),
])  # fmt: skip
def test_a_bad_review_is_refused_by_field(review: Any, field: str, what: str) -> None:
    with pytest.raises(Invalid) as refused:
        from_review(review)
    assert refused.value.field == field
    assert what in str(refused.value)


def test_one_megabyte_of_groups_is_a_review() -> None:
    groups = [f"group-{number}" for number in range(80_000)]
    spec = {"user": "alice", "groups": groups, "resourceAttributes": RESOURCE}
    assert len(json.dumps(spec)) > 1024 * 1024
    role = Role("reader", rules=(PolicyRule(("get",), ("",), ("pods",)),))
    snapshot = Snapshot.of([role], [RoleBinding("last", "", role.key, groups=(groups[-1],))])
    assert snapshot.decide(from_review(spec)).allowed


@pytest.mark.parametrize(("user", "given", "expected"), [
    ("alice", (), ["system:authenticated"]),
    ("alice", ("dev", "system:authenticated", "dev"), ["dev", "system:authenticated"]),
    ("alice", ("system:unauthenticated",), ["system:unauthenticated"]),
    ("", ("dev",), ["dev", "system:authenticated"]),
    ("system:anonymous", (), ["system:unauthenticated"]),
    ("system:serviceaccount:dev:robot", (), ["system:serviceaccounts", "system:serviceaccounts:dev", "system:authenticated"]),
    ("system:serviceaccount:dev:ro.b-0", ("x",), ["x", "system:serviceaccounts", "system:serviceaccounts:dev", "system:authenticated"]),
    ("system:serviceaccount:dev", (), ["system:authenticated"]),
    ("system:serviceaccount::robot", (), ["system:authenticated"]),
    ("system:serviceaccount:dev:", (), ["system:authenticated"]),
    ("system:serviceaccount:dev:robot:x", (), ["system:authenticated"]),
    ("system:serviceaccount:dev:Robot", (), ["system:authenticated"]),
    ("system:serviceaccount:dev:robot\n", (), ["system:authenticated"]),
    ("system:serviceaccount:de.v:robot", (), ["system:authenticated"]),
])  # fmt: skip
def test_implied_groups_follow_those_given(user: str, given: tuple[str, ...], expected: list[str]) -> None:
    """tests/integration/test_engine_differential.py compares them with the API server's own."""
    assert list(with_implied_groups(user, given)) == expected


def test_a_service_account_is_a_user_with_a_long_name() -> None:
    assert service_account_user("dev", "robot") == "system:serviceaccount:dev:robot"


def test_three_verbs_only_read() -> None:
    verbs = ("get", "list", "watch", "Get", "gets", "*", "", "create", "deletecollection")
    assert [verb for verb in verbs if Request("alice", verb).is_read_only] == ["get", "list", "watch"]
