"""Whatever people, the clock and crashes do, in whatever order: no access without its quorum, none by oneself, none beyond its end.

What is right is reckoned here anew, from what this test knows of people and rules, and from what is stored.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from argon2 import PasswordHasher
from fixtures.asking import Scene, scene
from fixtures.offline import give, stored
from fixtures.stored import contents
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from iam import services
from iam.clusters import connection
from iam.errors import Problem
from iam.models import AccessRequest, Asked, AuditEvent, Decision, Grant, Person, db
from iam.services.audit import Audit

__all__ = ["scene"]
LEADS, SECURITY, ADMINISTRATORS, PARTNERS = "local:leads", "local:security", "local:administrators", "partner:leads"
GROUPS: dict[str, frozenset[str]] = {
    "erin": frozenset(), "emil": frozenset({LEADS}), "lee": frozenset({LEADS}), "lou": frozenset({LEADS, SECURITY}),
    "sam": frozenset({SECURITY}), "gil": frozenset({SECURITY}), "gus": frozenset({SECURITY}), "ada": frozenset({ADMINISTRATORS}),
    "alf": frozenset({ADMINISTRATORS}), "partner:lee": frozenset({PARTNERS}),
}
STAGES = [
    "1 of local:leads", "2 of local:leads", "1 of local:leads and 1 of local:security", "1 of local:leads\n1 of local:security",
    "1 of local:leads and 1 of partner:leads\n1 of local:administrators", "2 of local:leads\n2 of local:security and 1 of partner:leads",
]
ENGINEERS = ("erin", "emil")
"""They hold view in stock by a mapping."""
NOT_A_STEP = ("notices", "sessions", "login_attempts")
askers = st.sampled_from(["erin", "emil", "lee", "lou", "partner:lee", "ada"])
people, number = st.sampled_from(sorted(GROUPS)), st.integers(0, 20)


class Crash(BaseException):
    """The process dies here."""


@contextmanager
def crashing(when: str, at: int) -> Iterator[None]:
    """The process dies when it records its nth event, or just before or after its nth commit."""
    counted = iter(range(1, 1000))
    record, commit = Audit.record, db.session.commit

    def dying_record(*words: Any, **more: Any) -> None:
        if next(counted) == at:
            raise Crash
        record(*words, **more)

    def dying_commit() -> None:
        is_last = next(counted) == at
        if is_last and when == "before":
            raise Crash
        commit()
        if is_last:
            raise Crash

    patch = mock.patch.object(Audit, "record", dying_record) if when == "record" else mock.patch.object(db.session, "commit", dying_commit)
    with patch:
        yield


def human(username: str) -> str:
    """Lee has two accounts."""
    return username.removeprefix("partner:")


def is_met(stages: str, yeses: Sequence[tuple[int, frozenset[str]]]) -> bool:
    """By trying every way in which each yes, of one stage and with these groups, counts for one of those that are wanted."""
    for at, line in enumerate(stages.splitlines()):
        wanted = [group for count, group in (need.split(" of ") for need in line.split(" and ")) for _ in range(int(count))]
        said = [groups for stage, groups in yeses if stage == at]
        if not any(all(group in groups for group, groups in zip(wanted, order, strict=True)) for order in permutations(said, len(wanted))):
            return False
    return True


class Machine(RuleBasedStateMachine):
    """One cluster, ten accounts of nine people, a rule that says yes to the harmless and one for the rest."""

    scene: Scene
    begin: Callable[[], None]
    """Makes everything as it was at the start."""

    def __init__(self) -> None:
        super().__init__()
        type(self).begin()
        self.groups, self.out = dict(GROUPS), set[str]()
        self.stages, self.extra = STAGES[0], dict[str, str]()
        self.crash: tuple[str, int] | None = None
        self.said: dict[str, frozenset[str]] = {}
        self.known: dict[str, tuple[str, datetime | None]] = {}
        self.names = {one.id: one.username for one in stored(self.scene.product, Person)}
        self.load()

    def load(self) -> None:
        """Read everything, in the order in which it was made."""
        with self.scene.open():
            events = list(db.session.scalars(db.select(AuditEvent).order_by(AuditEvent.id)))
            order = {name: at for at, name in reversed(list(enumerate(event.target_name for event in events)))}
            self.events = Counter((one.target_name, str(one.action)) for one in events if one.result in {"done", "failed"})
            self.requests = sorted(db.session.scalars(db.select(AccessRequest)), key=lambda one: order[one.id])
            self.grants = sorted(db.session.scalars(db.select(Grant)), key=lambda one: order[one.request_id])
            self.decisions = list(db.session.scalars(db.select(Decision)))
            self.asked = set(db.session.scalars(db.select(Asked.request_id)))

    def do(self, act: Callable[[], object], *, is_one: bool = True) -> Problem | None:
        """One step; if a crash is due, first with it, which leaves nothing half-done, and then once more."""
        if self.crash:
            (when, at), self.crash = self.crash, None
            before = contents(self.scene.product)
            try:
                with crashing(when, at):
                    return tried(act)
            except Crash:
                self.restart()
            if is_one and when != "after":
                assert contents(self.scene.product) == before
            self.holds()
        return tried(act)

    def restart(self) -> None:
        """A new process over the same database."""
        product = self.scene.product
        product.services = services.Services.over(product.services.world)
        services.attach(product.app, product.services)

    def pending(self, kind: str = "request") -> list[AccessRequest]:
        return [one for one in self.requests if (one.state, one.kind) == ("pending", kind)]

    def running(self) -> list[Grant]:
        return [one for one in self.grants if one.state != "ended"]

    @rule(
        who=askers, where=st.sampled_from([("shop",), ("shop", "till"), ("stock",), ()]), entry=st.sampled_from(["edit", "edit", "view"]),
        hours=st.sampled_from([1, 2, 30]), later=st.sampled_from([0, 0, 1, 3]), again=st.booleans(),
    )
    def ask(self, who: str, where: tuple[str, ...], entry: str, hours: int, later: int, again: bool) -> None:
        start = self.scene.product.clock() + timedelta(hours=later) if later else None
        extends = next((one.id for one in self.running() if again and self.names[one.person_id] == who), "")
        self.do(lambda: self.scene.ask(who, *where, entry=entry, seconds=hours * 3600, starts_at=start, extends=extends))

    @precondition(lambda self: self.pending())
    @rule(pick=number, who=people)
    def anybody_approves(self, pick: int, who: str) -> None:
        request = self.pending()[pick % len(self.pending())]
        problem = self.do(lambda: self.scene.yes(who, request.id))
        is_own = human(self.names[request.person_id]) == human(who)
        assert problem or not (is_own or who in self.out)

    @precondition(lambda self: self.pending())
    @rule(pick=number, whom=number, times=st.integers(1, 4), less=st.sampled_from([{}, {}, {"seconds": 1800}, {"namespaces": ("shop",)}]))
    def those_who_are_asked_approve(self, pick: int, whom: int, times: int, less: dict[str, Any]) -> None:
        request = self.pending()[pick % len(self.pending())]
        for _ in range(times):
            asked = [one for one in sorted(GROUPS) if request.id in self.scene.inbox(one)]
            if asked:
                self.do(partial(self.scene.yes, asked[whom % len(asked)], request.id, **less))
                self.holds()

    @precondition(lambda self: self.pending())
    @rule(pick=number, who=people, how=st.sampled_from(["deny", "cancel", "cancel", "comment"]))
    def ends_or_talks(self, pick: int, who: str, how: str) -> None:
        request = self.pending()[pick % len(self.pending())]
        acts: dict[str, Callable[[], object]] = {
            "deny": lambda: self.scene.no(who, request.id), "comment": lambda: self.scene.comment(who, request.id, "Why?"),
            "cancel": lambda: self.scene.cancel(self.names[request.person_id] if pick % 2 else who, request.id),
        }
        self.do(acts[how])

    @precondition(lambda self: self.running())
    @rule(pick=number, who=people, is_holder=st.booleans())
    def takes_back(self, pick: int, who: str, is_holder: bool) -> None:
        grant = self.running()[pick % len(self.running())]
        holder = self.names[grant.person_id]
        give_up = self.do(lambda: self.scene.give_back(holder if is_holder else who, grant.id))
        if give_up is not None and not is_holder:
            self.do(lambda: self.scene.revoke(who, grant.id))

    @rule(minutes=st.sampled_from([5, 29, 31, 60, 61, 180, 25 * 60, -60, -60]))
    def time_goes_by(self, minutes: int) -> None:
        self.scene.product.clock.forward(minutes=minutes)

    @rule()
    def worker_looks_at_the_clock(self) -> None:
        self.do(self.scene.clockwork, is_one=False)
        now, product = self.scene.product.clock(), self.scene.product
        self.load()
        assert [one for one in self.requests if one.state == "pending" and one.lapses_at and one.lapses_at <= now] == []
        assert [one for one in self.pending() if self.names[one.person_id] in self.out] == []
        assert [one for one in self.grants if one.state == "active" and one.ends_at and one.ends_at <= now] == []
        assert [one for one in self.grants if one.state == "scheduled" and one.starts_at <= now] == []
        with self.scene.open():
            found = {(one.key, one.subjects) for one in product.services.reconciler.desired("prod").values()}
            is_done = sorted(who for (_key, subjects) in found for who in (subject.name for subject in subjects)) == sorted(
                who for names in self.scene.bound().values() for who in names
            )
            assert is_done or "prod" in product.services.reconciler.due(), "what changed on a cluster wakes its reconcile"

    @rule()
    def worker_reconciles(self) -> None:
        self.do(self.scene.reconcile, is_one=False)
        self.load()
        wanted: dict[str, set[str]] = {}
        for one in self.grants:
            assert one.state != "active" or (one.ends_at and one.ends_at > self.scene.product.clock())
            if one.state == "active" and self.names[one.person_id] not in self.out:
                for place in one.namespaces or ["*"]:
                    wanted.setdefault(f"{place}/{one.role_name}", set()).add(self.names[one.person_id])
        mapped = set(ENGINEERS) - self.out
        if mapped:
            wanted.setdefault("stock/view", set()).update(mapped)
        assert {place: set(names) for place, names in self.scene.bound().items()} == wanted

    @rule(who=people)
    def is_shut_out_or_let_in(self, who: str) -> None:
        act = self.scene.let_in if who in self.out else self.scene.shut_out
        assert self.do(lambda: act(who)) is None
        self.out ^= {who}

    @rule(who=st.sampled_from(["erin", "emil", "sam", "lou"]), group=st.sampled_from([LEADS, SECURITY]))
    def joins_or_leaves(self, who: str, group: str) -> None:
        groups = self.groups[who] ^ {group}
        names = [one.removeprefix("local:") for one in groups] + (["engineers"] if who in ENGINEERS else [])
        assert self.do(lambda: self.scene.remember(who, *names)) is None
        self.groups[who] = groups

    @rule(stages=st.sampled_from(STAGES), who=st.sampled_from(["ada", "alf"]), lapses=st.sampled_from(["30m", "2h", "2d"]))
    def rule_changes(self, stages: str, who: str, lapses: str) -> None:
        self.scene.product.clock.forward(seconds=1)
        if self.do(lambda: self.scene.rule(stages, "most", by=who, change=True, lapses=lapses)) is None:
            self.stages = stages

    @initialize(stages=st.sampled_from(STAGES))
    def rule_is_written(self, stages: str) -> None:
        self.rule_changes(stages, "ada", "2d")

    @rule(role=st.sampled_from(["edit", "view"]), resource=st.sampled_from(["", "things", "secrets"]))
    def role_changes(self, role: str, resource: str) -> None:
        self.extra[role] = resource
        write_roles(self.extra)

    @rule(who=people, door=st.sampled_from(["fire", "vault"]))
    def breaks_glass(self, who: str, door: str) -> None:
        self.do(lambda: self.scene.break_glass(who, door=door), is_one=False)

    @precondition(lambda self: self.pending("emergency"))
    @rule(who=people, pick=number)
    def unseals(self, who: str, pick: int) -> None:
        request = self.pending("emergency")[pick % len(self.pending("emergency"))]
        self.do(lambda: self.scene.unseal(who, request.id), is_one=False)

    @rule(when=st.sampled_from(["record", "before", "after"]), at=st.integers(1, 4))
    def next_step_crashes(self, when: str, at: int) -> None:
        self.crash = when, at

    @invariant()
    def holds(self) -> None:
        self.load()
        by_id = {one.id: one for one in self.requests}
        for decision in self.decisions:
            self.is_by_somebody_who_may(decision, by_id[decision.request_id])
        said = Counter((one.request_id, one.round, human(self.names[one.approver_id])) for one in self.decisions)
        assert set(said.values()) <= {1}, "one decision a human and round"
        for request in self.requests:
            self.is_audited(request)
        for grant in self.grants:
            self.is_rightful(grant, by_id[grant.request_id])
        dropped = self.known.keys() - {one.id for one in self.grants}
        assert all(self.known[one][0] == "scheduled" and self.events[one, "grant.ended"] == 1 for one in dropped)
        self.known = {one.id: (one.state, one.ends_at) for one in self.grants}
        assert self.asked <= {one.id for one in self.requests if one.state == "pending"}

    def is_by_somebody_who_may(self, decision: Decision, request: AccessRequest) -> None:
        who = self.names[decision.approver_id]
        assert human(who) != human(self.names[request.person_id])
        if decision.id not in self.said:
            self.said[decision.id] = self.groups[who]
            assert who not in self.out
            text = (request.stages.splitlines() or [SECURITY])[decision.stage]
            assert any(group in text for group in self.groups[who])

    def is_rightful(self, grant: Grant, request: AccessRequest) -> None:
        """What it was made of, when it is new; and ever after that it goes on only to its end."""
        before, end = self.known.get(grant.id, ("", None))
        steps = ["", "scheduled", "active", "ended"]
        assert steps.index(before) <= steps.index(grant.state)
        assert end is None or end == grant.ends_at
        said = [one for one in self.decisions if one.request_id == request.id and one.round == request.round and one.verdict == "approve"]
        for one in (*said, request):
            assert grant.seconds <= one.seconds
            assert set(grant.namespaces) <= set(one.namespaces) if one.namespaces else not grant.namespaces
        if not before:
            asker = self.names[request.person_id]
            counted = [(one.stage, self.said[one.id]) for one in said if self.names[one.approver_id] not in self.out]
            if request.kind == "emergency":
                assert SECURITY in self.groups[asker]
                assert counted or request.rule_name == "fire"
            elif request.stages == "automatic":
                assert (grant.role_name, human(asker) == "ada", self.extra.get("view") == "secrets") == ("view", False, False)
            else:
                assert request.stages == self.stages, "as the rule is written now"
                assert is_met(request.stages, counted)
        counts = {"started": bool(grant.activated_at), "ended": grant.state == "ended", "applied": bool(grant.applied_at)}
        counts["gone"] = bool(grant.gone_at and grant.activated_at)
        assert {name: self.events[grant.id, f"grant.{name}"] for name in counts} == counts

    def is_audited(self, request: AccessRequest) -> None:
        said = Counter(one.verdict for one in self.decisions if one.request_id == request.id)
        is_emergency, is_approved = request.kind == "emergency", request.state == "approved"
        made = sum(one.request_id == request.id for one in self.grants)
        assert made == is_approved
        granted = self.events[request.id, "request.granted"]
        counts = {"submitted": 1, "restarted": request.round - 1, "denied": said["deny"]}
        counts |= {name: request.state == name for name in ("cancelled", "lapsed", "closed")}
        counts |= {"approved": 0 if is_emergency else said["approve"]}
        assert {name: self.events[request.id, f"request.{name}"] for name in counts} == counts
        assert (request.state == "denied") == bool(said["deny"])
        assert self.events[request.id, "emergency.opened"] == (is_emergency and is_approved)
        assert granted >= (not is_emergency and is_approved)


def tried(act: Callable[[], object]) -> Problem | None:
    try:
        act()
    except Problem as problem:
        return problem
    return None


def write_roles(extra: dict[str, str]) -> None:
    """The ClusterRoles of the offline cluster, with a thing more to look at in some."""
    path = connection._USER_FACING_ROLES
    roles = json.loads(path.with_name("as-they-are.json").read_text("utf-8"))
    for role in roles:
        resource = extra.get(role["metadata"]["name"])
        if resource:
            role["rules"].append({"apiGroups": ["" if resource == "secrets" else "example.org"], "resources": [resource], "verbs": ["get"]})
    path.write_text(json.dumps(roles), "utf-8")


@pytest.fixture
def machine(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[Machine]:
    """A machine that begins each time with the same people, rules and doors."""
    monkeypatch.setattr("iam.directory.local.hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    (tmp_path / "as-they-are.json").write_text(connection._USER_FACING_ROLES.read_text("utf-8"), "utf-8")
    monkeypatch.setattr(connection, "_USER_FACING_ROLES", tmp_path / "roles.json")
    write_roles({})
    for one in ("gil", "gus"):
        scene.account(one, "security")
    scene.remember("emil", "engineers", "leads")
    scene.remember("lou", "leads", "security")
    scene.remember("lee", "leads", directory="partner", email="Lee+partner@EXAMPLE.org")
    scene.remember("sue")
    give(scene.product, "local:engineers", "view", "stock")
    scene.offer("view", "view")
    scene.rule("automatic", "harmless", by="ada")
    scene.rule(STAGES[0], "most")
    scene.door()
    scene.door("vault", is_sealed=True)
    start, database = scene.product.clock(), tmp_path / "test.db"
    with sqlite3.connect(database) as live, sqlite3.connect(tmp_path / "start.db") as kept:
        live.backup(kept)

    def begin() -> None:
        with scene.open():
            db.session.remove()
            db.engine.dispose()
        with sqlite3.connect(tmp_path / "start.db") as kept, sqlite3.connect(database) as live:
            kept.backup(live)
        (tmp_path / "offline-prod.json").unlink(missing_ok=True)
        write_roles({})
        scene.product.clock.moment = start

    return type("Started", (Machine,), {"scene": scene, "begin": staticmethod(begin)})


def test_no_access_without_its_quorum_by_oneself_or_beyond_its_end(machine: type[Machine]) -> None:
    run_state_machine_as_test(machine, settings=settings(
        max_examples=20, stateful_step_count=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck),
    ))
