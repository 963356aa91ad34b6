"""What a role allows, as it is shown to whoever asks and whoever approves; and the digest that binds an approval to it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from iam.errors import Conflict, Invalid, Unavailable
from iam.kube.rbac import Role, read_role
from iam.kube.risks import Risk, is_harmless, risks
from iam.models import AccessRequest, Cluster, db
from iam.services.clusters import OFFLINE, Clusters, role_ref


@dataclass(frozen=True, slots=True)
class Shown:
    """The role in each scope (empty: the whole cluster), read from the cluster at this moment."""

    roles: Mapping[str, Role | None]

    @property
    def missing(self) -> list[str]:
        """Scopes in which there is no such role."""
        return [scope for scope, role in self.roles.items() if role is None]

    @property
    def risks(self) -> tuple[Risk, ...]:
        """What is dangerous in it."""
        return risks(rule for role in self.roles.values() if role for rule in role.rules)

    @property
    def digest(self) -> str:
        """SHA-256 of the rules, and of where they stand."""
        return _sha256({scope: _plain(role) for scope, role in sorted(self.roles.items())})

    @property
    def is_harmless(self) -> bool:
        """Whether it only looks, and at nothing that is secret or leads on."""
        return all(role is not None and is_harmless(role.rules) for role in self.roles.values())

    def within(self, namespaces: Sequence[str]) -> Shown:
        """The same for some of the scopes."""
        return Shown({scope: self.roles[scope] for scope in namespaces or [""]})


class Roles:
    """Reads roles from clusters."""

    def __init__(self, clusters: Clusters) -> None:
        self._clusters = clusters

    def shown(self, cluster: Cluster, kind: str, name: str, namespaces: Sequence[str]) -> Shown:
        """A ClusterRole is read once, a Role in each namespace. Raises Unavailable."""
        connection, ref = self._clusters.connection(cluster), role_ref(kind, name)
        db.session.commit()  # no transaction stays open while the cluster answers
        places = list(namespaces) or [""]
        found = {place: connection.role(ref, place) for place in (places if kind == "Role" else [""])}
        try:
            roles = {place: read_role(document) if document else None for place, document in found.items()}
        except (KeyError, TypeError, AttributeError):
            raise Unavailable("What %(name)s says of this role is not as it should be.", name=cluster.name) from None
        return Shown(roles if kind == "Role" else dict.fromkeys(places, roles[""]))

    def require(self, cluster: Cluster, kind: str, name: str, namespaces: Sequence[str]) -> Shown:
        """The same. Raises Conflict where the role or a namespace is not there."""
        shown = self.shown(cluster, kind, name, namespaces)
        if shown.missing:
            raise Conflict(
                "%(cluster)s has no %(kind)s %(role)s%(where)s.", cluster=cluster.name, kind=kind, role=name,
                where=" (" + ", ".join(shown.missing[:5]) + ")" if any(shown.missing) else "",
            )
        return shown

    def require_namespaces(self, cluster: Cluster, namespaces: Iterable[str]) -> None:
        """Raises Invalid for namespaces that a cluster does not have."""
        wanted = set(namespaces)
        if not wanted or cluster.access == OFFLINE:
            return
        connection = self._clusters.connection(cluster)
        db.session.commit()
        lost = sorted(wanted - set(connection.namespaces()))
        if lost:
            raise Invalid("%(cluster)s has no namespace %(names)s.", field="namespaces", cluster=cluster.name, names=", ".join(lost[:5]))


def digest(request: AccessRequest, rules_digest: str) -> str:
    """SHA-256 of everything that an approval is of. An approval that carries another one is refused."""
    return _sha256([
        request.id, request.kind, request.requester_subject, request.title, request.cluster_id, request.role_kind, request.role_name,
        request.namespaces, request.seconds, request.starts_at.isoformat() if request.starts_at else None, request.reason,
        request.ticket, request.extends, request.stages, request.round, rules_digest,
    ])


def _plain(role: Role | None) -> object:
    if role is None:
        return None
    parts = ("verbs", "api_groups", "resources", "resource_names", "non_resource_urls")
    return sorted([[sorted(getattr(rule, part)) for part in parts] for rule in role.rules])


def _sha256(value: object) -> str:
    return hashlib.sha256(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()
