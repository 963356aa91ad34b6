"""A role's rules in a few words: what may be read, changed, removed, and what else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from iam.kube.rbac import ALL, PolicyRule

_KINDS = {
    "get": "read", "list": "read", "watch": "read", "create": "change", "update": "change", "patch": "change", "delete": "remove",
    "deletecollection": "remove", ALL: "everything",
}
_ORDER = ("everything", "read", "change", "remove")


@dataclass(frozen=True, slots=True)
class Allowance:
    """One kind of thing that may be done, and to what."""

    kind: str
    """``everything``, ``read``, ``change``, ``remove``, or any other verb."""
    targets: tuple[str, ...]
    """``pods``, ``deployments/scale``, ``secrets (only tls)``, ``/healthz``."""


def allowances(rules: Iterable[PolicyRule]) -> list[Allowance]:
    """The usual kinds first; a target that may be done everything to is not named again."""
    found: dict[str, dict[str, None]] = {}
    for rule in rules:
        for verb in rule.verbs:
            found.setdefault(_KINDS.get(verb, verb), {}).update(dict.fromkeys(_targets(rule)))
    whole = found.get("everything", {})
    named = {kind: tuple(one for one in targets if kind == "everything" or one not in whole) for kind, targets in found.items()}
    order = [*(kind for kind in _ORDER if kind in named), *sorted(kind for kind in named if kind not in _ORDER)]
    return [Allowance(kind, named[kind]) for kind in order if named[kind]]


def _targets(rule: PolicyRule) -> Iterable[str]:
    only = f" (only {', '.join(rule.resource_names)})" if rule.resource_names else ""
    for resource in rule.resources:
        yield ("everything" if resource == ALL else resource) + only
    yield from rule.non_resource_urls
