"""A trail of many years: events by the million, made by Python in all cores and copied into PostgreSQL."""

from __future__ import annotations

import multiprocessing
import random
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg

from iam import settings
from iam.evidence.events import FIELDS, moment
from iam.services.vault import Vault

TABLE = "audit_trail"
AT_ONCE, COPIERS = 20_000, 4
PEOPLE, CLUSTERS, A_CASE, SELDOM = 10_000, 20, 25, 100_000
"""Of so many events in a row, those that have a case are of the same one; of SELDOM, one is of somebody who never came again."""
RARE = "lab"
"""A cluster of which little is told."""
BEGAN = datetime(2024, 11, 1, tzinfo=UTC)
YEARS = timedelta(days=730)
_KEY = "SHA256:4f1d6c0e9ab2735cd1e0f7a98b3e64d2c5b1a09f8e7d6c5b4a3928170615f4e3"
_ROLE = '"role":"ClusterRole/edit","namespaces":["team-%(place)d"],"seconds":3600'
_ASKED = f'"requester":"%(person)s","title":"Run the shop",{_ROLE},"why":"The till of shop %(place)d is down.","ticket":"OPS-%(number)d"'
_DENIED = "This needs the role administrator / auditor."


@dataclass(frozen=True, slots=True)
class Kind:
    """What happens, how often of a million, and what its text holds."""

    often: int
    action: str
    target_kind: str = ""
    target: str = ""
    details: str = ""
    result: str = "done"
    reason: str = ""
    in_cluster: bool = True
    of_case: bool = False
    by_worker: bool = False

    def text(self) -> str:
        """The text of such an event, to be filled by ``%``."""
        values = {
            **dict.fromkeys(FIELDS, ""), "id": "%(id)024x", "at": "%(at)s", "action": self.action, "result": self.result,
            "reason": self.reason, "actor_name": "kube-iam" if self.by_worker else "%(actor)s",
            "actor_id": "" if self.by_worker else "%(actor_id)s", "door": "worker" if self.by_worker else "page",
            "address": "" if self.by_worker else "10.%(place)d.17.%(place)d", "request_id": "" if self.by_worker else "%(request)032x",
            "target_kind": self.target_kind, "target_name": self.target, "person": "%(person)s" if self.of_case else "",
            "case_id": "%(case)s" if self.of_case else "", "cluster": "%(cluster)s" if self.in_cluster else "",
        }  # fmt: skip
        facts = [f'"{name}":"{values[name]}"' for name in FIELDS[:-1]]
        return "{" + ",".join([*facts, f'"details":{{{self.details}}}']) + "}"


_ISSUED = f'"fingerprint":"{_KEY}","expires":"%(at)s","key":"ECDSA P-256","request":"kube-iam-%(number)d"'
KINDS = (
    Kind(270_000, "login", "directory", "corp", in_cluster=False),
    Kind(250_000, "credential.issued", "cluster", "%(cluster)s", _ISSUED),
    Kind(45_000, "request.submitted", "request", "%(case)s", _ASKED, of_case=True),
    Kind(45_000, "request.approved", "request", "%(case)s", f'{_ASKED},"stage":1,"round":1,"digest":"{_KEY}"', of_case=True),
    Kind(45_000, "request.granted", "request", "%(case)s", f"{_ASKED}", of_case=True, by_worker=True),
    *(
        Kind(45_000, action, "grant", "%(grant)024x", f'"request":"%(case)s",{_ROLE},"ends_at":"%(at)s"', of_case=True, by_worker=True)
        for action in ("grant.started", "grant.applied", "grant.ended", "grant.gone")
    ),
    Kind(70_000, "cluster.reconciled", "cluster", "%(cluster)s", '"changed":3,"removed":1,"replaced":0,"created":2', by_worker=True),
    Kind(10_000, "mapping.created", "mapping", "corp:team-%(place)d -> ClusterRole/view", '"namespaces":["team-%(place)d"]'),
    Kind(10_000, "mapping.removed", "mapping", "corp:team-%(place)d -> ClusterRole/view", '"namespaces":["team-%(place)d"]'),
    Kind(44_490, "access.denied", "audit", "export", '"path":"/audit"', "refused", _DENIED, in_cluster=False),
    Kind(20_000, "login", "directory", "corp", "", "refused", "Username or password is wrong.", in_cluster=False),
    Kind(10_000, "cluster.probed", "cluster", "%(cluster)s", '"problem":"timed out"', "failed", "The cluster does not answer."),
    Kind(500, "emergency.opened", "request", "%(case)s", f'{_ASKED},"door":"night"', of_case=True),
    Kind(10, "keys.rotated", "", "", '"count":21', in_cluster=False),
)


def texts(first: int, count: int, of: int) -> Iterator[str]:
    """Events ``first`` and on, of so many in YEARS; always the same. A few people do much, most little."""
    rng = random.Random(first)
    kinds = rng.choices([kind.text() for kind in KINDS], weights=[kind.often for kind in KINDS], k=count)
    for number, text in enumerate(kinds, first):
        who, case = int(PEOPLE * rng.random() ** 3), number // A_CASE
        yield text % {
            "id": rng.getrandbits(96), "at": moment(BEGAN + YEARS * (number / of)), "number": number, "place": number % 251,
            "actor": person(who) if number % SELDOM else f"once-{number // SELDOM}", "actor_id": f"{who:024x}",
            "request": rng.getrandbits(128), "grant": rng.getrandbits(96), "case": case_id(case), "person": person(case * 7919 % PEOPLE),
            "cluster": RARE if number % 20_011 == 0 else f"prod-{rng.randrange(CLUSTERS)}",
        }  # fmt: skip


def person(number: int) -> str:
    """A username; the lower the number, the more events."""
    return f"person-{number}"


def case_id(number: int) -> str:
    """The id of an access request."""
    return f"{number * 0x9E3779B97F4A7C15 % 2**96:024x}"


def fill(config: Path, events: int, *, are_sealed: bool) -> int:
    """Put so many events behind those that are there; returns the id of the first. Sealed ones have a number, and no block."""
    with connect(config) as connection:
        first = int(_value(connection, f"SELECT coalesce(max(id), 0) + 1 FROM {TABLE}"))
        if are_sealed:
            connection.execute(f"ALTER TABLE {TABLE} SET UNLOGGED")
        kept = [str(row[0]) for row in connection.execute(f"SELECT indexdef FROM pg_indexes WHERE tablename = '{TABLE}'")]
        unique = connection.execute(f"SELECT conname FROM pg_constraint WHERE conrelid = '{TABLE}'::regclass").fetchall()
        for (name,) in unique:
            connection.execute(f'ALTER TABLE {TABLE} DROP CONSTRAINT "{name}"')
        for (name,) in connection.execute(f"SELECT indexname FROM pg_indexes WHERE tablename = '{TABLE}'").fetchall():
            connection.execute(f'DROP INDEX "{name}"')
    with ProcessPoolExecutor(COPIERS, mp_context=multiprocessing.get_context("spawn")) as pool:
        starts = range(0, events, AT_ONCE)
        for done in [pool.submit(_copy, config, first, start, min(AT_ONCE, events - start), events, are_sealed) for start in starts]:
            done.result()
    with ThreadPoolExecutor(COPIERS) as threads:
        list(threads.map(lambda definition: _index(config, definition), kept))
    with connect(config) as connection:
        connection.execute(f"SELECT setval(pg_get_serial_sequence('{TABLE}', 'id'), {first + events})")
    tidy(config)
    return first


def tidy(config: Path) -> None:
    """As the database's own housekeeping would have it after a while."""
    with connect(config) as connection:
        connection.execute("SET maintenance_work_mem = '1GB'")
        connection.execute("VACUUM ANALYZE")


def connect(config: Path) -> psycopg.Connection:
    """A bare connection to the product's database."""
    return psycopg.connect(settings.load(config).database_url.replace("+psycopg", ""), autocommit=True)


def _copy(config: Path, first: int, start: int, count: int, of: int, are_sealed: bool) -> None:
    vault = Vault(key.get_secret_value() for key in settings.load(config).encryption_keys)
    rows = []
    for row, text in enumerate(texts(start, count, of), first + start):
        rows.append(f"{row}\t{row if are_sealed else chr(92) + 'N'}\t{text}\t{vault.mark(text.encode())}\n")
    query = f"COPY {TABLE} (id, seq, body, mark) FROM STDIN"
    with connect(config) as connection, connection.cursor() as cursor, cursor.copy(query) as copy:
        copy.write("".join(rows))


def _index(config: Path, definition: str) -> None:
    with connect(config) as connection:
        connection.execute("SET maintenance_work_mem = '1GB'")
        connection.execute(definition)


def _value(connection: psycopg.Connection, query: str) -> int:
    row = connection.execute(query).fetchone()
    assert row
    return int(row[0])


def questions(rng: random.Random, first: int, events: int) -> dict[str, dict[str, str]]:
    """What an auditor asks of the page, one of each kind."""
    who, seldom = person(rng.randrange(PEOPLE)), f"once-{rng.randrange(max(1, events // SELDOM))}"
    case, place, cluster = rng.randrange(events // A_CASE), rng.randrange(251), f"prod-{rng.randrange(CLUSTERS)}"
    day = BEGAN + YEARS * rng.uniform(0.1, 0.9)
    since, until = (f"{moment(one)[:19]}Z" for one in (day, day + timedelta(days=1)))
    middle, early = str(first + events // 2 + rng.randrange(999)), str(first + events // 1000 + rng.randrange(999))
    mapping = f"corp:team-{place} -> ClusterRole/view"
    return {
        "nothing": {},
        "a busy actor": {"actor": person(0)},
        "an actor": {"actor": who},
        "an actor of one event": {"actor": seldom},
        "an actor whom nobody knows": {"actor": "nobody"},
        "an action": {"action": "credential.issued"},
        "a rare action": {"action": "keys.rotated"},
        "a family of actions": {"action": "grant."},
        "action and cluster": {"action": "credential.issued", "cluster": cluster},
        "action and a rare cluster": {"action": "mapping.created", "cluster": RARE},
        "refused": {"result": "refused"},
        "failed, in a cluster": {"result": "failed", "cluster": cluster},
        "a person": {"person": who},
        "a busy person": {"person": person(0)},
        "a case": {"case": case_id(case)},
        "a target": {"target": mapping},
        "a call": {"request": f"{rng.getrandbits(128):032x}"},
        "a day": {"since": since, "until": until},
        "before a day": {"until": since},
        "a cluster, a day": {"cluster": cluster, "since": since, "until": until},
        "a cluster, before a day": {"cluster": cluster, "until": since},
        "refused, a day": {"result": "refused", "since": since, "until": until},
        "actor and action": {"actor": who, "action": "credential.issued"},
        "actor, action, cluster": {"actor": who, "action": "mapping.created", "cluster": cluster},
        "actor and action that never met": {"actor": person(0), "action": "keys.rotated"},
        "busy actor and result that never met": {"actor": "kube-iam", "result": "refused"},
        "busy action and result that never met": {"action": "grant.", "result": "refused"},
        "busy actor and action that never met": {"actor": "kube-iam", "action": "login"},
        "target and an actor": {"target": mapping, "actor": who},
        "nothing, from the middle": {"before": middle},
        "action and cluster, from the middle": {"action": "login", "cluster": cluster, "before": middle},
        "refused, near the beginning": {"result": "refused", "before": early},
        "a busy actor, near the beginning": {"actor": person(0), "before": early},
        "an action, near the beginning": {"action": "credential.issued", "before": early},
        "an actor, near the beginning": {"actor": who, "before": early},
    }
