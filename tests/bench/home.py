"""The home page of a person with 50 groups among 1 000 mappings: time and queries, with 10 000 people and with 10."""

from __future__ import annotations

import hashlib
import http.client
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta

from rigs.processes import LOOPBACK
from sqlalchemy import event, insert, text

from bench.ground import Ground
from bench.installation import Installation
from bench.measure import Work, in_turn, milliseconds
from bench.table import Row, Target
from iam.models import Cluster, Group, Mapping, Membership, Person, ReconcileState, Session, db, new_id

MANY, FEW = 10_000, 10
MAPPINGS = 1_000
GROUPS = 500
CLUSTERS, FEW_CLUSTERS = 20, 2
GROUPS_OF_ME, GROUPS_EACH = 50, 5
TIMES = 120
COOKIE, KEY = "kube_iam_session", "key-of-a-browser-session"


def run(ground: Ground) -> list[Row]:
    """p50, p95 and the number of queries."""
    with ExitStack() as stack:
        many, few, small = _Site(ground, MANY), _Site(ground, FEW), _Site(ground, FEW, FEW_CLUSTERS)
        for site in (many, few, small):
            stack.callback(site.installation.close)
        queries, with_few, with_few_clusters = (site.queries() for site in (many, few, small))
        with many.installation.serve(worker=False) as port, few.installation.serve(worker=False) as other_port:
            ours, anchor = _page(port), _page(other_port)
            in_turn(ours, anchor, 20)
            turns = in_turn(ours, anchor, TIMES)
    page = f"home page over HTTP, {ground.database_kind}, {MANY} people"
    anchor_is = f"the same page with {FEW} people"
    return [
        Row(f"{page}, p50", milliseconds(turns.ours), milliseconds(turns.anchor), "ms", anchor_is),
        Row(f"{page}, p95", milliseconds(turns.ours, 0.95), milliseconds(turns.anchor, 0.95), "ms", anchor_is, Target("ours <", 60)),
        Row("SQL queries of it", queries, with_few, "queries", anchor_is, Target("ours <= anchor")),
        Row(
            f"SQL queries of it, {CLUSTERS} clusters", queries, with_few_clusters, "queries",
            f"the same with {FEW_CLUSTERS} clusters and {FEW} people", Target("ours <= anchor"),
        ),
    ]


def _page(port: int) -> Work:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=30)

    def get() -> None:
        connection.request("GET", "/", headers={"Cookie": f"{COOKIE}={KEY}", "Accept-Language": "en"})
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200 or b"group-0" not in body:
            raise RuntimeError(f"GET /: {answer.status} {body[:300]!r}")

    return get


class _Site:
    """An installation with so many people and clusters, and one person logged in."""

    def __init__(self, ground: Ground, people: int, clusters: int = CLUSTERS) -> None:
        self.installation = Installation(ground, f"home-{people}-{clusters}")
        with self.installation.app.app_context():
            _fill(people, clusters)
            db.session.remove()

    def queries(self) -> int:
        """How many SQL statements one page takes, the application being warm."""
        client = self.installation.app.test_client()
        client.set_cookie(COOKIE, KEY)
        assert client.get("/").status_code == 200
        with self.installation.app.app_context():
            engine = db.engine
        with _counting(engine) as statements:
            assert client.get("/").status_code == 200
        return len(statements)


@contextmanager
def _counting(engine: object) -> Iterator[list[str]]:
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        statements.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(engine, "before_cursor_execute", note)


def _fill(people: int, cluster_count: int) -> None:
    now = datetime.now(UTC)
    groups = [{"id": new_id(), "directory": "local", "name": f"group-{number}"} for number in range(GROUPS)]
    clusters = [
        {
            "id": new_id(), "name": f"cluster-{number}", "server": f"https://cluster-{number}:6443", "access": "credential",
            "signer": "csr", "created_at": now,
        }
        for number in range(cluster_count)
    ]
    states = [{"cluster_id": cluster["id"], "wanted_at": now, "succeeded_at": now, "done": 1} for cluster in clusters]
    mappings = [
        {
            "id": new_id(), "group_id": groups[number % GROUPS]["id"], "cluster_id": clusters[number % cluster_count]["id"],
            "role_kind": "ClusterRole", "role_name": f"role-{number}", "namespaces": [f"team-{number % 7}", f"team-{number % 11}-dev"],
            "created_at": now, "created_by": "bench",
        }
        for number in range(MAPPINGS)
    ]
    everybody = [
        {
            "id": new_id(), "directory": "local", "subject": f"subject-{number}", "username": f"person{number}",
            "display_name": f"Person {number}", "created_at": now, "synced_at": now,
        }
        for number in range(people)
    ]
    me = everybody[0]["id"]
    memberships = [{"person_id": me, "group_id": group["id"]} for group in groups[:GROUPS_OF_ME]]
    for number, person in enumerate(everybody[1:], 1):
        memberships += [
            {"person_id": person["id"], "group_id": groups[(number * 7 + step * 31) % GROUPS]["id"]} for step in range(GROUPS_EACH)
        ]
    session = {
        "id": new_id(), "key_hash": hashlib.sha256(KEY.encode()).hexdigest(), "person_id": me, "created_at": now, "last_used_at": now,
        "ends_at": now + timedelta(hours=1),
    }
    for table, rows in (
        (Group, groups), (Cluster, clusters), (ReconcileState, states), (Mapping, mappings), (Person, everybody),
        (Membership, memberships), (Session, [session]),
    ):
        db.session.execute(insert(table), rows)
    db.session.commit()
    db.session.execute(text("ANALYZE"))
    db.session.commit()
