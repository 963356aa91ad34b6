"""Openings of break-glass, looked at: who may see them, who is asked to open or to review them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import and_, case, or_, select
from sqlalchemy.orm import joinedload, selectinload

from iam.errors import Hidden, NotFound
from iam.models import AccessRequest, Decision, EmergencyDoor, Person, db
from iam.models.request import APPROVED, EMERGENCY, PENDING
from iam.services.audit import Audit
from iam.services.base import READ, Actor, World
from iam.services.explorer import LOOKING
from iam.services.memberships import groups_now
from iam.services.requests.approvers import Approvers
from iam.services.requests.doors import Doors
from iam.services.requests.humans import human_of

_WHOLE = (
    joinedload(AccessRequest.person), joinedload(AccessRequest.door),
    selectinload(AccessRequest.decisions).joinedload(Decision.approver),
)


class Openings:
    """What can be asked about openings; changing them is in iam.services.requests.emergency."""

    def __init__(self, world: World, audit: Audit, doors: Doors, approvers: Approvers) -> None:
        self._world = world
        self._audit = audit
        self._doors = doors
        self._approvers = approvers

    def open_to(self, actor: Actor) -> list[EmergencyDoor]:
        """The doors that the actor is named for."""
        self._audit.require(actor, scope=READ)
        person = self._somebody(actor)
        return [door for door in self._doors.all() if person and self._is_in(person, door.groups)]

    def get(self, actor: Actor, request_id: str) -> AccessRequest:
        """For who opened it, who is named, who reviews, and those who look. Raises NotFound."""
        self._audit.require(actor, scope=READ)
        request = db.session.scalar(
            select(AccessRequest).where(AccessRequest.id == request_id, AccessRequest.kind == EMERGENCY)
            .options(joinedload(AccessRequest.person), joinedload(AccessRequest.door))
        )
        if request is None:
            raise NotFound("There is no such request.")
        if not self._may_see(actor, request):
            raise Hidden("There is no such request.")
        return request

    def openings(self, actor: Actor, most: int = 100) -> list[AccessRequest]:
        """Those that the actor may see, with those that wait for a review first, then the latest."""
        self._audit.require(actor, scope=READ)
        person = self._somebody(actor)
        named = [door.id for door in self._doors.all() if person and self._is_in(person, [*door.groups, *door.reviewers, *door.tell])]
        query = select(AccessRequest).where(AccessRequest.kind == EMERGENCY)
        if not actor.has(*LOOKING):
            query = query.where(or_(AccessRequest.person_id == actor.person_id, AccessRequest.door_id.in_(named)))
        waits = and_(AccessRequest.review_due_at.is_not(None), AccessRequest.reviewed_at.is_(None))
        query = query.order_by(case((waits, 0), else_=1), AccessRequest.created_at.desc()).limit(most)
        return list(db.session.scalars(query.options(*_WHOLE)))

    def concern(self, actor: Actor) -> bool:
        """Whether the actor is named on any door: worth showing them an inbox."""
        person = self._somebody(actor)
        return person is not None and any(self._is_in(person, [*door.groups, *door.reviewers]) for door in self._doors.all())

    def to_unseal(self, actor: Actor) -> list[AccessRequest]:
        """What waits for the actor as the second person."""
        self._audit.require(actor, scope=READ)
        waiting = select(AccessRequest).where(AccessRequest.kind == EMERGENCY, AccessRequest.state == PENDING)
        person = self._somebody(actor)
        found = db.session.scalars(waiting.options(*_WHOLE)).all()
        return [one for one in found if person and not person.is_disabled and self._is_second(person, one)]

    def to_review(self, actor: Actor) -> list[AccessRequest]:
        """What waits for the actor's review, the oldest first."""
        self._audit.require(actor, scope=READ)
        waiting = select(AccessRequest).where(AccessRequest.review_due_at.is_not(None), AccessRequest.reviewed_at.is_(None))
        waiting = waiting.options(*_WHOLE).order_by(AccessRequest.review_due_at)
        person, found = self._somebody(actor), db.session.scalars(waiting).all()
        return [one for one in found if self._may_review(actor, person, one)]

    def may_review(self, actor: Actor, request: AccessRequest) -> bool:
        """Whether it waits for a review that this actor may give."""
        return self._may_review(actor, self._somebody(actor), request)

    def _somebody(self, actor: Actor) -> Person | None:
        return self._approvers.load(actor.person_id) if actor.person_id else None

    def _may_review(self, actor: Actor, person: Person | None, request: AccessRequest) -> bool:
        if request.kind != EMERGENCY or request.state != APPROVED or request.reviewed_at:
            return False
        if person is None or person.is_disabled or self._took_part(person, request):
            return False
        return self._is_in(person, request.door.reviewers) if request.door else actor.has("administrator")

    def _reviewers(self, request: AccessRequest) -> list[Person]:
        groups = request.door.reviewers if request.door else self._world.settings.roles.administrator
        people = self._approvers.people(self._approvers.of_groups(groups))
        return [person for person in people if not self._took_part(person, request)]

    def _is_second(self, person: Person, request: AccessRequest) -> bool:
        """Whether this is one of the named few, and not whoever asked."""
        own = {request.requester_human, human_of(self._world, request.person)}
        is_other = person.id != request.person_id and human_of(self._world, person) not in own
        return request.door is not None and self._is_in(person, request.door.groups) and is_other

    def _took_part(self, person: Person, request: AccessRequest) -> bool:
        took = (request.person, *(decision.approver for decision in request.decisions))
        humans = {human_of(self._world, one) for one in took} | {request.requester_human}
        humans |= {decision.approver_human for decision in request.decisions}
        return person.id in {one.id for one in took} or human_of(self._world, person) in humans

    def _may_see(self, actor: Actor, request: AccessRequest) -> bool:
        if actor.has(*LOOKING) or (actor.person_id and request.person_id == actor.person_id):
            return True
        person = self._somebody(actor)
        return bool(person and request.door and self._is_in(person, [*request.door.groups, *request.door.reviewers, *request.door.tell]))

    def _is_in(self, person: Person, groups: Sequence[str]) -> bool:
        return bool(groups_now(self._world, person).intersection(groups))
