"""Everything that can happen: one closed list, each event with its sentence and the fields that it adds to those all have.

docs/audit-events.md is made from this (``iam audit vocabulary``). A field that is not named here cannot be recorded.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self

_CLUSTER = ("server", "access", "ca_sha256")
_ROLE = ("role", "namespaces", "seconds")
_REQUEST = ("requester", "title", *_ROLE, "why", "ticket", "rule")
_GRANT = ("request", *_ROLE, "ends_at")
_OFFER = (
    "name", "title", "description", "role_kind", "role_name", "clusters", "namespaces", "groups", "longest_seconds", "risks", "missing_in",
)  # fmt: skip
_MANIFEST = ("export", "kind", "filter", "first", "last", "events", "bytes", "sha256", "exported_at", "manifest", "signature")


def _mark(text: str) -> str:
    """Texts of data for the catalogue of translations; the page translates."""
    return text


class Event(StrEnum):
    """What happened. ``sentence`` is for readers; its ``%(actor)s``, ``%(target)s``, ``%(person)s``, ``%(cluster)s`` all events have."""

    sentence: str
    fields: frozenset[str]

    def __new__(cls, action: str, sentence: str, *fields: str) -> Self:
        """An action, its sentence, and the names of what its details may hold."""
        one = str.__new__(cls, action)
        one._value_ = action
        one.sentence = sentence
        one.fields = frozenset(fields)
        return one

    LOGIN = "login", _mark("%(actor)s logged in through %(target)s")
    LOGOUT = "logout", _mark("%(actor)s logged out")
    SESSION_ENDED = "session.ended", _mark("%(actor)s ended a session of theirs")
    PERSON_CREATED = "person.created", _mark("%(target)s became known"), "directory"
    PERSON_CHANGED = (
        "person.changed", _mark("%(target)s changed in the directory"), "joined", "left", "username", "email", "manager", "entry",
    )  # fmt: skip
    PERSON_DISABLED = "person.disabled", _mark("%(target)s was shut out")
    PERSON_ENABLED = "person.enabled", _mark("%(target)s was let in again")
    ACCOUNT_CREATED = "account.created", _mark("%(actor)s made the local account %(target)s"), "groups"
    ACCOUNT_CHANGED = "account.changed", _mark("%(actor)s set a new password for the local account %(target)s"), "password"
    SYNC_STOPPED = "sync.stopped", _mark("The sync of %(target)s stopped")
    SYNC_RESUMED = "sync.resumed", _mark("The sync of %(target)s runs again")
    SYNC_ACCEPTED = "sync.accepted", _mark("%(actor)s let the sync of %(target)s take everything from %(lost)s people"), "lost", "of"
    TOKEN_CREATED = "token.created", _mark("%(actor)s made the token %(target)s"), "scopes", "days"
    TOKEN_REVOKED = "token.revoked", _mark("%(actor)s revoked the token %(target)s")
    CLUSTER_REGISTERED = "cluster.registered", _mark("%(actor)s registered the cluster %(target)s"), "signer", *_CLUSTER
    CLUSTER_CHANGED = (
        "cluster.changed", _mark("%(actor)s changed the cluster %(target)s"), "title", "default_lifetime_seconds", "max_lifetime_seconds",
        *_CLUSTER,
    )  # fmt: skip
    CLUSTER_REMOVED = "cluster.removed", _mark("%(actor)s removed the cluster %(target)s"), "leave_bindings"
    CLUSTER_PROBED = (
        "cluster.probed", _mark("%(actor)s probed the cluster %(target)s"), "version", "missing_rights", "signs", "problem",
    )  # fmt: skip
    CLUSTER_RECONCILED = (
        "cluster.reconciled", _mark("Bindings changed on %(target)s: %(changed)s"), "changed", "removed", "replaced", "created", "grants",
    )  # fmt: skip
    CLUSTER_AWAY = "cluster.away", _mark("The cluster %(target)s does not answer as it should")
    CLUSTER_BACK = "cluster.back", _mark("The cluster %(target)s answers again")
    MAPPING_CREATED = "mapping.created", _mark("%(actor)s mapped %(target)s on %(cluster)s"), "namespaces", "subject_kind"
    MAPPING_REMOVED = "mapping.removed", _mark("%(actor)s removed the mapping %(target)s from %(cluster)s"), "namespaces"
    CREDENTIAL_ISSUED = (
        "credential.issued", _mark("%(person)s was given a certificate for %(cluster)s, valid until %(expires)s"),
        "person", "fingerprint", "fingerprints", "expires", "key", "request",
    )  # fmt: skip
    POLICY_CREATED = "policy.created", _mark("%(actor)s wrote the policy %(target)s"), "digest", "lines"
    POLICY_CHANGED = (
        "policy.changed", _mark("%(actor)s changed the policy %(target)s"), "version", "digest", "lines", "owner", "is_alone",
    )  # fmt: skip
    POLICY_PUBLISHED = (
        "policy.published", _mark("%(actor)s published the policy %(target)s"), "version", "digest", "lines", "to",
    )  # fmt: skip
    POLICY_REMOVED = "policy.removed", _mark("%(actor)s removed the policy %(target)s"), "version"
    CATALOGUE_CHANGED = "catalogue.changed", _mark("%(actor)s wrote the catalogue's entry %(target)s"), *_OFFER, "is_open"
    CATALOGUE_REMOVED = "catalogue.removed", _mark("%(actor)s removed the catalogue's entry %(target)s")
    RULE_CHANGED = (
        "rule.changed", _mark("%(actor)s wrote the approval rule %(target)s"), "entry", "position", "clusters", "namespaces", "stages",
        "longest_seconds", "lapse_seconds", "reason_pattern", "ticket_pattern",
    )  # fmt: skip
    RULE_REMOVED = "rule.removed", _mark("%(actor)s removed the approval rule %(target)s")
    REQUEST_SUBMITTED = (
        "request.submitted", _mark("%(actor)s asked for %(title)s in %(cluster)s"), *_REQUEST, "sealed",
    )  # fmt: skip
    REQUEST_CANCELLED = "request.cancelled", _mark("%(actor)s took back the request of %(person)s")
    REQUEST_COMMENTED = "request.commented", _mark("%(actor)s wrote about the request of %(person)s"), "comment"
    REQUEST_APPROVED = (
        "request.approved", _mark("%(actor)s said yes to %(person)s: %(title)s in %(cluster)s"), *_REQUEST, "stage", "round", "digest",
    )  # fmt: skip
    REQUEST_DENIED = (
        "request.denied", _mark("%(actor)s said no to %(person)s: %(title)s in %(cluster)s"), *_REQUEST, "stage", "round", "digest",
    )  # fmt: skip
    REQUEST_RESTARTED = "request.restarted", _mark("Something changed: the request of %(person)s is asked again"), "round"
    REQUEST_GRANTED = "request.granted", _mark("%(person)s gets %(title)s in %(cluster)s"), *_REQUEST, "stages"
    REQUEST_LAPSED = "request.lapsed", _mark("Nobody answered the request of %(person)s in time")
    REQUEST_CLOSED = "request.closed", _mark("The request of %(person)s was closed")
    GRANT_STARTED = "grant.started", _mark("The grant of %(role)s to %(person)s in %(cluster)s began"), *_GRANT
    GRANT_APPLIED = "grant.applied", _mark("The grant of %(person)s was seen at work on %(cluster)s")
    GRANT_ENDED = "grant.ended", _mark("The grant of %(role)s to %(person)s in %(cluster)s ended: %(end)s"), *_GRANT, "end"
    GRANT_GONE = "grant.gone", _mark("The grant of %(person)s is gone from %(cluster)s")
    EMERGENCY_CHANGED = (
        "emergency.changed", _mark("%(actor)s wrote the break-glass door %(target)s"), *_OFFER,
        "tell", "reviewers", "review_seconds", "is_sealed",
    )  # fmt: skip
    EMERGENCY_REMOVED = "emergency.removed", _mark("%(actor)s removed the break-glass door %(target)s")
    EMERGENCY_OPENED = (
        "emergency.opened", _mark("%(person)s broke the glass: %(title)s in %(cluster)s"), *_REQUEST, "door", "sealed",
    )  # fmt: skip
    EMERGENCY_REVIEWED = "emergency.reviewed", _mark("%(actor)s reviewed the break-glass of %(person)s: %(verdict)s"), "verdict", "review"
    REVIEW_OVERDUE = "review.overdue", _mark("The review of the break-glass of %(person)s is overdue")
    WEBHOOK_CREATED = "webhook.created", _mark("%(actor)s added the webhook %(target)s"), "host", "events"
    WEBHOOK_REMOVED = "webhook.removed", _mark("%(actor)s removed the webhook %(target)s")
    NOTICES_CHANGED = "notices.changed", _mark("%(actor)s chose which mails to get"), "muted"
    NOTICE_LOST = "notice.lost", _mark("A notice to %(target)s was given up"), "told"
    KEYS_ROTATED = "keys.rotated", _mark("%(actor)s encrypted the stored secrets anew"), "count"
    AUDIT_KEY_ROTATED = (
        "audit.key.rotated", _mark("%(actor)s let a new key sign the audit trail"), "key", "public", "introduced_by", "signature",
    )  # fmt: skip
    AUDIT_EXPORT_BEGUN = (
        "audit.export.begun", _mark("%(actor)s began an export of the audit trail"), "export", "kind", "filter", "upto", "begun_at",
        "key",
    )  # fmt: skip
    AUDIT_EXPORTED = "audit.exported", _mark("%(actor)s exported %(events)s events of the audit trail"), *_MANIFEST
    AUDIT_PRUNED = "audit.pruned", _mark("Retention removes the events up to %(last)s"), "first", "last", "block", "keep_days"
    AUDIT_FORGED = "audit.forged", _mark("An event that this service did not write was found in the database"), "row", "sha256"
    AUDIT_LATE = "audit.late", _mark("%(events)s events waited to be sealed, one for %(seconds)s seconds"), "row", "seconds", "events"
    AUDIT_LAGS = "audit.lags", _mark("The audit trail does not arrive at %(target)s"), "position", "head"
    AUDIT_CAUGHT_UP = "audit.caught.up", _mark("The audit trail arrives at %(target)s again"), "position", "head"
    SETTINGS_CHANGED = "settings.changed", _mark("The service runs with other settings: %(changed)s"), "changed", "settings", "version"
    AUDIT_CLOCK = "audit.clock", _mark("The clock went back by %(seconds)s seconds"), "seconds"
    DOWNLOADED = "downloaded", _mark("%(actor)s downloaded %(target)s"), "path"
    ACCESS_DENIED = "access.denied", _mark("%(actor)s was turned away from %(path)s"), "path"


ALARMS = frozenset({
    Event.SYNC_STOPPED, Event.CLUSTER_AWAY, Event.REVIEW_OVERDUE, Event.NOTICE_LOST, Event.AUDIT_FORGED, Event.AUDIT_LATE, Event.AUDIT_LAGS,
    Event.AUDIT_CLOCK, Event.ACCESS_DENIED,
})  # fmt: skip
"""What they tell of did happen, although their result is not ``done``."""


def described() -> str:
    """The list as a page of the documentation (Markdown)."""
    head = """# Every event of the audit trail

Made by `iam audit vocabulary`; do not edit by hand. What all events have is in [audit.md](audit.md); the fields here are
those in `details`. An event whose result is `refused` or `failed` says why in `reason`, and that it did *not* happen; but
for alarms (marked with !), which tell of what went wrong.

| event | says | fields of its own |
| --- | --- | --- |
"""
    return head + "".join(map(_row, Event))


def _row(event: Event) -> str:
    sentence, fields = event.sentence.replace("%(", "{").replace(")s", "}"), ", ".join(f"`{name}`" for name in sorted(event.fields))
    return f"| `{event.value}`{' !' if event in ALARMS else ''} | {sentence} | {fields} |\n"
