"""Decisions: with 10 and 50 000 bindings, over 100 000 lines of policy, and beside a real API server over the same."""

from __future__ import annotations

import json
import random
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

from rigs.many_connections import ManyConnections, review
from rigs.processes import wait_until

from bench import alone
from bench.ground import Ground, new_control_plane
from bench.measure import milliseconds, seconds_of
from bench.table import Row, Target
from iam.kube import abac
from iam.kube.abac import AbacAuthorizer
from iam.kube.authorizer import Snapshot
from iam.kube.kubeconfig import read
from iam.kube.rbac import RoleBinding
from iam.kube.requests import Decision, Request, from_review

FEW, MANY, OVER_THERE = 10, 50_000, 2_000
"""Bindings. A real API server walks all of them for each review, so it gets fewer."""
LINES = 100_000
ROUNDS, CALLS = 30, 4_000
REVIEWS, CONNECTIONS = 3_000, 8
GROUP = "rbac.authorization.k8s.io"
VERBS = ("get", "list", "watch", "create", "update", "delete")
RESOURCES = ("pods", "secrets", "configmaps", "services", "endpoints", "events", "jobs", "deployments")
Decide = Callable[[Request], Decision]
Document = dict[str, Any]


def run(ground: Ground) -> list[Row]:
    """RBAC, ABAC, then what loading and changing cost."""
    few, many, there = (Snapshot.from_documents(documents(count)) for count in (FEW, MANY, OVER_THERE))
    specs = questions()
    requests = [from_review(spec) for spec in specs]
    assert {few.decide(one).allowed for one in requests} == {True, False}
    assert [few.decide(one) for one in requests] == [many.decide(one) for one in requests]
    with_few, with_many = _in_turn(few.decide, many.decide, requests)
    api = _api_server_rbac(specs, [there.decide(one).allowed for one in requests])
    return [
        *_decisions(f"RBAC, {MANY} ClusterRoleBindings", with_many, with_few, f"the same with {FEW}"),
        Row(
            f"RBAC decisions a second, {OVER_THERE} bindings", _rate(there.decide, requests), api, "1/s",
            f"kube-apiserver, {CONNECTIONS} connections, the same {OVER_THERE}",
        ),
        *_abac(ground, specs, requests),
        *_loading(ground),
        *_one_change(many),
    ]


def documents(count: int) -> list[Document]:
    """So many ClusterRoleBindings, of which three are the asker's: those are the same however many others there are."""
    rules = [{"verbs": [verb], "apiGroups": ["", "apps"], "resources": [name]} for verb in VERBS[:3] for name in RESOURCES[:5]]
    found: list[Document] = [{"kind": "ClusterRole", "metadata": {"name": "bench-reader"}, "rules": rules}]
    found += [_binding(number, "User", "asker") for number in range(2)] + [_binding(2, "Group", "askers")]
    return found + [_binding(number, "User", f"person-{number // 5}") for number in range(3, count)]


def questions() -> list[Document]:
    """Half of them allowed; one asker."""
    rng = random.Random(7)
    return [
        {"user": "asker", "groups": ["askers", "system:authenticated"], "resourceAttributes": {
            "verb": rng.choice(VERBS), "resource": rng.choice(RESOURCES), "namespace": "dev", "name": f"name-{number}",
        }}
        for number in range(64)
    ]  # fmt: skip


def _binding(number: int, kind: str, subject: str) -> Document:
    return {
        "kind": "ClusterRoleBinding", "metadata": {"name": f"bench-{number}"},
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": "bench-reader" if number < 3 else f"role-{number % 100}"},
        "subjects": [{"apiGroup": GROUP, "kind": kind, "name": subject}],
    }  # fmt: skip


def _decisions(what: str, ours: list[float], anchor: list[float], anchor_is: str) -> list[Row]:
    """Microseconds; 10 of them are 100 000 decisions a second."""
    return [
        Row(f"{what}: mean decision", _mean(ours), _mean(anchor), "us", anchor_is, Target("ours <", 10)),
        Row("the same, p50", _share(ours, 0.5), _share(anchor, 0.5), "us", anchor_is),
        Row("the same, p99", _share(ours, 0.99), _share(anchor, 0.99), "us", anchor_is, Target("ratio <=", 1.2)),
        Row("the same, p99", _share(ours, 0.99), None, "us", "", Target("ours <", 50)),
    ]


def _in_turn(first: Decide, second: Decide, requests: Sequence[Request]) -> tuple[list[float], list[float]]:
    """Microseconds of each decision; both sides move in turn, so that a slow moment of the machine hits both."""
    found: tuple[list[float], list[float]] = ([], [])
    for turn in range(ROUNDS):
        for side in (0, 1) if turn % 2 else (1, 0):
            found[side].extend(_each((first, second)[side], requests))
    return found


def _each(decide: Decide, requests: Sequence[Request]) -> Iterable[float]:
    clock, count = time.perf_counter_ns, len(requests)
    moments = [0] * (CALLS + 1)
    moments[0] = clock()
    for number in range(CALLS):
        decide(requests[number % count])
        moments[number + 1] = clock()
    return [(after - before) / 1000 for before, after in pairwise(moments)]


def _rate(decide: Decide, requests: Sequence[Request]) -> float:
    return 1e6 / _mean([one for _ in range(ROUNDS) for one in _each(decide, requests)])


def _mean(values: Sequence[float]) -> float:
    """Of the middle one of all rounds, so that rounds in which another process had the core do not count."""
    return statistics.median(statistics.mean(values[start : start + CALLS]) for start in range(0, len(values), CALLS))


def _share(values: Sequence[float], share: float) -> float:
    return sorted(values)[int(share * len(values))]


def _api_server_rbac(specs: Sequence[Document], expected: Sequence[bool]) -> float:
    with _control_plane(24, "--authorization-mode=RBAC") as api:
        role, *bindings = documents(OVER_THERE)
        api.every([("POST", f"/apis/{GROUP}/v1/clusterroles", role)])
        api.every(("POST", f"/apis/{GROUP}/v1/clusterrolebindings", one) for one in reversed(bindings))
        wait_until(lambda: api.allowed(specs) == list(expected), seconds=30, what="the authorizer's caches")
        return _reviews_a_second(api, specs)


@contextmanager
def _control_plane(parallel: int, *authorization: str) -> Any:
    with new_control_plane(*authorization) as plane, ManyConnections(read(plane.kubeconfig()), parallel) as api:
        yield api


def _reviews_a_second(api: ManyConnections, specs: Sequence[Document]) -> float:
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    calls = [("POST", path, review(specs[number % len(specs)])) for number in range(REVIEWS)]
    return REVIEWS / seconds_of(lambda: api.every(calls))


def _abac(ground: Ground, specs: Sequence[Document], requests: Sequence[Request]) -> list[Row]:
    text, short = _policy(LINES), _policy(FEW)
    loaded: list[AbacAuthorizer] = []
    seconds = seconds_of(lambda: loaded.append(AbacAuthorizer.from_lines(abac.lines(text))))
    many, few = loaded[0], AbacAuthorizer.from_lines(abac.lines(short))
    with_few, with_many = _in_turn(few.decide, many.decide, requests)
    path = ground.folder / "policy.jsonl"
    path.write_text(text, "utf-8")
    with _control_plane(CONNECTIONS, "--authorization-mode=ABAC", f"--authorization-policy-file={path}") as api:
        assert api.allowed(specs) == [many.decide(one).allowed for one in requests]
        theirs = _reviews_a_second(api, specs)
    anchor_is = f"kube-apiserver, {CONNECTIONS} connections, the same file"
    return [
        *_decisions(f"ABAC, {LINES} lines", with_many, with_few, f"the same with {FEW}"),
        Row(f"ABAC decisions a second, {LINES} lines", _rate(many.decide, requests), theirs, "1/s", anchor_is),
        Row(f"{LINES} lines of policy loaded", seconds, None, "s", f"{len(text) / 1e6:.0f} MB"),
    ]


def _policy(count: int) -> str:
    """The asker's lines stand last: the API server reads all others first."""
    others = [abac.Policy(f"person-{number // 5}", namespace=f"ns-{number}", resource="*", api_group="*") for number in range(count - 10)]
    own = [abac.Policy("", "askers", True, "dev", RESOURCES[number % 5], "*") for number in range(10)]
    return abac.render([*others, *own])


def _loading(ground: Ground) -> list[Row]:
    path = ground.folder / "bindings.json"
    path.write_text(json.dumps({"kind": "List", "items": documents(MANY)}), "utf-8")
    best = alone.best_of(alone.load_bindings, path)
    assert best.count == MANY
    return [
        Row(
            f"{MANY} bindings loaded from JSON", best.seconds, None, "s", f"read, checked, indexed; best of {alone.TIMES}",
            Target("ours <", 3),
        ),
        Row("the same, memory", best.megabytes, None, "MB", "the whole process at its most", Target("ours <", 400)),
    ]


def _one_change(snapshot: Snapshot) -> list[Row]:
    changed = [RoleBinding(f"bench-{number}", "", ("ClusterRole", "", "bench-reader"), (f"new-{number}",)) for number in range(100)]
    seconds = []
    for binding in changed:
        start = time.perf_counter()
        snapshot.with_changes(bindings=[binding])
        seconds.append(time.perf_counter() - start)
    return [
        Row(f"one of {MANY} bindings changed, p50", milliseconds(seconds), None, "ms", "", Target("ours <", 5)),
        Row("the same, the slowest of 100", milliseconds(seconds, 1), None, "ms"),
    ]
