"""The OpenAPI document, generated from the routes, and who is behind a bearer token."""

from __future__ import annotations

from typing import Any

from flask import g, request
from pydantic import BaseModel, ValidationError
from spectree import Response, SpecTree
from spectree.models import SecureType, SecurityScheme, SecuritySchemeData

from iam import __version__, services
from iam.errors import Invalid, Unauthenticated
from iam.services.audit import Event, Target
from iam.services.base import Actor


class ProblemDetails(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    instance: str = ""
    request_id: str = ""
    field: str | None = None


def _complain(_request: Any, _response: Any, error: Exception | None, _instance: Any, _adapter: Any) -> None:
    """A body or query of the wrong shape, in our own words: which field, what is wrong."""
    if not isinstance(error, ValidationError):
        return
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    raise Invalid("%(what)s", field=field, what=first["msg"])


spec = SpecTree(
    "flask",
    title="kube-iam",
    version=__version__,
    path="api/v1",
    filename="openapi.json",
    annotations=True,
    before=_complain,
    page_templates={},
    security_schemes=[SecurityScheme(name="token", data=SecuritySchemeData(type=SecureType.HTTP, scheme="bearer"))],
    security={"token": []},
)

_WRONG = {f"HTTP_{status}": ProblemDetails for status in (401, 403, 404, 409, 422, 503)}


def answers(**good: Any) -> Response:
    """The good answers of a route, beside the problems that every route can answer."""
    return Response(**good, **_WRONG)


def load_actor() -> None:
    """Before every API request: the actor behind ``Authorization: Bearer``. Raises Unauthenticated."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    visitor = Actor(name="visitor", door="api", address=request.remote_addr or "", request_id=g.request_id)
    ours = services.current()
    found = ours.tokens.actor_of(key.strip(), visitor) if scheme.lower() == "bearer" and key.strip() else None
    if found is None:
        problem = Unauthenticated("Send a token of yours as Authorization: Bearer ...; make one on the account page.")
        if key:
            ours.audit.failed(visitor, Event.ACCESS_DENIED, Target("api", request.path), problem)
        raise problem
    g.actor = found


def actor() -> Actor:
    """Who asks."""
    found: Actor = g.actor
    return found
