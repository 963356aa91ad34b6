"""Requests, grants and what belongs to them as plain values: for the API and the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from iam.approval import times
from iam.models import AccessRequest, ApprovalRule, CatalogueEntry, Cluster, EmergencyDoor, Grant
from iam.services.requests.asking import Part
from iam.services.requests.shown import digest

Row = dict[str, Any]


def grant(one: Grant) -> Row:
    """A grant."""
    plain = ("id", "state", "starts_at", "ends_at", "applied_at", "gone_at", "end_reason")
    return {name: getattr(one, name) for name in plain} | {
        "request": one.request_id, "holder": one.person.username, "cluster": one.cluster_name,
        "role": f"{one.role_kind}/{one.role_name}", "namespaces": list(one.namespaces),
    }


def request(one: AccessRequest, its_grant: Grant | None = None) -> Row:
    """A request with what was said to it."""
    plain = (
        "id", "kind", "state", "title", "starts_at", "reason", "ticket", "stages", "stage", "round", "created_at", "lapses_at", "outcome",
        "review_due_at", "verdict", "review",
    )
    return {name: getattr(one, name) for name in plain} | {
        "requester": one.person.username, "cluster": one.cluster_name, "role": f"{one.role_kind}/{one.role_name}",
        "namespaces": list(one.namespaces), "duration": times.words(one.seconds), "asked_namespaces": list(one.asked_namespaces),
        "asked_duration": times.words(one.asked_seconds), "rule": one.rule_name, "risks": list(one.risks),
        "digest": digest(one, one.rules_digest), "grant": grant(its_grant) if its_grant else None,
        "comments": [{"by": said.person.username, "text": said.text, "at": said.at} for said in one.comments], "extends": one.extends,
        "decisions": [
            {
                "approver": said.approver.username, "verdict": said.verdict, "stage": said.stage, "round": said.round,
                "comment": said.comment, "at": said.at,
            }
            for said in one.decisions
        ],
    }


def part(one: Part) -> Row:
    """A part of a wish, with who would be asked."""
    return {
        "cluster": one.cluster.name, "namespaces": list(one.namespaces), "rule": one.rule.name,
        "risks": [str(risk) for risk in one.shown.risks],
        "stages": [
            [{"need": str(need), "people": [person.username for person in people]} for need, people in stage] for stage in one.asked
        ],
    }


def offer(one: CatalogueEntry, clusters: Sequence[Cluster]) -> Row:
    """A catalogue entry as it is offered."""
    return {
        "name": one.name, "title": one.title, "description": one.description, "role": f"{one.role_kind}/{one.role_name}",
        "clusters": [cluster.name for cluster in clusters], "namespaces": list(one.namespaces),
        "longest": times.words(one.longest_seconds), "risks": list(one.risks),
    }


def entry(one: CatalogueEntry) -> Row:
    """A catalogue entry as it is written."""
    plain = (
        "name", "title", "description", "role_kind", "role_name", "clusters", "namespaces", "groups", "is_open", "risks", "changed_at",
        "changed_by",
    )
    return {name: getattr(one, name) for name in plain} | {"longest": times.words(one.longest_seconds)}


def rule(one: ApprovalRule) -> Row:
    """A rule as it is written."""
    plain = ("name", "stages", "clusters", "namespaces", "reason_pattern", "ticket_pattern", "position", "changed_at", "changed_by")
    return {name: getattr(one, name) for name in plain} | {
        "entry": one.entry.name if one.entry else "", "longest": times.words(one.longest_seconds),
        "lapses": times.words(one.lapse_seconds),
    }


def door(one: EmergencyDoor) -> Row:
    """An emergency door as it is written."""
    plain = (
        "name", "title", "description", "role_kind", "role_name", "clusters", "namespaces", "groups", "tell", "reviewers", "is_sealed",
        "changed_at", "changed_by",
    )
    return {name: getattr(one, name) for name in plain} | {
        "longest": times.words(one.longest_seconds), "review_within": times.words(one.review_seconds),
    }
