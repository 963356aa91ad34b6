"""Emergency doors: who may take which role at once, who is told, who reviews."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from iam.approval import scopes, texts, times
from iam.errors import Invalid, NotFound
from iam.models import EmergencyDoor, db
from iam.services.audit import Audit, Event, Target
from iam.services.base import READ, WRITE, Actor, World, transaction
from iam.services.clusters import Clusters
from iam.services.requests.approvers import Approvers
from iam.services.requests.catalogue import check_groups, check_role
from iam.services.requests.humans import human_of
from iam.services.requests.written import new_name, write


@dataclass(frozen=True, slots=True)
class NewDoor:
    """A door as an administrator writes it."""

    name: str
    title: str
    role_kind: str = "ClusterRole"
    role_name: str = ""
    description: str = ""
    clusters: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    tell: tuple[str, ...] = ()
    reviewers: tuple[str, ...] = ()
    longest: str = "1h"
    review_within: str = "1d"
    is_sealed: bool = False


class Doors:
    """Use cases about doors; opening one is in iam.services.requests.emergency."""

    def __init__(self, world: World, audit: Audit, clusters: Clusters, approvers: Approvers) -> None:
        self._world = world
        self._audit = audit
        self._clusters = clusters
        self._approvers = approvers

    def listed(self, actor: Actor) -> Sequence[EmergencyDoor]:
        """All of them."""
        self._audit.require(actor, "administrator", "auditor", scope=READ)
        return self.all()

    def get(self, actor: Actor, name: str) -> EmergencyDoor:
        """Raises NotFound."""
        self._audit.require(actor, "administrator", "auditor", scope=READ)
        return self._named(name)

    def save(self, actor: Actor, command: NewDoor, *, name: str = "") -> EmergencyDoor:
        """Add a door, or change the one of this name. Raises Invalid (also where nobody could open or review it), NotFound, Conflict."""
        target = Target("emergency", name or command.name)
        self._audit.require(actor, "administrator", scope=WRITE, target=target)
        values = self._checked(command)
        with transaction():
            door = self._named(name) if name else EmergencyDoor(name=new_name(command.name))
            write(self._audit, actor, self._world.now(), Event.EMERGENCY_CHANGED, door, values)
        return door

    def remove(self, actor: Actor, name: str) -> None:
        """Nobody opens it any more; what is open runs to its end. Raises NotFound."""
        self._audit.require(actor, "administrator", scope=WRITE, target=Target("emergency", name))
        with transaction():
            db.session.delete(self._named(name))
            self._audit.record(actor, Event.EMERGENCY_REMOVED, Target("emergency", name))

    def all(self) -> Sequence[EmergencyDoor]:
        """The same for a service that has judged already."""
        return db.session.scalars(select(EmergencyDoor).order_by(EmergencyDoor.title)).all()

    def _named(self, name: str) -> EmergencyDoor:
        door = db.session.scalar(select(EmergencyDoor).filter_by(name=name))
        if door is None:
            raise NotFound("There is no emergency door %(name)s.", name=name)
        return door

    def _checked(self, command: NewDoor) -> dict[str, Any]:
        title = texts.line(command.title, 120, field="title")
        if not title:
            raise Invalid("Give it a title that people understand.", field="title")
        check_role(command.role_kind, command.role_name)
        clusters, namespaces = (scopes.check(given, field=field) for given, field in (
            (command.clusters, "clusters"), (command.namespaces, "namespaces"),
        ))
        if not all(map(scopes.is_exact, (*clusters, *namespaces))) or scopes.WHOLE_CLUSTER in (*clusters, *namespaces):
            raise Invalid("Name clusters and namespaces exactly; no namespace means the whole cluster.", field="namespaces")
        if not clusters or (command.role_kind == "Role" and not namespaces):
            raise Invalid("Say in which clusters, and for a Role in which namespaces.", field="clusters" if not clusters else "namespaces")
        for cluster in clusters:
            self._clusters.named(cluster)
        groups = {field: check_groups(self._world, getattr(command, field), field=field) for field in ("groups", "tell", "reviewers")}
        self._refuse_alone(groups, is_sealed=command.is_sealed)
        return {
            "title": title, "description": texts.paragraphs(command.description, texts.MAX_DESCRIPTION, field="description"),
            "role_kind": command.role_kind, "role_name": command.role_name, "clusters": clusters, "namespaces": namespaces, **groups,
            "longest_seconds": times.seconds_of(command.longest, field="longest", most=times.DAY),
            "review_seconds": times.seconds_of(command.review_within, field="review_within", most=30 * times.DAY),
            "is_sealed": command.is_sealed,
        }

    def _refuse_alone(self, groups: dict[str, list[str]], *, is_sealed: bool) -> None:
        """A door that nobody could open, or whose opening nobody else could review, is refused."""
        openers, reviewers = (
            {human_of(self._world, person) for person in self._approvers.people(self._approvers.of_groups(groups[field]))}
            for field in ("groups", "reviewers")
        )
        needed = 2 if is_sealed else 1
        if len(openers) < needed:
            raise Invalid("At least %(count)s people who have logged in before must be named for it.", field="groups", count=needed)
        if any(len(reviewers - {opener}) < needed for opener in openers):
            raise Invalid("Reviewers who had no part in opening it must be left, whoever opens it.", field="reviewers")
