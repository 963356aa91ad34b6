"""The explorer: who can, what can, why not, where, what differs, what could be reached - on a live cluster, with reasons.

Administrators, approvers and auditors ask about anybody; everybody else about themselves.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from iam.kube import explorer, rbac
from iam.kube.escalation import Escalations, Paths
from iam.kube.explorer import Asker, Way
from iam.kube.names import RESERVED_PREFIX
from iam.kube.rbac import PolicyRule, RoleBinding
from iam.kube.requests import AUTHENTICATED, SERVICE_ACCOUNT, Decision, Request
from iam.models import Cluster
from iam.services.audit import Audit, Target
from iam.services.base import READ, Actor
from iam.services.clusters import Clusters
from iam.services.views import GROUP, Ground, Someone, Standpoint, View, Views
from iam.settings import Role

NOW = Standpoint()
LOOKING: tuple[Role, ...] = ("administrator", "approver", "auditor")
"""Who asks about others."""


@dataclass(frozen=True, slots=True)
class Who:
    """Somebody who may: a person, or a subject of bindings that is none of ours."""

    kind: str
    """Person, or as the binding says: User, Group, ServiceAccount."""
    name: str
    display_name: str
    ways: tuple[Way, ...]
    person: Someone | None = None

    @property
    def is_kubernetes(self) -> bool:
        """Whether this is a part of Kubernetes itself."""
        return self.kind != "Person" and self.name.startswith("kube-system/" if self.kind == "ServiceAccount" else RESERVED_PREFIX)

    @property
    def user(self) -> str:
        """How to ask about them: a user name, or ``group:NAME``."""
        if self.kind == "Group":
            return GROUP + self.name
        return SERVICE_ACCOUNT + self.name.replace("/", ":", 1) if self.kind == "ServiceAccount" else self.name


@dataclass(frozen=True, slots=True)
class Held:
    """One binding that somebody holds: the role with its rules, and through what. ``role`` is None where it does not exist."""

    ground: Ground
    role: rbac.Role | None


@dataclass(frozen=True, slots=True)
class May:
    """One question, answered: by what, or why not and what would help."""

    wanted: Request
    decision: Decision
    grounds: tuple[Ground, ...] = ()
    nearest: tuple[tuple[Ground, tuple[str, ...]], ...] = ()
    dangling: tuple[RoleBinding, ...] = ()
    would_allow: tuple[rbac.Role, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """A namespace that somebody may use, and the roles they hold there; an empty name is the whole cluster."""

    namespace: str
    grounds: tuple[Ground, ...]


@dataclass(frozen=True, slots=True)
class Climb:
    """Those who could reach the same, step by step."""

    who: tuple[Who, ...]
    paths: Paths


class Explorer:
    """Use cases of looking at access."""

    def __init__(self, audit: Audit, clusters: Clusters, views: Views) -> None:
        self._audit = audit
        self._clusters = clusters
        self._views = views

    def clusters(self, actor: Actor, *, about_oneself: bool = False) -> Sequence[Cluster]:
        """Clusters to ask about. Raises Forbidden where the question is about others and the actor may not look."""
        self._audit.require(actor, *(() if about_oneself else LOOKING), scope=READ)
        return self._clusters.all()

    def view(self, actor: Actor, cluster: str, standpoint: Standpoint = NOW, *, about: Iterable[str] | None = None) -> View:
        """A cluster to ask about; ``about`` names whom, None is everybody. Raises Forbidden, NotFound, Unavailable."""
        whom = None if about is None else frozenset(about)
        is_about_oneself = whom == frozenset({actor.name}) and standpoint.is_now and bool(actor.person_id)
        target = Target("cluster", cluster, cluster)
        self._audit.require(actor, *(() if is_about_oneself else LOOKING), scope=READ, target=target)
        if standpoint.anew and not actor.has(*LOOKING):  # listing a cluster is not for everybody to cause as often as they like
            standpoint = replace(standpoint, anew=False)
        return self._views.of(actor, self._clusters.named(cluster), standpoint, whom)

    def who_can(self, view: View, wanted: Request, *, anywhere: bool = False) -> list[Who]:
        """Everybody who may do this: people by name, then the cluster's other subjects."""
        found = explorer.who_can(view.snapshot, wanted, view.askers, anywhere=anywhere)
        people = [_person(view.people[asker.user], ways) for asker, ways in found.askers.items()]
        others = [_other(kind, name, ways) for (kind, name), ways in found.others.items()]
        return [*people, *sorted(others, key=lambda one: (one.is_kubernetes, one.kind, one.name))]

    def grounds(self, view: View, who: Iterable[Who]) -> list[tuple[Who, Ground]]:
        """Through what each of them may, a line each."""
        flat = [(one, way) for one in who for way in one.ways]
        each = view.grounds_each((one.person, way) for one, way in flat)
        return [(one, ground) for (one, _way), grounds in zip(flat, each, strict=True) for ground in grounds]

    def what_can(self, view: View, user: str) -> list[Held]:
        """All that somebody holds, the whole cluster first, then by namespace."""
        snapshot, someone, asker = view.snapshot, view.someone(user), view.asker(user)
        ways = [Way(kind, name, binding, PolicyRule()) for kind, name, binding in snapshot.held_by(asker.user, asker.groups)]
        held = [Held(ground, snapshot.roles.get(ground.way.binding.role)) for ground in view.grounds((someone, way) for way in ways)]
        return sorted(held, key=lambda one: (one.ground.way.binding.namespace, one.ground.way.binding.role, one.ground.way.binding.name))

    def may(self, view: View, user: str, wanted: Request) -> May:
        """May they, by what; if not, why not."""
        asker, someone = view.asker(user), view.someone(user)
        asked = wanted.by(asker.user, asker.groups)
        decision = view.snapshot.decide(asked)
        if decision.allowed:
            ways = explorer.ways(view.snapshot, asker, wanted)
            return May(asked, decision, tuple(view.grounds((someone, way) for way in ways)))
        near = explorer.nearest(view.snapshot, asker, wanted)
        grounds = view.grounds_each((someone, one.way) for one in near)
        return May(
            asked, decision, nearest=tuple((found[0], one.missing) for found, one in zip(grounds, near, strict=True)),
            dangling=tuple(explorer.dangling(view.snapshot, asker)),
            would_allow=tuple(explorer.roles_that_allow(view.snapshot, wanted)[: explorer.NEAREST]),
        )

    def places(self, view: View, user: str) -> list[Place]:
        """Which namespaces somebody may use, and through what."""
        grounds: dict[str, list[Ground]] = defaultdict(list)
        for held in self.what_can(view, user):
            if held.role and held.role.rules and held.ground.way.subject != AUTHENTICATED:
                grounds[held.ground.way.binding.namespace].append(held.ground)
        return [Place(namespace, tuple(found)) for namespace, found in sorted(grounds.items())]

    def compare(self, view: View, first: str, second: str) -> explorer.Difference:
        """What one may that the other may not."""
        return explorer.compare(view.snapshot, view.asker(first), view.asker(second))

    def paths(self, view: View, user: str) -> Paths:
        """What somebody could reach beyond what they hold."""
        return Escalations(view.snapshot).of(view.asker(user))

    def climbs(self, view: View, *, of_kubernetes: bool = False) -> list[Climb]:
        """Everybody who could reach more than they hold, together where the steps are the same; whoever reaches everything first.

        ``of_kubernetes`` also looks at its own users and service accounts (``system:``, kube-system), which are many.
        """
        escalations = Escalations(view.snapshot)
        together: dict[tuple[object, ...], list[Who]] = defaultdict(list)
        found: dict[tuple[object, ...], Paths] = {}
        for who, asker in self._everybody(view, of_kubernetes=of_kubernetes):
            paths = escalations.of(asker)
            if paths.steps:
                together[paths.course].append(who)
                found.setdefault(paths.course, paths)
        climbs = [Climb(tuple(who), found[course]) for course, who in together.items()]
        return sorted(climbs, key=lambda climb: (not climb.paths.reaches_everything, climb.who[0].kind, climb.who[0].name))

    def _everybody(self, view: View, *, of_kubernetes: bool) -> Iterable[tuple[Who, Asker]]:
        for asker in view.askers:
            yield _person(view.people[asker.user], ()), asker
        for kind, names in (("User", view.snapshot.users), ("Group", view.snapshot.groups)):
            for name in names:
                who = _other(kind, name, ())
                if name not in view.people and (of_kubernetes or not who.is_kubernetes):
                    yield who, Asker("", (name,)) if kind == "Group" else Asker.of(name)


def _person(someone: Someone, ways: tuple[Way, ...]) -> Who:
    return Who("Person", someone.username, someone.display_name, ways, someone)


def _other(kind: str, name: str, ways: tuple[Way, ...]) -> Who:
    """A service account in its short spelling."""
    if kind == "User" and name.startswith(SERVICE_ACCOUNT):
        return Who("ServiceAccount", name.removeprefix(SERVICE_ACCOUNT).replace(":", "/", 1), "", ways)
    return Who(kind, name, "", ways)
