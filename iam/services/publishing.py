"""Policies on their way to an API server: written where it reads them, kept in step with the directory, and checked there.

kube-apiserver reads the file once, at its start (pkg/kubeapiserver/authorizer/config.go), so publishing is half of it: until
it is restarted it decides by what it read then. ``check`` asks it.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import select

from iam import log
from iam.errors import Conflict, Invalid, Unavailable
from iam.kube.abac import AbacAuthorizer, Policy, Reference
from iam.kube.abac_coverage import gained, halves, witness
from iam.kube.abac_lint import Finding, Severity
from iam.kube.requests import Request, with_implied_groups
from iam.models import PolicyFile, db
from iam.services.audit import Audit, Event, Target
from iam.services.base import READ, WORKER, WRITE, Actor, World, transaction
from iam.services.clusters import Clusters
from iam.services.locks import only_one
from iam.services.policies import Policies
from iam.services.policy_drafts import Draft
from iam.services.policy_subjects import digest_of, members_of

_log = log.get(__name__)
MOST_ASKED = 60


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a file stands: what would be published now, and how that differs from what is."""

    path: Path | None
    """Where it is published; None without a folder in the settings."""
    draft: Draft
    is_published: bool
    is_behind: bool
    """A newer version, or other people behind a directory group, than what was published."""
    errors: tuple[Finding, ...]
    """Findings that publishing must be told to accept."""
    published: Draft | None
    """What is published: the file if it can be read, else that version with today's directory."""


@dataclass(frozen=True, slots=True)
class Check:
    """What the running API server answered to questions that tell this file from others."""

    asked: int
    differing: tuple[tuple[Request, bool], ...]
    """The questions it answers otherwise than the file, and its answer."""

    @property
    def decides_by_it(self) -> bool:
        """Whether nothing contradicts that."""
        return self.asked > 0 and not self.differing


class Publishing:
    """Use cases of handing policies out."""

    def __init__(self, world: World, audit: Audit, policies: Policies, clusters: Clusters) -> None:
        self._world = world
        self._audit = audit
        self._policies = policies
        self._clusters = clusters

    def standing(self, actor: Actor, name: str) -> Standing:
        """Where it stands. Raises NotFound."""
        file = self._policies.get(actor, name)
        draft = self._policies.read(self._policies.version_of(file).text, name)
        errors = tuple(one for one in draft.findings(alone=file.is_alone) if one.severity == Severity.ERROR)
        is_behind = draft.digest != file.published_digest
        return Standing(self._path(file), draft, bool(file.published_digest), is_behind, errors, self._published(file))

    def publish(self, actor: Actor, name: str, *, accept: bool = False) -> PolicyFile:
        """Write the newest version where the API server reads it, whole or not at all.

        Raises Invalid without a folder to write to; Conflict where errors were found and not accepted.
        """
        self._audit.require(actor, "administrator", scope=WRITE, target=Target("policy", name))
        file = self._policies.named(name)
        path = self._path(file)
        if path is None:
            raise Invalid("Set abac.folder to publish to files, or download the policy.", field="abac.folder")
        draft = self._sound(actor, file, accept=accept)
        with only_one(f"publish {name}") as mine:
            if not mine:
                raise Conflict("%(name)s is being published at this moment.", name=name)
            self._hand_out(actor, file, draft, path)
        return file

    def download(self, actor: Actor, name: str, *, accept: bool = False) -> str:
        """The newest version as the file it becomes, to be carried to the API server. Raises Conflict as ``publish``."""
        self._audit.require(actor, "administrator", scope=WRITE, target=Target("policy", name))
        file = self._policies.named(name)
        draft = self._sound(actor, file, accept=accept)
        self._hand_out(actor, file, draft, None)
        return draft.rendered

    def follow(self) -> list[str]:
        """Write files again that are not as published, or whose directory groups have other people in them now; returns their names."""
        if self._world.settings.abac.folder is None:
            return []
        with only_one("follow policies") as mine:
            return list(self._follow()) if mine else []

    def check(self, actor: Actor, name: str) -> Check:
        """Ask the running API server what this file and the one before tell apart. Raises Invalid, Unavailable."""
        self._audit.require(actor, "administrator", "auditor", scope=READ, target=Target("policy", name))
        file = self._policies.named(name)
        if file.cluster is None:
            raise Invalid("Say first which cluster this policy is for.", field="cluster")
        questions = self._telling(file)
        connection = self._clusters.connection(file.cluster)
        db.session.commit()  # no transaction stays open while the cluster answers
        answers = [(question, connection.allows(question)) for question, _expected in questions]
        differing = [(question, said) for (question, said), (_, expected) in zip(answers, questions, strict=True) if said != expected]
        return Check(len(answers), tuple(differing))

    def next_steps(self, file: PolicyFile) -> tuple[str, ...]:
        """The flags of kube-apiserver that make it read the file."""
        path = self._path(file) or Path(f"/etc/kubernetes/{file.name}.jsonl")
        mode = "ABAC" if file.is_alone else "Node,RBAC,ABAC"
        return (f"--authorization-mode={mode}", f"--authorization-policy-file={path}")

    def _published(self, file: PolicyFile) -> Draft | None:
        if file.published_version is None:
            return None
        path = self._path(file)
        try:
            text = path.read_text("utf-8") if path else self._policies.version_of(file, file.published_version).text
        except (OSError, UnicodeDecodeError):
            text = self._policies.version_of(file, file.published_version).text
        return self._policies.read(text, file.name)

    def _path(self, file: PolicyFile) -> Path | None:
        folder = self._world.settings.abac.folder
        return folder / f"{file.name}.jsonl" if folder else None

    def _sound(self, actor: Actor, file: PolicyFile, *, accept: bool) -> Draft:
        draft = self._policies.read(self._policies.version_of(file).text, file.name)
        draft.require_readable()
        errors = [one for one in draft.findings(alone=file.is_alone) if one.severity == Severity.ERROR]
        if errors and not accept:
            problem = Conflict(
                "Errors were found (%(count)s); look at them, and accept them to publish anyway.", count=len(errors), field="accept"
            )
            self._audit.failed(actor, Event.POLICY_PUBLISHED, Target("policy", file.name), problem)
            raise problem
        return draft

    def _hand_out(self, actor: Actor, file: PolicyFile, draft: Draft, path: Path | None) -> None:
        """Both or, should the commit fail after the file is written, ``follow`` writes what is on record."""
        members = self._members_digest(draft)
        with transaction():
            file = self._policies.named(file.name)
            file.published_version, file.published_digest, file.published_members = file.current, draft.digest, members
            file.published_at = self._world.now()
            self._audit.record(
                actor, Event.POLICY_PUBLISHED, Target("policy", file.name, file.cluster.name if file.cluster else ""),
                version=file.current, digest=draft.digest, lines=len(draft.numbered), to="file" if path else "download",
            )
            if path:
                write_whole(path, draft.rendered)

    def _follow(self) -> Iterator[str]:
        for file in db.session.scalars(select(PolicyFile).where(PolicyFile.published_version.is_not(None))).all():
            version = self._policies.version_of(file, file.published_version)
            references = [Reference(kind, name) for kind, name in version.references]
            path = self._path(file)
            if path is None or not path.exists():  # handed out as a download
                continue
            is_on_record = hashlib.sha256(path.read_bytes()).hexdigest() == file.published_digest
            if is_on_record and digest_of(members_of(self._world, references)) == file.published_members:
                continue
            draft = self._policies.read(version.text, file.name)
            with transaction():
                file.published_digest, file.published_members = draft.digest, self._members_digest(draft)
                file.published_at = self._world.now()
                self._audit.record(
                    WORKER, Event.POLICY_PUBLISHED, Target("policy", file.name),
                    reason="the directory has changed" if is_on_record else "the file was not as published",
                    version=version.number, digest=draft.digest, lines=len(draft.numbered), to="file",
                )
                write_whole(path, draft.rendered)
            yield file.name

    def _members_digest(self, draft: Draft) -> str:
        return digest_of(members_of(self._world, dict.fromkeys(line.reference for line in draft.lines if line.reference)))

    def _telling(self, file: PolicyFile) -> list[tuple[Request, bool]]:
        """Questions and what the published version answers: of its own lines, and of what sets it apart from the version before."""
        number = file.published_version or file.current
        draft = self._policies.read(self._policies.version_of(file, number).text, file.name)
        policies = [policy for _number, policy in draft.numbered]
        former: list[Policy] = []
        if number > 1:
            former = [policy for _number, policy in self._policies.read(self._policies.version_of(file, number - 1).text).numbered]
        fresh, lost = (gained(former, policies), gained(policies, former)) if former else ([], [])
        parts = [*fresh[: MOST_ASKED // 3], *lost[: MOST_ASKED // 3], *_spread([half for one in policies for half in halves(one)])]
        authorizer = AbacAuthorizer(draft.numbered)
        questions = dict.fromkeys(_as_somebody(part) for part in parts[:MOST_ASKED])
        return [(question, authorizer.decide(question).allowed) for question in questions]


def _as_somebody(part: Policy) -> Request:
    """A witness with the groups that authentication adds, as the API server will see them."""
    asked = witness(part)
    return replace(asked, groups=with_implied_groups(asked.user, asked.groups))


def _spread(parts: Sequence[Policy]) -> list[Policy]:
    """Some of them, from the first to the last."""
    return list(parts[:: max(1, len(parts) // MOST_ASKED)])[:MOST_ASKED]


def write_whole(path: Path, text: str) -> None:
    """Replace a file by another, whole or not at all, readable by all. Raises Unavailable where the disk says no."""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as new:
            fresh = Path(new.name)
            try:
                new.write(text.encode())
                new.flush()
                os.fchmod(new.fileno(), 0o644)
                os.fsync(new.fileno())
                fresh.replace(path)
            except BaseException:
                fresh.unlink(missing_ok=True)
                raise
    except OSError as error:
        _log.warning("policy not written", path=str(path), error=str(error))
        raise Unavailable("%(path)s cannot be written: %(why)s", path=str(path), why=error.strerror or "I/O error") from None
