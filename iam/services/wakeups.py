"""Telling the reconciler that a cluster is due, inside the transaction of the change that makes it due."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import select, update

from iam.models import Grant, Mapping, Person, ReconcileState, db
from iam.models.grant import ACTIVE

_AT_ONCE = 500


def want_cluster(cluster_id: str, now: datetime) -> None:
    """One cluster is due."""
    _want([cluster_id], now)


def want_clusters_of_groups(group_ids: Collection[str], now: datetime) -> None:
    """Every cluster where one of these groups is mapped is due."""
    clusters: set[str] = set()
    ids = list(group_ids)
    for start in range(0, len(ids), _AT_ONCE):
        chunk = ids[start : start + _AT_ONCE]
        clusters |= set(db.session.scalars(select(Mapping.cluster_id).where(Mapping.group_id.in_(chunk)).distinct()))
    _want(sorted(clusters), now)


def want_clusters_of_person(person: Person, now: datetime) -> None:
    """Every cluster where this person holds something, by a group or by a grant, is due."""
    want_clusters_of_groups([group.id for group in person.groups], now)
    granted = select(Grant.cluster_id).where(Grant.person_id == person.id, Grant.state == ACTIVE, Grant.cluster_id.is_not(None))
    _want(sorted(one for one in db.session.scalars(granted.distinct()) if one), now)


def _want(cluster_ids: list[str], now: datetime) -> None:
    if cluster_ids:
        db.session.execute(
            update(ReconcileState)
            .where(ReconcileState.cluster_id.in_(cluster_ids))
            .values(wanted=ReconcileState.wanted + 1, wanted_at=now, next_attempt_at=None)
            .execution_options(synchronize_session=False)
        )
