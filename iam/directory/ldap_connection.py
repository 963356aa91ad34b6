"""One conversation with one LDAP server: verified TLS, a deadline, no referrals, every failure named.

ldap3's own defaults verify nothing, follow referrals with the password in hand and fail over only when connecting;
here the TLS context is ours (hostname and IP checked by the standard library), and whatever a server does that is
not LDAP - silence, garbage, a broken connection - is a ServerFailed, so that the next server is tried.
"""

from __future__ import annotations

import math
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

import ldap3
from ldap3.core.exceptions import LDAPExceptionError, LDAPInvalidFilterError
from pyasn1.error import PyAsn1Error

from iam import log
from iam.directory.base import Step, silent
from iam.errors import Unavailable
from iam.settings.directories import LdapSettings

_log = log.get(__name__)
_T = TypeVar("_T")
Scope = Literal["BASE", "SUBTREE"]
_SUCCESS, _NO_SUCH_OBJECT = 0, 32
_NO_ANSWER = {51, 52, 80}  # busy, unavailable, other: another server may do better
_PAGED = "1.2.840.113556.1.4.319"
_BROKEN = (LDAPExceptionError, PyAsn1Error, OSError, IndexError, ValueError, TypeError, KeyError, AttributeError)
"""What ldap3 raises when a peer does not speak LDAP includes bare IndexError and friends."""


class ServerFailed(Exception):
    """This server does not work; another may."""


class BindRefused(Exception):
    """The server answered, and refused the bind. Holds the diagnostic message (Active Directory's sub-code)."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A directory entry with raw values; attribute names are compared without case."""

    dn: str
    values: dict[str, list[bytes]] = field(repr=False)

    def texts(self, attribute: str) -> list[str]:
        """All values that are UTF-8."""
        return [value.decode("utf-8", "replace") for value in self.values.get(attribute.casefold(), ())]

    def text(self, attribute: str) -> str:
        """The first value, or nothing."""
        return next(iter(self.texts(attribute)), "")

    def raw(self, attribute: str) -> bytes:
        """The first value as bytes, or nothing."""
        return next(iter(self.values.get(attribute.casefold(), ())), b"")


class Deadline:
    """A point on the monotonic clock that all servers together must meet."""

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds

    @property
    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self._ends - time.monotonic())


class _TimedSocket:
    """A socket whose every read ends when the server's patience or the deadline does; ldap3 sets a timeout only once."""

    def __init__(self, inner: socket.socket, patience: float, deadline: Deadline) -> None:
        self.inner = inner
        self._patience = patience
        self._deadline = deadline

    def recv(self, size: int) -> bytes:
        """Read what is there. Raises TimeoutError."""
        seconds = min(self._patience, self._deadline.remaining)
        if seconds <= 0:
            raise TimeoutError("the deadline has passed")
        self.inner.settimeout(seconds)
        return self.inner.recv(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class _VerifiedTls(ldap3.Tls):
    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(validate=ssl.CERT_REQUIRED)
        self._context = context

    def wrap_socket(self, connection: Any, do_handshake: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002
        """Hand the socket to the standard library, which checks chain, dates and host name in the handshake."""
        plain = getattr(connection.socket, "inner", connection.socket)
        connection.socket = self._context.wrap_socket(plain, server_hostname=connection.server.host)


class Conversation:
    """Bind and search on one open connection."""

    def __init__(self, connection: ldap3.Connection, page_size: int, step: Step) -> None:
        self._connection = connection
        self._page_size = page_size
        self._step = step

    def bind(self, dn: str, password: str) -> None:
        """Simple bind. Raises BindRefused. An empty password with a name is refused unsent (RFC 4513, 5.1.2)."""
        if dn and not password:
            raise BindRefused("empty password")
        who = dn or "anonymously"
        self._connection.user = None  # rebind would keep the last name, and then refuse to be anonymous
        authentication = ldap3.SIMPLE if dn else ldap3.ANONYMOUS
        rebind = partial(self._connection.rebind, authentication=authentication, read_server_info=False)
        try:  # as bytes: SASLprep would change some passwords and fail on others without asking the server
            ask = partial(rebind, user=dn, password=password.encode())
        except UnicodeEncodeError:
            raise BindRefused("the password is not text") from None
        self._do(ask)
        code, message = self._result()
        self._step(f"bind {who}", "ok" if code == _SUCCESS else f"refused ({code}) {message}")
        if code != _SUCCESS:
            raise BindRefused(message)

    def search(self, base: str, query: str, attributes: Iterable[str], *, scope: Scope = "SUBTREE") -> Iterator[Entry]:
        """Every entry that matches, page after page. A base that does not exist is ServerFailed, never 'nothing'."""
        wanted = list(attributes)
        cookie: bytes | None = None
        count = 0
        while True:
            paging: dict[str, Any] = {"paged_size": self._page_size, "paged_cookie": cookie} if scope != "BASE" else {}
            ask = partial(self._connection.search, base, query, scope, attributes=wanted, **paging)
            self._do(ask)
            code, message = self._result()
            if code == _NO_SUCH_OBJECT and scope == "BASE":
                return
            if code != _SUCCESS:
                self._step(f"search {base} {query}", f"failed ({code}) {message}")
                raise ServerFailed(f"search below {base!r} failed: {message or code}")
            controls = (self._connection.result or {}).get("controls") or {}
            cookie = controls.get(_PAGED, {}).get("value", {}).get("cookie")
            for found in self._connection.response or ():  # whoever gets these may search before the next page
                if found.get("type") == "searchResEntry":
                    count += 1
                    yield self._whole(_entry(found))
            if not cookie:
                self._step(f"search {base} {query}", f"{count} found")
                return

    def _whole(self, entry: Entry) -> Entry:
        """The entry with attributes that came in part (``member;range=0-1499``, [MS-ADTS] 3.1.1.3.1.3.3) read to the end.

        ldap3's ``auto_range`` takes what it has got for the whole when the server refuses the rest.
        """
        for key in [key for key in entry.values if ";range=" in key]:
            name, _, span = key.partition(";range=")
            values = entry.values.pop(key)
            while not span.endswith("*"):
                last = span.partition("-")[2]
                found, part = self._range(entry.dn, f"{name};range={int(last) + 1 if last.isdecimal() else ''}-")
                span = found.partition(";range=")[2]
                values += part
            entry.values[name] = values
        return entry

    def _range(self, dn: str, start: str) -> tuple[str, list[bytes]]:
        self._do(partial(self._connection.search, dn, "(objectClass=*)", "BASE", attributes=[f"{start}*"]))
        code, message = self._result()
        entries = [_entry(found) for found in self._connection.response or () if found.get("type") == "searchResEntry"]
        for part in (part for entry in entries for part in entry.values.items() if part[0].startswith(start)):
            return part
        raise ServerFailed(f"{dn}: only a part of it can be read: {message or code}")

    def _do(self, operation: Callable[[], object]) -> None:
        self._connection.result = None  # else a bind without an answer would end as the operation before it did
        try:
            operation()
        except LDAPInvalidFilterError:
            raise ServerFailed("the filter in the settings is not an LDAP filter") from None
        except _BROKEN as error:
            raise ServerFailed(f"{type(error).__name__}: {error}"[:300]) from None

    def _result(self) -> tuple[int, str]:
        result = self._connection.result
        if not isinstance(result, dict) or not isinstance(result.get("result"), int):
            raise ServerFailed("the answer is not LDAP")
        code = result["result"]
        message = str(result.get("message") or result.get("description") or "")[:300]
        if code in _NO_ANSWER:
            raise ServerFailed(f"the server says {message or code}")
        return code, message


def _entry(found: Mapping[str, Any]) -> Entry:
    return Entry(found["dn"], {key.casefold(): list(raw) for key, raw in found["raw_attributes"].items()})


class LdapServers:
    """The servers of one directory, in order, behind one deadline."""

    def __init__(self, settings: LdapSettings) -> None:
        self._settings = settings
        self._context: ssl.SSLContext | None = None

    def converse(self, talk: Callable[[Conversation], _T], step: Step = silent, seconds: float | None = None) -> _T:
        """Run ``talk`` with the first server that works. Raises Unavailable when none does in time."""
        deadline = Deadline(seconds or self._settings.deadline_seconds)
        failures = []
        for address in self._settings.servers:
            if deadline.remaining <= 0:
                break
            try:
                return self._with_server(address, talk, step, deadline)
            except ServerFailed as failure:
                failures.append(f"{address}: {failure}")
                step(f"server {address}", f"failed: {failure}")
                _log.warning("ldap server failed", directory=self._settings.name, server=address, error=str(failure))
        raise Unavailable("The directory %(directory)s does not answer. Try again later.", directory=self._settings.label)

    def _with_server(self, address: str, talk: Callable[[Conversation], _T], step: Step, deadline: Deadline) -> _T:
        connection = self._open(address, step, deadline)
        try:
            return talk(Conversation(connection, self._settings.page_size, step))
        finally:
            try:
                connection.unbind()
            except _BROKEN:
                _log.debug("ldap connection was gone already", server=address)

    def _open(self, address: str, step: Step, deadline: Deadline) -> ldap3.Connection:
        settings = self._settings
        parts = urlsplit(address)
        seconds = min(settings.server_seconds, deadline.remaining)
        is_ldaps = parts.scheme == "ldaps"
        try:
            encrypts = is_ldaps or settings.start_tls
            server = ldap3.Server(
                parts.hostname or "", parts.port or (636 if is_ldaps else 389), use_ssl=is_ldaps, get_info=ldap3.NONE,
                connect_timeout=seconds, tls=_VerifiedTls(self._tls_context()) if encrypts else None,
            )
            connection = ldap3.Connection(
                server, client_strategy=ldap3.SYNC, auto_referrals=False, raise_exceptions=False, check_names=False,
                read_only=True, return_empty_attributes=False, auto_range=False, receive_timeout=math.ceil(seconds),
            )
            timed = partial(_TimedSocket, patience=seconds, deadline=deadline)
            connection.open(read_server_info=False)
            connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else each login waits 40 ms for an ACK
            connection.socket = timed(connection.socket)
            if encrypts and not is_ldaps:
                connection.start_tls(read_server_info=False)
                connection.socket = timed(connection.socket)
        except _BROKEN as error:
            raise ServerFailed(f"{type(error).__name__}: {error}"[:300]) from None
        how = "TLS" if is_ldaps else "StartTLS" if encrypts else "UNENCRYPTED"
        step(f"connect {address}", how)
        return connection

    def _tls_context(self) -> ssl.SSLContext:
        if self._context is None:
            try:
                self._context = ssl.create_default_context(cafile=str(self._settings.ca_file) if self._settings.ca_file else None)
            except (OSError, ssl.SSLError) as error:
                raise ServerFailed(f"ca_file cannot be read: {error}") from None
        return self._context
