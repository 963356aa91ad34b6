"""The explorer: questions about access on a live cluster."""

from __future__ import annotations

from flask import Blueprint

from iam import services
from iam.api.explorer_shapes import (
    AskQuery,
    CompareOut,
    CompareQuery,
    DifferenceOut,
    GroundOut,
    HeldOut,
    MayOut,
    PathsOut,
    PathsQuery,
    PlacesOut,
    StepOut,
    UserQuery,
    WhatCanOut,
    WhoCanOut,
    WhoCanQuery,
    WhoOut,
    WhyQuery,
)
from iam.api.spec import actor, answers, load_actor, spec
from iam.kube.requests import in_words
from iam.services import explorer_rows as rows
from iam.services.access import NewMapping
from iam.services.views import Standpoint, View

routes = Blueprint("api_explorer", __name__, url_prefix="/clusters/<name>/access")
routes.before_request(load_actor)


@routes.get("/who-can")
@spec.validate(resp=answers(HTTP_200=WhoCanOut), tags=["explorer"])
def who_can(name: str, query: WhoCanQuery) -> WhoCanOut:
    """Who may do this, and through what."""
    explorer, view = services.current().explorer, _view(name, query)
    found = explorer.who_can(view, in_words(query.verb, query.resource, query.name, query.namespace), anywhere=query.anywhere)
    return WhoCanOut(items=[WhoOut(**row) for row in rows.who_can(explorer.grounds(view, found))], read_at=view.at)


@routes.get("/what-can")
@spec.validate(resp=answers(HTTP_200=WhatCanOut), tags=["explorer"])
def what_can(name: str, query: UserQuery) -> WhatCanOut:
    """What this user may do, and through what."""
    view = _view(name, query, query.user)
    found = services.current().explorer.what_can(view, query.user)
    return WhatCanOut(items=[HeldOut(**row) for row in rows.what_can(found)], read_at=view.at)


@routes.get("/why")
@spec.validate(resp=answers(HTTP_200=MayOut), tags=["explorer"])
def why(name: str, query: WhyQuery) -> MayOut:
    """May this user do this: by what, or why not and what would help."""
    view = _view(name, query, query.user)
    wanted = in_words(query.verb, query.resource, query.name, query.namespace)
    return MayOut(**rows.may(services.current().explorer.may(view, query.user, wanted)))


@routes.get("/namespaces")
@spec.validate(resp=answers(HTTP_200=PlacesOut), tags=["explorer"])
def namespaces(name: str, query: UserQuery) -> PlacesOut:
    """Which namespaces this user may use."""
    view = _view(name, query, query.user)
    found = services.current().explorer.places(view, query.user)
    return PlacesOut(items=[GroundOut(**row) for row in rows.places(found)], read_at=view.at)


@routes.get("/compare")
@spec.validate(resp=answers(HTTP_200=CompareOut), tags=["explorer"])
def compare(name: str, query: CompareQuery) -> CompareOut:
    """What one may that the other may not."""
    view = _view(name, query)
    found = services.current().explorer.compare(view, query.first, query.second)
    return CompareOut(items=[DifferenceOut(**row) for row in rows.compare(found)], read_at=view.at)


@routes.get("/paths")
@spec.validate(resp=answers(HTTP_200=PathsOut), tags=["explorer"])
def paths(name: str, query: PathsQuery) -> PathsOut:
    """Who could reach more than they hold (or what this user could), step by step."""
    explorer, view = services.current().explorer, _view(name, query)
    if query.user:
        found = rows.steps(explorer.paths(view, query.user))
    else:
        found = rows.climbs(explorer.climbs(view, of_kubernetes=query.of_kubernetes))
    return PathsOut(items=[StepOut(**row) for row in found], read_at=view.at)


def _view(cluster: str, query: AskQuery, *about: str) -> View:
    adding = None
    if query.adding_group:
        scopes = tuple(filter(None, query.adding_namespaces.split(",")))
        adding = NewMapping(query.adding_group, cluster, query.adding_kind, query.adding_role, scopes, query.adding_as)
    standpoint = Standpoint(query.planned, adding, query.removing, query.anew)
    return services.current().explorer.view(actor(), cluster, standpoint, about=about or None)
