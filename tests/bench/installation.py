"""Our product as an administrator installs it: a settings file, a database, `iam serve` on loopback."""

from __future__ import annotations

import http.client
import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet
from flask import Flask
from rigs.processes import LOOPBACK, ChildProcess, free_port

from bench.ground import Ground
from iam import schema, services, settings
from iam.app import create_app
from iam.clusters.throwaway import ControlPlane
from iam.models import db
from iam.services import Services
from iam.services.access import NewMapping
from iam.services.base import Actor, operator
from iam.services.clusters import Registration

OPERATOR = operator("bench")
PASSWORD = "correct horse battery"
LOCAL = {"kind": "local", "name": "local"}


class Installation:
    """One installation over a fresh database. `app` is in this process, `serve` is a server over the same database."""

    def __init__(self, ground: Ground, name: str, **more: Any) -> None:
        self._folder = ground.folder / name
        self._folder.mkdir()
        self._config = self._folder / "settings.toml"
        values: dict[str, Any] = {
            "instance": name, "database_url": ground.database(name), "secret_key": "k" * 40,
            "encryption_keys": [Fernet.generate_key().decode()], "directories": [LOCAL],
        }
        self._config.touch(mode=0o600)
        self._config.write_text(_toml(values | more))

    @cached_property
    def app(self) -> Flask:
        """The application on a migrated database, quiet."""
        app = create_app(settings.load(self._config), check_schema=False)
        logging.getLogger().setLevel(logging.ERROR)
        schema.bring_up(app)
        return app

    @property
    def services(self) -> Services:
        """The use cases; call them within `app.app_context()`."""
        return services.current()

    def close(self) -> None:
        """Give this process' database connections back."""
        with self.app.app_context():
            db.session.remove()
            db.engine.dispose()

    @contextmanager
    def serve(self, *, worker: bool) -> Iterator[int]:
        """`iam serve` with its defaults (processes, threads, log level); yields the port."""
        with self.app.app_context():
            db.engine.dispose()
        port = free_port()
        server = ChildProcess(
            [sys.executable, "-m", "iam", "serve", "--port", str(port), "--worker" if worker else "--no-worker"],
            log=self._folder / "serve.log", env={settings.CONFIG_VARIABLE: str(self._config)}, death_signal="TERM",
        )
        server.start(lambda: _is_ready(port), seconds=30)
        try:
            yield port
        finally:
            server.stop()

    def token_of_new_person(self, username: str, group: str) -> str:
        """An API token with the scope kubeconfig, of somebody new in this local group."""
        visitor = Actor("visitor", door="page", address=LOOPBACK)
        with self.app.app_context():
            ours = self.services
            ours.accounts.create(OPERATOR, username=username, password=PASSWORD, groups=frozenset({group}))
            started = ours.logins.with_password(visitor, "local", username, PASSWORD)
            actor = ours.logins.actor_of(started.key, visitor)
            assert actor is not None
            _, key = ours.tokens.create(replace(actor, address=LOOPBACK), name="bench", scopes=["kubeconfig"], days=1)
            db.session.remove()
        return key

    def register(self, plane: ControlPlane, name: str = "prod") -> None:
        """Register a control plane with its administrator's kubeconfig."""
        with self.app.app_context():
            self.services.clusters.register(OPERATOR, Registration(name, kubeconfig=plane.kubeconfig()))
            db.session.remove()

    def map(self, group: str, cluster: str, role: str, namespaces: tuple[str, ...]) -> None:
        """A mapping of a local group to a ClusterRole."""
        with self.app.app_context():
            self.services.access.create(OPERATOR, NewMapping(f"local:{group}", cluster, "ClusterRole", role, namespaces))
            db.session.remove()


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _toml(values: Mapping[str, Any]) -> str:
    """Settings as TOML, whose strings, lists and numbers are JSON's."""
    plain = {key: value for key, value in values.items() if not _is_section(value)}
    sections = [(f"[{key}]", value) for key, value in values.items() if isinstance(value, dict)]
    sections += [
        (f"[[{key}]]", item) for key, value in values.items() if isinstance(value, list) and _is_section(value) for item in value
    ]
    lines = _lines(plain)
    for head, section in sections:
        lines += ["", head, *_lines(section)]
    return "\n".join(lines) + "\n"


def _lines(section: Mapping[str, Any]) -> list[str]:
    return [f"{key} = {json.dumps(str(value) if isinstance(value, Path) else value)}" for key, value in section.items()]


def _is_section(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(item, dict) for item in value))
