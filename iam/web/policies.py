"""ABAC policies: read, written as text or line by line, compared, simulated, converted and published."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from flask import Blueprint, Response, flash, redirect, render_template, request, url_for
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _later
from werkzeug.wrappers import Response as AnyResponse

from iam import services
from iam.errors import Conflict, Invalid, Problem
from iam.kube import manifest_yaml
from iam.kube.abac_lint import Severity
from iam.kube.requests import in_words, with_implied_groups
from iam.models import PolicyFile
from iam.services import policy_drafts
from iam.services.policies import NewPolicy
from iam.services.policy_drafts import Draft
from iam.web.downloads import attachment
from iam.web.language import translated
from iam.web.policy_lines import LineForm, form_of
from iam.web.visitors import actor, login_required

pages = Blueprint("policies", __name__, url_prefix="/policies")
PAGE = 100
MOST_SHOWN = 200
SEVERITIES = {Severity.ERROR: _later("error"), Severity.WARNING: _later("warning"), Severity.NOTE: _later("note")}
LOOKS = {Severity.ERROR: "bad", Severity.WARNING: "warn", Severity.NOTE: ""}


@pages.get("")
@login_required
def index() -> str:
    """All policies."""
    return render_template("policies/index.html", policies=services.current().policies.list(actor()))


@pages.route("/new", methods=["GET", "POST"])
@login_required
def new() -> AnyResponse:
    """Write or import one: typed, pasted, or from a file."""
    ours = services.current()
    ours.audit.require(actor(), "administrator", scope="write")
    given, written, error, field, status = request.form, "", "", "", 200
    if request.method == "POST":
        try:
            reason, cluster, owner = (given.get(one, "") for one in ("reason", "cluster", "owner"))
            written = _text_given()
            command = NewPolicy(given.get("name", ""), written, reason, cluster, owner, given.get("beside") != "rbac")
            file = ours.policies.create(actor(), command)
            flash(_("Kept as version 1. Nothing is published yet."))
            return redirect(url_for("policies.show", name=file.name))
        except Problem as problem:
            error, field, status = _told(problem), problem.field or "", problem.status
    problems = _problems(written) if field.startswith("policy") else []
    page = render_template(
        "policies/new.html", given=given, error=error, field=field, cluster_choices=_cluster_choices(), problems=problems, says=translated
    )
    return Response(page, status)


@pages.get("/<name>")
@login_required
def show(name: str) -> str:
    """One policy: its lines, what is wrong with them, its versions, and where it stands."""
    ours = services.current()
    file = ours.policies.get(actor(), name)
    standing = ours.publishing.standing(actor(), name)
    findings = standing.findings
    wanted = request.args.get("q", "").strip().lower()
    lines = [line for line in standing.draft.lines if (line.policy or line.text.strip()) and wanted in line.text.lower()]
    pages_count = max(1, -(-len(lines) // PAGE))
    page = min(max(1, request.args.get("page", 1, type=int)), pages_count)
    return render_template(
        "policies/show.html", file=file, standing=standing, findings=findings, total=len(lines), page=page, pages=pages_count, q=wanted,
        lines=lines[(page - 1) * PAGE : page * PAGE], severities=SEVERITIES, looks=LOOKS, says=translated, most=MOST_SHOWN,
        by_line={finding.line: finding for finding in reversed(findings) if finding.line}, flags=ours.publishing.next_steps(file),
    )


@pages.route("/<name>/text", methods=["GET", "POST"])
@login_required
def text(name: str) -> AnyResponse:
    """Edit it as text: first shows who gains and loses what, then saves exactly that."""
    ours = services.current()
    ours.audit.require(actor(), "administrator", scope="write")
    file = ours.policies.get(actor(), name)
    stored = _editable(ours.policies.version(actor(), name).text)
    if request.method == "GET":
        return Response(_editor(file, stored, file.current))
    given = request.form
    after, base, reason = _text_given(), given.get("base", 0, type=int), given.get("reason", "")
    try:
        is_seen = given.get("seen") == _seal(after)
        if given.get("step") == "save" and is_seen:
            version = ours.policies.save(actor(), name, _as_stored(after, ours.policies.version(actor(), name).text), reason, base)
            flash(_("Kept as version %(number)s. It counts once it is published.", number=version.number))
            return redirect(url_for("policies.show", name=name))
        return Response(_editor(file, after, base, _differences(stored, after), reason=reason))
    except Conflict as problem:  # the text goes on from the version that is there now, once its effect on that has been seen
        return Response(_editor(file, after, file.current, _differences(stored, after), reason, _told(problem)), problem.status)
    except Problem as problem:
        return Response(_editor(file, after, base, None, reason, _told(problem), problem.field or ""), problem.status)


@pages.route("/<name>/line", methods=["GET", "POST"])
@login_required
def line(name: str) -> AnyResponse:
    """Add a line, or edit or take out one, in a form; shown and saved as the text is."""
    ours = services.current()
    ours.audit.require(actor(), "administrator", scope="write")
    file = ours.policies.get(actor(), name)
    number = request.args.get("line", type=int)
    stored = _editable(ours.policies.version(actor(), name).text)
    if request.method == "GET":
        return Response(_line_page(file, number, form_of(ours.policies.stored(actor(), name), number)))
    form = LineForm(request.form)
    try:
        if number is not None and request.form.get("base", 0, type=int) != file.current:
            raise Conflict("Somebody has saved another version meanwhile; choose the line again.", field="base")
        written = None if request.form.get("step") == "remove" else form.written()
        after = policy_drafts.with_line(stored, number, written)
        return Response(_editor(file, after, file.current, _differences(stored, after), reason=form.reason.data or ""))
    except Problem as problem:
        return Response(_line_page(file, number, form, translated(problem), problem.field or ""), problem.status)


@pages.get("/<name>/difference")
@login_required
def difference(name: str) -> str:
    """Two versions: who gained and who lost what, with today's directory."""
    ours = services.current()
    file = ours.policies.get(actor(), name)
    after = request.args.get("after", file.current, type=int)
    before = request.args.get("before", max(1, after - 1), type=int)
    drafts = [ours.policies.stored(actor(), name, number) for number in (before, after)]
    found = policy_drafts.changes(*drafts)
    return render_template("policies/difference.html", file=file, before=before, after=after, changes=found, most=MOST_SHOWN)


@pages.get("/<name>/simulate")
@login_required
def simulate(name: str) -> AnyResponse:
    """What the API server would answer by it."""
    ours = services.current()
    file, given, answer, error, status = ours.policies.get(actor(), name), request.args, None, "", 200
    if given.get("user") or given.get("resource"):
        try:
            wanted = in_words(*(given.get(field, "") for field in ("verb", "resource", "name", "namespace")))
            user, groups = given.get("user", "").strip(), tuple(given.get("groups", "").split())
            answer = ours.policies.stored(actor(), name).answer(wanted.by(user, with_implied_groups(user, groups)))
        except Problem as problem:
            error, status = translated(problem), problem.status
    return Response(render_template("policies/simulate.html", file=file, given=given, answer=answer, error=error), status)


@pages.get("/<name>/rbac")
@login_required
def rbac(name: str) -> AnyResponse:
    """The same as RBAC objects, and what RBAC cannot say."""
    ours = services.current()
    file = ours.policies.get(actor(), name)
    converted = ours.policies.stored(actor(), name).converted(f"abac-{name}")
    manifests = manifest_yaml.dump_all(converted.manifests)
    if request.args.get("format") == "yaml":
        return attachment(manifests, f"{name}-rbac.yaml", "application/yaml")
    return Response(render_template(
        "policies/rbac.html", file=file, converted=converted, manifests=manifests, says=translated, most=MOST_SHOWN))


@pages.route("/<name>/publish", methods=["GET", "POST"])
@login_required
def publish(name: str) -> AnyResponse:
    """Shows what will be published and how it differs from what is; asks; does it; says what to do next."""
    ours = services.current()
    ours.audit.require(actor(), "administrator", scope="write")
    file, error, status = ours.policies.get(actor(), name), "", 200
    if request.method == "POST":
        try:
            accept = "accept" in request.form
            if request.form.get("step") == "download":
                return attachment(ours.publishing.download(actor(), name, accept=accept), f"{name}.jsonl", "application/jsonl")
            ours.publishing.publish(actor(), name, accept=accept)
            flash(_("Published. The API server decides by it after its next start."))
            return redirect(url_for("policies.show", name=name))
        except Problem as problem:
            error, status = translated(problem), problem.status
    standing, published = ours.publishing.standing(actor(), name), ours.publishing.published(actor(), name)
    return Response(render_template(
        "policies/publish.html", file=file, standing=standing, error=error, flags=ours.publishing.next_steps(file), says=translated,
        changes=policy_drafts.changes(published, standing.draft) if published else None, most=MOST_SHOWN,
    ), status)  # fmt: skip


@pages.post("/<name>/check")
@login_required
def check(name: str) -> str:
    """Ask the running API server whether it decides by the file already."""
    ours = services.current()
    file = ours.policies.get(actor(), name)
    found, error = None, ""
    try:
        found = ours.publishing.check(actor(), name)
    except Problem as problem:
        error = translated(problem)
    return render_template("policies/check.html", file=file, found=found, error=error, flags=ours.publishing.next_steps(file))


@pages.route("/<name>/settings", methods=["GET", "POST"])
@login_required
def settings(name: str) -> AnyResponse:
    """Which cluster it is for, who answers for it; or forget it."""
    ours = services.current()
    ours.audit.require(actor(), "administrator", scope="write")
    file = ours.policies.get(actor(), name)
    if request.method == "POST":
        given = request.form
        if given.get("step") == "remove":
            ours.policies.remove(actor(), name)
            flash(_("%(name)s is forgotten. What was published stays where it is.", name=name))
            return redirect(url_for("policies.index"))
        is_alone = given.get("beside") != "rbac"
        try:
            ours.policies.describe(actor(), name, cluster=given.get("cluster", ""), owner=given.get("owner", ""), is_alone=is_alone)
        except Problem as problem:
            page = render_template("policies/settings.html", file=file, cluster_choices=_cluster_choices(), error=translated(problem))
            return Response(page, problem.status)
        flash(_("Saved."))
        return redirect(url_for("policies.show", name=name))
    return Response(render_template("policies/settings.html", file=file, cluster_choices=_cluster_choices()))


def _editable(stored: str) -> str:
    """The text as a browser sends it back. Raises Invalid where it would change more than the ends of lines."""
    plain = stored.replace("\r\n", "\n")
    if "\r" in plain or ("\r\n" in stored and stored.count("\r\n") != stored.count("\n")):
        raise Invalid("There are carriage returns in this policy that a browser would turn into new lines; edit the file and import it.")
    return plain


def _as_stored(after: str, stored: str) -> str:
    """With the ends of lines that the text had before."""
    return after.replace("\n", "\r\n") if "\r\n" in stored else after


def _seal(shown: str) -> str:
    """What is saved is what was shown: this goes with the preview and comes back with the text."""
    return hashlib.sha256(shown.encode("utf-8", "surrogatepass")).hexdigest()


def _differences(before: str, after: str) -> tuple[Draft, policy_drafts.Changes]:
    ours = services.current()
    draft = ours.policies.draft(actor(), after)
    draft.require_readable()
    return draft, policy_drafts.changes(ours.policies.draft(actor(), before), draft)


def _editor(
    file: PolicyFile, after: str, base: int, effect: tuple[Draft, policy_drafts.Changes] | None = None,
    reason: str = "", error: str = "", field: str = "",
) -> str:
    draft, changes = effect or (None, None)
    return render_template(
        "policies/text.html", file=file, text=after, base=base, seen=_seal(after) if draft else "", changes=changes, reason=reason,
        findings=draft.findings(alone=file.is_alone) if draft else [], problems=_problems(after) if field.startswith("policy") else [],
        error=error, field=field, severities=SEVERITIES, looks=LOOKS, says=translated, most=MOST_SHOWN,
    )


def _told(problem: Problem) -> str:
    """An error of a line with where it is."""
    where = f"{problem.field}: " if (problem.field or "").startswith("policy") else ""
    return where + translated(problem)


def _problems(text: str) -> Sequence[Invalid]:
    """Every line that is wrong, beyond the first, which is the error itself."""
    return services.current().policies.draft(actor(), text).problems[1:]


def _line_page(file: PolicyFile, number: int | None, form: LineForm, error: str = "", field: str = "") -> str:
    ours = services.current()
    people = [f"{person.directory}:{person.username}" for person in ours.people.known(actor())]
    names = [*ours.access.known_groups(actor()), *people]
    return render_template("policies/line.html", file=file, number=number, form=form, error=error, field=field, names=names)


def _cluster_choices() -> list[tuple[str, str]]:
    return [(one.name, one.label) for one in services.current().clusters.list(actor())]


def _text_given() -> str:
    """The uploaded file if there is one, else what was typed (browsers send CR LF)."""
    upload = request.files.get("file")
    if upload and upload.filename:
        try:
            return bytes(upload.read()).decode("utf-8")
        except UnicodeDecodeError as error:
            raise Invalid("The file is not UTF-8: byte %(position)s.", field="file", position=error.start) from None
    return str(request.form.get("text", "")).replace("\r\n", "\n")
