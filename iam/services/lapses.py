"""How long memberships count that only a login tells us of (OpenID Connect has no way to ask again)."""

from __future__ import annotations

from datetime import datetime, timedelta

from iam.settings import Settings
from iam.settings.directories import OidcSettings


def membership_limit(settings: Settings, directory: str, now: datetime) -> datetime | None:
    """Memberships last seen before this moment do not count; None where a sync keeps them fresh."""
    for known in settings.directories:
        if known.name == directory and isinstance(known, OidcSettings):
            return now - timedelta(hours=known.membership_hours)
    return None
