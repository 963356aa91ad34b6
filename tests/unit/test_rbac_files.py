"""RBAC objects from files: what kubectl prints is read as it is; what the API server would not take is refused by item and field."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from iam.errors import Invalid
from iam.kube import rbac_files
from iam.kube.authorizer import Snapshot
from iam.kube.requests import Request

GROUP = "rbac.authorization.k8s.io"
RULE = {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}
REF = {"apiGroup": GROUP, "kind": "ClusterRole", "name": "reader"}
ALICE = {"apiGroup": GROUP, "kind": "User", "name": "alice"}
Document = dict[str, Any]


def one(kind: str, *, namespace: Any = None, **more: Any) -> Document:
    metadata = {"name": "reader"} | ({"namespace": namespace} if namespace is not None else {})
    return {"apiVersion": f"{GROUP}/v1", "kind": kind, "metadata": metadata, **more}


def role(**rule: Any) -> Document:
    return one("ClusterRole", rules=[rule])


def aggregated(rule: Any) -> Document:
    return one("ClusterRole", aggregationRule=rule)


def selecting(selector: Any) -> Document:
    return aggregated({"clusterRoleSelectors": [selector]})


def binding(**more: Any) -> Document:
    return one("ClusterRoleBinding", **({"roleRef": REF, "subjects": [ALICE]} | more))


def bound_to(subject: Any, kind: str = "ClusterRoleBinding") -> Document:
    return one(kind, namespace="dev" if kind == "RoleBinding" else None, roleRef=REF, subjects=[subject])


def listed(*items: Any, kind: str = "List") -> str:
    return json.dumps({"apiVersion": "v1", "kind": kind, "items": items})


GOOD = [role(**RULE), binding()]


@pytest.mark.parametrize("text", [
    listed(*GOOD),
    "\n  " + listed(*GOOD),
    yaml.safe_dump_all(GOOD),
    "---\n" + yaml.safe_dump_all(GOOD, explicit_end=True),
    "# comment\n---\n---\n" + yaml.safe_dump({"kind": "List", "items": GOOD}),
    "\ufeff" + yaml.safe_dump_all(GOOD),
    yaml.safe_dump_all(GOOD).replace("\n", "\r\n"),
    yaml.safe_dump_all([{"kind": "ClusterRoleList", "items": GOOD[:1]}, {"kind": "ClusterRoleBindingList", "items": GOOD[1:]}]),
    yaml.safe_dump_all(
        {"kind": f"{one['kind']}List", "items": [{name: value for name, value in one.items() if name != "kind"}]} for one in GOOD
    ),
])  # fmt: skip
def test_lists_and_documents_in_json_and_yaml_are_read_alike(text: str) -> None:
    snapshot = Snapshot.from_documents(rbac_files.read(text, "f"))
    assert snapshot.decide(Request("alice", "get", resource="pods")).allowed
    assert not snapshot.decide(Request("bob", "get", resource="pods")).allowed


@pytest.mark.parametrize("text", [
    "", "\n", "# nothing\n", "---\n", listed(), listed(kind="RoleList"), '{"kind":"List"}', '{"kind":"List","items":null}',
])  # fmt: skip
def test_nothing_is_a_list_too(text: str) -> None:
    assert rbac_files.read(text, "f") == []


@pytest.mark.parametrize("name", ["=", "<<", "2026-13-45", "2026-01-01", "2001-12-14t21:59:43.10-05:00"])
def test_names_that_kubectl_prints_unquoted_are_text(name: str) -> None:
    """Go's YAML writer quotes what Go's reader would take for something else; Python's takes more for something else."""
    text = yaml.safe_dump(role(**RULE, resourceNames=["NAME"])).replace("NAME", name)
    assert f"- {name}\n" in text
    assert rbac_files.read(text, "f")[0]["rules"][0]["resourceNames"] == [name]


def test_rules_that_are_null_are_no_rules() -> None:
    (document,) = rbac_files.read(yaml.safe_dump(one("ClusterRole", rules=None)), "f")
    assert not Snapshot.from_documents([document]).roles["ClusterRole", "", "reader"].rules


@pytest.mark.parametrize(("document", "field", "what"), [
    (one("Pod"), "kind", "ClusterRole, ClusterRoleBinding, Role, RoleBinding"),
    (one("clusterrole"), "kind", "ClusterRole"),
    ({"metadata": {"name": "a"}}, "kind", "ClusterRole"),
    ({"kind": ["ClusterRole"], "metadata": {"name": "a"}}, "kind", "ClusterRole"),
    ({**one("ClusterRole"), "apiVersion": "v1"}, "apiVersion", f"{GROUP}/v1"),
    ({**one("ClusterRole"), "apiVersion": None}, "apiVersion", f"{GROUP}/v1"),
    ({"kind": "ClusterRole"}, "metadata.name", "name"),
    ({"kind": "ClusterRole", "metadata": []}, "metadata.name", "name"),
    ({"kind": "ClusterRole", "metadata": {"name": ""}}, "metadata.name", "name"),
    ({"kind": "ClusterRole", "metadata": {"name": 5}}, "metadata.name", "name"),
    (one("Role"), "metadata.namespace", "A Role has a namespace"),
    (one("Role", namespace=5), "metadata.namespace", "string"),
    (one("RoleBinding", roleRef=REF), "metadata.namespace", "A RoleBinding has a namespace"),
    ({**one("ClusterRole"), "metadata": {"name": "a", "labels": ["a"]}}, "metadata.labels", "object"),
    ({**one("ClusterRole"), "metadata": {"name": "a", "labels": {"a": 1}}}, "metadata.labels.a", "string"),
    (one("ClusterRole", rules={}), "rules", "list"),
    (one("ClusterRole", rules=["get"]), "rules[0]", "object"),
    (role(apiGroups=[""], resources=["pods"]), "rules[0].verbs", "needs verbs"),
    (role(verbs=[], apiGroups=[""], resources=["pods"]), "rules[0].verbs", "needs verbs"),
    (role(verbs="get", apiGroups=[""], resources=["pods"]), "rules[0].verbs", "list"),
    (role(verbs=["get"]), "rules[0].resources", "apiGroups and resources, or nonResourceURLs"),
    (role(verbs=["get"], resources=["pods"]), "rules[0].resources", "apiGroups and resources"),
    (role(verbs=["get"], apiGroups=[""]), "rules[0].resources", "apiGroups and resources"),
    (role(**RULE, nonResourceURLs=["/a"]), "rules[0].nonResourceURLs", "stand alone"),
    (role(verbs=["get"], nonResourceURLs=["/a"], resourceNames=["a"]), "rules[0].nonResourceURLs", "stand alone"),
    (one("Role", namespace="dev", rules=[{"verbs": ["get"], "nonResourceURLs": ["/a"]}]), "rules[0].nonResourceURLs", "in a ClusterRole"),
    (role(**RULE, resourceNames=[5]), "rules[0].resourceNames", "list of strings"),
    (role(**RULE, resourceNames=[True]), "rules[0].resourceNames", "list of strings"),
    (role(**RULE, Verbs=["*"]), "rules[0].Verbs", "known are verbs, apiGroups"),
    (role(**RULE, attributeRestrictions={}), "rules[0].attributeRestrictions", "Unknown field"),
    (aggregated(["a"]), "aggregationRule", "object"),
    (aggregated({"clusterRoleSelectors": {}}), "aggregationRule.clusterRoleSelectors", "list"),
    (selecting("a"), "aggregationRule.clusterRoleSelectors[0]", "object"),
    (selecting({"matchLabels": {"a": True}}), "aggregationRule.clusterRoleSelectors[0].matchLabels.a", "string"),
    (selecting({"matchExpressions": ["a"]}), "aggregationRule.clusterRoleSelectors[0].matchExpressions[0]", "object"),
    (selecting({"matchExpressions": [{"operator": "In"}]}), "aggregationRule.clusterRoleSelectors[0].matchExpressions[0].key", "string"),
    (selecting({"matchExpressions": [{"key": "a", "operator": "in"}]}),
     "aggregationRule.clusterRoleSelectors[0].matchExpressions[0].operator", "In, NotIn, Exists, DoesNotExist"),
    (selecting({"matchExpressions": [{"key": "a", "operator": "In", "values": [1]}]}),
     "aggregationRule.clusterRoleSelectors[0].matchExpressions[0].values", "list of strings"),
    (binding(roleRef=None), "roleRef", "Role or a ClusterRole"),
    (binding(roleRef={"kind": "User", "name": "a"}), "roleRef", "Role or a ClusterRole"),
    (binding(roleRef={"kind": ["Role"], "name": "a"}), "roleRef", "Role or a ClusterRole"),
    (binding(roleRef={"kind": "ClusterRole"}), "roleRef", "Role or a ClusterRole"),
    (binding(roleRef={"kind": "Role", "name": "a"}), "roleRef.kind", "refers to a ClusterRole"),
    (binding(subjects={}), "subjects", "list"),
    (bound_to("alice"), "subjects[0].kind", "User, a Group or a ServiceAccount"),
    (bound_to({"kind": "user", "name": "a"}), "subjects[0].kind", "User"),
    (bound_to({"kind": ["User"], "name": "a"}), "subjects[0].kind", "User"),
    (bound_to({"kind": "User"}), "subjects[0].name", "name"),
    (bound_to({"kind": "Group", "name": 5}), "subjects[0].name", "name"),
    (bound_to({"kind": "ServiceAccount", "name": "a"}), "subjects[0].namespace", "has a namespace"),
    (bound_to({"kind": "ServiceAccount", "name": "a", "namespace": 7}, "RoleBinding"), "subjects[0].namespace", "string"),
])  # fmt: skip
def test_bad_objects_are_refused_with_file_item_and_field(document: Document, field: str, what: str) -> None:
    for text in (listed(*GOOD, document), yaml.safe_dump_all([*GOOD, document])):
        with pytest.raises(Invalid) as refused:
            rbac_files.read(text, "roles.yaml")
        found = (refused.value.field or "").removeprefix("roles.yaml item 2").lstrip(" .")
        assert found == field, refused.value.field
        assert what in str(refused.value)


@pytest.mark.parametrize(("text", "field"), [
    ("[]", "f"), ("5", "f"), ("alice", "f"), ("- kind: List", "f"),
    ('{"kind":"List","items":{"a":1}}', "f items"), ('{"kind":"List","items":[5]}', "f item 0"),
])  # fmt: skip
def test_what_is_no_object_is_refused(text: str, field: str) -> None:
    with pytest.raises(Invalid) as refused:
        rbac_files.read(text, "f")
    assert refused.value.field == field


@pytest.mark.parametrize(("text", "line"), [
    ('{"kind": "List",\n "items": [}', 2), ("kind: List\nitems: [", 3), ("a: b: c", 1), ("kind: List\n\tx: 1", 2), ("\0", 1),
    ("kind: !!python/object:os.x {}", 1), ("a: [*b]", 1), ("kind: List\nitems: [0x_]", 1), ('{"a":' + "[" * 100_000, 1),
    ("[" * 100_000, 1), ("a:\n" + "- " * 100_000, 2),
], ids=range(11))  # fmt: skip
def test_what_is_neither_json_nor_yaml_is_refused_with_its_line(text: str, line: int) -> None:
    with pytest.raises(Invalid, match="neither JSON nor YAML") as refused:
        rbac_files.read(text, "f")
    assert refused.value.field == f"f:{line}"


def test_a_thousand_aliases_of_one_list_do_not_multiply() -> None:
    layers = "\n".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 30))
    text = f"kind: ClusterRole\nmetadata: {{name: a}}\nl0: &l0 [a]\n{layers}\nrules:\n- verbs: *l29\n"
    with pytest.raises(Invalid, match="list of strings"):
        rbac_files.read(text, "f")
