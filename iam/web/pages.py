"""What every page has: navigation, theme, the security headers."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask import Response, g, request, url_for
from flask_babel import format_timedelta, get_locale
from flask_babel import gettext as _

from iam import __version__, services
from iam.models import AccessRequest
from iam.models.request import EMERGENCY
from iam.services.requests.deciding import MANY
from iam.settings import Role
from iam.settings.directories import LdapSettings, OidcSettings
from iam.web.language import LANGUAGES

THEME_COOKIE = "kube_iam_theme"
THEMES = ("auto", "light", "dark")
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def about_page() -> dict[str, Any]:
    """Values for every template."""
    theme = request.cookies.get(THEME_COOKIE, "auto")
    return {
        "me": g.get("actor"),
        "navigation": navigation(),
        "theme": theme if theme in THEMES else "auto",
        "languages": LANGUAGES,
        "language": str(get_locale()),
        "version": __version__,
        "warnings": warnings(),
    }


def navigation() -> list[tuple[str, str]]:
    """(endpoint, name) of the pages that this actor may open."""
    actor = g.get("actor")
    if actor is None:
        return []
    watching: tuple[Role, ...] = ("administrator", "auditor")
    pages = [("home.index", _("My access")), ("requests.index", _counted(_("Requests")))]
    if actor.has(*watching):
        pages += [("clusters.index", _("Clusters")), ("mappings.index", _("Mappings"))]
    if actor.has(*watching, "approver"):
        pages += [("people.index", _("People"))]
    asks_about_others = actor.has(*watching, "approver")
    if actor.has(*watching):
        pages += [("policies.index", _("Policies"))]
    pages += [("explorer.who_can" if asks_about_others else "explorer.what_can", _("Explorer")), ("audit.index", _("Audit"))]
    if actor.has(*watching):
        pages += [("status.index", _("Status"))]
    return pages


def request_tabs() -> list[tuple[str, str]]:
    """The parts of asking for access that this actor may open."""
    actor, ours = g.actor, services.current()
    tabs = [("requests.index", _("My requests"))]
    if actor.has("administrator", "approver") or waiting() or ours.emergencies.concern(actor):
        tabs += [("inbox.index", _counted(_("Inbox")))]
    tabs += [("emergency.index", _("Break-glass"))]
    if actor.has("administrator", "auditor", "approver"):
        tabs += [("inbox.grants", _("Running grants"))]
    if actor.has("administrator", "auditor"):
        tabs += [("catalogue.index", _("Catalogue")), ("catalogue.rules", _("Rules"))]
    return tabs


def address_of(it: AccessRequest) -> str:
    """The page of a request, or of an opening of break-glass."""
    return url_for("emergency.show" if it.kind == EMERGENCY else "requests.show", request_id=it.id)


def waiting() -> int:
    """How many requests wait for this actor; counted once a page."""
    if "waiting" not in g:
        g.waiting = services.current().decisions.waiting(g.actor)
    return int(g.waiting)


def _counted(name: str) -> str:
    return f"{name} ({waiting() if waiting() < MANY else f'{MANY}+'})" if waiting() else name


def warnings() -> list[str]:
    """Settings that are allowed and dangerous; administrators see them on every page."""
    actor = g.get("actor")
    if actor is None or not actor.has("administrator"):
        return []
    found = []
    if services.current().heartbeats.is_missed(actor):
        found.append(_("No worker has been seen for a while, so changes do not reach the clusters. Run iam worker."))
    ours = services.current()
    state = ours.chain.state(actor)
    if state.put_aside or state.is_broken:
        found.append(_("Somebody changed the audit trail in the database. Run iam audit verify."))
    elif state.is_late:
        found.append(_("Audit events wait to be sealed. Run iam worker; if one runs, run iam audit verify."))
    late = [one.name for one in ours.forwarding.standings(actor) if one.is_late]
    late += [one.name for one in ours.anchoring.standings(actor) if one.is_late]
    if late:
        found.append(_("The audit trail does not arrive at %(names)s.", names=", ".join(late)))
    for directory in ours.world.settings.directories:
        if isinstance(directory, LdapSettings) and directory.insecure_plain:
            words = _("Not for production: the directory %(name)s takes passwords over an unencrypted connection.", name=directory.label)
            found.append(words)
        if isinstance(directory, OidcSettings) and directory.insecure_http:
            found.append(_("Not for production: the directory %(name)s is reached over plain HTTP.", name=directory.label))
    return found


def ago(moment: datetime | None) -> str:
    """``3 minutes ago``, ``in 2 hours``, in the page's language."""
    if moment is None:
        return str(_("never"))
    return str(format_timedelta(moment - services.current().world.now(), add_direction=True, granularity="second"))


def exact(moment: datetime | None) -> str:
    """``2026-01-31 12:00:00 UTC``."""
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC") if moment else ""


def harden(response: Response) -> Response:
    """The headers that go with every answer."""
    response.headers.setdefault("Content-Security-Policy", _POLICY)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["X-Frame-Options"] = "DENY"
    response.headers["Referrer-Policy"] = "same-origin"
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    response.headers["Permissions-Policy"] = "camera=(), geolocation=(), microphone=()"
    if "request_id" in g:
        response.headers["X-Request-ID"] = g.request_id
    if services.current().world.settings.server.is_https:
        response.headers["Strict-Transport-Security"] = "max-age=31536000"
    if request.endpoint not in {"home.static", "bootstrap.static"}:
        response.headers.setdefault("Cache-Control", "no-store")
    return response
