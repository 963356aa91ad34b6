"""Whether a request still stands as it was asked: the entry, the role on the cluster, the rule, and people who could say yes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from iam.approval import scopes, stages
from iam.approval.scopes import WHOLE_CLUSTER
from iam.models import AccessRequest, ApprovalRule, CatalogueEntry, db
from iam.services.base import World
from iam.services.requests.approvers import Approvers
from iam.services.requests.catalogue import Catalogue
from iam.services.requests.humans import names_of
from iam.services.requests.rules import Question, Rules
from iam.services.requests.shown import Shown

NOT_OFFERED, ROLE_IS_GONE = "the catalogue offers it no more", "the role is not there any more"
SHUT_OUT = "the person is shut out"
SPLIT, NOBODY = "different people decide on its parts now", "nobody could approve it any more"


@dataclass(frozen=True, slots=True)
class Standing:
    """How a request stands now."""

    over: str = ""
    """Why it cannot be approved any more; empty: it can."""
    rule: ApprovalRule | None = None
    """The rule that fits now."""
    has_changed: bool = False
    """Whether everybody has to be asked again."""


class Standings:
    """Looks at requests again."""

    def __init__(self, world: World, catalogue: Catalogue, rules: Rules, approvers: Approvers) -> None:
        self._world = world
        self._catalogue = catalogue
        self._rules = rules
        self._approvers = approvers

    def of(self, request: AccessRequest, shown: Shown) -> Standing:
        """With the role as it was read just now."""
        if shown.missing:
            return Standing(ROLE_IS_GONE)
        standing = self.by_rules(request, shown)
        if standing.over or standing.has_changed or shown.digest == request.rules_digest:
            return standing
        return Standing(rule=standing.rule, has_changed=True)

    def by_rules(self, request: AccessRequest, shown: Shown | None = None) -> Standing:
        """Without a look at the cluster: by the catalogue, the rules and the people."""
        if request.person.is_disabled:
            return Standing(SHUT_OUT)
        entry = db.session.get(CatalogueEntry, request.entry_id) if request.entry_id else None
        if entry is None or request.cluster is None or not self._is_offered(entry, request):
            return Standing(NOT_OFFERED)
        written = self._rules.all()
        rules = {self._rule(entry, request, namespace, shown, written) for namespace in request.namespaces or [""]}
        if len(rules) > 1:
            return Standing(SPLIT)
        rule = rules.pop()
        if rule is None:
            return Standing()
        if self._approvers.missing(stages.parse(rule.stages), request.cluster.id, request.namespaces, request.person):
            return Standing(NOBODY)
        is_longer = request.seconds > min(rule.longest_seconds, entry.longest_seconds)
        return Standing(rule=rule, has_changed=rule.stages != request.stages or is_longer)

    def longest(self, request: AccessRequest, rule: ApprovalRule) -> int:
        """How long it may be now, in seconds."""
        entry = db.session.get(CatalogueEntry, request.entry_id) if request.entry_id else None
        return min(request.seconds, rule.longest_seconds, entry.longest_seconds if entry else request.seconds)

    def _is_offered(self, entry: CatalogueEntry, request: AccessRequest) -> bool:
        asked = request.namespaces or [WHOLE_CLUSTER]
        return (
            (entry.role_kind, entry.role_name) == (request.role_kind, request.role_name)
            and scopes.covers(entry.clusters, request.cluster_name)
            and all(scopes.covers(entry.namespaces, one) for one in asked)
            and any(one.id == entry.id for one in self._catalogue.offered(request.person))
        )

    def _rule(
        self, entry: CatalogueEntry, request: AccessRequest, namespace: str, shown: Shown | None, written: Sequence[ApprovalRule]
    ) -> ApprovalRule | None:
        if request.cluster is None:
            return None
        is_harmless = shown is not None and shown.within([namespace] if namespace else ()).is_harmless
        asker = names_of(self._world, request.person) | {request.requester_human}
        return self._rules.fitting(Question(entry, request.cluster, namespace, is_harmless, asker), written)
