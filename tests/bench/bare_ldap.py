"""The anchor of logins: ldap3 alone - verified StartTLS, bind as the reader, search, bind as the person."""

from __future__ import annotations

import itertools
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import ldap3
from ldap3.utils.conv import escape_filter_chars

from bench.measure import Work, at_once


@dataclass(frozen=True)
class Target:
    """Where to log in; plain values, so that another process can have them."""

    uri: str
    ca_file: str
    reader_dn: str
    reader_password: str
    base: str
    password: str
    people: int


def username(number: int) -> str:
    """Person number so-and-so."""
    return f"person{number:04}"


class BareLdap:
    """Search-and-bind, on a new connection each time as a login needs it."""

    def __init__(self, target: Target) -> None:
        self._target = target
        parts = urlsplit(target.uri)
        # The files are read once, as a careful program would: ldap3 alone reads them for every connection.
        self._tls = _SharedTls(ssl.create_default_context(cafile=target.ca_file))
        self._server = ldap3.Server(parts.hostname or "", parts.port or 389, get_info=ldap3.NONE, tls=self._tls)

    def log_in(self, name: str) -> str:
        """The person's DN, once the directory has taken the password."""
        target = self._target
        connection: Any = ldap3.Connection(
            self._server, target.reader_dn, target.reader_password, auto_referrals=False, check_names=False, raise_exceptions=True
        )
        connection.open(read_server_info=False)
        connection.start_tls(read_server_info=False)
        connection.bind(read_server_info=False)
        connection.search(target.base, f"(uid={escape_filter_chars(name)})", attributes=["entryUUID", "cn", "mail"])
        dn = str(connection.response[0]["dn"])
        connection.rebind(user=dn, password=target.password, read_server_info=False)
        connection.unbind()
        return dn


class _SharedTls(ldap3.Tls):
    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(validate=ssl.CERT_REQUIRED)
        self._context = context

    def wrap_socket(self, connection: Any, do_handshake: bool = False) -> None:
        connection.socket = self._context.wrap_socket(connection.socket, server_hostname=connection.server.host)


def one_after_the_other(target: Target, numbers: Iterator[int]) -> Work:
    """Logs the next person in at every call."""
    bare = BareLdap(target)
    return lambda: bare.log_in(username(next(numbers)))


def in_one_process(target: Target, threads: int, seconds: float, start_at: float, first: int) -> list[float]:
    """When each login ended, of some threads of this process (a top-level function, for `ProcessPoolExecutor`)."""
    numbers = [itertools.cycle(range(first + thread, target.people, threads)) for thread in range(threads)]
    works = [one_after_the_other(target, mine) for mine in numbers]
    if start_at < time.monotonic():
        raise RuntimeError("this process came too late for the measurement")
    return at_once(works, seconds, start_at=start_at)
