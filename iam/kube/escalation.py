"""Paths by which somebody could reach more than they hold, by means that RBAC itself allows: ``escalation_steps``, one after the other.

A request is made under one identity, so a step that leads to another one leaves behind what the last one could do; what a
step gives to the same identity (a role bound, a role rewritten) adds up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

from iam.kube.authorizer import Snapshot
from iam.kube.escalation_steps import Means, Node, NodeKind, Steps, node_of
from iam.kube.explorer import Asker, Key, Powers
from iam.kube.requests import Request

MOST_NODES = 1000
"""Paths are followed to so many places; beyond, ``is_cut`` says that there are more."""


@dataclass(frozen=True, slots=True)
class Step:
    """From one node to the next, by what means, thanks to which permission."""

    source: Node
    target: Node
    means: Means
    thanks_to: Request
    gives_everything: bool = False


@dataclass(frozen=True, slots=True)
class Paths:
    """All that can be reached from a start: a tree of shortest paths, in the order found."""

    start: Node
    steps: tuple[Step, ...] = ()
    is_cut: bool = False

    @property
    def reaches_everything(self) -> bool:
        """Whether the whole cluster is at the end of a path."""
        return any(step.gives_everything for step in self.steps)

    @property
    def course(self) -> tuple[tuple[Node | None, Node, Means], ...]:
        """The steps whoever takes them: equal for all who could reach the same by the same means."""
        return tuple((None if step.source == self.start else step.source, step.target, step.means) for step in self.steps)

    @property
    def gist(self) -> list[Step]:
        """The way to everything if there is one, else the first step of each path."""
        everything = next((step.target for step in self.steps if step.gives_everything), None)
        return self.to(everything) if everything else [step for step in self.steps if step.source == self.start]

    def to(self, node: Node) -> list[Step]:
        """The path to a node that is reached."""
        by_target = {step.target: step for step in self.steps}
        path: list[Step] = []
        while node in by_target:
            path.insert(0, by_target[node])
            node = by_target[node].source
        return path


@dataclass(frozen=True, slots=True)
class _Stand:
    """Where a path has come to."""

    node: Node
    acting: Powers
    """What can be used from here."""
    gathered: Powers
    """Everything that was held on the way: reaching it again is no gain."""
    is_impersonated: bool = False
    """Who impersonates acts as somebody else for one request, and cannot do so again from there."""

    def after(self, means: Means, node: Node, gained: Powers) -> _Stand:
        """The next place."""
        is_same = node.kind in {NodeKind.ROLE, NodeKind.NAMESPACE}
        acting = self.acting | gained if is_same else gained
        return _Stand(node, acting, self.gathered | gained, means is Means.IMPERSONATE or (is_same and self.is_impersonated))


class Escalations:
    """Finds the paths in one snapshot. What was found once for some powers is kept for others who hold the same."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._steps = Steps(snapshot)
        self._known: dict[Key, Paths] = {}
        self._exceeding: dict[tuple[Key, Key], bool] = {}

    def of(self, asker: Asker) -> Paths:
        """Everything that this asker could reach and does not hold."""
        start = node_of(asker)
        powers = Powers.of(self._snapshot, asker)
        if powers.are_unlimited or not powers.scopes:
            return Paths(start)
        if powers.key not in self._known:
            steps = tuple(self._walk(start, powers))
            self._known[powers.key] = Paths(start, steps, is_cut=len(steps) >= MOST_NODES)
        known = self._known[powers.key]
        if known.start == start:
            return known
        steps = tuple(replace(step, source=start) if step.source == known.start else step for step in known.steps)
        return Paths(start, tuple(step for step in steps if step.target != start), known.is_cut)

    def _walk(self, start: Node, powers: Powers) -> Iterator[Step]:
        """Breadth first, so that the first way to a node is a shortest one."""
        seen, waiting = {start}, deque([_Stand(start, powers, powers | self._steps.common)])
        while waiting:
            here = waiting.popleft()
            held = [here.gathered]
            for means, thanks_to, targets in self._steps.of(here.acting):
                if means is Means.IMPERSONATE and here.is_impersonated:
                    continue
                for node, gained in targets:
                    is_more = node not in seen and all(self._exceed(gained, one) for one in held)
                    if node.kind is NodeKind.ROLE and not node.scope:  # the same role in one namespace adds nothing to it
                        held.append(here.gathered | gained)
                    if is_more:
                        seen.add(node)
                        yield Step(here.node, node, means, thanks_to, gained.are_unlimited)
                        if gained.are_unlimited or len(seen) > MOST_NODES:
                            return
                        waiting.append(here.after(means, node, gained))

    def _exceed(self, gained: Powers, gathered: Powers) -> bool:
        """Whether anything is gained; only what is held in the same scopes can cover it."""
        same = gathered.within(*gained.scopes)
        if (gained.key, same.key) not in self._exceeding:
            self._exceeding[gained.key, same.key] = gained.exceed(same)
        return self._exceeding[gained.key, same.key]
