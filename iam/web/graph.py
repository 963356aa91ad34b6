"""Paths as a drawing: where each box and each line goes, left to right. The template writes the SVG."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from iam.kube.escalation import Paths, Step
from iam.kube.escalation_steps import Means, Node, NodeKind
from iam.services.explorer import Climb

WIDTH, HEIGHT = 210, 46
GAP, ROW = 190, 64
MARGIN = 12
MOST_BOXES = 30
"""Boxes in one column; the table below the drawing has them all."""


@dataclass(frozen=True, slots=True)
class Box:
    """One node, placed."""

    x: int
    y: int
    kind: str
    name: str
    scope: str = ""
    is_everything: bool = False
    """Whoever stands here may do everything."""


@dataclass(frozen=True, slots=True)
class Line:
    """One step, placed: a curve from the right of one box to the left of another."""

    path: str
    label: str
    label_x: int
    label_y: int


@dataclass(frozen=True, slots=True)
class Drawing:
    """Everything, and how large it is."""

    width: int
    height: int
    boxes: Sequence[Box]
    lines: Sequence[Line]
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class _Edge:
    source: Node
    target: Node
    means: Means
    gives_everything: bool


def of_paths(paths: Paths, words: Mapping[Means, object]) -> Drawing:
    """What one asker could reach."""
    return _drawn([_edge(step) for step in paths.steps], words, {})


def of_climbs(climbs: Iterable[Climb], words: Mapping[Means, object]) -> Drawing:
    """What everybody could reach, in short; those who could take the same steps share a box."""
    edges: dict[_Edge, None] = {}
    titles: dict[Node, str] = {}
    for climb in climbs:
        start, first = climb.paths.start, climb.who[0]
        titles[start] = first.display_name or first.name
        if len(climb.who) > 1:
            titles[start] += f" + {len(climb.who) - 1}"
        edges.update(dict.fromkeys(_edge(step) for step in climb.paths.gist))
    return _drawn(list(edges), words, titles)


def _edge(step: Step) -> _Edge:
    return _Edge(step.source, step.target, step.means, step.gives_everything)


def _drawn(edges: list[_Edge], words: Mapping[Means, object], titles: Mapping[Node, str]) -> Drawing:
    columns: dict[int, list[Node]] = defaultdict(list)
    for node, depth in _depths(edges).items():
        columns[depth].append(node)
    whole = {edge.target for edge in edges if edge.gives_everything}
    boxes: dict[Node, Box] = {}
    for depth, nodes in columns.items():
        for row, node in enumerate(nodes[:MOST_BOXES]):
            x, y = MARGIN + depth * (WIDTH + GAP), MARGIN + row * ROW
            scope = node.scope if node.kind is NodeKind.ROLE else ""
            boxes[node] = Box(x, y, str(node.kind), titles.get(node, node.name), scope, node in whole)
    drawn = [edge for edge in edges if edge.source in boxes and edge.target in boxes]
    rows = max((min(len(nodes), MOST_BOXES) for nodes in columns.values()), default=0)
    return Drawing(
        2 * MARGIN + len(columns) * WIDTH + max(0, len(columns) - 1) * GAP, 2 * MARGIN + rows * ROW, list(boxes.values()),
        [_line(boxes[edge.source], boxes[edge.target], str(words[edge.means])) for edge in drawn],
        sum(max(0, len(nodes) - MOST_BOXES) for nodes in columns.values()),
    )


def _depths(edges: list[_Edge]) -> dict[Node, int]:
    """How many steps from a start, so that lines lead to the right; the whole cluster stands last."""
    targets = {edge.target for edge in edges}
    depths: dict[Node, int] = {edge.source: 0 for edge in edges if edge.source not in targets}
    for edge in edges:  # breadth first as found, so a source has its place before its targets
        depths.setdefault(edge.source, 0)
        depths[edge.target] = max(depths.get(edge.target, 0), depths[edge.source] + 1)
    everything = Node(NodeKind.EVERYTHING)
    if everything in depths:
        depths[everything] = max(depths.values())
    return depths


def _line(source: Box, target: Box, label: str) -> Line:
    x1, y1, x2, y2 = source.x + WIDTH, source.y + HEIGHT // 2, target.x, target.y + HEIGHT // 2
    bend = max(40, abs(x2 - x1) // 2)
    return Line(f"M{x1} {y1} C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}", label, x2 - 8, y2 - 6)
