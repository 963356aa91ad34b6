"""The settings of each kind of directory."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

_NAME = r"^[a-z][a-z0-9-]{0,30}$"


class _Directory(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=_NAME, description="Short name, part of every group reference.")
    title: str = Field("", description="What the login page calls it; the name if empty.")
    username_prefix: str = Field(
        "", pattern=r"^[a-z0-9._:@-]{0,30}$",
        description="Put before every username from here, so that two directories cannot collide.",
    )

    @field_validator("username_prefix")
    @classmethod
    def _not_reserved(cls, prefix: str) -> str:
        if prefix.startswith("system:"):
            raise ValueError("may not begin with system:, which Kubernetes keeps for itself")
        return prefix

    @property
    def label(self) -> str:
        """The name a person sees."""
        return self.title or self.name


class LocalSettings(_Directory):
    """Accounts in our own database: demo, first administrator, break-glass."""

    kind: Literal["local"]


class LdapSettings(_Directory):
    """An LDAP server: OpenLDAP, 389-ds or Active Directory."""

    kind: Literal["ldap"]
    servers: tuple[str, ...] = Field(min_length=1, description="ldaps://host:636 or ldap://host:389, tried in order.")
    start_tls: bool = Field(True, description="Upgrade ldap:// connections with StartTLS.")
    insecure_plain: bool = Field(False, description="Allow passwords over an unencrypted connection. Never in production.")
    ca_file: Path | None = Field(None, description="CA certificates that signed the servers'; the system's if unset.")
    deadline_seconds: float = Field(8.0, gt=0, le=60, description="For one login, over all servers.")
    server_seconds: float = Field(3.0, gt=0, le=60, description="Before a silent server is given up for the next.")

    bind_dn: str = Field("", description="Account that searches; empty for anonymous search.")
    bind_password: SecretStr = SecretStr("")
    bind_template: str = Field(
        "", description="Bind as this DN directly, {username} filled in (uid={username},ou=people,dc=...). No search account."
    )

    user_base: str = Field("", description="Where people are.")
    user_filter: str = Field("(uid={username})", description="Finds one person; {username} filled in, escaped.")
    user_object_filter: str = Field("(objectClass=*)", description="Must hold for a person too.")
    username_attribute: str = "uid"
    subject_attribute: str = Field("entryUUID", description="Immutable id: entryUUID, objectGUID, nsUniqueId.")
    name_attribute: str = "cn"
    email_attribute: str = "mail"

    group_base: str = Field("", description="Where groups are; groups elsewhere are ignored.")
    group_filter: str = Field("(objectClass=*)", description="Must hold for a group.")
    group_name_attribute: str = Field("cn", description="What a group is called in mappings; `dn` for its whole DN.")
    group_membership: Literal["memberOf", "member", "uniqueMember", "memberUid", "in-chain"] = Field(
        "member", description="How membership is stored; in-chain is Active Directory's own nested search."
    )
    nested_depth: int = Field(5, ge=0, le=20, description="Groups in groups, followed this deep; 0 for none.")
    page_size: int = Field(500, ge=1, le=5000)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        mistakes = []
        for position, server in enumerate(self.servers):
            if not re.fullmatch(r"ldaps?://[^/@?#\s]+/?", server):
                mistakes.append(f"servers[{position}]: should look like ldaps://host:636 or ldap://host:389")
            elif server.startswith("ldap://") and not self.start_tls and not self.insecure_plain:
                mistakes.append(f"servers[{position}]: would send passwords in the clear; use ldaps:// or start_tls = true")
        for field in ("user_filter", "bind_template"):
            value = getattr(self, field)
            if value and value.count("{username}") != 1:
                mistakes.append(f"{field}: should contain {{username}} once")
        if not self.bind_template and not self.user_base:
            mistakes.append("user_base: is required where people are searched for")
        if self.group_membership != "memberOf" and not self.group_base:
            mistakes.append("group_base: is required where groups are searched for")
        if mistakes:
            raise ValueError("\n".join(mistakes))
        return self


class OidcSettings(_Directory):
    """An OpenID Provider: Keycloak, Entra, Okta, Dex, Google, ..."""

    kind: Literal["oidc"]
    issuer: str = Field(pattern=r"^https?://[^\s@]+$", description="Exactly as the provider's discovery document says it.")
    client_id: str
    client_secret: SecretStr = SecretStr("")
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    username_claim: str = Field("preferred_username", description="Becomes the Kubernetes username.")
    groups_claim: str = Field("groups", description="A list of strings, or one string.")
    membership_hours: int = Field(
        24, ge=1, description="Groups known from a login count this long; then the bindings go until the next login."
    )
    groups_required: bool = Field(True, description="Refuse a login whose token has no groups claim at all.")
    email_verified_required: bool = Field(True, description="Where username_claim is email: insist on email_verified.")
    algorithms: tuple[Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"], ...] = (
        "RS256", "PS256", "ES256",
    )
    leeway_seconds: int = Field(30, ge=0, le=120)
    ca_file: Path | None = None
    insecure_http: bool = Field(False, description="Allow a provider over plain HTTP. For tests on loopback.")
    timeout_seconds: float = Field(5.0, gt=0, le=60)

    @model_validator(mode="after")
    def _encrypted(self) -> Self:
        if self.issuer.startswith("http://") and not self.insecure_http:
            raise ValueError("issuer: should be https://")
        return self


DirectorySettings = Annotated[LocalSettings | LdapSettings | OidcSettings, Field(discriminator="kind")]
