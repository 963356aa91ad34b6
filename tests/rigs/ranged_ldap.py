"""An LDAP server for fault injection only: it hands out long attributes in ranges, or fails.

What works is tested against the real server (slapd.py); this one is for what slapd never does.
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import struct
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from io import BufferedIOBase
from typing import Literal

from .processes import LOOPBACK

Entry = Mapping[str, Sequence[str]]
Fault = Literal["silence", "reset", "hang up"] | int
"""What happens in place of an answer; a number is the result code that refuses the operation."""
_OPERATIONS = {0x60: "bind", 0x63: "search", 0x77: "extended"}  # RFC 4511: tags of requests
_DONE = {"bind": 0x61, "search": 0x65, "extended": 0x78}
_ENTRY, _INTEGER, _OCTETS, _ENUMERATED, _SEQUENCE, _SET = 0x64, 2, 4, 0x0A, 0x30, 0x31
_AND, _OR, _PRESENT, _EQUAL = 0xA0, 0xA1, 0x87, 0xA3


class RangedLdap:
    """Entries by DN, and faults by operation: `faults[("search", 3)]` befalls the third search of all.

    Operations are bind, search and extended. Of longer attributes than `at_once`, an answer has a part, as
    in Active Directory.
    """

    def __init__(self, entries: Mapping[str, Entry], *, at_once: int = 1500) -> None:
        self.entries = entries
        self.at_once = at_once
        self.faults: dict[tuple[str, int], Fault] = {}
        self.passwords: list[bytes] = []
        self.seen: Counter[str] = Counter()
        self.uri = ""

    def answer(self, message: bytes, client: socket.socket) -> bool:
        """Answer one message; False when the conversation is over."""
        (_, number), (tag, request), *_ = _read(message)
        operation = _OPERATIONS.get(tag)
        if operation is None:
            return False
        self.seen[operation] += 1
        if operation == "bind":
            self.passwords.append(_read(request)[2][1])
        fault = self.faults.get((operation, self.seen[operation]), 0)
        if fault == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if isinstance(fault, str):
            return fault == "silence"
        found = self._found(request) if operation == "search" and not fault else ()
        done = _write(_DONE[operation], _write(_ENUMERATED, bytes([fault])), _text(""), _text(""))
        for content in (*found, done):
            client.sendall(_write(_SEQUENCE, _write(_INTEGER, number), content))
        return True

    def _found(self, request: bytes) -> Iterator[bytes]:
        (_, base), (_, scope), *_, query, (_, wanted) = _read(request)
        below = base.decode().lower()
        for dn, entry in self.entries.items():
            inside = dn.lower().endswith(below) if scope[0] else dn.lower() == below
            if inside and _matches(query, entry):
                given = [self._ranged(name.decode(), entry) for _, name in _read(wanted)]
                values = [_write(_SEQUENCE, _text(name), _write(_SET, *map(_text, listed))) for name, listed in given if listed]
                yield _write(_ENTRY, _text(dn), _write(_SEQUENCE, *values))

    def _ranged(self, wanted: str, entry: Entry) -> tuple[str, Sequence[str]]:
        name, _, asked = wanted.partition(";range=")
        values = entry.get(name, ())
        first = int(asked.partition("-")[0] or 0)
        if not asked and len(values) <= self.at_once:
            return name, values
        end = first + self.at_once
        return f"{name};range={first}-{'*' if end >= len(values) else end - 1}", values[first:end]


@contextlib.contextmanager
def ranged_ldap(entries: Mapping[str, Entry], *, at_once: int = 1500) -> Iterator[RangedLdap]:
    """Serve entries until the block ends."""
    ranged = RangedLdap(entries, at_once=at_once)
    clients: set[socket.socket] = set()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            clients.add(self.request)
            stream = self.request.makefile("rb")
            with contextlib.suppress(OSError, IndexError):
                while ranged.answer(_read_message(stream), self.request):
                    pass

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

        def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
            # Closes at once: the base class would send FIN first, and so turn every reset into an end.
            if isinstance(request, socket.socket):
                clients.discard(request)
                request.close()

    with Server((LOOPBACK, 0), Handler) as server:
        ranged.uri = f"ldap://{LOOPBACK}:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield ranged
        finally:
            server.shutdown()
            thread.join()
            for client in list(clients):
                with contextlib.suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)


def _read_message(stream: BufferedIOBase) -> bytes:
    """The content of the next message; IndexError at the end."""
    head = stream.read(2)
    more = stream.read(head[1] & 0x7F) if head[1] & 0x80 else b""
    return stream.read(int.from_bytes(more) if more else head[1])


def _read(data: bytes) -> list[tuple[int, bytes]]:
    """Tags and contents, one level deep (BER with definite lengths)."""
    found = []
    while data:
        tag, length, start = data[0], data[1], 2
        if length & 0x80:
            start += length & 0x7F
            length = int.from_bytes(data[2:start])
        found.append((tag, data[start : start + length]))
        data = data[start + length :]
    return found


def _write(tag: int, *contents: bytes) -> bytes:
    content = b"".join(contents)
    return bytes([tag, 0x84]) + len(content).to_bytes(4) + content


def _text(text: str) -> bytes:
    return _write(_OCTETS, text.encode())


def _matches(query: tuple[int, bytes], entry: Entry) -> bool:
    """And, or, present and equal: all that is asked here."""
    tag, content = query
    if tag == _PRESENT:
        return content.lower() == b"objectclass" or content.decode() in entry
    if tag in (_AND, _OR):
        parts = (_matches(part, entry) for part in _read(content))
        return all(parts) if tag == _AND else any(parts)
    (_, name), (_, value) = _read(content) if tag == _EQUAL else ((0, b""), (0, b""))
    return value.decode().lower() in [known.lower() for known in entry.get(name.decode(), ())]
