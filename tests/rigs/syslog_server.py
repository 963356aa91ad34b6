"""A real syslog server (rsyslog) on loopback, over TCP and TLS, that keeps each message as it came."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .certificates import CertificateAuthority
from .processes import LOOPBACK, ChildProcess, RigMissing, accepts_connections, find_binary, first_line, free_port

Driver = Literal["ossl", "gtls"]
"""Whose TLS: OpenSSL's, which answers close_notify, or GnuTLS', which only ends the connection."""
LONGEST_MESSAGE = 65_536

_SBIN = "/usr/sbin"
_MODULES = "/usr/lib/*/rsyslog"
# Direct: without a queue in memory, so that what was read is in the file before anything more is read, and a kill loses nothing.
_CONFIG = """
global(
  workDirectory="{folder}" maxMessageSize="{longest}"
  parser.escapeControlCharactersOnReceive="off" parser.dropTrailingLFOnReception="off"
  defaultNetstreamDriver="{driver}" defaultNetstreamDriverCAFile="{ca}"
  defaultNetstreamDriverCertFile="{certificate}" defaultNetstreamDriverKeyFile="{key}"
)
main_queue(queue.type="Direct")
module(load="imtcp")
template(name="exact" type="list") {{ property(name="rawmsg" format="json") constant(value="\\n") }}
ruleset(name="keep") {{ action(type="omfile" file="{received}" template="exact" ioBufferSize="512k") }}
input(type="imtcp" ruleset="keep" address="{host}" port="{port}" streamDriver.name="ptcp" streamDriver.mode="0")
input(type="imtcp" ruleset="keep" address="{host}" port="{tls_port}" streamDriver.name="{driver}" streamDriver.mode="1"
  streamDriver.authMode="{clients}")
action(type="omfile" file="{own}")
"""


class SyslogServer:
    """Takes messages on ``port`` (TCP) and ``tls_port``. Ports, and what it received, outlive ``stop()``, ``kill()`` and ``start()``.

    When a connection has ended in order, its messages are there: nothing has to be waited for. A NUL becomes ``#000``, everything
    else stays. ``hosts`` are the names in its certificate; with ``knows_clients`` it takes none without one of ``authority``.
    """

    def __init__(
        self, *, driver: Driver = "ossl", hosts: Sequence[str] = ("localhost", LOOPBACK), knows_clients: bool = False
    ) -> None:
        binary, module = find_binary("rsyslogd", _SBIN), f"lmnsd_{driver}.so"
        if not list(Path("/").glob(f"{_MODULES}/{module}".lstrip("/"))):
            raise RigMissing(f"rsyslog's {module}", [_MODULES])
        self._temporary = tempfile.TemporaryDirectory(prefix="kube-iam-syslog-")
        folder = Path(self._temporary.name)
        self.authority = CertificateAuthority(folder)
        self.ca_file = self.authority.ca_file
        self.port, self.tls_port = free_port(), free_port()
        self._received = folder / "received"
        certificate, key = self.authority.issue(hosts)
        config = folder / "rsyslog.conf"
        config.write_text(
            _CONFIG.format(
                folder=folder, longest=LONGEST_MESSAGE, driver=driver, ca=self.ca_file, certificate=certificate, key=key,
                received=self._received, own=folder / "own.log", host=LOOPBACK, port=self.port, tls_port=self.tls_port,
                clients="x509/certvalid" if knows_clients else "anon",
            )
        )  # fmt: skip
        self.process = ChildProcess([binary, "-n", "-f", config, "-i", folder / "pid"], log=folder / "rsyslog.log")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.kill()
        self._temporary.cleanup()

    def start(self) -> None:
        """Listen, on the ports it had before."""
        self.process.start(lambda: accepts_connections(self.port) and accepts_connections(self.tls_port), seconds=60)

    def stop(self) -> None:
        """Let it end, in good order if it can. A line that it was about to write is taken back: nobody was told of it."""
        self.process.stop()
        if self._received.exists():
            os.truncate(self._received, self._received.read_bytes().rfind(b"\n") + 1)

    def kill(self) -> None:
        """End it without asking."""
        self._signal(signal.SIGKILL)
        self.stop()

    def freeze(self) -> None:
        """Let it read and say nothing, until it is killed; its system goes on taking connections and bytes."""
        if (pid := self._signal(signal.SIGSTOP)) is not None:
            os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def _signal(self, number: signal.Signals) -> int | None:
        if (pid := self.process.pid) is not None:
            os.kill(pid, number)
        return pid

    def client_certificate(self) -> Path:
        """A client's certificate that `authority` signed, with its key, in one file."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kube-iam")])
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = self.authority._builder(name, key.public_key()).add_extension(usage, critical=False)
        certificate = builder.sign(self.authority._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        form = serialization.PrivateFormat.PKCS8
        secret = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        path = self.ca_file.with_name("client.pem")
        path.write_bytes(certificate + secret)
        return path

    def received(self) -> list[str]:
        """Every message so far, in the order they came."""
        if not self._received.exists():
            return []
        return [json.loads(f'"{line}"', strict=False) for line in self._received.read_text().split("\n")[:-1]]


def version() -> str:
    """The version of the rsyslogd that would be started."""
    return first_line([find_binary("rsyslogd", _SBIN), "-v"]).removeprefix("rsyslogd").partition("(")[0].strip()
