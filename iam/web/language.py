"""Which language a page speaks: the cookie, else what the browser asks for, else the settings."""

from __future__ import annotations

from flask import request
from flask_babel import gettext

from iam import services
from iam.errors import Problem

LANGUAGES = {"en": "English", "zh_Hans": "简体中文"}
COOKIE = "kube_iam_language"
_ASKED = {"en": "en", "zh": "zh_Hans", "zh-cn": "zh_Hans", "zh-hans": "zh_Hans", "zh-sg": "zh_Hans"}


def chosen_locale() -> str:
    """``en`` or ``zh_Hans``."""
    cookie = request.cookies.get(COOKIE, "")
    if cookie in LANGUAGES:
        return cookie
    asked = request.accept_languages.best_match([*_ASKED, "zh-CN", "zh-Hans"])
    return _ASKED.get((asked or "").lower(), services.current().world.settings.server.language)


def translated(problem: Problem) -> str:
    """An error's message in the page's language; its values are filled in afterwards."""
    text = gettext(problem.message)
    return text % problem.params if problem.params else text
