"""Which policy allows all that another allows, and what one list of policies allows beyond another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import product

from iam.kube.abac import Policy
from iam.kube.rbac import ALL
from iam.kube.requests import AUTHENTICATED, UNAUTHENTICATED, Request, with_implied_groups

_Key = tuple[str, ...]
_OUTSIDERS = {"system:anonymous", UNAUTHENTICATED}


class Coverage:
    """Lines by what they allow. A look-up costs the number of ways to be wider, not the number of lines."""

    def __init__(self, numbered: Iterable[tuple[int, Policy]]) -> None:
        self._first: dict[_Key, list[int]] = {}
        self._subjects: set[tuple[str, str]] = set()
        self._prefixes: set[int] = set()
        """Lengths of paths that end in a star, the star not counted."""
        for number, policy in numbered:
            for half in halves(policy):
                self._note(_key(half), number)

    def _note(self, key: _Key, number: int) -> None:
        """The first two lines of a kind are enough to name one that is not oneself."""
        self._subjects.add((key[0], key[1]))
        if key[-1].endswith(ALL):
            self._prefixes.add(len(key[-1]) - 1)
        known = self._first.setdefault(key, [])
        if len(known) < 2 and number not in known:
            known.append(number)

    def by_others(self, number: int, policy: Policy) -> set[int]:
        """The numbers of other lines that together allow all of this one; empty when some of it comes from nowhere else.

        Of two lines that say the same, only the later one is covered.
        """
        found = [self._covering(half, besides=number) for half in halves(policy)]
        return set() if None in found else {one for one in found if one is not None}

    def by_one(self, number: int, policy: Policy) -> set[int]:
        """The numbers of lines (of those that are remembered) each of which alone allows all of this one."""
        each = [{one for key in self._as_wide(half) for one in self._first.get(key, ())} - {number} for half in halves(policy)]
        return set.intersection(*each) if each else set()

    def beyond(self, policy: Policy) -> list[Policy]:
        """The part of this policy that no line here allows."""
        return [half for half in halves(policy) if self._covering(half) is None]

    def _covering(self, half: Policy, besides: int = 0) -> int | None:
        own = _key(half)
        best: int | None = None
        for key in self._as_wide(half):
            for number in self._first.get(key, ()):
                if number != besides and not (key == own and number > besides > 0) and (best is None or number < best):
                    best = number
        return best

    def _as_wide(self, half: Policy) -> Iterator[_Key]:
        """The keys of lines there may be that allow at least as much, itself among them."""
        readings = ("False", "True") if half.readonly else ("False",)
        for (user, group), reading in product(_as_many(half.user, half.group) & self._subjects, readings):
            for what in self._wider_paths(half) if half.non_resource_path else _wider_places(half):
                yield (user, group, reading, *what)

    def _wider_paths(self, half: Policy) -> Iterator[_Key]:
        path = half.non_resource_path
        yield ("", "", "", path)
        for length in self._prefixes:
            if length <= len(path.rstrip(ALL)):
                yield ("", "", "", path[:length] + ALL)


def _wider_places(half: Policy) -> Iterator[_Key]:
    for place in product({half.namespace, ALL}, {half.api_group, ALL}, {half.resource, ALL}):
        yield (*place, "")


def halves(policy: Policy) -> Iterator[Policy]:
    """What it says of resources and what it says of paths: each of them counts by itself."""
    if policy.user or policy.group:
        if policy.resource:
            yield replace(policy, non_resource_path="") if policy.non_resource_path else policy
        if policy.non_resource_path:
            yield Policy(policy.user, policy.group, policy.readonly, non_resource_path=_normal(policy.non_resource_path))


def gained(before: Iterable[Policy], after: Iterable[Policy]) -> list[Policy]:
    """What is allowed by ``after`` and not by ``before``, each once. What was readable and now may be changed counts whole."""
    coverage = Coverage(enumerate(before, start=1))
    return list(dict.fromkeys(half for policy in after for half in coverage.beyond(policy)))


def witness(half: Policy) -> Request:
    """A question that this half allows and hardly any other line does: where it says ``*``, a name that nobody uses."""
    verb = "get" if half.readonly else "kube-iam-witness"
    groups = (half.group,) if half.group else ()
    user = half.user or "kube-iam-witness"
    if half.non_resource_path:
        prefix = half.non_resource_path.removesuffix(ALL)
        return Request(user, verb, groups, path=prefix if prefix == half.non_resource_path else f"{prefix}kube-iam-witness")
    place = (half.api_group, half.resource, half.namespace)
    api_group, resource, namespace = ("kube-iam-witness" if value == ALL else value for value in place)
    return Request(user, verb, groups, api_group, resource, namespace=namespace)


def _key(half: Policy) -> _Key:
    """A group that the user is in anyway says nothing."""
    is_implied = half.user and half.group in with_implied_groups(half.user, ())
    group = "" if is_implied else half.group
    return (half.user, group, str(half.readonly), half.namespace, half.api_group, half.resource, half.non_resource_path)


def _as_many(user: str, group: str) -> set[tuple[str, str]]:
    """Subjects that stand for at least these people, by the groups that authentication implies."""
    found = {(user, group)} | ({(user, "")} if user else set()) | ({("", group)} if group else set())
    if user in _OUTSIDERS or group in _OUTSIDERS:
        return found
    implied = with_implied_groups(user, ()) if user else (AUTHENTICATED,)
    return found | {("", one) for one in implied} | {(user, one) for one in implied if user}


def _normal(path: str) -> str:
    """Any number of trailing stars means one."""
    return path.rstrip(ALL) + ALL if path.endswith(ALL) else path
