"""A pytest plugin that says which real parts a run has used, and everything it skipped.

A part counts as used by a test that ran and asked for its fixture, or that starts a rig of its own and says
so with `@pytest.mark.real_part("slapd")`. RigMissing, raised anywhere in a test, skips it. With
pytest-xdist the counts come home with the reports, as user properties.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module

import pytest

from .processes import RigMissing, find_binary, first_line

_PROPERTY = "real part"
_SAID = "said"
"""``record_property("said", ...)``: a line for the summary, such as the seed of a run."""
_UNINSTALLED = "not installed"


@dataclass(frozen=True)
class Part:
    """A real part: the fixture that stands for it, its name in the report, and how to learn its version."""

    fixture: str
    title: str
    version: Callable[[], str]


def _rig(module: str) -> Callable[[], str]:
    def version() -> str:
        return str(import_module(f".{module}", __package__).version())

    return version


def _program(name: str, *arguments: str) -> Callable[[], str]:
    def version() -> str:
        folder = os.environ.get("KUBEBUILDER_ASSETS") or "/usr/local/kubebuilder/bin"
        return first_line([find_binary(name, folder), *arguments])

    return version


PARTS = [
    Part("slapd", "slapd", _rig("slapd")),
    Part("openid_provider", "OpenID Provider", _rig("openid_provider")),
    Part("postgres", "PostgreSQL", _rig("postgres")),
    Part("syslog_server", "rsyslog", _rig("syslog_server")),
    Part("control_plane", "control plane", _program("kube-apiserver", "--version")),
    Part("kubectl", "kubectl", _program("kubectl", "version", "--client")),
    Part("chromium", "Chromium", _rig("chromium")),
]


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers", "real_part(fixture): the test starts this part itself, without the fixture"
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None]:
    """Skip a test whose fixture finds its part missing."""
    with _skip_if_missing():
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None]:
    """Skip a test that finds a part missing."""
    with _skip_if_missing():
        yield


@contextmanager
def _skip_if_missing() -> Generator[None]:
    try:
        yield
    except RigMissing as missing:
        pytest.skip(str(missing))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Note with each test which real parts it asks for."""
    for item in items:
        marked = {str(name) for marker in item.iter_markers("real_part") for name in marker.args}
        wanted = marked | set(getattr(item, "fixturenames", ()))
        item.user_properties.extend((_PROPERTY, part.fixture) for part in PARTS if part.fixture in wanted)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many tests used each real part, its version, and each skip with its reason."""
    stats = terminalreporter.stats
    reports = [*stats.get("passed", []), *stats.get("failed", [])]
    used = _values(_PROPERTY, reports)
    terminalreporter.section("Real parts")
    for part in PARTS:
        terminalreporter.write_line(f"{part.title:<16}{_tests(used[part.fixture]):>12}   {_version(part)}")
    for line in sorted(_values(_SAID, reports)):
        terminalreporter.write_line(line)
    skips = _by_reason(stats.get("skipped", []))
    terminalreporter.write_line(f"{'skipped':<16}{_tests(sum(map(len, skips.values()))):>12}")
    for reason, tests in sorted(skips.items()):
        terminalreporter.write_line(f"  {reason}")
        for test in tests:
            terminalreporter.write_line(f"    {test}")


def _values(wanted: str, reports: Iterable[object]) -> Counter[str]:
    return Counter(
        value
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "call"
        for name, value in set(report.user_properties)
        if name == wanted and isinstance(value, str)
    )


def _by_reason(reports: Iterable[object]) -> dict[str, list[str]]:
    skips: dict[str, list[str]] = defaultdict(list)
    for report in reports:
        if isinstance(report, pytest.TestReport | pytest.CollectReport):
            skips[_reason(report)].append(report.nodeid)
    return skips


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Pytest keeps a skip as (file, line, "Skipped: why")."""
    why = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    return str(why).removeprefix("Skipped: ")


def _version(part: Part) -> str:
    try:
        return part.version()
    except RigMissing as missing:
        return f"{_UNINSTALLED}: {missing}"
    except ImportError as missing:
        return f"{_UNINSTALLED}: {missing.name}"


def _tests(number: int) -> str:
    return f"{number} test{'' if number == 1 else 's'}"
