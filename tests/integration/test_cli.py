"""The command line: one sentence and exit code 2 for wrong input, JSON for programs."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import yaml
from cryptography.fernet import Fernet
from fixtures.cli import SETTINGS, Iam, assert_one_clear_line, furnish, installed
from fixtures.offline import events, person, request_of
from fixtures.product import PASSWORD, Product, ProductMaker
from sqlalchemy import delete

from iam.models import LocalAccount, db


@pytest.fixture
def iam(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iam:
    return installed(monkeypatch, capsys, tmp_path)


@pytest.fixture
def ready(iam: Iam, make_product: ProductMaker) -> Product:
    """The same database as the command line's."""
    return furnish(make_product(encryption_keys=[iam.key]))


RUNS_A_PROGRAM = {
    "kind": "Config",
    "current-context": "x",
    "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
    "clusters": [{"name": "x", "cluster": {"server": "https://127.0.0.1"}}],
    "users": [{"name": "x", "user": {"exec": {"command": "sh"}}}],
}
WRONG: dict[str, tuple[tuple[str, ...], str]] = {
    "unknown command": (("fly",), "No such command 'fly'"),
    "unknown option": (("people", "list", "--fly"), "No such option"),
    "missing argument": (("people", "disable"), "Missing argument"),
    "a word for a number": (("people", "list", "--page", "x"), "not a valid integer"),
    "nobody": (("people", "disable", "nobody"), "There is no person nobody"),
    "nobody to enable": (("people", "enable", "nobody"), "There is no person nobody"),
    "nobody's kubeconfig": (("kubeconfig", "nobody"), "There is no person nobody"),
    "a request that is not there": (("kubeconfig", "erin", "--csr", "/nowhere.csr"), "cannot be read"),
    "a request that is not one": (("kubeconfig", "erin", "--csr", "{config}"), "csr: This is not a PEM"),
    "too short a lifetime": (("kubeconfig", "erin", "--minutes", "9"), "between 10 and 720 minutes"),
    "no access": (("kubeconfig", "erin", "--cluster", "nope"), "You have no access in the cluster nope"),
    "a reserved name": (("people", "create-admin", "system:masters", "--password-stdin"), "reserved for Kubernetes"),
    "a short password": (("people", "create-admin", "root", "--password-stdin"), "shorter than 10 characters"),
    "an account twice": (("people", "create-admin", "ADA", "--password-stdin"), "There is a local account ada already"),
    "a cluster twice": (("clusters", "add", "prod", "--server", "https://127.0.0.1:1", "--token-file", "{token}"), "called prod already"),
    "a bad cluster name": (("clusters", "add", "Prod", "--server", "https://127.0.0.1:1", "--token-file", "{token}"), "'Prod' is not"),
    "plain http": (("clusters", "add", "p", "--server", "http://127.0.0.1", "--token-file", "{token}"), "should look like https://"),
    "no credential": (("clusters", "add", "p", "--server", "https://127.0.0.1:1"), "There is no token"),
    "no kubeconfig there": (("clusters", "add", "p", "--kubeconfig", "/nowhere"), "--kubeconfig: /nowhere cannot be read"),
    "no kubeconfig": (("clusters", "add", "p", "--kubeconfig", "{page}"), "This is not a kubeconfig"),
    "a kubeconfig that runs programs": (("clusters", "add", "p", "--kubeconfig", "{exec}"), "runs a program"),
    "not in a cluster": (("clusters", "add", "p", "--in-cluster"), "we do not run inside a cluster"),
    "a lifetime too short": (
        ("clusters", "add", "p", "--server", "https://127.0.0.1:1", "--token-file", "{token}", "--default-minutes", "1"),
        "between 10 minutes and the longest",
    ),
    "a cluster that is not there": (("clusters", "probe", "nope"), "There is no cluster nope"),
    "removing one with mappings": (("clusters", "remove", "prod", "--yes"), "prod still has mappings"),
    "reconciling nothing": (("reconcile", "nope"), "There is no cluster nope"),
    "mapping a group of nowhere": (("mappings", "add", "engineers", "prod", "edit"), "should read directory:group"),
    "mapping in no cluster": (("mappings", "add", "local:x", "nope", "edit"), "There is no cluster nope"),
    "mapping twice": (("mappings", "add", "local:engineers", "prod", "edit", "-n", "shop"), "exists already"),
    "a Role in the whole cluster": (("mappings", "add", "local:x", "prod", "Role/edit"), "name at least one"),
    "no mapping": (("mappings", "remove", "nope", "--yes"), "There is no such mapping"),
    "no directory": (("sync", "nope"), "There is no directory nope"),
    "testing no directory": (("directory", "test", "nope", "erin"), "There is no directory nope"),
    "too many events": (("audit", "list", "--limit", "0"), "limit lies between 1 and 1000"),
    "no such revision": (("db", "downgrade", "9999", "--yes"), "9999"),
    "nowhere to write": (("kubeconfig", "erin", "--output", "/nowhere/kubeconfig"), "/nowhere/kubeconfig"),
}


@pytest.mark.parametrize(("arguments", "words"), WRONG.values(), ids=WRONG)
def test_wrong_input_ends_with_a_sentence_and_exit_code_2(
    iam: Iam, ready: Product, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    (tmp_path / "exec.yaml").write_text(yaml.safe_dump(RUNS_A_PROGRAM), "utf-8")
    (tmp_path / "page.html").write_text("<html>", "utf-8")
    (tmp_path / "token").write_text("token", "utf-8")
    places = {"config": iam.config, "exec": tmp_path / "exec.yaml", "page": tmp_path / "page.html", "token": tmp_path / "token"}
    before = len(events(ready, result="done"))
    said = iam(*(argument.format(**places) for argument in arguments), stdin=PASSWORD[:9] if "root" in arguments else PASSWORD)
    assert_one_clear_line(said, words)
    assert len(events(ready, result="done")) == before


class TestAnswers:
    def test_json_is_json_for_every_listing(self, iam: Iam, ready: Product) -> None:
        for command in ("people list", "clusters list", "mappings list", "audit list", "directory list", "reconcile --dry-run", "sync"):
            said = iam("--json", *command.split())
            assert said.code == 0, command
            assert isinstance(said.json, list)
            assert said.json, command

    def test_the_first_administrator_is_made_by_hand(self, iam: Iam, ready: Product) -> None:
        said = iam("--json", "people", "create-admin", "Root", "--name", "Root", "--password-stdin", stdin=PASSWORD + "\n")
        assert (said.code, said.json["directory"]) == (0, "local")
        assert ready.logged_in("root").get("/clusters").status_code == 200
        assert PASSWORD not in said.out + said.err

    def test_somebody_is_shut_out_and_let_in(self, iam: Iam, ready: Product) -> None:
        browser = ready.logged_in("erin")
        assert iam("people", "disable", "erin").code == 0
        assert browser.get("/").status_code == 302
        assert iam("people", "enable", "erin").code == 0
        assert not person(ready, "erin").is_disabled

    def test_a_mapping_is_previewed_saved_and_removed(self, iam: Iam, ready: Product) -> None:
        preview = iam("--json", "mappings", "add", "local:engineers", "prod", "view", "--dry-run").json
        assert (preview["id"], preview["gaining"]) == (None, ["erin"])
        saved = iam("--json", "mappings", "add", "local:engineers", "prod", "view").json
        assert saved["id"] in {row["id"] for row in iam("--json", "mappings", "list").json}
        assert iam("--json", "mappings", "remove", saved["id"], "--dry-run").json["losing"] == ["erin"]
        assert iam("mappings", "remove", saved["id"], "--yes").code == 0
        assert len(iam("--json", "mappings", "list").json) == 1

    @pytest.mark.parametrize("exists", [False, True])
    def test_a_kubeconfig_is_written_for_its_owner_only(self, iam: Iam, ready: Product, tmp_path: Path, exists: bool) -> None:
        path = tmp_path / "erin.yaml"
        if exists:
            path.touch()
            path.chmod(0o644)
        assert iam("kubeconfig", "erin", "--output", str(path)).code == 0
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert yaml.safe_load(path.read_text("utf-8"))["current-context"] == "erin@prod"

    def test_a_kubeconfig_for_an_own_request_holds_no_key(self, iam: Iam, ready: Product, tmp_path: Path) -> None:
        (tmp_path / "erin.csr").write_bytes(request_of("erin"))
        (user,) = yaml.safe_load(iam("kubeconfig", "erin", "--csr", str(tmp_path / "erin.csr")).out)["users"]
        assert user["user"].keys() == {"client-certificate-data"}

    def test_a_sync_that_stopped_is_a_failure_until_removals_are_accepted(self, iam: Iam, ready: Product) -> None:
        iam.config.write_text(iam.config.read_text("utf-8") + "\n[sync]\nmax_removed_floor = 0\n", "utf-8")
        with ready.app.app_context():
            db.session.execute(delete(LocalAccount).where(LocalAccount.username == "erin"))
            db.session.commit()
        assert_one_clear_line(iam("sync"), "iam sync --accept-removals local")
        assert not person(ready, "erin").is_disabled
        assert iam("sync", "--accept-removals", "local").code == 0
        assert person(ready, "erin").is_disabled

    def test_secrets_are_sealed_again_under_a_new_key(self, iam: Iam, ready: Product) -> None:
        old, iam.key = iam.key, Fernet.generate_key().decode()
        iam.configure(SETTINGS.replace('["{key}"]', f'["{{key}}", "{old}"]'))
        assert iam("--json", "rotate-keys").json == {"rotated": 1}
        iam.configure()
        assert iam("kubeconfig", "erin").code == 0
        assert iam("--json", "rotate-keys").json == {"rotated": 0}

    def test_help_is_there_for_every_command(self, iam: Iam) -> None:
        top = iam("--help")
        assert top.code == 0
        commands = [line.split()[0] for line in top.out.split("Commands:")[1].splitlines() if line.startswith("  ") and line[2] != " "]
        assert {"serve", "worker", "db", "config", "people", "clusters", "mappings", "sync", "reconcile", "audit"} <= set(commands)
        for command in commands:
            assert iam(command, "--help").code == 0
