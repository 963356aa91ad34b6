"""ABAC policy files as kube-apiserver reads and matches them.

One JSON object a line (``abac.authorization.kubernetes.io/v1beta1``, or the older form without kind and version),
comments with ``#`` and blank lines; the first line that matches allows, nothing denies. Sources:
pkg/auth/authorizer/abac/abac.go, pkg/apis/abac/v0/conversion.go, pkg/apis/abac/v1beta1/conversion.go (1.36).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from iam.errors import Invalid
from iam.kube.rbac import ALL, path_matches
from iam.kube.requests import AUTHENTICATED, MASTERS, Decision, Request

API_VERSION = "abac.authorization.kubernetes.io/v1beta1"
KIND = "Policy"
REFERENCES = ("person", "directoryGroup")
MAX_LINE_BYTES = 64 * 1024
"""Go's bufio.Scanner, with which the API server reads the file, gives up on a line of this length (its newline not counted)."""
_GO_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
_SPEC = {
    "user": "user", "group": "group", "readonly": "readonly", "namespace": "namespace", "resource": "resource", "apiGroup": "api_group",
    "nonResourcePath": "non_resource_path",
}
_LEGACY = {"user", "group", "readonly", "resource", "namespace"}
_NO_MATCH = Decision(allowed=False, reason="No policy matched.")


@dataclass(frozen=True, slots=True)
class Policy:
    """One line, as it means: ``*`` subjects are already ``system:authenticated``, empty legacy fields already ``*``."""

    user: str = ""
    group: str = ""
    readonly: bool = False
    namespace: str = ""
    resource: str = ""
    api_group: str = ""
    non_resource_path: str = ""

    def matches(self, request: Request) -> bool:
        """Whether this line alone allows the request."""
        return self._is_for(request) and (not self.readonly or request.is_read_only) and self._covers(request)

    def _is_for(self, request: Request) -> bool:
        if not self.user and not self.group:
            return False
        return (not self.user or self.user == request.user) and (not self.group or self.group in request.groups)

    def _covers(self, request: Request) -> bool:
        if request.path is not None:
            return path_matches(self.non_resource_path, request.path)
        return (
            self.namespace in {ALL, request.namespace}
            and self.resource in {ALL, request.resource}
            and self.api_group in {ALL, request.api_group}
        )

    def render(self) -> str:
        """The canonical line: always v1beta1, fields in the API's order, empty ones left out."""
        spec = {json_name: getattr(self, name) for json_name, name in _SPEC.items() if getattr(self, name)}
        return json.dumps({"apiVersion": API_VERSION, "kind": KIND, "spec": spec}, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """A subject that only we know: a person or a directory group, as ``directory:name``. The API server never sees it."""

    kind: str
    """``person`` or ``directoryGroup``, as the field in the spec is called."""
    name: str


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a file: its number, its text, and its policy if it is not a comment or blank.

    With a reference the policy has no subject yet; ``expanded`` puts one in for each user behind it.
    """

    number: int
    text: str
    policy: Policy | None = None
    reference: Reference | None = None


def parse(text: str, source: str = "policy") -> list[Line]:
    """Every line of a policy file. Raises Invalid for the first that the API server, or a reader, would stumble over."""
    return list(lines(text, source))


def lines(text: str, source: str = "policy", *, references: bool = False) -> Iterator[Line]:
    """Line by line, as ``parse``. ``references`` allows ``person`` and ``directoryGroup`` in place of a user or group."""
    for found in survey(text, source, references=references):
        if isinstance(found, Invalid):
            raise found
        yield found


def survey(text: str, source: str = "policy", *, references: bool = False) -> Iterator[Line | Invalid]:
    """As ``lines``, but a line that is wrong yields its error and the next ones follow."""
    if text.startswith("\ufeff"):
        yield Invalid("%(where)s begins with a byte order mark; save it as UTF-8 without one.", field=f"{source}:1", where=source)
        text = text.removeprefix("\ufeff")
    ended = text.count("\n")
    for number, raw in enumerate(text.split("\n"), start=1):
        try:
            line = _read_line(number, raw, f"{source}:{number}", references=references)
        except Invalid as problem:
            yield problem
            continue
        if raw.strip(_GO_SPACE) or number <= ended:  # what follows the last newline is no line when it is blank
            yield line


def _read_line(number: int, raw: str, where: str, *, references: bool) -> Line:
    if len(raw) * 4 >= MAX_LINE_BYTES and len(raw.encode("utf-8", "replace")) >= MAX_LINE_BYTES:
        raise Invalid("The line is 64 KiB or longer, which the API server cannot read; split it.", field=where)
    line = raw.removesuffix("\r")
    stripped = line.strip(_GO_SPACE)
    if not stripped or stripped.startswith("#"):
        return Line(number, line)
    document = _json(line, where)
    reference = _take_reference(document, where) if references else None
    return Line(number, line, _read_policy(document, where), reference)


def _take_reference(document: dict[str, Any], where: str) -> Reference | None:
    """Our own kind of subject, taken out of the spec so that what is left is a policy."""
    spec = document.get("spec")
    names = [name for name in REFERENCES if name in spec] if isinstance(spec, dict) else []
    if not names or not isinstance(spec, dict):
        return None
    if len(names) > 1 or spec.get("user") or spec.get("group"):
        raise Invalid("Name one subject: a person, a directoryGroup, or a user and group.", field=f"{where} spec.{names[0]}")
    value = spec.pop(names[0])
    directory, _, name = value.partition(":") if isinstance(value, str) else ("", "", "")
    if not directory or not name or "\0" in name:
        raise Invalid("This should read directory:name.", field=f"{where} spec.{names[0]}")
    return Reference(names[0], value)


def _json(text: str, where: str) -> dict[str, Any]:
    try:
        document = json.loads(text, object_pairs_hook=_unambiguous)
    except (ValueError, RecursionError) as error:
        raise Invalid("This is not JSON: %(why)s", field=where, why=str(error)[:100]) from None
    if not isinstance(document, dict):
        raise Invalid("A policy is a JSON object.", field=where)
    return document


def _read_policy(document: dict[str, Any], where: str) -> Policy:
    if "apiVersion" not in document and "kind" not in document:
        return _legacy(document, where)
    if document.get("apiVersion") != API_VERSION:
        raise Invalid("apiVersion should be %(right)s.", field=f"{where} apiVersion", right=API_VERSION)
    if document.get("kind") != KIND:
        raise Invalid("kind should be %(right)s.", field=f"{where} kind", right=KIND)
    for name in document.keys() - {"apiVersion", "kind", "spec"}:
        raise Invalid("Unknown field; known are %(known)s.", field=f"{where} {name}", known="apiVersion, kind, spec")
    if not isinstance(document.get("spec"), dict):
        raise Invalid("A policy needs a spec, which is an object.", field=f"{where} spec")
    policy = Policy(**_fields(document["spec"], set(_SPEC), f"{where} spec."))
    if ALL in {policy.user, policy.group}:
        policy = replace(policy, user="", group=AUTHENTICATED)
    return policy


def _unambiguous(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Raises ValueError where the API server reads something else: it merges repeated fields and replaces lone surrogates."""
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name in values:
            raise ValueError(f"{name!r} stands there twice")
        if isinstance(value, str):
            value.encode()
        values[name] = value
    return values


def _legacy(document: dict[str, Any], where: str) -> Policy:
    """The unversioned form: no subject is everybody, no namespace or resource is all of them, any API group."""
    policy = Policy(**_fields(document, _LEGACY, f"{where} "))
    everybody = ALL in {policy.user, policy.group} or not (policy.user or policy.group)
    return replace(
        policy, api_group=ALL, namespace=policy.namespace or ALL, resource=policy.resource or ALL,
        non_resource_path="" if policy.namespace or policy.resource else ALL,
        user="" if everybody else policy.user, group=AUTHENTICATED if everybody else policy.group,
    )


def _fields(values: dict[str, Any], known: set[str], where: str) -> dict[str, Any]:
    read: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            raise Invalid("Unknown field; known are %(known)s.", field=where + name, known=", ".join(sorted(known)))
        if value is not None and not isinstance(value, bool if name == "readonly" else str):
            raise Invalid("This is a %(kind)s.", field=where + name, kind="boolean" if name == "readonly" else "string")
        if value is not None:
            read[_SPEC[name]] = value
    return read


def expanded(found: Iterable[Line], users_behind: Callable[[Reference], Iterable[str]]) -> Iterator[tuple[int, Policy]]:
    """(line number, policy) as the API server will see them: each reference has become its users, in order of their names."""
    for line in found:
        if line.policy and line.reference:
            for user in sorted(set(users_behind(line.reference)) - {"", ALL}):  # nobody, and everybody
                yield line.number, replace(line.policy, user=user)
        elif line.policy:
            yield line.number, line.policy


def render_line(policy: Policy, reference: Reference | None = None) -> str:
    """The canonical line, with our own subject in it if there is one."""
    if reference is None:
        return policy.render()
    document = json.loads(policy.render())
    document["spec"] = {reference.kind: reference.name, **document["spec"]}
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def render(policies: Iterable[Policy]) -> str:
    """A file that kube-apiserver loads: canonical lines in the order given, each ended by a newline."""
    return "".join(f"{policy.render()}\n" for policy in policies)


_Subject = tuple[str, str]
_Place = tuple[str, str, str]


class _Grants:
    """What the lines of one subject allow, by place: the number of the first such line."""

    __slots__ = ("exact_paths", "path_prefixes", "places")

    def __init__(self) -> None:
        self.places: tuple[dict[_Place, int], dict[_Place, int]] = ({}, {})
        """For any verb; for reading only."""
        self.exact_paths: tuple[dict[str, int], dict[str, int]] = ({}, {})
        self.path_prefixes: tuple[dict[str, int], dict[str, int]] = ({}, {})

    def add(self, policy: Policy, number: int) -> None:
        which = int(policy.readonly)
        self.places[which].setdefault((policy.namespace, policy.api_group, policy.resource), number)
        self.exact_paths[which].setdefault(policy.non_resource_path, number)
        if policy.non_resource_path.endswith(ALL):
            self.path_prefixes[which].setdefault(policy.non_resource_path.rstrip(ALL), number)

    def first(self, request: Request) -> int | None:
        """The number of the first line that allows the request."""
        best: int | None = None
        for which in (0, 1) if request.is_read_only else (0,):
            for number in self._numbers(request, which):
                best = number if best is None or number < best else best
        return best

    def _numbers(self, request: Request, which: int) -> Iterator[int]:
        if request.path is not None:
            if request.path in self.exact_paths[which]:
                yield self.exact_paths[which][request.path]
            for length in range(len(request.path) + 1) if self.path_prefixes[which] else ():
                number = self.path_prefixes[which].get(request.path[:length])
                if number is not None:
                    yield number
            return
        places = self.places[which]
        for namespace in (request.namespace, ALL):
            for api_group in (request.api_group, ALL):
                for resource in (request.resource, ALL):
                    number = places.get((namespace, api_group, resource))
                    if number is not None:
                        yield number


class AbacAuthorizer:
    """A whole file, indexed by subject: a decision costs the asker's own look-ups, however many lines there are."""

    def __init__(self, numbered: Iterable[tuple[int, Policy]]) -> None:
        self._by_subject: dict[_Subject, _Grants] = {}
        for number, policy in numbered:
            if policy.user or policy.group:
                self._by_subject.setdefault((policy.user, policy.group), _Grants()).add(policy, number)

    @classmethod
    def from_lines(cls, found: Iterable[Line]) -> AbacAuthorizer:
        """Over a parsed file."""
        return cls((line.number, line.policy) for line in found if line.policy)

    def decide(self, request: Request) -> Decision:
        """The API server's own answer. ``system:masters`` is allowed before any policy is asked."""
        if MASTERS in request.groups:
            return Decision(allowed=True, reason=f"{MASTERS} may do everything", binding=MASTERS)
        best: int | None = None
        for group in ("", *request.groups):
            for user in ("", request.user) if request.user else ("",):
                grants = self._by_subject.get((user, group))
                number = grants.first(request) if grants else None
                if number is not None and (best is None or number < best):
                    best = number
        if best is None:
            return _NO_MATCH
        return Decision(allowed=True, reason=f"ABAC: allowed by line {best}", binding=f"line {best}")
