"""Approval rules: who decides on what. The first rule that fits counts; where none fits, nobody can ask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import joinedload

from iam.approval import scopes, stages, texts, times
from iam.approval.scopes import WHOLE_CLUSTER
from iam.approval.stages import Need
from iam.errors import Invalid, NotFound
from iam.models import ApprovalRule, CatalogueEntry, Cluster, db, new_id
from iam.services.audit import Audit, Event, Target
from iam.services.base import READ, WRITE, Actor, World, transaction
from iam.services.requests.approvers import Approvers
from iam.services.requests.catalogue import Catalogue, check_groups
from iam.services.requests.humans import human_of
from iam.services.requests.written import new_name, write

MOST_RULES = 1000


@dataclass(frozen=True, slots=True)
class NewRule:
    """A rule as an administrator writes it."""

    name: str
    stages: str
    entry: str = ""
    clusters: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    longest: str = "8h"
    lapses: str = "1d"
    reason_pattern: str = ""
    ticket_pattern: str = ""
    position: int | None = None
    """Counted from 1; None: at the end, or where it is."""


@dataclass(frozen=True, slots=True)
class Considered:
    """One rule, looked at for one question: whether it fits, and if not, why not."""

    rule: ApprovalRule
    why_not: str = ""
    """``entry``, ``cluster``, ``namespace``, ``dangerous`` or ``own``; empty: it fits."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a rule is looked for: one scope of a request."""

    entry: CatalogueEntry
    cluster: Cluster
    namespace: str
    """Empty: the whole cluster."""
    is_harmless: bool = False
    asker: frozenset[str] = frozenset()
    """Who asks, by human and by username: a rule that says yes by itself does not fit its author."""


class Rules:
    """Use cases about rules."""

    def __init__(self, world: World, audit: Audit, catalogue: Catalogue, approvers: Approvers) -> None:
        self._world = world
        self._audit = audit
        self._catalogue = catalogue
        self._approvers = approvers

    def listed(self, actor: Actor) -> Sequence[ApprovalRule]:
        """All, in the order in which they are tried."""
        self._audit.require(actor, "administrator", "auditor", scope=READ)
        return self.all()

    def all(self) -> Sequence[ApprovalRule]:
        """The same for a service that has judged already."""
        return db.session.scalars(
            select(ApprovalRule).options(joinedload(ApprovalRule.entry)).order_by(ApprovalRule.position, ApprovalRule.id)
        ).all()

    def get(self, actor: Actor, name: str) -> ApprovalRule:
        """Raises NotFound."""
        self._audit.require(actor, "administrator", "auditor", scope=READ)
        return self._named(name)

    def considered(self, question: Question, rules: Sequence[ApprovalRule] | None = None) -> list[Considered]:
        """Every rule up to the first that fits, and why the others did not; ``rules`` are all of them, where they were read already."""
        found: list[Considered] = []
        for rule in self.all() if rules is None else rules:
            found.append(Considered(rule, _why_not(rule, question)))
            if not found[-1].why_not:
                break
        return found

    def fitting(self, question: Question, rules: Sequence[ApprovalRule] | None = None) -> ApprovalRule | None:
        """The rule that counts."""
        return next((one.rule for one in self.considered(question, rules) if not one.why_not), None)

    def save(self, actor: Actor, command: NewRule, *, name: str = "") -> ApprovalRule:
        """Add a rule, or change the one of this name. Raises Invalid (also for what nobody could satisfy), NotFound, Conflict."""
        target = Target("rule", name or command.name)
        self._audit.require(actor, "administrator", scope=WRITE, target=target)
        values = self._checked(command)
        with transaction():
            rule = self._named(name) if name else ApprovalRule(name=new_name(command.name))
            if not name or command.position is not None:
                rule.id = rule.id or new_id()
                self._renumber(moved=rule, wanted=command.position)
            author = self._approvers.load(actor.person_id) if actor.person_id else None
            rule.changed_by_human = human_of(self._world, author) if author else ""
            write(self._audit, actor, self._world.now(), Event.RULE_CHANGED, rule, values)
        return rule

    def remove(self, actor: Actor, name: str) -> None:
        """Requests that waited for its stages are asked again by the rule that fits then. Raises NotFound."""
        self._audit.require(actor, "administrator", scope=WRITE, target=Target("rule", name))
        with transaction():
            db.session.delete(self._named(name))
            db.session.flush()
            self._renumber()
            self._audit.record(actor, Event.RULE_REMOVED, Target("rule", name))

    def _named(self, name: str) -> ApprovalRule:
        rule = db.session.scalar(select(ApprovalRule).filter_by(name=name))
        if rule is None:
            raise NotFound("There is no rule %(name)s.", name=name)
        return rule

    def _renumber(self, *, moved: ApprovalRule | None = None, wanted: int | None = None) -> None:
        """Positions from 1 without gaps; the moved rule at the wanted one, or at the end."""
        others = [rule for rule in self.all() if moved is None or rule.id != moved.id]
        if moved is not None:
            others.insert(len(others) if wanted is None else wanted - 1, moved)
        for position, rule in enumerate(others, 1):
            rule.position = position

    def _checked(self, command: NewRule) -> dict[str, Any]:
        found = stages.parse(command.stages)
        if command.position is not None and not 1 <= command.position <= MOST_RULES:
            raise Invalid("The place is a number from 1.", field="position")
        check_groups(self._world, [need.group for stage in found for need in stage if need.kind == "group"], field="stages")
        clusters = scopes.check(command.clusters, field="clusters")
        namespaces = scopes.check(command.namespaces, field="namespaces")
        asks_owners = any(need.kind == "owners" for stage in found for need in stage)
        if asks_owners and WHOLE_CLUSTER in namespaces:
            raise Invalid("The whole cluster has no owners; write a rule of its own for it.", field="stages")
        self._refuse_unsatisfiable(found, clusters, namespaces)
        return {
            "entry_id": self._catalogue.named(command.entry).id if command.entry else None, "clusters": clusters,
            "namespaces": namespaces, "stages": stages.written(found),
            "longest_seconds": times.seconds_of(command.longest, field="longest"),
            "lapse_seconds": times.seconds_of(command.lapses, field="lapses", most=90 * times.DAY),
            "reason_pattern": texts.pattern(command.reason_pattern, field="reason_pattern"),
            "ticket_pattern": texts.pattern(command.ticket_pattern, field="ticket_pattern"),
        }

    def _refuse_unsatisfiable(self, found: Sequence[stages.Stage], clusters: Sequence[str], namespaces: Sequence[str]) -> None:
        """Nobody writes a rule that cannot be met by the people we know."""
        missing = self._approvers.missing(found, "", (), None)
        missing += [need for need in self._unowned(found, clusters, namespaces) if need not in missing]
        if missing:
            raise Invalid(
                "Nobody could ever meet this: there are not enough people for %(needs)s (each counts once over all stages, and people "
                "are known after their first login).", field="stages", needs=", ".join(map(str, missing)),
            )

    def _unowned(self, found: Sequence[stages.Stage], clusters: Sequence[str], namespaces: Sequence[str]) -> list[Need]:
        """Owners of namespaces that are named exactly and have none."""
        needs = [need for stage in found for need in stage if need.kind == "owners"]
        if not needs or not all(map(scopes.is_exact, (*clusters, *namespaces))) or not clusters or not namespaces:
            return []
        ids = db.session.scalars(select(Cluster.id).where(Cluster.name.in_(clusters)))
        owned = any(
            len(self._approvers.people(self._approvers.references(need, None, cluster_id, [namespace]))) >= need.count
            for cluster_id in ids for namespace in namespaces for need in needs
        )
        return [] if owned else needs


def require_words(rule: ApprovalRule, reason: str, ticket: str) -> None:
    """Raises Invalid where a rule wants another justification or ticket."""
    like = rule.reason_pattern
    if like and not texts.matches(reason, like):
        raise Invalid("The rule %(rule)s wants a justification like %(pattern)s.", field="reason", rule=rule.name, pattern=like)
    like = rule.ticket_pattern
    if like and not texts.matches(ticket, like):
        raise Invalid("The rule %(rule)s wants a ticket like %(pattern)s.", field="ticket", rule=rule.name, pattern=like)


def _why_not(rule: ApprovalRule, question: Question) -> str:
    if rule.entry_id and rule.entry_id != question.entry.id:
        return "entry"
    if rule.clusters and not scopes.covers(rule.clusters, question.cluster.name):
        return "cluster"
    if rule.namespaces and not scopes.covers(rule.namespaces, question.namespace or WHOLE_CLUSTER):
        return "namespace"
    if rule.stages != stages.AUTOMATIC:
        return ""
    if not question.is_harmless:
        return "dangerous"
    return "own" if question.asker & {rule.changed_by_human, rule.changed_by} else ""
