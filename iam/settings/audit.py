"""The audit trail: how long it is kept, where its head is anchored, where it is forwarded to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

_URL = r"^https?://[^\s@/]+(/[^\s@]*)?$"
_NAME = r"^[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?$"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=_NAME, description="Unique among its kind; its position is kept under it.")


class FileAnchor(_Part):
    """A file that heads are appended to; best where the database's administrators cannot write."""

    kind: Literal["file"]
    path: Path = Field(examples=["/mnt/worm/kube-iam-heads.jsonl"])


class WebhookAnchor(_Part):
    """A signed POST (Standard Webhooks) of each head."""

    kind: Literal["webhook"]
    url: str = Field(pattern=_URL)
    secret: SecretStr = Field(repr=False, min_length=16, description="whsec_... or any text of 16 characters and more.")


class ConfigMapAnchor(_Part):
    """A ConfigMap in one of the clusters; its history is in that cluster's own audit log."""

    kind: Literal["configmap"]
    cluster: str
    namespace: str = "kube-iam"
    config_map: str = "kube-iam-audit-head"


class SyslogForward(_Part):
    """RFC 5424 over TCP or TLS."""

    kind: Literal["syslog"]
    host: str = Field(min_length=1)
    port: int = Field(6514, ge=1, le=65535)
    tls: bool = True
    ca_file: Path | None = Field(None, description="Certificates (PEM) to trust instead of the system's.")
    server_name: str = Field("", description="What the server's certificate has to be for, if not for the host.")
    client_cert_file: Path | None = Field(None, description="A certificate (PEM) to show to a server that asks for one; its key too.")
    client_key_file: Path | None = Field(None, description="Its key (PEM), if that is in a file of its own.")
    listen_seconds: float = Field(
        0, ge=0, le=60, description="How long to wait for a refusal before a batch counts; behind a proxy, longer than it tries to connect."
    )
    format: Literal["json", "cef"] = "json"


class WebhookForward(_Part):
    """Signed POSTs (Standard Webhooks) of up to 500 events each."""

    kind: Literal["webhook"]
    url: str = Field(pattern=_URL)
    secret: SecretStr = Field(repr=False, min_length=16, description="whsec_... or any text of 16 characters and more.")
    format: Literal["json", "ocsf"] = "json"


class FileForward(_Part):
    """Lines appended to a file that something else picks up."""

    kind: Literal["file"]
    path: Path = Field(examples=["/var/log/kube-iam-audit.jsonl"])
    format: Literal["json", "cef", "ocsf"] = "json"


Anchor = Annotated[FileAnchor | WebhookAnchor | ConfigMapAnchor, Field(discriminator="kind")]
Forward = Annotated[SyslogForward | WebhookForward | FileForward, Field(discriminator="kind")]


class Audit(BaseModel):
    """The audit trail."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keep_days: int = Field(0, ge=0, description="Events older than this are removed, their hashes stay; 0 keeps all.")
    seal_seconds: float = Field(0.5, gt=0, le=60, description="How often the worker seals what was recorded.")
    anchor_seconds: int = Field(60, ge=1, description="How often the head is anchored, if it moved.")
    lag_alarm_seconds: int = Field(300, ge=10, description="An event that has not arrived for so long raises an alarm.")
    anchors: tuple[Anchor, ...] = Field((), description="Where heads are anchored.")
    forward: tuple[Forward, ...] = Field((), description="Where every event goes on to.")
