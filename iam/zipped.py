"""Compressed exports (gzip, RFC 1952): written part by part, read as if they were not compressed."""

from __future__ import annotations

import gzip
import io
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Self, cast

LEVEL = 4
"""Fast, and within a few hundredths of the best for lines as alike as these."""


class Zipped:
    """Compresses what is written into a file that it closes at the end."""

    def __init__(self, target: IO[bytes]) -> None:
        self._target = target
        self._gzip = gzip.GzipFile(fileobj=target, mode="wb", compresslevel=LEVEL, mtime=0)

    def write(self, part: bytes) -> int:
        """One part."""
        return self._gzip.write(part)

    def flush(self) -> None:
        """All of it is with the system."""
        self._gzip.flush()
        self._target.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        try:
            self._gzip.close()
        finally:
            self._target.close()


def compressed(parts: Generator[bytes, None, None]) -> Generator[bytes, None, None]:
    """Parts as they go over the wire."""
    buffer = io.BytesIO()
    with closing(parts), gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=LEVEL, mtime=0) as zipper:
        for part in parts:
            zipper.write(part)
            if buffer.tell():
                yield buffer.getvalue()
                buffer.seek(0)
                buffer.truncate()
    yield buffer.getvalue()


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """A file's content, decompressed if it is gzip. Raises OSError, EOFError (cut off)."""
    with path.open("rb") as raw:
        is_gzip = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        yield cast("IO[bytes]", gzip.GzipFile(fileobj=raw)) if is_gzip else raw
