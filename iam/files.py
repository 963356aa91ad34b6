"""Where templates, migrations and samples are (beside the package in a checkout, inside it in a wheel); files replaced whole."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from iam.errors import Unavailable

_PACKAGE = Path(__file__).parent


def folder(name: str) -> Path:
    """``templates``, ``migrations`` or ``config``."""
    inside = _PACKAGE / "_data" / name
    return inside if inside.is_dir() else _PACKAGE.parent / name


@contextmanager
def replaced(path: Path, text: str) -> Iterator[Callable[[], None]]:
    """Ready to replace a file, whole or not at all: the text is on the disk, and the call given puts it in place.

    Without the call nothing is left behind. Readable by all. Raises Unavailable where the disk says no.
    """
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")

    def put() -> None:
        fresh.replace(path)

    try:
        _write_down(fresh, text)
        yield put
    except OSError as error:
        raise _refused(path, error) from None
    finally:
        with suppress(OSError):
            fresh.unlink()


def _write_down(fresh: Path, text: str) -> None:
    with fresh.open("xb") as new:
        new.write(text.encode())
        new.flush()
        os.fchmod(new.fileno(), 0o644)
        os.fsync(new.fileno())


def _refused(path: Path, error: OSError) -> Unavailable:
    return Unavailable("%(path)s cannot be written: %(why)s", path=str(path), why=error.strerror or "I/O error")
