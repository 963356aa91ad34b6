"""How a request moves: begun, asked again, one stage on, granted, ended. Each move is made under the row's lock and recorded."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import joinedload, selectinload

from iam.approval import stages
from iam.approval.quorum import helpful, reachable, unmet
from iam.approval.stages import Need, Stage
from iam.errors import Conflict, NotFound
from iam.models import AccessRequest, ApprovalRule, Asked, Comment, Decision, Person, db
from iam.models.request import APPROVED, CANCELLED, CLOSED, DENIED, LAPSED, PENDING
from iam.services.audit import Audit, Event, Target
from iam.services.base import Actor, World
from iam.services.requests.approvers import Approvers
from iam.services.requests.grants import Grants
from iam.services.requests.humans import human_of
from iam.services.requests.shown import Shown
from iam.services.telling.notices import Notices, Told

_ENDED = {
    APPROVED: "This request was approved a moment ago.", DENIED: "This request was denied a moment ago.",
    CANCELLED: "This request was cancelled by whoever asked.", LAPSED: "This request lapsed: nobody answered in time.",
    CLOSED: "This request was closed, because what it asks for is no more.",
}


WITH_WORDS = (
    joinedload(AccessRequest.person), selectinload(AccessRequest.decisions).joinedload(Decision.approver),
    selectinload(AccessRequest.comments).joinedload(Comment.person),
)
"""Loads requests with all that was said to them, in as many statements as for one."""


class Progress:
    """Moves requests, inside the caller's transaction."""

    def __init__(self, world: World, audit: Audit, approvers: Approvers, grants: Grants, notices: Notices) -> None:
        self._world = world
        self._audit = audit
        self._approvers = approvers
        self._grants = grants
        self._notices = notices

    def take_in_time(self, request_id: str) -> AccessRequest:
        """A pending request, as ``take``; one whose time is over counts as lapsed, whether or not anybody noticed yet."""
        request = self.take(request_id)
        if request.lapses_at and request.lapses_at <= self._world.now():
            raise Conflict(_ENDED[LAPSED])
        return request

    def take(self, request_id: str, state: str = PENDING) -> AccessRequest:
        """Lock a request and read it afresh: of two at the same moment one waits, and then sees what the other did.

        The write comes first, on both databases: it takes the row's lock (SQLite's, of the whole file) before anything is read.
        Raises NotFound; Conflict, saying how it ended, when it is not in the state any more.
        """
        db.session.execute(
            update(AccessRequest).where(AccessRequest.id == request_id).values(version=AccessRequest.version + 1)
            .execution_options(synchronize_session=False)
        )
        request = db.session.scalar(
            select(AccessRequest).where(AccessRequest.id == request_id).execution_options(populate_existing=True)
        )
        if request is None:
            raise NotFound("There is no such request.")
        if request.state != state:
            raise already_over(request)
        return request

    def begin(self, actor: Actor, request: AccessRequest, rule: ApprovalRule, shown: Shown) -> None:
        """Submitted: the first stage is asked, or nobody has to be."""
        self._set_rule(request, rule, shown)
        db.session.flush()
        self._audit.record(actor, Event.REQUEST_SUBMITTED, target_of(request), **told_of(request))
        self.move_on(actor, request, is_new=True)

    def ask_again(self, actor: Actor, request: AccessRequest, rule: ApprovalRule, shown: Shown, why: str) -> None:
        """Something changed: a new round, in which the yeses of before do not count."""
        request.round += 1
        self._set_rule(request, rule, shown)
        self._audit.record(actor, Event.REQUEST_RESTARTED, target_of(request), reason=why, round=request.round)
        self._notices.about_request(Told.REQUEST_CHANGED, request, [request.person], why=why)
        self.move_on(actor, request, is_new=True)

    def move_on(self, actor: Actor, request: AccessRequest, *, is_new: bool = False) -> None:
        """Count the yeses afresh, ask whom the first open stage waits for; grant when none is open."""
        before = None if is_new else request.stage
        found = stages.parse(request.stages)
        yeses = self._yeses(request)
        for number, stage in enumerate(found):
            references = self.references(request, stage)
            said = self._said_yes(yeses, number, stage, references)
            if unmet(stage, said):
                request.stage = number
                self._ask(request, {one for need in helpful(stage, said) for one in references[need]}, is_news=before != number)
                return
        self.grant(actor, request)

    def brings_further(self, request: AccessRequest, person: Person) -> bool:
        """Whether a yes of this person would leave less open in the current stage."""
        stage = stages.parse(request.stages)[request.stage]
        references = self.references(request, stage)
        said = self._said_yes(self._yeses(request), request.stage, stage, references)
        more = {**said, "": self._approvers.needs_met_by(person, stage, references)}
        return len(unmet(stage, more)) < len(unmet(stage, said))

    def is_needed_elsewhere(self, request: AccessRequest, person: Person) -> bool:
        """Whether the rest could not be met any more if this person answered now, and could if somebody else did."""
        human, found, yeses = human_of(self._world, person), stages.parse(request.stages), self._yeses(request)
        stage, later = found[request.stage], found[request.stage + 1 :]
        references = self.references(request, stage)
        said = self._said_yes(yeses, request.stage, stage, references)
        answered = {decision.approver_human for decision in yeses} | {request.requester_human}
        candidates = self._approvers.candidates([stage, *later], request.cluster_id or "", request.namespaces, request.person)
        before = {need: people - answered for need, people in candidates.items()}
        after = {need: people - {human} for need, people in before.items()}
        with_theirs = {**said, human: self._approvers.needs_met_by(person, stage, references)}
        return reachable(stage, later, said, before) and not reachable(stage, later, with_theirs, after)

    def grant(self, actor: Actor, request: AccessRequest) -> None:
        """All stages are met."""
        self._end(request, APPROVED, "")
        self._audit.record(actor, Event.REQUEST_GRANTED, target_of(request), stages=request.stages, **told_of(request))
        self._grants.make(actor, request)
        self._notices.about_request(Told.REQUEST_APPROVED, request, [request.person], by=actor.display_name or actor.name)

    def deny(self, actor: Actor, request: AccessRequest, comment: str) -> None:
        """One no is enough."""
        self._end(request, DENIED, comment[:500])
        self._notices.about_request(Told.REQUEST_DENIED, request, [request.person], by=actor.display_name or actor.name, comment=comment)

    def cancel(self, actor: Actor, request: AccessRequest) -> None:
        """Taken back by whoever asked."""
        asked = self.people_asked(request)
        self._end(request, CANCELLED, "")
        self._audit.record(actor, Event.REQUEST_CANCELLED, target_of(request))
        self._notices.about_request(Told.REQUEST_CANCELLED, request, asked)

    def lapse(self, actor: Actor, request: AccessRequest) -> None:
        """Nobody answered in time."""
        self._end(request, LAPSED, "")
        self._audit.record(actor, Event.REQUEST_LAPSED, target_of(request))
        self._notices.about_request(Told.REQUEST_LAPSED, request, [request.person])

    def close(self, actor: Actor, request: AccessRequest, why: str) -> None:
        """What it asks for is no more."""
        self._end(request, CLOSED, why)
        self._audit.record(actor, Event.REQUEST_CLOSED, target_of(request), reason=why)
        self._notices.about_request(Told.REQUEST_CLOSED, request, [request.person], why=why)

    def people_asked(self, request: AccessRequest) -> list[Person]:
        """Whom it waits for now, whoever asks left out."""
        references = db.session.scalars(select(Asked.who).where(Asked.request_id == request.id)).all()
        return [one for one in self._approvers.people(references) if one.id != request.person_id]

    def ask(self, request: AccessRequest, references: Iterable[str], what: Told) -> None:
        """Whom it waits for from now on, and tell them."""
        self.ask_nobody(request)
        db.session.add_all(Asked(request_id=request.id, who=who) for who in sorted(set(references)))
        db.session.flush()
        self._notices.about_request(what, request, self.people_asked(request))

    def ask_nobody(self, request: AccessRequest) -> None:
        """It waits for nobody any more."""
        db.session.execute(delete(Asked).where(Asked.request_id == request.id))

    def _ask(self, request: AccessRequest, references: set[str], *, is_news: bool) -> None:
        before = set(db.session.scalars(select(Asked.who).where(Asked.request_id == request.id)))
        if is_news or not references <= before:
            self.ask(request, references, Told.REQUEST_WAITS)
        else:
            db.session.execute(delete(Asked).where(Asked.request_id == request.id, Asked.who.not_in(references)))

    def _yeses(self, request: AccessRequest) -> list[Decision]:
        """Those of this round whose approver may still log in."""
        query = select(Decision).where(
            Decision.request_id == request.id, Decision.round == request.round, Decision.verdict == "approve"
        )
        return [decision for decision in db.session.scalars(query) if not decision.approver.is_disabled]

    def references(self, request: AccessRequest, stage: Stage) -> dict[Need, list[str]]:
        """Who is asked for each need of a stage."""
        of = self._approvers.references
        return {need: of(need, request.person, request.cluster_id or "", request.namespaces) for need in stage}

    def _said_yes(
        self, yeses: Iterable[Decision], number: int, stage: Stage, references: Mapping[Need, Collection[str]]
    ) -> dict[str, list[Need]]:
        """For what each yes of a stage counts now."""
        return {
            decision.approver_human: self._approvers.needs_met_by(decision.approver, stage, references)
            for decision in yeses if decision.stage == number
        }

    def _set_rule(self, request: AccessRequest, rule: ApprovalRule, shown: Shown) -> None:
        now = self._world.now()
        request.rule_id, request.rule_name, request.stages, request.stage = rule.id, rule.name, rule.stages, 0
        request.risks, request.rules_digest = [str(risk) for risk in shown.risks], shown.digest
        request.lapses_at = now + timedelta(seconds=rule.lapse_seconds)
        request.urgent_at = _sooner(request.lapses_at, request.starts_at)

    def _end(self, request: AccessRequest, state: str, outcome: str) -> None:
        request.state, request.outcome, request.decided_at = state, outcome[:500], self._world.now()
        request.urgent_at = request.lapses_at = None
        self.ask_nobody(request)


def already_over(request: AccessRequest) -> Conflict:
    """What to say to whoever comes too late."""
    return Conflict(_ENDED.get(request.state, "This request is open."))


def target_of(request: AccessRequest) -> Target:
    """A request in the audit trail."""
    return Target("request", request.id, request.cluster_name, person=request.person.username, case=request.id)


def target_named(request_id: str) -> Target:
    """The same, of one that may not be there."""
    request = db.session.get(AccessRequest, request_id)
    return target_of(request) if request else Target("request", request_id)


def told_of(request: AccessRequest) -> dict[str, Any]:
    """What the audit trail keeps of a request."""
    return {
        "requester": request.person.username, "title": request.title, "role": f"{request.role_kind}/{request.role_name}",
        "namespaces": request.namespaces, "seconds": request.seconds, "why": request.reason[:500], "ticket": request.ticket,
        "rule": request.rule_name,
    }


def _sooner(one: datetime, other: datetime | None) -> datetime:
    return min(one, other) if other else one
