"""Fixtures for every test: the real parts, each started once a run and shared.

A part that is not installed skips the tests that want it (rigs/real_parts.py). Shared parts keep what a test
leaves in them: use names of your own, or clear up (`slapd.clear()`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from rigs.chromium import Chromium
    from rigs.openid_provider import OpenIDProvider
    from rigs.postgres import Postgres
    from rigs.slapd import Slapd

pytest_plugins = [
    "rigs.real_parts",
    "fixtures.product",
    "fixtures.house",
    "fixtures.live",
    "fixtures.visits",
]


@pytest.fixture(scope="session")
def slapd() -> Iterator[Slapd]:
    """A running OpenLDAP server."""
    from rigs.slapd import Slapd

    with Slapd() as server:
        yield server


@pytest.fixture(scope="session")
def openid_provider() -> Iterator[OpenIDProvider]:
    """A running OpenID Provider; `register()` the redirect URI that a test needs."""
    from rigs.openid_provider import OpenIDProvider

    with OpenIDProvider(["http://127.0.0.1/callback"]) as provider:
        yield provider


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A running PostgreSQL server; `create_database()` one for each test."""
    from rigs.postgres import Postgres

    with Postgres() as server:
        yield server


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    """A running browser; `page()` gives a fresh profile."""
    pytest.importorskip("playwright", reason="PyPI's playwright not found; looked in the Python environment")
    from rigs.chromium import Chromium

    with Chromium() as browser:
        yield browser
