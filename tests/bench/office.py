"""A company that asks for access: people, a rule, requests and grants by the thousand, a lead's browser, and a watch on the cluster."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

from rigs.processes import LOOPBACK, wait_until
from sqlalchemy import insert, select, text, update

from bench.bare_cluster import BareCluster
from bench.ground import Ground
from bench.installation import OPERATOR, Installation
from iam.clusters.throwaway import ControlPlane
from iam.kube.bindings import RBAC_GROUP
from iam.kube.kubeconfig import Access, read
from iam.models import (
    AccessRequest,
    Asked,
    Cluster,
    Decision,
    EmergencyDoor,
    Grant,
    Group,
    Heartbeat,
    LocalAccount,
    Membership,
    Person,
    ReconcileState,
    Session,
    db,
    new_id,
)
from iam.services.base import Actor
from iam.services.requests.asking import Ask
from iam.services.requests.catalogue import NewEntry
from iam.services.requests.rules import NewRule
from iam.services.requests.shown import digest

CLUSTER = "prod"
PEOPLE, ASKERS = 2500, 200
"""The crowd, who hold grants by the thousand and have open requests; and those after them, who ask as people do."""
ROLES = tuple(f"bench-{number}" for number in range(5))
NAMESPACES = tuple(f"team-{number}" for number in range(10))
PLACES = len(ROLES) * len(NAMESPACES)
LEADS, STAGES = "local:leads", "1 of local:leads"
LEAD, SOMEBODY = "lead", "somebody"
COOKIE = "kube_iam_session"
RBAC = f"/apis/{RBAC_GROUP}/v1"
Row = dict[str, Any]
Held = tuple[str, str, str]
"""(namespace, role, user): what a binding gives to one of its subjects."""


@dataclass(frozen=True, slots=True)
class Wish:
    """An open request, and what is held once it is granted."""

    id: str
    digest: str
    held: Held


class Office:
    """One installation and one cluster. ``lead`` decides on everything, ``somebody`` on little."""

    def __init__(self, ground: Ground, plane: ControlPlane) -> None:
        self.access = read(plane.kubeconfig())
        self._prepare(BareCluster(self.access, 0))
        self.installation = Installation(ground, "requests")
        self.installation.register(plane, CLUSTER)
        with self.installation.app.app_context():
            self._leads = new_id()
            self._entries: dict[str, str] = {}
            self.cluster_id = db.session.scalars(select(Cluster.id).filter_by(name=CLUSTER)).one()
            self._hire()
            self._rule()
            db.session.remove()

    def _prepare(self, cluster: BareCluster) -> None:
        for name in NAMESPACES:
            cluster.ask("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        for name in ROLES:
            rules = [{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "list", "watch"]}]
            cluster.ask("POST", f"{RBAC}/clusterroles", {"metadata": {"name": name}, "rules": rules})

    def _hire(self) -> None:
        """With accounts: the worker's sync finds everybody as we know them."""
        now = datetime.now(UTC)
        names = [LEAD, SOMEBODY, *map(username, range(PEOPLE + ASKERS))]
        people = [
            {
                "id": name, "directory": "local", "subject": f"subject-{name}", "username": name, "display_name": name,
                "email": f"{name}@example.org", "entry": name, "created_at": now, "synced_at": now,
            }
            for name in names
        ]
        accounts = [
            {
                "id": f"subject-{name}", "directory": "local", "username": name, "display_name": name, "email": f"{name}@example.org",
                "groups": "leads" if name == LEAD else "", "password_hash": "none",
            }
            for name in names
        ]
        sessions = [
            {
                "id": new_id(), "key_hash": hashlib.sha256(_key(name).encode()).hexdigest(), "person_id": name, "created_at": now,
                "last_used_at": now, "ends_at": now + timedelta(hours=2),
            }
            for name in (LEAD, SOMEBODY)
        ]
        _insert(Group, [{"id": self._leads, "directory": "local", "name": "leads"}])
        _insert(Person, people)
        _insert(LocalAccount, accounts)
        _insert(Membership, [{"person_id": LEAD, "group_id": self._leads}])
        _insert(Session, sessions)
        _settle()

    def _rule(self) -> None:
        ours = self.installation.services
        for role in ROLES:
            entry = NewEntry(role, f"The role {role}", role_name=role, clusters=("*",), namespaces=("*",), longest="8h")
            self._entries[role] = ours.catalogue.save(OPERATOR, entry).id
        ours.rules.save(OPERATOR, NewRule("everything", STAGES, longest="8h", lapses="7d"))

    def await_worker(self) -> None:
        """It starts beside the server, which is ready first."""
        wait_until(self._worker_was_seen, seconds=60, what="the worker's heartbeat")

    def _worker_was_seen(self) -> bool:
        with self.installation.app.app_context():
            is_here = db.session.scalar(select(Heartbeat.at)) is not None
            db.session.remove()
        return is_here

    def ask(self, askers: range) -> list[Wish]:
        """One request a person, as they would send it; each of them once."""
        found = []
        for number in (PEOPLE + asker for asker in askers):
            actor = Actor(username(number), "page", username(number), username(number), frozenset(), frozenset({"read", "write"}))
            role, namespace = ROLES[number % len(ROLES)], NAMESPACES[number % len(NAMESPACES)]
            wish = Ask(role, (CLUSTER,), (namespace,), 3600, None, "The till is down.")
            with self.installation.app.app_context():
                (request,) = self.installation.services.requests.submit(actor, wish)
                found.append(Wish(request.id, digest(request, request.rules_digest), (namespace, role, username(number))))
                db.session.remove()
        return found

    def grant(self, many: int) -> dict[str, Held]:
        """Grants that run, with their requests and the lead's decisions, straight into the tables; by id."""
        now = datetime.now(UTC)
        with self.installation.app.app_context():
            requests = [self._request(number, now, "approved") | {"decided_at": now} for number in range(many)]
            grants = [
                _fields(request, "person_id", "cluster_id", "cluster_name", "role_kind", "role_name", "namespaces", "seconds") | {
                    "id": new_id(), "request_id": request["id"], "state": "active", "starts_at": now, "activated_at": now,
                    "ends_at": now + timedelta(hours=1),
                }
                for request in requests
            ]
            decisions = [
                _fields(request, "requester_subject", "requester_human", "seconds", "namespaces") | {
                    "id": new_id(), "request_id": request["id"], "approver_id": LEAD, "approver_subject": f"local:subject-{LEAD}",
                    "approver_human": f"mailto:{LEAD}@example.org", "round": 1, "stage": 0, "verdict": "approve", "digest": "", "at": now,
                }
                for request in requests
            ]
            for table, rows in ((AccessRequest, requests), (Grant, grants), (Decision, decisions)):
                _insert(table, rows)
            self._wake()
            _settle()
        return {grant["id"]: _held(grant) for grant in grants}

    def settle(self) -> None:
        """Until the worker is done with what it was woken for, its own records too."""
        wait_until(self._is_in_line, seconds=120, what="the cluster to be in line")

    def _is_in_line(self) -> bool:
        with self.installation.app.app_context():
            behind = db.session.scalar(select(ReconcileState.wanted - ReconcileState.done))
            db.session.remove()
        return behind == 0

    def grants_of(self, wishes: Sequence[Wish]) -> dict[str, Held]:
        """The grants that requests became, by id."""
        held = {wish.id: wish.held for wish in wishes}
        with self.installation.app.app_context():
            found = db.session.execute(select(Grant.id, Grant.request_id).where(Grant.request_id.in_(held))).all()
            db.session.remove()
        return {grant_id: held[request_id] for grant_id, request_id in found}

    def end(self, ends: dict[str, float], *, again: bool = False) -> None:
        """Set when grants end (seconds since 1970); their holders were warned. ``again``: those that have ended run once more."""
        now = datetime.now(UTC)
        more: Row = {"state": "active", "ended_at": None, "gone_at": None, "end_reason": "", "ended_by": ""} if again else {}
        with self.installation.app.app_context():
            rows = [
                {"id": grant_id, "ends_at": datetime.fromtimestamp(moment, UTC), "warned_at": now} | more
                for grant_id, moment in ends.items()
            ]
            db.session.execute(update(Grant), rows)
            if again:
                self._wake()
            db.session.commit()
            db.session.remove()

    def open(self, many: int, rules_digest_of: str, who: str) -> list[str]:
        """Requests that wait for ``group:...`` or ``person:...``, straight into the tables; their ids."""
        now = datetime.now(UTC)
        with self.installation.app.app_context():
            rules_digest = db.session.scalars(select(AccessRequest.rules_digest).filter_by(id=rules_digest_of)).one()
            requests = [
                self._request(number, now - timedelta(minutes=number % 999), "pending") | {
                    "rules_digest": rules_digest, "lapses_at": now + timedelta(minutes=1000 + number % 977),
                    "urgent_at": now + timedelta(minutes=1000 + number % 977), "seconds": 3600 * (1 + number % 3),
                }
                for number in range(many)
            ]
            _insert(AccessRequest, requests)
            _insert(Asked, [{"request_id": request["id"], "who": who} for request in requests])
            _settle()
        return [str(request["id"]) for request in requests]

    def break_glass(self, many: int) -> None:
        """Doors that were opened in the last years, every time reviewed."""
        now, door = datetime.now(UTC), new_id()
        with self.installation.app.app_context():
            _insert(EmergencyDoor, [{
                "id": door, "name": "night", "title": "Night shift", "role_kind": "ClusterRole", "role_name": ROLES[0], "clusters": ["*"],
                "groups": [LEADS], "reviewers": [LEADS], "longest_seconds": 3600, "review_seconds": 86400, "changed_at": now,
                "changed_by": "bench",
            }])  # fmt: skip
            _insert(AccessRequest, [
                self._request(number, now - timedelta(days=number), "approved") | {
                    "kind": "emergency", "door_id": door, "decided_at": now, "reviewed_at": now, "reviewer_id": LEAD,
                    "verdict": "justified",
                }
                for number in range(many)
            ])  # fmt: skip
            _settle()

    @property
    def asks_leads(self) -> str:
        """Whom a request of the rule asks."""
        return f"group:{self._leads}"

    def rows(self) -> int:
        """The anchor of the inbox: fifty open requests with who asks, most urgent first, and nothing else."""
        with self.installation.app.app_context():
            query = (
                select(AccessRequest, Person).join(Person, Person.id == AccessRequest.person_id)
                .where(AccessRequest.state == "pending").order_by(AccessRequest.urgent_at).limit(50)
            )
            with db.engine.connect() as connection:
                return len(connection.execute(query).all())

    def _request(self, number: int, now: datetime, state: str) -> Row:
        """No two of one person in one place."""
        person, place = username(number % PEOPLE), (7 * number + 13 * (number // PEOPLE)) % PLACES
        role, namespaces = ROLES[place % len(ROLES)], [NAMESPACES[place // len(ROLES)]]
        return {
            "id": new_id(), "state": state, "person_id": person, "requester_subject": f"local:subject-{person}",
            "requester_human": f"mailto:{person}@example.org", "entry_id": self._entries[role], "title": f"The role {role}",
            "cluster_id": self.cluster_id, "cluster_name": CLUSTER, "role_kind": "ClusterRole", "role_name": role,
            "namespaces": namespaces, "asked_namespaces": namespaces, "seconds": 3600, "asked_seconds": 3600,
            "reason": "The till is down, and the shop's people wait in front of it; the log of the deployment says why, I think.",
            "rule_name": "everything", "stages": STAGES, "created_at": now, "submitted_at": now,
        }

    def _wake(self) -> None:
        db.session.execute(update(ReconcileState).values(wanted=ReconcileState.wanted + 1, wanted_at=datetime.now(UTC)))


class Watch(BareCluster):
    """When who came to hold what through RoleBindings, and when it was gone; as a watch tells it, in seconds since 1970."""

    def __init__(self, access: Access) -> None:
        super().__init__(access, 0)
        self._connection.timeout = 1800
        self.came: dict[Held, float] = {}
        self.gone: dict[Held, float] = {}
        self._held: dict[tuple[str, str], set[Held]] = {}
        self._is_over = False
        self._version = self.ask("GET", f"{RBAC}/rolebindings?limit=1")["metadata"]["resourceVersion"]
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._is_over = True
        if self._connection.sock:
            self._connection.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)

    def wait(self, held: Iterable[Held], *, gone: bool = False, seconds: float = 60) -> None:
        """Until all of it came, or is gone."""
        wanted, seen = set(held), self.gone if gone else self.came
        wait_until(lambda: wanted <= seen.keys(), seconds=seconds, what=f"{len(wanted)} to be {'gone' if gone else 'there'}")

    def _follow(self) -> None:
        try:
            self._connection.request("GET", f"{RBAC}/rolebindings?watch=1&timeoutSeconds=1800&resourceVersion={self._version}")
            answer = self._connection.getresponse()
            while line := answer.readline():
                self._note(json.loads(line), time.time())
        except (OSError, ValueError, http.client.HTTPException):
            if not self._is_over:
                raise

    def _note(self, event: Any, now: float) -> None:
        binding = event["object"]
        namespace, name = binding["metadata"]["namespace"], binding["metadata"]["name"]
        before = self._held.get((namespace, name), set())
        subjects = (binding.get("subjects") or []) if event["type"] != "DELETED" else []
        after = {(namespace, binding["roleRef"]["name"], subject["name"]) for subject in subjects}
        self._held[namespace, name] = after
        for held in after - before:
            self.gone.pop(held, None)
            self.came[held] = now
        for held in before - after:
            self.came.pop(held, None)
            self.gone[held] = now


class Browser:
    """One person's, logged in. A connection for each page: between clicks the server hangs up."""

    def __init__(self, port: int, person: str) -> None:
        self._port = port
        self._cookies = {COOKIE: _key(person)}
        found = re.search(r'name="csrf_token" value="([^"]+)"', self.get("/account"))
        assert found, "no form on the page"
        self._token = found[1]

    def get(self, path: str) -> str:
        """A page, which must be there."""
        return self._ask("GET", path, None, 200)

    def approve(self, wish: Wish) -> None:
        """Click on the yes."""
        self._ask("POST", f"/requests/{wish.id}", {"csrf_token": self._token, "digest": wish.digest, "step": "approve"}, 302)

    def _ask(self, method: str, path: str, form: dict[str, str] | None, status: int) -> str:
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self._cookies.items()), "Accept-Language": "en"}
        if form:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        connection = http.client.HTTPConnection(LOOPBACK, self._port, timeout=60)
        connection.request(method, path, urlencode(form) if form else None, headers)
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
        if answer.status != status:
            raise RuntimeError(f"{method} {path}: {answer.status} {re.sub('<[^>]+>', ' ', body)[-1500:]}")
        for cookie in answer.headers.get_all("Set-Cookie") or ():
            name, _, value = cookie.partition(";")[0].partition("=")
            self._cookies[name] = value
        return body


def username(number: int) -> str:
    """One of the crowd."""
    return f"person-{number}"


def binding(held: Held, name: str) -> Row:
    """A RoleBinding as somebody would write it by hand."""
    namespace, role, user = held
    return {
        "metadata": {"name": name, "namespace": namespace},
        "roleRef": {"apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": RBAC_GROUP, "kind": "User", "name": user}],
    }


def _held(row: Row) -> Held:
    return row["namespaces"][0], row["role_name"], row["person_id"]


def _key(person: str) -> str:
    return f"key-of-a-browser-of-{person}"


def _fields(row: Row, *names: str) -> Row:
    return {name: row[name] for name in names}


def _insert(table: type[Any], rows: list[Row]) -> None:
    db.session.execute(insert(table), rows)


def _settle() -> None:
    """As the database's own housekeeping would have it after a while."""
    db.session.commit()
    db.session.execute(text("ANALYZE"))
    db.session.commit()
    db.session.remove()
