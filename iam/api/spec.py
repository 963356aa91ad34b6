"""The OpenAPI document, generated from the routes, and who is behind a bearer token."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

from flask import Response, after_this_request, g, request
from pydantic import BaseModel, ValidationError
from spectree import Response as Answers
from spectree import SpecTree
from spectree.models import SecureType, SecurityScheme, SecuritySchemeData

from iam import __version__, services
from iam.errors import Invalid, Unauthenticated
from iam.services.audit import Target
from iam.services.base import Actor
from iam.services.policies import MAX_POLICY_BYTES
from iam.services.streaming import Steps


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
    path="openapi",  # the library leaves out every route below its own path
    filename="v1.json",
    annotations=True,
    mode="strict",
    before=_complain,
    page_templates={},
    security_schemes=[SecurityScheme(name="token", data=SecuritySchemeData(type=SecureType.HTTP, scheme="bearer"))],
    security={"token": []},
)

def document() -> dict[str, Any]:
    """The OpenAPI document; problems are application/problem+json in it as on the wire."""
    described: dict[str, Any] = spec.spec
    for path in described["paths"].values():
        for operation in path.values():
            for status, answer in operation.get("responses", {}).items():
                content = answer.get("content", {})
                if status >= "400" and "application/json" in content:
                    content["application/problem+json"] = content.pop("application/json")
    return described


_WRONG = {f"HTTP_{status}": ProblemDetails for status in (400, 401, 403, 404, 409, 413, 422, 429, 503)}


def answers(**good: Any) -> Answers:
    """The good answers of a route, beside the problems that every route can answer."""
    return Answers(**good, **_WRONG)


def streamed(parts: Generator[bytes, None, None], mimetype: str) -> Response:
    """An answer of any length. The library reads the whole of an answer that passes through it, so its content comes behind it."""
    steps = Steps(parts)

    @after_this_request
    def fill(answer: Response) -> Response:
        answer.response = steps
        answer.headers.pop("Content-Length", None)
        return answer

    return Response(mimetype=mimetype)


def load_actor() -> None:
    """Before every API request: the actor behind ``Authorization: Bearer``. Raises Unauthenticated."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    visitor = Actor(name="visitor", door="api", address=request.remote_addr or "", request_id=g.request_id, path=request.path[:255])
    ours = services.current()
    found = ours.tokens.actor_of(key.strip(), visitor) if scheme.lower() == "bearer" and key.strip() else None
    if found is None:
        problem = Unauthenticated("Send a token of yours as Authorization: Bearer ...; make one on the account page.")
        if key:
            ours.logins.refuse_flood(visitor, Target("api", request.path))
        ours.logins.turn_away(visitor, problem)
        raise problem
    g.actor = found
    if request.blueprint == POLICIES and found.has("administrator", "auditor"):
        request.max_content_length = MAX_POLICY_BYTES
    _require_json()


def _require_json() -> None:
    """A body, where there is one, is a JSON object; nothing is taken from forms."""
    if request.method not in {"POST", "PUT"} or not (request.content_length or request.headers.get("Transfer-Encoding")):
        return
    if not request.is_json:
        raise Invalid("Send JSON, with Content-Type: application/json.")
    if b"\\u0000" in request.get_data():
        raise Invalid("There is a NUL character in what was sent.")
    try:
        body = request.get_json()
    except RecursionError:
        body = None
    if not isinstance(body, dict):
        raise Invalid("The body is a JSON object.")
    try:
        json.dumps(body, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # half a surrogate pair, which no database takes
        raise Invalid("There is a character in the body that is none.") from None


POLICIES = "api_policies"
"""Where a body may be large: a policy of a hundred thousand lines, from those who may read and write such."""


def actor() -> Actor:
    """Who asks."""
    found: Actor = g.actor
    return found
