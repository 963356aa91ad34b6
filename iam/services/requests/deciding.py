"""Deciding: the inbox, one case with all that an approver should see, yes, no, yes to less, a word, many that are alike."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import joinedload

from iam.approval import stages, texts, times
from iam.approval.stages import Need
from iam.errors import Conflict, Forbidden, Hidden, Invalid, NotFound, Problem
from iam.models import AccessRequest, Asked, Comment, Decision, Person, db
from iam.models.request import ORDINARY, PENDING
from iam.services.audit import Audit, Event, Target
from iam.services.base import READ, WRITE, Actor, World, transaction
from iam.services.requests.approvers import Approvers
from iam.services.requests.humans import human_of, subject_of
from iam.services.requests.progress import WITH_WORDS, Progress, already_over, target_named, target_of, told_of
from iam.services.requests.shown import Roles, Shown, digest
from iam.services.requests.standing import Standings
from iam.services.telling.notices import Notices, Told

PAGE, MANY = 50, 100
MOST_COMMENTS = 50
APPROVE, DENY = "approve", "deny"


@dataclass(frozen=True, slots=True)
class Inbox:
    """What waits for the actor, the most urgent first."""

    requests: Sequence[AccessRequest]
    total: int
    page: int
    pages: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """A yes or a no to what carries this digest; less time or fewer namespaces than asked, or None for as asked."""

    verdict: str
    digest: str
    comment: str = ""
    seconds: int | None = None
    namespaces: tuple[str, ...] | None = None


class Decisions:
    """Use cases of whoever decides."""

    def __init__(
        self, world: World, audit: Audit, standings: Standings, approvers: Approvers, roles: Roles, progress: Progress, notices: Notices
    ) -> None:
        self._world = world
        self._audit = audit
        self._standings = standings
        self._approvers = approvers
        self._roles = roles
        self._progress = progress
        self._notices = notices

    def inbox(self, actor: Actor, page: int = 1) -> Inbox:
        """Open requests that the actor can move, without their own and those they have answered."""
        self._audit.require(actor, scope=READ)
        wanted = self._waiting_for(actor)
        total = db.session.scalar(select(func.count()).select_from(AccessRequest).where(*wanted)) or 0
        pages = max(1, -(-total // PAGE))
        page = min(max(1, page), pages)
        query = select(AccessRequest).where(*wanted).options(*WITH_WORDS)
        query = query.order_by(AccessRequest.urgent_at, AccessRequest.id).limit(PAGE).offset((page - 1) * PAGE)
        return Inbox(db.session.scalars(query).all(), total, page, pages)

    def waiting(self, actor: Actor) -> int:
        """How many wait for the actor; nobody counts beyond a hundred."""
        some = select(AccessRequest.id).where(*self._waiting_for(actor)).limit(MANY).subquery()
        return db.session.scalar(select(func.count()).select_from(some)) or 0

    def get(self, actor: Actor, request_id: str) -> AccessRequest:
        """One's own, one that one is asked about or has decided on, or any for those who look. Raises NotFound."""
        self._audit.require(actor, scope=READ)
        request = db.session.scalar(
            select(AccessRequest).where(AccessRequest.id == request_id).options(joinedload(AccessRequest.person))
        )
        if request is None:
            raise NotFound("There is no such request.")
        if not self._may_see(actor, request):
            raise Hidden("There is no such request.")
        return request

    def shown(self, request: AccessRequest) -> Shown:
        """What it would allow, read now. Raises Conflict when the cluster is gone, Unavailable when it does not answer."""
        if request.cluster is None:
            raise Conflict("The cluster %(name)s is no more.", name=request.cluster_name)
        return self._roles.shown(request.cluster, request.role_kind, request.role_name, request.namespaces)

    def open_needs(self, request: AccessRequest) -> list[tuple[Need, list[Person]]]:
        """Whom the current stage asks, need by need."""
        if request.state != PENDING or not request.stages:
            return []
        found = stages.parse(request.stages)
        stage = found[request.stage] if request.stage < len(found) else ()
        out = {request.requester_human, human_of(self._world, request.person)}
        out |= {one.approver_human for one in request.decisions if one.round == request.round}
        asked = self._progress.references(request, stage)
        return [
            (need, [one for one in self._approvers.people(asked[need]) if human_of(self._world, one) not in out]) for need in stage
        ]

    def may_decide(self, actor: Actor, request: AccessRequest) -> bool:
        """Whether the actor's word counts now: for showing the buttons; ``decide`` judges again."""
        return request.kind == ORDINARY and db.session.scalar(
            select(AccessRequest.id).where(AccessRequest.id == request.id, *self._waiting_for(actor))
        ) is not None

    def decide(self, actor: Actor, request_id: str, verdict: Verdict) -> AccessRequest:
        """Say yes or no to what was shown. Raises Forbidden, Invalid, NotFound; Conflict when it changed, or is over; Unavailable."""
        self._audit.require(actor, scope=WRITE, target=Target("request", request_id))
        self._check(verdict)
        with self._audit.telling(actor, lambda: target_named(request_id)):
            try:
                shown = self._seen(actor, request_id) if verdict.verdict == APPROVE else None
                with transaction():
                    return self._decide(actor, request_id, verdict, shown)
            except IntegrityError as error:
                if "not_one" in str(error.orig):  # the database's own word against deciding on oneself
                    raise Forbidden("This is your own request. Somebody else decides on it.") from None
                raise Conflict("You have answered this request already.") from None

    def decide_all(self, actor: Actor, verdicts: Sequence[tuple[str, Verdict]]) -> list[tuple[str, Problem | None]]:
        """The same yes or no to requests that are alike in everything but who asks; each stands or falls by itself. Raises Invalid."""
        self._audit.require(actor, scope=WRITE)
        if not 0 < len(verdicts) <= PAGE:
            raise Invalid("Choose between one and %(most)s requests.", field="requests", most=PAGE)
        found = [self.get(actor, request_id) for request_id, _verdict in verdicts]
        if len({alike(request) for request in found}) > 1:
            raise Invalid("These are not alike; decide on them one by one.", field="requests")
        results: list[tuple[str, Problem | None]] = []
        for request_id, verdict in verdicts:
            try:
                self.decide(actor, request_id, verdict)
                results.append((request_id, None))
            except Problem as problem:
                results.append((request_id, problem))
        return results

    def comment(self, actor: Actor, request_id: str, text: str) -> Comment:
        """A word, to the requester and to those who have answered or are asked. Raises Invalid, NotFound."""
        self._audit.require(actor, scope=WRITE)
        words = texts.paragraphs(text, texts.MAX_COMMENT, field="comment")
        if not words:
            raise Invalid("The comment is empty.", field="comment")
        if not actor.person_id:
            raise Invalid("Only people comment.", field="comment")
        with transaction():
            request = self.get(actor, request_id)
            if (db.session.scalar(select(func.count(Comment.id)).where(Comment.request_id == request.id)) or 0) >= MOST_COMMENTS:
                raise Conflict("There are %(most)s comments already; talk to each other.", most=MOST_COMMENTS)
            comment = Comment(request_id=request.id, person_id=actor.person_id, text=words, at=self._world.now())
            db.session.add(comment)
            self._audit.record(actor, Event.REQUEST_COMMENTED, target_of(request), comment=words)
            concerned = {one.id: one for one in (request.person, *(one.approver for one in request.decisions))}
            concerned |= {one.id: one for one in self._progress.people_asked(request)}
            concerned.pop(actor.person_id, None)
            self._notices.about_request(
                Told.REQUEST_COMMENTED, request, concerned.values(), by=actor.display_name or actor.name, comment=words
            )
        return comment

    def _refresh(self, actor: Actor, request: AccessRequest) -> Shown:
        """Before a yes: what it allows now. Where that or the rule changed, everybody is asked again. Raises Conflict, saying so."""
        shown = self.shown(request)
        standing = self._standings.of(request, shown)
        if standing.over:
            with transaction():
                self._progress.close(actor, self._progress.take(request.id), standing.over)
            raise Conflict("This can no longer be approved: what it asks for is not offered, or not there, any more. It was closed.")
        if standing.rule is None:
            raise Conflict("No approval rule fits this any more, so nobody can decide on it. An administrator can add one.")
        if not standing.has_changed:
            return shown
        is_role = shown.digest != request.rules_digest
        with transaction():
            request = self._progress.take(request.id)
            request.seconds = self._standings.longest(request, standing.rule)
            self._progress.ask_again(actor, request, standing.rule, shown, "the role changed" if is_role else "the approval rule changed")
        if is_role:
            raise Conflict("The role changed meanwhile, so everybody is asked again. Look at it once more.")
        raise Conflict("The approval rule changed meanwhile, so everybody is asked again. Look at it once more.")

    def _decide(self, actor: Actor, request_id: str, verdict: Verdict, shown: Shown | None) -> AccessRequest:
        request = self._progress.take_in_time(request_id)
        approver = self._approver(actor, request)
        if not hmac.compare_digest(verdict.digest.encode("utf-8", "replace"), digest(request, request.rules_digest).encode()):
            raise Conflict("This is not what you were shown: it changed meanwhile. Look at it once more.")
        human = human_of(self._world, approver)
        standing = self._standings.of(request, shown) if shown is not None else None
        if standing and (standing.over or standing.has_changed or standing.rule is None):
            raise Conflict("This is not what you were shown: it changed meanwhile. Look at it once more.")
        if verdict.verdict == APPROVE and self._progress.is_needed_elsewhere(request, approver):
            raise Conflict("Leave this to somebody else: the rest cannot be met without you, and everybody counts once.")
        self._narrow(request, verdict, shown)
        db.session.add(Decision(
            request_id=request.id, requester_subject=request.requester_subject, requester_human=request.requester_human,
            approver_id=approver.id, approver=approver, approver_subject=subject_of(approver),
            approver_human=human, round=request.round, stage=request.stage, verdict=verdict.verdict,
            seconds=request.seconds, namespaces=request.namespaces,
            comment=texts.paragraphs(verdict.comment, texts.MAX_COMMENT, field="comment"), digest=verdict.digest, at=self._world.now(),
        ))
        db.session.flush()
        is_yes = verdict.verdict == APPROVE
        self._audit.record(
            actor, Event.REQUEST_APPROVED if is_yes else Event.REQUEST_DENIED, target_of(request), reason=verdict.comment[:500],
            stage=request.stage + 1, round=request.round, digest=verdict.digest, **told_of(request),
        )
        if is_yes:
            self._progress.move_on(actor, request)
        else:
            self._progress.deny(actor, request, texts.line(verdict.comment, texts.MAX_COMMENT, field="comment"))
        return request

    def _approver(self, actor: Actor, request: AccessRequest) -> Person:
        """Who decides, read afresh under the lock. Raises Forbidden."""
        person = self._approvers.load(actor.person_id) if actor.person_id else None
        if person is None or person.is_disabled:
            raise Forbidden("Only people decide on requests: log in as one.")
        human = human_of(self._world, person)
        own = {request.requester_human, human_of(self._world, request.person)}
        if subject_of(person) == request.requester_subject or human in own:
            raise Forbidden("This is your own request, also where you asked with another account of yours. Somebody else decides on it.")
        asked = select(Asked.who).where(Asked.request_id == request.id, Asked.who.in_(self._approvers.of(person)))
        if request.kind != ORDINARY or db.session.scalar(asked.limit(1)) is None or not self._progress.brings_further(request, person):
            raise Forbidden("This request does not wait for you.")
        return person

    def _narrow(self, request: AccessRequest, verdict: Verdict, shown: Shown | None) -> None:
        """Yes to less: shorter, narrower. Raises Invalid for more."""
        if verdict.verdict != APPROVE or shown is None:
            return
        if verdict.seconds is not None:
            request.seconds = times.check(verdict.seconds, field="seconds", most=request.seconds)
        if verdict.namespaces is not None and set(verdict.namespaces) != set(request.namespaces):
            if not verdict.namespaces or not request.namespaces or not set(verdict.namespaces) < set(request.namespaces):
                raise Invalid("Choose some of the namespaces that were asked for.", field="namespaces")
            request.namespaces = sorted(set(verdict.namespaces))
            left = shown.within(request.namespaces)
            request.rules_digest, request.risks = left.digest, [str(risk) for risk in left.risks]

    def _seen(self, actor: Actor, request_id: str) -> Shown:
        """What a yes would be to, looked at afresh, for somebody who may say it."""
        request = self.get(actor, request_id)
        if request.state == PENDING:
            try:
                self._approver(actor, request)
                return self._refresh(actor, request)
            except Forbidden:
                db.session.refresh(request)  # cancelled a moment ago, it waits for nobody
                if request.state == PENDING:
                    raise
        raise already_over(request)

    def _waiting_for(self, actor: Actor) -> list[ColumnElement[bool]]:
        """Open, asked of the actor, not their own, not answered by them in this round."""
        person = self._approvers.load(actor.person_id) if actor.person_id else None
        if person is None:
            return [AccessRequest.id == ""]
        human = human_of(self._world, person)
        answered = select(Decision.id).where(
            Decision.request_id == AccessRequest.id, Decision.round == AccessRequest.round,
            or_(Decision.approver_human == human, Decision.approver_id == person.id),
        )
        asked = select(Asked.request_id).where(Asked.who.in_(self._approvers.of(person)))
        return [
            AccessRequest.state == PENDING, AccessRequest.kind == ORDINARY, AccessRequest.id.in_(asked), ~answered.exists(),
            AccessRequest.requester_human != human, AccessRequest.person_id != person.id,
        ]

    def _may_see(self, actor: Actor, request: AccessRequest) -> bool:
        if actor.has("administrator", "approver", "auditor") or (actor.person_id and request.person_id == actor.person_id):
            return True
        decided = select(Decision.id).where(Decision.request_id == request.id, Decision.approver_id == actor.person_id)
        person = self._approvers.load(actor.person_id) if actor.person_id else None
        asked = select(Asked.who).where(Asked.request_id == request.id, Asked.who.in_(self._approvers.of(person) if person else ()))
        return db.session.scalar(decided.limit(1)) is not None or db.session.scalar(asked.limit(1)) is not None

    def _check(self, verdict: Verdict) -> None:
        if verdict.verdict not in {APPROVE, DENY}:
            raise Invalid("The verdict is approve or deny.", field="verdict")
        texts.paragraphs(verdict.comment, texts.MAX_COMMENT, field="comment")
        if verdict.verdict == DENY and not verdict.comment.strip():
            raise Invalid("Say why not, so that a better request can follow.", field="comment")


def alike(request: AccessRequest) -> tuple[object, ...]:
    """Equal for requests that differ only in who asks, when and why."""
    return (
        request.kind, request.entry_id, request.cluster_id, tuple(request.namespaces), request.seconds, request.stages, request.stage,
        request.rules_digest, request.starts_at, request.extends,
    )

