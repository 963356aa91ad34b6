"""Use cases: may this actor? decide, change, audit - in one transaction. Effects on clusters follow the commit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from flask import current_app

from iam.services.access import Access
from iam.services.accounts import Accounts
from iam.services.audit import Audit
from iam.services.base import World
from iam.services.clusters import Clusters
from iam.services.credentials import Credentials
from iam.services.explorer import Explorer
from iam.services.heartbeats import Heartbeats
from iam.services.housekeeping import Housekeeping
from iam.services.login import Logins
from iam.services.people import People
from iam.services.policies import Policies
from iam.services.publishing import Publishing
from iam.services.reconcile import Reconciler
from iam.services.snapshots import Snapshots
from iam.services.sync import Sync
from iam.services.tokens import Tokens
from iam.services.views import Views

_KEY = "kube-iam"


@dataclass(frozen=True)
class Services:
    """All use cases, wired over one world."""

    world: World
    audit: Audit
    people: People
    accounts: Accounts
    logins: Logins
    tokens: Tokens
    clusters: Clusters
    access: Access
    credentials: Credentials
    reconciler: Reconciler
    sync: Sync
    heartbeats: Heartbeats
    housekeeping: Housekeeping
    explorer: Explorer
    policies: Policies
    publishing: Publishing

    @classmethod
    def over(cls, world: World) -> Services:
        """Wire them."""
        audit = Audit(world)
        people = People(world, audit)
        clusters = Clusters(world, audit)
        access = Access(world, audit)
        policies = Policies(world, audit)
        return cls(
            world=world, audit=audit, people=people, accounts=Accounts(world, audit), logins=Logins(world, audit, people),
            tokens=Tokens(world, audit, people), clusters=clusters, access=access, credentials=Credentials(world, audit, access),
            reconciler=Reconciler(world, audit, clusters, access), sync=Sync(world, audit, people),
            heartbeats=Heartbeats(world, audit), housekeeping=Housekeeping(world),
            explorer=Explorer(audit, clusters, Views(world, clusters, access, Snapshots(world.now))),
            policies=policies, publishing=Publishing(world, audit, policies, clusters),
        )


def attach(app: object, services: Services) -> None:
    """Make the services findable from requests of this app."""
    app.extensions[_KEY] = services  # type: ignore[attr-defined]


def current() -> Services:
    """The services of the app that serves this request."""
    return cast("Services", current_app.extensions[_KEY])
