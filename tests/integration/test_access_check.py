"""``iam access check``: what it answers, in which order, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from fixtures.cli import Iam, Said, assert_one_clear_line, installed
from fixtures.product import ProductMaker
from fixtures.real import RBAC, own_namespace

from iam.clusters.client import ApiServer
from iam.clusters.throwaway import ControlPlane
from iam.kube.kubeconfig import read

GROUP = "rbac.authorization.k8s.io"
ROLE = {
    "apiVersion": f"{GROUP}/v1", "kind": "ClusterRole", "metadata": {"name": "reader"},
    "rules": [
        {"verbs": ["get"], "apiGroups": ["", "apps"], "resources": ["pods", "pods/log", "deployments", "*/scale"]},
        {"verbs": ["get"], "nonResourceURLs": ["/healthz*"]},
    ],
}  # fmt: skip
EVERYWHERE = {
    "apiVersion": f"{GROUP}/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "readers"},
    "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": "reader"},
    "subjects": [{"apiGroup": GROUP, "kind": "User", "name": "alice"}],
}  # fmt: skip
IN_DEV = {
    **EVERYWHERE, "kind": "RoleBinding", "metadata": {"name": "robots", "namespace": "dev"},
    "subjects": [{"kind": "ServiceAccount", "name": "robot"}, {"apiGroup": GROUP, "kind": "Group", "name": "ops"}],
}  # fmt: skip
POLICY = '# who may\n{"user":"alice","readonly":true}\n\n{"group":"ops","namespace":"dev"}\n'
BY_RBAC = 'RBAC: allowed by ClusterRoleBinding "readers" of ClusterRole "reader" to User "alice"'
GET_PODS = {"verb": "get", "resource": "pods", "namespace": "dev"}


def asks(user: str, **attributes: str) -> dict[str, Any]:
    return {"user": user, "resourceAttributes": GET_PODS | attributes}


@pytest.fixture
def iam(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iam:
    return installed(monkeypatch, capsys, tmp_path)


@pytest.fixture
def rbac(tmp_path: Path) -> str:
    path = tmp_path / "rbac.yaml"
    path.write_text(yaml.safe_dump_all([ROLE, EVERYWHERE, IN_DEV]), "utf-8")
    return str(path)


@pytest.fixture
def policy(tmp_path: Path) -> str:
    path = tmp_path / "policy.jsonl"
    path.write_text(POLICY, "utf-8")
    return str(path)


def reviews(folder: Path, *lines: str) -> str:
    path = folder / "reviews.jsonl"
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return str(path)


def answers(said: Said) -> list[bool]:
    """One object a line and nothing else."""
    assert said.code == 0, said
    found = [json.loads(line) for line in said.out.splitlines()]
    assert all(answer.keys() == {"allowed", "reason"} for answer in found)
    return [answer["allowed"] for answer in found]


@pytest.mark.parametrize(("question", "code"), [
    (["get", "pods", "--as", "alice"], 0),
    (["get", "pods", "web", "--as", "alice", "-n", "prod"], 0),
    (["get", "pods/log", "--as", "alice"], 0),
    (["get", "deployments.apps", "--as", "alice"], 0),
    (["get", "deployments.apps/scale", "--as", "alice"], 0),
    (["get", "statefulsets.apps/scale", "--as", "alice"], 0),
    (["get", "statefulsets.apps", "--as", "alice"], 1),
    (["get", "jobs.batch/scale", "--as", "alice"], 1),
    (["list", "pods", "--as", "alice"], 1),
    (["get", "pods", "--as", "bob"], 1),
    (["get", "/healthz/etcd", "--as", "alice"], 0),
    (["get", "/livez", "--as", "alice"], 1),
    (["get", "pods", "--as", "system:serviceaccount:dev:robot", "-n", "dev"], 0),
    (["get", "pods", "--as", "system:serviceaccount:dev:robot", "-n", "prod"], 1),
    (["get", "pods", "--as", "system:serviceaccount:dev:robot"], 1),
    (["get", "pods", "--as", "zed", "--as-group", "x", "--as-group", "ops", "-n", "dev"], 0),
    (["get", "pods", "--as-group", "ops", "-n", "dev"], 0),
    (["shave", "yaks.example.com", "--as", "root", "--as-group", "system:masters"], 0),
])  # fmt: skip
def test_one_question_ends_with_0_if_allowed_and_1_if_not(iam: Iam, rbac: str, question: list[str], code: int) -> None:
    said = iam("access", "check", "--rbac", rbac, *question)
    assert said.code == code, said
    assert len(said.out.splitlines()) == 1
    assert said.out.startswith("yes - " if code == 0 else "no")
    assert not said.err


def test_one_question_answers_in_json_too(iam: Iam, rbac: str) -> None:
    allowed = iam("--json", "access", "check", "--rbac", rbac, "get", "pods", "--as", "alice")
    assert (allowed.code, allowed.json) == (0, {"allowed": True, "reason": BY_RBAC})
    refused = iam("--json", "access", "check", "--rbac", rbac, "get", "secrets", "--as", "alice")
    assert (refused.code, refused.json) == (1, {"allowed": False, "reason": ""})


@pytest.mark.parametrize(("question", "code", "reason"), [
    (["get", "secrets", "--as", "alice"], 0, "line 2"),
    (["get", "/any", "--as", "alice"], 0, "line 2"),
    (["delete", "secrets", "--as", "alice"], 1, "No policy matched."),
    (["delete", "jobs.batch", "--as", "zed", "--as-group", "ops", "-n", "dev"], 0, "line 4"),
])  # fmt: skip
def test_a_policy_file_answers_with_the_line(iam: Iam, policy: str, question: list[str], code: int, reason: str) -> None:
    said = iam("access", "check", "--abac", policy, *question)
    assert said.code == code, said
    assert reason in said.out


def test_reviews_are_answered_in_order_and_nothing_else_is_said(iam: Iam, rbac: str, tmp_path: Path) -> None:
    specs = [asks("alice" if number % 3 else "bob", name=str(number)) for number in range(500)]
    whole = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": asks("alice")}
    path = reviews(tmp_path, *map(json.dumps, specs), "", "   ", json.dumps(whole), json.dumps(asks("ünï"), ensure_ascii=False))
    said = iam("access", "check", "--rbac", rbac, "--reviews", path)
    assert answers(said) == [bool(number % 3) for number in range(500)] + [True, False]
    assert json.loads(said.out.splitlines()[1]) == {"allowed": True, "reason": BY_RBAC}
    assert not said.err


@pytest.mark.parametrize("ending", ["\n", "\r\n", ""])
def test_reviews_come_from_standard_input(iam: Iam, policy: str, ending: str) -> None:
    specs = [asks("alice"), asks("alice", verb="delete"), {"user": "alice", "nonResourceAttributes": {"verb": "get"}}]
    said = iam("access", "check", "--abac", policy, "--reviews", "-", stdin=(ending or "\n").join(map(json.dumps, specs)) + ending)
    assert answers(said) == [True, False, True]


def test_the_program_itself_keeps_standard_output_clean(rbac: str) -> None:
    lines = "".join(json.dumps(asks(user)) + "\n" for user in ("alice", "bob", "ünï"))
    done = subprocess.run(
        [sys.executable, "-m", "iam", "access", "check", "--rbac", rbac, "--reviews", "-"],
        input=lines.encode(), capture_output=True, timeout=60, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["allowed"] for line in done.stdout.splitlines()] == [True, False, False]
    assert done.stderr == b""


def test_no_review_is_no_answer(iam: Iam, rbac: str, tmp_path: Path) -> None:
    assert answers(iam("access", "check", "--rbac", rbac, "--reviews", reviews(tmp_path))) == []


def test_a_review_of_a_megabyte_is_answered_and_a_longer_one_refused(iam: Iam, rbac: str, tmp_path: Path) -> None:
    review = json.dumps(asks("alice") | {"extra": {"note": ["x" * 1_000_000]}})
    assert 1_000_000 < len(review) < 1024 * 1024
    assert answers(iam("access", "check", "--rbac", rbac, "--reviews", reviews(tmp_path, review))) == [True]
    longer = json.dumps(asks("alice") | {"extra": {"note": ["x" * 1024 * 1024]}})
    said = iam("access", "check", "--rbac", rbac, "--reviews", reviews(tmp_path, review, longer))
    assert_one_clear_line(said, "reviews.jsonl:2: A review is larger than 1 MiB.")
    assert len(said.out.splitlines()) == 1


@pytest.mark.parametrize(("line", "words"), [
    ("{", "reviews.jsonl:2: This is not JSON."),
    ("[]", "reviews.jsonl:2 review: A review is a JSON object."),
    ('{"user":"alice"}', "reviews.jsonl:2 spec.resourceAttributes: Give either resourceAttributes or nonResourceAttributes."),
    ('{"user":"a","resourceAttributes":{},"nonResourceAttributes":{}}', "reviews.jsonl:2 spec.resourceAttributes: Give either"),
    ('{"resourceAttributes":{}}', "reviews.jsonl:2 spec.user: One of user and groups"),
    ('{"user":"a","resourceAttributes":{"verbs":"get"}}', "reviews.jsonl:2 spec.resourceAttributes.verbs: Unknown field; known are"),
    ('{"user":' + "[" * 100_000, "reviews.jsonl:2: This is not JSON."),
    ('{"user":"a\0b"}', "reviews.jsonl:2: This is not JSON."),
])  # fmt: skip
def test_a_bad_review_ends_with_2_and_names_its_line_and_field(iam: Iam, rbac: str, tmp_path: Path, line: str, words: str) -> None:
    path = reviews(tmp_path, json.dumps(asks("alice")), line, json.dumps(asks("alice")))
    said = iam("access", "check", "--rbac", rbac, "--reviews", path)
    assert_one_clear_line(said, words)
    assert len(said.out.splitlines()) == 1, "what was asked before is answered"


@pytest.mark.parametrize(("name", "content", "option", "words"), [
    ("rbac.json", b'{"kind":"List","items":[{"kind":"Pod"}]}', "--rbac", "rbac.json item 0 kind: kind should be one of"),
    ("rbac.yaml", b"kind: List\nitems: [", "--rbac", "rbac.yaml:3: This is neither JSON nor YAML."),
    ("rbac.json", b'{"kind":"List"\xff', "--rbac", "cannot be read"),
    ("p.jsonl", b'{}\n{"user":"a","x":1}\n', "--abac", "p.jsonl:2 x: Unknown field; known are"),
    ("p.jsonl", b'{"user":"\xff"}\n', "--abac", "cannot be read"),
    ("p.jsonl", b"#" * 2_000_000, "--abac", "p.jsonl:1: The line is 64 KiB or longer"),
    ("p.jsonl", b"\xef\xbb\xbf{}\n", "--abac", "p.jsonl:1: "),
])  # fmt: skip
def test_a_bad_file_ends_with_2_and_names_its_place(
    iam: Iam, tmp_path: Path, name: str, content: bytes, option: str, words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    said = iam("access", "check", option, str(tmp_path / name), "get", "pods", "--as", "alice")
    assert_one_clear_line(said, words)
    assert not said.out


@pytest.mark.parametrize(("arguments", "words"), [
    (["get", "pods", "--as", "a"], "Give one of --rbac, --abac and --cluster."),
    (["--rbac", "a", "--abac", "b", "get", "pods", "--as", "a"], "Give one of --rbac, --abac and --cluster."),
    (["--rbac", "absent.yaml", "get", "pods", "--as", "a"], "absent.yaml cannot be read"),
    (["--rbac", ".", "get", "pods", "--as", "a"], "cannot be read"),
    (["--rbac", "RBAC"], "Ask VERB and RESOURCE"),
    (["--rbac", "RBAC", "get", "--as", "a"], "Ask VERB and RESOURCE"),
    (["--rbac", "RBAC", "get", "pods"], "with --as (or --as-group)"),
    (["--rbac", "RBAC", "--reviews", "absent.jsonl"], "absent.jsonl cannot be read"),
])  # fmt: skip
def test_a_bad_question_ends_with_2(iam: Iam, rbac: str, arguments: list[str], words: str) -> None:
    assert_one_clear_line(iam("access", "check", *(rbac if word == "RBAC" else word for word in arguments)), words)


def test_a_lone_carriage_return_ends_no_line(iam: Iam, tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_bytes(b'# retired: \r{"user":"alice"}\n')
    assert iam("access", "check", "--abac", str(tmp_path / "p.jsonl"), "get", "pods", "--as", "alice").code == 1


def test_a_registered_cluster_answers_by_what_it_holds_now(
    iam: Iam, make_product: ProductMaker, control_plane: ControlPlane, tmp_path: Path
) -> None:
    product = make_product(encryption_keys=[iam.key])
    product.register(control_plane)
    api = ApiServer(read(control_plane.kubeconfig()))
    place = own_namespace(api, "test_access_check")
    ask = ("access", "check", "--cluster", "prod")
    question = ("list", "configmaps", "--as", "clara", "-n", place)
    assert iam(*ask, *question).code == 1
    ref = {"apiGroup": GROUP, "kind": "ClusterRole", "name": "view"}
    subjects = [{"apiGroup": GROUP, "kind": "User", "name": "clara"}]
    api.post(f"{RBAC}/namespaces/{place}/rolebindings", {"metadata": {"name": "clara"}, "roleRef": ref, "subjects": subjects})
    allowed = iam(*ask, *question)
    assert (allowed.code, allowed.err) == (0, "")
    assert f'RoleBinding "clara/{place}" of ClusterRole "view"' in allowed.out

    specs = [asks("clara", namespace=place), asks("clara"), asks("clara", verb="delete", namespace=place)]
    said = iam(*ask, "--reviews", reviews(tmp_path, *map(json.dumps, specs)))
    assert answers(said) == [True, False, False]
    theirs = [api.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", {"spec": spec})["status"]["allowed"] for spec in specs]
    assert theirs == [True, False, False]


def test_an_unknown_cluster_ends_with_2(iam: Iam, make_product: ProductMaker) -> None:
    make_product(encryption_keys=[iam.key])
    assert_one_clear_line(iam("access", "check", "--cluster", "absent", "get", "pods", "--as", "a"), "absent")
