"""The catalogue: what can be asked for, where, by whom, in an administrator's plain words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from iam.approval import scopes, texts, times
from iam.approval.scopes import WHOLE_CLUSTER
from iam.errors import Invalid, NotFound, Unavailable
from iam.kube import names
from iam.kube.risks import Risk
from iam.models import ApprovalRule, CatalogueEntry, Cluster, Person, db
from iam.services.audit import Audit, Event, Target
from iam.services.base import READ, WRITE, Actor, World, transaction
from iam.services.memberships import groups_now
from iam.services.requests.shown import Roles
from iam.services.requests.written import new_name, write

LOOKED_AT = 20
"""So many clusters and namespaces are looked at when an entry is saved."""


@dataclass(frozen=True, slots=True)
class NewEntry:
    """An entry as an administrator writes it."""

    name: str
    title: str
    role_kind: str = "ClusterRole"
    role_name: str = ""
    description: str = ""
    clusters: tuple[str, ...] = ()
    """Names or patterns."""
    namespaces: tuple[str, ...] = ()
    """Names or patterns, and ``(whole cluster)``."""
    groups: tuple[str, ...] = ()
    longest: str = "8h"
    is_open: bool = True


class Catalogue:
    """Use cases about entries."""

    def __init__(self, world: World, audit: Audit, roles: Roles) -> None:
        self._world = world
        self._audit = audit
        self._roles = roles

    def entries(self, actor: Actor) -> Sequence[CatalogueEntry]:
        """All, by title."""
        self._audit.require(actor, "administrator", "auditor", scope=READ)
        return self.all()

    def all(self) -> Sequence[CatalogueEntry]:
        """The same for a service that has judged already."""
        return db.session.scalars(select(CatalogueEntry).order_by(CatalogueEntry.title, CatalogueEntry.name)).all()

    def get(self, actor: Actor, name: str) -> CatalogueEntry:
        """Raises NotFound."""
        self._audit.require(actor, "administrator", "auditor", scope=READ)
        return self.named(name)

    def named(self, name: str) -> CatalogueEntry:
        """For a service that has judged already. Raises NotFound."""
        entry = db.session.scalar(select(CatalogueEntry).filter_by(name=name))
        if entry is None:
            raise NotFound("The catalogue has no entry %(name)s.", name=name, field="entry")
        return entry

    def offered(self, person: Person) -> list[CatalogueEntry]:
        """What this person may ask for."""
        own = groups_now(self._world, person)
        return [entry for entry in self.all() if entry.is_open and (not entry.groups or own.intersection(entry.groups))]

    def clusters_of(self, entry: CatalogueEntry, clusters: Sequence[Cluster] | None = None) -> list[Cluster]:
        """Where it can be asked for now; ``clusters`` are all of them, where they were read already."""
        found = self.clusters() if clusters is None else clusters
        return [cluster for cluster in found if scopes.covers(entry.clusters, cluster.name)]

    def clusters(self) -> Sequence[Cluster]:
        """All, by name."""
        return db.session.scalars(select(Cluster).order_by(Cluster.name)).all()

    def save(self, actor: Actor, command: NewEntry, *, name: str = "") -> CatalogueEntry:
        """Add an entry, or change the one of this name. Raises Invalid, NotFound, Conflict."""
        target = Target("catalogue", name or command.name)
        self._audit.require(actor, "administrator", scope=WRITE, target=target)
        values = self._checked(command)
        values["risks"], values["missing_in"] = self._look(values)
        with transaction():
            entry = self.named(name) if name else CatalogueEntry(name=new_name(command.name))
            write(self._audit, actor, self._world.now(), Event.CATALOGUE_CHANGED, entry, values)
        return entry

    def remove(self, actor: Actor, name: str) -> None:
        """Nobody can ask for it any more; open requests are closed by the worker, running grants go on to their end. Raises NotFound."""
        self._audit.require(actor, "administrator", scope=WRITE, target=Target("catalogue", name))
        with transaction():
            entry = self.named(name)
            for rule in db.session.scalars(select(ApprovalRule.name).where(ApprovalRule.entry_id == entry.id)):
                self._audit.record(actor, Event.RULE_REMOVED, Target("rule", rule), reason="its entry is removed")
            db.session.delete(entry)
            self._audit.record(actor, Event.CATALOGUE_REMOVED, Target("catalogue", name))

    def _look(self, values: dict[str, Any]) -> tuple[list[str], list[str]]:
        """What is dangerous in the role, and where there is none; clusters that do not answer are left out."""
        kind, name = values["role_kind"], values["role_name"]
        namespaces = [one for one in values["namespaces"] if scopes.is_exact(one) and one != WHOLE_CLUSTER][:LOOKED_AT]
        found: set[Risk] = set()
        missing = []
        for cluster in [one for one in self.clusters() if scopes.covers(values["clusters"], one.name)][:LOOKED_AT]:
            if kind == "Role" and not namespaces:
                break
            label = cluster.name
            try:
                shown = self._roles.shown(cluster, kind, name, namespaces if kind == "Role" else ())
            except (Unavailable, Invalid):
                continue
            found.update(shown.risks)
            missing += [label] if shown.missing else []
        return [str(risk) for risk in Risk if risk in found], missing

    def _checked(self, command: NewEntry) -> dict[str, Any]:
        title = texts.line(command.title, 120, field="title")
        if not title:
            raise Invalid("Give it a title that people understand.", field="title")
        check_role(command.role_kind, command.role_name)
        clusters = scopes.check(command.clusters, field="clusters")
        if not clusters or WHOLE_CLUSTER in clusters:
            raise Invalid("Say in which clusters: names, or patterns such as *.", field="clusters")
        namespaces = scopes.check(command.namespaces, field="namespaces")
        if not namespaces:
            raise Invalid("Say in which namespaces: names, patterns such as team-*, or the whole cluster.", field="namespaces")
        if command.role_kind == "Role" and WHOLE_CLUSTER in namespaces:
            raise Invalid("A Role lives in namespaces, so it cannot be held in the whole cluster.", field="namespaces")
        return {
            "title": title, "description": texts.paragraphs(command.description, texts.MAX_DESCRIPTION, field="description"),
            "role_kind": command.role_kind, "role_name": command.role_name, "clusters": clusters, "namespaces": namespaces,
            "groups": check_groups(self._world, command.groups, field="groups"),
            "longest_seconds": times.seconds_of(command.longest, field="longest"), "is_open": command.is_open,
        }


def check_role(kind: str, name: str) -> None:
    """Raises Invalid for what is no role that can be handed out."""
    if kind not in {"Role", "ClusterRole"}:
        raise Invalid("A role is a Role or a ClusterRole.", field="role_kind")
    names.role_name(name, field="role_name")
    names.refuse_reserved(name, field="role_name")


def check_groups(world: World, references: Iterable[str], *, field: str) -> list[str]:
    """``directory:group`` of configured directories, each once. Raises Invalid."""
    found = []
    for reference in references:
        directory, _, group = reference.strip().partition(":")
        if directory not in world.directories or not group:
            raise Invalid(
                "The group should read directory:group with one of the directories %(directories)s.",
                field=field, directories=", ".join(world.directories),
            )
        found.append(f"{directory}:{names.group_name(group)}")
    return sorted(dict.fromkeys(found))
