"""Which language a page speaks: the cookie, else what the browser asks for, else the settings."""

from __future__ import annotations

from flask import request
from flask_babel import gettext

from iam import services
from iam.errors import Problem, Sentence

LANGUAGES = {"en": "English", "zh_Hans": "简体中文"}
COOKIE = "kube_iam_language"


def _mark(text: str) -> str:
    """Names a text for the catalogue that is translated where it is shown."""
    return text


SHOWN_ELSEWHERE = (
    _mark("person"), _mark("approver"), _mark("administrator"), _mark("auditor"),
    _mark("done"), _mark("refused"), _mark("failed"),
    _mark("Something went wrong"), _mark("The input is not valid"), _mark("Log in first"), _mark("You may not do this"),
    _mark("Not found"), _mark("This conflicts with what is there"), _mark("Too many attempts"),
    _mark("A system that this depends on does not answer"),
)
"""Roles, results and the titles of errors: values in the code, words on the page."""
_ASKED = {"en": "en", "zh": "zh_Hans", "zh-cn": "zh_Hans", "zh-hans": "zh_Hans", "zh-sg": "zh_Hans"}


def chosen_locale() -> str:
    """``en`` or ``zh_Hans``."""
    cookie = request.cookies.get(COOKIE, "")
    if cookie in LANGUAGES:
        return cookie
    asked = request.accept_languages.best_match([*_ASKED, "zh-CN", "zh-Hans"])
    return _ASKED.get((asked or "").lower(), services.current().world.settings.server.language)


def translated(problem: Problem | Sentence) -> str:
    """An error's message, or any other sentence, in the page's language; its values are filled in afterwards."""
    text: str = gettext(problem.message)
    return text % problem.params if problem.params else text
