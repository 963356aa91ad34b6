"""1000 bindings on a real control plane: our reconciler, against `kubectl apply --server-side` of the same bindings."""

from __future__ import annotations

import json
import statistics
import subprocess
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select

from bench.bare_cluster import BareCluster
from bench.ground import Ground
from bench.installation import OPERATOR, Installation
from bench.measure import seconds_of
from bench.table import Row, Target
from iam.kube.bindings import RBAC_GROUP
from iam.kube.kubeconfig import read
from iam.models import Group, Membership, Person, db

NAMESPACES, ROLES = 20, 50
BINDINGS = NAMESPACES * ROLES
PEOPLE = 10
FASTER = Target("ratio <=", 1.0)


def run(ground: Ground) -> list[Row]:
    """From nothing, unchanged, one person more, and all removed."""
    kubectl, plane = ground.kubectl, ground.control_plane
    cluster = BareCluster(read(plane.kubeconfig()), 0)
    for owner in ("ours", "theirs"):
        for number in range(NAMESPACES):
            cluster.ask("POST", "/api/v1/namespaces", {"metadata": {"name": f"{owner}-{number}"}})
    installation = Installation(ground, "reconcile")
    apply = _Kubectl(kubectl, ground.folder, plane.kubeconfig())
    try:
        installation.register(plane)
        for role in range(ROLES):
            installation.map(f"group-{role}", "prod", f"bench-{role}", tuple(f"ours-{number}" for number in range(NAMESPACES)))
        _people(installation)
        ours = _Reconciler(installation)
        created = ours.seconds(BINDINGS), apply.seconds()
        unchanged = statistics.median(ours.seconds(0) for _ in range(5)), apply.seconds()
        _one_more(installation)
        one_more = ours.seconds(NAMESPACES)
    finally:
        installation.close()
    anchor_is = "kubectl apply --server-side of the same"
    return [
        Row(f"{BINDINGS} bindings from nothing", *created, "s", anchor_is, FASTER),
        Row(f"{BINDINGS} bindings unchanged", *unchanged, "s", anchor_is, FASTER),
        Row(f"one person joins a group: {NAMESPACES} of them change", one_more, unchanged[1], "s", "kubectl apply, nothing changed"),
    ]


class _Reconciler:
    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    def seconds(self, changes: int) -> float:
        """One run, which must change exactly so many bindings."""
        found: list[int] = []

        def reconcile() -> None:
            outcome = self._installation.services.reconciler.run(OPERATOR, "prod")
            assert outcome is not None
            assert not outcome.error, outcome.error
            found.append(len(outcome.plan))

        with self._installation.app.app_context():
            seconds = seconds_of(reconcile)
            db.session.remove()
        assert found == [changes], f"{found} bindings changed where {changes} should"
        return seconds


class _Kubectl:
    def __init__(self, binary: Path, folder: Path, kubeconfig: str) -> None:
        self._config, self._manifests = folder / "kubectl.yaml", folder / "bindings.json"
        self._config.touch(mode=0o600)
        self._config.write_text(kubeconfig)
        items = [_binding(role, f"theirs-{number}") for role in range(ROLES) for number in range(NAMESPACES)]
        self._manifests.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
        self._command = [str(binary), "apply", "--server-side", "-f", str(self._manifests)]
        self._env = {"KUBECONFIG": str(self._config), "HOME": str(folder), "PATH": "/usr/bin:/bin"}

    def seconds(self) -> float:
        """One run to its end."""
        return seconds_of(
            lambda: subprocess.run(self._command, env=self._env, check=True, capture_output=True, timeout=90)
        )


def _binding(role: int, namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": f"{RBAC_GROUP}/v1", "kind": "RoleBinding", "metadata": {"name": f"bench-{role}", "namespace": namespace},
        "roleRef": {"apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": f"bench-{role}"},
        "subjects": [{"apiGroup": RBAC_GROUP, "kind": "User", "name": f"person{number}"} for number in range(PEOPLE)],
    }


def _people(installation: Installation) -> None:
    with installation.app.app_context():
        now = installation.services.world.now()
        people = [_person(number, now) for number in range(PEOPLE)]
        db.session.execute(insert(Person), people)
        groups = db.session.scalars(select(Group.id)).all()
        db.session.execute(insert(Membership), [{"person_id": one["id"], "group_id": group} for one in people for group in groups])
        db.session.commit()


def _one_more(installation: Installation) -> None:
    with installation.app.app_context():
        newcomer = _person(PEOPLE, installation.services.world.now())
        group = db.session.scalar(select(Group.id).filter_by(name="group-0"))
        db.session.execute(insert(Person), [newcomer])
        db.session.execute(insert(Membership), [{"person_id": newcomer["id"], "group_id": group}])
        db.session.commit()


def _person(number: int, now: Any) -> dict[str, Any]:
    return {
        "id": f"person{number}", "directory": "local", "subject": f"subject{number}", "username": f"person{number}",
        "display_name": f"Person {number}", "created_at": now, "synced_at": now,
    }
