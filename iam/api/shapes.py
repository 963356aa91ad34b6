"""What goes in and out, as pydantic models: the OpenAPI document is made from these."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Me(BaseModel):
    """Who the token stands for."""

    username: str
    display_name: str
    roles: list[str]
    scopes: list[str]


class HoldingOut(BaseModel):
    """What I may do, where, through which mapping, until when (null: while the mapping stands)."""

    cluster: str
    role: str
    namespaces: list[str] = Field(description="Empty: the whole cluster.")
    group: str
    until: datetime | None


class Holdings(BaseModel):
    """My access."""

    items: list[HoldingOut]


class KubeconfigIn(_In):
    """What to put into a kubeconfig."""

    clusters: list[str] = Field(default=[], description="Empty: every cluster in which you hold something.")
    lifetime_seconds: int | None = Field(None, description="Null: each cluster's default.")
    csr: str = Field("", description="Your own signing request (PEM, subject /CN=<your username>); empty: we make the key.")
    key_path: str = Field("", description="With csr: where your key is, for the kubeconfig to name.")


class KubeconfigOut(BaseModel):
    """A kubeconfig, sent once."""

    kubeconfig: str
    clusters: list[str]
    expires: dict[str, str]


class CredentialIn(_In):
    """How to reach a cluster."""

    access: Literal["credential", "in-cluster", "offline"] = "credential"
    kubeconfig: str = Field("", description="Inline data only; instead of server, ca_pem and token.")
    context: str = ""
    server: str = ""
    ca_pem: str = ""
    token: str = ""


class ClusterIn(CredentialIn):
    """A registration."""

    name: str
    title: str = ""
    signer: Literal["csr", "ca", "none"] = "csr"
    signer_ca_pem: str = ""
    signer_ca_key: str = ""
    default_lifetime_seconds: int = 3600
    max_lifetime_seconds: int = 43200


class ClusterChange(_In):
    """What can change without a new credential."""

    title: str = ""
    default_lifetime_seconds: int
    max_lifetime_seconds: int


class RemovalQuery(_In):
    """For a cluster that exists no more."""

    leave_bindings: bool = False


class ReconcileOut(BaseModel):
    """How far reconciliation is."""

    behind: bool
    wanted_at: datetime
    succeeded_at: datetime | None
    failures: int
    error: str
    bindings: int


class ClusterOut(BaseModel):
    """A registered cluster, without its secrets."""

    name: str
    title: str
    server: str
    access: str
    signer: str
    default_lifetime_seconds: int
    max_lifetime_seconds: int
    probe: dict[str, Any] | None
    probed_at: datetime | None
    reconcile: ReconcileOut


class Clusters(BaseModel):
    """All clusters."""

    items: list[ClusterOut]


class RunOut(BaseModel):
    """What a reconcile did or would do."""

    cluster: str
    removed: list[str]
    replaced: list[str]
    created: list[str]
    error: str = ""


class MappingIn(_In):
    """A mapping."""

    group: str = Field(description="directory:group")
    cluster: str
    role_kind: Literal["Role", "ClusterRole"] = "ClusterRole"
    role_name: str
    namespaces: list[str] = Field(default=[], description="Empty: the whole cluster.")
    subject_kind: Literal["User", "Group"] = "User"
    note: str = ""


class MappingOut(MappingIn):
    """A saved mapping."""

    model_config = ConfigDict(extra="ignore")

    id: str
    created_at: datetime
    created_by: str


class Mappings(BaseModel):
    """All mappings."""

    items: list[MappingOut]


class EffectOut(BaseModel):
    """Who would gain or lose the role."""

    gaining: list[str]
    losing: list[str]
    unchanged: int


class PersonOut(BaseModel):
    """A person."""

    id: str
    username: str
    display_name: str
    email: str
    directory: str
    groups: list[str]
    disabled: bool
    disabled_reason: str
    last_login_at: datetime | None
    synced_at: datetime


class People(BaseModel):
    """One page of people."""

    items: list[PersonOut]
    total: int
    page: int
    pages: int


class PeopleQuery(_In):
    """Narrowing people."""

    q: str = ""
    page: int = Field(1, ge=1)


class SyncIn(_In):
    """A sync."""

    accept_removals: bool = False


class SyncOut(BaseModel):
    """How a sync went."""

    directory: str
    people: int
    gone: int
    alarm: str


class Done(BaseModel):
    """It is done."""

    status: Literal["done"] = "done"


class Manifest(BaseModel):
    """A manifest for kubectl apply."""

    yaml: str
