"""What is wrong with a policy file that kube-apiserver would load without a word.

Lines only ever add access and their order decides nothing, so a line that another one covers is useless, and one that
covers another makes it so. Sources as for ``iam.kube.abac``; the identities of the control plane are those of
https://kubernetes.io/docs/reference/access-authn-authz/rbac/#core-component-roles.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from iam.errors import Sentence
from iam.kube.abac import MAX_LINE_BYTES, AbacAuthorizer, Policy
from iam.kube.abac_coverage import Coverage, halves
from iam.kube.names import is_label
from iam.kube.rbac import ALL
from iam.kube.requests import AUTHENTICATED, UNAUTHENTICATED, Request, with_implied_groups
from iam.kube.resources import BUILT_IN, GROUPS, groups_of

_EVERYBODY = {AUTHENTICATED, UNAUTHENTICATED}
_ANONYMOUS = "system:anonymous"
MOST_NAMED = 5


class Severity(StrEnum):
    """How bad."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Code(StrEnum):
    """What kind of finding."""

    UNREADABLE = "unreadable"
    NEVER_MATCHES = "never-matches"
    SHADOWED = "shadowed"
    WIDER = "wider-than-neighbour"
    TOO_LONG = "too-long"
    LOCKOUT = "lockout"
    EVERYTHING = "gives-everything"
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to look at. Line 0 is the file as a whole."""

    line: int
    code: Code
    severity: Severity
    says: Sentence


def lint(numbered: Sequence[tuple[int, Policy]], *, alone: bool = True) -> list[Finding]:
    """All findings, by line. ``alone``: no other authorizer stands beside ABAC, so what is missing here is missing.

    ``numbered`` is what the API server would see; a line whose reference was expanded comes once a user.
    """
    findings = [*_each_line(numbered), *_compared(numbered), *(_lockouts(numbered) if alone else ())]
    return sorted(_once(findings), key=lambda finding: (finding.line, finding.code))


def _once(findings: Iterable[Finding]) -> list[Finding]:
    """Each line and code once: the users behind one reference share a finding."""
    found: dict[tuple[int, Code, str], Finding] = {}
    for finding in findings:
        found.setdefault((finding.line, finding.code, finding.says.message if finding.line else str(finding.says)), finding)
    return list(found.values())


def _each_line(numbered: Iterable[tuple[int, Policy]]) -> Iterator[Finding]:
    for number, policy in numbered:
        why = _why_never(policy)
        if why:
            yield Finding(number, Code.NEVER_MATCHES, Severity.ERROR, why)
        elif policy.resource == ALL and policy.api_group == ALL and policy.namespace == ALL:
            yield _gives_everything(number, policy)
        if len(policy.render().encode()) >= MAX_LINE_BYTES:
            yield Finding(number, Code.TOO_LONG, Severity.ERROR, Sentence(
                "Written out, the line is 64 KiB or longer, which the API server cannot read; split it."))


def _gives_everything(number: int, policy: Policy) -> Finding:
    is_everybody = bool({policy.group, policy.user} & {*_EVERYBODY, _ANONYMOUS})
    is_kubernetes = not is_everybody and (policy.user or policy.group).startswith("system:")
    severity = Severity.ERROR if is_everybody else Severity.NOTE if is_kubernetes else Severity.WARNING
    if policy.readonly:
        says = Sentence("%(who)s may read everything in every namespace, Secrets included.", {"who": _who(policy)})
    else:
        says = Sentence("%(who)s may do everything in every namespace.", {"who": _who(policy)})
    return Finding(number, Code.EVERYTHING, severity, says)


def _who(policy: Policy) -> str:
    return " + ".join(filter(None, (policy.user, policy.group)))


def _why_never(policy: Policy) -> Sentence | None:
    """Why no request can match, or nothing."""
    if not policy.user and not policy.group:
        return Sentence("The line names nobody: neither a user nor a group.")
    if not policy.resource and not policy.non_resource_path:
        return Sentence("The line names nothing: neither a resource nor a nonResourcePath.")
    path_matches_something = policy.non_resource_path.startswith(("/", ALL))
    if policy.non_resource_path and not path_matches_something and not policy.resource:
        return Sentence("Paths begin with a slash; %(path)s never matches.", {"path": policy.non_resource_path})
    if policy.resource and not path_matches_something:
        return _why_no_resource(policy)
    return None


def _why_no_resource(policy: Policy) -> Sentence | None:
    resource, group, namespace = policy.resource, policy.api_group, policy.namespace
    if "/" in resource:
        parts = {"resource": resource, "whole": resource.partition("/")[0]}
        return Sentence("ABAC knows no subresources: %(whole)s covers %(resource)s too, and %(resource)s never matches.", parts)
    for value in (resource, group, namespace):
        if ALL in value and value != ALL:
            return Sentence("Only a * that stands alone is a wildcard; %(value)s is taken literally.", {"value": value})
    if resource != resource.lower() or resource.strip() != resource:
        return Sentence("Resources are written in lower-case letters, like pods; %(resource)s never matches.", {"resource": resource})
    if namespace not in {"", ALL} and not is_label(namespace):
        return Sentence("%(namespace)s cannot be the name of a namespace.", {"namespace": namespace})
    return _why_not_served(resource, group, namespace)


def _why_not_served(resource: str, group: str, namespace: str) -> Sentence | None:
    served_by = groups_of(resource)
    if resource != ALL and group in GROUPS and served_by and group not in served_by:
        right = " / ".join(f'"{one}"' for one in served_by)
        return Sentence("%(resource)s belong to the API group %(right)s.", {"resource": resource, "right": right})
    known = BUILT_IN.get((group, resource))
    if known and not known.is_namespaced and namespace not in {"", ALL} and resource != "namespaces":
        return Sentence("%(resource)s lie in no namespace; write * as the namespace.", {"resource": resource})
    return None


def _compared(numbered: Sequence[tuple[int, Policy]]) -> Iterator[Finding]:
    """Lines that others make useless: named where they stand, or at the wider line when that one comes later."""
    covered_by = _covered(numbered)
    wider: dict[int, list[int]] = defaultdict(list)
    for number, others in sorted(covered_by.items()):
        first = min(others)
        if len(others) == 1 and first > number:
            wider[first].append(number)
        elif len(others) == 1:
            yield Finding(number, Code.SHADOWED, Severity.WARNING, Sentence("Line %(other)s allows all of this already.", {"other": first}))
        else:
            says = Sentence("Lines %(others)s together allow all of this already.", {"others": _listed(sorted(others))})
            yield Finding(number, Code.SHADOWED, Severity.WARNING, says)
    for number, narrow in wider.items():
        lines = {"others": _listed(narrow)}
        says = Sentence("This allows all of line %(others)s, and more; what is narrower limits nothing.", lines)
        yield Finding(number, Code.WIDER, Severity.WARNING, says)


def _covered(numbered: Sequence[tuple[int, Policy]]) -> dict[int, set[int]]:
    """Which lines could go without a loss, and thanks to which others; all of them could go at once."""
    coverage = Coverage(numbered)
    covered_by: dict[int, set[int]] = defaultdict(set)
    needed: dict[int, Policy] = {}
    for number, policy in numbered:
        others = coverage.by_others(number, policy)
        covered_by[number] |= others
        if not others:
            needed[number] = policy
    lone = {number for number, count in Counter(number for number, _policy in numbered).items() if count == 1}
    for number, policy in needed.items():
        covered_by[number] = set()
        if number in lone and len(list(halves(policy))) > 1:  # one half alike and the other wider: no half alone tells which line goes
            wide = coverage.by_one(number, policy) & needed.keys() & lone
            covered_by[number] = {one for one in sorted(wide) if number not in coverage.by_one(one, needed[one])}
    return {number: others for number, others in covered_by.items() if others}


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:MOST_NAMED])) + (", …" if len(numbers) > MOST_NAMED else "")


_LEASE = Request("", "update", (), "coordination.k8s.io", "leases", namespace="kube-system")
_NEEDED = (
    ("system:kube-controller-manager", (_LEASE, Request("", "watch", resource="pods"))),
    ("system:kube-scheduler", (_LEASE, Request("", "create", resource="pods", subresource="binding", namespace="default"))),
    ("system:kube-proxy", (Request("", "watch", resource="services"), Request("", "watch", (), "discovery.k8s.io", "endpointslices"))),
    ("system:node:node", (Request("", "create", resource="nodes"), replace(_LEASE, namespace="kube-node-lease"))),
)
"""What the parts of a cluster ask of its API server all the time; ``system:apiserver`` itself is in system:masters."""
_NODES = ("system:nodes",)


def _lockouts(numbered: Iterable[tuple[int, Policy]]) -> Iterator[Finding]:
    authorizer = AbacAuthorizer(numbered)
    for user, questions in _NEEDED:
        groups = with_implied_groups(user, _NODES if user.startswith("system:node:") else ())
        for question in questions:
            if not authorizer.decide(replace(question, user=user, groups=groups)).allowed:
                where = {"user": user, "verb": question.verb, "resource": question.combined_resource}
                yield Finding(0, Code.LOCKOUT, Severity.ERROR, Sentence(
                    "%(user)s may not %(verb)s %(resource)s: with ABAC alone, a restart would stop the control plane.", where))
                break
