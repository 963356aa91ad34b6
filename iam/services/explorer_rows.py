"""The explorer's answers as flat rows, one fact a line: for tables, CSV and JSON alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from iam.kube.escalation import Paths
from iam.kube.escalation_steps import Node, NodeKind
from iam.kube.explorer import Difference, condensed
from iam.kube.rbac import PolicyRule, RoleBinding
from iam.kube.requests import Request
from iam.services.explorer import Climb, Held, May, Place, Who
from iam.services.views import Ground

Row = dict[str, Any]


def who_can(found: Iterable[tuple[Who, Ground]]) -> list[Row]:
    """A line a person (or subject) and way."""
    return [{"kind": who.kind, "name": who.name, "display_name": who.display_name, **_ground(ground), "rule": rule(ground.way.rule)}
            for who, ground in found]


def what_can(found: Iterable[Held]) -> list[Row]:
    """A line a rule; a role that does not exist is a line without one."""
    return [
        {**_ground(held.ground), "verbs": list(one.verbs), "api_groups": list(one.api_groups), "resources": list(one.resources),
         "resource_names": list(one.resource_names), "paths": list(one.non_resource_urls)}
        for held in found for one in (held.role.rules if held.role else (PolicyRule(),))
    ]


def places(found: Iterable[Place]) -> list[Row]:
    """A line a namespace and role; an empty namespace is the whole cluster."""
    return [_ground(ground) for place in found for ground in place.grounds]


def may(answer: May) -> Row:
    """Everything about one question."""
    return {
        "allowed": answer.decision.allowed, "reason": answer.decision.reason,
        "through": [{**_ground(ground), "rule": rule(ground.way.rule)} for ground in answer.grounds],
        "nearest": [{**_ground(ground), "rule": rule(ground.way.rule), "missing": list(missing)} for ground, missing in answer.nearest],
        "roles_that_do_not_exist": [role_of(binding) for binding in answer.dangling],
        "roles_that_would_allow": [f"{role.kind}/{role.name}" for role in answer.would_allow],
    }


def may_in_lines(answer: May) -> list[Row]:
    """The same, a line a fact: what it is through, what comes close and lacks what, which roles would help."""
    nothing = dict.fromkeys(("namespace", "role", "binding", "subject", "group", "mapping", "rule"), "")
    facts: list[tuple[str, Row, Sequence[str]]] = [
        *(("through", {**_ground(ground), "rule": rule(ground.way.rule)}, ()) for ground in answer.grounds),
        *(("nearest", {**_ground(ground), "rule": rule(ground.way.rule)}, missing) for ground, missing in answer.nearest),
        *(("role does not exist", {"role": role_of(binding), "namespace": binding.namespace}, ()) for binding in answer.dangling),
        *(("role would allow", {"role": f"{role.kind}/{role.name}", "namespace": role.namespace}, ()) for role in answer.would_allow),
    ]
    allowed = {"allowed": "yes" if answer.decision.allowed else "no"}
    found = [{**allowed, "fact": fact, **nothing, **row, "missing": list(missing)} for fact, row, missing in facts]
    return found or [{**allowed, "fact": answer.decision.reason, **nothing, "missing": []}]


def compare(difference: Difference) -> list[Row]:
    """A line a thing, with its verbs, and who may do it."""
    sides = (("first", difference.only_first), ("second", difference.only_second), ("both", difference.both))
    return [
        {"who": side, "namespace": thing.namespace, "verbs": list(verbs), "what": thing.target, "name": thing.name}
        for side, permissions in sides for thing, verbs in condensed(permissions)
    ]


def climbs(found: Iterable[Climb]) -> list[Row]:
    """A line a person (or subject) and step."""
    return [{"kind": who.kind, "name": who.name, **step} for climb in found for who in climb.who for step in steps(climb.paths)]


def steps(paths: Paths) -> list[Row]:
    """A line a step."""
    return [
        {"source": node(step.source), "means": str(step.means), "permission": permission(step.thanks_to), "target": node(step.target)}
        for step in paths.steps
    ]


def node(place: Node) -> str:
    """``ServiceAccount web/deployer``, ``Everything``."""
    scope = f" in {place.scope}" if place.kind is NodeKind.ROLE and place.scope else ""
    return f"{place.kind} {place.name}".strip() + scope


def permission(wanted: Request) -> str:
    """``create pods/exec in web``, as a person would say it."""
    named = f" {wanted.name}" if wanted.name else ""
    return f"{wanted.verb} {wanted.target}{named}" + (f" in {wanted.namespace}" if wanted.namespace else "")


def rule(one: PolicyRule) -> str:
    """One rule in a line: ``get,list pods,services.apps [name] | /path``."""
    things = [f"{resource}.{group}" if group else resource for group in one.api_groups for resource in one.resources]
    names = f" [{','.join(one.resource_names)}]" if one.resource_names else ""
    return f"{','.join(one.verbs)} {','.join([*things, *one.non_resource_urls])}{names}"


def role_of(binding: RoleBinding) -> str:
    """``ClusterRole/view``"""
    return f"{binding.role[0]}/{binding.role[2]}"


def _ground(ground: Ground) -> Row:
    way = ground.way
    return {
        "namespace": way.binding.namespace, "role": role_of(way.binding), "binding": f"{way.binding.kind}/{way.binding.name}",
        "subject": f"{way.subject_kind}/{way.subject}", "group": ground.group, "mapping": ground.mapping_id,
    }
