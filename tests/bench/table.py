"""What a benchmark found, and the table of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

HEAD = ("measured", "ours", "anchor", "", "the anchor is", "ratio", "target", "")
_NUMBERS = {1, 2, 5}


@dataclass(frozen=True, slots=True)
class Target:
    """What must hold: of ours / anchor, or of ours alone."""

    kind: Literal["ratio <=", "ratio >=", "ours <", "ours <= anchor"]
    bound: float = 1.0

    def __str__(self) -> str:
        return self.kind if self.kind == "ours <= anchor" else f"{self.kind} {self.bound:g}"


@dataclass(frozen=True, slots=True)
class Row:
    """One line. ``anchor_is`` says what stands beside ours; without an anchor it may explain the figure."""

    what: str
    ours: float
    anchor: float | None
    unit: str
    anchor_is: str = ""
    target: Target | None = None

    @property
    def ratio(self) -> float | None:
        """Ours over the anchor."""
        return self.ours / self.anchor if self.anchor else None

    @property
    def verdict(self) -> str:
        """``pass``, ``FAIL``, or nothing where there is no target."""
        if self.target is None:
            return ""
        value = self.ratio if self.target.kind.startswith("ratio") else self.ours
        assert value is not None, f"{self.what} has a target for a ratio and no anchor"
        holds = {
            "ratio <=": value <= self.target.bound,
            "ratio >=": value >= self.target.bound,
            "ours <": value < self.target.bound,
            "ours <= anchor": self.anchor is not None and value <= self.anchor,
        }[self.target.kind]
        return "pass" if holds else "FAIL"

    def cells(self) -> tuple[str, ...]:
        """As text, in the order of HEAD."""
        return (
            self.what, _number(self.ours), _number(self.anchor), self.unit, self.anchor_is,
            f"{self.ratio:.2f}" if self.ratio is not None else "", str(self.target or ""), self.verdict,
        )


def render(sections: Iterable[tuple[str, Sequence[Row]]]) -> str:
    """All rows in columns of one width, a heading before each benchmark's."""
    found = [(name, [row.cells() for row in rows]) for name, rows in sections]
    everything = [HEAD, *(cells for _, rows in found for cells in rows)]
    widths = [max(len(cells[column]) for cells in everything) for column in range(len(HEAD))]

    def line(cells: Sequence[str]) -> str:
        return "  ".join(
            cell.rjust(width) if column in _NUMBERS else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ).rstrip()

    lines = [line(HEAD), "-" * (sum(widths) + 2 * (len(widths) - 1))]
    for name, rows in found:
        lines += [f"{name}:", *(line(cells) for cells in rows)]
    return "\n".join(lines)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 1000 or value == int(value) else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
