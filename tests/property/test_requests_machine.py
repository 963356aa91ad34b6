"""Whatever people, the clock and crashes do, in whatever order: no access without its quorum, none by oneself, none beyond its end.

What is right is reckoned here anew, from what this test knows of people and rules, and from what is stored.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import datetime, timedelta
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from fixtures.asking import Crash, Scene, crashing, scene
from fixtures.offline import give, stored
from fixtures.stored import contents
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from iam import services
from iam.errors import Problem
from iam.models import AccessRequest, Asked, AuditEvent, Decision, Grant, Person, db

__all__ = ["scene"]
GROUPS = {
    "erin": {"engineers"}, "emil": {"engineers", "leads"}, "lee": {"leads"}, "lou": {"leads", "security"}, "sam": {"security"},
    "gil": {"security"}, "gus": {"security"}, "ada": {"administrators"}, "alf": {"administrators"}, "partner:lee": {"partners"},
}
STAGES = [
    "1 of local:leads", "2 of local:leads", "1 of local:leads and 1 of local:security", "1 of local:leads\n1 of local:security",
    "1 of local:leads and 1 of partner:partners\n1 of local:administrators",
    "2 of local:leads\n2 of local:security and 1 of partner:partners",
]
ENGINEERS, TWINS, STATES = {"erin", "emil"}, {"lee": "partner:lee", "partner:lee": "lee"}, ["", "scheduled", "active", "ended"]
When = tuple[str, int] | None
crashes = st.none() | st.none() | st.tuples(st.sampled_from(["record", "before", "after"]), st.integers(1, 4))
places = st.sampled_from([("shop",), ("shop", "till"), ("stock",), ()])
spans = st.sampled_from([0, 5, 29, 31, 60, 61, 180, 1500, -60, -60])
roles, hours, later = (st.sampled_from(some) for some in (["edit", "edit", "view"], [1, 2, 30], [0, 0, 1, 3]))
less = st.sampled_from([{}, {}, {"seconds": 1800}, {"namespaces": ("shop",)}])
times, number = st.sampled_from([0, 2, 4, 6]), st.integers(0, 20)
askers, people = st.sampled_from(["erin", "emil", "lee", "lou", "partner:lee", "partner:lee", "ada"]), st.sampled_from(sorted(GROUPS))


def human(username: str) -> str:
    """Lee has two accounts."""
    return username.removeprefix("partner:")


def is_met(stages: str, yeses: Sequence[tuple[int, set[str]]]) -> bool:
    """By trying every way in which each yes, of one stage and with these groups, counts for one that is wanted."""
    for at, line in enumerate(stages.splitlines()):
        needs = (need.split(" of ") for need in line.split(" and "))
        wanted = [group.partition(":")[2] for count, group in needs for _ in range(int(count))]
        said = [groups for stage, groups in yeses if stage == at]
        if not any(all(group in groups for group, groups in zip(wanted, order, strict=True)) for order in permutations(said, len(wanted))):
            return False
    return True


class Machine(RuleBasedStateMachine):
    """One cluster, ten accounts of nine people, a rule that says yes to the harmless and one for the rest."""

    scene: Scene
    begin: Callable[[], None]

    def __init__(self) -> None:
        super().__init__()
        type(self).begin()  # everything is as it was at the start
        self.groups, self.out = dict[str, set[str]](GROUPS), set[str]()
        self.stages, self.said = "", dict[str, set[str]]()
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
        self.pending = [one for one in self.requests if (one.state, one.kind) == ("pending", "request")]
        self.sealed = [one for one in self.requests if (one.state, one.kind) == ("pending", "emergency")]
        self.running = [one for one in self.grants if one.state != "ended"]

    def do(self, crash: When, act: Callable[[], object], *, is_one: bool = True) -> Problem | None:
        """One step; a crash in it leaves nothing half-done, and then it works in a new process."""
        product = self.scene.product
        before = contents(product) if crash else {}
        try:
            with crashing(*crash) if crash else nullcontext():
                act()
        except Problem as problem:
            return problem
        except Crash:
            product.services = services.Services.over(product.services.world)
            services.attach(product.app, product.services)
            assert not is_one or crash is None or crash[0] == "after" or contents(product) == before
            self.holds()
            return self.do(None, act)
        return None

    @initialize(stages=st.sampled_from(STAGES[2:]))
    def a_rule_is_written(self, stages: str) -> None:
        self.rule_changes(None, stages, "ada", "2d")

    @rule(crash=crashes, who=askers, where=places, role=roles, hours=hours, later=later, again=st.booleans(), times=times, whom=number)
    def asks(self, crash: When, who: str, where: tuple[str], role: str, hours: int, later: int, again: bool, times: int, whom: int) -> None:
        start = self.scene.product.clock() + timedelta(hours=later) if later else None
        extends = next((one.id for one in self.running if again and self.names[one.person_id] == who), "")
        self.do(crash, lambda: self.scene.asks(who, *where, entry=role, seconds=hours * 3600, starts_at=start, extends=extends))
        self.load()
        if self.pending:
            self.those_who_are_asked_approve(None, -1, whom, times, {})

    @precondition(lambda self: self.pending)
    @rule(crash=crashes, pick=number, whom=number, times=times, less=less)
    def those_who_are_asked_approve(self, crash: When, pick: int, whom: int, times: int, less: dict[str, Any]) -> None:
        request = self.pending[pick % len(self.pending)]
        for at in range(times):
            asked = [one for one in sorted(GROUPS) if request.id in self.scene.inbox(one)]
            if asked:
                self.do(None if at else crash, partial(self.scene.yes, asked[whom % len(asked)], request.id, **less))
                self.holds()

    @precondition(lambda self: self.pending)
    @rule(crash=crashes, pick=number, who=people, is_own=st.booleans(), how=st.sampled_from(["yes", "yes", "no", "comment", "cancel"]))
    def anybody_says_something(self, crash: When, pick: int, who: str, is_own: bool, how: str) -> None:
        request = self.pending[pick % len(self.pending)]
        asker = self.names[request.person_id]
        who, words = TWINS.get(asker, asker) if is_own else who, ["Why?"] if how == "comment" else []
        problem = self.do(crash, lambda: getattr(self.scene, how)(who, request.id, *words))
        is_right = {"comment": True, "cancel": who == asker}.get(how, human(who) != human(asker) and who not in self.out)
        assert problem or is_right

    @precondition(lambda self: self.running)
    @rule(crash=crashes, pick=number, who=people, how=st.sampled_from(["give_back", "revoke"]), is_holder=st.booleans())
    def takes_back(self, crash: When, pick: int, who: str, how: str, is_holder: bool) -> None:
        grant = self.running[pick % len(self.running)]
        self.do(crash, lambda: getattr(self.scene, how)(self.names[grant.person_id] if is_holder else who, grant.id))

    @rule(crash=crashes, minutes=spans, by_clock=st.booleans(), on_cluster=st.booleans())
    def time_goes_by(self, crash: When, minutes: int, by_clock: bool, on_cluster: bool) -> None:
        self.scene.product.clock.forward(minutes=minutes)
        if by_clock:
            self.do(crash, self.scene.clockwork, is_one=False)
            self.is_done_by_the_clock()
        if on_cluster:
            self.do(crash, self.scene.reconcile, is_one=False)
            self.is_done_on_the_cluster()

    def is_done_by_the_clock(self) -> None:
        self.load()
        now, reconciler = self.scene.product.clock(), self.scene.product.services.reconciler
        for request in self.requests:
            is_over = self.names[request.person_id] in self.out or (request.lapses_at and request.lapses_at <= now)
            assert not (request.state == "pending" and is_over)
        for grant in self.running:
            assert (grant.ends_at or grant.starts_at) > now
        with self.scene.open():
            wanted = Counter(one.name for binding in reconciler.desired("prod").values() for one in binding.subjects)
            found = Counter(name for names in self.scene.bound().values() for name in names)
            assert wanted == found or "prod" in reconciler.due(), "what changes for a cluster wakes its reconcile"

    def is_done_on_the_cluster(self) -> None:
        self.load()
        wanted: dict[str, set[str]] = {"stock/view": ENGINEERS - self.out}  # by a mapping
        for grant in self.running:
            assert grant.ends_at is None or grant.ends_at > self.scene.product.clock()
            for place in grant.namespaces or ["*"]:
                holders = {self.names[grant.person_id]} - self.out if grant.state == "active" else set()
                wanted[f"{place}/{grant.role_name}"] = holders | wanted.get(f"{place}/{grant.role_name}", set())
        assert {place: set(names) for place, names in self.scene.bound().items()} == {where: who for where, who in wanted.items() if who}

    @rule(crash=crashes, who=people, group=st.sampled_from(["", "", "leads", "security"]))
    def people_change(self, crash: When, who: str, group: str) -> None:
        """Shut out or let in; or in a group, or in it no more."""
        if not group:
            act = self.scene.let_in if who in self.out else self.scene.shut_out
            assert self.do(crash, lambda: act(who)) is None
            self.out ^= {who}
        elif who not in {"gil", "gus", "partner:lee"}:
            groups = self.groups[who] ^ {group}
            assert self.do(crash, lambda: self.scene.remember(who, *groups)) is None
            self.groups[who] = groups

    @rule(crash=crashes, stages=st.sampled_from(STAGES), who=st.sampled_from(["ada", "alf"]), lapses=st.sampled_from(["30m", "2h", "2d"]))
    def rule_changes(self, crash: When, stages: str, who: str, lapses: str) -> None:
        self.scene.product.clock.forward(seconds=1)
        if self.do(crash, lambda: self.scene.rule(stages, "most", by=who, change=True, lapses=lapses)) is None:
            self.stages = stages

    @precondition(lambda self: sum(one.kind == "emergency" for one in self.requests) < 3)
    @rule(crash=crashes, who=st.sampled_from(["gil", "gus", "lou"]), other=st.sampled_from(["gil", "gus", "sam"]), is_sealed=st.booleans())
    def breaks_glass(self, crash: When, who: str, other: str, is_sealed: bool) -> None:
        self.do(crash, lambda: self.scene.break_glass(who, door="vault" if is_sealed else "fire"), is_one=False)
        self.load()
        for request in self.sealed:
            self.do(crash, partial(self.scene.unseal, other, request.id), is_one=False)

    @invariant()
    def holds(self) -> None:
        self.load()
        by_id = {one.id: one for one in self.requests}
        for decision in self.decisions:
            self.is_by_somebody_who_may(decision, by_id[decision.request_id])
        said = [(one.request_id, one.round, human(self.names[one.approver_id])) for one in self.decisions]
        assert len(said) == len(set(said)), "one decision a human and round"
        for request in self.requests:
            self.is_audited(request)
        for grant in self.grants:
            self.is_rightful(grant, by_id[grant.request_id])
        assert self.known.keys() <= {one.id for one in self.grants}
        self.known = {one.id: (one.state, one.ends_at) for one in self.grants}
        assert self.asked <= {one.id for one in self.requests if one.state == "pending"}

    def is_by_somebody_who_may(self, decision: Decision, request: AccessRequest) -> None:
        who = self.names[decision.approver_id]
        assert human(who) != human(self.names[request.person_id])
        if decision.id not in self.said:
            self.said[decision.id], text = self.groups[who], (request.stages or "security").splitlines()[decision.stage]
            assert (who in self.out, any(group in text for group in self.groups[who])) == (False, True)

    def is_rightful(self, grant: Grant, request: AccessRequest) -> None:
        """What it was made of, when it is new; and ever after that it goes on only to its end."""
        before, end = self.known.get(grant.id, ("", None))
        assert (STATES.index(before) <= STATES.index(grant.state), end in {None, grant.ends_at}) == (True, True)
        said = [one for one in self.decisions if (one.request_id, one.round, one.verdict) == (request.id, request.round, "approve")]
        for one in (*said, request):
            assert grant.seconds <= one.seconds
            assert set(grant.namespaces) <= set(one.namespaces) if one.namespaces else not grant.namespaces
        if not before:
            asker = self.names[request.person_id]
            counted = [(one.stage, self.said[one.id]) for one in said if self.names[one.approver_id] not in self.out]
            if request.kind == "emergency":
                assert ("security" in self.groups[asker], bool(counted)) == (True, request.rule_name == "vault")
            elif request.stages == "automatic":
                assert (grant.role_name, asker == "ada") == ("view", False)
            else:
                assert (request.stages, is_met(request.stages, counted)) == (self.stages, True), "by the rule as it is written now"
        seen = {"started": grant.activated_at, "applied": grant.applied_at, "gone": grant.activated_at and grant.gone_at}
        counts = {name: bool(at) for name, at in seen.items()} | {"ended": grant.state == "ended"}
        assert {name: self.events[grant.id, f"grant.{name}"] for name in counts} == counts

    def is_audited(self, request: AccessRequest) -> None:
        said = Counter(one.verdict for one in self.decisions if one.request_id == request.id)
        is_emergency, is_approved = request.kind == "emergency", request.state == "approved"
        assert sum(one.request_id == request.id for one in self.grants) == is_approved
        counts = {"submitted": 1, "restarted": request.round - 1, "granted": is_approved and not is_emergency}
        counts |= {"approved": 0 if is_emergency else said["approve"]}
        counts |= {name: request.state == name for name in ("cancelled", "denied", "lapsed", "closed")}
        assert {name: self.events[request.id, f"request.{name}"] for name in counts} == counts
        assert self.events[request.id, "emergency.opened"] == (is_emergency and is_approved)


@pytest.fixture
def machine(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[Machine]:
    """A machine that begins each time with the same people, rules and doors."""
    monkeypatch.setattr("iam.directory.local.hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    for one in ("gil", "gus"):
        scene.account(one, "security")
    for one in ("emil", "lou", "sue"):
        scene.remember(one, *GROUPS.get(one, ()))
    scene.remember("lee", "partners", directory="partner", email="Lee+partner@EXAMPLE.org")
    give(scene.product, "local:engineers", "view", "stock")
    scene.offer("view", "view")
    scene.rule("automatic", "harmless", by="ada")
    scene.rule(STAGES[0], "most")
    scene.door("fire")
    scene.door("vault", is_sealed=True)
    start, live, kept = scene.product.clock(), sqlite3.connect(tmp_path / "test.db"), sqlite3.connect(":memory:")
    live.backup(kept)

    def begin() -> None:
        with scene.open():
            db.session.remove()
            db.engine.dispose()
        kept.backup(live)
        (tmp_path / "offline-prod.json").unlink(missing_ok=True)
        scene.product.clock.moment = start

    return type("Started", (Machine,), {"scene": scene, "begin": staticmethod(begin)})


def test_no_access_without_its_quorum_by_oneself_or_beyond_its_end(machine: type[Machine]) -> None:
    run_state_machine_as_test(machine, settings=settings(
        max_examples=20, stateful_step_count=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck),
    ))
