"""Syslog messages over TCP (RFC 6587, octet counting) and TLS (RFC 5425).

Syslog has no acknowledgement; what a connection's end tells has to do. We close our side, then wait until the server has closed its
own, which a server does when it has read everything before. A server that went away in between is told from it by two signs: its
kernel resets a connection on which something was left unread, and it never acknowledges what came after its end.
What no sender over syslog can learn is whether the server has kept what it has read.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import ssl
import struct
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from iam.notify.base import NotDelivered

_PIECE = 65_536
_POLL_SECONDS = 0.005
_CUT = {errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN}


class SyslogSender:
    """A connection for each batch, since only its end tells that it arrived.

    ``tls`` trusts ``ca_file`` (PEM), or else the system's authorities, and wants a certificate for ``server_name``, or else for
    ``host``. ``client_cert_file`` (PEM, its key in there too unless there is a ``client_key_file``) is shown to a server that asks.
    ``timeout``, in seconds, is for each step: connecting to one address, the handshake, each 64 KiB, the end.
    """

    def __init__(
        self, host: str, port: int, *, tls: bool, ca_file: str = "", client_cert_file: str = "", client_key_file: str = "",
        server_name: str = "", timeout: float = 10,
    ) -> None:
        self._host = host
        self._port = port
        self._tls = tls
        self._ca_file = ca_file
        self._client_cert_file = client_cert_file
        self._client_key_file = client_key_file
        self._server_name = server_name or host
        self._timeout = timeout
        self._answers_close_notify = False

    def send(self, messages: Sequence[bytes]) -> None:
        """RFC 5424 messages, in order, without framing. Raises NotDelivered: then some may have arrived all the same."""
        if not messages:
            return
        data = memoryview(b"".join(b"%d %b" % (len(message), message) for message in messages))  # RFC 6587, 3.4.1
        context = self._context() if self._tls else None
        with self._step("connecting"):
            connection = socket.create_connection((self._host, self._port), self._timeout)
        try:
            if context:
                with self._step("TLS handshake"):
                    connection = context.wrap_socket(connection, server_hostname=self._server_name)
            with self._step("sending"):
                for start in range(0, len(data), _PIECE):
                    connection.sendall(data[start : start + _PIECE])
                _require_silence(connection)
            with self._step("waiting until all is read"):
                self._end(connection)
        finally:
            connection.close()

    @contextmanager
    def _step(self, doing: str) -> Iterator[None]:
        """Raises NotDelivered, saying what and where, for whatever goes wrong within."""
        try:
            yield
        except (OSError, ValueError) as error:
            where = f"[{self._host}]" if ":" in self._host else self._host
            raise NotDelivered(f"syslog server {where}:{self._port}, {doing}: {self._why(error)}") from None

    def _why(self, error: OSError | ValueError) -> str:
        if isinstance(error, TimeoutError):
            return f"no answer within {self._timeout:g} s"
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({error.verify_message})"
        if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError) or (isinstance(error, OSError) and error.errno in _CUT):
            return "the connection was cut"
        if isinstance(error, ssl.SSLError):
            return (error.reason or "TLS error").replace("_", " ").lower()
        if isinstance(error, OSError):
            return error.strerror or str(error) or type(error).__name__
        return "this is no name of a server"

    def _context(self) -> ssl.SSLContext:
        """Read anew each time, as certificates are renewed while we run. Raises NotDelivered."""
        with self._step(f"reading {self._ca_file or 'the authorities of the system'}"):
            context = ssl.create_default_context(cafile=self._ca_file or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self._client_cert_file:
            with self._step(f"reading {self._client_cert_file}"):  # no password: an encrypted key would be asked for on the terminal
                context.load_cert_chain(self._client_cert_file, self._client_key_file or None, password="")
        return context

    def _end(self, connection: socket.socket) -> None:
        """Close our side and wait for the other's end. Raises OSError unless it came in order."""
        deadline = time.monotonic() + self._timeout
        connection.settimeout(self._timeout)
        if isinstance(connection, ssl.SSLSocket):
            self._end_tls(connection)
        connection.shutdown(socket.SHUT_WR)  # from here on, a TLS socket is a plain one
        connection.settimeout(_left(deadline))
        if connection.recv(1):
            raise ConnectionAbortedError(_SPEAKS)
        while not _is_acknowledged(connection):
            time.sleep(min(_POLL_SECONDS, _left(deadline)))

    def _end_tls(self, connection: ssl.SSLSocket) -> None:
        """Exchange close_notify (RFC 5425, 4.4). Some servers (rsyslog with GnuTLS) only end the connection; then TCP's signs must do.

        A server that has answered before is held to it, once: it may have been replaced by another kind.
        """
        try:
            connection.unwrap()
            self._answers_close_notify = True
        except ssl.SSLEOFError:
            if self._answers_close_notify:
                self._answers_close_notify = False
                raise ConnectionAbortedError("it ended without close_notify, which it has sent before") from None


_SPEAKS = "it answers, which no syslog server does"


def _require_silence(connection: socket.socket) -> None:
    """Raises OSError where the other side has already ended, so that its end tells nothing, or speaks: then it is no syslog server."""
    connection.setblocking(False)
    with suppress(BlockingIOError, ssl.SSLWantReadError):
        raise ConnectionAbortedError(_SPEAKS if connection.recv(1) else "it closed the connection before we did")


def _is_acknowledged(connection: socket.socket) -> bool:
    """Whether all of it, with our end, was accepted by the other side's kernel, which it was not if it ended first. Raises OSError.

    See SIOCOUTQ in tcp(7); other systems than Linux have nothing like it.
    """
    code = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))
    if sys.platform != "linux":
        return True
    waiting = fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(struct.calcsize("i")))
    return not any(waiting)


def _left(deadline: float) -> float:
    """Seconds, never none. Raises TimeoutError."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
    return left
