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
_RULE = ("verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs")


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
        return list(yaml.load_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else getattr(error, "lineno", 1)
        raise Invalid("This is neither JSON nor YAML.", field=f"{source}:{line}") from None


def _flattened(documents: list[Any], source: str) -> Iterator[dict[str, Any]]:
    for document in documents:
        if document is None:
            continue
        if not isinstance(document, dict):
            raise Invalid("This is an object.", field=source)
        if document.get("kind") not in _LISTS:
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
    if kind not in KINDS:
        raise Invalid("kind should be one of %(known)s.", field=f"{where} kind", known=", ".join(sorted(KINDS)))
    if str(document.get("apiVersion", f"{RBAC_GROUP}/v1")).partition("/")[0] != RBAC_GROUP:
        raise Invalid("apiVersion should be %(right)s.", field=f"{where} apiVersion", right=f"{RBAC_GROUP}/v1")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str) or not metadata["name"]:
        raise Invalid("An object has a name.", field=f"{where} metadata.name")
    if kind in {"Role", "RoleBinding"} and not metadata.get("namespace"):
        raise Invalid("A %(kind)s has a namespace.", field=f"{where} metadata.namespace", kind=kind)
    if kind in {"Role", "ClusterRole"}:
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
    if rule.get("nonResourceURLs") and (is_namespaced or rule.get("resources") or rule.get("apiGroups")):
        raise Invalid("nonResourceURLs stand alone, in a ClusterRole.", field=f"{where}.nonResourceURLs")
    if not rule.get("nonResourceURLs") and not (rule.get("resources") and rule.get("apiGroups")):
        raise Invalid("A rule needs apiGroups and resources, or nonResourceURLs.", field=f"{where}.resources")


def _check_binding(document: dict[str, Any], where: str) -> None:
    ref = document.get("roleRef")
    if not isinstance(ref, dict) or ref.get("kind") not in {"Role", "ClusterRole"} or not isinstance(ref.get("name"), str):
        raise Invalid("roleRef names a Role or a ClusterRole.", field=f"{where} roleRef")
    if document["kind"] == "ClusterRoleBinding" and ref["kind"] == "Role":
        raise Invalid("A ClusterRoleBinding refers to a ClusterRole.", field=f"{where} roleRef.kind")
    for position, subject in enumerate(_list(document, "subjects", where)):
        at = f"{where} subjects[{position}]"
        if not isinstance(subject, dict) or subject.get("kind") not in {"User", "Group", "ServiceAccount"}:
            raise Invalid("A subject is a User, a Group or a ServiceAccount.", field=f"{at}.kind")
        if not isinstance(subject.get("name"), str) or not subject["name"]:
            raise Invalid("A subject has a name.", field=f"{at}.name")
        if subject["kind"] == "ServiceAccount" and document["kind"] == "ClusterRoleBinding" and not subject.get("namespace"):
            raise Invalid("A service account has a namespace.", field=f"{at}.namespace")


def _list(values: dict[str, Any], name: str, where: str) -> list[Any]:
    found = values.get(name)
    if found is None:
        return []
    if not isinstance(found, list):
        raise Invalid("This is a list.", field=f"{where}.{name}")
    return found
