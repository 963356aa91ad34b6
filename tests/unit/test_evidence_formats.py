"""Ordinary events in each of the formats, character by character; where each action belongs; what is cut and what is left out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from iam.evidence.cef import ALARMS, CUT, cef, severity
from iam.evidence.events import text_of
from iam.evidence.ocsf import OTHER, PLACES, ocsf
from iam.evidence.rfc5424 import message

ENDED: dict[str, Any] = {
    "id": "e1", "at": "2026-11-22T21:35:17.123456Z", "action": "grant.ended", "result": "done", "reason": "its time is over",
    "actor_name": "kube-iam", "actor_id": "", "door": "worker", "address": "", "request_id": "", "target_kind": "grant",
    "target_name": "g42", "person": "ann", "case_id": "r7", "cluster": "prod",
    "details": {"role": "ClusterRole/edit", "namespaces": ["web"], "end": "expired"},
}  # fmt: skip
REFUSED: dict[str, Any] = {
    **ENDED, "action": "login", "result": "refused", "reason": "the password is not right", "actor_name": "ldap:bob|ops", "door": "page",
    "address": "192.0.2.7", "request_id": "q1", "target_kind": "directory", "target_name": "ldap", "person": "", "case_id": "",
    "cluster": "", "details": {},
}  # fmt: skip


def changed(**facts: Any) -> dict[str, Any]:
    return {**ENDED, **facts}


def test_cef_of_what_the_worker_did() -> None:
    assert cef(12, ENDED, version="1.4.0", about="The grant of edit to ann in prod ended") == (
        "CEF:0|kube-iam|kube-iam|1.4.0|grant.ended|Grant ended|3|"
        "rt=1795383317123 externalId=12 act=done outcome=success reason=its time is over msg=The grant of edit to ann in prod ended "
        "suser=kube-iam duser=ann cs1=prod cs1Label=cluster cs2=grant cs2Label=target kind cs3=g42 cs3Label=target "
        r'cs4={"role":"ClusterRole/edit","namespaces":["web"],"end":"expired"} cs4Label=details cs5=r7 cs5Label=case '
        "deviceFacility=worker"
    )


def test_cef_of_what_was_refused() -> None:
    assert cef(13, REFUSED, version="1.4.0") == (
        "CEF:0|kube-iam|kube-iam|1.4.0|login|Login|5|"
        "rt=1795383317123 externalId=13 act=refused outcome=failure reason=the password is not right suser=ldap:bob|ops src=192.0.2.7 "
        "cs2=directory cs2Label=target kind cs3=ldap cs3Label=target cs6=q1 cs6Label=request deviceFacility=page"
    )


def test_cef_escapes_by_the_standard_and_shows_what_it_cannot_carry() -> None:
    line = cef(1, changed(reason="a=b\\c|d\r\ne\tf\x1b[31m\u202e\u2028 act=done"), version="1|2\\3\n")
    assert line.startswith(r"CEF:0|kube-iam|kube-iam|1\|2\\3\\n|grant.ended|")
    assert r" reason=a\=b\\c|d\r\ne\\tf\\u001b[31m\\u202e\\u2028 act\=done suser=" in line


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.7", " src=192.0.2.7 "), ("2001:db8::1", " c6a2=2001:db8::1 c6a2Label=Source IPv6 Address "),
        ("fe80::1%e=0", " c6a2=fe80::1 c6a2Label=Source IPv6 Address "), ("a host", " shost=a host "), ("", " suser=kube-iam duser=ann "),
    ],
)  # fmt: skip
def test_cef_says_where_somebody_came_from(address: str, expected: str) -> None:
    line = cef(1, changed(address=address), version="1")
    assert expected in line
    assert sum(f" {key}=" in line for key in ("src", "c6a2", "shost")) == bool(address)


@pytest.mark.parametrize(
    ("field", "key", "most"),
    [("reason", "reason", 1023), ("actor_name", "suser", 1023), ("cluster", "cs1", 4000), ("target_name", "cs3", 4000)],
)
def test_cef_marks_what_is_cut(field: str, key: str, most: int) -> None:
    assert f" {key}={'ü' * most} " in cef(1, changed(**{field: "ü" * most}), version="1")
    assert f" {key}={'ü' * (most - 1)}{CUT} " in cef(1, changed(**{field: "ü" * (most + 1)}), version="1")


def test_cef_keeps_details_within_a_field() -> None:
    start = '{"long":"' + "x" * (4000 - 9 - len(CUT))
    assert f" cs4={start}{CUT} cs4Label=details " in cef(1, changed(details={"long": "x" * 1_000_000}), version="1")
    assert " cs4=" not in cef(1, changed(details={}), version="1")


@pytest.mark.parametrize(
    ("action", "result", "expected"),
    [
        ("login", "done", 1), ("cluster.probed", "done", 1), ("grant.started", "done", 3), ("policy.published", "done", 3),
        ("login", "refused", 5), ("cluster.reconciled", "failed", 6), ("emergency.opened", "done", 8), ("emergency.opened", "refused", 8),
        ("review.overdue", "failed", 8), ("something.new", "done", 3),
    ],
)  # fmt: skip
def test_severity(action: str, result: str, expected: int) -> None:
    assert severity(action, result) == expected


def test_syslog_of_what_the_worker_did() -> None:
    assert message(12, ENDED, '{"id":"e1"}', host="iam.example.org") == (
        b"<109>1 2026-11-22T21:35:17.123456Z iam.example.org kube-iam - grant.ended "
        b'[meta sequenceId="12"][kube-iam@32473 seq="12" action="grant.ended" actor="kube-iam" result="done" cluster="prod"] {"id":"e1"}'
    )


@pytest.mark.parametrize(("result", "priority"), [("done", 109), ("refused", 108), ("failed", 107)])
def test_syslog_severity_is_the_result(result: str, priority: int) -> None:
    assert message(1, changed(result=result), "x", host="h").startswith(b"<%d>1 " % priority)
    assert message(1, changed(result=result), "x", host="h", facility=4).startswith(b"<%d>1 " % (priority - 9 * 8))


def test_syslog_header_is_printable_ascii_of_a_fixed_length() -> None:
    header = message(1, ENDED, "x", host="hö st\n" + "h" * 300, app="").split(b" ")
    assert header[2] == b"h??st?" + b"h" * 249
    assert header[3:6] == [b"-", b"-", b"grant.ended"]
    assert message(1, changed(action="a" * 40), "x", host="").split(b" ")[2:6] == [b"-", b"kube-iam", b"-", b"a" * 32]


@pytest.mark.parametrize(("seq", "expected"), [(1, 1), (2**31 - 1, 2**31 - 1), (2**31, 1), (2**32 + 5, 7)])
def test_syslog_sequence_begins_again(seq: int, expected: int) -> None:
    assert b'[meta sequenceId="%d"][kube-iam@32473 seq="%d" ' % (expected, seq) in message(seq, ENDED, "x", host="h")


def test_syslog_escapes_structured_data() -> None:
    whole = message(1, changed(actor_name='a"b]c\\d\ne', cluster="ü" * 256), "x", host="h").decode()
    assert rf'actor="a\"b\]c\\d\\ne" result="done" cluster="{"ü" * 254}{CUT}"] x' in whole


def test_syslog_has_a_bom_where_utf8_needs_one() -> None:
    start = message(1, ENDED, "", host="h")
    assert message(1, ENDED, "plain", host="h") == start + b"plain"
    assert message(1, ENDED, "größer", host="h") == start + b"\xef\xbb\xbf" + "größer".encode()
    assert message(1, ENDED, "\ufeffa\x85b\r\nc", host="h") == start + rb"\ufeffa\u0085b\r\nc"


def test_syslog_hands_on_the_sealed_text_and_cef_byte_for_byte() -> None:
    hostile = changed(reason='ü\x7f\x1b\u2028"\\\n\U000e0041', details={"a\tb": "\x85]"})
    for text in (text_of(hostile), cef(1, hostile, version="1")):
        assert message(1, hostile, text, host="h").endswith(b" " + ("" if text.isascii() else "\ufeff").encode() + text.encode())


def test_ocsf_of_what_the_worker_did() -> None:
    assert ocsf(12, ENDED, version="1.4.0") == {
        "activity_id": 2, "category_uid": 3, "class_uid": 3005, "type_uid": 300502, "time": 1795383317123, "message": "Grant ended",
        "severity_id": 1, "status_id": 1, "status": "Success", "status_code": "done", "status_detail": "its time is over",
        "metadata": {
            "version": "1.8.0", "product": {"name": "kube-iam", "vendor_name": "kube-iam", "version": "1.4.0"},
            "uid": "12", "sequence": 12, "event_code": "grant.ended", "log_name": "audit", "correlation_uid": "r7",
        },
        "actor": {"user": {"name": "kube-iam"}, "app_name": "worker"}, "src_endpoint": {"name": "worker"},
        "user": {"name": "ann"}, "privileges": ["ClusterRole/edit"], "resources": [{"name": "prod", "type": "cluster"}],
        "unmapped": ENDED,
    }  # fmt: skip


def test_ocsf_of_a_login_that_was_refused() -> None:
    event = ocsf(13, REFUSED, version="1.4.0")
    assert (event["class_uid"], event["type_uid"], event["severity_id"], event["status_id"]) == (3002, 300201, 2, 2)
    assert (event["user"], event["service"]) == ({"name": "ldap:bob|ops"}, {"name": "kube-iam"})
    assert (event["src_endpoint"], event["metadata"]["correlation_uid"]) == ({"ip": "192.0.2.7"}, "q1")
    assert (event["status_code"], event["status_detail"]) == ("refused", "the password is not right")


# Source: https://github.com/ocsf/ocsf-schema, tag 1.8.0: "requirement": "required" in events/base_event.json,
# events/iam/*.json and events/application/api_activity.json, together with their "at_least_one" of the attributes that we use.
REQUIRED_OF_ALL = {"activity_id", "category_uid", "class_uid", "metadata", "severity_id", "time", "type_uid"}
REQUIRED = {
    3001: {"user"}, 3002: {"user", "service"}, 3004: {"entity"}, 3005: {"user", "privileges"}, 3006: {"group"},
    6003: {"actor", "api", "src_endpoint"},
}  # fmt: skip
ACTIVITIES = {3001: range(1, 13), 3002: range(1, 8), 3004: range(1, 14), 3005: range(1, 3), 3006: range(1, 9), 6003: range(1, 5)}


@pytest.mark.parametrize("action", [*PLACES, "something.new"])
@pytest.mark.parametrize("empty", [False, True])
def test_ocsf_holds_what_its_class_requires(action: str, empty: bool) -> None:
    nothing = dict.fromkeys(("actor_name", "address", "target_kind", "target_name", "person", "cluster"), "") if empty else {}
    event = ocsf(1, changed(**nothing, action=action, details={} if empty else ENDED["details"]), version="1")
    kind, activity = event["class_uid"], event["activity_id"]
    assert REQUIRED_OF_ALL | REQUIRED[kind] <= event.keys()
    assert all(event[name] for name in REQUIRED[kind])
    assert all(event.get("privileges", ["x"]))
    assert (event["category_uid"], event["type_uid"]) == (kind // 1000, kind * 100 + activity)
    assert activity in ACTIVITIES[kind] or (activity == OTHER and event["activity_name"] == action)
    assert {"version", "product"} <= event["metadata"].keys()
    for name in ("user", "entity", "group", "src_endpoint"):
        assert event.get(name, {"name": "x"}).get("name") or event[name]["ip"]
    assert json.loads(json.dumps(event)) == event


def test_every_action_has_a_place() -> None:
    from iam.services.audit.vocabulary import Event

    assert {*Event} == PLACES.keys()
    assert PLACES.keys() > ALARMS


@pytest.mark.parametrize(
    ("facts", "name", "expected"),
    [
        ({"action": "session.ended", "person": "kube-iam", "actor_id": "p1"}, "user", {"name": "kube-iam", "uid": "p1"}),
        ({"action": "session.ended", "person": "ann", "actor_id": "p1"}, "user", {"name": "ann"}),
        ({"action": "account.created", "person": "", "target_name": "cid"}, "user", {"name": "cid"}),
        ({"action": "grant.gone", "details": {"role": 1}}, "privileges", ["grant g42"]),
        ({"action": "mapping.created", "target_name": "ldap:ops -> Role/x"}, "group", {"name": "ldap:ops"}),
        ({"action": "mapping.created", "target_name": "ldap:ops -> Role/x"}, "privileges", ["Role/x"]),
        ({"action": "mapping.removed", "target_name": "m1"}, "privileges", ["m1"]),
        ({"action": "rule.removed", "target_kind": "rule"}, "entity", {"name": "g42", "type": "rule", "type_id": 99}),
        ({"action": "keys.rotated", "target_kind": "", "target_name": ""}, "entity", {"name": "keys", "type": "keys", "type_id": 99}),
        ({"action": "access.denied", "request_id": "q1"}, "api", {"operation": "access.denied", "request": {"uid": "q1"}}),
        ({"address": "2001:db8::1%eth0"}, "src_endpoint", {"ip": "2001:db8::1"}),
        ({"address": "a host"}, "src_endpoint", {"name": "a host"}),
        ({"action": "emergency.opened"}, "severity_id", 4),
        ({"result": "failed"}, "severity_id", 3),
    ],
)
def test_ocsf_says_whom_and_what_it_is_about(facts: dict[str, Any], name: str, expected: object) -> None:
    assert ocsf(1, changed(**facts), version="1")[name] == expected
