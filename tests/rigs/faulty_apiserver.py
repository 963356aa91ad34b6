"""A small API server in this process, for fault injection only: flawless until a fault or a forgery is set.

What works is tested against the real control plane; this one is for what must not work.
"""

from __future__ import annotations

import base64
import http.server
import json
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .certificates import CertificateAuthority
from .processes import LOOPBACK

CERTIFICATES = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
LONGEST_SILENCE_SECONDS = 10


@dataclass(frozen=True)
class Call:
    """One request, without its query."""

    method: str
    path: str
    body: Any

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Answer:
    """What goes back: a document (or bytes as they are), raw bytes instead of HTTP, or nothing at all."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    silent: bool = False


Fault = Callable[[Call], Answer | None]


@dataclass
class Forgery:
    """What a certificate says instead of what was asked for."""

    subject: Sequence[tuple[x509.ObjectIdentifier, str]] | None = None
    own_key: bool = False
    lifetime: timedelta | None = None
    starts_in: timedelta = timedelta(minutes=-5)
    purposes: Sequence[x509.ObjectIdentifier] = (ExtendedKeyUsageOID.CLIENT_AUTH,)
    ca: bool = False
    names: Sequence[str] = ()


class FaultyApiServer:
    """Signs requests and keeps bindings. ``fault`` may answer any call otherwise; ``forgery`` spoils certificates."""

    token = "token-of-kube-iam"

    def __init__(self, folder: Path, hosts: Sequence[str] = (LOOPBACK, "localhost")) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        authority = CertificateAuthority(folder)
        self.ca_pem = authority.ca_file.read_text("utf-8")
        self.fault: Fault | None = None
        self.forgery = Forgery()
        self.calls: list[Call] = []
        self.objects: dict[str, dict[str, Any]] = {}
        self.stopping = threading.Event()
        self._signer = ec.generate_private_key(ec.SECP256R1())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.issue(hosts))
        self._http = _Server((LOOPBACK, 0), partial(_Handler, self))
        self._http.socket = context.wrap_socket(self._http.socket, server_side=True, do_handshake_on_connect=False)
        self.server = f"https://{LOOPBACK}:{self._http.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=partial(self._http.serve_forever, poll_interval=0.02), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stopping.set()
        self._http.shutdown()
        self._http.server_close()

    def answer(self, call: Call) -> Answer:
        """The fault's answer, or the right one."""
        self.calls.append(call)
        return (self.fault(call) if self.fault else None) or self._answer(call)

    def _answer(self, call: Call) -> Answer:
        if call.path == "/version":
            return Answer(body={"gitVersion": "v1.36.0-faulty"})
        if call.path.endswith("/selfsubjectaccessreviews"):
            return Answer(201, {"status": {"allowed": True}})
        if call.path.endswith("/approval"):
            return self._approve(call.path.removesuffix("/approval"))
        if call.method == "POST":
            return self._create(f"{call.path}/{call.body['metadata']['name']}", call.body)
        if call.name in {"clusterrolebindings", "rolebindings", "namespaces", "clusterroles", "roles"}:
            items = [found for path, found in self.objects.items() if f"/{call.name}/" in path]
            return Answer(body={"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items})
        return self._one(call)

    def _one(self, call: Call) -> Answer:
        if call.path not in self.objects:
            return Answer(404, {"kind": "Status", "message": "not found"})
        if call.method == "DELETE":
            return Answer(body=self.objects.pop(call.path))
        if call.method == "PUT":
            self.objects[call.path] = call.body
        return Answer(body=self.objects[call.path])

    def _create(self, path: str, body: dict[str, Any]) -> Answer:
        if path in self.objects:
            return Answer(409, {"kind": "Status", "message": "already exists"})
        self.objects[path] = body
        body["metadata"]["uid"] = f"uid-{len(self.calls)}"
        return Answer(201, body)

    def _approve(self, path: str) -> Answer:
        found = self.objects[path]
        asked = x509.load_pem_x509_csr(base64.b64decode(found["spec"]["request"]))
        pem = self.certificate(asked, timedelta(seconds=found["spec"]["expirationSeconds"]))
        found["status"] = {"certificate": base64.b64encode(pem).decode()}
        return Answer(body=found)

    def certificate(self, asked: x509.CertificateSigningRequest, lifetime: timedelta) -> bytes:
        """What was asked for, as far as the forgery leaves it."""
        forgery, now = self.forgery, datetime.now(UTC)
        subject = asked.subject
        if forgery.subject is not None:
            subject = x509.Name([x509.NameAttribute(*one) for one in forgery.subject])
        starts = now + forgery.starts_in
        builder = (
            x509.CertificateBuilder().subject_name(subject)
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "faulty")]))
            .public_key(self._signer.public_key() if forgery.own_key else asked.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(starts).not_valid_after(max(starts, now) + (forgery.lifetime or lifetime))
            .add_extension(x509.ExtendedKeyUsage(list(forgery.purposes)), critical=False)
            .add_extension(x509.BasicConstraints(ca=forgery.ca, path_length=None), critical=True)
        )
        if forgery.names:
            names = x509.SubjectAlternativeName([x509.DNSName(name) for name in forgery.names])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is part of the game."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave in one piece, without Nagle's 40 ms between them

    def __init__(self, api: FaultyApiServer, *arguments: Any) -> None:
        self._api = api
        super().__init__(*arguments)

    def _do(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        answer = self._api.answer(Call(self.command, self.path.split("?")[0], body))
        if answer.silent:
            self._api.stopping.wait(LONGEST_SILENCE_SECONDS)
        if answer.silent or answer.raw is not None:
            self.wfile.write(answer.raw or b"")
            self.close_connection = True
            return
        content = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        for name, value in ({"Content-Type": "application/json", "Content-Length": str(len(content))} | answer.headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = _do  # noqa: N815 - http.server's names

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Say nothing."""
