"""Writing ABAC: a policy of 100 000 lines parsed, linted, converted, and compared with its next version."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from bench import alone
from bench.alone import Alone
from bench.ground import Ground
from bench.table import Row
from iam.kube import abac
from iam.kube.abac import Policy

LINES, CHANGED = 100_000, 1_000
THINGS = (
    ("", "pods"), ("", "secrets"), ("", "configmaps"), ("", "services"), ("apps", "deployments"), ("apps", "statefulsets"),
    ("batch", "jobs"), ("networking.k8s.io", "ingresses"), ("*", "*"),
)


def run(ground: Ground) -> list[Row]:
    """Seconds and memory of each, without targets."""
    before, after = ground.folder / "policy-before.jsonl", ground.folder / "policy-after.jsonl"
    before.write_text(abac.render(policies()), "utf-8")
    after.write_text(abac.render(_changed(policies())), "utf-8")
    return [
        *_rows("parsed", "lines", alone.parse_policy, before),
        *_rows("linted", "findings", alone.lint_policy, before),
        *_rows("converted to RBAC", "manifests", alone.convert_policy, before),
        *_rows(f"beside a version with {CHANGED} other lines: who gains", "gained", alone.compare_policies, before, after),
    ]


def policies() -> Iterator[Policy]:
    """People with a few lines each, groups, paths; of a hundred lines one repeats the first of them and two say less than it."""
    for number in range(LINES):
        api_group, resource = THINGS[number % len(THINGS)]
        policy = Policy(f"person-{number // 5}", "", number % 3 == 0, f"team-{number % 997}", resource, api_group)
        match number % 100:
            case 0 | 50:
                yield replace(policy, namespace="*")
            case 1:
                yield _first_of_a_hundred(number)
            case 2 | 52:
                yield replace(_first_of_a_hundred(number), namespace="kube-system")
            case 3 | 23 | 43 | 63 | 83:
                yield Policy(policy.user, non_resource_path=f"/logs/{number}/*", readonly=True)
            case 10 | 20 | 30 | 40 | 60 | 70 | 80:
                yield replace(policy, user="", group=f"group-{number // 50}")
            case 99:
                yield replace(policy, group=f"group-{number // 50}")
            case _:
                yield policy


def _first_of_a_hundred(number: int) -> Policy:
    first = number - number % 100
    api_group, resource = THINGS[first % len(THINGS)]
    return Policy(f"person-{first // 5}", "", first % 3 == 0, "*", resource, api_group)


def _changed(found: Iterator[Policy]) -> Iterator[Policy]:
    """CHANGED lines, evenly spread, are for another namespace: each of them gives something new."""
    for number, policy in enumerate(found):
        is_changed = number % (LINES // CHANGED) == 7
        yield replace(policy, namespace=f"new-{number}") if is_changed else policy


def _rows(what: str, counted: str, work: Callable[..., Alone], *paths: Path) -> list[Row]:
    best = alone.best_of(work, *paths)
    assert best.count == {"lines": LINES, "gained": CHANGED}.get(counted, best.count)
    assert best.count
    explained = f"{best.count} {counted}; best of {alone.TIMES}"
    return [
        Row(f"{LINES} lines of ABAC {what}", best.seconds, None, "s", explained),
        Row("the same, memory", best.megabytes, None, "MB", "the whole process at its most, its input included"),
    ]
