"""An HTTPS server on loopback that keeps what it is sent, and misbehaves where a test says so."""

from __future__ import annotations

import http.server
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from .certificates import CertificateAuthority
from .processes import LOOPBACK

LONGEST_SECONDS = 10
DRIP_SECONDS = 0.02


@dataclass(frozen=True)
class Received:
    """One request; the names of headers in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """What goes back. ``hang`` says nothing until ``release``; ``drip`` never ends its first header; ``close`` is no answer at all."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    how: Literal["", "hang", "drip", "close"] = ""


class WebhookReceiver:
    """Answers as ``answer`` says; ``calls`` are what came."""

    def __init__(self, folder: Path, *, hosts: Sequence[str] = ("localhost", LOOPBACK), tls: bool = True) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        authority = CertificateAuthority(folder)
        self.ca_file = authority.ca_file
        self.answer = Answer()
        self.calls: list[Received] = []
        self.called, self.release = threading.Event(), threading.Event()
        self.outlasted = False
        """Whether a client listened to dripping until there was nothing more to come."""
        self._http = _Server((LOOPBACK, 0), partial(_Handler, self))
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*authority.issue(hosts))
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True, do_handshake_on_connect=False)
        self.scheme = "https" if tls else "http"
        self.port = self._http.server_port

    def __enter__(self) -> Self:
        threading.Thread(target=partial(self._http.serve_forever, poll_interval=0.02), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release.set()
        self._http.shutdown()
        self._http.server_close()

    def url(self, path: str = "/hook", host: str = "localhost") -> str:
        """An address that leads here."""
        return f"{self.scheme}://{host}:{self.port}{path}"

    def settings(self, **more: Any) -> dict[str, Any]:
        """The section ``webhooks`` of settings that allow to call this."""
        return {"inside_networks": ["127.0.0.0/8"], "ca_file": self.ca_file, **more}


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is part of the game."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, receiver: WebhookReceiver, *arguments: Any) -> None:
        self._receiver = receiver
        super().__init__(*arguments)

    def _do(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self._receiver.calls.append(Received(self.command, self.path, headers, body))
        self._receiver.called.set()
        answer = self._receiver.answer
        self.close_connection = True
        if answer.how == "hang":
            self._receiver.release.wait(LONGEST_SECONDS)
        elif answer.how == "drip":
            self._drip()
        if answer.how in {"drip", "close"}:
            return
        self.send_response(answer.status)
        for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)

    def _drip(self) -> None:
        """An OSError once the client has gone."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Patience: ")
        for _ in range(int(LONGEST_SECONDS / DRIP_SECONDS)):
            self.wfile.write(b"a")
            time.sleep(DRIP_SECONDS)
        self._receiver.outlasted = True

    do_GET = do_POST = do_PUT = _do  # noqa: N815 - http.server's names

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Say nothing."""
