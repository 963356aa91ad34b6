"""Mappings, for administrators."""

from __future__ import annotations

from flask import Blueprint

from iam import services
from iam.api.shapes import Done, EffectOut, MappingIn, MappingOut, Mappings
from iam.api.spec import actor, answers, load_actor, spec
from iam.models import Mapping
from iam.services.access import Effect, NewMapping

routes = Blueprint("api_access", __name__)
routes.before_request(load_actor)


@routes.get("/mappings")
@spec.validate(resp=answers(HTTP_200=Mappings), tags=["mappings"])
def index() -> Mappings:
    """All mappings."""
    return Mappings(items=[_out(mapping) for mapping in services.current().access.mappings(actor())])


@routes.post("/mappings")
@spec.validate(resp=answers(HTTP_201=MappingOut), tags=["mappings"])
def create(json: MappingIn) -> tuple[MappingOut, int]:
    """Save a mapping; the cluster follows within seconds."""
    return _out(services.current().access.create(actor(), _command(json))), 201


@routes.post("/mappings/preview")
@spec.validate(resp=answers(HTTP_200=EffectOut), tags=["mappings"])
def preview(json: MappingIn) -> EffectOut:
    """Who would gain what, without saving."""
    return _effect(services.current().access.preview(actor(), _command(json)))


@routes.get("/mappings/<mapping_id>/removal")
@spec.validate(resp=answers(HTTP_200=EffectOut), tags=["mappings"])
def preview_removal(mapping_id: str) -> EffectOut:
    """Who would lose what, without removing."""
    return _effect(services.current().access.preview_removal(actor(), mapping_id))


@routes.delete("/mappings/<mapping_id>")
@spec.validate(resp=answers(HTTP_200=Done), tags=["mappings"])
def remove(mapping_id: str) -> Done:
    """Remove a mapping; the cluster follows within seconds."""
    services.current().access.remove(actor(), mapping_id)
    return Done()


def _command(body: MappingIn) -> NewMapping:
    return NewMapping(**body.model_dump(exclude={"namespaces"}), namespaces=tuple(body.namespaces))


def _effect(effect: Effect) -> EffectOut:
    return EffectOut(
        gaining=[person.username for person in effect.gaining],
        losing=[person.username for person in effect.losing],
        unchanged=effect.unchanged,
    )


def _out(mapping: Mapping) -> MappingOut:
    plain = ("id", "role_kind", "role_name", "namespaces", "subject_kind", "note", "created_at", "created_by")
    return MappingOut(
        group=mapping.group.reference, cluster=mapping.cluster.name, **{field: getattr(mapping, field) for field in plain}
    )
