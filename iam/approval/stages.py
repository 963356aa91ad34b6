"""Stages of an approval, as an administrator writes them: one stage a line, needs joined with ``and``.

    lead
    2 of ldap:security and 1 of owners
    1 of "ldap:Research and Development"

``lead`` is the requester's lead as the directory says, ``owners`` are those of the namespace; ``automatic`` alone asks nobody.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from iam.errors import Invalid
from iam.kube.names import group_name, is_label

AUTOMATIC = "automatic"
MAX_STAGES, MAX_NEEDS, MAX_COUNT = 5, 5, 10
_NEED = re.compile(r'\s*(?:(\d{1,6})\s+of\s+)?(?:"([^"]+)"|([^\s"]+))\s*', re.IGNORECASE)
_AND = re.compile(r"and\s+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Need:
    """So many of a group, of the namespace's owners, or the requester's lead."""

    kind: Literal["group", "owners", "lead"]
    count: int = 1
    group: str = ""
    """``directory:group`` where the kind is group."""

    def __str__(self) -> str:
        name = self.kind if self.kind != "group" else f'"{self.group}"' if re.search(r"\s", self.group) else self.group
        return name if self.kind == "lead" else f"{self.count} of {name}"


Stage = tuple[Need, ...]
"""All of these; one person counts for one of them."""


def parse(text: str, field: str = "stages") -> tuple[Stage, ...]:
    """The stages, in order; none for ``automatic``. Raises Invalid, naming the line."""
    lines = {number: line.strip() for number, line in enumerate(text.splitlines(), 1) if line.strip()}
    if [line.casefold() for line in lines.values()] == [AUTOMATIC]:
        return ()
    if not 0 < len(lines) <= MAX_STAGES:
        raise Invalid("Write one to %(most)s stages, a line each, or automatic.", field=field, most=MAX_STAGES)
    return tuple(_stage(line, number, field) for number, line in lines.items())


def written(stages: tuple[Stage, ...]) -> str:
    """The text that ``parse`` reads."""
    return "\n".join(" and ".join(map(str, stage)) for stage in stages) or AUTOMATIC


def _stage(line: str, number: int, field: str) -> Stage:
    needs: list[Need] = []
    position = 0
    while True:
        found = _NEED.match(line, position)
        if not found:
            raise Invalid(
                "Line %(line)s should read like: lead, or 2 of directory:group and 1 of owners. A name with blanks stands in quotes.",
                field=field, line=number,
            )
        needs.append(_need(found, number, field))
        position = found.end()
        if position == len(line):
            break
        joined = _AND.match(line, position)
        if not joined:
            raise Invalid("Line %(line)s: needs are joined with and.", field=field, line=number)
        position = joined.end()
    if len(needs) > MAX_NEEDS:
        raise Invalid("Line %(line)s: at most %(most)s needs in one stage.", field=field, line=number, most=MAX_NEEDS)
    named = [(need.kind, need.group) for need in needs]
    if len(set(named)) < len(named):
        raise Invalid("Line %(line)s names the same people twice; add their numbers up.", field=field, line=number)
    return tuple(needs)


def _need(found: re.Match[str], number: int, field: str) -> Need:
    count, name = int(found[1] or 1), found[2] or found[3]
    if not 1 <= count <= MAX_COUNT:
        raise Invalid("Line %(line)s: between 1 and %(most)s of a group.", field=field, line=number, most=MAX_COUNT)
    if name.casefold() == "lead":
        if count > 1:
            raise Invalid("Line %(line)s: everybody has one lead at the most.", field=field, line=number)
        return Need("lead")
    if name.casefold() == "owners":
        return Need("owners", count)
    directory, _, group = name.strip().partition(":")
    if not is_label(directory) or not group:
        raise Invalid(
            "Line %(line)s: %(name)s is neither lead, owners nor directory:group. A name with blanks stands in quotes.",
            field=field, line=number, name=name[:60],
        )
    try:
        return Need("group", count, f"{directory}:{group_name(group)}")
    except Invalid as problem:
        raise Invalid("Line %(line)s: %(why)s", field=field, line=number, why=str(problem)) from None
