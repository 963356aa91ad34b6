"""The wheel in an environment of its own, away from the checkout: templates, migrations and static files are inside."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin
from zipfile import ZipFile

import pytest
import requests
from cryptography.fernet import Fernet
from fixtures.product import PASSWORD
from rigs.processes import ChildProcess, accepts_connections, free_port

CHECKOUT = Path(__file__).parents[2]
SETTINGS = """\
database_url = "sqlite:///{folder}/kube-iam.db"
secret_key = "{secret}"
encryption_keys = ["{key}"]
roles.administrator = ["local:administrators"]
server.workers = 1

[[directories]]
kind = "local"
name = "local"
"""


@dataclass(frozen=True)
class Installed:
    """An environment with nothing of ours but the wheel."""

    folder: Path
    wheel: Path

    @property
    def bin(self) -> Path:
        return self.folder / "environment/bin"

    @property
    def config(self) -> Path:
        return self.folder / "kube-iam.toml"

    def run(self, *command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.bin / command[0], *command[1:]], cwd=self.folder, input=stdin, capture_output=True, text=True, timeout=60, check=False,
            env={"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "KUBE_IAM_CONFIG": str(self.config)},
        )


def run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", folder, CHECKOUT)
    (wheel,) = folder.glob("*.whl")
    run(sys.executable, "-m", "venv", "--without-pip", folder / "environment")
    run(*pip, "--python", folder / "environment/bin/python", "install", "--no-deps", "--no-index", wheel)
    (site,) = (folder / "environment/lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"), "utf-8")  # a plain path: no .pth file there is read
    made = Installed(folder, wheel)
    made.config.write_text(SETTINGS.format(folder=folder, secret="k" * 40, key=Fernet.generate_key().decode()), "utf-8")
    return made


@pytest.fixture(scope="module")
def served(installed: Installed) -> Iterator[str]:
    """The address of a running service with one administrator."""
    assert installed.run("iam", "db", "upgrade").returncode == 0
    assert installed.run("iam", "people", "create-admin", "root", "--password-stdin", stdin=PASSWORD + "\n").returncode == 0
    port = free_port()
    process = ChildProcess(
        [installed.bin / "iam", "--config", installed.config, "serve", "--port", str(port)], log=installed.folder / "serve.log",
        env={"PYTHONPATH": "", "HOME": str(installed.folder)}, death_signal="TERM",
    )
    process.start(lambda: accepts_connections(port))
    family = [process.pid, *children(process.pid)]
    yield f"http://127.0.0.1:{port}"
    process.stop(grace=15)
    assert not accepts_connections(port)
    assert [pid for pid in family if pid and Path(f"/proc/{pid}/cmdline").exists()] == [], "the worker ends with the service"


def children(pid: int | None) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("utf-8").split()]


def test_it_carries_what_runs_and_nothing_else(installed: Installed) -> None:
    names = ZipFile(installed.wheel).namelist()
    for folder in ("templates", "migrations"):
        wanted = {f"iam/_data/{folder}/{path.relative_to(CHECKOUT / folder)}" for path in (CHECKOUT / folder).rglob("*")
                  if path.is_file() and path.suffix != ".pyc"}  # fmt: skip
        assert wanted <= set(names)
    for path in (CHECKOUT / "iam").rglob("*"):
        if path.is_file() and path.suffix != ".pyc":
            assert str(path.relative_to(CHECKOUT)) in names
    assert any(name.endswith("LICENSE") for name in names)
    assert [name for name in names if name.split("/")[0] not in {"iam", installed.wheel.name.split("-py3")[0] + ".dist-info"}] == []
    assert [name for name in names if name.endswith((".pyc", ".db", ".toml.local")) or "/tests/" in name] == []


def test_the_package_is_the_installed_one(installed: Installed) -> None:
    said = installed.run("python", "-c", "import iam; print(iam.__file__)")
    assert said.stdout.startswith(str(installed.folder))


def test_help_and_version(installed: Installed) -> None:
    assert "config" in installed.run("iam", "--help").stdout
    assert re.match(r"iam, version \d", installed.run("iam", "--version").stdout)
    assert "secret_key" in installed.run("iam", "config", "example").stdout


def test_every_page_part_is_served(installed: Installed, served: str) -> None:
    page = requests.get(f"{served}/login", timeout=10)
    assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    parts = re.findall(r'<(?:link|script|img)[^>]+(?:href|src)="([^"]+)"', page.text)
    kinds = {requests.get(urljoin(served, part), timeout=10).headers["Content-Type"].split(";")[0] for part in parts}
    assert all(requests.get(urljoin(served, part), timeout=10).ok for part in parts)
    assert {"text/css", "image/svg+xml"} <= kinds
    assert kinds & {"text/javascript", "application/javascript"}
    assert all(part.startswith("/") and not part.startswith("//") for part in parts), "nothing comes from elsewhere"


def test_the_administrator_logs_in_and_the_machines_are_content(installed: Installed, served: str) -> None:
    with requests.Session() as browser:
        token = re.search(r'name="csrf_token" value="([^"]+)"', browser.get(f"{served}/login", timeout=10).text)
        assert token
        form = {"csrf_token": token[1], "directory": "local", "username": "root", "password": PASSWORD}
        assert browser.post(f"{served}/login", data=form, timeout=10, allow_redirects=False).status_code == 302
        for path in ("/", "/clusters", "/status", "/audit"):
            assert browser.get(served + path, timeout=10, allow_redirects=False).status_code == 200, path
    for path in ("/healthz", "/readyz", "/metrics", "/api/v1/openapi.json"):
        assert requests.get(served + path, timeout=10).status_code == 200, path
    assert requests.get(f"{served}/nope", timeout=10).status_code == 404


def test_config_check_is_content_when_the_schema_is_there(installed: Installed, served: str) -> None:
    said = installed.run("iam", "config", "check")
    assert said.returncode == 0, said.stderr
    assert "all is well" in said.stdout


def test_before_the_schema_is_there_it_says_which_command_to_run(installed: Installed, tmp_path: Path) -> None:
    fresh = installed.config.read_text("utf-8").replace(str(installed.folder), str(tmp_path))
    (tmp_path / "fresh.toml").write_text(fresh, "utf-8")
    for command in (("config", "check"), ("serve",)):
        said = installed.run("iam", "--config", str(tmp_path / "fresh.toml"), *command)
        assert said.returncode == 2
        assert "run `iam db upgrade`" in said.stderr
        assert "Traceback" not in said.stderr
