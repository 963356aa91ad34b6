"""One's own account: sessions and API tokens."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext as _
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response as AnyResponse
from wtforms import IntegerField, StringField

from iam import services
from iam.errors import Problem
from iam.services.base import READ
from iam.web.language import translated
from iam.web.visitors import actor, login_required

pages = Blueprint("account", __name__, url_prefix="/account")


class TokenForm(FlaskForm):  # type: ignore[misc]  # Flask-WTF ships no types
    """A new token."""

    name = StringField()
    days = IntegerField(default=30)


@pages.get("")
@login_required
def index() -> str:
    """Sessions and tokens."""
    return _page(TokenForm(formdata=None))


@pages.post("/tokens")
@login_required
def new_token() -> str | tuple[str, int]:
    """A token is shown on the answer to this request and never again."""
    form = TokenForm()
    form.validate()
    try:
        _token, key = services.current().tokens.create(
            actor(), name=form.name.data or "", scopes=request.form.getlist("scopes"), days=form.days.data or 0
        )
    except Problem as problem:
        return _page(form, error=translated(problem)), problem.status
    return _page(TokenForm(formdata=None), key=key)


@pages.post("/tokens/<token_id>/revoke")
@login_required
def revoke_token(token_id: str) -> AnyResponse:
    """End a token."""
    services.current().tokens.revoke(actor(), token_id)
    flash(_("The token is revoked."))
    return redirect(url_for("account.index"))


@pages.post("/sessions/<session_id>/end")
@login_required
def end_session(session_id: str) -> AnyResponse:
    """End a session."""
    services.current().logins.end_session(actor(), session_id)
    flash(_("The session is ended."))
    return redirect(url_for("account.index"))


def _page(form: TokenForm, *, error: str = "", key: str = "") -> str:
    ours = services.current()
    return render_template(
        "account/index.html", form=form, error=error, key=key, sessions=ours.logins.sessions(actor()), tokens=ours.tokens.list(actor()),
        scopes=request.form.getlist("scopes") or [READ],
    )
