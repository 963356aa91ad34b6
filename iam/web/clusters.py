"""Clusters: list, register, look at, probe, reconcile, remove."""

from __future__ import annotations

from dataclasses import replace

from flask import Blueprint, Response, flash, redirect, render_template, request, url_for
from flask_babel import gettext as _
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response as AnyResponse
from wtforms import IntegerField, StringField, TextAreaField

from iam import services
from iam.errors import Conflict, Problem
from iam.services.clusters import CREDENTIAL, CSR, Registration
from iam.web.language import translated
from iam.web.visitors import actor, login_required

pages = Blueprint("clusters", __name__, url_prefix="/clusters")


class ClusterForm(FlaskForm):  # type: ignore[misc]  # Flask-WTF ships no types
    """A registration."""

    name = StringField()
    title = StringField()
    access = StringField(default=CREDENTIAL)
    kubeconfig = TextAreaField()
    server = StringField()
    ca_pem = TextAreaField()
    token = StringField()
    signer = StringField(default=CSR)
    signer_ca_pem = TextAreaField()
    signer_ca_key = TextAreaField()
    default_minutes = IntegerField(default=60)
    max_minutes = IntegerField(default=720)


@pages.get("")
@login_required
def index() -> str:
    """All clusters."""
    return render_template("clusters/index.html", clusters=services.current().clusters.list(actor()))


@pages.route("/new", methods=["GET", "POST"])
@login_required
def new() -> str | AnyResponse | tuple[str, int]:
    """The registration form."""
    form = ClusterForm()
    if request.method == "GET":
        services.current().audit.require(actor(), "administrator", scope="write")
        return render_template("clusters/new.html", form=form, error="")
    if not form.validate_on_submit():
        return render_template("clusters/new.html", form=form, error=_("Fill in lifetimes as whole minutes.")), 422
    try:
        cluster = services.current().clusters.register(actor(), _registration(form))
    except Problem as problem:
        return render_template("clusters/new.html", form=form, error=translated(problem), field=problem.field), problem.status
    flash(_("%(name)s is registered.", name=cluster.label))
    return redirect(url_for("clusters.show", name=cluster.name))


@pages.get("/<name>")
@login_required
def show(name: str) -> str:
    """One cluster: how it is, what we would change there, its mappings."""
    ours = services.current()
    cluster = ours.clusters.get(actor(), name)
    return render_template(
        "clusters/show.html", cluster=cluster, probe=cluster.probe, state=cluster.reconcile,
        mappings=ours.access.mappings(actor(), name)[:200],
    )


@pages.route("/<name>/edit", methods=["GET", "POST"])
@login_required
def edit(name: str) -> str | AnyResponse | tuple[str, int]:
    """Title and lifetimes, or a new address and credential."""
    ours = services.current()
    ours.audit.require(actor(), "administrator", scope="write")
    cluster = ours.clusters.get(actor(), name)
    form, error, field, status = ClusterForm(), "", "", 422
    if request.method == "GET":
        form.title.data = cluster.title
        form.default_minutes.data, form.max_minutes.data = cluster.default_lifetime_seconds // 60, cluster.max_lifetime_seconds // 60
    elif form.validate():
        try:
            if request.form.get("step") == "renew":
                ours.clusters.renew(actor(), replace(_registration(form), name=name))
            else:
                usual, longest = (form.default_minutes.data or 0) * 60, (form.max_minutes.data or 0) * 60
                ours.clusters.change(
                    actor(), name, title=form.title.data or "", default_lifetime_seconds=usual, max_lifetime_seconds=longest
                )
            flash(_("Saved."))
            return redirect(url_for("clusters.show", name=name))
        except Problem as problem:
            error, field, status = translated(problem), problem.field or "", problem.status
    else:
        error = _("Fill in lifetimes as whole minutes.")
    page = render_template("clusters/edit.html", cluster=cluster, form=form, error=error, field=field)
    return (page, status) if error else page


@pages.get("/<name>/bindings")
@login_required
def bindings(name: str) -> str | tuple[str, int]:
    """The bindings as they should be, and the difference to what is there."""
    ours = services.current()
    cluster = ours.clusters.get(actor(), name)
    desired = ours.reconciler.desired(name)
    manifests = [binding.manifest(ours.world.settings.instance) for _key, binding in sorted(desired.items())][:200]
    error, plan = "", None
    try:
        plan = ours.reconciler.plan(actor(), name)
    except Problem as problem:
        error = translated(problem)
    return render_template("clusters/bindings.html", cluster=cluster, manifests=manifests, count=len(desired), plan=plan, error=error)


@pages.get("/<name>/manifest")
@login_required
def manifest(name: str) -> Response:
    """What an administrator of that cluster applies, to give us the least rights."""
    text = services.current().clusters.manifest(actor(), name)
    return Response(text, mimetype="text/plain; charset=utf-8")


@pages.post("/<name>/probe")
@login_required
def probe(name: str) -> AnyResponse:
    """Look again."""
    services.current().clusters.probe(actor(), name)
    return redirect(url_for("clusters.show", name=name))


@pages.post("/<name>/reconcile")
@login_required
def reconcile(name: str) -> AnyResponse:
    """Bring it in line now."""
    outcome = services.current().reconciler.run(actor(), name)
    if outcome is None:
        flash(_("A worker is at it already."))
    elif outcome.error:
        flash(outcome.error, "danger")
    else:
        flash(_("%(name)s is in line: %(count)d changes.", name=name, count=len(outcome.plan)))
    return redirect(url_for("clusters.show", name=name))


@pages.route("/<name>/remove", methods=["GET", "POST"])
@login_required
def remove(name: str) -> str | AnyResponse | tuple[str, int]:
    """Forget a cluster, after showing what that means."""
    ours = services.current()
    ours.audit.require(actor(), "administrator", scope="write")
    cluster = ours.clusters.get(actor(), name)
    mappings = ours.access.mappings(actor(), name)
    error = ""
    if request.method == "POST":
        try:
            ours.clusters.remove(actor(), name, leave_bindings="leave_bindings" in request.form)
        except Conflict as problem:
            error = translated(problem)
        else:
            flash(_("%(name)s is forgotten.", name=name))
            return redirect(url_for("clusters.index"))
    return render_template("clusters/remove.html", cluster=cluster, mappings=mappings, error=error), 409 if error else 200


def _registration(form: ClusterForm) -> Registration:
    fields = ("name", "title", "access", "kubeconfig", "server", "ca_pem", "token", "signer", "signer_ca_pem", "signer_ca_key")
    return Registration(
        **{field: form[field].data or "" for field in fields},
        default_lifetime_seconds=(form.default_minutes.data or 0) * 60, max_lifetime_seconds=(form.max_minutes.data or 0) * 60,
    )
