"""The ports to a cluster: sign a certificate, keep bindings, tell how it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, Protocol

from iam.kube.bindings import Binding, Plan, RoleRef
from iam.kube.certificates import SigningRequest
from iam.kube.requests import Request


@dataclass(frozen=True, slots=True)
class Signed:
    """What a signer returned: unchecked PEM, and the name of the request object if there was one."""

    pem: bytes
    request_name: str = ""


@dataclass(frozen=True, slots=True)
class Applied:
    """How an apply went: how many changes took hold, and what the others said."""

    changed: int
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """How a cluster is: its version, the rights we lack, whether it signs client certificates."""

    version: str
    missing_rights: tuple[str, ...] = ()
    signs: bool | None = None
    """None where signing was not tried (another signer is set, or rights are missing)."""
    problem: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For storage and the API."""
        return asdict(self) | {"missing_rights": list(self.missing_rights)}


class Signer(Protocol):
    """Signs checked requests. The certificate is compared by the caller, whoever signed it."""

    def sign(self, request: SigningRequest, lifetime: timedelta) -> Signed:
        """Return the certificate. Raises Unavailable."""


class BindingStore(Protocol):
    """Keeps bindings, and touches none but ours."""

    def owned(self) -> Mapping[tuple[str, str], Binding]:
        """All bindings with our label, by key. Raises Unavailable."""

    def apply(self, plan: Plan) -> Applied:
        """Carry a plan out as far as possible; safe to repeat. Raises Unavailable when nothing answers at all."""


class Connection(Protocol):
    """One cluster, reached."""

    signer: Signer
    bindings: BindingStore

    def probe(self, bound_roles: Iterable[RoleRef]) -> ProbeReport:
        """Look at everything we need of it, the right to bind these roles included. Raises Unavailable."""

    def namespaces(self) -> tuple[str, ...]:
        """The cluster's namespaces, sorted. Raises Unavailable."""

    def rbac(self) -> list[dict[str, Any]]:
        """Every RBAC object of the cluster, as the API gives it. Raises Unavailable."""

    def role(self, role: RoleRef, namespace: str) -> dict[str, Any] | None:
        """One role (a Role in this namespace) as the API gives it, None where there is none. Raises Unavailable."""

    def allows(self, request: Request) -> bool:
        """What the cluster itself decides. Raises Unavailable; Refused where we may not ask."""

    def roles(self) -> tuple[tuple[str, RoleRef], ...]:
        """(namespace or empty, role) of every role there is. Raises Unavailable."""

    def write_config_map(self, namespace: str, name: str, data: Mapping[str, str]) -> None:
        """Replace the data of a ConfigMap that is there. Raises Unavailable, Refused, NotFound, Conflict."""
