"""Servers that are away, silent or mad; and the one that works, found in time. No password goes astray."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any

import pytest
from rigs.broken_ldap import (
    BrokenServer,
    bare_disconnect_server,
    garbage_server,
    refusing_port,
    silent_server,
)
from rigs.ranged_ldap import Fault, RangedLdap, ranged_ldap
from rigs.slapd import Slapd

from iam.directory.base import LoginRefused
from iam.directory.ldap import LdapDirectory
from iam.errors import Unavailable
from iam.settings.directories import LdapSettings

PASSWORD = "correct horse"
GENEROUS = 5.0
"""Seconds that a slow machine may add to a deadline."""
PLAIN = {"start_tls": False, "insecure_plain": True}
ENTRIES = {
    "uid=anna,ou=people,dc=x": {"uid": ["anna"], "entryUUID": ["u-1"], "cn": ["Anna"]},
    "cn=developers,ou=groups,dc=x": {"cn": ["developers"], "member": ["uid=anna,ou=people,dc=x"]},
}
BER_OF_NO_USE = {
    "no BER": None,
    "zeros": bytes(64),
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "a length without end": b"\x30\x84\x7f\xff\xff\xff\x02\x01\x01",
    "an empty sequence": b"\x30\x00",
    "a number alone": b"\x30\x03\x02\x01\x01",
    "an unknown operation": b"\x30\x05\x02\x01\x01\x7f\x00",
    "a result of another message": b"\x30\x0c\x02\x01\x63\x61\x07\x0a\x01\x00\x04\x00\x04\x00",
    "a bind result that is cut off": b"\x30\x06\x02\x01\x01\x61\x01\x0a",
    "a bind result of a wrong type": b"\x30\x0c\x02\x01\x01\x61\x07\x04\x01\x00\x04\x00\x04\x00",
    "a farewell (notice of disconnection)": (b"\x30\x24\x02\x01\x00\x78\x1f\x0a\x01\x34\x04\x00\x04\x00\x8a\x161.3.6.1.4.1.1466.20036"),
}


def make(uri: str | list[str], **changes: Any) -> LdapDirectory:
    settings = LdapSettings.model_validate({
        "kind": "ldap", "name": "corp", "servers": [uri] if isinstance(uri, str) else uri,
        "bind_dn": "cn=reader,dc=x", "bind_password": "reader-secret", "user_base": "ou=people,dc=x",
        "group_base": "ou=groups,dc=x", "server_seconds": 0.5, "deadline_seconds": 2, **changes,
    })  # fmt: skip
    return LdapDirectory(settings, lambda: datetime.now(UTC))


def beside(slapd: Slapd, *before: str, **changes: Any) -> LdapDirectory:
    more = {
        "user_base": slapd.people,
        "group_base": slapd.groups,
        "bind_dn": slapd.reader_dn,
        "ca_file": slapd.ca_file,
    }
    return make([*before, slapd.uri], **{**more, "deadline_seconds": 15, **changes})


@contextlib.contextmanager
def refusing_server() -> Iterator[BrokenServer]:
    with refusing_port() as port:
        yield BrokenServer(port)


def resetting_server() -> AbstractContextManager[BrokenServer]:
    return bare_disconnect_server(reset=True)


BROKEN: list[Callable[[], AbstractContextManager[BrokenServer]]] = [
    refusing_server, silent_server, garbage_server, bare_disconnect_server, resetting_server,
]  # fmt: skip


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds + GENEROUS


@pytest.fixture
def anna(slapd: Slapd) -> Iterator[str]:
    slapd.clear()
    yield slapd.add_person("anna", "Anna Ek", "anna@example.org", PASSWORD)
    slapd.clear()


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("scheme", ["StartTLS", "LDAPS", "plain"])
def test_the_next_server_is_asked(slapd: Slapd, anna: str, broken: Callable[[], AbstractContextManager[BrokenServer]], scheme: str) -> None:
    with broken() as server, within(15):
        uri = server.ldaps_uri if scheme == "LDAPS" else server.uri
        corp = beside(slapd, uri, **(PLAIN if scheme == "plain" else {}))
        assert corp.authenticate("anna", PASSWORD).username == "anna"
    assert PASSWORD.encode() not in b"".join(server.received)


def test_the_last_of_many_servers_is_reached_within_one_deadline(slapd: Slapd, anna: str) -> None:
    with contextlib.ExitStack() as stack, within(15):
        dead = [stack.enter_context(broken()).uri for broken in BROKEN]
        steps: list[str] = []
        corp = beside(slapd, *dead)
        known = corp.authenticate("anna", PASSWORD, lambda what, result="": steps.append(what))
        assert [step for step in steps if step.startswith("server ")] == [f"server {uri}" for uri in dead]
        assert corp.lookup({known.subject: "anna"}) == {known.subject: known}
        corp.check()


def test_a_refusal_is_final_and_no_other_server_is_asked(slapd: Slapd, anna: str) -> None:
    with silent_server() as second:
        corp = make(
            [slapd.uri, second.uri], user_base=slapd.people, group_base=slapd.groups, bind_dn=slapd.reader_dn,
            ca_file=slapd.ca_file, server_seconds=5, deadline_seconds=15,
        )  # fmt: skip
        with pytest.raises(LoginRefused):
            corp.authenticate("anna", "wrong")
        assert second.connections == 0


@pytest.mark.parametrize("changes", [{}, PLAIN])
def test_many_silent_servers_share_one_deadline(changes: dict[str, Any]) -> None:
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(silent_server()) for _ in range(30)]
        corp = make([server.uri for server in silent], **changes)
        with within(2), pytest.raises(Unavailable):
            corp.authenticate("anna", PASSWORD)
        assert silent[0].connections == 1
        assert silent[-1].connections == 0
        assert PASSWORD.encode() not in b"".join(b"".join(server.received) for server in silent)


@pytest.mark.parametrize("scheme", ["ldap", "ldaps"])
def test_all_dead_is_unavailable_and_never_all_gone(scheme: str) -> None:
    with contextlib.ExitStack() as stack:
        dead = [stack.enter_context(broken()) for broken in BROKEN]
        corp = make([f"{scheme}://127.0.0.1:{server.port}" for server in dead])
        for ask in (lambda: corp.authenticate("anna", PASSWORD), corp.check):
            with within(2), pytest.raises(Unavailable):
                ask()
        with pytest.raises(Unavailable):
            corp.lookup({"u-1": "anna"})


@pytest.mark.parametrize("payload", BER_OF_NO_USE.values(), ids=BER_OF_NO_USE)
@pytest.mark.parametrize("changes", [{}, PLAIN])
def test_garbage_is_unavailable_whatever_it_looks_like(payload: bytes | None, changes: dict[str, Any]) -> None:
    with garbage_server(payload) as server:
        corp = make(server.uri, **changes)
        with within(2), pytest.raises(Unavailable):
            corp.authenticate("anna", PASSWORD)
        with within(2), pytest.raises(Unavailable):
            corp.lookup({"u-1": "anna"})


@pytest.mark.parametrize("fault", ["silence", "reset", "hang up", 51, 52, 80])
@pytest.mark.parametrize("place", [("bind", 1), ("search", 1), ("bind", 2), ("bind", 3), ("search", 2)])
def test_a_server_that_fails_on_the_way_lets_nobody_in(place: tuple[str, int], fault: Fault) -> None:
    with ranged_ldap(ENTRIES) as failing, ranged_ldap(ENTRIES) as working:
        failing.faults = {place: fault}
        with pytest.raises(Unavailable):
            make(failing.uri, **PLAIN).authenticate("anna", "whatever")
        assert failing.seen[place[0]] == place[1]
        failing.seen.clear()
        corp = make([failing.uri, working.uri], **PLAIN)
        assert corp.authenticate("anna", PASSWORD).groups == frozenset({"developers"})


@pytest.mark.parametrize("fault", ["silence", "reset", "hang up", 1, 3, 4, 11, 32, 50, 51, 53])
@pytest.mark.parametrize("place", [("search", 1), ("search", 2)])
def test_a_lookup_that_fails_on_the_way_loses_nobody(place: tuple[str, int], fault: Fault) -> None:
    with ranged_ldap(ENTRIES) as failing:
        corp = make(failing.uri, **PLAIN)
        assert corp.lookup({"u-1": "anna"})["u-1"] is not None
        failing.seen.clear()
        failing.faults = {place: fault}
        with pytest.raises(Unavailable):
            corp.lookup({"u-1": "anna"})


def test_a_server_that_answers_byte_by_byte_ends_with_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    def drip(self: RangedLdap, message: bytes, client: Any) -> bool:
        head = b"\x30\x84\x00\xff\xff\xff"
        with contextlib.suppress(OSError):
            while client.send(head):
                head = b"\x04"
                if stopped.wait(0.05):
                    break
        return False

    stopped = threading.Event()
    monkeypatch.setattr(RangedLdap, "answer", drip)
    with ranged_ldap({}) as dripping:
        with within(2), pytest.raises(Unavailable):
            make(dripping.uri, **PLAIN).authenticate("anna", PASSWORD)
        stopped.set()


@pytest.mark.parametrize("missing", ["user_base", "group_base"])
def test_a_base_that_does_not_exist_is_unavailable(slapd: Slapd, anna: str, missing: str) -> None:
    known = beside(slapd).authenticate("anna", PASSWORD)
    astray = beside(slapd, **{missing: f"ou=nowhere,{slapd.base}"})
    with pytest.raises(Unavailable):
        astray.lookup({known.subject: "anna"})
    with pytest.raises(Unavailable):
        astray.authenticate("anna", PASSWORD)


@pytest.mark.real_part("slapd")
def test_a_server_that_stops_between_two_lookups_loses_nobody() -> None:
    with Slapd() as slapd:
        slapd.add_person("anna", "Anna", "anna@example.org", PASSWORD)
        corp = beside(slapd)
        known = corp.authenticate("anna", PASSWORD)
        slapd.stop()
        with pytest.raises(Unavailable):
            corp.lookup({known.subject: "anna"})
        with pytest.raises(Unavailable):
            corp.authenticate("anna", PASSWORD)
        slapd.start()
        assert corp.lookup({known.subject: "anna"}) == {known.subject: known}


@pytest.mark.real_part("slapd")
def test_referrals_are_not_followed() -> None:
    with Slapd() as slapd, silent_server() as elsewhere:
        slapd.add_person("anna", "Anna", "anna@example.org", PASSWORD)
        away = f"ou=away,{slapd.people}"
        classes = ["referral", "extensibleObject"]
        slapd.admin.add(away, classes, {"ou": "away", "ref": f"{elsewhere.uri}/ou=people,dc=away"})
        assert beside(slapd).authenticate("anna", PASSWORD).username == "anna"
        for changes in ({"user_base": away}, {"group_base": away}):
            with pytest.raises(Unavailable):
                beside(slapd, **changes).authenticate("anna", PASSWORD)
        with pytest.raises(LoginRefused):
            beside(slapd, bind_template=f"uid={{username}},{away}").authenticate("anna", PASSWORD)
        assert (elsewhere.connections, elsewhere.received) == (0, [])
