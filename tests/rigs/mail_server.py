"""A real SMTP server on loopback (aiosmtpd) that keeps what it is given, and misbehaves where a test says so."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from .certificates import CertificateAuthority
from .processes import LOOPBACK, free_port

Security = Literal["none", "starttls", "tls"]
HANG_UP, SILENCE, DRIP = "(hang up)", "(silence)", "(drip)"
LONGEST_SECONDS = 10
DRIP_SECONDS = 0.02


@dataclass(frozen=True)
class Received:
    """One letter, as it came over the wire."""

    sender: str
    recipients: tuple[str, ...]
    raw: bytes

    @property
    def message(self) -> EmailMessage:
        """The letter as mail programs understand it."""
        return message_from_bytes(self.raw, policy=policy.default)

    def part(self, kind: Literal["plain", "html"]) -> str:
        """What it says, in one of its two forms."""
        found = self.message.get_body((kind,))
        assert found is not None
        return str(found.get_content())


class MailServer:
    """Flawless until ``faults`` says what to answer to a command (or to RCPT for one address): ``faults["RCPT"] = "451 later"``.

    An answer may also be HANG_UP, SILENCE or DRIP; whoever hangs up at DATA has kept the letter. ``login`` is the
    name and password that it asks for. The port outlives ``stop()`` and ``start()``.
    """

    def __init__(
        self, folder: Path, *, security: Security = "none", hosts: Sequence[str] = ("localhost", LOOPBACK),
        login: tuple[str, str] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        authority = CertificateAuthority(folder)
        self.ca_file = authority.ca_file
        self.port = free_port()
        self.security = security
        self.letters: list[Received] = []
        self.faults: dict[str, str] = {}
        self.connections = 0
        self.logins: list[bool] = []
        """One for each attempt: whether it was right."""
        self.outlasted = False
        """Whether a client listened to DRIP until there was nothing more to come."""
        self.at_data, self.go_on = threading.Event(), threading.Event()
        """Somebody has come as far as DATA; clear the second to keep them there."""
        self.go_on.set()
        self._login = login
        self._arrived = threading.Condition()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*authority.issue(hosts))
        self._controller: Controller | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Listen, on the port it had before."""
        more: dict[str, Any] = {}
        if self._login:
            more = {"authenticator": self._authenticate, "auth_required": True, "auth_require_tls": self.security == "starttls"}
        if self.security == "tls":
            more["ssl_context"] = self._context
        if self.security == "starttls":
            more |= {"tls_context": self._context, "require_starttls": True}
        self._controller = Controller(_Hooks(self), hostname=LOOPBACK, port=self.port, **more)
        self._controller.start()
        self.connections = 0  # the controller knocks once to see whether it runs

    def stop(self) -> None:
        """Go away; clients find the port closed."""
        self.go_on.set()
        if self._controller:
            self._controller.stop()
            self._controller = None

    def settings(self, **more: Any) -> dict[str, Any]:
        """The section ``mail`` of the settings that lead here."""
        name, password = self._login or ("", "")
        return {
            "host": "localhost", "port": self.port, "security": self.security, "ca_file": self.ca_file, "username": name,
            "password": password, "sender": "kube-iam@example.org", **more,
        }

    def wait_for(self, count: int) -> list[Received]:
        """Until so many letters are there."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.letters) >= count, LONGEST_SECONDS), f"{len(self.letters)} letters came"
        return self.letters

    def keep(self, letter: Received) -> None:
        """For the hooks: a letter is here."""
        with self._arrived:
            self.letters.append(letter)
            self._arrived.notify_all()

    def _authenticate(self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, given: object) -> AuthResult:
        assert isinstance(given, LoginPassword)
        self.logins.append((given.login.decode(), given.password.decode()) == self._login)
        return AuthResult(success=self.logins[-1], handled=False)


class _Hooks:
    """aiosmtpd's handler: it looks for these names."""

    def __init__(self, rig: MailServer) -> None:
        self._rig = rig

    async def handle_EHLO(self, server: Any, session: Any, _envelope: Any, hostname: str, responses: list[str]) -> list[str]:  # noqa: N802
        self._rig.connections += 1
        fault = await self._fault(server, "EHLO")
        session.host_name = hostname
        return [fault] if fault else responses

    async def handle_MAIL(self, server: Any, _session: Any, envelope: Any, address: str, options: list[str]) -> str:  # noqa: N802
        if fault := await self._fault(server, "MAIL"):
            return fault
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(self, server: Any, _session: Any, envelope: Any, address: str, _options: list[str]) -> str:  # noqa: N802
        if fault := await self._fault(server, address) or await self._fault(server, "RCPT"):
            return fault
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        self._rig.at_data.set()
        await asyncio.to_thread(self._rig.go_on.wait, LONGEST_SECONDS)
        letter = Received(envelope.mail_from, tuple(envelope.rcpt_tos), envelope.original_content)
        if self._rig.faults.get("DATA") == HANG_UP:
            self._rig.keep(letter)
        if fault := await self._fault(server, "DATA"):
            return fault
        self._rig.keep(letter)
        return "250 OK"

    async def handle_QUIT(self, server: Any, _session: Any, _envelope: Any) -> str:  # noqa: N802
        return await self._fault(server, "QUIT") or "221 Bye"

    async def _fault(self, server: Any, where: str) -> str:
        """What to answer instead, if anything."""
        fault = self._rig.faults.get(where, "")
        turns = int(LONGEST_SECONDS / DRIP_SECONDS)
        for _ in range(turns if fault in {SILENCE, DRIP} else 0):
            if server.transport is None or server.transport.is_closing():
                return "421 gone"
            if fault == DRIP:
                server.transport.write(b"250-one moment, please\r\n")
            await asyncio.sleep(DRIP_SECONDS)
        self._rig.outlasted |= fault == DRIP
        if fault in {HANG_UP, SILENCE, DRIP}:
            if server.transport is not None:
                server.transport.abort()
            return "421 gone"
        return fault
