"""Logins a second through LDAP with verified StartTLS: our adapter, our whole login, and ldap3 alone."""

from __future__ import annotations

import http.client
import itertools
import multiprocessing
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any
from urllib.parse import urlencode

from rigs.processes import LOOPBACK
from rigs.slapd import Slapd

from bench.bare_ldap import Target as Place
from bench.bare_ldap import in_one_process, one_after_the_other, username
from bench.ground import Ground
from bench.installation import Installation
from bench.measure import Work, at_once, in_turn, per_second, rate_at_once
from bench.table import Row, Target
from iam.directory.base import PasswordDirectory

PEOPLE = 200
GROUPS = 20
GROUPS_EACH = 3
PASSWORD = "correct horse battery"
TURNS = 80
PROCESSES, THREADS = 2, 4
"""The anchor has as many processes as `iam serve` has by default."""
SECONDS = 3.0
ROUNDS = 2
ANCHOR = "ldap3: StartTLS, bind, search, bind"
HALF = Target("ratio >=", 0.5)


def run(ground: Ground) -> list[Row]:
    """Rates one at a time and eight at once, and the LDAP operations of one login."""
    slapd = ground.slapd
    _fill(slapd)
    place = Place(slapd.uri, slapd.ca_file, slapd.reader_dn, slapd.reader_password, slapd.people, PASSWORD, PEOPLE)
    installation = Installation(ground, "logins", directories=[_directory(slapd, "corp"), _directory(slapd, "by-attribute")])
    try:
        with installation.app.app_context():
            corp, by_attribute = (installation.services.world.directories[name] for name in ("corp", "by-attribute"))
            assert isinstance(corp, PasswordDirectory)
            assert isinstance(by_attribute, PasswordDirectory)
        numbers = itertools.cycle(range(PEOPLE))
        bare = one_after_the_other(place, numbers)
        adapter = in_turn(_adapter(corp, numbers), bare, TURNS)
        operations = [
            _operations(slapd, "our login, groups by member", _adapter(corp, numbers), bare),
            _operations(slapd, "our login, groups by memberOf", _adapter(by_attribute, numbers), bare),
        ]
        with installation.serve(worker=False) as port:
            browse = _browser(port, numbers)
            _let_everybody_in(port)
            whole = in_turn(browse, bare, TURNS)
            ours, anchor = _many(port, place)
    finally:
        installation.close()
    everything = f"/login in a browser, {ground.database_kind}"
    return [
        Row("our LDAP adapter, with groups, one at a time", per_second(adapter.ours), per_second(adapter.anchor), "/s", ANCHOR, HALF),
        Row(f"{everything}, one at a time", per_second(whole.ours), per_second(whole.anchor), "/s", ANCHOR, HALF),
        Row(
            f"{everything}, {PROCESSES * THREADS} at once", ours, anchor, "/s",
            f"the same in {PROCESSES} processes of {THREADS} threads", HALF,
        ),
        *operations,
    ]


def _fill(slapd: Slapd) -> None:
    """People in some groups each, all groups within one more."""
    entries = [
        f"dn: uid={username(number)},{slapd.people}\nobjectClass: inetOrgPerson\nuid: {username(number)}\ncn: Person {number}\n"
        f"sn: {number}\nmail: {username(number)}@example.org\nuserPassword: {PASSWORD}\n"
        for number in range(PEOPLE)
    ]
    for group in range(GROUPS):
        inside = [number for number in range(PEOPLE) if (group - number) % GROUPS < GROUPS_EACH]
        members = "".join(f"member: uid={username(number)},{slapd.people}\n" for number in inside)
        entries.append(f"dn: cn=group{group},{slapd.groups}\nobjectClass: groupOfNames\ncn: group{group}\n{members}")
    members = "".join(f"member: cn=group{group},{slapd.groups}\n" for group in range(GROUPS))
    entries.append(f"dn: cn=everybody,{slapd.groups}\nobjectClass: groupOfNames\ncn: everybody\n{members}")
    slapd.load("\n".join(entries))


def _directory(slapd: Slapd, name: str) -> dict[str, Any]:
    more = {"group_membership": "memberOf", "nested_depth": 0, "username_prefix": f"{name}:"} if name != "corp" else {}
    return {
        "kind": "ldap", "name": name, "servers": [slapd.uri], "ca_file": slapd.ca_file, "bind_dn": slapd.reader_dn,
        "bind_password": slapd.reader_password, "user_base": slapd.people, "group_base": slapd.groups, **more,
    }


def _adapter(directory: PasswordDirectory, numbers: Iterator[int]) -> Work:
    def log_in() -> None:
        identity = directory.authenticate(username(next(numbers)), PASSWORD)
        assert len(identity.groups) >= GROUPS_EACH, identity

    return log_in


def _browser(port: int, numbers: Iterator[int]) -> Work:
    """The login page and its form, on a new connection with an empty cookie jar."""

    def log_in() -> None:
        connection = http.client.HTTPConnection(LOOPBACK, port, timeout=30)
        connection.request("GET", "/login")
        page = connection.getresponse()
        text = page.read().decode()
        cookie = (page.getheader("Set-Cookie") or "").split(";")[0]
        found = re.search(r'name="csrf_token"[^>]* value="([^"]+)"', text)
        assert found, text[:500]
        form = {"csrf_token": found[1], "directory": "corp", "username": username(next(numbers)), "password": PASSWORD}
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Cookie": cookie}
        connection.request("POST", "/login", urlencode(form), headers)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        if answer.status != 302:
            raise RuntimeError(f"POST /login: {answer.status} {body[:500]!r}")

    return log_in


def _let_everybody_in(port: int) -> None:
    """So that all people and groups are known, as on every day but the first."""
    enter = _browser(port, iter(range(GROUPS)))
    for _ in range(GROUPS):  # one at a time: these make the groups
        enter()
    clients = PROCESSES * THREADS
    at_once([_browser(port, itertools.cycle(range(client, PEOPLE, clients))) for client in range(clients)], SECONDS)


def _many(port: int, place: Place) -> tuple[float, float]:
    """Logins a second of many at once, ours and the anchor's in turn."""
    clients = PROCESSES * THREADS
    browsers: list[Callable[[], object]] = [
        _browser(port, itertools.cycle(range(client, PEOPLE, clients))) for client in range(clients)
    ]
    ours, anchor = [], []
    with ProcessPoolExecutor(PROCESSES, mp_context=multiprocessing.get_context("spawn")) as pool:
        for _ in range(ROUNDS):
            ours.append(rate_at_once(at_once(browsers, SECONDS), SECONDS))
            start_at = time.monotonic() + 2.0
            runs = [
                pool.submit(in_one_process, place, THREADS, SECONDS, start_at, process * PEOPLE // PROCESSES)
                for process in range(PROCESSES)
            ]
            anchor.append(rate_at_once([moment for run in runs for moment in run.result()], SECONDS))
    return sum(ours) / ROUNDS, sum(anchor) / ROUNDS


def _operations(slapd: Slapd, what: str, ours: Work, bare: Work) -> Row:
    """How many LDAP operations one login is, and which."""
    our_count, our_kinds = _counted(slapd, ours)
    bare_count, bare_kinds = _counted(slapd, bare)
    return Row(f"{what}: {our_kinds}", our_count, bare_count, "operations", f"ldap3: {bare_kinds}")


def _counted(slapd: Slapd, work: Work, times: int = 10) -> tuple[float, str]:
    before = slapd.operations()
    for _ in range(times):
        work()
    after = slapd.operations()
    each = {name: (after[name] - before[name]) / times for name in ("extended", "bind", "search")}
    return sum(each.values()), ", ".join(f"{name} {count:g}" for name, count in each.items())
