"""What an approver must not overlook: each danger, a rule that brings it, and rules that look alike and do not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import iam.clusters
from iam.kube.rbac import PolicyRule
from iam.kube.risks import Risk, risks

RBAC, CERTIFICATES, ADMISSION = "rbac.authorization.k8s.io", "certificates.k8s.io", "admissionregistration.k8s.io"
READ = "get list watch"


def rule(verbs: str, resources: str, group: str = "") -> PolicyRule:
    return PolicyRule(tuple(verbs.split()), (group,), tuple(resources.split()))


BRINGS: dict[Risk, list[PolicyRule]] = {
    Risk.ESCALATE: [rule("escalate", "roles", RBAC), rule("get escalate", "clusterroles", RBAC)],
    Risk.BIND: [rule("bind", "roles", RBAC), rule("create", "rolebindings", RBAC), rule("patch", "clusterrolebindings", RBAC)],
    Risk.IMPERSONATE: [
        rule("impersonate", "users"), rule("impersonate", "groups"), rule("impersonate", "serviceaccounts"),
        rule("impersonate", "uids", "authentication.k8s.io"),
    ],
    Risk.CERTIFICATES: [
        rule("update", "certificatesigningrequests/approval", CERTIFICATES),
        rule("patch", "certificatesigningrequests/status", CERTIFICATES),
        rule("approve", "signers", CERTIFICATES), rule("sign", "signers", CERTIFICATES),
    ],
    Risk.WEBHOOKS: [
        rule("create", "mutatingwebhookconfigurations", ADMISSION), rule("patch", "validatingwebhookconfigurations", ADMISSION),
        rule("update", "mutatingadmissionpolicies", ADMISSION), rule("update", "validatingadmissionpolicies", ADMISSION),
    ],
    Risk.NODES: [rule("get", "nodes/proxy"), rule("create", "nodes/proxy"), rule("create", "persistentvolumes")],
    Risk.SECRETS: [rule("get", "secrets"), rule("list", "pods secrets"), rule("watch", "secrets"), rule("patch", "secrets")],
    Risk.TOKENS: [rule("create", "serviceaccounts/token")],
    Risk.EXEC: [
        rule("create", "pods/exec"), rule("get", "pods/exec"), rule("create", "pods/attach"), rule("create", "pods/portforward"),
        rule("patch", "pods/ephemeralcontainers"),
    ],
    Risk.WORKLOADS: [
        rule("create", "pods"), rule("patch", "deployments", "apps"), rule("update", "statefulsets", "apps"),
        rule("create", "daemonsets", "apps"),
        rule("create", "replicasets", "apps"), rule("create", "jobs", "batch"), rule("update", "cronjobs", "batch"),
        rule("create", "replicationcontrollers"),
    ],
}  # fmt: skip
"""Without wildcards: those are a danger of their own."""

HARMLESS: dict[Risk, list[PolicyRule]] = {
    Risk.ESCALATE: [
        rule(f"{READ} create update patch delete", "roles clusterroles", RBAC), rule("escalate", "roles"),
        rule("escalate", "rolebindings", RBAC),
    ],
    Risk.BIND: [
        rule("get delete", "rolebindings clusterrolebindings", RBAC), rule("bind", "roles", "apps"),
        rule("create", "bindings pods/binding"),
    ],
    Risk.IMPERSONATE: [
        rule(f"{READ} create", "users groups serviceaccounts"), rule("impersonate", "users", "apps"),
        rule("impersonate", "pods"),
    ],
    Risk.CERTIFICATES: [
        rule(f"{READ} create delete", "certificatesigningrequests", CERTIFICATES),
        rule("get", "certificatesigningrequests/approval", CERTIFICATES),
        rule("get attest", "signers", CERTIFICATES), rule("approve", "signers"), rule("update", "certificates/status", "cert-manager.io"),
    ],
    Risk.WEBHOOKS: [
        rule(READ, "mutatingwebhookconfigurations validatingwebhookconfigurations", ADMISSION),
        rule("create", "mutatingwebhookconfigurations"),
    ],
    Risk.NODES: [
        rule(READ, "nodes nodes/status nodes/metrics"), rule(READ, "persistentvolumes"), rule("create", "persistentvolumeclaims"),
        rule("get", "nodes", "metrics.k8s.io"), rule("create", "persistentvolumes", "apps"),
    ],
    Risk.SECRETS: [
        rule("create delete", "secrets"), rule(READ, "configmaps"), rule(READ, "secrets", "external-secrets.io"),
        rule(READ, "secrets/status"),
    ],
    Risk.TOKENS: [
        rule("get", "serviceaccounts/token"), rule(f"{READ} create", "serviceaccounts"),
        rule("create", "tokenreviews", "authentication.k8s.io"),
    ],
    Risk.EXEC: [
        rule(READ, "pods pods/log pods/status"), rule("create", "pods/eviction"), rule("delete", "pods/exec"),
        rule("get", "pods/ephemeralcontainers"),
    ],
    Risk.WORKLOADS: [
        rule(f"{READ} delete", "pods replicationcontrollers"), rule(f"{READ} delete", "deployments daemonsets", "apps"),
        rule("patch", "deployments/scale", "apps"),
        rule("create", "deployments"), rule("create", "jobs", "apps"), rule("create", "horizontalpodautoscalers", "autoscaling"),
    ],
}  # fmt: skip


def pairs(table: dict[Risk, list[PolicyRule]]) -> list[tuple[Risk, PolicyRule]]:
    return [(risk, one) for risk, rules in table.items() for one in rules]


def test_every_danger_is_tested_both_ways() -> None:
    assert {*BRINGS} == {*HARMLESS} == {*Risk} - {Risk.WILDCARD}


@pytest.mark.parametrize(("risk", "one"), pairs(BRINGS))
def test_a_rule_brings_its_danger_and_no_other(risk: Risk, one: PolicyRule) -> None:
    assert risks([one]) == (risk,)


@pytest.mark.parametrize(("risk", "one"), pairs(BRINGS))
def test_a_rule_that_is_limited_to_names_is_flagged_all_the_same(risk: Risk, one: PolicyRule) -> None:
    assert risks([replace(one, resource_names=("one", "two"))]) == (risk,)


@pytest.mark.parametrize(("risk", "one"), pairs(HARMLESS))
def test_a_rule_that_looks_alike_brings_nothing(risk: Risk, one: PolicyRule) -> None:
    assert risks([one]) == ()


@pytest.mark.parametrize(
    ("one", "found"),
    [
        (PolicyRule(("*",), ("apps",), ("controllerrevisions",)), (Risk.WILDCARD,)),
        (PolicyRule(("get",), ("*",), ("widgets",)), (Risk.WILDCARD,)),
        (PolicyRule(("get",), ("apps",), ("*",)), (Risk.WILDCARD,)),
        (PolicyRule(("update",), ("apps",), ("*/scale",)), (Risk.WILDCARD,)),
        (PolicyRule(("get",), non_resource_urls=("*",)), (Risk.WILDCARD,)),
        (PolicyRule(("*",), non_resource_urls=("/metrics",)), (Risk.WILDCARD,)),
        (PolicyRule(("get",), ("",), ("*",)), (Risk.WILDCARD, Risk.NODES, Risk.SECRETS, Risk.EXEC)),
        (PolicyRule(("get",), ("",), ("*",), ("one",)), (Risk.WILDCARD, Risk.NODES, Risk.SECRETS, Risk.EXEC)),
        (PolicyRule(("*",), ("",), ("secrets",)), (Risk.WILDCARD, Risk.SECRETS)),
        (PolicyRule(("get",), ("*",), ("secrets",)), (Risk.WILDCARD, Risk.SECRETS)),
        (PolicyRule(("create",), ("",), ("*/exec",)), (Risk.WILDCARD, Risk.EXEC)),
        (PolicyRule(("create",), ("",), ("*/token",)), (Risk.WILDCARD, Risk.TOKENS)),
        (PolicyRule(("*",), (RBAC,), ("*",)), (Risk.ESCALATE, Risk.BIND, Risk.WILDCARD)),
        (PolicyRule(("*",), ("*",), ("*",)), tuple(Risk)),
        (PolicyRule(("get",), non_resource_urls=("/healthz", "/healthz/*")), ()),
        (PolicyRule(("get",), ("",), ("configmaps",), ("*",)), ()),
    ],
)
def test_a_wildcard_is_a_danger_beside_those_that_it_brings(one: PolicyRule, found: tuple[Risk, ...]) -> None:
    assert risks([one]) == found


def test_dangers_are_told_once_and_the_worst_first_whatever_the_order_of_the_rules() -> None:
    every = [one for _, one in pairs(BRINGS)]
    expected = tuple(risk for risk in Risk if risk is not Risk.WILDCARD)
    assert risks(every) == risks(reversed(every)) == expected
    assert risks([*every, *every]) == expected


def test_parts_of_different_rules_do_not_add_up() -> None:
    assert risks([rule("create", "configmaps"), rule("get", "pods"), rule("delete", "secrets")]) == ()


def test_a_rule_without_anything_is_harmless() -> None:
    assert risks([]) == risks([PolicyRule()]) == risks([PolicyRule(verbs=("get",))]) == risks([PolicyRule((), ("",), ("secrets",))]) == ()


def user_facing(name: str) -> list[PolicyRule]:
    documents = json.loads(Path(iam.clusters.__file__).with_name("user_facing_roles.json").read_text())
    return [PolicyRule.from_manifest(one) for document in documents if document["metadata"]["name"] == name for one in document["rules"]]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("view", ()),
        ("edit", (Risk.IMPERSONATE, Risk.SECRETS, Risk.TOKENS, Risk.EXEC, Risk.WORKLOADS)),
        ("admin", (Risk.BIND, Risk.IMPERSONATE, Risk.SECRETS, Risk.TOKENS, Risk.EXEC, Risk.WORKLOADS)),
        ("cluster-admin", tuple(Risk)),
    ],
)
def test_what_the_roles_of_every_cluster_bring(name: str, found: tuple[Risk, ...]) -> None:
    rules = user_facing(name)
    assert rules
    assert risks(rules) == found


def test_view_with_secrets_is_view_no_longer() -> None:
    assert risks([*user_facing("view"), rule("get", "secrets")]) == (Risk.SECRETS,)
