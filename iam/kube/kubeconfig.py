"""A kubeconfig as a value: written for people, read from administrators.

What is read comes from outside and is not trusted: a kubeconfig can name programs to run (``exec``,
``auth-provider``) and files to read, so we take inline data only.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from iam.errors import Invalid
from iam.kube import manifest_yaml
from iam.kube.certificates import UNREADABLE, read_ca_bundle

MAX_BYTES = 256 * 1024
MAX_ADDRESS = 500
_USER_REFUSED = {
    "exec": "runs a program",
    "auth-provider": "runs a plug-in",
    "tokenFile": "names a file",
    "client-certificate": "names a file",
    "client-key": "names a file",
    "username": "uses a password",
    "password": "uses a password",
    "as": "impersonates",
    "as-uid": "impersonates",
    "as-groups": "impersonates",
    "as-user-extra": "impersonates",
}
_CLUSTER_REFUSED = {
    "certificate-authority": "names a file",
    "insecure-skip-tls-verify": "switches verification off",
    "proxy-url": "sends everything through a proxy",
}


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach one API server: inline data only. ``repr`` shows no secret."""

    server: str
    ca_pem: str
    token: str = ""
    certificate_pem: str = ""
    key_pem: str = ""

    def __repr__(self) -> str:
        return f"Access({self.server!r})"


@dataclass(frozen=True, slots=True)
class Entry:
    """One cluster in a person's kubeconfig."""

    cluster: str
    server: str
    ca_pem: str
    username: str
    certificate_pem: str
    key_pem: str = field(default="", repr=False)
    key_path: str = ""
    """Where the person keeps their own key, if they brought one."""


def write(entries: Iterable[Entry]) -> str:
    """The kubeconfig as YAML; the first cluster is current, contexts are called ``<user>@<cluster>``."""
    entries = list(entries)
    return manifest_yaml.dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": _context(entries[0]) if entries else "",
            "clusters": [{"name": entry.cluster, "cluster": _cluster(entry)} for entry in entries],
            "users": [{"name": _context(entry), "user": _user(entry)} for entry in entries],
            "contexts": [
                {"name": _context(entry), "context": {"cluster": entry.cluster, "user": _context(entry)}} for entry in entries
            ],
        },
    )


def _context(entry: Entry) -> str:
    return f"{entry.username}@{entry.cluster}"


def _cluster(entry: Entry) -> dict[str, str]:
    return {"server": entry.server, "certificate-authority-data": _encode(entry.ca_pem)}


def _user(entry: Entry) -> dict[str, str]:
    user = {"client-certificate-data": _encode(entry.certificate_pem)}
    if entry.key_pem:
        user["client-key-data"] = _encode(entry.key_pem)
    elif entry.key_path:
        user["client-key"] = entry.key_path
    return user


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def read(text: str, context: str = "") -> Access:
    """Take the current (or named) context out of an administrator's kubeconfig. Raises Invalid."""
    document = _document(text)
    chosen = context or _text(document.get("current-context"))
    where = _named(document, "contexts", chosen, "context")
    cluster = _named(document, "clusters", _text(where.get("cluster")), "cluster")
    user = _named(document, "users", _text(where.get("user")), "user")
    _refuse(cluster, _CLUSTER_REFUSED, "cluster")
    _refuse(user, _USER_REFUSED, "user")
    access = Access(
        server=check_server(_text(cluster.get("server"))),
        ca_pem=_decode(cluster, "certificate-authority-data"),
        token=_text(user.get("token")),
        certificate_pem=_decode(user, "client-certificate-data"),
        key_pem=_decode(user, "client-key-data"),
    )
    return check_access(access)


def check_access(access: Access) -> Access:
    """An https address, a CA (none: the system's) and one complete credential. Raises Invalid."""
    check_server(access.server)
    if access.ca_pem:
        read_ca_bundle(access.ca_pem.encode())
    if not access.token and not (access.certificate_pem and access.key_pem):
        raise Invalid("There is no token and no client certificate with its key to log in to the cluster with.", field="credential")
    if any(ord(char) < 33 or ord(char) > 126 for char in access.token):
        raise Invalid("The token has blanks or characters in it that no token has.", field="credential")
    if access.certificate_pem:
        _check_pair(access.certificate_pem, access.key_pem)
    return access


def check_server(server: str) -> str:
    """An https URL without user, query or fragment. Raises Invalid."""
    try:
        parts = urlsplit(server)
        is_fine = parts.scheme == "https" and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        is_fine = False
    if not is_fine or len(server) > MAX_ADDRESS or not re.fullmatch(r"(?i)https://[^\s@?#\\\x00-\x20\x7f]+", server):
        raise Invalid("The server's address should look like https://host:6443.", field="server")
    return server.rstrip("/")


def _check_pair(certificate_pem: str, key: str) -> None:
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
        private = serialization.load_pem_private_key(key.encode(), password=None)
        belongs = private.public_key() == certificate.public_key()
    except UNREADABLE:
        raise Invalid("The client certificate or its key is not unencrypted PEM.", field="credential") from None
    if not belongs:
        raise Invalid("The client key does not belong to the client certificate.", field="credential")


def _document(text: str) -> dict[str, Any]:
    if len(text.encode("utf-8", "replace")) > MAX_BYTES:
        raise Invalid("The kubeconfig is larger than 256 KiB.", field="kubeconfig")
    try:
        document = yaml.load(text, Loader=_PlainLoader)  # noqa: S506  # a subclass of the base loader: strings only
    except _Alias:
        raise Invalid("The kubeconfig uses YAML aliases; write it out.", field="kubeconfig") from None
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError):
        raise Invalid("The kubeconfig is neither YAML nor JSON.", field="kubeconfig") from None
    if not isinstance(document, dict) or document.get("kind") != "Config":
        raise Invalid("This is not a kubeconfig: it should say kind: Config.", field="kubeconfig")
    return document


class _Alias(Exception):
    pass


class _PlainLoader(yaml.BaseLoader):
    """Every scalar is text, no tag means anything, and an alias (a way to write a bomb) is refused."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse aliases before they are followed."""
        if self.check_event(yaml.AliasEvent):
            raise _Alias
        return super().compose_node(parent, index)


def _named(document: dict[str, Any], section: str, name: str, inner: str) -> dict[str, Any]:
    items = document.get(section)
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict) and item.get("name") == name and isinstance(item.get(inner), dict):
            found: dict[str, Any] = item[inner]
            return found
    raise Invalid("The kubeconfig has no %(inner)s of the name that it refers to.", field="kubeconfig", inner=inner)


def _refuse(section: dict[str, Any], refused: dict[str, str], what: str) -> None:
    for key, why in refused.items():
        if section.get(key) not in (None, "", "false"):
            raise Invalid(
                "The kubeconfig's %(what)s has %(key)r, which %(why)s. Use a token or inline certificate data.",
                field="kubeconfig", what=what, key=key, why=why,
            )


def _decode(section: dict[str, Any], key: str) -> str:
    value = "".join(_text(section.get(key)).split())
    try:
        return base64.b64decode(value, validate=True).decode() if value else ""
    except (binascii.Error, ValueError):
        raise Invalid("%(key)r in the kubeconfig is not base64 of PEM.", field="kubeconfig", key=key) from None


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""
