"""Password hashes cost a tenth of a second each by design; tests that log in a hundred times use cheap ones."""

from __future__ import annotations

import pytest
from argon2 import PasswordHasher


@pytest.fixture(autouse=True)
def cheap_password_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Still argon2id, with the smallest parameters."""
    monkeypatch.setattr("iam.directory.local.hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
