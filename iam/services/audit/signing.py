"""The keys that sign the trail: the first is made when it is needed, the next is introduced by the one before."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select

from iam.errors import Unavailable
from iam.evidence.keys import Introduction, SigningKey, fingerprint, to_pem
from iam.evidence.strict import is_hash
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
        known = self.lineage()
        if not known and db.session.scalar(select(AuditKey.number).limit(1)):
            raise Unavailable("The key that signs the audit trail cannot be opened; put its key back into encryption_keys.")
        if not known:
            return self._add(WORKER, SigningKey.new(), None)
        return SigningKey.from_hex(self._world.vault.open(known[-1].private or b"")["private"])

    def lineage(self) -> list[AuditKey]:
        """From the first key to the one that signs now, each introduced by the one before; other rows are none of ours."""
        rows = {row.fingerprint: row for row in db.session.scalars(select(AuditKey).order_by(AuditKey.number))}
        found: list[AuditKey] = []
        row = next((one for one in reversed(rows.values()) if self._opens(one)), None)
        while row is not None and row not in found and _is_a_key(row):
            found.append(row)
            row = rows.get(row.introduced_by)
        return found[::-1]

    def strangers(self) -> list[str]:
        """Fingerprints in the database that are none of ours."""
        known = {row.fingerprint for row in self.lineage()}
        return [one for one in db.session.scalars(select(AuditKey.fingerprint)) if one not in known]

    def named(self) -> list[Introduction]:
        """All public keys of ours, the first one first."""
        return [Introduction(row.fingerprint, row.public, row.introduced_by, row.signature) for row in self.lineage()]

    def public(self, actor: Actor) -> Sequence[AuditKey]:
        """For whoever is logged in: a public key is no secret. The newest first."""
        self._audit.require(actor, scope=READ)
        return self.lineage()[::-1]

    def pem(self, actor: Actor) -> str:
        """All public keys, as auditors keep them."""
        self._audit.require(actor, scope=READ)
        with transaction():
            self.current()
        return "".join(to_pem(bytes.fromhex(row.public)) for row in reversed(self.public(actor)))

    def rotate(self, actor: Actor) -> str:
        """From now on another key signs; the old one is forgotten. Returns the new fingerprint."""
        self._audit.require(actor, "administrator", scope=WRITE, target=Target("audit key", ""))
        with transaction():
            return self._add(actor, SigningKey.new(), self.current()).fingerprint

    def _opens(self, row: AuditKey) -> bool:
        """Whether this row's private key is under our lock, and its public half is what the row says."""
        try:
            key = SigningKey.from_hex(self._world.vault.open(row.private or b"")["private"])
        except (Unavailable, ValueError, LookupError, TypeError):
            return False
        return (key.fingerprint, key.public.hex()) == (row.fingerprint, row.public)

    def _add(self, actor: Actor, key: SigningKey, before: SigningKey | None) -> SigningKey:
        told = before.introduce(key) if before else Introduction(key.fingerprint, key.public.hex())
        for old in self.lineage():
            old.private = None
        last = db.session.scalar(select(func.max(AuditKey.number))) or 0
        db.session.add(
            AuditKey(
                number=last + 1, fingerprint=told.key, public=told.public, introduced_by=told.introduced_by,
                signature=told.signature, private=self._world.vault.seal({"private": key.to_hex()}), created_at=self._world.now(),
            )
        )
        self._audit.record(
            actor, Event.AUDIT_KEY_ROTATED, Target("audit key", told.key[:16]), key=told.key, public=told.public,
            introduced_by=told.introduced_by, signature=told.signature,
        )
        db.session.flush()
        return key


def _is_a_key(row: AuditKey) -> bool:
    """Whether its public half is one, and is what its name says."""
    return is_hash(row.public) and fingerprint(bytes.fromhex(row.public)) == row.fingerprint
