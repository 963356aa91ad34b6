"""10 000 people with five roles each: the bindings on a cluster, and the same people, groups and mappings in our database.

Our reconciler would write one binding a role and scope; here each person has one for each group, so that there are 50 000.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

from sqlalchemy import insert, select, text

from iam.kube.bindings import INSTANCE, RBAC_GROUP
from iam.kube.explorer import Asker
from iam.models import Cluster, Group, Mapping, Membership, Person, db, new_id

PEOPLE, GROUPS, GROUPS_EACH = 10_000, 500, 5
TEAMS = 500
"""Whoever is in the same team is in the same groups."""
ROLES, NAMESPACES = 100, 100
BINDINGS = PEOPLE * GROUPS_EACH
RESOURCES = (
    ("", "pods"), ("", "configmaps"), ("", "services"), ("", "events"), ("", "persistentvolumeclaims"), ("apps", "deployments"),
    ("apps", "statefulsets"), ("batch", "jobs"), ("networking.k8s.io", "ingresses"), ("autoscaling", "horizontalpodautoscalers"),
)
READ, WRITE = ("get", "list", "watch"), ("create", "update", "delete")
DANGEROUS: dict[int, Sequence[tuple[str, str, Sequence[str]]]] = {
    96: [("", "users", ["impersonate"])],
    97: [("", "secrets", READ)],
    98: [("", "pods", ["create"]), ("", "pods/exec", ["create"])],
    99: [(RBAC_GROUP, "rolebindings", ["create"]), (RBAC_GROUP, "clusterroles", ["bind"])],
}
"""Roles by which more can be reached; the others read, and every fourth of them writes."""
Document = dict[str, Any]


class Crowd:
    """Always the same people. A group has one mapping: the first hundred to a whole cluster, the others to one namespace."""

    def __init__(self, instance: str, teams: int = TEAMS) -> None:
        self._instance = instance
        rng = random.Random(11)
        groups_of_team = [rng.sample(range(GROUPS), GROUPS_EACH) for _ in range(teams)]
        self.groups_of = [groups_of_team[number % teams] for number in range(PEOPLE)]

    @property
    def documents(self) -> list[Document]:
        """All roles and bindings."""
        return [*self.roles(), *self.bindings()]

    @cached_property
    def askers(self) -> list[Asker]:
        """As the API server knows them."""
        return [Asker.of(username(number)) for number in range(PEOPLE)]

    def namespaces(self) -> Iterator[Document]:
        """Where most bindings are."""
        return ({"kind": "Namespace", "metadata": {"name": f"team-{number}"}} for number in range(NAMESPACES))

    def roles(self) -> Iterator[Document]:
        """ClusterRoles."""
        for number in range(ROLES):
            verbs = READ if number % 4 else (*READ, *WRITE)
            some = [RESOURCES[(number + step * step) % len(RESOURCES)] for step in range(4)]
            rules = DANGEROUS.get(number) or [(group, resource, verbs) for group, resource in some]
            yield {
                "kind": "ClusterRole", "metadata": {"name": f"role-{number}"},
                "rules": [{"apiGroups": [group], "resources": [resource], "verbs": list(can)} for group, resource, can in rules],
            }

    def bindings(self) -> Iterator[Document]:
        """BINDINGS of people; and one of a service account in each namespace."""
        for number, groups in enumerate(self.groups_of):
            for group in groups:
                subject = {"apiGroup": RBAC_GROUP, "kind": "User", "name": username(number)}
                yield self._binding(f"group-{group}-{number}", role_of(group), namespace_of(group), subject)
        for number in range(NAMESPACES):
            namespace = f"team-{number}"
            subject = {"kind": "ServiceAccount", "name": "deployer", "namespace": namespace}
            yield self._binding("deployer", f"role-{number - number % 4}", namespace, subject)

    def _binding(self, name: str, role: str, namespace: str, subject: Document) -> Document:
        return {
            "kind": "RoleBinding" if namespace else "ClusterRoleBinding",
            "metadata": {"name": name, "labels": {INSTANCE: self._instance}} | ({"namespace": namespace} if namespace else {}),
            "roleRef": {"apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": role}, "subjects": [subject],
        }

    def store(self, cluster: str, now: datetime) -> None:
        """Into the database, within an application context."""
        cluster_id = db.session.scalar(select(Cluster.id).filter_by(name=cluster))
        groups = [{"id": new_id(), "directory": "local", "name": f"group-{number}"} for number in range(GROUPS)]
        mappings = [
            {
                "id": new_id(), "group_id": group["id"], "cluster_id": cluster_id, "role_kind": "ClusterRole",
                "role_name": role_of(number), "namespaces": [namespace_of(number)] if namespace_of(number) else [],
                "created_at": now, "created_by": "bench",
            }
            for number, group in enumerate(groups)
        ]
        people = [
            {
                "id": new_id(), "directory": "local", "subject": f"subject-{number}", "username": username(number),
                "display_name": f"Person {number}", "created_at": now, "synced_at": now,
            }
            for number in range(PEOPLE)
        ]
        memberships = [
            {"person_id": person["id"], "group_id": groups[group]["id"]}
            for person, mine in zip(people, self.groups_of, strict=True) for group in mine
        ]
        tables: Iterable[tuple[type[Any], list[Document]]] = (
            (Group, groups), (Mapping, mappings), (Person, people), (Membership, memberships),
        )
        for table, rows in tables:
            db.session.execute(insert(table), rows)
        db.session.commit()
        db.session.execute(text("ANALYZE"))
        db.session.commit()


def username(number: int) -> str:
    """Person number so-and-so."""
    return f"person-{number}"


def role_of(group: int) -> str:
    """What a group is mapped to."""
    return f"role-{group % ROLES}"


def namespace_of(group: int) -> str:
    """Where; empty for the whole cluster. No two groups have the same role in the same place."""
    return f"team-{(7 * group + group // ROLES) % NAMESPACES}" if group >= ROLES else ""
