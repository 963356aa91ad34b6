"""Clusters: register, probe, change, remove. Credentials are sealed at rest and never shown again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal, cast

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import joinedload

from iam.approval.scopes import covers
from iam.clusters import manifests
from iam.clusters.base import Connection
from iam.clusters.connection import in_cluster_access
from iam.errors import Conflict, Invalid, NotFound, Problem
from iam.kube import names
from iam.kube.authorizer import Snapshot
from iam.kube.bindings import RoleRef
from iam.kube.certificates import MIN_LIFETIME, read_ca, read_ca_bundle
from iam.kube.kubeconfig import Access, check_access, check_server
from iam.kube.kubeconfig import read as read_kubeconfig
from iam.models import (
    AuditKey,
    Base,
    CatalogueEntry,
    Cluster,
    EmergencyDoor,
    Grant,
    Mapping,
    PolicyFile,
    ReconcileState,
    Session,
    Webhook,
    db,
)
from iam.models.grant import ACTIVE, ENDED
from iam.services.audit import Audit, Event, Target
from iam.services.base import READ, WRITE, Actor, World, transaction
from iam.services.wakeups import want_cluster

MAX_LIFETIME_SECONDS = 30 * 24 * 3600
CREDENTIAL, IN_CLUSTER, OFFLINE = "credential", "in-cluster", "offline"
CSR, CA, NONE = "csr", "ca", "none"


@dataclass(frozen=True, slots=True)
class Registration:
    """What an administrator says about a cluster. ``repr`` is not for logs: use the name."""

    name: str
    title: str = ""
    access: str = CREDENTIAL
    kubeconfig: str = ""
    context: str = ""
    server: str = ""
    ca_pem: str = ""
    token: str = ""
    signer: str = CSR
    signer_ca_pem: str = ""
    signer_ca_key: str = ""
    default_lifetime_seconds: int = 3600
    max_lifetime_seconds: int = 12 * 3600

    def __repr__(self) -> str:
        return f"Registration({self.name!r})"

_ENCRYPTED: tuple[tuple[type[Base], tuple[str, ...]], ...] = (
    (Cluster, ("credential", "signer_ca_key")), (Webhook, ("url", "secret")), (Session, ("logout",)), (AuditKey, ("private",)),
)  # fmt: skip


class Clusters:
    """Use cases about clusters."""

    def __init__(self, world: World, audit: Audit) -> None:
        self._world = world
        self._audit = audit

    def register(self, actor: Actor, command: Registration) -> Cluster:
        """Add a cluster and look at it at once. Raises Invalid, Conflict; an unreachable cluster is kept, and says so."""
        self._audit.require(actor, "administrator", scope=WRITE, target=Target("cluster", command.name))
        name = names.object_name(command.name.strip())
        _check_lifetimes(command.default_lifetime_seconds, command.max_lifetime_seconds)
        access = _access_of(command)
        cluster = Cluster(
            name=name, title=command.title.strip()[:120], access=command.access, signer=command.signer,
            server=access.server, ca_pem=access.ca_pem,
            credential=self._world.vault.seal(asdict(access)) if command.access == CREDENTIAL else None,
            default_lifetime_seconds=command.default_lifetime_seconds, max_lifetime_seconds=command.max_lifetime_seconds,
            created_at=self._world.now(), reconcile=ReconcileState(wanted_at=self._world.now()),
        )
        self._set_signer(cluster, command)
        with transaction():
            db.session.add(cluster)
            try:
                db.session.flush()
            except IntegrityError:
                raise Conflict("There is a cluster called %(name)s already.", name=name, field="name") from None
            self._audit.record(actor, Event.CLUSTER_REGISTERED, _target(cluster), signer=cluster.signer, **_told_of(cluster))
        self.probe(actor, name)
        return cluster

    def change(self, actor: Actor, name: str, *, title: str, default_lifetime_seconds: int, max_lifetime_seconds: int) -> Cluster:
        """Change what can change without a new credential."""
        self._audit.require(actor, "administrator", scope=WRITE, target=Target("cluster", name))
        _check_lifetimes(default_lifetime_seconds, max_lifetime_seconds)
        with transaction():
            cluster = self.named(name)
            cluster.title = title.strip()[:120]
            cluster.default_lifetime_seconds, cluster.max_lifetime_seconds = default_lifetime_seconds, max_lifetime_seconds
            self._audit.record(
                actor, Event.CLUSTER_CHANGED, _target(cluster), title=cluster.title, default_lifetime_seconds=default_lifetime_seconds,
                max_lifetime_seconds=max_lifetime_seconds,
            )
        return cluster

    def renew(self, actor: Actor, command: Registration) -> Cluster:
        """Give a registered cluster a new address or credential. Raises Invalid, NotFound."""
        self._audit.require(actor, "administrator", scope=WRITE, target=Target("cluster", command.name))
        access = _access_of(command)
        with transaction():
            cluster = self.named(command.name)
            cluster.access, cluster.server, cluster.ca_pem = command.access, access.server, access.ca_pem
            cluster.credential = self._world.vault.seal(asdict(access)) if command.access == CREDENTIAL else None
            want_cluster(cluster.id, self._world.now())
            self._audit.record(actor, Event.CLUSTER_CHANGED, _target(cluster), **_told_of(cluster))
        return self.probe(actor, command.name)

    def remove(self, actor: Actor, name: str, *, leave_bindings: bool = False) -> None:
        """Forget a cluster. Its mappings must be gone and reconciled first, so that no binding stays behind unseen.

        ``leave_bindings`` is for a cluster that exists no more. The record of issued certificates is kept.
        """
        self._audit.require(actor, "administrator", scope=WRITE, target=Target("cluster", name))
        with self._audit.telling(actor, lambda: Target("cluster", name, name)), transaction():
            cluster = self.named(name)
            mapped = db.session.scalar(select(Mapping.id).where(Mapping.cluster_id == cluster.id).limit(1))
            if mapped:
                raise Conflict("%(name)s still has mappings; remove them first, so that their bindings go.", name=name)
            granted = db.session.scalar(select(Grant.id).where(Grant.cluster_id == cluster.id, Grant.state == ACTIVE).limit(1))
            if granted and not leave_bindings:
                raise Conflict("%(name)s still has grants that run; end them first, so that their bindings go.", name=name)
            state = cluster.reconcile
            was_ever_used = state.wanted > 1
            if was_ever_used and (state.is_behind or state.failures or state.bindings) and not leave_bindings:
                raise Conflict("Bindings of ours may still be on %(name)s; wait until it has been reconciled.", name=name)
            self._audit.record(actor, Event.CLUSTER_REMOVED, _target(cluster), leave_bindings=leave_bindings)
            db.session.delete(cluster)

    def probe(self, actor: Actor, name: str) -> Cluster:
        """Ask the cluster how it is, and keep the answer; an error is an answer too."""
        self._audit.require(actor, "administrator", scope=WRITE, target=Target("cluster", name))
        cluster = self.named(name)
        bound = bound_roles(cluster)
        try:
            connection = self.connection(cluster)
            db.session.commit()  # no transaction stays open while the cluster answers
            report = connection.probe(bound).as_dict()
        except Problem as problem:
            report = {"version": "", "missing_rights": [], "signs": None, "problem": str(problem)}
        with transaction():
            cluster = self.named(name)
            cluster.probe, cluster.probed_at = report, self._world.now()
            self._audit.record(actor, Event.CLUSTER_PROBED, _target(cluster), result="failed" if report["problem"] else "done", **report)
        return cluster

    def list(self, actor: Actor) -> Sequence[Cluster]:
        """All clusters, by name."""
        self._audit.require(actor, "administrator", "auditor", scope=READ)
        return self.all()

    def all(self) -> Sequence[Cluster]:
        """The same for a service that has judged already."""
        return db.session.scalars(select(Cluster).options(joinedload(Cluster.reconcile)).order_by(Cluster.name)).all()

    def get(self, actor: Actor, name: str) -> Cluster:
        """Raises NotFound."""
        self._audit.require(actor, "administrator", "auditor", scope=READ, target=Target("cluster", name))
        return self.named(name)

    def choices(self, actor: Actor, name: str) -> tuple[tuple[str, ...], tuple[tuple[str, RoleRef], ...]]:
        """Namespaces and roles to choose from when mapping; nothing when the cluster does not answer."""
        cluster = self.get(actor, name)
        try:
            connection = self.connection(cluster)
            db.session.commit()
            return connection.namespaces(), connection.roles()
        except Problem:
            return (), ()

    def snapshot(self, actor: Actor, name: str) -> Snapshot:
        """The cluster's own RBAC as it is now. Raises Unavailable."""
        return self.read(self.get(actor, name))

    def read(self, cluster: Cluster) -> Snapshot:
        """The same for a service that has judged already."""
        connection = self.connection(cluster)
        db.session.commit()  # no transaction stays open while the cluster answers
        return Snapshot.from_documents(connection.rbac())

    def manifest(self, actor: Actor, name: str = "", roles: Sequence[RoleRef] = ()) -> str:
        """The least ServiceAccount and ClusterRole, with ``bind`` on the roles that are mapped (or given)."""
        self._audit.require(actor, "administrator", scope=READ)
        for role in roles:
            names.role_name(role.name)
        cluster = self.named(name) if name else None
        bound = {*roles, *(bound_roles(cluster) if cluster else ())}
        has_policy = cluster and db.session.scalar(select(PolicyFile.id).filter_by(cluster_id=cluster.id).limit(1))
        self._audit.downloaded(actor, Target("cluster", name, name) if name else Target("file", "manifest"))
        return manifests.manifest(bound, signs=cluster is None or cluster.signer == CSR, asks=bool(has_policy))

    def connection(self, cluster: Cluster) -> Connection:
        """The cluster, reached."""
        return self._world.connect(cluster)

    def rotate_keys(self, actor: Actor) -> int:
        """Seal every stored secret under the current key; returns how many were due."""
        self._audit.require(actor, "administrator", scope=WRITE)
        with transaction():
            count = 0
            for model, fields in _ENCRYPTED:
                rows = db.session.scalars(select(model)).all()
                count += sum(self._encrypt_anew(row, field) for row in rows for field in fields)
            self._audit.record(actor, Event.KEYS_ROTATED, count=count)
        return count

    def _encrypt_anew(self, row: object, field: str) -> bool:
        sealed = getattr(row, field)
        is_due = bool(sealed) and not self._world.vault.is_current(sealed)
        if is_due:
            setattr(row, field, self._world.vault.seal(self._world.vault.open(sealed)))
        return is_due

    def _set_signer(self, cluster: Cluster, command: Registration) -> None:
        if command.signer not in {CSR, CA, NONE}:
            raise Invalid("The signer is one of csr, ca, none.", field="signer")
        if command.access == OFFLINE and command.signer == CSR:
            raise Invalid("An offline cluster cannot sign; give it a CA or no signer.", field="signer")
        if command.signer == CA:
            read_ca(command.signer_ca_pem.encode(), command.signer_ca_key.encode())
            cluster.signer_ca_pem = command.signer_ca_pem
            cluster.signer_ca_key = self._world.vault.seal(command.signer_ca_key)

    def named(self, name: str) -> Cluster:
        """For a service that has judged already. Raises NotFound."""
        cluster = db.session.scalar(select(Cluster).filter_by(name=name))
        if cluster is None:
            raise NotFound("There is no cluster %(name)s.", name=name)
        return cluster


def bound_roles(cluster: Cluster) -> set[RoleRef]:
    """The roles that are handed out on a cluster, or may be: mapped, granted, offered in the catalogue, behind an emergency door."""
    mapped = select(Mapping.role_kind, Mapping.role_name).where(Mapping.cluster_id == cluster.id)
    granted = select(Grant.role_kind, Grant.role_name).where(Grant.cluster_id == cluster.id, Grant.state != ENDED)
    found = {role_ref(kind, name) for query in (mapped, granted) for kind, name in db.session.execute(query.distinct())}
    for offer in (*db.session.scalars(select(CatalogueEntry)), *db.session.scalars(select(EmergencyDoor))):
        if covers(offer.clusters, cluster.name):
            found.add(role_ref(offer.role_kind, offer.role_name))
    return found


def role_ref(kind: str, name: str) -> RoleRef:
    """A RoleRef from stored text, whose kind a database constraint has checked."""
    return RoleRef(cast("Literal['Role', 'ClusterRole']", kind), name)


def _access_of(command: Registration) -> Access:
    if command.access == IN_CLUSTER:
        return in_cluster_access()
    if command.access == OFFLINE:
        if command.ca_pem:
            read_ca_bundle(command.ca_pem.encode())
        return Access(check_server(command.server), command.ca_pem)
    if command.access != CREDENTIAL:
        raise Invalid("The access is one of credential, in-cluster, offline.", field="access")
    if command.kubeconfig.strip():
        return read_kubeconfig(command.kubeconfig, command.context)
    return check_access(Access(check_server(command.server.strip()), command.ca_pem.strip(), token=command.token.strip()))


def _check_lifetimes(default: int, longest: int) -> None:
    least = int(MIN_LIFETIME.total_seconds())
    if not least <= longest <= MAX_LIFETIME_SECONDS:
        raise Invalid("The longest lifetime lies between 10 minutes and 30 days.", field="max_lifetime_seconds")
    if not least <= default <= longest:
        raise Invalid("The default lifetime lies between 10 minutes and the longest one.", field="default_lifetime_seconds")


def _target(cluster: Cluster) -> Target:
    return Target("cluster", cluster.name, cluster.name)


def _told_of(cluster: Cluster) -> dict[str, str]:
    """Where a cluster is and whom we trust to be it; the CA as its SHA-256 (of the PEM, hex)."""
    ca = hashlib.sha256(cluster.ca_pem.encode()).hexdigest() if cluster.ca_pem else ""
    return {"server": cluster.server, "access": cluster.access, "ca_sha256": ca}
