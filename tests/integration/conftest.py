"""What makes hundreds of small products affordable: cheap password hashes."""

from __future__ import annotations

import pytest
from argon2 import PasswordHasher


@pytest.fixture(autouse=True)
def cheap_password_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Still argon2id, with the smallest parameters: by design a hash costs a tenth of a second."""
    monkeypatch.setattr("iam.directory.local.hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
