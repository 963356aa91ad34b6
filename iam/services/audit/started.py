"""Settings are changed in files, outside of any use case: the worker says at its start with which it runs, if they are others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, SecretStr
from sqlalchemy import select

from iam import __version__
from iam.models import AuditEvent, db
from iam.services.audit.trail import Audit, Target
from iam.services.audit.vocabulary import Event
from iam.services.base import WORKER, World, transaction

_SECRET = "(secret)"  # noqa: S105  # what stands in a secret's place


class Started:
    """Tells the trail of settings."""

    def __init__(self, world: World, audit: Audit) -> None:
        self._world = world
        self._audit = audit

    def note(self) -> None:
        """One event, if anything but a secret is other than at the last start."""
        now = dict(_flat("", self._world.settings))
        with transaction():
            last = select(AuditEvent).where(AuditEvent.action == Event.SETTINGS_CHANGED.value).order_by(AuditEvent.id.desc()).limit(1)
            event = db.session.scalars(last).one_or_none()
            before = event.details["settings"] if event else {}
            changed = sorted(name for name in now.keys() | before.keys() if now.get(name) != before.get(name))
            if changed:
                target = Target("settings", self._world.settings.instance)
                self._audit.record(WORKER, Event.SETTINGS_CHANGED, target, changed=changed, settings=now, version=__version__)


def _flat(where: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, BaseModel):
        for name, field in type(value).model_fields.items():
            inner = getattr(value, name)
            is_secret = not field.repr or isinstance(inner, SecretStr)
            told = urlsplit(str(inner)).hostname if name == "url" else inner  # the rest of an address may be a secret
            yield from [(f"{where}{name}", _SECRET)] if is_secret else _flat(f"{where}{name}.", told)
    elif isinstance(value, tuple):
        for position, inner in enumerate(value):
            yield from _flat(f"{where}{position}.", inner)
    else:
        yield where.rstrip("."), _SECRET if isinstance(value, SecretStr) else str(value)
