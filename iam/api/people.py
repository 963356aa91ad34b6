"""People and directories."""

from __future__ import annotations

from dataclasses import asdict

from flask import Blueprint

from iam import services
from iam.api.shapes import People, PeopleQuery, PersonOut, SyncIn, SyncOut
from iam.api.spec import actor, answers, load_actor, spec
from iam.models import Person

routes = Blueprint("api_people", __name__)
routes.before_request(load_actor)


@routes.get("/people")
@spec.validate(resp=answers(HTTP_200=People), tags=["people"])
def index(query: PeopleQuery) -> People:
    """One page of people."""
    found = services.current().people.search(actor(), query.q, query.page)
    return People(items=[_out(person) for person in found.people], total=found.total, page=found.page, pages=found.pages)


@routes.get("/people/<person_id>")
@spec.validate(resp=answers(HTTP_200=PersonOut), tags=["people"])
def show(person_id: str) -> PersonOut:
    """One person."""
    return _out(services.current().people.get(actor(), person_id))


@routes.post("/people/<person_id>/disable")
@spec.validate(resp=answers(HTTP_200=PersonOut), tags=["people"])
def disable(person_id: str) -> PersonOut:
    """Shut a person out: sessions and tokens now, bindings within seconds."""
    return _out(services.current().people.disable(actor(), person_id))


@routes.post("/people/<person_id>/enable")
@spec.validate(resp=answers(HTTP_200=PersonOut), tags=["people"])
def enable(person_id: str) -> PersonOut:
    """Let a person in again."""
    return _out(services.current().people.enable(actor(), person_id))


@routes.post("/directories/<name>/sync")
@spec.validate(resp=answers(HTTP_200=SyncOut), tags=["people"])
def sync(name: str, json: SyncIn) -> SyncOut:
    """Re-read the known people of a directory now."""
    return SyncOut(**asdict(services.current().sync.run(actor(), name, accept_removals=json.accept_removals)))


def _out(person: Person) -> PersonOut:
    plain = ("id", "username", "display_name", "email", "directory", "disabled_reason", "last_login_at", "synced_at")
    return PersonOut(
        **{field: getattr(person, field) for field in plain}, groups=[group.name for group in person.groups], disabled=person.is_disabled
    )
