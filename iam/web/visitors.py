"""Who sends this request: a name for the request itself, and the actor behind its cookie."""

from __future__ import annotations

import re
import secrets
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import structlog
from flask import Response, g, redirect, request, url_for

from iam import services
from iam.errors import Invalid
from iam.services.base import Actor
from iam.services.policies import MAX_POLICY_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

SESSION_COOKIE = "kube_iam_session"
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.-]{8,64}")
_P = ParamSpec("_P")
_R = TypeVar("_R")


def name_request() -> None:
    """Give the request an id (the proxy's if it sent a sane one), for logs, audit and error pages."""
    offered = request.headers.get("X-Request-ID", "")
    g.request_id = offered if _REQUEST_ID.fullmatch(offered) else secrets.token_hex(8)
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=g.request_id, method=request.method, path=request.path)


def take_large_policies() -> None:
    """A policy file may have a hundred thousand lines; nobody but who may write one sends so much."""
    actor = g.get("actor")
    if request.endpoint in {"policies.new", "policies.text"} and actor and actor.has("administrator"):
        request.max_content_length = request.max_form_memory_size = MAX_POLICY_BYTES


def refuse_nul() -> None:
    """No text of ours has a NUL in it, and PostgreSQL takes none: refused at the edge, wherever it hides."""
    if request.blueprint == "login":  # a login answers everything that is no name with the same sentence
        return
    sent = () if request.path.startswith("/api/") else request.form.values()  # the API looks at bodies when it knows whose they are
    if any("\0" in text for text in (request.path, *request.args.values(), *sent)):
        raise Invalid("There is a NUL character in what was sent.")


def visitor(door: str = "page") -> Actor:
    """Somebody we do not know yet."""
    return Actor(name="visitor", door=door, address=request.remote_addr or "", request_id=g.request_id, path=request.path[:255])


def load_actor() -> None:
    """Find out who is logged in; ``g.actor`` is None for nobody. Static files and the API's tokens need no session."""
    g.actor = None
    if request.blueprint in {"bootstrap", "probes"} or request.endpoint == "home.static":
        return
    key = request.cookies.get(SESSION_COOKIE, "")
    if key:
        g.actor = services.current().logins.actor_of(key, visitor())
        g.has_stale_session = g.actor is None


def forget_stale_session(response: Response) -> Response:
    """The cookie of a session that is over, or never was, is not sent again and again."""
    if g.get("has_stale_session") and SESSION_COOKIE not in response.headers.get("Set-Cookie", ""):
        response.delete_cookie(SESSION_COOKIE)
    return response


def actor() -> Actor:
    """Who is logged in; pages that ask for it are behind ``login_required``."""
    found = g.actor
    assert isinstance(found, Actor)  # noqa: S101  # login_required came before
    return found


def login_required(view: Callable[_P, _R]) -> Callable[_P, _R | Response]:
    """Send visitors to the login page, and back here afterwards."""

    @wraps(view)
    def guarded(*args: _P.args, **kwargs: _P.kwargs) -> _R | Response:
        if g.actor is None:
            here = request.full_path.rstrip("?") if request.method == "GET" else url_for("home.index")
            return redirect(url_for("login.index", next=here))  # type: ignore[return-value]
        return view(*args, **kwargs)

    return guarded


def safe_next(target: str | None) -> str:
    """A path on this site, or the home page: ``//evil`` and ``/\\evil`` are other sites to a browser."""
    if target and re.fullmatch(r"/(?![/\\])[^\x00-\x20\\]*", target):
        return target
    return url_for("home.index")
