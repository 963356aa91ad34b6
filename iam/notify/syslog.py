"""Syslog messages over TCP (RFC 6587, octet counting) and TLS (RFC 5425).

Syslog has no acknowledgement; what a connection's end tells has to do. We close our side, then wait for the server to close its own,
which it does once it has read everything. A server that went away in between shows: its system resets a connection on which something
was left unread, and never acknowledges what came after its end.

With TLS this holds, as our close_notify is read after the work on all that came before it. Over plain TCP a server may still be killed
while it works on the last that it has read, and end as if it were done; hence we listen for a moment before we close. What no sender
over syslog can learn is whether a server, or whatever stands between, keeps what it has read.
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
_LISTEN_SECONDS = 0.1
"""As long as a server has, over plain TCP, to refuse what it was sent (TLS is spoken there), or to fail on it."""
_POLL_SECONDS = 0.005
_CUT = {errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN}


class SyslogSender:
    """A connection for each batch, since only its end tells that it arrived.

    ``tls`` trusts ``ca_file`` (PEM), or else the system's authorities, and wants a certificate for ``server_name``, or else for
    ``host``. ``client_cert_file`` (PEM, its key in there too unless there is a ``client_key_file``) is shown to a server that asks.
    ``listen``, in seconds, is how long a refusal may take: a proxy in between accepts everything, and closes when it has nobody to pass it
    to. ``timeout``, in seconds, is for each step: connecting to one address, the handshake, each 64 KiB, the end.
    """

    def __init__(
        self, host: str, port: int, *, tls: bool, ca_file: str = "", client_cert_file: str = "", client_key_file: str = "",
        server_name: str = "", timeout: float = 10, listen: float = 0,
    ) -> None:
        self._host = host
        self._port = port
        self._tls = tls
        self._ca_file = ca_file
        self._client_cert_file = client_cert_file
        self._client_key_file = client_key_file
        self._server_name = server_name or host
        self._timeout = timeout
        self._listen = listen if tls else max(listen, _LISTEN_SECONDS)
        self._ends_silently = not tls

    def send(self, messages: Sequence[bytes]) -> None:
        """RFC 5424 messages, in order, without framing. Raises NotDelivered: then some may have arrived all the same.

        A TLS server answers close_notify (RFC 5425, 4.4), or was cut off, or is one of those that never do (rsyslog with GnuTLS). The
        latter is believed the second time, at the price of one batch that comes twice.
        """
        if not messages:
            return
        data = memoryview(b"".join(b"%d %b" % (len(message), message) for message in messages))  # RFC 6587, 3.4.1
        has_answered = self._deliver(data)
        if not has_answered and not self._ends_silently:
            has_answered = self._deliver(data)
        self._ends_silently = not has_answered

    def _deliver(self, data: memoryview) -> bool:
        """On one connection; whether it ended with close_notify. Raises NotDelivered."""
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
            with self._step("waiting until all is read"):
                return self._end(connection)
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
            return (error.reason or "not in the form that was expected").replace("_", " ").lower()
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

    def _end(self, connection: socket.socket) -> bool:
        """Close our side and wait for the other's; whether close_notify came. Raises OSError unless it ended in order."""
        deadline = time.monotonic() + self._timeout + self._listen
        has_answered = False
        if isinstance(connection, ssl.SSLSocket):
            _require_silence(connection, self._listen)
            connection.settimeout(_left(deadline))
            with suppress(ssl.SSLEOFError):
                connection.unwrap()
                has_answered = True
        else:
            _wait_until_acknowledged(connection, deadline)
            _require_silence(connection, self._listen)
        connection.shutdown(socket.SHUT_WR)  # from here on, a TLS socket is a plain one
        connection.settimeout(_left(deadline))
        if connection.recv(1):
            raise ConnectionAbortedError(_SPEAKS)
        _wait_until_acknowledged(connection, deadline)
        return has_answered


_SPEAKS = "it answers, which no syslog server does"


def _require_silence(connection: socket.socket, seconds: float) -> None:
    """Raises OSError where the other side ends before us, so that its end tells nothing, or speaks: then it is no syslog server."""
    connection.settimeout(seconds)
    with suppress(TimeoutError, BlockingIOError, ssl.SSLWantReadError):
        raise ConnectionAbortedError(_SPEAKS if connection.recv(1) else "it closed the connection before we did")


def _wait_until_acknowledged(connection: socket.socket, deadline: float) -> None:
    """Until the other side's system has accepted all of it, our end too, which it does not after its own end. Raises OSError.

    See SIOCOUTQ in tcp(7); systems other than Linux have nothing like it.
    """
    while sys.platform == "linux" and any(fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(struct.calcsize("i")))):
        _raise_pending(connection)
        time.sleep(min(_POLL_SECONDS, _left(deadline)))
    _raise_pending(connection)


def _raise_pending(connection: socket.socket) -> None:
    if code := connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        raise OSError(code, os.strerror(code))


def _left(deadline: float) -> float:
    """Seconds, never none. Raises TimeoutError."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
