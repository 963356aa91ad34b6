"""Which entries may log in, as far as their attributes tell: Active Directory, OpenLDAP, 389-ds, RFC 2307."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from iam.directory.ldap_accounts import ATTRIBUTES, refusal
from iam.directory.ldap_connection import Entry

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
NORMAL, DISABLED, LOCKED, NEVER_EXPIRES, EXPIRED = 0x200, 0x2, 0x10, 0x10000, 0x800000


def refused(**attributes: str | int) -> str | None:
    """The verdict on an entry; underscores stand for hyphens."""
    values = {name.replace("_", "-").casefold(): [str(value).encode()] for name, value in attributes.items()}
    return refusal(Entry("uid=anna,dc=x", values), NOW)


def filetime(moment: datetime) -> int:
    """100 ns since 1601."""
    return (moment - datetime(1601, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 10


def generalised(moment: datetime) -> str:
    return f"{moment:%Y%m%d%H%M%SZ}"


A_SECOND = timedelta(seconds=1)
UNIX_DAYS = (NOW - datetime(1970, 1, 1, tzinfo=UTC)).days


def test_an_entry_that_says_nothing_may_log_in() -> None:
    assert refused() is None
    assert refusal(Entry("uid=anna,dc=x", {name.casefold(): [] for name in ATTRIBUTES}), NOW) is None


@pytest.mark.parametrize(
    ("control", "verdict"),
    [
        (NORMAL, None),
        (NORMAL | NEVER_EXPIRES, None),
        (NORMAL | DISABLED, "disabled"),
        (NORMAL | LOCKED, None),
        (NORMAL | DISABLED | LOCKED, "disabled"),
        (0, None),
        ("many", None),
    ],
)
def test_active_directory_control_bits(control: str | int, verdict: str | None) -> None:
    assert refused(userAccountControl=control) == verdict


@pytest.mark.parametrize(("bits", "verdict"), [(0, None), (LOCKED, None), (EXPIRED, "expired")])
def test_active_directory_computes_expired_passwords_and_its_locks_are_its_own(bits: int, verdict: str | None) -> None:
    assert refused(userAccountControl=NORMAL, msDS_User_Account_Control_Computed=bits) == verdict


def test_an_old_lockout_time_of_active_directory_does_not_lock() -> None:
    assert refused(userAccountControl=NORMAL, lockoutTime=filetime(NOW - timedelta(days=9))) is None


@pytest.mark.parametrize(
    ("expires", "verdict"),
    [
        (0, None),
        (0x7FFFFFFFFFFFFFFF, None),
        (filetime(NOW - A_SECOND), "expired"),
        (filetime(NOW), "expired"),
        (filetime(NOW + A_SECOND), None),
        (1, "expired"),
        (9223372032559808511, None),  # Samba's never: beyond what a datetime can hold
        (0x7FFFFFFFFFFFFFFE, None),
        (10**40, None),
    ],
)
def test_active_directory_accounts_expire(expires: int, verdict: str | None) -> None:
    assert refused(accountExpires=expires) == verdict


@pytest.mark.parametrize(
    ("since", "verdict"), [("000001010000Z", "locked"), ("20261122115900Z", None), ("20200101000000.123456Z", None)]
)
def test_ppolicy_locks_for_good_and_for_a_while_is_the_servers_own(since: str, verdict: str | None) -> None:
    assert refused(pwdAccountLockedTime=since) == verdict


@pytest.mark.parametrize(
    ("attribute", "time", "verdict"),
    [
        ("pwdStartTime", generalised(NOW + A_SECOND), "not yet valid"),
        ("pwdStartTime", generalised(NOW), None),
        ("pwdEndTime", generalised(NOW), "expired"),
        ("pwdEndTime", generalised(NOW + A_SECOND), None),
        ("pwdEndTime", "20261122115959.999Z", "expired"),
        ("pwdEndTime", "20261122115959,9Z", "expired"),
        ("pwdEndTime", "2026112212Z", "expired"),
        ("pwdEndTime", "202611221201Z", None),
        ("pwdEndTime", "20261122130000+0100", "expired"),
        ("pwdEndTime", "20261122130001+01", None),
        ("pwdEndTime", "20261122070000-0500", "expired"),
    ],
)
def test_ppolicy_accounts_begin_and_end(attribute: str, time: str, verdict: str | None) -> None:
    assert refused(**{attribute: time}) == verdict


@pytest.mark.parametrize(("lock", "verdict"), [("true", "disabled"), ("TRUE", "disabled"), ("false", None), ("", None)])
def test_389_ds_locks_accounts_by_hand(lock: str, verdict: str | None) -> None:
    assert refused(nsAccountLock=lock) == verdict


@pytest.mark.parametrize(
    ("until", "verdict"),
    [
        ("19700101000000Z", "locked"),  # until an administrator unlocks it
        (generalised(NOW + A_SECOND), None),
        (generalised(NOW - A_SECOND), None),
        ("", None),
    ],
)
def test_389_ds_locks_accounts_for_a_while(until: str, verdict: str | None) -> None:
    assert refused(accountUnlockTime=until) == verdict


@pytest.mark.parametrize(
    ("days", "verdict"),
    [
        (-1, None),
        (1, "expired"),
        (UNIX_DAYS, "expired"),
        (UNIX_DAYS + 1, None),
        (99999, None),
        (2**31 - 1, None),
        (10**40, None),
    ],
)
def test_shadow_accounts_expire(days: int, verdict: str | None) -> None:
    assert refused(shadowExpire=days) == verdict


def test_attribute_names_are_compared_without_case() -> None:
    assert refused(NSACCOUNTLOCK="true") == "disabled"


def test_every_attribute_that_counts_is_asked_for() -> None:
    telling: dict[str, str | int] = {
        "userAccountControl": DISABLED, "msDS-User-Account-Control-Computed": EXPIRED, "accountExpires": 1,
        "pwdAccountLockedTime": "000001010000Z", "pwdStartTime": generalised(NOW + A_SECOND),
        "pwdEndTime": generalised(NOW), "nsAccountLock": "true", "accountUnlockTime": "19700101000000Z",
        "shadowExpire": 1,
    }  # fmt: skip
    assert telling.keys() <= set(ATTRIBUTES)
    assert all(refused(**{name.replace("-", "_"): value}) for name, value in telling.items())
