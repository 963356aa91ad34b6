"""Lines that go on to a file or to a signed webhook."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from iam.notify.base import Call, NotDelivered, WebhookSender

_PIECE = 65_536


class FileSink:
    """Appends to a file, and returns when the lines are on the disk."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def send(self, lines: Sequence[bytes]) -> None:
        """Whole lines or none: what a full disk cut short is taken back. Raises NotDelivered."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o640)
        except OSError as error:
            raise NotDelivered(f"{self._path}: {error.strerror}") from None
        try:
            before = _drop_torn_line(handle)
            try:
                _write(handle, b"".join(line + b"\n" for line in lines))
                os.fsync(handle)
            except OSError as error:
                with suppress(OSError):
                    os.ftruncate(handle, before)
                raise NotDelivered(f"{self._path}: {error.strerror}") from None
        finally:
            os.close(handle)


class WebhookSink:
    """One signed POST for each batch of lines, each of which is JSON."""

    def __init__(self, sender: WebhookSender, url: str, secret: str, kind: str) -> None:
        self._sender = sender
        self._url = url
        self._secret = secret
        self._kind = kind

    def send(self, lines: Sequence[bytes]) -> None:
        """A batch that is sent again has the same id. Raises NotDelivered."""
        body = b'{"type":"%b","data":[%b]}' % (self._kind.encode(), b",".join(lines))
        self._sender.send(Call("audit-" + hashlib.sha256(body).hexdigest()[:24], self._url, self._secret, body))


def _write(handle: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(handle, left) :]


def _drop_torn_line(handle: int) -> int:
    """A write that a crash cut short left half a line, which is sent again: it goes. Returns the size."""
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        return 0
    size = end = os.fstat(handle).st_size
    while end > 0:
        start = max(0, end - _PIECE)
        place = os.pread(handle, end - start, start).rfind(b"\n")
        if place >= 0:
            end = start + place + 1
            break
        end = start
    if end < size:
        os.ftruncate(handle, end)
    return end
