"""Answers that are made while they are sent, when the request they belong to is over."""

from __future__ import annotations

from collections.abc import Generator
from typing import Self, cast

from flask import Flask, current_app


class Steps:
    """Each part is made in an application context of its own, with a session of its own, and leaves none behind.

    Flask's ``stream_with_context`` keeps the request's context from the first part to the last, also where the server goes on
    with another request in between, or never asks for the last.
    """

    def __init__(self, parts: Generator[bytes, None, None]) -> None:
        self._app = cast("Flask", current_app._get_current_object())  # type: ignore[attr-defined]  # noqa: SLF001  # Flask's own way
        self._parts = parts

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        with self._app.app_context():
            return next(self._parts)

    def close(self) -> None:
        """The server asks for no more."""
        with self._app.app_context():
            self._parts.close()
