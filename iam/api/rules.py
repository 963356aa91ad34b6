"""The catalogue, approval rules, emergency doors and webhooks, for administrators."""

from __future__ import annotations

from flask import Blueprint

from iam import services
from iam.api.requests import as_ask
from iam.api.rule_shapes import (
    DoorIn,
    DoorOut,
    DoorsOut,
    EntriesOut,
    EntryIn,
    EntryOut,
    RuleIn,
    RuleOut,
    RulesOut,
    SimulatedOut,
    SimulateIn,
    SimulationOut,
    WebhookIn,
    WebhookOut,
    WebhooksOut,
)
from iam.api.shapes import Done
from iam.api.spec import actor, answers, load_actor, spec
from iam.models import Webhook
from iam.services.requests import rows
from iam.services.requests.catalogue import NewEntry
from iam.services.requests.doors import NewDoor
from iam.services.requests.rules import NewRule
from iam.services.telling.webhooks import NewWebhook

routes = Blueprint("api_rules", __name__)
routes.before_request(load_actor)


@routes.get("/catalogue")
@spec.validate(resp=answers(HTTP_200=EntriesOut), tags=["catalogue"])
def entries() -> EntriesOut:
    """The whole catalogue."""
    return EntriesOut(items=[rows.entry(one) for one in services.current().catalogue.entries(actor())])


@routes.post("/catalogue")
@spec.validate(resp=answers(HTTP_201=EntryOut), tags=["catalogue"])
def create_entry(json: EntryIn) -> tuple[EntryOut, int]:
    """Add an entry."""
    return EntryOut(**rows.entry(services.current().catalogue.save(actor(), _entry(json)))), 201


@routes.put("/catalogue/<name>")
@spec.validate(resp=answers(HTTP_200=EntryOut), tags=["catalogue"])
def change_entry(name: str, json: EntryIn) -> EntryOut:
    """Change an entry; its name stays."""
    return EntryOut(**rows.entry(services.current().catalogue.save(actor(), _entry(json), name=name)))


@routes.delete("/catalogue/<name>")
@spec.validate(resp=answers(HTTP_200=Done), tags=["catalogue"])
def remove_entry(name: str) -> Done:
    """Remove an entry."""
    services.current().catalogue.remove(actor(), name)
    return Done()


@routes.get("/rules")
@spec.validate(resp=answers(HTTP_200=RulesOut), tags=["catalogue"])
def rules() -> RulesOut:
    """All rules, in the order in which they are tried."""
    return RulesOut(items=[rows.rule(one) for one in services.current().rules.listed(actor())])


@routes.post("/rules")
@spec.validate(resp=answers(HTTP_201=RuleOut), tags=["catalogue"])
def create_rule(json: RuleIn) -> tuple[RuleOut, int]:
    """Add a rule."""
    return RuleOut(**rows.rule(services.current().rules.save(actor(), _rule(json)))), 201


@routes.put("/rules/<name>")
@spec.validate(resp=answers(HTTP_200=RuleOut), tags=["catalogue"])
def change_rule(name: str, json: RuleIn) -> RuleOut:
    """Change a rule; its name stays."""
    return RuleOut(**rows.rule(services.current().rules.save(actor(), _rule(json), name=name)))


@routes.delete("/rules/<name>")
@spec.validate(resp=answers(HTTP_200=Done), tags=["catalogue"])
def remove_rule(name: str) -> Done:
    """Remove a rule."""
    services.current().rules.remove(actor(), name)
    return Done()


@routes.post("/rules/simulate")
@spec.validate(resp=answers(HTTP_200=SimulationOut), tags=["catalogue"])
def simulate(json: SimulateIn) -> SimulationOut:
    """Which rules would count if this person asked, and what would come of it."""
    found = services.current().requests.simulate(actor(), json.username, as_ask(json))
    return SimulationOut(items=[
        SimulatedOut(
            cluster=cluster, namespace=namespace, tried=[{"rule": one.rule.name, "why_not": one.why_not} for one in tried],
            parts=[rows.part(one) for one in outcome] if isinstance(outcome, list) else [],
            problem="" if isinstance(outcome, list) else str(outcome),
        )
        for cluster, namespace, tried, outcome in found
    ])


@routes.get("/emergency/doors")
@spec.validate(resp=answers(HTTP_200=DoorsOut), tags=["break-glass"])
def doors() -> DoorsOut:
    """All emergency doors."""
    return DoorsOut(items=[rows.door(one) for one in services.current().doors.listed(actor())])


@routes.post("/emergency/doors")
@spec.validate(resp=answers(HTTP_201=DoorOut), tags=["break-glass"])
def create_door(json: DoorIn) -> tuple[DoorOut, int]:
    """Add a door."""
    return DoorOut(**rows.door(services.current().doors.save(actor(), _door(json)))), 201


@routes.put("/emergency/doors/<name>")
@spec.validate(resp=answers(HTTP_200=DoorOut), tags=["break-glass"])
def change_door(name: str, json: DoorIn) -> DoorOut:
    """Change a door; its name stays."""
    return DoorOut(**rows.door(services.current().doors.save(actor(), _door(json), name=name)))


@routes.delete("/emergency/doors/<name>")
@spec.validate(resp=answers(HTTP_200=Done), tags=["break-glass"])
def remove_door(name: str) -> Done:
    """Remove a door."""
    services.current().doors.remove(actor(), name)
    return Done()


@routes.get("/webhooks")
@spec.validate(resp=answers(HTTP_200=WebhooksOut), tags=["webhooks"])
def webhooks() -> WebhooksOut:
    """All webhooks."""
    return WebhooksOut(items=[_webhook(one) for one in services.current().webhooks.listed(actor())])


@routes.post("/webhooks")
@spec.validate(resp=answers(HTTP_201=WebhookOut), tags=["webhooks"])
def create_webhook(json: WebhookIn) -> tuple[WebhookOut, int]:
    """Add a webhook; the answer has the secret that signs, this once."""
    command = NewWebhook(json.name, json.url, json.format, tuple(json.events))
    made, secret = services.current().webhooks.create(actor(), command)
    return _webhook(made, secret), 201


@routes.delete("/webhooks/<name>")
@spec.validate(resp=answers(HTTP_200=Done), tags=["webhooks"])
def remove_webhook(name: str) -> Done:
    """Remove a webhook."""
    services.current().webhooks.remove(actor(), name)
    return Done()


def _webhook(one: Webhook, secret: str = "") -> WebhookOut:
    return WebhookOut(
        name=one.name, host=one.host, format=one.format, events=one.events, created_at=one.created_at, created_by=one.created_by,
        secret=secret,
    )


def _entry(body: EntryIn) -> NewEntry:
    return NewEntry(**_frozen(body))


def _rule(body: RuleIn) -> NewRule:
    return NewRule(**_frozen(body))


def _door(body: DoorIn) -> NewDoor:
    return NewDoor(**_frozen(body))


def _frozen(body: EntryIn | RuleIn | DoorIn) -> rows.Row:
    """Lists as tuples: commands are values."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in body.model_dump().items()}
