"""Logging in and out, and the choices that need no login: language and theme."""

from __future__ import annotations

from flask import Blueprint, Response, g, redirect, render_template, request, session, url_for
from flask_babel import get_locale
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response as AnyResponse
from wtforms import HiddenField, PasswordField, StringField

from iam import services
from iam.directory.base import PasswordDirectory
from iam.errors import Problem, TooMany
from iam.services.login import Started
from iam.web.language import COOKIE as LANGUAGE_COOKIE
from iam.web.language import LANGUAGES, translated
from iam.web.pages import THEME_COOKIE, THEMES
from iam.web.visitors import SESSION_COOKIE, actor, login_required, safe_next, visitor

pages = Blueprint("login", __name__)
_YEAR = 365 * 24 * 3600


class PasswordForm(FlaskForm):  # type: ignore[misc]  # Flask-WTF ships no types
    """Name and password for one directory."""

    directory = HiddenField()
    username = StringField()
    password = PasswordField()


@pages.get("/login")
def index() -> str | AnyResponse:
    """Every configured directory, in order."""
    if g.actor is not None:
        return redirect(safe_next(request.args.get("next")))
    return _page(PasswordForm(formdata=None))


@pages.post("/login")
def with_password() -> str | AnyResponse | tuple[str, int]:
    """Name and password."""
    form = PasswordForm()
    if not form.validate_on_submit():
        return _page(form), 400
    try:
        started = services.current().logins.with_password(
            visitor(), form.directory.data or "", form.username.data or "", form.password.data or "", _user_agent()
        )
    except Problem as problem:
        answer = Response(_page(form, translated(problem)), problem.status)
        if isinstance(problem, TooMany):
            answer.headers["Retry-After"] = str(problem.retry_after)
        return answer
    return _enter(started)


@pages.get("/login/<directory>/start")
def start(directory: str) -> AnyResponse:
    """Off to the provider; what must come back is kept in this browser's signed cookie."""
    redirection = services.current().logins.begin_redirect(directory, _callback(directory))
    session["login"] = {"directory": directory, "next": safe_next(request.args.get("next")), **redirection.transaction}
    return redirect(redirection.url)


@pages.get("/login/<directory>/callback")
def finish(directory: str) -> AnyResponse | tuple[str, int]:
    """Back from the provider. What was kept is used once."""
    kept = session.pop("login", None)
    mine = kept if kept and kept.get("directory") == directory else None
    try:
        started = services.current().logins.finish_redirect(
            visitor(), directory, _callback(directory), request.args.to_dict(), mine, _user_agent()
        )
    except Problem as problem:
        return _page(PasswordForm(formdata=None), translated(problem)), problem.status
    return _enter(started, (mine or {}).get("next"))


@pages.post("/logout")
@login_required
def logout() -> AnyResponse:
    """End the session; the provider's own session is offered as a link, not forced."""
    elsewhere = services.current().logins.logout(actor(), _public(url_for("login.index")))
    session.clear()
    session["elsewhere"] = elsewhere
    answer = redirect(url_for("login.goodbye"))
    answer.delete_cookie(SESSION_COOKIE)
    return answer


@pages.get("/goodbye")
def goodbye() -> str:
    """Logged out here."""
    return render_template("login/goodbye.html", elsewhere=session.pop("elsewhere", None))


@pages.post("/preferences")
def preferences() -> AnyResponse:
    """Language and theme, kept in two cookies."""
    answer = redirect(safe_next(request.form.get("next")))
    settings = services.current().world.settings
    for name, value, legal in (
        (LANGUAGE_COOKIE, request.form.get("language"), LANGUAGES), (THEME_COOKIE, request.form.get("theme"), THEMES),
    ):
        if value and value in legal:
            answer.set_cookie(name, value, max_age=_YEAR, secure=settings.server.is_https, httponly=True, samesite="Lax")
            if g.actor and name == LANGUAGE_COOKIE:
                services.current().people.speaks(g.actor.person_id, value)
    return answer


def _page(form: PasswordForm, error: str = "") -> str:
    directories = services.current().world.directories.values()
    passwords = [directory for directory in directories if isinstance(directory, PasswordDirectory)]
    return render_template(
        "login/index.html", form=form, error=error, passwords=passwords,
        redirects=[directory for directory in directories if directory not in passwords],
        next=safe_next(request.values.get("next")),
    )


def _enter(started: Started, target: str | None = None) -> AnyResponse:
    """A fresh cookie; nothing from before the login is kept."""
    settings = services.current().world.settings
    services.current().people.speaks(started.person.id, str(get_locale()))
    session.clear()
    answer: Response = redirect(safe_next(target or request.form.get("next")))  # type: ignore[assignment]
    answer.set_cookie(
        SESSION_COOKIE, started.key, max_age=settings.sessions.absolute_hours * 3600,
        secure=settings.server.is_https, httponly=True, samesite="Lax",
    )
    return answer


def _callback(directory: str) -> str:
    return _public(url_for("login.finish", directory=directory))


def _public(path: str) -> str:
    return services.current().world.settings.server.public_url.rstrip("/") + path


def _user_agent() -> str:
    return request.headers.get("User-Agent", "")
