"""A policy text, read: its lines, the file that it becomes, what is wrong with it, and what differs from another."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from iam.errors import Invalid, NotFound, Sentence
from iam.kube import abac
from iam.kube.abac import AbacAuthorizer, Line, Policy, Reference
from iam.kube.abac_convert import Converted, convert
from iam.kube.abac_coverage import gained
from iam.kube.abac_lint import Code, Finding, Severity, lint
from iam.kube.requests import Decision, Request

MAX_TEXT = 64 * 1024 * 1024
Members = Mapping[Reference, Sequence[str]]
"""The users behind each reference."""


@dataclass(frozen=True)
class Draft:
    """A text, read: its lines, and what the API server would see of them."""

    lines: Sequence[Line]
    numbered: Sequence[tuple[int, Policy]]
    problems: Sequence[Invalid] = ()
    empty: Sequence[tuple[int, Reference]] = field(default=())
    """References that nobody is behind, with their lines."""
    members: Members = field(default_factory=dict)
    """Who was behind the references when it was read."""
    is_alone: bool = True
    """Whether no other authorizer stands beside it."""

    @property
    def rendered(self) -> str:
        """The file: canonical lines in the order written, each reference its users in order of their names. Always the same bytes."""
        return abac.render(policy for _number, policy in self.numbered)

    @property
    def digest(self) -> str:
        """SHA-256 of the file, hex."""
        return hashlib.sha256(self.rendered.encode()).hexdigest()

    def findings(self, *, alone: bool | None = None) -> list[Finding]:
        """What is wrong with it, the unreadable lines first."""
        unreadable = [Finding(_line_of(one), Code.UNREADABLE, Severity.ERROR, Sentence(one.message, one.params)) for one in self.problems]
        nobody = [
            Finding(number, Code.NOBODY, Severity.WARNING, Sentence("Nobody is behind %(name)s now.", {"name": reference.name}))
            for number, reference in self.empty
        ]
        linted = lint(self.numbered, alone=self.is_alone if alone is None else alone)
        return [*unreadable, *sorted([*nobody, *linted], key=lambda one: one.line)]

    def converted(self, name: str = "abac") -> Converted:
        """The same as RBAC objects, whose names begin with ``name``. Raises Invalid where it is not readable."""
        self.require_readable()
        return convert(self.numbered, name=name)

    def answer(self, wanted: Request) -> tuple[Decision, Line | None]:
        """What the API server would decide by it, and the line that it is thanks to."""
        decision = AbacAuthorizer(self.numbered).decide(wanted)
        number = decision.binding.removeprefix("line ")
        return decision, next((line for line in self.lines if str(line.number) == number), None)

    def require_readable(self) -> None:
        """Raises Invalid for the first line that is wrong; ``problems`` has all of them."""
        if self.problems:
            raise self.problems[0]


@dataclass(frozen=True, slots=True)
class Changes:
    """What one text allows that another does not, both ways, by subject."""

    gained: tuple[Policy, ...]
    lost: tuple[Policy, ...]


def read(text: str, users_behind: Callable[[Sequence[Reference]], Members], source: str = "policy") -> Draft:
    """A draft of a text; ``users_behind`` is asked once, for all the references in it."""
    if len(text) > MAX_TEXT:
        raise Invalid("The policy is larger than 64 MiB.", field=source)
    found = list(abac.survey(text, source, references=True))
    lines = [one for one in found if isinstance(one, Line)]
    members = users_behind(list(dict.fromkeys(line.reference for line in lines if line.reference)))
    empty = [(line.number, line.reference) for line in lines if line.reference and not members.get(line.reference)]
    numbered = list(abac.expanded(lines, lambda reference: members.get(reference, ())))
    return Draft(lines, numbered, [one for one in found if isinstance(one, Invalid)], empty, members)


def of_file(text: str) -> Draft:
    """A file as the API server reads it, where nothing is a reference."""
    lines = list(abac.lines(text))
    return Draft(lines, list(abac.expanded(lines, lambda _: ())))


def changes(before: Draft, after: Draft) -> Changes:
    """Who gains and who loses what."""
    old, new = [policy for _number, policy in before.numbered], [policy for _number, policy in after.numbered]
    return Changes(tuple(gained(old, new)), tuple(gained(new, old)))


def has_references(text: str) -> bool:
    """Whether a text names a person or a directory group, so that a directory is needed to read it."""
    return any(isinstance(one, Line) and one.reference for one in abac.survey(text, references=True))


def with_line(text: str, number: int | None, line: str | None) -> str:
    """The text with one line replaced, added at the end (no number) or taken out (no line). Raises NotFound."""
    lines = text.split("\n")
    if lines and not lines[-1]:
        lines.pop()
    if number is not None and not 1 <= number <= len(lines):
        raise NotFound("There is no line %(number)s.", number=number)
    at = len(lines) if number is None else number - 1
    lines[at : at + 1] = [] if line is None else [line]
    return "".join(f"{one}\n" for one in lines)


def line_for(policy: Policy, reference: Reference | None) -> str:
    """The canonical line of what a form says, checked as the API server would read it. Raises Invalid."""
    text = abac.render_line(replace(policy, user="", group="") if reference else policy, reference)
    next(iter(abac.lines(text, "line", references=True)))
    return text


def _line_of(problem: Invalid) -> int:
    """``policy:12 spec.user`` is line 12."""
    digits = (problem.field or "").partition(" ")[0].rpartition(":")[2]
    return int(digits) if digits.isdigit() else 0
