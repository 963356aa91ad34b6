"""The explorer's pages in a browser: over a real control plane, for those who ask about everybody and for everybody else."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest
from fixtures.house import inhabit
from fixtures.live import Live, LiveMaker, serve
from fixtures.real import own_namespace
from fixtures.stage import Stage
from fixtures.visits import JAVASCRIPT, Theme, Visits, follow, unfold
from playwright.sync_api import Locator, Page
from rigs.chromium import axe_violations
from sqlalchemy import insert, select

from iam.clusters.client import ApiServer
from iam.clusters.throwaway import ControlPlane
from iam.kube.bindings import INSTANCE, MANAGED_BY, MANAGER
from iam.kube.kubeconfig import read
from iam.kube.requests import service_account_user
from iam.models import Group, Membership, Person, db
from iam.services.access import NewMapping

MANY = 250
WHO_CAN = {"cluster": "demo", "verb": "create", "resource": "configmaps", "namespace": "shop"}


def at(live: Live, question: str, **values: str) -> str:
    return f"{live.base}/explorer/{question}?{urlencode(values)}"


@pytest.fixture(scope="module")
def explored(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """The inhabited house over a real control plane, in line; in shop there is a service account that holds everything."""
    from contextlib import ExitStack

    api = ApiServer(read(control_plane.kubeconfig()))
    with serve(tmp_path_factory.mktemp("explored"), instance="explored") as live, ExitStack() as stack:
        stage = Stage(control_plane, api, stack, own_namespace(api, "explored"))
        stack.callback(stage.sweep)
        inhabit(live.product, control_plane)
        for username in ("erin", "lee", "ada", "aude", "nico"):
            live.session(username)
        live.product.work()
        robot = service_account_user("shop", "robot")
        api.post(stage.path("clusterrolebindings"), stage.binding(robot, "ClusterRole", "cluster-admin"))
        yield live
