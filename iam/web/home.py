"""The home page: what I may do, and the download that makes kubectl work."""

from __future__ import annotations

from itertools import groupby

from flask import Blueprint, Response, render_template, request
from flask_babel import gettext as _
from flask_wtf import FlaskForm
from flask_wtf.file import FileField
from werkzeug.wrappers import Response as AnyResponse
from wtforms import IntegerField, StringField
from wtforms.validators import Optional

from iam import services
from iam.errors import Invalid, Problem
from iam.kube.certificates import MAX_REQUEST_BYTES
from iam.models import Cluster, Person
from iam.services.clusters import NONE
from iam.services.credentials import Ask
from iam.services.holdings import Holding
from iam.web.language import translated
from iam.web.visitors import actor, login_required

pages = Blueprint("home", __name__, static_folder="static", static_url_path="/static")
ALL = "all"


class DownloadForm(FlaskForm):  # type: ignore[misc]  # Flask-WTF ships no types
    """How long, and whose key."""

    minutes = IntegerField(validators=[Optional()])
    key = StringField(default="ours")
    csr = FileField()
    key_path = StringField()


@pages.get("/")
@login_required
def index() -> str:
    """My access, cluster by cluster."""
    return render_template(
        "home/index.html", access=_by_cluster(), credentials=services.current().credentials.own(actor()), person=_me(), NONE=NONE
    )


@pages.get("/kubeconfig/<cluster>")
@login_required
def download_page(cluster: str) -> str:
    """One cluster, or ``all``."""
    return _download_page(cluster, DownloadForm(formdata=None))


@pages.post("/kubeconfig/<cluster>")
@login_required
def download(cluster: str) -> AnyResponse | tuple[str, int]:
    """The file itself. Sent once, kept nowhere."""
    form = DownloadForm()
    try:
        if not form.validate_on_submit():
            raise Invalid("The lifetime is a whole number of minutes.", field="minutes")
        handed = services.current().credentials.issue(actor(), _ask(cluster, form))
    except Problem as problem:
        return _download_page(cluster, form, translated(problem)), problem.status
    answer = Response(handed.kubeconfig, mimetype="application/yaml")
    answer.headers["Content-Disposition"] = f'attachment; filename="kubeconfig-{cluster}.yaml"'
    return answer


def _ask(cluster: str, form: DownloadForm) -> Ask:
    csr = b""
    if form.key.data == "theirs":
        csr = form.csr.data.read(MAX_REQUEST_BYTES + 1) if form.csr.data else b""
        if not csr:
            raise Invalid("Choose the file with your signing request.", field="csr")
    return Ask(
        clusters=() if cluster == ALL else (cluster,),
        lifetime_seconds=form.minutes.data * 60 if form.minutes.data is not None else None,
        csr_pem=csr, key_path=(form.key_path.data or "").strip() if csr else "",
    )


def _download_page(cluster: str, form: DownloadForm, error: str = "") -> str:
    access = _by_cluster()
    chosen = [found for found, _holdings in access if cluster in {ALL, found.name} and found.signer != NONE]
    title = _("All clusters") if cluster == ALL else chosen[0].label if chosen else cluster
    return render_template(
        "home/download.html", form=form, error=error, name=cluster, title=title, clusters=chosen, person=_me(),
        longest=min((found.max_lifetime_seconds for found in chosen), default=0) // 60,
        usual=min((found.default_lifetime_seconds for found in chosen), default=0) // 60,
        filename=f"kubeconfig-{cluster}.yaml", retry=request.method == "POST",
    )


def _me() -> Person:
    return services.current().people.get(actor(), actor().person_id)


def _by_cluster() -> list[tuple[Cluster, list[Holding]]]:
    holdings = services.current().holdings.of(_me())
    return [(found[0].cluster, found) for _name, group in groupby(holdings, key=lambda one: one.cluster.name) if (found := list(group))]
