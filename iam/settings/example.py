"""The annotated example of a settings file, made from the settings themselves."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from iam.settings import Settings
from iam.settings.audit import ConfigMapAnchor, FileAnchor, FileForward, SyslogForward, WebhookAnchor, WebhookForward
from iam.settings.directories import LdapSettings, LocalSettings, OidcSettings

_HEAD = """\
# kube-iam: every setting, its meaning and its default. Made by `iam config example`; do not edit by hand.
# Each can be given in the environment too: KUBE_IAM_SESSIONS__IDLE_MINUTES=30. Each secret can be a file: <name>_file.
"""
_NEEDED: dict[str, Any] = {
    "secret_key": "make one with: iam config new-key", "encryption_keys": ["make one with: iam config new-key"],
    "servers": ["ldaps://ldap.example.org"], "issuer": "https://sso.example.org", "client_id": "kube-iam", "name": "corp",
    "url": "https://siem.example.org/kube-iam", "secret": "make one with: iam config new-key",
    "host": "siem.example.org", "cluster": "prod",
}
_TABLES: dict[str, tuple[type[BaseModel], ...]] = {
    "directories": (LocalSettings, LdapSettings, OidcSettings),
    "audit.anchors": (FileAnchor, WebhookAnchor, ConfigMapAnchor),
    "audit.forward": (SyslogForward, WebhookForward, FileForward),
}


def example() -> str:
    """The whole file as TOML."""
    plain: list[str] = []
    sections: list[str] = []
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, BaseModel):
            sections += ["", f"[{name}]", *_lines(type(field.default))]
        elif name not in _TABLES:
            plain += _line(name, field)
    for table, kinds in _TABLES.items():
        for kind in kinds:
            about = (kind.__doc__ or "").strip()
            sections += ["", f"# {about}", f"# [[{table}]]", *(f"# {line.removeprefix('# ')}" for line in _lines(kind))]
    return "\n".join([_HEAD, *plain, *sections])


def _lines(model: type[BaseModel]) -> list[str]:
    return [line for name, field in model.model_fields.items() if not _is_table(field) for line in _line(name, field)]


def _is_table(field: FieldInfo) -> bool:
    return "discriminator=" in repr(field.annotation)


def _line(name: str, field: FieldInfo) -> list[str]:
    comment = [f"# {field.description}"] if field.description else []
    return [*comment, f"{'' if field.is_required() else '# '}{name} = {_value(name, field)}"]


def _value(name: str, field: FieldInfo) -> str:
    value = field.default
    if name == "kind":
        (value,) = field.annotation.__args__  # type: ignore[union-attr]  # a Literal of one
    elif value is PydanticUndefined:
        value = field.examples[0] if field.examples else _NEEDED[name]
    if value is None:
        return '""'
    if isinstance(value, SecretStr):
        return '""'
    if isinstance(value, tuple):
        value = list(value)
    return json.dumps(value)
