"""Use cases: may this actor? decide, change, audit - in one transaction. Effects on clusters follow the commit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast, get_type_hints

from flask import current_app

from iam.services import refusals
from iam.services.access import Access
from iam.services.accounts import Accounts
from iam.services.audit import Audit
from iam.services.audit.anchoring import Anchoring
from iam.services.audit.chain import Chain
from iam.services.audit.exporting import Exports
from iam.services.audit.forwarding import Forwarding
from iam.services.audit.outlets import Outlets
from iam.services.audit.retention import Retention
from iam.services.audit.sealing import Sealer
from iam.services.audit.signing import SigningKeys
from iam.services.audit.started import Started
from iam.services.audit.stories import Stories
from iam.services.audit.verifying import Verifier
from iam.services.base import World
from iam.services.clusters import Clusters
from iam.services.credentials import Credentials
from iam.services.explorer import Explorer
from iam.services.heartbeats import Heartbeats
from iam.services.holdings import Holdings
from iam.services.housekeeping import Housekeeping
from iam.services.login import Logins
from iam.services.people import People
from iam.services.policies import Policies
from iam.services.publishing import Publishing
from iam.services.reconcile import Reconciler
from iam.services.requests.approvers import Approvers
from iam.services.requests.asking import Requests
from iam.services.requests.cases import Cases
from iam.services.requests.catalogue import Catalogue
from iam.services.requests.clockwork import Clockwork
from iam.services.requests.deciding import Decisions
from iam.services.requests.doors import Doors
from iam.services.requests.drafts import Drafts
from iam.services.requests.emergency import Emergencies
from iam.services.requests.grants import Grants
from iam.services.requests.progress import Progress
from iam.services.requests.rules import Rules
from iam.services.requests.shown import Roles
from iam.services.requests.standing import Standings
from iam.services.snapshots import Snapshots
from iam.services.sync import Sync
from iam.services.telling.notices import Notices
from iam.services.telling.outbox import Outbox
from iam.services.telling.webhooks import Webhooks
from iam.services.tokens import Tokens
from iam.services.views import Views

_KEY = "kube-iam"


@dataclass(frozen=True)
class Services:
    """All use cases, wired over one world."""

    world: World
    audit: Audit
    signing_keys: SigningKeys
    sealer: Sealer
    chain: Chain
    stories: Stories
    verifier: Verifier
    exports: Exports
    anchoring: Anchoring
    forwarding: Forwarding
    started: Started
    people: People
    accounts: Accounts
    logins: Logins
    tokens: Tokens
    clusters: Clusters
    access: Access
    holdings: Holdings
    credentials: Credentials
    reconciler: Reconciler
    sync: Sync
    heartbeats: Heartbeats
    housekeeping: Housekeeping
    explorer: Explorer
    policies: Policies
    publishing: Publishing
    catalogue: Catalogue
    rules: Rules
    requests: Requests
    decisions: Decisions
    cases: Cases
    grants: Grants
    drafts: Drafts
    doors: Doors
    emergencies: Emergencies
    clockwork: Clockwork
    notices: Notices
    outbox: Outbox
    webhooks: Webhooks

    @classmethod
    def over(cls, world: World) -> Services:
        """Wire them."""
        audit, holdings, approvers = Audit(world), Holdings(world), Approvers(world)
        keys, outlets = SigningKeys(world, audit), Outlets(world, audit)
        sealer = Sealer(world, audit, keys)
        retention = Retention(world, audit, sealer, keys)
        people, clusters, access = People(world, audit), Clusters(world, audit), Access(world, audit)
        logins, policies, roles = Logins(world, audit, people), Policies(world, audit), Roles(clusters)
        views = Views(world, clusters, access, holdings, Snapshots(world.now))
        notices, catalogue = Notices(world, audit), Catalogue(world, audit, roles)
        rules, grants = Rules(world, audit, catalogue, approvers), Grants(world, audit, notices)
        progress = Progress(world, audit, approvers, grants, notices)
        standings = Standings(world, catalogue, rules, approvers)
        doors = Doors(world, audit, clusters, approvers)
        emergencies = Emergencies(world, audit, clusters, doors, logins, approvers, roles, progress, grants, notices)
        outbox = Outbox(world, audit)
        return cls(
            world=world, audit=audit, signing_keys=keys, sealer=sealer,
            chain=Chain(world, audit, sealer), stories=Stories(audit), verifier=Verifier(world, audit, sealer, keys),
            exports=Exports(world, audit, sealer, keys, retention), anchoring=Anchoring(world, audit, outlets),
            forwarding=Forwarding(world, audit, sealer, keys, retention, outlets), started=Started(world, audit),
            people=people, accounts=Accounts(world, audit), logins=logins, tokens=Tokens(world, audit, people),
            clusters=clusters, access=access, holdings=holdings,
            credentials=Credentials(world, audit, holdings), reconciler=Reconciler(world, audit, clusters, holdings, grants),
            sync=Sync(world, audit, people), heartbeats=Heartbeats(world, audit),
            housekeeping=Housekeeping(world, outbox, retention),
            explorer=Explorer(audit, clusters, views), policies=policies, publishing=Publishing(world, audit, policies, clusters),
            catalogue=catalogue, rules=rules, requests=Requests(world, audit, catalogue, rules, approvers, roles, progress),
            decisions=Decisions(world, audit, standings, approvers, roles, progress, notices), cases=Cases(views), grants=grants,
            drafts=Drafts(world, audit), doors=doors, emergencies=emergencies,
            clockwork=Clockwork(world, standings, roles, progress, grants, emergencies),
            notices=notices, outbox=outbox, webhooks=Webhooks(world, audit),
        )


for _service in get_type_hints(Services).values():
    refusals.watch(_service)


def attach(app: object, services: Services) -> None:
    """Make the services findable from requests of this app."""
    app.extensions[_KEY] = services  # type: ignore[attr-defined]


def current() -> Services:
    """The services of the app that serves this request."""
    return cast("Services", current_app.extensions[_KEY])
