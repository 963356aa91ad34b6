"""Both ways to a new certificate, side by side on one control plane: our HTTP API, and the bare sequence."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rigs.processes import LOOPBACK

from bench.bare_cluster import BareCluster
from bench.ground import Ground
from bench.installation import Installation
from bench.measure import Work
from iam.clusters.throwaway import ControlPlane
from iam.kube.kubeconfig import read

USERNAME = "bench"


@dataclass(frozen=True)
class Issuing:
    """Makes clients, each with a connection of its own."""

    port: int
    token: str
    plane: ControlPlane

    def ours(self) -> Work:
        """POST /api/v1/kubeconfig over one kept-alive connection."""
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=60)
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}

        def issue() -> None:
            connection.request("POST", "/api/v1/kubeconfig", json.dumps({"clusters": ["prod"]}), headers)
            answer = connection.getresponse()
            data = answer.read()
            if answer.status != 200 or b"client-key-data" not in data:
                raise RuntimeError(f"POST /api/v1/kubeconfig: {answer.status} {data[:500]!r}")

        return issue

    def bare(self, pause: float) -> Work:
        """The bare sequence over one kept-alive connection, with the credential that our product has."""
        cluster = BareCluster(read(self.plane.kubeconfig()), pause)
        return lambda: cluster.new_certificate(USERNAME)


@contextmanager
def issuing(ground: Ground, name: str) -> Iterator[Issuing]:
    """A served installation with the control plane registered and one person who holds a role there."""
    plane = ground.control_plane
    installation = Installation(ground, name)
    try:
        installation.register(plane)
        installation.map("engineers", "prod", "view", ("default",))
        token = installation.token_of_new_person(USERNAME, "engineers")
        with installation.serve(worker=True) as port:
            yield Issuing(port, token, plane)
    finally:
        installation.close()
