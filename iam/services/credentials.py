"""Credentials: a certificate per cluster, compared with what was asked, archived; a kubeconfig handed out once."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import joinedload

from iam import log
from iam.clusters.base import Signer
from iam.errors import Conflict, Invalid, Problem, Unavailable
from iam.kube.certificates import (
    MIN_LIFETIME,
    Issued,
    Mismatch,
    SigningRequest,
    key_pem,
    new_key,
    new_request,
    read_request,
    verify_issued,
)
from iam.kube.kubeconfig import Entry, write
from iam.models import Cluster, Credential, Person, db
from iam.services.audit import Audit, Event, Target
from iam.services.base import KUBECONFIG, READ, Actor, World, transaction
from iam.services.clusters import NONE
from iam.services.holdings import Holding, Holdings

_log = log.get(__name__)
OURS, THEIRS = "ours", "theirs"


@dataclass(frozen=True, slots=True)
class Ask:
    """What somebody wants: some clusters (none named: all of theirs), for how long, with whose key."""

    clusters: tuple[str, ...] = ()
    lifetime_seconds: int | None = None
    """None: each cluster's default."""
    csr_pem: bytes = b""
    """An own signing request; empty: we make the key, send it once and forget it."""
    key_path: str = ""
    """Where the person keeps the key of the CSR, for the kubeconfig to name."""
    on_behalf_of: str = ""
    """A person's id, where the operator of the command line asks for somebody."""


@dataclass(frozen=True, slots=True)
class Handed:
    """The kubeconfig and what is in it. ``repr`` shows no key."""

    kubeconfig: str
    clusters: tuple[str, ...]
    expires: dict[str, str]

    def __repr__(self) -> str:
        return f"Handed({self.clusters!r})"


@dataclass(frozen=True, slots=True)
class _Order:
    """One certificate to be had; plain values, so that a thread needs no database."""

    cluster_id: str
    cluster: str
    server: str
    ca_pem: str
    signer: Signer
    lifetime: timedelta
    request: SigningRequest
    key_pem: str = field(repr=False)


class Credentials:
    """Use cases about one's own credentials."""

    def __init__(self, world: World, audit: Audit, holdings: Holdings) -> None:
        self._world = world
        self._audit = audit
        self._holdings = holdings

    def issue(self, actor: Actor, ask: Ask) -> Handed:
        """A kubeconfig with fresh certificates: all of them, or none and an error.

        Raises Invalid, Forbidden, Conflict, Unavailable.
        """
        self._audit.require(actor, scope=KUBECONFIG)
        try:
            person = self._person(actor, ask)
            orders = self._orders(actor, person, ask)
        except (Invalid, Unavailable) as problem:
            self._audit.failed(actor, Event.CREDENTIAL_ISSUED, Target("person", actor.name), problem)
            raise
        username, person_id = person.username, person.id
        db.session.commit()  # no transaction stays open while clusters sign
        issued = self._sign_all(actor, person_id, orders, THEIRS if ask.csr_pem else OURS)
        entries = [
            Entry(order.cluster, order.server, order.ca_pem, username, certificate.pem.decode(), order.key_pem, ask.key_path)
            for order, (_, certificate) in zip(orders, issued, strict=True)
        ]
        expires = {order.cluster: certificate.not_after.isoformat() for order, (_, certificate) in zip(orders, issued, strict=True)}
        return Handed(write(entries), tuple(order.cluster for order in orders), expires)

    def own(self, actor: Actor) -> Sequence[Credential]:
        """One's own certificates that still run, the longest first."""
        self._audit.require(actor, scope=READ)
        return db.session.scalars(
            select(Credential).options(joinedload(Credential.cluster))
            .where(Credential.person_id == actor.person_id, Credential.expires_at > self._world.now())
            .order_by(Credential.expires_at.desc()).limit(100)
        ).all()

    def _person(self, actor: Actor, ask: Ask) -> Person:
        if ask.on_behalf_of and actor.door != "cli":
            self._audit.refuse(actor, "Only a person who may log in gets credentials.")
        person = db.session.get(Person, ask.on_behalf_of or actor.person_id)
        if person is None or person.is_disabled:
            self._audit.refuse(actor, "Only a person who may log in gets credentials.")
        return person

    def _orders(self, actor: Actor, person: Person, ask: Ask) -> list[_Order]:
        clusters = self._chosen(actor, self._holdings.of(person), ask.clusters)
        brought = self._brought_request(ask, person)
        orders = []
        for cluster in clusters:
            key = new_key()
            orders.append(
                _Order(
                    cluster.id, cluster.name, cluster.server, cluster.ca_pem, self._world.connect(cluster).signer,
                    _lifetime(cluster, ask.lifetime_seconds),
                    brought or new_request(key, person.username), "" if brought else key_pem(key).decode(),
                )
            )
        return orders

    def _brought_request(self, ask: Ask, person: Person) -> SigningRequest | None:
        if not ask.csr_pem:
            return None
        request = read_request(ask.csr_pem, person.username)
        self._refuse_seen_key(request)
        return request

    def _chosen(self, actor: Actor, holdings: Sequence[Holding], wanted: tuple[str, ...]) -> list[Cluster]:
        """The clusters to serve: those named, or all with access; each must be one where the person holds something."""
        held = {holding.cluster.name: holding.cluster for holding in holdings if holding.is_ours}
        for name in wanted:
            if name not in held:
                self._audit.refuse(actor, "You have no access in the cluster %(name)s.", Target("cluster", name, name), name=name)
            if held[name].signer == NONE:
                raise Invalid("The cluster %(name)s takes credentials from elsewhere; there is nothing to download.", name=name)
        chosen = [held[name] for name in dict.fromkeys(wanted)] or [cluster for cluster in held.values() if cluster.signer != NONE]
        if not chosen:
            self._audit.refuse(actor, "You have no access in any cluster yet, so there is nothing to download.")
        return chosen

    def _refuse_seen_key(self, request: SigningRequest) -> None:
        if db.session.scalar(select(Credential.fingerprint).filter_by(key_fingerprint=request.key_fingerprint).limit(1)):
            raise Invalid("This key has had a certificate before; make a new key and a new signing request.", field="csr")

    def _sign_all(self, actor: Actor, person_id: str, orders: Sequence[_Order], origin: str) -> list[tuple[str, Issued]]:
        """All certificates; what was signed is archived even if another cluster failed, for it exists."""
        if len(orders) == 1:
            results = [self._sign(orders[0])]
        else:
            with ThreadPoolExecutor(max_workers=8, thread_name_prefix="signing") as pool:
                results = list(pool.map(self._sign, orders))
        signed = [(order, result) for order, result in zip(orders, results, strict=True) if not isinstance(result, Problem)]
        self._archive(actor, person_id, signed, origin)
        failed = [(order, result) for order, result in zip(orders, results, strict=True) if isinstance(result, Problem)]
        for order, problem in failed:
            self._audit.failed(actor, Event.CREDENTIAL_ISSUED, Target("cluster", order.cluster, order.cluster), problem)
        if failed:
            raise failed[0][1]
        return [result for _order, result in signed]

    def _sign(self, order: _Order) -> tuple[str, Issued] | Problem:
        try:
            signed = order.signer.sign(order.request, order.lifetime)
            return signed.request_name, verify_issued(signed.pem, order.request, order.lifetime, self._world.now())
        except Mismatch as mismatch:
            _log.error("returned certificate refused", cluster=order.cluster, why=str(mismatch))
            return Unavailable("The cluster %(name)s did not return what was asked for: %(why)s.", name=order.cluster, why=str(mismatch))
        except Problem as problem:
            return problem

    def _archive(self, actor: Actor, person_id: str, signed: Sequence[tuple[_Order, tuple[str, Issued]]], origin: str) -> None:
        try:
            with transaction():
                for order, (request_name, certificate) in signed:
                    self._record(actor, person_id, order, request_name, certificate, origin)
        except IntegrityError:
            problem = Conflict("This key has just had a certificate; make a new key and a new signing request.")
            fingerprints = [certificate.fingerprint for _order, (_name, certificate) in signed]
            self._audit.failed(actor, Event.CREDENTIAL_ISSUED, Target("person", actor.name), problem, fingerprints=fingerprints)
            raise problem from None
        self._still_allowed(actor, person_id)

    def _record(self, actor: Actor, person_id: str, order: _Order, request_name: str, certificate: Issued, origin: str) -> None:
        db.session.add(
            Credential(
                fingerprint=certificate.fingerprint, person_id=person_id, cluster_id=order.cluster_id, cluster_name=order.cluster,
                key_fingerprint=order.request.key_fingerprint, key_origin=origin, username=order.request.username,
                certificate_pem=certificate.pem.decode(), request_name=request_name,
                issued_at=self._world.now(), expires_at=certificate.not_after,
            )
        )
        self._audit.record(
            actor, Event.CREDENTIAL_ISSUED, Target("cluster", order.cluster, order.cluster, order.request.username),
            person=order.request.username, fingerprint=certificate.fingerprint, expires=certificate.not_after.isoformat(), key=origin,
            request=request_name,
        )

    def _still_allowed(self, actor: Actor, person_id: str) -> None:
        """Signing takes a moment, in which a person may have been disabled: the certificate is on record, not handed out."""
        disabled_at = db.session.execute(select(Person.disabled_at).where(Person.id == person_id)).one_or_none()
        if disabled_at is None or disabled_at[0] is not None:
            self._audit.refuse(actor, "You were disabled meanwhile.", Target("person", actor.name))


def _lifetime(cluster: Cluster, wanted: int | None) -> timedelta:
    """Within the cluster's limits. Raises Invalid, naming them."""
    if wanted is None:
        return timedelta(seconds=cluster.default_lifetime_seconds)
    least = int(MIN_LIFETIME.total_seconds())
    if not least <= wanted <= cluster.max_lifetime_seconds:
        raise Invalid(
            "In the cluster %(name)s a certificate lives between %(least)d and %(most)d minutes.",
            field="lifetime_seconds", name=cluster.name, least=least // 60, most=cluster.max_lifetime_seconds // 60,
        )
    return timedelta(seconds=wanted)


