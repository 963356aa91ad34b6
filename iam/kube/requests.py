"""What is asked of an authorizer, and what it answers.

A Request is one SubjectAccessReview's spec: who, and either resource attributes or a path. Source:
k8s.io/api/authorization/v1 and pkg/registry/authorization/util/helpers.go (how a review becomes attributes).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from iam.errors import Invalid
from iam.kube import resources

READ_ONLY_VERBS = frozenset({"get", "list", "watch"})
MASTERS = "system:masters"
AUTHENTICATED = "system:authenticated"
UNAUTHENTICATED = "system:unauthenticated"
SERVICE_ACCOUNT = "system:serviceaccount:"
_LABEL = "[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_SERVICE_ACCOUNT_USER = re.compile(rf"{SERVICE_ACCOUNT}({_LABEL}):{_LABEL}(?:\.{_LABEL})*")
_RESOURCE_FIELDS = {"namespace", "verb", "group", "version", "resource", "subresource", "name", "fieldSelector", "labelSelector"}
_SPEC_FIELDS = {"user", "groups", "uid", "extra", "resourceAttributes", "nonResourceAttributes"}


@dataclass(frozen=True, slots=True)
class Request:
    """One question: may this user do this? ``path`` is set for non-resource requests, ``resource`` for the others."""

    user: str
    verb: str
    groups: tuple[str, ...] = ()
    api_group: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""
    namespace: str = ""
    path: str | None = None

    @property
    def is_read_only(self) -> bool:
        """Whether the verb only reads, as ABAC understands it."""
        return self.verb in READ_ONLY_VERBS

    def by(self, user: str, groups: tuple[str, ...]) -> Request:
        """The same, asked by somebody."""
        return replace(self, user=user, groups=groups)

    def as_review(self) -> dict[str, Any]:
        """The spec of the SubjectAccessReview that asks this."""
        if self.path is not None:
            what: dict[str, Any] = {"nonResourceAttributes": {"path": self.path, "verb": self.verb}}
        else:
            fields = {
                "namespace": self.namespace, "verb": self.verb, "group": self.api_group, "resource": self.resource,
                "subresource": self.subresource, "name": self.name,
            }
            what = {"resourceAttributes": {name: value for name, value in fields.items() if value}}
        return {"user": self.user, "groups": list(self.groups), **what}

    @property
    def target(self) -> str:
        """What it is about, as ``in_words`` reads it: ``deployments.apps/scale``, or the path."""
        if self.path is not None:
            return self.path
        kind = f"{self.resource}.{self.api_group}" if self.api_group else self.resource
        return f"{kind}/{self.subresource}" if self.subresource else kind

    @property
    def combined_resource(self) -> str:
        """``pods/log`` where there is a subresource, else ``pods``."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer, and why. ``reason`` reads as kube-apiserver's does."""

    allowed: bool
    reason: str = ""
    binding: str = field(default="", compare=False)
    """``kind namespace/name`` of the binding, or the line of the policy, that allows."""


def with_implied_groups(user: str, groups: tuple[str, ...]) -> tuple[str, ...]:
    """The groups that authentication adds by itself: ``system:authenticated``, and a service account's own two.

    A review carries them already; a question by flags does not. Source: staging/src/k8s.io/apiserver
    pkg/authentication/serviceaccount/util.go and pkg/authentication/group/authenticated_group_adder.go.
    """
    implied = [UNAUTHENTICATED] if user == "system:anonymous" or UNAUTHENTICATED in groups else [AUTHENTICATED]
    account = _SERVICE_ACCOUNT_USER.fullmatch(user)
    if account:
        implied = ["system:serviceaccounts", f"system:serviceaccounts:{account[1]}", *implied]
    return tuple(dict.fromkeys([*groups, *implied]))


def in_words(verb: str, target: str, name: str = "", namespace: str = "") -> Request:
    """A permission as kubectl takes it: ``get pods/log``, ``create deployments.apps``, ``get /healthz``.

    A built-in resource outside the core group may leave its group out (``deployments``), as with kubectl; a trailing dot
    (``deployments.``) means the core group. Raises Invalid.
    """
    verb, target = verb.strip(), target.strip()
    if not verb or not target:
        raise Invalid("Say what is to be done, and to what: a verb and a resource or a path.", field="verb" if not verb else "resource")
    if target.startswith("/"):
        return Request("", verb, path=target)
    kind, _, subresource = target.partition("/")
    resource, dot, api_group = kind.partition(".")
    served_by = resources.groups_of(resource)
    if not dot and served_by and "" not in served_by:
        api_group = served_by[0]
    name, namespace = name.strip(), namespace.strip()
    if (api_group, resource) == ("", "namespaces") and name and not namespace:
        namespace = name  # as the API server reads /api/v1/namespaces/NAME (apiserver, pkg/endpoints/request/requestinfo.go)
    return Request("", verb, (), api_group, resource, subresource, name, namespace)


def service_account_user(namespace: str, name: str) -> str:
    """The user name of a service account."""
    return f"{SERVICE_ACCOUNT}{namespace}:{name}"


def from_review(spec: Any) -> Request:
    """The Request behind a SubjectAccessReview (or its spec alone). Raises Invalid, naming the field."""
    if not isinstance(spec, dict):
        raise Invalid("A review is a JSON object.", field="review")
    if "spec" in spec and "resourceAttributes" not in spec and "nonResourceAttributes" not in spec:
        spec = spec["spec"]
        if not isinstance(spec, dict):
            raise Invalid("spec is an object.", field="spec")
    _refuse_unknown(spec, _SPEC_FIELDS, "spec")
    groups = spec.get("groups") or []
    if not isinstance(groups, list) or not all(isinstance(group, str) for group in groups):
        raise Invalid("groups is a list of strings.", field="spec.groups")
    user = _text(spec, "user", "spec")
    if not user and not groups:
        raise Invalid("One of user and groups is required.", field="spec.user")
    resource, other = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if (resource is None) == (other is None):
        raise Invalid("Give either resourceAttributes or nonResourceAttributes.", field="spec.resourceAttributes")
    if resource is not None:
        return _resource_request(user, tuple(groups), _object(resource, "spec.resourceAttributes"))
    return _path_request(user, tuple(groups), _object(other, "spec.nonResourceAttributes"))


def _resource_request(user: str, groups: tuple[str, ...], attributes: Mapping[str, Any]) -> Request:
    where = "spec.resourceAttributes"
    _refuse_unknown(attributes, _RESOURCE_FIELDS, where)
    return Request(
        user, _text(attributes, "verb", where), groups, _text(attributes, "group", where), _text(attributes, "resource", where),
        _text(attributes, "subresource", where), _text(attributes, "name", where), _text(attributes, "namespace", where),
    )


def _path_request(user: str, groups: tuple[str, ...], attributes: Mapping[str, Any]) -> Request:
    where = "spec.nonResourceAttributes"
    _refuse_unknown(attributes, {"path", "verb"}, where)
    return Request(user, _text(attributes, "verb", where), groups, path=_text(attributes, "path", where))


def _object(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Invalid("This is an object.", field=where)
    return value


def _text(values: Mapping[str, Any], name: str, where: str) -> str:
    value = values.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Invalid("This is a string.", field=f"{where}.{name}")
    return value


def _refuse_unknown(values: Mapping[str, Any], known: set[str], where: str) -> None:
    for name in values:
        if name not in known:
            raise Invalid("Unknown field; known are %(known)s.", field=f"{where}.{name}", known=", ".join(sorted(known)))
