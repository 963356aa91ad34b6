"""Logs that machines can read, without secrets; and errors that people can read."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from iam import errors, log

SECRET = "hunter2-recognisable"


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Give back the root logger and structlog as a test found them."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return [json.loads(line) for line in captured.err.splitlines()]


def test_an_event_is_one_json_object_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(json=True)
    log.get("iam.example").info("cluster answered", cluster="prod", seconds=0.5, who="王\nx")
    (line,) = lines(capsys)
    assert (line["event"], line["level"], line["logger"]) == ("cluster answered", "info", "iam.example")
    assert (line["cluster"], line["seconds"], line["who"]) == ("prod", 0.5, "王\nx")
    assert line["timestamp"].endswith("Z")


def test_libraries_log_in_the_same_format(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(json=True)
    logging.getLogger("some.library").warning("slow: %s", "ldap")
    (line,) = lines(capsys)
    assert (line["event"], line["level"], line["logger"]) == ("slow: ldap", "warning", "some.library")


def test_the_request_id_is_on_every_line_of_the_request(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(json=True)
    with structlog.contextvars.bound_contextvars(request_id="r-1"):
        log.get("iam.example").info("ours")
        logging.getLogger("some.library").warning("theirs")
    log.get("iam.example").info("afterwards")
    assert [line.get("request_id") for line in lines(capsys)] == ["r-1", "r-1", None]


@pytest.mark.parametrize(
    "name",
    [
        "password", "bind_password", "Password", "NEW_PASSWORD", "secret", "client_secret", "secret_key",
        "token", "access_token", "authorization", "cookie", "set_cookie", "private_key", "kubeconfig",
        "credential",
    ],
)
@pytest.mark.parametrize("as_json", [True, False], ids=["json", "console"])
def test_a_value_whose_name_says_secret_is_blanked(
    capsys: pytest.CaptureFixture[str], name: str, as_json: bool
) -> None:
    log.configure(json=as_json)
    log.get("iam.example").warning("login", account="alice", **{name: SECRET})
    shown = capsys.readouterr().err
    assert SECRET not in shown
    assert log.REDACTED in shown
    assert "alice" in shown


def test_secrets_bound_earlier_or_in_the_context_are_blanked_too(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(json=True)
    with structlog.contextvars.bound_contextvars(session_cookie=SECRET):
        log.get("iam.example").bind(token=SECRET).info("login")
    (line,) = lines(capsys)
    assert line["session_cookie"] == line["token"] == log.REDACTED


def test_an_exception_is_one_line_with_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(json=True)
    try:
        json.loads("{")
    except ValueError:
        log.get("iam.example").exception("sync failed")
    (line,) = lines(capsys)
    assert line["level"] == "error"
    assert "JSONDecodeError: Expecting property name" in line["exception"]


def test_values_that_json_does_not_know_still_make_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(json=True)
    log.get("iam.example").info("odd", raw=b"\xff", group=frozenset({"a"}))
    (line,) = lines(capsys)
    assert line["event"] == "odd"


@pytest.mark.parametrize(
    ("level", "kept"),
    [("debug", ["d", "i", "w", "e"]), ("info", ["i", "w", "e"]), ("warning", ["w", "e"]), ("error", ["e"])],
)
def test_what_is_below_the_level_is_left_out(
    capsys: pytest.CaptureFixture[str], level: str, kept: list[str]
) -> None:
    log.configure(level, json=True)
    logger = log.get("iam.example")
    logger.debug("d")
    logger.info("i")
    logger.warning("w")
    logger.error("e")
    assert [line["event"] for line in lines(capsys)] == kept


def test_configuring_twice_does_not_log_twice(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(json=True)
    log.configure(json=True)
    log.get("iam.example").info("once")
    assert len(lines(capsys)) == 1


def test_without_a_terminal_the_log_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure()
    log.get("iam.example").info("plain")
    assert lines(capsys)[0]["event"] == "plain"


PROBLEMS: list[tuple[type[errors.Problem], str, int]] = [
    (errors.Invalid, "invalid", 422),
    (errors.Unauthenticated, "unauthenticated", 401),
    (errors.Forbidden, "forbidden", 403),
    (errors.NotFound, "not-found", 404),
    (errors.Conflict, "conflict", 409),
    (errors.Unavailable, "unavailable", 503),
]


@pytest.mark.parametrize(("problem", "kind", "status"), PROBLEMS)
def test_a_problem_says_what_it_is_in_a_stable_word_and_status(
    problem: type[errors.Problem], kind: str, status: int
) -> None:
    raised = problem("%(what)s is wrong.", field="name", what="100 %")
    assert (raised.kind, raised.status, raised.field) == (kind, status, "name")
    assert str(raised) == "100 % is wrong."
    assert (raised.message, raised.params) == ("%(what)s is wrong.", {"what": "100 %"})
    assert raised.title


def test_a_message_without_parameters_may_have_a_percent_sign() -> None:
    assert str(errors.Invalid("100 % is too much.")) == "100 % is too much."


def test_too_many_attempts_say_when_to_come_back() -> None:
    refused = errors.TooMany("Try again in %(retry_after)s s.", retry_after=30)
    assert (str(refused), refused.retry_after, refused.status) == ("Try again in 30 s.", 30, 429)


def test_every_mistake_of_the_settings_is_a_line() -> None:
    found = errors.Misconfigured(["a: is required", "b: is wrong"])
    assert str(found).splitlines() == found.mistakes == ["a: is required", "b: is wrong"]
