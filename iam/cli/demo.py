"""``iam demo``: everything at once on one machine, for trying out. Ctrl-C stops all of it; the data stays."""

from __future__ import annotations

import base64
import os
import secrets
import signal
import subprocess
import sys
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import click
import yaml
from cryptography.fernet import Fernet
from rich.console import Console
from rich.table import Table

from iam import log, schema, services, settings
from iam.app import create_app, utc_now
from iam.cli import demo_requests
from iam.cli.serve import refuse_taken
from iam.clusters.client import ApiServer
from iam.clusters.throwaway import ControlPlane, assets, missing
from iam.errors import Conflict, Invalid
from iam.kube.bindings import plan
from iam.kube.certificates import new_ca
from iam.kube.kubeconfig import read as read_kubeconfig
from iam.services import Services
from iam.services.access import NewMapping
from iam.services.base import Actor, operator
from iam.services.clusters import Registration
from iam.settings import CONFIG_VARIABLE

PASSWORD = "kube-iam-demo"  # noqa: S105  # printed on the screen, good for loopback only
CLUSTER = "demo"
NAMESPACES = ("shop", "shop-staging")
PEOPLE = (
    ("erin", "Erin Engel", "engineers", "an engineer"),
    ("lee", "Lee Lindqvist", "leads", "a team lead, and approver"),
    ("ada", "Ada Adeyemi", "administrators", "an administrator of kube-iam"),
    ("aude", "Aude Aubert", "auditors", "an auditor: sees everything, changes nothing"),
    ("nico", "Nico Neumann", "", "a newcomer without access"),
)
MAPPINGS = (
    NewMapping("local:engineers", CLUSTER, "ClusterRole", "edit", ("shop",), note="Engineers work in shop."),
    NewMapping("local:leads", CLUSTER, "ClusterRole", "admin", NAMESPACES, note="Team leads run shop and its staging."),
    NewMapping("local:administrators", CLUSTER, "ClusterRole", "cluster-admin", note="The platform team."),
)
MAPPINGS_ON_YOUR_CLUSTER = (
    NewMapping("local:engineers", CLUSTER, "ClusterRole", "view", ("default",), note="Engineers look at default."),
    NewMapping("local:leads", CLUSTER, "ClusterRole", "edit", ("default",), note="Team leads work in default."),
    NewMapping("local:administrators", CLUSTER, "ClusterRole", "view", note="The platform team looks everywhere."),
)
"""Nothing that a password everybody knows should open on a cluster that matters."""
_SETTINGS = """\
# Made by `iam demo`; delete this folder to start afresh.
database_url = "sqlite:///{database}"
secret_key = "{secret_key}"
encryption_keys = ["{encryption_key}"]
instance = "demo"

[roles]
approver = ["local:leads"]
administrator = ["local:administrators"]
auditor = ["local:auditors"]

[[directories]]
kind = "local"
name = "local"
title = "Demo people"
username_prefix = "{prefix}"

[[audit.anchors]]
kind = "file"
name = "beside"
path = "{folder}/audit-heads.jsonl"

[[audit.forward]]
kind = "file"
name = "lines"
path = "{folder}/audit.jsonl"
"""


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), help="Where everything is kept; else .run, or .run/own for KUBECONFIG.")
@click.option("--port", default=8000, show_default=True)
def demo(folder: Path | None, port: int) -> None:
    """Try everything: a database, five people, a cluster, sample mappings."""
    refuse_taken("127.0.0.1", port)
    folder = (folder or Path(".run/own" if on_own_cluster() else ".run")).resolve()
    os.environ[CONFIG_VARIABLE] = str(_settings_file(folder))
    os.environ["KUBE_IAM_SERVER__PORT"] = str(port)
    os.environ["KUBE_IAM_SERVER__PUBLIC_URL"] = f"http://127.0.0.1:{port}"
    with ExitStack() as stack:
        registration, about = _cluster(folder, stack)
        password = _password(folder)
        _seed(registration, password)
        _introduce(port, about, password)
        _serve_until_stopped()
        if on_own_cluster():
            _take_bindings_off()


def on_own_cluster() -> bool:
    """Whether a cluster that matters was named; then names get a prefix, passwords are random, and bindings go at the end."""
    return bool(os.environ.get("KUBECONFIG"))


def _take_bindings_off() -> None:
    app = create_app(settings.load())
    with app.app_context():
        ours, actor = services.current(), operator("demo")
        store = ours.clusters.connection(ours.clusters.get(actor, CLUSTER)).bindings
        applied = store.apply(plan({}, dict(store.owned())))
    click.echo(f"{applied.changed} bindings taken off your cluster.")


def _password(folder: Path) -> str:
    path = folder / "password"
    if on_own_cluster() and not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(12), "utf-8")
    return path.read_text("utf-8") if path.exists() else PASSWORD


def _serve_until_stopped() -> None:
    server = subprocess.Popen([sys.executable, "-m", "iam", "serve"], start_new_session=True)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: server.terminate())
    server.wait()
    click.echo("Stopped.")


def _settings_file(folder: Path) -> Path:
    path = folder / "kube-iam.toml"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(
            _SETTINGS.format(
                database=folder / "kube-iam.db", secret_key=secrets.token_urlsafe(48), encryption_key=Fernet.generate_key().decode(),
                prefix="demo:" if on_own_cluster() else "", folder=folder.absolute(),
            ),
            "utf-8",
        )
    return path


def _cluster(folder: Path, stack: ExitStack) -> tuple[Registration, str]:
    """The cluster to show: KUBECONFIG's, else a throwaway one, else one that is not there."""
    named = os.environ.get("KUBECONFIG")
    if named:
        return Registration(CLUSTER, "Your cluster", kubeconfig=inlined(Path(named))), f"the cluster of KUBECONFIG={named}"
    if not missing():
        click.echo("Starting a throwaway control plane ...")
        plane = stack.enter_context(ControlPlane(folder / "control-plane"))
        kubeconfig = plane.kubeconfig()
        api = ApiServer(read_kubeconfig(kubeconfig))
        for namespace in NAMESPACES:
            try:
                api.post("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
            except Conflict:
                continue  # from the last start
        return Registration(CLUSTER, "Throwaway control plane", kubeconfig=kubeconfig), f"a throwaway control plane at {plane.server}"
    certificate, key = (part.decode() for part in new_ca("kube-iam demo", utc_now(), timedelta(days=30)))
    offline = Registration(
        CLUSTER, "Offline cluster", access="offline", server="https://cluster.invalid:6443", ca_pem=certificate, signer="ca",
        signer_ca_pem=certificate, signer_ca_key=key,
    )
    return offline, f"offline (no {', '.join(missing())} in {assets()}): bindings are shown as YAML, certificates come from a throwaway CA"


def inlined(path: Path) -> str:
    """An administrator's own kubeconfig with the files it names read into it. Raises Invalid."""
    try:
        document = yaml.safe_load(path.read_text("utf-8"))
        sections = [item["cluster"] for item in document["clusters"]] + [item["user"] for item in document["users"]]
        for section in sections:
            for key in ("certificate-authority", "client-certificate", "client-key"):
                if section.get(key):
                    content = (path.parent / section.pop(key)).read_bytes()
                    section[f"{key}-data"] = base64.b64encode(content).decode()
    except (OSError, yaml.YAMLError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise Invalid("%(path)s is not a usable kubeconfig: %(why)s", field="KUBECONFIG", path=str(path), why=str(error)) from None
    return yaml.safe_dump(document)


def _seed(registration: Registration, password: str) -> None:
    app = create_app(settings.load(), check_schema=False)
    log.configure("warning", json=False)
    schema.bring_up(app)
    with app.app_context():
        ours, actor = services.current(), operator("demo")
        if not ours.accounts.exist():
            for username, name, groups, _about in PEOPLE:
                ours.accounts.create(
                    actor, username=username, password=password, display_name=name, email=f"{username}@example.org",
                    groups=frozenset(filter(None, [groups])), manager=demo_requests.LEADS.get(username, ""),
                )
                visitor = Actor(name="demo", door="cli")
                ours.logins.with_password(visitor, "local", username, password)  # so that everybody is known, and can be asked
        _seed_cluster(ours, actor, registration)


def _seed_cluster(ours: Services, actor: Actor, registration: Registration) -> None:
    if any(cluster.name == CLUSTER for cluster in ours.clusters.list(actor)):
        if registration.access != "offline":
            ours.clusters.renew(actor, registration)
        return
    ours.clusters.register(actor, registration)
    for mapping in sample_mappings():
        ours.access.create(actor, mapping)
    if not on_own_cluster():
        demo_requests.seed(ours, actor)


def sample_mappings() -> tuple[NewMapping, ...]:
    """What the sample groups hold, by whose cluster it is."""
    return MAPPINGS_ON_YOUR_CLUSTER if on_own_cluster() else MAPPINGS


def _introduce(port: int, about: str, password: str) -> None:
    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("log in as", "password", "who"):
        table.add_column(column)
    for username, _name, _groups, words in PEOPLE:
        table.add_row(username, password, words)
    console.print(f"\n[bold]kube-iam[/bold] is at http://127.0.0.1:{port}")
    console.print(f"Cluster: {about}\n")
    console.print(table)
    console.print()
    for mapping in sample_mappings():
        console.print(f"{mapping.group} -> {mapping.role_name} in {', '.join(mapping.namespaces) or 'the whole cluster'}")
    console.print("\nCtrl-C stops everything; the next start keeps the data.\n")
