"""What can be asked for and who decides on it: the catalogue, the approval rules, their simulator."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext as _
from werkzeug.wrappers import Response as AnyResponse

from iam import services
from iam.approval import times
from iam.approval.scopes import WHOLE_CLUSTER
from iam.errors import Problem, Sentence
from iam.models import ApprovalRule, CatalogueEntry
from iam.services.requests.asking import Ask
from iam.services.requests.catalogue import NewEntry
from iam.services.requests.rules import NewRule
from iam.web.forms import groups_listed, listed, tried, typed
from iam.web.language import translated
from iam.web.visitors import actor, login_required

pages = Blueprint("catalogue", __name__)
ENTRY = {"name": "", "title": "", "description": "", "role_kind": "ClusterRole", "role_name": "", "clusters": "*", "namespaces": "",
         "whole": "", "groups": "", "longest": "8h", "is_open": "yes"}
RULE = {"name": "", "entry": "", "clusters": "", "namespaces": "", "whole": "", "stages": "lead", "longest": "8h", "lapses": "1d",
        "reason_pattern": "", "ticket_pattern": "", "position": ""}


@pages.get("/catalogue")
@login_required
def index() -> str:
    """All entries."""
    return render_template("catalogue/index.html", entries=services.current().catalogue.entries(actor()), WHOLE_CLUSTER=WHOLE_CLUSTER)


@pages.route("/catalogue/new", methods=["GET", "POST"])
@pages.route("/catalogue/<name>", methods=["GET", "POST"])
@login_required
def entry(name: str = "") -> str | AnyResponse | tuple[str, int]:
    """Write an entry."""
    ours, is_sent = services.current(), request.method == "POST"
    ours.audit.require(actor(), "administrator", scope="write")
    fields = _sent(ENTRY) if is_sent else _entry_fields(ours.catalogue.get(actor(), name)) if name else dict(ENTRY)
    error, field, status = "", "", 200
    if is_sent:
        removes = typed("step") == "remove"
        error, field, status = tried(
            lambda: ours.catalogue.remove(actor(), name) if removes else ours.catalogue.save(actor(), _entry(fields), name=name)
        )
        if not error:
            flash(_("Removed.") if removes else _("Saved."))
            return redirect(url_for("catalogue.index"))
    page = render_template(
        "catalogue/entry.html", name=name, fields=fields, error=error, field=field, groups=ours.access.known_groups(actor()),
        clusters=ours.clusters.list(actor()),
    )
    return page, status


@pages.get("/rules")
@login_required
def rules() -> str:
    """All rules, in their order."""
    return render_template("catalogue/rules.html", rules=services.current().rules.listed(actor()))


@pages.route("/rules/new", methods=["GET", "POST"])
@pages.route("/rules/<name>", methods=["GET", "POST"])
@login_required
def rule(name: str = "") -> str | AnyResponse | tuple[str, int]:
    """Write a rule."""
    ours, is_sent = services.current(), request.method == "POST"
    ours.audit.require(actor(), "administrator", scope="write")
    fields = _sent(RULE) if is_sent else _rule_fields(ours.rules.get(actor(), name)) if name else dict(RULE)
    error, field, status = "", "", 200
    if is_sent:
        removes = typed("step") == "remove"
        error, field, status = tried(
            lambda: ours.rules.remove(actor(), name) if removes else ours.rules.save(actor(), _rule(fields), name=name)
        )
        if not error:
            flash(_("Removed.") if removes else _("Saved. Requests that wait are asked again where this changes who decides."))
            return redirect(url_for("catalogue.rules"))
    page = render_template(
        "catalogue/rule.html", name=name, fields=fields, error=error, field=field, entries=_choices(),
        groups=ours.access.known_groups(actor()),
    )
    return page, status


@pages.get("/rules/simulate")
@login_required
def simulate() -> str | tuple[str, int]:
    """Which rule would count for a wish, why the others do not, and who would be asked. Nothing is sent."""
    ours, given = services.current(), request.args
    ours.audit.require(actor(), "administrator", "auditor", scope="read")
    error, field, results = "", "", None
    if given.get("username"):
        try:
            ask = Ask(
                given.get("entry", ""), listed(given.get("clusters")), listed(given.get("namespaces")),
                times.seconds_of(given.get("how_long") or "1h", field="how_long"), reason=given.get("reason") or "-",
                ticket=given.get("ticket", ""),
            )
            results = ours.requests.simulate(actor(), given["username"], ask)
        except Problem as problem:
            error, field = translated(problem), problem.field or ""
    page = render_template(
        "catalogue/simulate.html", given=given, error=error, field=field, results=results, entries=_choices(),
        clusters=ours.clusters.list(actor()), why_not=WHY_NOT, WHOLE_CLUSTER=WHOLE_CLUSTER, in_words=_in_words,
    )
    return (page, 422) if error else page


WHY_NOT = {
    "entry": Sentence("it is for another entry"), "cluster": Sentence("it is for other clusters"),
    "namespace": Sentence("it is for other namespaces"),
    "own": Sentence("it would say yes by itself, and whoever asks wrote it"),
    "dangerous": Sentence("it would say yes by itself, which counts for the harmless only"),
}


def _choices() -> list[tuple[str, str]]:
    return [(one.name, one.title) for one in services.current().catalogue.entries(actor())]


def _in_words(found: Problem | Sentence) -> str:
    return translated(found)


def _sent(known: dict[str, str]) -> dict[str, Any]:
    return {name: typed(name) for name in known}


def _entry(fields: dict[str, Any]) -> NewEntry:
    whole = (WHOLE_CLUSTER,) if fields["whole"] else ()
    return NewEntry(
        name=fields["name"], title=fields["title"], role_kind=fields["role_kind"], role_name=fields["role_name"].strip(),
        description=fields["description"], clusters=listed(fields["clusters"]), namespaces=(*listed(fields["namespaces"]), *whole),
        groups=groups_listed(fields["groups"]), longest=fields["longest"], is_open=bool(fields["is_open"]),
    )


def _entry_fields(found: CatalogueEntry) -> dict[str, Any]:
    plain = ("name", "title", "description", "role_kind", "role_name")
    return {name: getattr(found, name) for name in plain} | _scopes(found.clusters, found.namespaces) | {
        "groups": "\n".join(found.groups), "longest": times.words(found.longest_seconds), "is_open": "yes" if found.is_open else "",
    }


def _rule(fields: dict[str, Any]) -> NewRule:
    whole = (WHOLE_CLUSTER,) if fields["whole"] else ()
    position = fields["position"].strip()
    return NewRule(
        name=fields["name"], stages=fields["stages"], entry=fields["entry"], clusters=listed(fields["clusters"]),
        namespaces=(*listed(fields["namespaces"]), *whole), longest=fields["longest"], lapses=fields["lapses"],
        reason_pattern=fields["reason_pattern"], ticket_pattern=fields["ticket_pattern"],
        position=(int(position) if position.isascii() and position.isdigit() and len(position) < 6 else 0) if position else None,
    )


def _rule_fields(found: ApprovalRule) -> dict[str, Any]:
    plain = ("name", "stages", "reason_pattern", "ticket_pattern")
    return {name: getattr(found, name) for name in plain} | _scopes(found.clusters, found.namespaces) | {
        "entry": found.entry.name if found.entry else "", "longest": times.words(found.longest_seconds),
        "lapses": times.words(found.lapse_seconds), "position": "",
    }


def _scopes(clusters: list[str], namespaces: list[str]) -> dict[str, str]:
    return {
        "clusters": " ".join(clusters), "namespaces": " ".join(one for one in namespaces if one != WHOLE_CLUSTER),
        "whole": "yes" if WHOLE_CLUSTER in namespaces else "",
    }
