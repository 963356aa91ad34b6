"""Whether an LDAP entry may log in at all, as far as its attributes tell. Pure.

A server refuses the bind of a locked account itself; the sync has no password to try, so it reads what lasts. Locks
that end by themselves are left to the server: if they counted, whoever can type wrong passwords could take somebody's
access away.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from iam.directory.ldap_connection import Entry

ATTRIBUTES = (
    "userAccountControl", "accountExpires", "msDS-User-Account-Control-Computed",  # Active Directory
    "pwdAccountLockedTime", "pwdStartTime", "pwdEndTime",  # OpenLDAP ppolicy
    "nsAccountLock", "accountUnlockTime",  # 389-ds
    "shadowExpire",  # RFC 2307
)
_AD_DISABLED, _AD_PASSWORD_EXPIRED = 0x2, 0x800000
_AD_EPOCH, _UNIX_EPOCH = datetime(1601, 1, 1, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)
_AD_NEVER = {0, 0x7FFFFFFFFFFFFFFF}
_LOCKED_FOR_GOOD = "000001010000Z"
_GENERALISED = re.compile(r"(\d{10}(?:\d\d){0,2})(?:[.,]\d+)?(Z?|[+-]\d\d(?:\d\d)?)")


def refusal(entry: Entry, now: datetime) -> str | None:
    """Why this account may not log in: ``disabled``, ``locked``, ``expired`` or ``not yet valid``; None if it may."""
    return _active_directory(entry, now) or _ppolicy(entry, now) or _389(entry) or _shadow(entry, now)


def _active_directory(entry: Entry, now: datetime) -> str | None:
    control = _number(entry, "userAccountControl") or 0
    computed = _number(entry, "msDS-User-Account-Control-Computed") or 0
    if control & _AD_DISABLED:
        return "disabled"
    if computed & _AD_PASSWORD_EXPIRED:
        return "expired"
    expires = _number(entry, "accountExpires")
    if expires is not None and expires not in _AD_NEVER and expires // 10 <= (now - _AD_EPOCH) // timedelta(microseconds=1):
        return "expired"
    return None


def _ppolicy(entry: Entry, now: datetime) -> str | None:
    """draft-behera-ldap-password-policy: pwdAccountLockedTime holds since when, or for good."""
    if entry.text("pwdAccountLockedTime") == _LOCKED_FOR_GOOD:
        return "locked"
    start, end = _time(entry.text("pwdStartTime")), _time(entry.text("pwdEndTime"))
    if start and now < start:
        return "not yet valid"
    if end and end <= now:
        return "expired"
    return None


def _389(entry: Entry) -> str | None:
    if entry.text("nsAccountLock").casefold() == "true":
        return "disabled"
    return "locked" if entry.text("accountUnlockTime").startswith("1970") else None  # until an administrator unlocks it


def _shadow(entry: Entry, now: datetime) -> str | None:
    days = _number(entry, "shadowExpire")
    if days is not None and 0 <= days <= (now - _UNIX_EPOCH).days:
        return "expired"
    return None


def _number(entry: Entry, attribute: str) -> int | None:
    try:
        return int(entry.text(attribute))
    except ValueError:
        return None


def _time(text: str) -> datetime | None:
    """Generalised time (RFC 4517, 3.3.13), in any zone, with or without fractions."""
    match = _GENERALISED.fullmatch(text)
    if match is None or text == _LOCKED_FOR_GOOD:
        return None
    digits, zone = match[1], match[2].replace("Z", "") or "+0000"
    try:
        return datetime.strptime(digits.ljust(14, "0") + zone.ljust(5, "0"), "%Y%m%d%H%M%S%z")
    except ValueError:
        return None
