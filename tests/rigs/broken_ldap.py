"""Directories that misbehave: silent, talking rubbish, hanging up, or not there at all."""

from __future__ import annotations

import contextlib
import random
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from .processes import LOOPBACK

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass
class BrokenServer:
    """Where a broken server listens, and how often somebody tried it."""

    port: int
    connections: int = 0
    received: list[bytes] = field(default_factory=list)

    @property
    def uri(self) -> str:
        """The address in the form of a directory's URI."""
        return f"ldap://{LOOPBACK}:{self.port}"

    @property
    def ldaps_uri(self) -> str:
        """The same address, for clients that speak TLS first."""
        return f"ldaps://{LOOPBACK}:{self.port}"


@contextlib.contextmanager
def silent_server() -> Iterator[BrokenServer]:
    """A server that accepts connections, reads everything and never answers."""

    def talk(client: socket.socket, server: BrokenServer) -> None:
        while data := client.recv(4096):
            server.received.append(data)

    with _serve(talk) as server:
        yield server


@contextlib.contextmanager
def garbage_server(payload: bytes | None = None) -> Iterator[BrokenServer]:
    """A server that answers every request with no BER: the payload, or bytes that look random."""
    answer = payload if payload is not None else b"\xff" + random.Random(4511).randbytes(255)

    def talk(client: socket.socket, server: BrokenServer) -> None:
        while data := client.recv(4096):
            server.received.append(data)
            client.sendall(answer)

    with _serve(talk) as server:
        yield server


@contextlib.contextmanager
def bare_disconnect_server(*, reset: bool = False) -> Iterator[BrokenServer]:
    """A server that hangs up on the first request, without a word; `reset` sends RST instead of FIN."""

    def talk(client: socket.socket, server: BrokenServer) -> None:
        server.received.append(client.recv(4096))
        if reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)

    with _serve(talk) as server:
        yield server


@contextlib.contextmanager
def refusing_port() -> Iterator[int]:
    """A port that refuses connections, held so that nobody else listens there meanwhile."""
    with socket.socket() as holder:
        holder.bind((LOOPBACK, 0))
        yield int(holder.getsockname()[1])


@contextlib.contextmanager
def _serve(talk: Callable[[socket.socket, BrokenServer], None]) -> Iterator[BrokenServer]:
    clients: set[socket.socket] = set()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            broken.connections += 1
            clients.add(self.request)
            with contextlib.suppress(OSError):
                talk(self.request, broken)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

        def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
            # Closes at once: the base class would send FIN first, and so turn every reset into an end.
            if isinstance(request, socket.socket):
                clients.discard(request)
                request.close()

    with Server((LOOPBACK, 0), Handler) as server:
        broken = BrokenServer(int(server.server_address[1]))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield broken
        finally:
            server.shutdown()
            thread.join()
            for client in list(clients):
                with contextlib.suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)
