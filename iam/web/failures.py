"""Errors as pages, or as problem details (RFC 9457) below /api. One place decides which."""

from __future__ import annotations

from flask import Flask, Response, g, jsonify, render_template, request
from flask_babel import gettext as _
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException, MethodNotAllowed, SecurityError

from iam import log, services
from iam.errors import Forbidden, Problem, TooMany
from iam.web.language import translated
from iam.web.visitors import visitor

_log = log.get(__name__)
API = "/api/"
Answer = tuple[str | Response, int]


def attach(app: Flask) -> None:
    """Register the handlers."""
    app.register_error_handler(Problem, on_problem)
    app.register_error_handler(CSRFError, on_forgery)
    app.register_error_handler(HTTPException, on_http)
    app.register_error_handler(Exception, on_bug)


def on_problem(problem: Problem) -> Answer:
    """One of our own errors."""
    if request.path.startswith(API):
        answer, status = _details(problem.kind, problem.title, problem.status, str(problem), problem.field)
    else:
        answer, status = _page(problem.status, _(problem.title), translated(problem))
    if isinstance(problem, TooMany) and isinstance(answer, Response):
        answer.headers["Retry-After"] = str(problem.retry_after)
    return answer, status


def on_forgery(_error: CSRFError) -> Answer:
    """A form without its token: seldom an attack, but the trail shows it."""
    services.current().logins.turn_away(g.get("actor") or visitor(), Forbidden("The form came without its token."))
    return _page(400, _("This form is out of date"), _("Go back, load the page again and send it once more. Nothing was changed."))


def on_http(error: HTTPException) -> Answer:
    """Werkzeug's own: 404, 405, 413 and the like."""
    status = error.code or 500
    if isinstance(error, SecurityError):  # a host name that is not ours: no address can be made, so no page
        return Response("This is not a name of this service.\n", mimetype="text/plain"), 400
    if request.path.startswith(API):
        answer, status = _details(error.name.lower().replace(" ", "-"), error.name, status, error.description or error.name)
        if isinstance(error, MethodNotAllowed) and error.valid_methods and isinstance(answer, Response):
            answer.headers["Allow"] = ", ".join(sorted(error.valid_methods))
        return answer, status
    if status == 404:
        return _page(404, _("Not found"), _("There is no such page."))
    if status == 413:
        return _page(413, _("Too large"), _("At most %(size)s MiB can be sent at once.", size=(request.max_content_length or 0) >> 20))
    return _page(status, error.name, error.description or "")


def on_bug(error: Exception) -> Answer:
    """Our own mistake: the detail goes to the log, the request id to the person."""
    _log.exception("unhandled error", error=type(error).__name__)
    words = "This is our mistake. The log has the details under the request id."
    if request.path.startswith(API):
        return _details("internal", "Something went wrong", 500, words)
    return _page(500, _("Something went wrong"), _("This is our mistake. The log has the details under the request id."))


def _page(status: int, title: str, message: str) -> Answer:
    return Response(render_template("failure.html", title=title, message=message, status=status), mimetype="text/html"), status


def _details(kind: str, title: str, status: int, detail: str, field: str | None = None) -> Answer:
    body = {
        "type": f"urn:kube-iam:problem:{kind}", "title": title, "status": status, "detail": detail,
        "instance": request.path, "request_id": g.get("request_id", ""),
    }
    if field:
        body["field"] = field
    answer = jsonify(body)
    answer.mimetype = "application/problem+json"
    if status == 401:
        answer.headers["WWW-Authenticate"] = 'Bearer realm="kube-iam"'
    return answer, status
