"""One case as an approver should see it: exactly what would be gained, what is held already, what else this person asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select

from iam.kube.explorer import Powers, condensed
from iam.kube.requests import Request
from iam.models import AccessRequest, Cluster, Grant, db
from iam.models.grant import ACTIVE, SCHEDULED
from iam.models.request import PENDING
from iam.services.base import Actor
from iam.services.explorer import NOW
from iam.services.requests.shown import Shown
from iam.services.views import Views

LISTED = 5


@dataclass(frozen=True, slots=True)
class Past:
    """What became of this person's other requests."""

    counts: dict[str, int]
    latest: Sequence[AccessRequest]


class Cases:
    """Looks things up for a page or an answer; who may see the request was judged before."""

    def __init__(self, views: Views) -> None:
        self._views = views

    def gain(self, actor: Actor, username: str, cluster: Cluster, shown: Shown) -> list[tuple[Request, tuple[str, ...]]]:
        """Each thing with its verbs, beyond all that the person holds now, through whatever binding. Raises Unavailable, Invalid."""
        view = self._views.of(actor, cluster, NOW, frozenset({username}))
        held = Powers.of(view.snapshot, view.asker(username))
        wanted = Powers({scope: [role] for scope, role in shown.roles.items() if role})
        return condensed(wanted.beyond(held))

    def past(self, request: AccessRequest) -> Past:
        """This person's other requests."""
        others = (AccessRequest.person_id == request.person_id, AccessRequest.id != request.id)
        counts = db.session.execute(select(AccessRequest.state, func.count()).where(*others).group_by(AccessRequest.state))
        latest = db.session.scalars(select(AccessRequest).where(*others).order_by(AccessRequest.created_at.desc()).limit(LISTED))
        return Past({state: count for state, count in counts}, latest.all())  # noqa: C416

    def overlapping(self, request: AccessRequest) -> list[Grant]:
        """Grants on the same cluster that run or will begin: they may cover this, or add up with it."""
        query = select(Grant).where(
            Grant.person_id == request.person_id, Grant.cluster_id == request.cluster_id, Grant.state.in_([ACTIVE, SCHEDULED]),
            Grant.request_id != request.id,
        )
        return list(db.session.scalars(query.order_by(Grant.ends_at)))

    def open_besides(self, request: AccessRequest) -> list[AccessRequest]:
        """Their other open requests on the same cluster."""
        query = select(AccessRequest).where(
            AccessRequest.person_id == request.person_id, AccessRequest.cluster_id == request.cluster_id,
            AccessRequest.state == PENDING, AccessRequest.id != request.id,
        )
        return list(db.session.scalars(query.order_by(AccessRequest.created_at).limit(LISTED)))


def covers(grant: Grant, request: AccessRequest) -> bool:
    """Whether a grant gives all of this already, for as long as it runs."""
    is_same = (grant.role_kind, grant.role_name) == (request.role_kind, request.role_name)
    return is_same and (not grant.namespaces or (bool(request.namespaces) and set(request.namespaces) <= set(grant.namespaces)))
