"""The pages speak 简体中文 completely: every text of the source is in the catalogue, and what is compiled is what is written."""

from __future__ import annotations

import io
import re
from functools import cache
from gettext import GNUTranslations
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.mofile import read_mo, write_mo
from babel.messages.pofile import read_po

ROOT = Path(__file__).parent.parent.parent
WRITTEN = ROOT / "iam" / "translations" / "zh_Hans" / "LC_MESSAGES" / "messages.po"
COMPILED = WRITTEN.with_suffix(".mo")
ERRORS = ("Invalid", "Unauthenticated", "Forbidden", "NotFound", "Conflict", "TooMany", "Throttled", "Unavailable", "Refused")
MARKS = ("_", "_mark", "_later", *ERRORS, "Sentence")
KEYWORDS = {**DEFAULT_KEYWORDS, **dict.fromkeys(MARKS), "refuse": (2,)}
"""As in ``make translations``."""
PLACEHOLDER = re.compile(r"%\(\w+\)[a-z]")
HALF_WIDTH = re.compile(r"[一-鿿][,;:?!().]|[,;?!()][一-鿿]")


@cache
def in_the_source() -> dict[str, str]:
    """Every marked text, with the first place where it stands."""
    with (ROOT / "config" / "babel.cfg").open(encoding="utf-8") as file:
        methods, options = parse_mapping_cfg(file)  # type: ignore[no-untyped-call]
    folders = {pattern.split("/")[0] for pattern, _method in methods}  # so that .venv is not searched

    def is_ours(folder: str) -> bool:
        return Path(folder).relative_to(ROOT).parts[0] in folders

    found: dict[str, str] = {}
    for file_name, line, text, _comments, _context in extract_from_dir(ROOT, methods, options, KEYWORDS, directory_filter=is_ours):
        if isinstance(text, str):
            found.setdefault(text, f"{file_name}:{line}")
    return found


@cache
def catalogue() -> Catalog:
    """The catalogue as it is written."""
    with WRITTEN.open("rb") as file:
        return read_po(file, locale="zh_Hans")


def texts(of: Catalog) -> dict[str, str]:
    """Text and translation; the header and what is not sure (fuzzy) do not count."""
    return {str(message.id): str(message.string) for message in of if message.id and message.string and not message.fuzzy}


def test_the_source_has_texts_of_every_kind() -> None:
    """If the extraction lost a keyword or a folder, the other tests would pass on nothing."""
    found = in_the_source()
    assert len(found) > 300
    assert found["Too many failed logins. Try again in %(retry_after)d s."].startswith("iam/services/")
    assert found["This token does not carry the scope %(scope)s."].startswith("iam/services/")
    assert found["auditor"].startswith("iam/web/")
    assert found["My running certificates"].startswith("templates/")


def test_every_text_is_translated() -> None:
    known = texts(catalogue())
    missing = sorted(f"{place}: {text}" for text, place in in_the_source().items() if text not in known)
    assert not missing, "not in the Chinese catalogue (make translations, translate, make translations):\n" + "\n".join(missing)


def test_placeholders_are_kept() -> None:
    wrong = [text for text, chinese in texts(catalogue()).items() if set(PLACEHOLDER.findall(text)) != set(PLACEHOLDER.findall(chinese))]
    assert not wrong, "other placeholders than in the source:\n" + "\n".join(wrong)


def test_no_percent_sign_breaks_a_sentence() -> None:
    """Texts are filled in with the % operator; beside the placeholders there is none."""
    wrong = [chinese for text, chinese in texts(catalogue()).items() if PLACEHOLDER.search(text) and "%" in PLACEHOLDER.sub("", chinese)]
    assert not wrong, "\n".join(wrong)


def test_punctuation_is_full_width() -> None:
    wrong = [chinese for chinese in texts(catalogue()).values() if HALF_WIDTH.search(chinese)]
    assert not wrong, "half-width punctuation beside Chinese:\n" + "\n".join(wrong)


def test_the_compiled_catalogue_is_the_written_one() -> None:
    """Compares the texts: the compiler writes the time of day into the header."""
    written = io.BytesIO()
    write_mo(written, catalogue())
    written.seek(0)
    with COMPILED.open("rb") as file:
        assert texts(read_mo(file)) == texts(read_mo(written)), "run make translations"


def test_pages_can_read_it() -> None:
    with COMPILED.open("rb") as file:
        chinese = GNUTranslations(file)
    assert chinese.gettext("Log in") == "登录"
    assert chinese.gettext("%(name)s is registered.") % {"name": "prod"} == "已注册 prod。"


def test_the_header_names_nobody_and_no_time() -> None:
    header = WRITTEN.read_text(encoding="utf-8").partition("\n\n")[0]
    assert not re.search(r"Date:|Translator:|Team:|Generated|@", header), header
