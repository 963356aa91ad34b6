"""The settings: one TOML file, then environment variables, then secret files; frozen, every mistake at once.

Where a setting comes from, strongest first:

1. ``KUBE_IAM_<NAME>`` in the environment, ``__`` between levels (``KUBE_IAM_SESSIONS__IDLE_MINUTES=30``);
2. the TOML file named by ``KUBE_IAM_CONFIG`` (or ``--config``);
3. the default below.

Every secret may be given as a file instead: ``secret_key_file = "/run/secrets/key"`` stands for ``secret_key``.
Unknown keys are refused in the file and in the environment alike.
"""

from __future__ import annotations

import os
import re
import tomllib
from email.errors import HeaderParseError
from email.headerregistry import Address
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from iam.errors import Misconfigured
from iam.settings.audit import Audit
from iam.settings.directories import DirectorySettings
from iam.settings.secret_files import read_secret_files

ENV_PREFIX = "KUBE_IAM_"
CONFIG_VARIABLE = "KUBE_IAM_CONFIG"
_RESERVED_VARIABLES = {CONFIG_VARIABLE}

SECRETS = ("secret_key", "encryption_keys", "database_url")
"""Top-level settings that the environment may name a file for: KUBE_IAM_SECRET_KEY_FILE."""

Role = Literal["person", "approver", "administrator", "auditor"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Server(_Section):
    """How browsers and programs reach us."""

    public_url: str = Field(
        "http://127.0.0.1:8000", pattern=r"^https?://[^/?#@\s]+/?$", description="The address in links and OIDC redirects."
    )
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on.")
    workers: int = Field(2, ge=1, le=64, description="Server processes.")
    threads: int = Field(8, ge=1, le=256, description="Threads in each process (signing waits for the cluster).")
    trusted_proxies: int = Field(0, ge=0, le=5, description="How many proxies in front set X-Forwarded-*.")
    language: Literal["en", "zh_Hans"] = Field("en", description="Language for browsers that ask for neither.")

    @property
    def is_https(self) -> bool:
        """Whether cookies can and must be marked Secure."""
        return self.public_url.startswith("https://")


class Sessions(_Section):
    """How long a login lasts."""

    idle_minutes: int = Field(60, ge=1, description="A session unused for this long ends.")
    absolute_hours: int = Field(12, ge=1, description="A session ends after this long in any case.")


class Throttle(_Section):
    """Failed logins before we refuse to try, within the window."""

    per_account: int = Field(8, ge=1, description="Failures for one account name.")
    per_address: int = Field(40, ge=1, description="Failures from one network address.")
    window_minutes: int = Field(15, ge=1, description="How long failures count.")


class Sync(_Section):
    """Re-reading the groups of known people from password directories."""

    interval_seconds: int = Field(60, ge=1, description="How often.")
    max_removed_share: float = Field(
        0.2, ge=0, le=1, description="A run that would remove more than this share of people stops and asks."
    )
    max_removed_floor: int = Field(5, ge=0, description="... unless it removes no more people than this.")


class Reconcile(_Section):
    """Bringing bindings on the clusters in line."""

    poll_seconds: float = Field(1.0, gt=0, description="How often the worker looks for clusters that need work.")
    full_minutes: int = Field(10, ge=1, description="How often every cluster is compared anyway (drift).")
    retry_seconds: int = Field(5, ge=1, description="First pause after a cluster did not answer; doubles to 5 min.")


class Abac(_Section):
    """ABAC policy files."""

    folder: Path | None = Field(None, description="Where they are published, each as <name>.jsonl; without it they are only downloaded.")
    follow_seconds: int = Field(30, ge=1, description="How often published files are compared with the directory groups they name.")


class Requests(_Section):
    """Asking for access."""

    warn_minutes: int = Field(15, ge=1, description="How long before its end a person is told that a grant ends.")
    chase_minutes: int = Field(60, ge=5, description="How often an overdue review of break-glass is asked for again.")
    same_person_by_email: bool = Field(
        True, description="Accounts of several directories with one e-mail address are one person, who cannot approve their own request."
    )


class Mail(_Section):
    """Sending mail."""

    host: str = Field("", description="The SMTP server; empty: no mail is sent.")
    port: int = Field(587, ge=1, le=65535)
    security: Literal["starttls", "tls", "none"] = Field("starttls", description="none is for a relay on this machine.")
    ca_file: Path | None = Field(None, description="Certificates (PEM) to trust instead of the system's.")
    username: str = ""
    password: SecretStr = Field(SecretStr(""), repr=False)
    sender: str = Field("kube-iam@localhost", pattern=r"^[^\s<>@]+@[^\s<>@]+$", description="The address that mails come from.")
    timeout_seconds: float = Field(10, gt=0, le=120)

    @field_validator("sender")
    @classmethod
    def _address(cls, sender: str) -> str:
        try:
            Address(addr_spec=sender)
        except (ValueError, HeaderParseError, IndexError):
            raise ValueError("is not an e-mail address") from None
        return sender

    @model_validator(mode="after")
    def _password_is_encrypted(self) -> Self:
        if self.security == "none" and self.username and self.host not in {"localhost", "127.0.0.1", "::1"}:
            raise ValueError('security = "none" would send the password in the clear; use starttls or tls')
        return self


class Webhooks(_Section):
    """Telling other systems."""

    inside_networks: tuple[str, ...] = Field(
        (), description="Networks of our own that webhooks may reach, such as 10.20.0.0/16; all other private addresses are refused."
    )
    ca_file: Path | None = Field(None, description="Certificates (PEM) to trust instead of the system's.")
    timeout_seconds: float = Field(10, gt=0, le=120)

    @field_validator("inside_networks")
    @classmethod
    def _networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            try:
                ip_network(network)
            except ValueError:
                raise ValueError(f"{network!r} is not a network such as 10.20.0.0/16") from None
        return networks


class RoleGroups(_Section):
    """Which directory groups hold our own roles, each as ``directory:group``."""

    approver: tuple[str, ...] = ()
    administrator: tuple[str, ...] = ()
    auditor: tuple[str, ...] = ()


def _one_or_many(value: object) -> object:
    return re.split(r"[,\s]+", value.strip(", \t\r\n")) if isinstance(value, str) and value.strip() else value


class Settings(BaseSettings):
    """Everything that can be set. Immutable once loaded."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, nested_model_default_partial_update=True
    )

    instance: str = Field(
        "default", pattern=r"^[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?$",
        description="Marks the bindings that are ours; two installations on one cluster need two names.",
    )
    database_url: str = Field(
        "sqlite:///kube-iam.db", repr=False, description="SQLite for trying out, postgresql+psycopg://... in production."
    )
    secret_key: SecretStr = Field(description="Signs cookies; at least 32 characters. `iam config new-key` makes one.")
    encryption_keys: Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_one_or_many)] = Field(
        description="Fernet keys for cluster credentials; the first encrypts, all decrypt (rotation)."
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    server: Server = Server()
    sessions: Sessions = Sessions()
    throttle: Throttle = Throttle()
    sync: Sync = Sync()
    reconcile: Reconcile = Reconcile()
    abac: Abac = Abac()
    requests: Requests = Requests()
    mail: Mail = Mail()
    webhooks: Webhooks = Webhooks()
    audit: Audit = Audit()
    roles: RoleGroups = RoleGroups()
    directories: tuple[DirectorySettings, ...] = Field((), description="Where people log in, in the page's order.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment over the file's values (which come in as keyword arguments); no .env files."""
        return env_settings, init_settings

    @field_validator("secret_key")
    @classmethod
    def _long_enough(cls, key: SecretStr) -> SecretStr:
        if len(key.get_secret_value()) < 32:
            raise ValueError("is shorter than 32 characters; make one with `iam config new-key`")
        return key

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, url: str) -> str:
        try:
            known = make_url(url).drivername in {"sqlite", "postgresql+psycopg"}
        except (ArgumentError, ValueError):
            known = False
        if not known:
            raise ValueError("should look like postgresql+psycopg://user@host/name or sqlite:///path")
        return url

    @field_validator("encryption_keys")
    @classmethod
    def _fernet_keys(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if not keys:
            raise ValueError("is empty; make one with `iam config new-key`")
        for position, key in enumerate(keys, start=1):
            if not re.fullmatch(r"[A-Za-z0-9_-]{43}=", key.get_secret_value()):
                raise ValueError(f"key {position} is not 32 bytes in URL-safe base64; make one with `iam config new-key`")
        return keys

    @model_validator(mode="after")
    def _across_sections(self) -> Self:
        mistakes = [*self._colliding_directories(), *self._roles_of_nobody(), *self._outlets_twice()]
        if mistakes:
            raise ValueError("\n".join(mistakes))
        return self

    def _colliding_directories(self) -> list[str]:
        mistakes = []
        names: set[str] = set()
        prefixes: dict[str, str] = {}
        for position, directory in enumerate(self.directories):
            if directory.name in names:
                mistakes.append(f"directories[{position}].name: {directory.name!r} is used twice; names are unique")
            names.add(directory.name)
            other = prefixes.setdefault(directory.username_prefix, directory.name)
            if other != directory.name:
                mistakes.append(
                    f"directories[{position}].username_prefix: {directory.name!r} and {other!r} share the prefix "
                    f"{directory.username_prefix!r}, so two people could become one Kubernetes user; give one a prefix"
                )
        return mistakes

    def _outlets_twice(self) -> list[str]:
        paths = [one.path for one in (*self.audit.anchors, *self.audit.forward) if one.kind == "file"]
        same = sorted({str(one) for one in paths if paths.count(one) > 1})
        mistakes = [f"audit: two outlets write to {one}; give each a file of its own" for one in same]
        outlets = {"anchors": [one.name for one in self.audit.anchors], "forward": [one.name for one in self.audit.forward]}
        return mistakes + [
            f"audit.{kind}[{position}].name: {name!r} is used twice; names are unique"
            for kind, names in outlets.items()
            for position, name in enumerate(names)
            if name in names[:position]
        ]

    def _roles_of_nobody(self) -> list[str]:
        known = {directory.name for directory in self.directories}
        return [
            f"roles.{role}: {entry!r} should read directory:group with one of the directories {sorted(known)}"
            for role in ("approver", "administrator", "auditor")
            for entry in getattr(self.roles, role)
            if entry.partition(":")[0] not in known or not entry.partition(":")[2]
        ]


def load(path: Path | None = None) -> Settings:
    """Read the settings; raise Misconfigured with *every* mistake found."""
    path = path or (Path(os.environ[CONFIG_VARIABLE]) if os.environ.get(CONFIG_VARIABLE) else None)
    mistakes = _unknown_variables()
    values, unreadable = read_secret_files(_read_file(path) if path else {}, ENV_PREFIX, SECRETS)
    mistakes += unreadable
    for name in [name for name in values if name not in Settings.model_fields]:  # BaseSettings has keywords of its own
        mistakes.append(f"{path}: {name}: is not a setting; check the spelling against config/kube-iam.example.toml")
        del values[name]
    try:
        settings = Settings(**values)
    except ValidationError as error:
        mistakes += describe(error, path)
    except SettingsError as error:
        mistakes.append(f"environment: {error}; lists and sections are written as JSON")
    if mistakes:
        raise Misconfigured(mistakes)
    return settings


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise Misconfigured([f"{path}: no such file; name the settings file with --config or {CONFIG_VARIABLE}"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured([f"{path}: cannot be read: {error}"]) from None
    except tomllib.TOMLDecodeError as error:
        raise Misconfigured([f"{path}: is not TOML: {error}"]) from None


def _unknown_variables() -> list[str]:
    sections = {name for name, field in Settings.model_fields.items() if isinstance(field.default, BaseModel)}
    files = {f"{name}_file" for name in SECRETS}
    mistakes = []
    for variable in sorted(os.environ):
        name, _, inner = variable.upper().removeprefix(ENV_PREFIX).lower().partition("__")
        is_known = name in sections if inner else name in set(Settings.model_fields) | files
        if variable.upper().startswith(ENV_PREFIX) and variable not in _RESERVED_VARIABLES and not is_known:
            mistakes.append(f"environment: {variable} is not a setting; see config/kube-iam.example.toml")
    return mistakes


def describe(error: ValidationError, path: Path | None = None) -> list[str]:
    """Pydantic's findings as lines: where, what, what to do. Values are never repeated: they may be secrets."""
    lines = []
    for finding in error.errors(include_url=False, include_input=False, include_context=False):
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in finding["loc"]).lstrip(".")
        message = finding["msg"].removeprefix("Value error, ")
        if finding["type"] == "extra_forbidden":
            message = "is not a setting; check the spelling against config/kube-iam.example.toml"
        elif finding["type"] == "missing":
            message = "is required"
        source = f"{path}: " if path else ""
        lines += [f"{source}{where + ': ' if where else ''}{line}" for line in message.splitlines()]
    return lines
