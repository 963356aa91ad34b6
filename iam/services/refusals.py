"""No refusal without an event, also in what is not written yet: whoever is turned away by a use case stands in the trail.

Use cases say so themselves where they know more about it; where one does not, it is said here, as the error leaves it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

from iam.errors import Problem


def watch(service: type) -> None:
    """Every public method of a service that begins with the actor, its bases' too."""
    for name, method in inspect.getmembers(service, inspect.isfunction):
        if not name.startswith("_") and list(inspect.signature(method).parameters)[1:2] == ["actor"]:
            setattr(service, name, _watched(method))


def _watched(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def watched(service: Any, actor: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return method(service, actor, *arguments, **options)
        except Problem as problem:
            if problem.is_refusal and not problem.is_recorded:
                getattr(service, "_audit", service).turned_away(actor, problem)
            raise

    return watched
