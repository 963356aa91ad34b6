"""What goes into the explorer and comes out: one model a row of ``iam.services.explorer_rows``."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class AskQuery(BaseModel):
    """The state that is asked about: now, unless something is planned, added or removed."""

    model_config = ConfigDict(extra="forbid")

    planned: bool = Field(False, description="As it will be after the next reconcile.")
    anew: bool = Field(False, description="Read the cluster again; else a reading may be ten seconds old.")
    adding_group: str = Field("", description="As it would be with one more mapping: directory:group.")
    adding_kind: Literal["ClusterRole", "Role"] = "ClusterRole"
    adding_role: str = ""
    adding_namespaces: str = Field("", description="Separated by commas; empty: the whole cluster.")
    adding_as: Literal["User", "Group"] = "User"
    removing: str = Field("", description="As it would be without this mapping (its id).")


class ThingQuery(AskQuery):
    """A permission as kubectl takes it."""

    verb: str
    resource: str = Field(description="pods/log, deployments, deployments.apps, or a path such as /metrics.")
    name: str = ""
    namespace: str = ""


class WhoCanQuery(ThingQuery):
    """Who may do this."""

    anywhere: bool = Field(False, description="A permission in any one namespace is enough.")


class UserQuery(AskQuery):
    """About one user."""

    user: str = Field(description="A username, system:serviceaccount:NAMESPACE:NAME, or group:NAME.")


class WhyQuery(UserQuery, ThingQuery):
    """May this user do this."""


class CompareQuery(AskQuery):
    """About two users."""

    first: str
    second: str


class PathsQuery(AskQuery):
    """About everybody, or one user."""

    user: str = ""
    of_kubernetes: bool = Field(False, description="Also Kubernetes' own users and service accounts.")


class GroundOut(BaseModel):
    """Through what somebody holds something."""

    namespace: str = Field(description="Empty: the whole cluster.")
    role: str
    binding: str
    subject: str
    group: str = Field(description="The directory group whose mapping is behind it; empty: none of ours.")
    mapping: str


class RuleGround(GroundOut):
    """The same with the rule that counts."""

    rule: str


class WhoOut(RuleGround):
    """Somebody who may, and one way in which they may."""

    kind: str
    name: str
    display_name: str


class HeldOut(GroundOut):
    """One rule that somebody holds."""

    verbs: list[str]
    api_groups: list[str]
    resources: list[str]
    resource_names: list[str]
    paths: list[str]


class NearOut(RuleGround):
    """A rule that almost allows."""

    missing: list[str]


class MayOut(BaseModel):
    """One question, answered."""

    allowed: bool
    reason: str
    through: list[RuleGround]
    nearest: list[NearOut]
    roles_that_do_not_exist: list[str]
    roles_that_would_allow: list[str]


class DifferenceOut(BaseModel):
    """One thing that the first, the second or both may do."""

    who: Literal["first", "second", "both"]
    namespace: str
    verbs: list[str]
    what: str
    name: str


class StepOut(BaseModel):
    """One step of a path to more; kind and name say whose path it is when everybody is asked about."""

    kind: str = ""
    name: str = ""
    source: str
    means: str
    permission: str
    target: str


class _Answer(BaseModel):
    read_at: datetime


class WhoCanOut(_Answer):
    """Everybody who may."""

    items: list[WhoOut]


class WhatCanOut(_Answer):
    """Everything that somebody holds."""

    items: list[HeldOut]


class PlacesOut(_Answer):
    """Namespaces that somebody may use."""

    items: list[GroundOut]


class CompareOut(_Answer):
    """What differs."""

    items: list[DifferenceOut]


class PathsOut(_Answer):
    """Steps to more than is held."""

    items: list[StepOut]
