"""One event in the Open Cybersecurity Schema Framework (OCSF), version 1.8.0.

Source: https://github.com/ocsf/ocsf-schema at the tag 1.8.0: events/iam, events/application/api_activity.json, objects.
Its successor, not released yet, deprecates Account Change and User Access Management in favour of User Management (3007).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from iam.evidence.cef import ALARMS, PRODUCT, as_ip, milliseconds, title

SCHEMA = "1.8.0"
ACCOUNT_CHANGE, AUTHENTICATION, ENTITY_MANAGEMENT, USER_ACCESS, GROUP_MANAGEMENT, API_ACTIVITY = 3001, 3002, 3004, 3005, 3006, 6003
OTHER = 99
"""An activity that the class has no number for; its name is the action."""
_UNKNOWN = "(not known)"
"""Where the schema wants a name and there is none; no user name has a blank in it."""
_SEVERITIES = {"done": 1, "refused": 2, "failed": 3}
_ALARM = 4
_CLASSES: Mapping[int, Mapping[str, int]] = {
    AUTHENTICATION: {"login": 1, "logout": 2, "session.ended": 2},
    ACCOUNT_CHANGE: {
        "account.created": 1, "account.changed": 4,
        "person.created": 1, "person.enabled": 2, "person.disabled": 5, "person.changed": OTHER,
    },
    ENTITY_MANAGEMENT: {
        "cluster.registered": 6, "cluster.probed": 2, "cluster.changed": 3, "cluster.reconciled": 3, "cluster.removed": 7,
        "cluster.away": OTHER, "cluster.back": OTHER, "sync.accepted": OTHER,
        "sync.stopped": 12, "sync.resumed": 13, "token.created": 1, "token.revoked": 4,
        "policy.created": 1, "policy.changed": 3, "policy.published": 8, "policy.removed": 4,
        "catalogue.changed": 3, "catalogue.removed": 4, "rule.changed": 3, "rule.removed": 4,
        "emergency.changed": 3, "emergency.removed": 4, "webhook.created": 1, "webhook.removed": 4,
        "notices.changed": 3, "keys.rotated": 3, "audit.key.rotated": 3, "settings.changed": 3,
    },
    # Only a grant gives or takes: all that leads to one, or comes of one, is another activity.
    USER_ACCESS: {
        "grant.started": 1, "grant.applied": 1, "grant.ended": 2, "grant.gone": 2,
        **dict.fromkeys((
            "request.submitted", "request.cancelled", "request.commented", "request.approved", "request.denied", "request.restarted",
            "request.granted", "request.lapsed", "request.closed", "emergency.opened", "emergency.reviewed", "review.overdue",
        ), OTHER),
    },
    GROUP_MANAGEMENT: {"mapping.created": 1, "mapping.removed": 2},
    API_ACTIVITY: {
        "credential.issued": 1, "downloaded": 2, "audit.export.begun": 2, "audit.exported": 2, "audit.pruned": 4,
        **dict.fromkeys((
            "access.denied", "notice.lost", "audit.forged", "audit.late", "audit.lags", "audit.caught.up", "audit.clock",
        ), OTHER),
    },
}  # fmt: skip
PLACES: Mapping[str, tuple[int, int]] = {
    action: (class_uid, activity) for class_uid, activities in _CLASSES.items() for action, activity in activities.items()
}
"""The class and the activity of each action; one that is not here is an API activity without a number."""

Facts = Mapping[str, Any]


def ocsf(seq: int, facts: Facts, *, version: str) -> dict[str, Any]:
    """The event as an object for JSON: what its class requires, and all of our own facts under ``unmapped``.

    ``version`` is the product's. Texts are handed on as they are: whoever writes the JSON escapes them.
    """
    action, result = facts["action"], facts["result"]
    class_uid, activity = PLACES.get(action, (API_ACTIVITY, OTHER))
    return {
        "activity_id": activity, **({"activity_name": action} if activity == OTHER else {}),
        "category_uid": class_uid // 1000, "class_uid": class_uid, "type_uid": class_uid * 100 + activity,
        "time": milliseconds(facts["at"]), "message": title(action),
        "severity_id": _ALARM if action in ALARMS else _SEVERITIES.get(result, 3),
        **({"status_id": 1, "status": "Success"} if result == "done" else {"status_id": 2, "status": "Failure"}),
        **_filled(status_code=result, status_detail=facts["reason"]),
        "metadata": _metadata(seq, facts, version),
        "actor": {"user": _user(facts["actor_name"], facts["actor_id"]), "app_name": facts["door"]},
        "src_endpoint": _source(facts),
        **_SUBJECTS[class_uid](facts),
        "unmapped": dict(facts),
    }  # fmt: skip


def _metadata(seq: int, facts: Facts, version: str) -> dict[str, Any]:
    return {
        "version": SCHEMA, "product": {"name": PRODUCT, "vendor_name": PRODUCT, "version": version},
        "uid": str(seq), "sequence": seq, "event_code": facts["action"], "log_name": "audit",
        **_filled(correlation_uid=facts["case_id"] or facts["request_id"]),
    }  # fmt: skip


def _source(facts: Facts) -> dict[str, Any]:
    ip = as_ip(facts["address"])
    return {"ip": str(ip)} if ip else {"name": facts["address"] or facts["door"]}


def _authentication(facts: Facts) -> dict[str, Any]:
    return {"user": _concerned(facts), "service": {"name": PRODUCT}}


def _account(facts: Facts) -> dict[str, Any]:
    return {"user": _user(facts["person"] or facts["target_name"])}


def _entity(facts: Facts) -> dict[str, Any]:
    kind = facts["target_kind"] or facts["action"].partition(".")[0]
    return {"entity": {"name": facts["target_name"] or kind, "type": kind, "type_id": OTHER}}


def _access(facts: Facts) -> dict[str, Any]:
    role = facts["details"].get("role")
    privilege = role if role and isinstance(role, str) else f"{facts['target_kind']} {facts['target_name']}".strip()
    cluster = {"resources": [_resource(facts)]} if facts["cluster"] else {}
    return {"user": _concerned(facts), "privileges": [privilege or _UNKNOWN], **cluster}


def _group(facts: Facts) -> dict[str, Any]:
    """A mapping's name reads ``group -> role``."""
    group, _, role = facts["target_name"].partition(" -> ")
    cluster = {"resource": _resource(facts)} if facts["cluster"] else {}
    return {"group": {"name": group or _UNKNOWN}, "privileges": [role or facts["target_name"] or _UNKNOWN], **cluster}


def _api(facts: Facts) -> dict[str, Any]:
    return {"api": {"operation": facts["action"], **({"request": {"uid": facts["request_id"]}} if facts["request_id"] else {})}}


_SUBJECTS: Mapping[int, Callable[[Facts], dict[str, Any]]] = {
    AUTHENTICATION: _authentication, ACCOUNT_CHANGE: _account, ENTITY_MANAGEMENT: _entity,
    USER_ACCESS: _access, GROUP_MANAGEMENT: _group, API_ACTIVITY: _api,
}  # fmt: skip


def _concerned(facts: Facts) -> dict[str, Any]:
    """The person it is about, who is the actor if nobody is named."""
    if facts["person"] in {"", facts["actor_name"]}:
        return _user(facts["actor_name"], facts["actor_id"])
    return _user(facts["person"])


def _user(name: str, uid: str = "") -> dict[str, Any]:
    return {"name": name or _UNKNOWN, **_filled(uid=uid)}


def _resource(facts: Facts) -> dict[str, Any]:
    return {"name": facts["cluster"], "type": "cluster"}


def _filled(**texts: str) -> dict[str, Any]:
    return {key: text for key, text in texts.items() if text}
