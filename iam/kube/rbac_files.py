"""RBAC objects from a file: what ``kubectl get clusterroles,roles,... -o json|yaml`` prints, checked field by field."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import yaml

from iam.errors import Invalid
from iam.kube.bindings import RBAC_GROUP

KINDS = {"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"}
_LISTS = {"List", *(f"{kind}List" for kind in KINDS)}
MAX_DEPTH = 100
_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")
_RULE = ("verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Reads ``=``, ``<<`` and ``2026-13-45`` as text, as kubectl does, which prints names like these unquoted."""


for _tag in ("value", "merge", "timestamp"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", lambda loader, node: loader.construct_scalar(node))


def read(text: str, source: str) -> list[dict[str, Any]]:
    """The RBAC objects in JSON or (multi-document) YAML. Raises Invalid: file, item, field, what would be right."""
    documents = []
    for position, document in enumerate(_flattened(_parsed(text, source), source)):
        where = f"{source} item {position}"
        _check(document, where)
        documents.append(document)
    return documents


def _parsed(text: str, source: str) -> list[Any]:
    try:
        if text.lstrip().startswith("{"):
            return [json.loads(text)]
        _refuse_depth(text)
        return list(yaml.load_all(text, Loader=_Loader))
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else getattr(error, "lineno", 1)
        raise Invalid("This is neither JSON nor YAML.", field=f"{source}:{line}") from None


def _refuse_depth(text: str) -> None:
    """libyaml's composer calls itself for each level and overruns the stack of the process; its parser does not."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem_mark=event.start_mark)  # type: ignore[arg-type]  # libyaml's own Mark


def _flattened(documents: list[Any], source: str) -> Iterator[dict[str, Any]]:
    for document in documents:
        if document is None:
            continue
        if not isinstance(document, dict):
            raise Invalid("This is an object.", field=source)
        if str(document.get("kind")) not in _LISTS:
            yield document
            continue
        items = document.get("items") or []
        if not isinstance(items, list):
            raise Invalid("items is a list.", field=f"{source} items")
        kind = str(document["kind"]).removesuffix("List")
        for item in items:
            yield {"kind": kind, **item} if isinstance(item, dict) and kind else item


def _check(document: Any, where: str) -> None:
    if not isinstance(document, dict):
        raise Invalid("This is an object.", field=where)
    kind, metadata = document.get("kind"), document.get("metadata")
    if str(kind) not in KINDS:
        raise Invalid("kind should be one of %(known)s.", field=f"{where} kind", known=", ".join(sorted(KINDS)))
    if str(document.get("apiVersion", f"{RBAC_GROUP}/v1")).partition("/")[0] != RBAC_GROUP:
        raise Invalid("apiVersion should be %(right)s.", field=f"{where} apiVersion", right=f"{RBAC_GROUP}/v1")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str) or not metadata["name"]:
        raise Invalid("An object has a name.", field=f"{where} metadata.name")
    if not isinstance(metadata.get("namespace") or "", str):
        raise Invalid("This is a string.", field=f"{where} metadata.namespace")
    if kind in {"Role", "RoleBinding"} and not metadata.get("namespace"):
        raise Invalid("A %(kind)s has a namespace.", field=f"{where} metadata.namespace", kind=kind)
    _check_strings(metadata, "labels", f"{where} metadata")
    if kind in {"Role", "ClusterRole"}:
        _check_aggregation(document, where)
        for position, rule in enumerate(_list(document, "rules", where)):
            _check_rule(rule, f"{where} rules[{position}]", is_namespaced=kind == "Role")
    else:
        _check_binding(document, where)


def _check_rule(rule: Any, where: str, *, is_namespaced: bool) -> None:
    if not isinstance(rule, dict):
        raise Invalid("This is an object.", field=where)
    for name in rule:
        if name not in _RULE:
            raise Invalid("Unknown field; known are %(known)s.", field=f"{where}.{name}", known=", ".join(_RULE))
    for name in _RULE:
        if not all(isinstance(value, str) for value in _list(rule, name, where)):
            raise Invalid("This is a list of strings.", field=f"{where}.{name}")
    if not rule.get("verbs"):
        raise Invalid("A rule needs verbs.", field=f"{where}.verbs")
    if rule.get("nonResourceURLs") and (is_namespaced or any(rule.get(name) for name in _RULE[1:4])):
        raise Invalid("nonResourceURLs stand alone, in a ClusterRole.", field=f"{where}.nonResourceURLs")
    if not rule.get("nonResourceURLs") and not (rule.get("resources") and rule.get("apiGroups")):
        raise Invalid("A rule needs apiGroups and resources, or nonResourceURLs.", field=f"{where}.resources")


def _check_aggregation(document: dict[str, Any], where: str) -> None:
    rule = document.get("aggregationRule") or {}
    if not isinstance(rule, dict):
        raise Invalid("This is an object.", field=f"{where} aggregationRule")
    for position, selector in enumerate(_list(rule, "clusterRoleSelectors", f"{where} aggregationRule")):
        at = f"{where} aggregationRule.clusterRoleSelectors[{position}]"
        if not isinstance(selector, dict):
            raise Invalid("This is an object.", field=at)
        _check_strings(selector, "matchLabels", at)
        for number, expression in enumerate(_list(selector, "matchExpressions", at)):
            here = f"{at}.matchExpressions[{number}]"
            if not isinstance(expression, dict):
                raise Invalid("This is an object.", field=here)
            if not isinstance(expression.get("key"), str):
                raise Invalid("This is a string.", field=f"{here}.key")
            if expression.get("operator") not in _OPERATORS:
                raise Invalid("Unknown field; known are %(known)s.", field=f"{here}.operator", known=", ".join(_OPERATORS))
            if not all(isinstance(value, str) for value in _list(expression, "values", here)):
                raise Invalid("This is a list of strings.", field=f"{here}.values")


def _check_strings(values: dict[str, Any], name: str, where: str) -> None:
    found = values.get(name) or {}
    if not isinstance(found, dict):
        raise Invalid("This is an object.", field=f"{where}.{name}")
    for key, value in found.items():
        if not isinstance(value, str):
            raise Invalid("This is a string.", field=f"{where}.{name}.{key}")


def _check_binding(document: dict[str, Any], where: str) -> None:
    ref = document.get("roleRef")
    if not isinstance(ref, dict) or ref.get("kind") not in ("Role", "ClusterRole") or not isinstance(ref.get("name"), str):
        raise Invalid("roleRef names a Role or a ClusterRole.", field=f"{where} roleRef")
    if document["kind"] == "ClusterRoleBinding" and ref["kind"] == "Role":
        raise Invalid("A ClusterRoleBinding refers to a ClusterRole.", field=f"{where} roleRef.kind")
    for position, subject in enumerate(_list(document, "subjects", where)):
        at = f"{where} subjects[{position}]"
        if not isinstance(subject, dict) or subject.get("kind") not in ("User", "Group", "ServiceAccount"):
            raise Invalid("A subject is a User, a Group or a ServiceAccount.", field=f"{at}.kind")
        if not isinstance(subject.get("name"), str) or not subject["name"]:
            raise Invalid("A subject has a name.", field=f"{at}.name")
        if not isinstance(subject.get("namespace") or "", str):
            raise Invalid("This is a string.", field=f"{at}.namespace")
        if subject["kind"] == "ServiceAccount" and document["kind"] == "ClusterRoleBinding" and not subject.get("namespace"):
            raise Invalid("A service account has a namespace.", field=f"{at}.namespace")


def _list(values: dict[str, Any], name: str, where: str) -> list[Any]:
    found = values.get(name)
    if found is None:
        return []
    if not isinstance(found, list):
        raise Invalid("This is a list.", field=f"{where}.{name}")
    return found
