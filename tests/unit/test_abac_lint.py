"""What lint says of a policy file, and of what it keeps silent."""

from __future__ import annotations

import pytest

from iam.kube import abac
from iam.kube.abac import Policy, Reference
from iam.kube.abac_coverage import Coverage, gained, witness
from iam.kube.abac_lint import MOST_NAMED, Code, Finding, Severity, lint
from iam.kube.requests import AUTHENTICATED, UNAUTHENTICATED, Request

ROBOT = "system:serviceaccount:dev:robot"
Found = tuple[int, Code, Severity, str]
KUBERNETES = (
    Policy("system:kube-controller-manager", "", False, "*", "*", "*"),
    Policy("system:kube-scheduler", "", False, "*", "*", "*"),
    Policy("system:kube-proxy", "", True, "*", "*", "*"),
    Policy("", "system:nodes", False, "*", "*", "*"),
)


def looked_at(*policies: Policy, alone: bool = False) -> list[Finding]:
    return lint(list(enumerate(policies, start=1)), alone=alone)


def said(*policies: Policy, alone: bool = False) -> list[Found]:
    return [(one.line, one.code, one.severity, str(one.says)) for one in looked_at(*policies, alone=alone)]


def pods(user: str = "", group: str = "", **more: str) -> Policy:
    return Policy(user, group, **{"namespace": "dev", "resource": "pods", **more})  # type: ignore[arg-type]  # one field is a boolean


def test_a_good_file_is_passed_without_a_word() -> None:
    assert said(
        pods("alice"), pods("alice", namespace="prod"), pods("bob"), pods(group="dev"),
        pods("alice", resource="deployments", api_group="apps"),
        Policy("alice", non_resource_path="/healthz"), Policy("alice", non_resource_path="*", readonly=True),
        pods("alice", resource="widgets", api_group="example.org"), pods("alice", resource="pods", api_group="metrics.k8s.io"),
        Policy("alice", namespace="*", resource="nodes"), pods("alice", resource="namespaces"), Policy("carol", resource="nodes"),
    ) == []  # fmt: skip
    assert said() == []


@pytest.mark.parametrize(("policy", "says"), [
    (Policy(namespace="*", resource="*", api_group="*", non_resource_path="*"), "The line names nobody: neither a user nor a group."),
    (Policy("alice", namespace="dev"), "The line names nothing: neither a resource nor a nonResourcePath."),
    (Policy("alice", non_resource_path="healthz"), "Paths begin with a slash; healthz never matches."),
    (pods("alice", resource="pods/log"), "ABAC knows no subresources: pods covers pods/log too, and pods/log never matches."),
    (pods("alice", resource="pod*"), "Only a * that stands alone is a wildcard; pod* is taken literally."),
    (pods("alice", api_group="*.k8s.io"), "Only a * that stands alone is a wildcard; *.k8s.io is taken literally."),
    (pods("alice", namespace="dev-*"), "Only a * that stands alone is a wildcard; dev-* is taken literally."),
    (pods("alice", resource="Pods"), "Resources are written in lower-case letters, like pods; Pods never matches."),
    (pods("alice", resource=" pods"), "Resources are written in lower-case letters, like pods;  pods never matches."),
    (pods("alice", namespace="Dev"), "Dev cannot be the name of a namespace."),
    (pods("alice", namespace="d" * 64), "d" * 64 + " cannot be the name of a namespace."),
    (pods("alice", api_group="apps"), 'pods belong to the API group "".'),
    (pods("alice", resource="deployments"), 'deployments belong to the API group "apps".'),
    (pods("alice", resource="events", api_group="apps"), 'events belong to the API group "" / "events.k8s.io".'),
    (pods("alice", resource="nodes"), "nodes lie in no namespace; write * as the namespace."),
])  # fmt: skip
def test_a_line_that_never_matches_says_why(policy: Policy, says: str) -> None:
    assert said(pods("bob"), policy) == [(2, Code.NEVER_MATCHES, Severity.ERROR, says)]


@pytest.mark.parametrize("path", ["/healthz", "/apis/*", "*"])
def test_a_line_that_is_good_for_its_path_matches(path: str) -> None:
    assert said(Policy("alice", "", False, "", "Pods", "", path), Policy("bob", non_resource_path=path)) == []


@pytest.mark.parametrize(("policy", "severity", "says"), [
    (Policy("alice"), Severity.WARNING, "alice may do everything in every namespace."),
    (Policy("", "dev", readonly=True), Severity.WARNING, "dev may read everything in every namespace, Secrets included."),
    (Policy("alice", "dev"), Severity.WARNING, "alice + dev may do everything in every namespace."),
    (Policy("", AUTHENTICATED), Severity.ERROR, "system:authenticated may do everything in every namespace."),
    (Policy("", AUTHENTICATED, readonly=True), Severity.ERROR,
     "system:authenticated may read everything in every namespace, Secrets included."),
    (Policy("", UNAUTHENTICATED), Severity.ERROR, "system:unauthenticated may do everything in every namespace."),
    (Policy("system:anonymous"), Severity.ERROR, "system:anonymous may do everything in every namespace."),
    (Policy("system:kube-scheduler"), Severity.NOTE, "system:kube-scheduler may do everything in every namespace."),
    (Policy("", "system:nodes"), Severity.NOTE, "system:nodes may do everything in every namespace."),
])  # fmt: skip
def test_who_gets_everything_decides_how_bad_it_is(policy: Policy, severity: Severity, says: str) -> None:
    everything = Policy(policy.user, policy.group, policy.readonly, "*", "*", "*")
    assert said(everything) == [(1, Code.EVERYTHING, severity, says)]


def test_a_line_that_would_become_too_long_is_named() -> None:
    """A legacy line is shorter than what it becomes, and a reference shorter than the name behind it."""
    longest = 64 * 1024 - 1 - len(pods("").render()) - len('"user":"",')
    assert said(pods("u" * longest)) == []
    assert said(pods("u" * (longest + 1))) == [
        (1, Code.TOO_LONG, Severity.ERROR, "Written out, the line is 64 KiB or longer, which the API server cannot read; split it."),
    ]
    assert [one.code for one in looked_at(pods("ü" * (longest // 2 + 1)))] == [Code.TOO_LONG]


def test_a_line_after_a_wider_one_is_shadowed() -> None:
    says = "Line 1 allows all of this already."
    wide = Policy("alice", "", False, "*", "pods", "*")
    for narrow in (pods("alice"), pods("alice", "dev"), Policy("alice", "", True, "dev", "pods"), wide):
        assert said(wide, narrow) == [(2, Code.SHADOWED, Severity.WARNING, says)]


def test_a_line_before_a_wider_one_is_named_there() -> None:
    says = "This allows all of line 1, 2, and more; what is narrower limits nothing."
    assert said(pods("alice"), Policy("alice", "", True, "dev", "pods"), Policy("alice", "", False, "*", "pods")) == [
        (2, Code.SHADOWED, Severity.WARNING, "Line 1 allows all of this already."),
        (3, Code.WIDER, Severity.WARNING, says.replace("1, 2", "1")),
    ]
    assert said(pods("alice"), pods("alice", resource="secrets"), Policy("alice", "", False, "dev", "*")) == [
        (3, Code.WIDER, Severity.WARNING, says),
    ]


def test_of_many_narrower_lines_the_first_are_named() -> None:
    names = [f"n-{number}" for number in range(MOST_NAMED + 2)]
    (wider,) = looked_at(*(pods("alice", namespace=name) for name in names), pods("alice", namespace="*"))
    assert str(wider.says).startswith("This allows all of line 1, 2, 3, 4, 5, …, and more")


def test_of_equal_lines_all_but_the_first_are_shadowed() -> None:
    assert [one[:2] for one in said(pods("alice"), pods("alice"), pods("alice"))] == [(2, Code.SHADOWED), (3, Code.SHADOWED)]
    assert {one[3] for one in said(pods("alice"), pods("bob"), pods("alice"), pods("alice"))} == {"Line 1 allows all of this already."}


def test_of_lines_that_mean_the_same_in_other_words_one_is_needed() -> None:
    """Whoever is logged in is in system:authenticated, so to demand it changes nothing."""
    for one, other in ((pods("alice"), pods("alice", AUTHENTICATED)), (pods(ROBOT, AUTHENTICATED), pods(ROBOT, "system:serviceaccounts"))):
        for first, second in ((one, other), (other, one)):
            assert said(first, second) == [(2, Code.SHADOWED, Severity.WARNING, "Line 1 allows all of this already.")]


def test_lines_that_only_overlap_are_both_needed() -> None:
    assert said(Policy("alice", "", True, "*", "pods"), pods("alice")) == []
    assert said(Policy("alice", "", False, "*", "pods"), Policy("alice", "", False, "dev", "*")) == []
    assert said(Policy("alice", non_resource_path="/a"), Policy("alice", non_resource_path="/a/*")) == []
    assert said(pods("alice", non_resource_path="/a"), pods("alice", resource="*")) == []


def test_a_line_whose_two_halves_come_from_two_lines_blames_neither_alone() -> None:
    findings = said(pods("alice", resource="*"), Policy("alice", non_resource_path="*"), pods("alice", non_resource_path="/a"))
    assert "Line 1 allows all of this already." not in {says for *_, says in findings}
    assert "Line 2 allows all of this already." not in {says for *_, says in findings}


def test_a_line_that_a_later_one_widens_in_one_half_only_is_named_there() -> None:
    says = "This allows all of line 1, and more; what is narrower limits nothing."
    for wider in (pods("alice", resource="*", non_resource_path="/a"), pods("alice", non_resource_path="/a*")):
        assert said(pods("alice", non_resource_path="/a"), wider) == [(2, Code.WIDER, Severity.WARNING, says)]


@pytest.mark.parametrize(("path", "wider"), [
    ("/a", "/a*"), ("/a/b", "/a/*"), ("/a/*", "/a*"), ("/a", "*"), ("/a/**", "/a/*"), ("/x*y", "/x*"),
])  # fmt: skip
def test_paths_are_covered_by_their_beginning(path: str, wider: str) -> None:
    found = said(Policy("alice", non_resource_path=wider), Policy("alice", non_resource_path=path))
    assert [one[:2] for one in found] == [(2, Code.SHADOWED)]


def test_everybody_who_is_logged_in_covers_each_of_them_but_nobody_else() -> None:
    everybody = pods(group=AUTHENTICATED)
    for covered in (pods("alice"), pods(group="dev"), pods("alice", "dev"), pods(ROBOT)):
        assert [one[:2] for one in said(everybody, covered)] == [(2, Code.SHADOWED)]
    for other in (pods("system:anonymous"), pods(group=UNAUTHENTICATED), pods("system:anonymous", "dev")):
        assert said(everybody, other) == []
        assert gained([everybody], [other]) == [other]
    assert [one[:2] for one in said(pods(group="system:serviceaccounts:dev"), pods(ROBOT))] == [(2, Code.SHADOWED)]
    assert said(pods(group="system:serviceaccounts:prod"), pods(ROBOT)) == []


def test_behind_a_reference_a_line_is_useless_only_if_it_is_for_all_of_its_users() -> None:
    text = "\n".join((pods("alice").render(), abac.render_line(pods(), Reference("person", "staff:all"))))
    lines = list(abac.lines(text, references=True))
    assert lint(list(abac.expanded(lines, lambda _: ["alice", "bob"])), alone=False) == []
    shadowed = lint(list(abac.expanded(lines, lambda _: ["alice"])), alone=False)
    assert [(one.line, one.code) for one in shadowed] == [(2, Code.SHADOWED)]


def test_users_behind_a_reference_that_two_lines_serve_blame_neither_alone() -> None:
    numbered = [(1, pods("alice")), (2, pods("bob")), (3, pods("alice")), (3, pods("bob"))]
    says = {str(one.says) for one in lint(numbered, alone=False)}
    assert not says & {"Line 1 allows all of this already.", "Line 2 allows all of this already."}


def test_users_behind_a_reference_share_a_finding() -> None:
    found = lint([(7, pods(user, resource="Pods")) for user in ("alice", "bob")], alone=False)
    assert [(one.line, one.code) for one in found] == [(7, Code.NEVER_MATCHES)]


def test_without_the_control_planes_own_lines_a_restart_would_lock_everybody_out() -> None:
    end = ": with ABAC alone, a restart would stop the control plane."
    assert said(pods("alice"), alone=True) == [(0, Code.LOCKOUT, Severity.ERROR, says + end) for says in (
        "system:kube-controller-manager may not update leases", "system:kube-scheduler may not update leases",
        "system:kube-proxy may not watch services", "system:node:node may not create nodes",
    )]  # fmt: skip
    assert said(pods("alice"), alone=False) == []
    assert {one.code for one in lint([(1, pods("alice"))])} == {Code.LOCKOUT}


@pytest.mark.parametrize("policies", [
    KUBERNETES,
    (Policy("", AUTHENTICATED, False, "*", "*", "*"),),
    (
        Policy("", AUTHENTICATED, False, "*", "leases", "coordination.k8s.io"), Policy("", AUTHENTICATED, True, "*", "*", "*"),
        Policy("system:kube-scheduler", "", False, "default", "pods"), Policy("", "system:nodes", False, "*", "nodes"),
    ),
])  # fmt: skip
def test_a_file_with_all_that_a_control_plane_asks_locks_nobody_out(policies: tuple[Policy, ...]) -> None:
    assert Code.LOCKOUT not in {one.code for one in looked_at(*policies, alone=True)}


@pytest.mark.parametrize(("gone", "says"), [
    (0, "system:kube-controller-manager may not update leases"), (1, "system:kube-scheduler may not update leases"),
    (2, "system:kube-proxy may not watch services"), (3, "system:node:node may not create nodes"),
])  # fmt: skip
def test_each_missing_identity_is_named_with_what_it_lacks(gone: int, says: str) -> None:
    left = [*KUBERNETES[:gone], *KUBERNETES[gone + 1 :]]
    (lockout,) = (one for one in looked_at(*left, alone=True) if one.code is Code.LOCKOUT)
    assert str(lockout.says).startswith(f"{says}: ")


def test_an_identity_that_has_only_half_of_what_it_needs_is_named_with_the_other() -> None:
    half = Policy("system:kube-scheduler", "", False, "kube-system", "leases", "coordination.k8s.io")
    (lockout,) = (one for one in looked_at(KUBERNETES[0], half, *KUBERNETES[2:], alone=True) if one.code is Code.LOCKOUT)
    assert str(lockout.says).startswith("system:kube-scheduler may not create pods/binding: ")


def test_findings_stand_in_the_order_of_the_lines() -> None:
    found = looked_at(pods("alice", resource="Pods"), Policy("bob", "", False, "*", "*", "*"), pods("bob"), alone=True)
    assert [one.line for one in found] == [0, 0, 0, 0, 1, 2, 3]


def test_a_hundred_thousand_lines_are_looked_at() -> None:
    policies = [pods(f"user-{number % 50_000}", namespace=f"n-{number % 97}", non_resource_path="/apis/*") for number in range(99_999)]
    found = looked_at(*policies, pods("user-7", namespace="n-7", non_resource_path="/apis/apps"), alone=True)
    assert [one.line for one in found if one.code is Code.SHADOWED] == [100_000]
    assert Coverage(enumerate(policies, start=1)).by_others(8, policies[7]) == set()


def test_what_a_new_line_adds_is_shown_with_a_question_that_only_it_allows() -> None:
    before = [Policy("alice", "", True, "dev", "pods", "", "/healthz")]
    after = [pods("alice", non_resource_path="/health*"), before[0]]
    assert gained(before, after) == [pods("alice"), Policy("alice", non_resource_path="/health*")]
    assert gained(after, before) == []
    assert witness(pods("alice", "dev")) == Request("alice", "kube-iam-witness", ("dev",), "", "pods", namespace="dev")
    assert witness(Policy("", "dev", True, "*", "*", "*")) == Request(
        "kube-iam-witness", "get", ("dev",), "kube-iam-witness", "kube-iam-witness", namespace="kube-iam-witness"
    )
    assert witness(Policy("alice", non_resource_path="/a/*")) == Request("alice", "kube-iam-witness", path="/a/kube-iam-witness")


@pytest.mark.parametrize("path", ["/a*b", "/a*b*", "*b"])
def test_the_question_takes_a_star_within_a_path_as_the_letter_it_is(path: str) -> None:
    half = Policy("alice", non_resource_path=path)
    assert half.matches(witness(half))
