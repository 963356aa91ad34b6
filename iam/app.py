"""The one place where parts are wired together: settings in, an application out."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from flask import Flask
from sqlalchemy import make_url
from werkzeug.middleware.proxy_fix import ProxyFix

from iam import api, log, schema, services, web
from iam.clusters.base import Connection, Signer
from iam.clusters.ca import CaSigner, NoSigner
from iam.clusters.connection import LiveConnection, OfflineConnection, in_cluster_access
from iam.directory.base import Directory
from iam.directory.ldap import LdapDirectory
from iam.directory.local import LocalDirectory
from iam.directory.oidc import OidcDirectory
from iam.files import folder
from iam.kube.kubeconfig import Access
from iam.models import Cluster, db
from iam.notify.base import LineSink, WebhookSender
from iam.notify.lines import FileSink, WebhookSink
from iam.notify.mail import SmtpSender
from iam.notify.syslog import SyslogSender
from iam.notify.webhook import HttpWebhookSender
from iam.services import Services
from iam.services.accounts import SqlAccountStore
from iam.services.base import World
from iam.services.clusters import CA, IN_CLUSTER, NONE, OFFLINE
from iam.services.vault import Vault
from iam.settings import Settings
from iam.settings.audit import Audit, FileAnchor, FileForward, Forward, SyslogForward, WebhookAnchor
from iam.settings.directories import DirectorySettings, LdapSettings, LocalSettings

MAX_REQUEST_BYTES = 1024 * 1024
_NOT_FOR_EVER = {"connect_timeout": 10, "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3, "tcp_user_timeout": 15_000}
"""Seconds, the last one milliseconds: a process that loses the database does not wait for hours."""
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The clock outside of tests."""
    return datetime.now(UTC)


def create_app(settings: Settings, *, now: Clock = utc_now, check_schema: bool = True) -> Flask:
    """The application, ready to serve. Raises Misconfigured on a stale schema."""
    app = Flask("iam", template_folder=str(folder("templates")), static_folder=None, static_url_path="/static")
    log.configure(settings.log_level)
    configure(app, settings)
    db.init_app(app)
    schema.attach(app)
    if check_schema:
        schema.require_current(app)
    services.attach(app, Services.over(wire(settings, now)))
    web.attach(app)
    api.attach(app)
    return app


def configure(app: Flask, settings: Settings) -> None:
    """Flask's own settings, from ours."""
    app.config.update(
        SECRET_KEY=settings.secret_key.get_secret_value(),
        SQLALCHEMY_DATABASE_URI=settings.database_url,
        SQLALCHEMY_ENGINE_OPTIONS=engine_options(settings),
        MAX_CONTENT_LENGTH=MAX_REQUEST_BYTES,
        SESSION_COOKIE_NAME="kube_iam_state",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SECURE=settings.server.is_https,
        SESSION_COOKIE_SAMESITE="Lax",
        PREFERRED_URL_SCHEME="https" if settings.server.is_https else "http",
    )
    host = urlsplit(settings.server.public_url).hostname or ""
    if host in _LOOPBACK:  # a demo on one's own machine: no other name may reach it (DNS rebinding)
        app.config["TRUSTED_HOSTS"] = list(_LOOPBACK)
    if settings.server.trusted_proxies:
        hops = settings.server.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]


def engine_options(settings: Settings) -> dict[str, object]:
    """A pool as large as the threads of one process, and connections that are tested before use."""
    quiet: dict[str, object] = {"hide_parameters": True}  # no password hash in an error's text
    if settings.database_url.startswith("sqlite"):
        return quiet
    pool = {"pool_pre_ping": True, "pool_size": settings.server.threads, "max_overflow": -1}  # threads are the limit
    asked = make_url(settings.database_url).query
    return quiet | pool | {"connect_args": {name: value for name, value in _NOT_FOR_EVER.items() if name not in asked}}


def wire(settings: Settings, now: Clock) -> World:
    """The outside world, by the settings."""
    vault = Vault(key.get_secret_value() for key in settings.encryption_keys)
    directories = {known.name: directory(known, now) for known in settings.directories}
    webhooks = HttpWebhookSender(settings.webhooks, now)
    return World(
        settings=settings, now=now, directories=directories, connect=Connections(settings, vault, now), vault=vault,
        mail=SmtpSender(settings.mail, now), webhooks=webhooks, sinks=sinks(settings.audit, webhooks),
    )


def sinks(settings: Audit, webhooks: WebhookSender) -> dict[str, LineSink]:
    """Where the audit trail goes on to, by the settings; ConfigMaps are reached like their clusters."""
    anchors = {f"anchor {one.name}": sink(one, webhooks, "audit.head") for one in settings.anchors if one.kind != "configmap"}
    return anchors | {f"forward {one.name}": sink(one, webhooks, "audit.events") for one in settings.forward}


def sink(settings: FileAnchor | WebhookAnchor | Forward, webhooks: WebhookSender, kind: str) -> LineSink:
    """The adapter for one of them."""
    if isinstance(settings, SyslogForward):
        return SyslogSender(
            settings.host, settings.port, tls=settings.tls, ca_file=str(settings.ca_file or ""), server_name=settings.server_name,
            client_cert_file=str(settings.client_cert_file or ""), client_key_file=str(settings.client_key_file or ""),
            listen=settings.listen_seconds,
        )
    if isinstance(settings, FileAnchor | FileForward):
        return FileSink(settings.path)
    return WebhookSink(webhooks, settings.url, settings.secret.get_secret_value(), kind)


def directory(settings: DirectorySettings, now: Clock) -> Directory:
    """The adapter for one configured directory."""
    if isinstance(settings, LocalSettings):
        return LocalDirectory(settings, SqlAccountStore())
    if isinstance(settings, LdapSettings):
        return LdapDirectory(settings, now)
    return OidcDirectory(settings)


class Connections:
    """Connections to clusters, kept while a cluster's registration stays the same: handshakes cost most of a request."""

    def __init__(self, settings: Settings, vault: Vault, now: Clock) -> None:
        self._settings = settings
        self._vault = vault
        self._now = now
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[str, Connection]] = {}

    def __call__(self, cluster: Cluster) -> Connection:
        """The connection of a registered cluster. Raises Unavailable, Invalid."""
        version = hashlib.sha256(
            b"\0".join([cluster.server.encode(), cluster.ca_pem.encode(), cluster.credential or b"", cluster.signer_ca_key or b""])
        ).hexdigest()
        with self._lock:
            kept = self._kept.get(cluster.id)
            if kept is None or kept[0] != version or cluster.access == IN_CLUSTER:  # a mounted token is renewed in place
                kept = self._kept[cluster.id] = (version, self._connect(cluster))
            return kept[1]

    def _connect(self, cluster: Cluster) -> Connection:
        instance = self._settings.instance
        if cluster.access == OFFLINE:
            return OfflineConnection(self._signer(cluster) or NoSigner(), self._offline_file(cluster), instance)
        access = in_cluster_access() if cluster.access == IN_CLUSTER else Access(**self._vault.open(cluster.credential or b""))
        return LiveConnection(access, instance, self._now, self._signer(cluster))

    def _signer(self, cluster: Cluster) -> Signer | None:
        """None stands for the cluster's own API."""
        if cluster.signer == CA:
            return CaSigner(cluster.signer_ca_pem, self._vault.open(cluster.signer_ca_key or b""), self._now)
        return NoSigner() if cluster.signer == NONE else None

    def _offline_file(self, cluster: Cluster) -> Path:
        database = self._settings.database_url.removeprefix("sqlite:///")
        beside = Path(database).parent if self._settings.database_url.startswith("sqlite:///") else Path.cwd()
        return beside / f"offline-{cluster.name}.json"
