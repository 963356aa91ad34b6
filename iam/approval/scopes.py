"""Which clusters and namespaces an entry or a rule is about: exact names, or patterns with ``*``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from iam.errors import Invalid
from iam.kube.names import is_label

WHOLE_CLUSTER = "(whole cluster)"
"""Stands among namespaces for the cluster as a whole; no namespace is called so."""
MAX_PATTERNS = 200


def covers(patterns: Sequence[str], name: str) -> bool:
    """Whether one of the patterns is about this name; ``*`` is about every namespace and not about the whole cluster."""
    if name == WHOLE_CLUSTER:
        return WHOLE_CLUSTER in patterns
    return any(fnmatchcase(name, pattern) for pattern in patterns if pattern != WHOLE_CLUSTER)


def check(patterns: Iterable[str], *, field: str) -> list[str]:
    """The patterns, each once, sorted. Raises Invalid for what no name could match."""
    found = sorted(dict.fromkeys(patterns))
    if len(found) > MAX_PATTERNS:
        raise Invalid("At most %(most)s names here.", field=field, most=MAX_PATTERNS)
    for pattern in found:
        if pattern != WHOLE_CLUSTER and not is_label(re.sub(r"\*+", "" if len(pattern) > 63 else "x", pattern)):
            raise Invalid("%(name)r is neither a name nor a pattern such as team-*.", field=field, name=pattern)
    return found


def is_exact(pattern: str) -> bool:
    """Whether it is about one name only."""
    return "*" not in pattern
