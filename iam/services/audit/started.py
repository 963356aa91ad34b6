"""Settings are changed in files, outside of any use case: the worker says at its start with which it runs, if they are others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, SecretStr

from iam import __version__
from iam.services.audit.trail import Audit, Target
from iam.services.audit.vocabulary import Event
from iam.services.base import WORKER, World, transaction


class Started:
    """Tells the trail of settings."""

    def __init__(self, world: World, audit: Audit) -> None:
        self._world = world
        self._audit = audit

    def note(self) -> None:
        """One event, if anything is other than at the last start. Of secrets it shows no more than whether they are others."""
        now = dict(self._flat("", self._world.settings))
        with transaction():
            event = self._audit.newest(Event.SETTINGS_CHANGED)
            before = event.details["settings"] if event else {}
            changed = sorted(name for name in now.keys() | before.keys() if now.get(name) != before.get(name))
            if changed:
                target = Target("settings", self._world.settings.instance)
                self._audit.record(WORKER, Event.SETTINGS_CHANGED, target, changed=changed, settings=now, version=__version__)

    def _flat(self, where: str, value: Any) -> Iterator[tuple[str, str]]:
        if isinstance(value, BaseModel):
            for name, field in type(value).model_fields.items():
                inner = getattr(value, name)
                if not field.repr:
                    yield f"{where}{name}", self._hidden(inner)
                elif name == "url":  # the rest of an address may be a secret
                    yield f"{where}{name}", f"{urlsplit(str(inner)).hostname} {self._hidden(inner)}"
                else:
                    yield from self._flat(f"{where}{name}.", inner)
        elif isinstance(value, tuple):
            for position, inner in enumerate(value):
                yield from self._flat(f"{where}{position}.", inner)
        else:
            yield where.rstrip("."), self._hidden(value) if isinstance(value, SecretStr) else str(value)

    def _hidden(self, value: Any) -> str:
        """What stands in a secret's place: another for another secret, as long as our own key stays."""
        told = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        return f"(secret {self._world.vault.mark(told.encode())[:8]})"
