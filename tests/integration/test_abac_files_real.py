"""Why we refuse some policy files: a real kube-apiserver does not start with them, or reads something nobody wrote."""

from __future__ import annotations

from pathlib import Path

import pytest
from rigs.many_connections import ManyConnections
from rigs.processes import RigMissing

from iam.clusters.throwaway import ControlPlane, assets, missing
from iam.errors import Invalid, Unavailable
from iam.kube import abac
from iam.kube.kubeconfig import read

pytestmark = pytest.mark.real_part("control_plane")

HEAD = '"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy"'
DELETE = {"resourceAttributes": {"verb": "delete", "resource": "secrets", "namespace": "dev"}}


@pytest.fixture(autouse=True)
def _installed() -> None:
    if missing():
        raise RigMissing(", ".join(missing()), [assets()])


def plane_with(folder: Path, content: str) -> ControlPlane:
    """A control plane that decides by this file."""
    path = folder / "policy.jsonl"
    path.write_bytes(content.encode())
    return ControlPlane(authorization=("--authorization-mode=ABAC", f"--authorization-policy-file={path}"))


@pytest.mark.parametrize(("content", "why"), [
    ("#" * 65_536, "token too long"),
    ("{}" + " " * 65_533 + "\r\n", "token too long"),
    ('\u00a0{"user":"alice"}\n', "line 1"),
    ("{}\n\x1c# comment\n", "line 2"),
    ('{"user":"alice"}\r{"user":"bob"}\n', "line 1"),
], ids=["comment of 64 KiB", "carriage return counts", "no-break space", "control character", "lone carriage return"])  # fmt: skip
def test_what_the_api_server_does_not_start_with_we_refuse(tmp_path: Path, content: str, why: str) -> None:
    with pytest.raises(Unavailable, match=why):
        plane_with(tmp_path, content).start()
    with pytest.raises(Invalid):
        abac.parse(content)


@pytest.mark.parametrize(("content", "allowed"), [
    ("\ufeff# nobody may do anything\n", [False, True, False]),
    (f'{{{HEAD},"spec":{{"user":"bob","namespace":"*","resource":"*"}},"spec":{{"user":"alice"}}}}\n', [True, False, False]),
], ids=["comment behind a byte order mark", "two specs are merged"])  # fmt: skip
def test_what_the_api_server_misreads_we_refuse(tmp_path: Path, content: str, allowed: list[bool]) -> None:
    asked = [
        {"user": "alice", **DELETE}, {"user": "zed", "groups": ["system:authenticated"], **DELETE}, {"user": "bob", **DELETE},
    ]  # fmt: skip
    with plane_with(tmp_path, content) as plane, ManyConnections(read(plane.kubeconfig()), parallel=1) as api:
        assert api.allowed(asked) == allowed
    with pytest.raises(Invalid):
        abac.parse(content)
