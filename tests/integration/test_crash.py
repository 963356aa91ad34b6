"""Processes that change things, and one that seals, all killed with kill -9 at any moment, again and again: afterwards each effect has
its event, each event its effect, and the chain is whole.

KUBE_IAM_SEED repeats what was drawn: the changes, and after which statement of the database a process is killed.
"""

from __future__ import annotations

import gc
import mmap
import os
import random
import select
import signal
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from pathlib import Path
from unittest import mock

from argon2 import PasswordHasher
from fixtures.product import Product
from fixtures.sealed import at_each_statement, elsewhere, fresh, opened, seal, sealing
from rigs.processes import wait_until
from sqlalchemy.exc import OperationalError

from iam.directory.base import Identity
from iam.models import ApiToken, AuditEvent, LocalAccount, Mapping, Person, db
from iam.services.access import NewMapping
from iam.services.base import SCOPES, WORKER, Actor, transaction

__all__ = ["fresh", "sealing"]
SEED = int(os.environ.get("KUBE_IAM_SEED") or random.SystemRandom().randrange(2**32))
ATTEMPTS = {"postgresql": 1000, "sqlite": 100}
CHANGERS = 2
GROUPS = ["engineers", "leads", "security"]
LONGEST_LIFE = {"changers": 250, "sealers": 80}
"""Statements of the database."""
ROUND = 8
"""Changes that the sealer waits for."""


@dataclass
class Life:
    """One process' changes. Nobody else touches what it makes: whether the last change of a process was done when it died is for
    the database to say, and may show a moment later.
    """

    product: Product
    name: str
    random: random.Random
    people: dict[str, bool] = field(default_factory=dict)
    """By id, and whether they are in."""
    mappings: list[str] = field(default_factory=list)
    tokens: list[tuple[Actor, str]] = field(default_factory=list)
    number: Iterator[int] = field(default_factory=count)

    def change(self) -> None:
        """Something."""
        able = [self.map, self.map, self.join, self.make_account]
        able += [self.shut_out_or_let_in, self.change_groups, self.make_token] if self.people else []
        able += [self.unmap] if self.mappings else []
        able += [self.revoke] if self.tokens else []
        self.random.choice(able)()
        db.session.remove()

    def fresh(self) -> str:
        return f"{self.name}-{next(self.number)}"

    def map(self) -> None:
        command = NewMapping(f"local:{self.random.choice(GROUPS)}", "prod", "ClusterRole", f"role-{self.fresh()}", ("shop",))
        self.mappings.append(self.product.services.access.create(self.product.operator, command).id)

    def unmap(self) -> None:
        self.product.services.access.remove(self.product.operator, self.mappings.pop())

    def join(self) -> None:
        name = f"person-{self.fresh()}"
        self.people[self.remember(name)] = True

    def remember(self, name: str) -> str:
        groups = frozenset(self.random.sample(GROUPS, self.random.randint(0, len(GROUPS))))
        with transaction():
            return str(self.product.services.people.remember(WORKER, Identity("local", name, name, name.title(), groups=groups)).id)

    def change_groups(self) -> None:
        person = db.session.get(Person, self.random.choice(list(self.people)))
        assert person
        self.remember(person.username)

    def shut_out_or_let_in(self) -> None:
        one = self.random.choice(list(self.people))
        people = self.product.services.people
        (people.disable if self.people[one] else people.enable)(self.product.operator, one)
        self.people[one] = not self.people[one]

    def make_token(self) -> None:
        actor = Actor("anybody", "page", self.random.choice(list(self.people)), scopes=frozenset(SCOPES), session_id="a page")
        token, _key = self.product.services.tokens.create(actor, name=f"token-{self.fresh()}", scopes=["read"], days=1)
        self.tokens.append((actor, token.id))

    def revoke(self) -> None:
        self.product.services.tokens.revoke(*self.tokens.pop())

    def make_account(self) -> None:
        self.product.services.accounts.create(self.product.operator, username=f"account-{self.fresh()}", password="correct horse battery")


class Chaos:
    """Runs in a process that has no threads, so that it can fork; it never holds a connection while it does."""

    def __init__(self, product: Product, folder: Path, attempts: int, seed: int) -> None:
        self.product = product
        self.folder = folder
        self.attempts = attempts
        self.random = random.Random(seed)
        self.counts = mmap.mmap(-1, CHANGERS * 4)
        """How many changes each has begun; shared with the children."""
        self.done, self.note_done = os.pipe()
        self.lives: dict[int, tuple[int, int, int]] = {}
        """By the pipe that tells of statements: role, process, how many statements it still has."""
        self.kills = Counter[str]()

    def begun(self) -> int:
        return sum(memoryview(self.counts).cast("I"))

    def run(self) -> Counter[str]:
        for role in range(CHANGERS + 1):  # the last one seals
            self.start(role)
        try:
            while self.begun() < self.attempts:
                for pipe in select.select(list(self.lives), [], [], 60)[0]:
                    self.look(pipe)
        finally:
            for pipe in list(self.lives):
                self.end(pipe)
        return self.kills

    def start(self, role: int) -> None:
        told, tell = os.pipe()
        seed, left = self.random.getrandbits(32), self.random.randint(1, LONGEST_LIFE[called(role)])
        child = os.fork()
        if child == 0:
            self.live(role, tell, Life(self.product, f"{role}-{self.kills.total()}", random.Random(seed)))
        os.close(tell)
        self.lives[told] = role, child, left

    def look(self, pipe: int) -> None:
        role, child, left = self.lives[pipe]
        told = len(os.read(pipe, left))
        self.lives[pipe] = role, child, left - told
        if told in {0, left}:
            self.end(pipe)
            self.start(role)

    def end(self, pipe: int) -> None:
        role, child, _left = self.lives.pop(pipe)
        os.kill(child, signal.SIGKILL)
        _child, status = os.waitpid(child, 0)
        os.close(pipe)
        assert os.WIFSIGNALED(status), (self.folder / f"bug-{child}").read_text("utf-8")
        self.kills[called(role)] += 1

    def live(self, role: int, tell: int, life: Life) -> None:
        try:
            with at_each_statement(self.product, lambda _number, _statement: os.write(tell, b".")):
                (self.seal if role == CHANGERS else self.change)(role, life)
        except BaseException:  # noqa: BLE001  # nothing of it may go on in the parent's stack
            (self.folder / f"bug-{os.getpid()}").write_text(traceback.format_exc(), "utf-8")
        finally:
            os._exit(1)

    def change(self, role: int, life: Life) -> None:
        counts = memoryview(self.counts).cast("I")
        with self.product.app.app_context():
            while True:
                counts[role] += 1
                life.change()
                os.write(self.note_done, b".")

    def seal(self, _role: int, _life: Life) -> None:
        while True:
            waiting = ROUND
            while waiting > 0:
                waiting -= len(os.read(self.done, waiting))
            with suppress(OperationalError):  # SQLite: somebody writes
                seal(self.product, once=True)


def called(role: int) -> str:
    return "changers" if role < CHANGERS else "sealers"


def chaos(url: str, folder: Path, moment: datetime, attempts: int, seed: int) -> Counter[str]:
    """To be run elsewhere; returns how many of each kind were killed."""
    cheap = mock.patch("iam.directory.local.hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    with cheap, opened(url, folder) as product:
        product.clock.moment = moment
        with product.app.app_context():
            warm = Life(product, "warm", random.Random(seed))
            for _ in range(30):
                warm.change()  # statements are compiled once, and not in each child
            db.engine.dispose()
        seal(product)
        with product.app.app_context():
            db.engine.dispose()
        gc.freeze()  # children copy less
        return Chaos(product, folder, attempts, seed).run()


def test_no_effect_without_its_event_and_no_event_without_its_effect(
    sealing: Product, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    product = sealing
    url = str(product.services.world.settings.database_url)
    attempts = ATTEMPTS[url.partition(":")[0].partition("+")[0]]
    (kills,) = elsewhere(chaos, url, tmp_path, product.clock(), attempts, SEED)
    record_property("said", f"{attempts} changes, {kills['changers']} + {kills['sealers']} processes killed, KUBE_IAM_SEED={SEED}")
    assert min(kills["changers"], kills["sealers"]) >= attempts // 100
    wait_until(lambda: all_sealed(product), seconds=30, what="the last sealer")
    assert_that_the_trail_tells_what_is_there(product)


def all_sealed(product: Product) -> bool:
    """The database may need a moment to see that the last processes are dead."""
    seal(product)
    with product.app.app_context():
        return product.services.sealer.waiting() == 0


def assert_that_the_trail_tells_what_is_there(product: Product) -> None:
    with product.app.app_context():
        report = product.services.verifier.verify(product.operator)
        trail = list(db.session.scalars(db.select(AuditEvent).order_by(AuditEvent.seq)))
        assert (report.findings, report.events, report.unsealed) == ([], len(trail), 0), f"KUBE_IAM_SEED={SEED}"
        told = Told(trail)
        assert told.names("mapping") == Counter(
            f"{one.group.reference} -> ClusterRole/{one.role_name}" for one in db.session.scalars(db.select(Mapping))
        ), f"KUBE_IAM_SEED={SEED}"
        assert told.names("token") == Counter(db.session.scalars(db.select(ApiToken.name)))
        assert told.names("account") == Counter(db.session.scalars(db.select(LocalAccount.username)))
        people = list(db.session.scalars(db.select(Person)))
        assert told.names("person") == Counter(one.username for one in people)
        assert {name: groups for name, groups in told.groups.items() if groups} == {
            one.username: {group.name for group in one.groups} for one in people if one.groups
        }
        assert told.out == {one.username for one in people if one.disabled_at}


class Told:
    """What the trail says that is there."""

    def __init__(self, trail: list[AuditEvent]) -> None:
        self.made, self.gone = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
        self.groups: dict[str, set[str]] = defaultdict(set)
        self.out: set[str] = set()
        for one in trail:
            assert one.result == "done"
            kind, _, what = one.action.partition(".")
            if what in {"created", "removed", "revoked"}:
                (self.made if what == "created" else self.gone)[kind, one.target_name] += 1
            elif one.action == "person.changed":
                groups, joined, left = self.groups[one.target_name], set(one.details["joined"]), set(one.details["left"])
                assert (joined & groups, left - groups, joined | left != set()) == (set(), set(), True)
                self.groups[one.target_name] = (groups | joined) - left
            elif kind == "person":
                assert (one.target_name in self.out) == (what == "enabled"), "shut out and let in by turns"
                self.out ^= {one.target_name}

    def names(self, kind: str) -> Counter[str]:
        """What was made and is not gone; nothing is made or goes twice."""
        made, gone = (Counter({name: times for (of, name), times in some.items() if of == kind}) for some in (self.made, self.gone))
        assert gone <= made
        return made - gone
