"""ABAC policies: imported, linted, generated, compared, converted, published."""

from __future__ import annotations

from dataclasses import asdict

from flask import Blueprint

from iam import services
from iam.api.policy_shapes import (
    AnswerOut,
    ChangesOut,
    CheckOut,
    ContradictionOut,
    DifferenceQuery,
    FindingOut,
    Findings,
    GeneratedOut,
    LeftOverOut,
    LineOut,
    Policies,
    PolicyIn,
    PolicyOut,
    PolicyWhole,
    PublishedOut,
    PublishIn,
    QuestionQuery,
    RbacOut,
    TextIn,
    TextsIn,
    VersionIn,
    VersionOut,
    VersionQuery,
)
from iam.api.shapes import Done
from iam.api.spec import POLICIES, actor, answers, load_actor, spec
from iam.kube.requests import in_words, with_implied_groups
from iam.models import PolicyFile
from iam.services import policy_drafts
from iam.services.policies import NewPolicy
from iam.services.policy_drafts import Changes, Draft

routes = Blueprint(POLICIES, __name__, url_prefix="/policies")
routes.before_request(load_actor)


@routes.get("")
@spec.validate(resp=answers(HTTP_200=Policies), tags=["policies"])
def index() -> Policies:
    """All policies."""
    return Policies(items=[PolicyOut(**_facts(file)) for file in services.current().policies.list(actor())])


@routes.post("")
@spec.validate(resp=answers(HTTP_201=PolicyOut), tags=["policies"])
def create(json: PolicyIn) -> tuple[PolicyOut, int]:
    """Keep a new policy, or import a file: every line as it stands, or nothing."""
    command = NewPolicy(json.name, json.text, json.reason, json.cluster, json.owner, not json.beside_rbac)
    return PolicyOut(**_facts(services.current().policies.create(actor(), command))), 201


@routes.get("/<name>")
@spec.validate(resp=answers(HTTP_200=PolicyWhole), tags=["policies"])
def show(name: str, query: VersionQuery) -> PolicyWhole:
    """One policy, its versions and its text."""
    ours = services.current()
    file, version = ours.policies.get(actor(), name), ours.policies.version(actor(), name, query.version)
    return PolicyWhole(**_facts(file), text=version.text, versions=[VersionOut.model_validate(one) for one in file.versions])


@routes.post("/<name>/versions")
@spec.validate(resp=answers(HTTP_201=VersionOut), tags=["policies"])
def save(name: str, json: VersionIn) -> tuple[VersionOut, int]:
    """Keep the next version."""
    return VersionOut.model_validate(services.current().policies.save(actor(), name, json.text, json.reason, json.base)), 201


@routes.delete("/<name>")
@spec.validate(resp=answers(HTTP_200=Done), tags=["policies"])
def remove(name: str) -> Done:
    """Forget it; what was published stays where it is."""
    services.current().policies.remove(actor(), name)
    return Done()


@routes.get("/<name>/generated")
@spec.validate(resp=answers(HTTP_200=GeneratedOut), tags=["policies"])
def generated(name: str, query: VersionQuery) -> GeneratedOut:
    """The file for kube-apiserver, with today's directory."""
    draft = services.current().policies.stored(actor(), name, query.version)
    return GeneratedOut(text=draft.rendered, digest=draft.digest, lines=len(draft.numbered))


@routes.get("/<name>/findings")
@spec.validate(resp=answers(HTTP_200=Findings), tags=["policies"])
def findings(name: str, query: VersionQuery) -> Findings:
    """What is wrong with it."""
    ours = services.current()
    return _findings(ours.policies.stored(actor(), name, query.version))


@routes.post("/lint")
@spec.validate(resp=answers(HTTP_200=Findings), tags=["policies"])
def lint(json: TextIn) -> Findings:
    """What is wrong with a text that is not stored."""
    return _findings(services.current().policies.draft(actor(), json.text), alone=not json.beside_rbac)


@routes.post("/generate")
@spec.validate(resp=answers(HTTP_200=GeneratedOut), tags=["policies"])
def generate(json: TextIn) -> GeneratedOut:
    """The file that a text which is not stored would become."""
    draft = services.current().policies.draft(actor(), json.text)
    draft.require_readable()
    return GeneratedOut(text=draft.rendered, digest=draft.digest, lines=len(draft.numbered))


@routes.get("/<name>/difference")
@spec.validate(resp=answers(HTTP_200=ChangesOut), tags=["policies"])
def difference(name: str, query: DifferenceQuery) -> ChangesOut:
    """Who gains and loses what from one version to another."""
    policies = services.current().policies
    return _changes(policies.stored(actor(), name, query.before), policies.stored(actor(), name, query.after))


@routes.post("/diff")
@spec.validate(resp=answers(HTTP_200=ChangesOut), tags=["policies"])
def diff(json: TextsIn) -> ChangesOut:
    """The same between two texts that are not stored."""
    policies = services.current().policies
    return _changes(policies.draft(actor(), json.before, "before"), policies.draft(actor(), json.after, "after"))


@routes.get("/<name>/rbac")
@spec.validate(resp=answers(HTTP_200=RbacOut), tags=["policies"])
def rbac(name: str, query: VersionQuery) -> RbacOut:
    """The same as RBAC objects, and what RBAC cannot say."""
    return _rbac(services.current().policies.stored(actor(), name, query.version), f"abac-{name}")


@routes.post("/convert")
@spec.validate(resp=answers(HTTP_200=RbacOut), tags=["policies"])
def convert(json: TextIn) -> RbacOut:
    """The same for a text that is not stored."""
    return _rbac(services.current().policies.draft(actor(), json.text), "abac")


@routes.get("/<name>/simulate")
@spec.validate(resp=answers(HTTP_200=AnswerOut), tags=["policies"])
def simulate(name: str, query: QuestionQuery) -> AnswerOut:
    """What the API server would answer by it."""
    groups = with_implied_groups(query.user, tuple(filter(None, query.groups.split(","))))
    wanted = in_words(query.verb, query.resource, query.name, query.namespace).by(query.user, groups)
    decision, line = services.current().policies.stored(actor(), name, query.version).answer(wanted)
    return AnswerOut(allowed=decision.allowed, reason=decision.reason, line=line.number if line else None)


@routes.post("/<name>/publish")
@spec.validate(resp=answers(HTTP_200=PublishedOut), tags=["policies"])
def publish(name: str, json: PublishIn) -> PublishedOut:
    """Write the newest version where the API server reads it at its next start."""
    publishing = services.current().publishing
    file = publishing.publish(actor(), name, accept=json.accept)
    return PublishedOut(file=str(publishing.path_of(file)), digest=file.published_digest, flags=list(publishing.next_steps(file)))


@routes.post("/<name>/check")
@spec.validate(resp=answers(HTTP_200=CheckOut), tags=["policies"])
def check(name: str) -> CheckOut:
    """Whether the running API server decides by it already."""
    found = services.current().publishing.check(actor(), name)
    differing = [ContradictionOut(review=asked.as_review(), allowed=said) for asked, said in found.differing]
    return CheckOut(decides_by_it=found.decides_by_it, asked=found.asked, differing=differing)


def _facts(file: PolicyFile) -> dict[str, object]:
    return {
        "name": file.name, "cluster": file.cluster.name if file.cluster else "", "owner": file.owner, "beside_rbac": not file.is_alone,
        "version": file.current, "published_version": file.published_version, "published_digest": file.published_digest,
        "published_at": file.published_at,
    }


def _findings(draft: Draft, *, alone: bool | None = None) -> Findings:
    found = draft.findings(alone=alone)
    return Findings(items=[FindingOut(line=one.line, severity=one.severity, finding=one.code, says=str(one.says)) for one in found])


def _changes(before: Draft, after: Draft) -> ChangesOut:
    before.require_readable()
    after.require_readable()
    found: Changes = policy_drafts.changes(before, after)
    return ChangesOut(**{side: [LineOut(**asdict(one)) for one in getattr(found, side)] for side in ("gained", "lost")})


def _rbac(draft: Draft, name: str) -> RbacOut:
    found = draft.converted(name)
    left_over = [LeftOverOut(line=one.line, why=str(one.why)) for one in found.left_over]
    return RbacOut(manifests=list(found.manifests), left_over=left_over)
