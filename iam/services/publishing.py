"""Policies on their way to an API server: written where it reads them, kept in step with the directory, and checked there.

kube-apiserver reads the file once, at its start (pkg/kubeapiserver/authorizer/config.go), so publishing is half of it: until
it is restarted it decides by what it read then. ``check`` asks it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import select

from iam import log
from iam.errors import Conflict, Invalid, Problem, Unavailable
from iam.files import replaced
from iam.kube import abac
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
from iam.services.policy_drafts import Draft, of_file
from iam.services.policy_subjects import digest_of, members_of

_log = log.get(__name__)
MOST_ASKED = 40
MOST_WITHDRAWN = 1000


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a file stands: what would be published now, and how that differs from what is."""

    path: Path | None
    """Where it is published; None without a folder in the settings."""
    draft: Draft
    findings: tuple[Finding, ...]
    is_published: bool
    is_behind: bool
    """A newer version, or other people behind a directory group, than what was published."""

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Findings that publishing must be told to accept."""
        return tuple(one for one in self.findings if one.severity == Severity.ERROR)


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
        draft = self._draft(file)
        is_behind = draft.digest != file.published_digest
        return Standing(self.path_of(file), draft, tuple(draft.findings(alone=file.is_alone)), bool(file.published_digest), is_behind)

    def published(self, actor: Actor, name: str) -> Draft | None:
        """What is published, as it was written. Raises NotFound."""
        file = self._policies.get(actor, name)
        return of_file(file.published_text) if file.published_version else None

    def path_of(self, file: PolicyFile) -> Path | None:
        """Where it is published; None without a folder in the settings."""
        folder = self._world.settings.abac.folder
        return folder / f"{file.name}.jsonl" if folder else None

    def publish(self, actor: Actor, name: str, *, accept: bool = False) -> PolicyFile:
        """Write the newest version where the API server reads it, whole or not at all.

        Raises Invalid without a folder to write to; Conflict where errors were found and not accepted.
        """
        self._audit.require(actor, "administrator", scope=WRITE, target=Target("policy", name))
        path = self.path_of(self._policies.named(name))
        if path is None:
            raise Invalid("Set abac.folder to publish to files, or download the policy.", field="abac.folder")
        with only_one(f"publish {name}") as mine:
            if not mine:
                raise Conflict("%(name)s is being published at this moment.", name=name)
            file, draft = self._sound(actor, name, accept=accept)
            self._write(actor, file, draft, file.current, path)
        return file

    def download(self, actor: Actor, name: str, *, accept: bool = False) -> str:
        """The newest version as the file it becomes, to be carried to the API server. Raises Conflict as ``publish``.

        A file that we keep in the folder stays what is published.
        """
        self._audit.require(actor, "administrator", scope=WRITE, target=Target("policy", name))
        file, draft = self._sound(actor, name, accept=accept)
        with transaction():
            if not file.is_in_folder:
                self._note(file, draft, file.current, is_in_folder=False)
            self._record(actor, file, draft, file.current, to="download")
        return draft.rendered

    def follow(self) -> list[str]:
        """Write files again that are not as published, or whose directory groups have other people in them now; returns their names."""
        if self._world.settings.abac.folder is None:
            return []
        query = select(PolicyFile.name).where(PolicyFile.is_in_folder, PolicyFile.published_version.is_not(None)).order_by(PolicyFile.name)
        return [name for name in db.session.scalars(query).all() if self._follow(name)]

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
        path = self.path_of(file) or Path(f"/etc/kubernetes/{file.name}.jsonl")
        mode = "ABAC" if file.is_alone else "Node,RBAC,ABAC"
        return (f"--authorization-mode={mode}", f"--authorization-policy-file={path}")

    def _draft(self, file: PolicyFile, number: int | None = None) -> Draft:
        return self._policies.read(self._policies.version_of(file, number).text, file.name)

    def _sound(self, actor: Actor, name: str, *, accept: bool) -> tuple[PolicyFile, Draft]:
        """The newest version, if it may be handed out."""
        file = self._policies.named(name)
        draft = self._draft(file)
        draft.require_readable()
        errors = [one for one in draft.findings(alone=file.is_alone) if one.severity == Severity.ERROR]
        if errors and not accept:
            problem = Conflict(
                "Errors were found (%(count)s); look at them, and accept them to publish anyway.", count=len(errors), field="accept"
            )
            self._audit.failed(actor, Event.POLICY_PUBLISHED, Target("policy", file.name), problem)
            raise problem
        return file, draft

    def _note(self, file: PolicyFile, draft: Draft, number: int, *, is_in_folder: bool) -> None:
        """What is published from now on, and what an API server may still have from before."""
        text = draft.rendered
        now = set(text.splitlines())
        before = dict.fromkeys((file.published_text + file.withdrawn_text).splitlines())
        file.withdrawn_text = "".join(f"{line}\n" for line in [one for one in before if one not in now][:MOST_WITHDRAWN])
        file.published_text, file.published_version, file.published_digest = text, number, draft.digest
        file.published_members, file.published_at, file.is_in_folder = digest_of(draft.members), self._world.now(), is_in_folder

    def _write(self, actor: Actor, file: PolicyFile, draft: Draft, number: int, path: Path, reason: str = "") -> None:
        """On the disk, then on record, then in place: should we die before the last step, ``follow`` takes it."""
        try:
            with replaced(path, draft.rendered) as put:
                with transaction():
                    self._note(file, draft, number, is_in_folder=True)
                    self._record(actor, file, draft, number, to="file", reason=reason)
                put()
        except Unavailable as problem:
            self._audit.failed(actor, Event.POLICY_PUBLISHED, Target("policy", file.name), problem)
            raise

    def _record(self, actor: Actor, file: PolicyFile, draft: Draft, number: int, *, to: str, reason: str = "") -> None:
        target = Target("policy", file.name, file.cluster.name if file.cluster else "")
        self._audit.record(
            actor, Event.POLICY_PUBLISHED, target, reason=reason, version=number, digest=draft.digest, lines=len(draft.numbered), to=to
        )

    def _follow(self, name: str) -> bool:
        """One file; one that cannot be written holds up no other."""
        with only_one(f"publish {name}") as mine:
            try:
                return mine and self._followed(name)
            except Problem as problem:
                _log.error("policy not followed", policy=name, error=str(problem))
                return False

    def _followed(self, name: str) -> bool:
        file = self._policies.named(name)
        path, number = self.path_of(file), file.published_version
        if path is None or number is None:
            return False
        is_on_record = _digest_of_file(path) == file.published_digest
        references = [Reference(kind, name) for kind, name in self._policies.version_of(file, number).references]
        if is_on_record and digest_of(members_of(self._world, references)) == file.published_members:
            return False
        draft = self._draft(file, number)
        draft.require_readable()
        reason = "the directory has changed" if is_on_record else "the file was not as published"
        self._write(WORKER, file, draft, number, path, reason)
        return True

    def _telling(self, file: PolicyFile) -> list[tuple[Request, bool]]:
        """Questions and what the published file (or the newest version) answers: of its own lines, and of those that it has no more.

        Beside another authorizer a yes where the file says no proves nothing, so only what the file allows is asked.
        """
        policies = _policies_in(file.published_text or self._draft(file).rendered)
        lost = gained(policies, _policies_in(file.withdrawn_text))[:MOST_WITHDRAWN] if file.is_alone else []
        parts = [*_spread(lost), *_spread([half for one in policies for half in halves(one)])]
        authorizer = AbacAuthorizer(enumerate(policies, start=1))
        questions = dict.fromkeys(_as_somebody(part) for part in parts)
        return [(question, authorizer.decide(question).allowed) for question in questions]


def _policies_in(rendered: str) -> list[Policy]:
    return [line.policy for line in abac.lines(rendered) if line.policy]


def _digest_of_file(path: Path) -> str:
    """Of its bytes; empty where there is no such file. Raises Unavailable where it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise Unavailable("%(path)s cannot be read: %(why)s", path=str(path), why=error.strerror or "I/O error") from None


def _as_somebody(part: Policy) -> Request:
    """A witness with the groups that authentication adds, as the API server will see them."""
    asked = witness(part)
    return replace(asked, groups=with_implied_groups(asked.user, asked.groups))


def _spread(parts: Sequence[Policy]) -> list[Policy]:
    """Some of them, from the first to the last."""
    return list(parts[:: max(1, len(parts) // MOST_ASKED)])[:MOST_ASKED]
