"""ABAC policies: written, imported and kept as versions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import joinedload, undefer

from iam.errors import Conflict, Invalid, NotFound
from iam.kube import names
from iam.models import Cluster, PolicyFile, PolicyVersion, db
from iam.services import policy_drafts
from iam.services.audit import Audit, Event, Target
from iam.services.base import READ, WRITE, Actor, World, transaction
from iam.services.policy_drafts import Draft
from iam.services.policy_subjects import members_of

MAX_POLICY_BYTES = 32 * 1024 * 1024
"""What a door takes at once; the command line reads files of any size below ``policy_drafts.MAX_TEXT``."""


RESERVED = {"new", "lint", "generate", "diff", "convert"}
"""Words that stand where a name does, in addresses of pages and of the API."""
_MAX_NUMBER = 2**31 - 1


@dataclass(frozen=True, slots=True)
class NewPolicy:
    """A policy file as an administrator brings it."""

    name: str
    text: str = ""
    reason: str = ""
    cluster: str = ""
    owner: str = ""
    is_alone: bool = True
    """Whether ABAC is the only authorizer of that cluster."""


class Policies:
    """Use cases of writing ABAC policies."""

    def __init__(self, world: World, audit: Audit) -> None:
        self._world = world
        self._audit = audit

    def list(self, actor: Actor) -> Sequence[PolicyFile]:
        """All files, by name."""
        self._audit.require(actor, "administrator", "auditor", scope=READ)
        return db.session.scalars(select(PolicyFile).options(joinedload(PolicyFile.cluster)).order_by(PolicyFile.name)).all()

    def get(self, actor: Actor, name: str) -> PolicyFile:
        """Raises NotFound."""
        self._audit.require(actor, "administrator", "auditor", scope=READ, target=Target("policy", name))
        return self.named(name)

    def version(self, actor: Actor, name: str, number: int | None = None) -> PolicyVersion:
        """One version, the newest unless a number is given. Raises NotFound."""
        return self.version_of(self.get(actor, name), number)

    def create(self, actor: Actor, command: NewPolicy) -> PolicyFile:
        """Keep a new file, or import one: every line is kept as it stands. Raises Invalid, Conflict, NotFound."""
        target = Target("policy", command.name, command.cluster)
        self._audit.require(actor, "administrator", scope=WRITE, target=target)
        name = names.object_name(command.name.strip())
        if name in RESERVED:
            raise Invalid("%(name)s cannot be the name of a policy; pages are called so.", field="name", name=name)
        draft = self._readable(command.text, command.reason)
        cluster = self._cluster(command.cluster)
        file = PolicyFile(
            name=name, cluster_id=cluster.id if cluster else None, owner=names.printable(command.owner, 255) or actor.name,
            is_alone=command.is_alone, created_at=self._world.now(),
            versions=[self._version(actor, 1, command.text, command.reason, draft)],
        )
        with transaction():
            db.session.add(file)
            try:
                db.session.flush()
            except IntegrityError:
                raise Conflict("There is a policy called %(name)s already.", name=name, field="name") from None
            self._audit.record(actor, Event.POLICY_CREATED, target, reason=command.reason, lines=len(draft.numbered), digest=draft.digest)
        return file

    def save(self, actor: Actor, name: str, text: str, reason: str, base: int) -> PolicyVersion:
        """Keep the next version. Raises Conflict when somebody saved after ``base`` was read, Invalid when nothing changed."""
        self._audit.require(actor, "administrator", scope=WRITE, target=Target("policy", name))
        draft = self._readable(text, reason)
        with transaction():
            file = self.named(name)
            if self.version_of(file).text == text:
                raise Invalid("Nothing has changed.", field="text")
            swap = update(PolicyFile).where(PolicyFile.id == file.id, PolicyFile.current == base).values(current=base + 1)
            if not 0 < base < _MAX_NUMBER or db.session.execute(swap).rowcount != 1:  # type: ignore[attr-defined]  # CursorResult
                raise Conflict("Somebody has saved another version meanwhile; look at it and save again.", field="base")
            version = self._version(actor, base + 1, text, reason, draft)
            version.file_id = file.id
            db.session.add(version)
            self._audit.record(
                actor, Event.POLICY_CHANGED, Target("policy", name), reason=reason,
                version=base + 1, lines=version.lines, digest=draft.digest,
            )
        return version

    def describe(self, actor: Actor, name: str, *, cluster: str, owner: str, is_alone: bool) -> PolicyFile:
        """Change what is known about a file, not its lines. Raises NotFound."""
        self._audit.require(actor, "administrator", scope=WRITE, target=Target("policy", name))
        with transaction():
            file, found = self.named(name), self._cluster(cluster)
            file.cluster_id, file.is_alone = found.id if found else None, is_alone
            file.owner = names.printable(owner, 255) or file.owner
            self._audit.record(actor, Event.POLICY_CHANGED, Target("policy", name, cluster), owner=file.owner, is_alone=is_alone)
        return file

    def remove(self, actor: Actor, name: str) -> None:
        """Forget a file and its versions; what was published stays where it is. Raises NotFound."""
        self._audit.require(actor, "administrator", scope=WRITE, target=Target("policy", name))
        with transaction():
            file = self.named(name)
            self._audit.record(actor, Event.POLICY_REMOVED, Target("policy", name), version=file.current)
            db.session.delete(file)

    def draft(self, actor: Actor, text: str, source: str = "policy") -> Draft:
        """A text that is not saved, read with the directory as it is now."""
        self._audit.require(actor, "administrator", "auditor", scope=READ)
        return self.read(text, source)

    def stored(self, actor: Actor, name: str, number: int | None = None) -> Draft:
        """A version, the newest unless a number is given, read the same way. Raises NotFound."""
        file = self.get(actor, name)
        return replace(self.read(self.version_of(file, number).text, name), is_alone=file.is_alone)

    def read(self, text: str, source: str = "policy") -> Draft:
        """The same for a service that has judged already."""
        return policy_drafts.read(text, partial(members_of, self._world), source)

    def named(self, name: str) -> PolicyFile:
        """For a service that has judged already. Raises NotFound."""
        query = select(PolicyFile).filter_by(name=name).options(joinedload(PolicyFile.cluster))
        file = db.session.scalar(query.execution_options(populate_existing=True))
        if file is None:
            raise NotFound("There is no policy %(name)s.", name=name)
        return file

    def version_of(self, file: PolicyFile, number: int | None = None) -> PolicyVersion:
        """The same."""
        wanted = file.current if number is None else number
        query = select(PolicyVersion).filter_by(file_id=file.id, number=wanted).options(undefer(PolicyVersion.text))
        version = db.session.scalar(query) if 0 < wanted <= _MAX_NUMBER else None
        if version is None:
            raise NotFound("There is no version %(number)s of %(name)s.", number=wanted, name=file.name)
        return version

    def _readable(self, text: str, reason: str) -> Draft:
        if not names.printable(reason, 500):
            raise Invalid("Say why: whoever reads this in a year will ask.", field="reason")
        if "\0" in text:
            raise Invalid("There is a NUL character in what was sent.", field=f"policy:{text[: text.index(chr(0))].count(chr(10)) + 1}")
        draft = self.read(text)
        draft.require_readable()
        return draft

    def _version(self, actor: Actor, number: int, text: str, reason: str, draft: Draft) -> PolicyVersion:
        references = dict.fromkeys((line.reference.kind, line.reference.name) for line in draft.lines if line.reference)
        lines = sum(line.policy is not None for line in draft.lines)
        return PolicyVersion(
            number=number, text=text, lines=lines, references=[list(one) for one in references],
            reason=names.printable(reason, 500), author=actor.name, created_at=self._world.now(),
        )

    def _cluster(self, name: str) -> Cluster | None:
        if not name:
            return None
        cluster = db.session.scalar(select(Cluster).filter_by(name=name))
        if cluster is None:
            raise NotFound("There is no cluster %(name)s.", name=name)
        return cluster
