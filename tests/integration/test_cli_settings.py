"""Settings and databases that do not work: every mistake at once, one line each, and the command that mends it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fixtures.cli import Iam, assert_one_clear_line, furnish, installed
from fixtures.product import Product, ProductMaker
from rigs.processes import free_port


@pytest.fixture
def iam(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iam:
    return installed(monkeypatch, capsys, tmp_path)


@pytest.fixture
def ready(iam: Iam, make_product: ProductMaker) -> Product:
    """The same database as the command line's."""
    return furnish(make_product(encryption_keys=[iam.key]))


class TestSettings:
    BAD = """\
database_url = "sqlite:///{folder}/test.db"
secret_key = "short"
encryption_keys = ["{key}", "not a key"]
colour = "red"

[server]
port = 70000

[sessions]
idle_minutes = "soon"

[roles]
auditor = ["nowhere:auditors"]

[[directories]]
kind = "ldap"
name = "corp"
servers = ["ldap://127.0.0.1"]
start_tls = false
"""

    def test_config_check_names_every_mistake_at_once_and_no_secret(self, iam: Iam) -> None:
        iam.configure(self.BAD)
        said = iam("config", "check")
        assert said.code == 2
        lines = [line for line in said.err.splitlines() if line.startswith("Error: ")]
        for part in ("secret_key", "encryption_keys", "colour", "server.port", "sessions.idle_minutes", "servers", "user_base"):
            assert any(part in line for line in lines), part
        assert "short" not in said.err.replace("shorter", "")
        assert iam.key not in said.err

    def test_config_check_tries_what_is_configured_and_names_all_that_does_not_answer(self, iam: Iam, ready: Product) -> None:
        gone = free_port()
        iam.config.write_text(
            iam.config.read_text("utf-8") + '\n[[directories]]\nkind = "ldap"\nname = "corp"\nusername_prefix = "c-"\nuser_base = "dc=x"\n'
            f'group_base = "dc=x"\nservers = ["ldaps://127.0.0.1:{gone}"]\n', "utf-8",
        )
        (iam.config.parent / "token").write_text("token", "utf-8")
        iam("clusters", "add", "away", "--server", f"https://127.0.0.1:{gone}", "--token-file", str(iam.config.parent / "token"))
        said = iam("config", "check")
        assert said.code == 2
        assert {line.split(":")[1].strip() for line in said.err.splitlines() if line.startswith("Error: ")} == {
            "directory corp", "cluster away",
        }

    def test_config_check_is_content_with_what_works(self, iam: Iam, ready: Product) -> None:
        said = iam("--json", "config", "check")
        assert (said.code, {row["result"] for row in said.json}) == (0, {"ok"})

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda path: path.unlink(),
            lambda path: path.write_bytes(b"\xff\xfe"),
            lambda path: path.write_text("x = ["),
            lambda path: path.write_text(path.read_text().replace("sqlite:///", "nonsense")),
            lambda path: path.write_text(path.read_text().replace("sqlite:///", "mysql://127.0.0.1/")),
        ],
        ids=["no file", "binary", "not TOML", "no database URL", "an unknown database"],
    )
    @pytest.mark.parametrize("command", [("config", "check"), ("people", "list"), ("db", "upgrade")])
    def test_settings_that_cannot_be_read_are_one_line(self, iam: Iam, spoil: Callable[[Path], object], command: tuple[str, ...]) -> None:
        spoil(iam.config)
        said = iam(*command)
        assert said.code == 2
        assert said.err.startswith("Error: ")

    def test_new_keys_make_the_annotated_example_work(self, iam: Iam, tmp_path: Path) -> None:
        example = iam("config", "example").out
        assert [line for line in example.splitlines() if line.startswith("secret_key")]
        keys = iam("config", "new-key").out
        iam.config.write_text(keys + f'database_url = "sqlite:///{tmp_path}/fresh.db"\n', "utf-8")
        assert iam("config", "check", "--offline").code == 0


class TestDatabase:
    @pytest.mark.parametrize("command", ["people list", "serve", "worker", "clusters list", "db check", "config check"])
    def test_a_stale_schema_says_which_command_to_run(self, iam: Iam, command: str) -> None:
        assert_one_clear_line(iam(*command.split()), "run `iam db upgrade`")

    def test_upgrade_mends_it_and_may_be_run_twice(self, iam: Iam) -> None:
        for _ in range(2):
            assert iam("db", "upgrade").code == 0
        assert iam("db", "check").code == 0
        assert iam("--json", "people", "list").json == []

    @pytest.mark.parametrize("command", [("db", "upgrade"), ("db", "downgrade", "--yes"), ("db", "check"), ("people", "list")])
    @pytest.mark.parametrize("url", ["sqlite:////nowhere/at/all.db", "postgresql+psycopg://127.0.0.1:1/x"], ids=["SQLite", "PostgreSQL"])
    def test_a_database_that_cannot_be_reached_is_one_line(self, iam: Iam, url: str, command: tuple[str, ...]) -> None:
        iam.config.write_text(iam.config.read_text("utf-8").replace(f"sqlite:///{iam.config.parent}/test.db", url), "utf-8")
        assert_one_clear_line(iam(*command), "database")
