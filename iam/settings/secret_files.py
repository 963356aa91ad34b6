"""Secrets in files: ``<name>_file`` stands for ``<name>``, in the settings file and in the environment."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_PATHS_BY_NATURE = {"ca_file"}
_STAND_IN = "0" * 43 + "="
"""Put where a file could not be read, so that the other mistakes are found too."""


def read_secret_files(values: dict[str, Any], prefix: str, from_environment: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The values with every file read (last newline stripped), and what went wrong, without any content.

    A variable of the environment, or the file that it names, wins over both spellings in the settings file.
    """
    mistakes: list[str] = []
    values = dict(values)
    for name in from_environment:
        path = os.environ.get(f"{prefix}{name}_file".upper())
        if path is not None or f"{prefix}{name}".upper() in os.environ:
            values.pop(f"{name}_file", None)
        if path is not None:
            values[name] = _content(path, f"environment: {prefix}{name}_file".upper(), mistakes)
    return _resolved(values, "", mistakes), mistakes


def _resolved(values: dict[str, Any], where: str, mistakes: list[str]) -> dict[str, Any]:
    read: dict[str, Any] = {}
    for key, value in values.items():
        name = key.removesuffix("_file")
        if key.endswith("_file") and key not in _PATHS_BY_NATURE:
            if name in values:
                mistakes.append(f"{where}{key}: {name} is given too; keep one")
            else:
                read[name] = _content(value, f"{where}{key}", mistakes)
        elif isinstance(value, dict):
            read[key] = _resolved(value, f"{where}{key}.", mistakes)
        elif isinstance(value, list):
            read[key] = [
                _resolved(item, f"{where}{key}[{position}].", mistakes) if isinstance(item, dict) else item
                for position, item in enumerate(value)
            ]
        else:
            read[key] = value
    return read


def _content(path: object, where: str, mistakes: list[str]) -> str:
    try:
        return Path(str(path)).read_text("utf-8").rstrip("\r\n")
    except (OSError, ValueError) as error:
        mistakes.append(f"{where}: cannot be read: {getattr(error, 'strerror', None) or 'not a text file'}")
        return _STAND_IN
