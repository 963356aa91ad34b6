"""The explorer: questions about access as pages that can be bookmarked, and the same answers as CSV and JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from flask import Blueprint, Response, render_template, request
from flask_babel import lazy_gettext as _later
from werkzeug.wrappers import Response as AnyResponse

from iam import services
from iam.errors import Invalid, Problem
from iam.kube.escalation_steps import Means
from iam.kube.explorer import condensed
from iam.kube.requests import Request, in_words
from iam.services import explorer_rows as rows
from iam.services.access import NewMapping
from iam.services.audit import Target
from iam.services.explorer import LOOKING, Place
from iam.services.tables import csv_text
from iam.services.views import Standpoint, View
from iam.web import graph
from iam.web.downloads import attachment
from iam.web.language import translated
from iam.web.visitors import actor, login_required

pages = Blueprint("explorer", __name__, url_prefix="/explorer")
PAGE = 100
ASKED = frozenset({
    "cluster", "user", "first", "second", "verb", "resource", "name", "namespace", "anywhere", "of_kubernetes", "q", "page", "when", "anew",
    "adding_group", "adding_kind", "adding_role", "adding_namespaces", "adding_as", "removing",
})
"""What an address may say; nothing else goes into the next one."""
SHOWN_CLIMBS = 200
QUESTIONS = {
    "explorer.what_can": _later("What can they do?"), "explorer.why": _later("May they? Why not?"),
    "explorer.namespaces": _later("Which namespaces?"), "explorer.who_can": _later("Who can do this?"),
    "explorer.compare": _later("Compare two"), "explorer.paths": _later("Who could reach more?"),
}
ABOUT_ONESELF = ("explorer.what_can", "explorer.why", "explorer.namespaces")
MEANS = {
    Means.ESCALATE: _later("rewrites a role to hold everything"),
    Means.BIND: _later("binds this role to themselves"),
    Means.IMPERSONATE: _later("acts as them"),
    Means.RUN_PODS: _later("runs a pod as this account"),
    Means.ENTER_PODS: _later("enters a pod that runs as this account"),
    Means.READ_TOKENS: _later("reads the account's token from a Secret"),
    Means.CREATE_TOKENS: _later("creates a token of this account"),
    Means.APPROVE_CSRS: _later("approves a certificate in this name"),
    Means.CHANGE_WEBHOOKS: _later("changes what admission does to every request"),
    Means.REACH_NODES: _later("reaches the nodes themselves"),
}
"""What each step does, in the page's language."""
MISSING = {
    "namespace": _later("another namespace"), "verb": _later("another verb"), "apiGroup": _later("another API group"),
    "resource": _later("another resource"), "subresource": _later("not this subresource"), "name": _later("other names only"),
    "path": _later("another path"),
}
"""What a rule lacks, in the page's language."""


@dataclass
class Answer:
    """What a page shows, and the rows behind it."""

    rows: Sequence[rows.Row]
    shows: dict[str, Any] = field(default_factory=dict)


@pages.get("/who-can")
@login_required
def who_can() -> AnyResponse:
    """Everybody who may do this."""

    def answer(view: View) -> Answer:
        explorer = services.current().explorer
        found = explorer.who_can(view, _wanted(), anywhere="anywhere" in request.args)
        wanted = request.args.get("q", "").strip().lower()
        chosen = [who for who in found if wanted in f"{who.name} {who.display_name}".lower()]
        if request.args.get("format"):
            return Answer(rows.who_can(explorer.grounds(view, chosen)))
        ours = [who for who in chosen if not who.is_kubernetes]
        kubernetes = [who for who in chosen if who.is_kubernetes]
        pages_count = max(1, -(-len(ours) // PAGE))
        page = min(max(1, request.args.get("page", 1, type=int)), pages_count)
        shown = ours[(page - 1) * PAGE : page * PAGE]
        return Answer((), {
            "found": explorer.grounds(view, shown), "kubernetes": explorer.grounds(view, kubernetes), "total": len(ours),
            "people": sum(who.kind == "Person" for who in ours), "page": page, "pages": pages_count, "q": wanted,
        })  # fmt: skip

    return _page("explorer/who_can.html", ("verb", "resource"), answer)


@pages.get("/what-can")
@login_required
def what_can() -> AnyResponse:
    """All that somebody holds, and through what."""

    def answer(view: View) -> Answer:
        held = services.current().explorer.what_can(view, _user())
        return Answer(rows.what_can(held), {"held": held})

    return _page("explorer/what_can.html", ("user",), answer)


@pages.get("/why")
@login_required
def why() -> AnyResponse:
    """May they: by what, or why not and what would help."""

    def answer(view: View) -> Answer:
        found = services.current().explorer.may(view, _user(), _wanted())
        in_rows = [rows.may(found)] if request.args.get("format") == "json" else rows.may_in_lines(found)
        return Answer(in_rows, {"answer": found, "grounds": [(ground, ()) for ground in found.grounds]})

    return _page("explorer/why.html", ("user", "verb", "resource"), answer)


@pages.get("/namespaces")
@login_required
def namespaces() -> AnyResponse:
    """Where somebody holds anything."""

    def answer(view: View) -> Answer:
        found: list[Place] = services.current().explorer.places(view, _user())
        return Answer(rows.places(found), {"places": found})

    return _page("explorer/namespaces.html", ("user",), answer)


@pages.get("/compare")
@login_required
def compare() -> AnyResponse:
    """What one may that the other may not."""

    def answer(view: View) -> Answer:
        found = services.current().explorer.compare(view, request.args["first"].strip(), request.args["second"].strip())
        sides = [condensed(side) for side in (found.only_first, found.only_second, found.both)]
        return Answer(rows.compare(found), {"sides": sides})

    return _page("explorer/compare.html", ("first", "second"), answer)


@pages.get("/paths")
@login_required
def paths() -> AnyResponse:
    """Who could reach more than they hold, drawn; or one person's paths."""

    def answer(view: View) -> Answer:
        explorer, user = services.current().explorer, request.args.get("user", "").strip()
        if user:
            found = explorer.paths(view, user)
            return Answer(rows.steps(found), {"paths": found, "drawing": graph.of_paths(found, MEANS)})
        climbs = explorer.climbs(view, of_kubernetes="of_kubernetes" in request.args)
        if request.args.get("format"):
            return Answer(rows.climbs(climbs))
        return Answer((), {"climbs": climbs[:SHOWN_CLIMBS], "total": len(climbs), "drawing": graph.of_climbs(climbs, MEANS)})

    return _page("explorer/paths.html", (), answer)


def _page(template: str, needed: Sequence[str], answer: Callable[[View], Answer]) -> AnyResponse:
    """The form alone until everything needed is given; then the answer, as a page, CSV or JSON."""
    ours, me = services.current(), actor()
    clusters = ours.explorer.clusters(me, about_oneself="user" in needed)
    cluster = request.args.get("cluster", "") or (clusters[0].name if len(clusters) == 1 else "")
    is_looking = me.has(*LOOKING)
    given = {name: value for name, value in request.args.items() if name in ASKED} | ({} if is_looking else {"user": me.name})
    shows: dict[str, Any] = {}
    view, error, wrong, status = None, "", "", 200
    is_asked = bool(cluster) and all(given.get(name, "").strip() for name in needed)
    if is_asked or any(request.args.get(name) for name in needed):
        try:
            if not is_asked:
                raise Invalid("Something is missing: fill in every field of the question.", field=_first_missing(cluster, given, needed))
            about = None if "user" not in needed else [given["user"].strip()]
            view = ours.explorer.view(me, cluster, _standpoint(cluster), about=about)
            found = answer(view)
            shows = found.shows
            if request.args.get("format"):
                return _download(found.rows, request.args["format"])
        except Problem as problem:
            view, error, wrong, status = None, translated(problem), problem.field or "", problem.status
    page = render_template(
        template, given=given, carried=_carried(cluster), carried_on={name: given[name] for name in given if name not in {"page", "anew"}},
        clusters=clusters, options=[(one.name, one.label) for one in clusters], cluster=cluster, view=view, error=error, wrong=wrong,
        users=[person.username for person in ours.people.known(me)] if is_looking else [],
        questions={endpoint: QUESTIONS[endpoint] for endpoint in (QUESTIONS if is_looking else ABOUT_ONESELF)}, is_looking=is_looking,
        means=MEANS, missing=MISSING, rule=rows.rule, permission=rows.permission, node=rows.node, **shows,
    )
    return Response(page, status)


def _first_missing(cluster: str, given: dict[str, Any], needed: Sequence[str]) -> str:
    return "cluster" if not cluster else next((name for name in needed if not given.get(name, "").strip()), "")


def _wanted() -> Request:
    return in_words(*(request.args.get(name, "") for name in ("verb", "resource", "name", "namespace")))


def _user() -> str:
    """Whom the question is about; without a role that looks at others, oneself."""
    return request.args.get("user", "").strip() if actor().has(*LOOKING) else actor().name


def _standpoint(cluster: str) -> Standpoint:
    given = request.args
    adding = None
    if given.get("adding_group"):
        scopes = tuple(filter(None, given.get("adding_namespaces", "").replace(",", " ").split()))
        kind = given.get("adding_kind", "ClusterRole")
        adding = NewMapping(given["adding_group"], cluster, kind, given.get("adding_role", ""), scopes, given.get("adding_as", "User"))
    return Standpoint(given.get("when") == "planned", adding, given.get("removing", ""), "anew" in given)


def _carried(cluster: str) -> dict[str, str]:
    """What stays the same from one question to the next."""
    names = ("user", "when", "adding_group", "adding_kind", "adding_role", "adding_namespaces", "adding_as", "removing")
    return {"cluster": cluster, **{name: request.args[name] for name in names if request.args.get(name)}}


def _download(found: Sequence[rows.Row], wanted: str) -> Response:
    if wanted == "json":
        services.current().audit.downloaded(actor(), Target("file", "access.json"))
        return Response(json.dumps(list(found), ensure_ascii=False), mimetype="application/json")
    if wanted != "csv":
        raise Invalid("The format is csv or json.", field="format")
    return attachment(csv_text(found), "access.csv", "text/csv")

