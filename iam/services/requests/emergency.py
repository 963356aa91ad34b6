"""Break-glass: a named few take a role at once, say why, prove again who they are, and are asked about it afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import joinedload

from iam.approval import texts, times
from iam.errors import Conflict, Forbidden, Invalid, Unavailable
from iam.models import AccessRequest, Decision, EmergencyDoor, Person, db, new_id
from iam.models.grant import REVOKED
from iam.models.request import APPROVED, EMERGENCY, PENDING
from iam.services.audit import Audit, Event, Target
from iam.services.base import WRITE, Actor, World, transaction
from iam.services.clusters import Clusters
from iam.services.login import Logins
from iam.services.requests.approvers import Approvers
from iam.services.requests.doors import Doors
from iam.services.requests.grants import Grants
from iam.services.requests.humans import human_of, subject_of
from iam.services.requests.openings import Openings
from iam.services.requests.progress import Progress, target_named, target_of, told_of
from iam.services.requests.shown import Roles, digest
from iam.services.telling.notices import Notices, Told

SEALED_FOR = timedelta(minutes=30)
"""How long a sealed door waits for the second person."""
JUSTIFIED, QUESTIONED = "justified", "questioned"
MOST_UNREVIEWED = 5
"""Openings of one person that nobody has looked at yet."""


@dataclass(frozen=True, slots=True)
class Opening:
    """Which door, where, for how long, why; and the password once more."""

    door: str
    cluster: str
    seconds: int
    reason: str
    password: str

    def __repr__(self) -> str:
        return f"Opening({self.door!r}, {self.cluster!r})"


class Emergencies(Openings):
    """Use cases of break-glass."""

    def __init__(
        self, world: World, audit: Audit, clusters: Clusters, doors: Doors, logins: Logins, approvers: Approvers, roles: Roles,
        progress: Progress, grants: Grants, notices: Notices,
    ) -> None:
        super().__init__(world, audit, doors, approvers)
        self._clusters = clusters
        self._logins = logins
        self._roles = roles
        self._progress = progress
        self._grants = grants
        self._notices = notices

    def open(self, actor: Actor, opening: Opening) -> AccessRequest:
        """Take the role now; of a sealed door, ask the second person. Raises Forbidden, Invalid, Unauthenticated, NotFound, Conflict."""
        door = self._opened_by(actor, opening.door)
        leads_to = _leads_to(door)
        reason = texts.paragraphs(opening.reason, texts.MAX_REASON, field="reason")
        if not reason:
            raise Invalid("Say why: it is read by everybody who is told, and by whoever reviews it.", field="reason")
        times.check(opening.seconds, field="seconds", most=door.longest_seconds)
        if opening.cluster not in door.clusters:
            raise Invalid("This door does not lead to the cluster %(name)s.", field="cluster", name=opening.cluster)
        cluster = self._clusters.named(opening.cluster)
        self._logins.confirm(actor, opening.password)
        try:
            shown = self._roles.require(cluster, door.role_kind, door.role_name, door.namespaces)
            risks, rules_digest = [str(risk) for risk in shown.risks], shown.digest
        except (Unavailable, Invalid):  # it may be what the emergency is about; the binding comes when the cluster does
            risks, rules_digest = [], ""
        now = self._world.now()
        with transaction():
            person = self._person(actor)
            door = self._opened_by(actor, opening.door)
            if _leads_to(door) != leads_to:
                raise Conflict("This door was changed a moment ago. Look at it once more.")
            self._refuse_unreviewed(person)
            request = AccessRequest(
                id=new_id(), kind=EMERGENCY, state=PENDING, person_id=person.id, person=person, requester_subject=subject_of(person),
                requester_human=human_of(self._world, person), door_id=door.id, door=door, title=door.title, cluster_id=cluster.id,
                cluster=cluster, cluster_name=cluster.name, role_kind=door.role_kind, role_name=door.role_name,
                namespaces=door.namespaces, asked_namespaces=door.namespaces, seconds=opening.seconds, asked_seconds=opening.seconds,
                reason=reason, rule_name=door.name, risks=risks, rules_digest=rules_digest, created_at=now, submitted_at=now,
            )
            db.session.add(request)
            db.session.flush()
            self._audit.record(actor, Event.REQUEST_SUBMITTED, target_of(request), sealed=door.is_sealed, **told_of(request))
            if door.is_sealed:
                request.lapses_at = request.urgent_at = now + SEALED_FOR
                self._progress.ask(request, self._approvers.of_groups(door.groups), Told.EMERGENCY_WAITS)
            else:
                self._take(actor, request, door)
        return request

    def unseal(self, actor: Actor, request_id: str, password: str) -> AccessRequest:
        """The second of the named few opens a sealed door. Raises Forbidden, NotFound, Conflict, Unauthenticated."""
        self._audit.require(actor, scope=WRITE, target=Target("request", request_id))
        with self._audit.telling(actor, lambda: target_named(request_id)):
            return self._unseal(actor, request_id, password)

    def _unseal(self, actor: Actor, request_id: str, password: str) -> AccessRequest:
        request = self.get(actor, request_id)
        if request.door is None:
            raise Conflict("This door is no more.")
        self._opened_by(actor, request.door.name)
        self._logins.confirm(actor, password)
        if not self._is_second(self._person(actor), request):
            raise Forbidden("Somebody else of those named for this door has to open it too.")
        self._require_unchanged(request)
        with transaction():
            request = self._progress.take_in_time(request_id)
            person = self._person(actor)
            if request.door is None or not self._is_second(person, request):
                raise Forbidden("Somebody else of those named for this door has to open it too.")
            self._refuse_unreviewed(request.person)
            db.session.add(Decision(
                request_id=request.id, requester_subject=request.requester_subject, requester_human=request.requester_human,
                approver_id=person.id, approver_subject=subject_of(person), approver_human=human_of(self._world, person),
                round=request.round, stage=0, verdict="approve", seconds=request.seconds, namespaces=request.namespaces,
                digest=digest(request, request.rules_digest), at=self._world.now(),
            ))
            self._take(actor, request, request.door)
        return request

    def review(self, actor: Actor, request_id: str, verdict: str, words: str) -> AccessRequest:
        """Somebody who had no part in it says whether it was right. A doubt ends what still runs. Raises Forbidden, Invalid, Conflict."""
        self._audit.require(actor, scope=WRITE, target=Target("request", request_id))
        text = texts.paragraphs(words, texts.MAX_COMMENT, field="review")
        if verdict not in {JUSTIFIED, QUESTIONED}:
            raise Invalid("The verdict is justified or questioned.", field="verdict")
        if not text:
            raise Invalid("Say what you found, for whoever reads this in a year.", field="review")
        request = self.get(actor, request_id)
        if request.state == APPROVED and not request.reviewed_at and not self.may_review(actor, request):
            self._audit.refuse(actor, "Only the reviewers of this door, who had no part in opening it, review it.", target_of(request))
        with transaction():
            request = self._progress.take(request_id, APPROVED)
            if request.reviewed_at:
                raise Conflict("This was reviewed already.")
            request.reviewed_at, request.reviewer_id, request.verdict, request.review = self._world.now(), actor.person_id, verdict, text
            self._audit.record(actor, Event.EMERGENCY_REVIEWED, target_of(request), verdict=verdict, review=text)
            found = self._grants.of_request(request.id)
            running = self._grants.take(found.id) if found else None
            if verdict == QUESTIONED and running:
                self._grants.end(actor, running, REVOKED, text[:500])
            told = [request.person, *self._approvers.people(self._approvers.of_groups(request.door.tell if request.door else []))]
            self._notices.about_request(Told.REVIEW_DONE, request, told, verdict=verdict, comment=text, by=actor.display_name or actor.name)
        return request

    def chase(self, actor: Actor) -> int:
        """Ask for reviews that are overdue, again and again."""
        now = self._world.now()
        again = now - timedelta(minutes=self._world.settings.requests.chase_minutes)
        with transaction():
            late = db.session.scalars(
                select(AccessRequest).where(
                    AccessRequest.review_due_at <= now, AccessRequest.reviewed_at.is_(None),
                    or_(AccessRequest.chased_at.is_(None), AccessRequest.chased_at <= again),
                ).options(joinedload(AccessRequest.person), joinedload(AccessRequest.door))
            ).all()
            for request in late:
                if request.chased_at is None:
                    self._audit.record(actor, Event.REVIEW_OVERDUE, target_of(request), result="failed", reason="nobody has reviewed it")
                request.chased_at = now
                self._notices.about_request(Told.REVIEW_OVERDUE, request, self._reviewers(request))
        return len(late)

    def _take(self, actor: Actor, request: AccessRequest, door: EmergencyDoor) -> None:
        now = self._world.now()
        request.review_due_at = now + timedelta(seconds=door.review_seconds)
        request.state, request.decided_at, request.lapses_at, request.urgent_at = APPROVED, now, None, None
        self._progress.ask_nobody(request)
        self._audit.record(actor, Event.EMERGENCY_OPENED, target_of(request), door=door.name, sealed=door.is_sealed, **told_of(request))
        self._grants.make(actor, request)
        named = self._approvers.people(self._approvers.of_groups([*door.tell, *door.reviewers, *door.groups]))
        self._notices.about_request(Told.EMERGENCY_OPENED, request, [request.person, *named], by=actor.display_name or actor.name)
        self._notices.about_request(Told.REVIEW_DUE, request, self._reviewers(request), due=request.review_due_at.isoformat())

    def _refuse_unreviewed(self, person: Person) -> None:
        """Break-glass is no way around approvals: who opens again and again is looked at first. Raises Conflict."""
        db.session.execute(update(Person).where(Person.id == person.id).values(entry=Person.entry))  # one opening of a person at a time
        waiting = select(func.count(AccessRequest.id)).where(
            AccessRequest.person_id == person.id, AccessRequest.review_due_at.is_not(None), AccessRequest.reviewed_at.is_(None)
        )
        if (db.session.scalar(waiting) or 0) >= MOST_UNREVIEWED:
            raise Conflict("%(most)s of your openings wait for their review; somebody has to look at them first.", most=MOST_UNREVIEWED)

    def _require_unchanged(self, request: AccessRequest) -> None:
        """What the second person opens is what the first one asked for. Raises Conflict."""
        asked = (request.role_kind, request.role_name, request.namespaces)
        door = request.door
        is_same = door is not None and _leads_to(door)[:3] == asked and request.cluster_name in door.clusters
        if door is None or request.cluster is None or not is_same or request.seconds > door.longest_seconds:
            raise Conflict("This door was changed since it was asked for. Let it be asked anew.")
        try:
            shown = self._roles.shown(request.cluster, request.role_kind, request.role_name, request.namespaces)
        except (Unavailable, Invalid):
            return  # as when it was asked for: it may be what the emergency is about
        if request.rules_digest and shown.digest != request.rules_digest:
            raise Conflict("The role changed since it was asked for. Let it be asked anew.")

    def _opened_by(self, actor: Actor, name: str) -> EmergencyDoor:
        """The door, if the actor is named for it."""
        self._audit.require(actor, scope=WRITE, target=Target("emergency", name))
        door = db.session.scalar(select(EmergencyDoor).filter_by(name=name))
        person = self._somebody(actor)
        if door is None or person is None or person.is_disabled or not self._is_in(person, door.groups):
            self._audit.refuse(actor, "You are not named for this door.", Target("emergency", name))
        return door

    def _person(self, actor: Actor) -> Person:
        person = self._approvers.load(actor.person_id)
        if person is None or person.is_disabled:
            raise Forbidden("You are not named for this door.")
        return person



def _leads_to(door: EmergencyDoor) -> tuple[object, ...]:
    """What somebody takes who opens it."""
    return door.role_kind, door.role_name, door.namespaces, door.clusters
