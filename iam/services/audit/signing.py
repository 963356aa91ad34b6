"""The keys that sign the trail: the first is made when it is needed, the next is introduced by the one before."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select

from iam.evidence.keys import Introduction, SigningKey, to_pem
from iam.models import AuditKey, db
from iam.services.audit.trail import Audit, Target
from iam.services.audit.vocabulary import Event
from iam.services.base import READ, WORKER, WRITE, Actor, World, transaction


class SigningKeys:
    """Private keys are sealed in the database: whoever has that alone can sign nothing."""

    def __init__(self, world: World, audit: Audit) -> None:
        self._world = world
        self._audit = audit

    def current(self) -> SigningKey:
        """The key that signs now. In the caller's transaction, where the first is made. Raises Unavailable (the vault's key is gone)."""
        row = self._newest()
        if row is None or row.private is None:
            return self._add(WORKER, SigningKey.new(), None)
        return SigningKey.from_hex(self._world.vault.open(row.private)["private"])

    def named(self) -> list[Introduction]:
        """All public keys, the first one first."""
        rows = db.session.scalars(select(AuditKey).order_by(AuditKey.number)).all()
        return [Introduction(row.fingerprint, row.public, row.introduced_by, row.signature) for row in rows]

    def public(self, actor: Actor) -> Sequence[AuditKey]:
        """For whoever is logged in: a public key is no secret. The newest first."""
        self._audit.require(actor, scope=READ)
        return db.session.scalars(select(AuditKey).order_by(AuditKey.number.desc())).all()

    def pem(self, actor: Actor) -> str:
        """All public keys, as auditors keep them."""
        with transaction():
            self.current()
        return "".join(to_pem(bytes.fromhex(row.public)) for row in reversed(self.public(actor)))

    def rotate(self, actor: Actor) -> str:
        """From now on another key signs; the old one is forgotten. Returns the new fingerprint."""
        self._audit.require(actor, "administrator", scope=WRITE, target=Target("audit key", ""))
        with transaction():
            return self._add(actor, SigningKey.new(), self.current()).fingerprint

    def _newest(self) -> AuditKey | None:
        return db.session.scalars(select(AuditKey).order_by(AuditKey.number.desc()).limit(1)).one_or_none()

    def _add(self, actor: Actor, key: SigningKey, before: SigningKey | None) -> SigningKey:
        told = before.introduce(key) if before else Introduction(key.fingerprint, key.public.hex())
        old = self._newest()
        if old is not None:
            old.private = None
        db.session.add(
            AuditKey(
                number=old.number + 1 if old else 1, fingerprint=told.key, public=told.public, introduced_by=told.introduced_by,
                signature=told.signature, private=self._world.vault.seal({"private": key.to_hex()}), created_at=self._world.now(),
            )
        )
        self._audit.record(
            actor, Event.AUDIT_KEY_ROTATED, Target("audit key", told.key[:16]), key=told.key, public=told.public,
            introduced_by=told.introduced_by, signature=told.signature,
        )
        db.session.flush()
        return key
