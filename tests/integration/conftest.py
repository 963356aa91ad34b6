"""Cheap password hashes, which make hundreds of small products affordable; and hands on the real cluster."""

from __future__ import annotations

from pathlib import Path

import pytest
from argon2 import PasswordHasher
from fixtures.product import Kubectl
from fixtures.real import Run, own_namespace

from iam.clusters.client import ApiServer
from iam.clusters.throwaway import ControlPlane
from iam.kube.kubeconfig import read


@pytest.fixture(autouse=True)
def cheap_password_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Still argon2id, with the smallest parameters: by design a hash costs a tenth of a second."""
    monkeypatch.setattr("iam.directory.local.hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


@pytest.fixture
def api(control_plane: ControlPlane) -> ApiServer:
    return ApiServer(read(control_plane.kubeconfig()))


@pytest.fixture
def admin(control_plane: ControlPlane, kubectl: Kubectl, tmp_path: Path) -> Run:
    """kubectl as the cluster's administrator; answers standard output."""

    def run(*arguments: str) -> str:
        done = kubectl(control_plane.kubeconfig(), *arguments, folder=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def place(api: ApiServer, request: pytest.FixtureRequest) -> str:
    """A namespace of this test's own."""
    return own_namespace(api, str(request.node.originalname))
