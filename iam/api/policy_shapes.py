"""What goes into policies and comes out."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PolicyIn(_In):
    """A new policy, or an existing file to be imported."""

    name: str
    text: str = Field("", description="One JSON object a line; a spec may name a person or a directoryGroup as directory:name.")
    reason: str
    cluster: str = ""
    owner: str = ""
    beside_rbac: bool = Field(False, description="RBAC decides there too, so nobody is locked out by what is missing.")


class VersionIn(_In):
    """The next version."""

    text: str
    reason: str
    base: int = Field(description="The version that was read; a newer one is a conflict.")


class TextIn(_In):
    """A text that is not stored."""

    text: str
    beside_rbac: bool = False


class TextsIn(_In):
    """Two texts that are not stored."""

    before: str
    after: str


class PublishIn(_In):
    """Publishing."""

    accept: bool = Field(False, description="Although errors were found.")


class VersionQuery(_In):
    """Which version; the newest unless one is named."""

    version: int | None = None


class DifferenceQuery(_In):
    """Which two versions."""

    before: int
    after: int


class QuestionQuery(VersionQuery):
    """One question."""

    user: str
    groups: str = Field("", description="Separated by commas; authentication's own are added.")
    verb: str
    resource: str
    name: str = ""
    namespace: str = ""


class VersionOut(BaseModel):
    """One version, without its text."""

    model_config = ConfigDict(from_attributes=True)

    number: int
    lines: int
    reason: str
    author: str
    created_at: datetime


class PolicyOut(BaseModel):
    """A policy file."""

    name: str
    cluster: str
    owner: str
    beside_rbac: bool
    version: int
    published_version: int | None
    published_digest: str = Field(description="SHA-256 of the published bytes, hex.")
    published_at: datetime | None


class Policies(BaseModel):
    """All policies."""

    items: list[PolicyOut]


class PolicyWhole(PolicyOut):
    """One, with its versions and the newest text."""

    text: str
    versions: list[VersionOut]


class GeneratedOut(BaseModel):
    """The file for kube-apiserver."""

    text: str
    digest: str = Field(description="SHA-256, hex.")
    lines: int


class FindingOut(BaseModel):
    """One thing to look at; line 0 is the file as a whole."""

    line: int
    severity: str
    finding: str
    says: str


class Findings(BaseModel):
    """What is wrong."""

    items: list[FindingOut]


class LineOut(BaseModel):
    """What one line allows."""

    user: str
    group: str
    readonly: bool
    namespace: str
    resource: str
    api_group: str
    non_resource_path: str


class ChangesOut(BaseModel):
    """Who gains and who loses what."""

    gained: list[LineOut]
    lost: list[LineOut]


class LeftOverOut(BaseModel):
    """A line that RBAC cannot say, and why."""

    line: int
    why: str


class RbacOut(BaseModel):
    """The same as RBAC objects."""

    manifests: list[dict[str, Any]]
    left_over: list[LeftOverOut]


class AnswerOut(BaseModel):
    """What the API server would answer; ``line`` is null where none allows it."""

    allowed: bool
    reason: str
    line: int | None


class PublishedOut(BaseModel):
    """Where it was written, and the flags that make kube-apiserver read it at its next start."""

    file: str
    digest: str
    flags: list[str]


class ContradictionOut(BaseModel):
    """A question that the cluster answers otherwise than the file."""

    review: dict[str, Any]
    allowed: bool


class CheckOut(BaseModel):
    """Whether the running API server decides by the file."""

    decides_by_it: bool
    asked: int
    differing: list[ContradictionOut]
