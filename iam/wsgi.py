"""The entry point for WSGI servers: settings from the environment."""

from __future__ import annotations

from flask import Flask

from iam import settings
from iam.app import create_app


def application() -> Flask:
    """A factory: each server process makes its own application."""
    return create_app(settings.load())
