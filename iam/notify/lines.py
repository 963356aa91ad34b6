"""Lines that go on to a file or to a signed webhook."""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from iam.notify.base import Call, NotDelivered, WebhookSender

_PIECE = 65_536


class FileSink:
    """Appends to a file, and returns when the lines are on the disk. Several may share one: each waits for the others."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def send(self, lines: Sequence[bytes]) -> None:
        """Whole lines or none: what a full disk cut short is taken back. Raises NotDelivered."""
        try:
            handle = _opened(self._path)
        except OSError as error:
            raise NotDelivered(f"{self._path}: {error.strerror}") from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            self._append(handle, b"".join(line + b"\n" for line in lines))
        except OSError as error:
            raise NotDelivered(f"{self._path}: {error.strerror}") from None
        finally:
            os.close(handle)

    def _append(self, handle: int, data: bytes) -> None:
        if stat.S_ISFIFO(os.fstat(handle).st_mode):
            raise NotDelivered(f"{self._path}: a pipe keeps nothing; name a file")
        before = _without_torn_line(handle)
        try:
            _write(handle, data)
            os.fsync(handle)
        except OSError:
            with suppress(OSError):
                os.ftruncate(handle, before)
            raise


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


def _opened(path: Path) -> int:
    """Made if it is not there, and then on the disk by name too."""
    path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    flags = os.O_RDWR | os.O_APPEND | os.O_NONBLOCK | os.O_NOFOLLOW  # no link leads to another's file, and no pipe makes us wait
    try:
        return os.open(path, flags)
    except FileNotFoundError:
        handle = os.open(path, flags | os.O_CREAT, 0o640)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return handle


def _without_torn_line(handle: int) -> int:
    """A write that a crash cut short left half a line, which is sent again: it goes; in a file that can only grow, it ends here, and
    readers pass over it. Returns the size.
    """
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
        try:
            os.ftruncate(handle, end)
        except PermissionError:
            _write(handle, b"\n")
            return size + 1
    return end
