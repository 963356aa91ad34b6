"""Objects as YAML that kubectl reads as they were meant.

Kubernetes' reader takes an unquoted ``1e3``, ``0o17`` or ``yes`` for a number or a boolean (YAML 1.1 and 1.2 mixed, as
sigs.k8s.io/yaml does), and PyYAML writes some of these without quotes; so whatever is not plainly a word gets them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import yaml

_WORD = re.compile(r"[A-Za-z/](?:[-A-Za-z0-9_./@:+=]*[A-Za-z0-9_/=])?")
_NOT_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}


class Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]  # libyaml's where it is there
    """Text as above; nothing is written as a reference to something above."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        """Always."""
        return True


def _text(dumper: Any, text: str) -> Any:
    is_word = _WORD.fullmatch(text) and text.lower() not in _NOT_WORDS
    style = None if is_word else "|" if "\n" in text else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


Dumper.add_representer(str, _text)


def dump_all(objects: Iterable[Any]) -> str:
    """Several documents, their fields in the order given."""
    return str(yaml.dump_all(objects, Dumper=Dumper, sort_keys=False, allow_unicode=True))


def dump(document: Any) -> str:
    """One document."""
    return dump_all([document])
