"""What the demo's people can ask for, who decides on it, and a door for the night."""

from __future__ import annotations

from iam.services import Services
from iam.services.base import Actor
from iam.services.requests.catalogue import NewEntry
from iam.services.requests.doors import NewDoor
from iam.services.requests.rules import NewRule

LEADS = {"erin": "lee", "nico": "lee", "lee": "ada"}
ENTRIES = (
    NewEntry("look-around", "Look around", role_name="view", clusters=("*",), namespaces=("*",), longest="8h",
             description="See what runs, without Secrets and without changing anything."),
    NewEntry("change-staging", "Change the staging shop", role_name="edit", clusters=("*",), namespaces=("*-staging",), longest="8h",
             description="Deploy, scale and debug in staging. Reads Secrets there."),
    NewEntry("run-shop", "Run the shop", role_name="admin", clusters=("*",), namespaces=("shop",), groups=("local:engineers",),
             longest="2h",
             description="Everything in the shop's namespace, to mend what staging cannot show."),
)
RULES = (
    NewRule("harmless", "automatic", longest="8h"),
    NewRule("production", "lead\n1 of local:administrators", entry="run-shop", longest="2h", lapses="4h"),
    NewRule("everything-else", "lead", longest="8h", lapses="1d"),
)
DOOR = NewDoor(
    "night", "Night shift", role_name="cluster-admin", clusters=("demo",), groups=("local:leads",), tell=("local:administrators",),
    reviewers=("local:auditors",), longest="1h", review_within="1d",
    description="When the shop is down and nobody answers. Everybody named is told at once.",
)


def seed(ours: Services, actor: Actor) -> None:
    """Once; what is there already stays as it is."""
    if ours.catalogue.entries(actor):
        return
    for entry in ENTRIES:
        ours.catalogue.save(actor, entry)
    for rule in RULES:
        ours.rules.save(actor, rule)
    ours.doors.save(actor, DOOR)
