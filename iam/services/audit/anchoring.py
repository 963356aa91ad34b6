"""Anchoring: the head of the chain is put where whoever can write our database cannot write."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select

from iam.errors import NotFound, Unavailable
from iam.evidence import exports
from iam.evidence.blocks import Block, NotABlock, head_of
from iam.models import AuditBlock, AuditOutlet, Cluster, db
from iam.services.audit.outlets import Outlets
from iam.services.audit.trail import Audit
from iam.services.base import READ, Actor, World
from iam.settings.audit import Anchor, ConfigMapAnchor

KEY = "heads.jsonl"
"""Of the ConfigMap's data."""


@dataclass(frozen=True, slots=True)
class Anchored:
    """How far an anchor is."""

    name: str
    kind: str
    position: int
    """The block that was anchored last."""
    behind: int
    """Blocks that came since; below zero, if somebody has cut the chain."""
    delivered_at: datetime | None
    error: str
    is_late: bool


class Anchoring:
    """Use cases of anchors."""

    def __init__(self, world: World, audit: Audit, outlets: Outlets) -> None:
        self._world = world
        self._audit = audit
        self._outlets = outlets

    def due(self) -> list[str]:
        """Anchors that the chain has outgrown and whose pause is over. Which are late is told here."""
        newest, found = self._newest(), []
        for one in self._world.settings.audit.anchors:
            outlet, number = self._outlets.get(_key(one.name)), newest.number if newest else 0
            self._outlets.tell(_key(one.name), is_late=self._is_late(outlet, number), head=number)
            if outlet.position < number and self._outlets.is_due(_key(one.name)):
                found.append(one.name)
        return found

    def anchor(self, name: str) -> None:
        """Put the head there now."""
        settings = next(one for one in self._world.settings.audit.anchors if one.name == name)
        with self._outlets.attempt(_key(name)) as mine:
            block = self._newest() if mine else None
            db.session.commit()
            if block:
                self._put(settings, exports.anchor_line(head_of(block), block.key, block.signature, self._world.now())[:-1])
                again = self._world.now() + timedelta(seconds=self._world.settings.audit.anchor_seconds)
                self._outlets.moved(_key(name), block.number, again)

    def standings(self, actor: Actor) -> list[Anchored]:
        """How all of them are."""
        self._audit.require(actor, "auditor", "administrator", scope=READ)
        try:
            newest = self._newest()
        except Unavailable:
            return [self._standing(one, None) for one in self._world.settings.audit.anchors]
        return [self._standing(one, newest.number if newest else 0) for one in self._world.settings.audit.anchors]

    def _standing(self, settings: Anchor, head: int | None) -> Anchored:
        outlet = self._outlets.get(_key(settings.name))
        behind, is_late = (0, True) if head is None else (head - outlet.position, self._is_late(outlet, head))
        return Anchored(settings.name, settings.kind, outlet.position, behind, outlet.delivered_at, outlet.error, is_late)

    def _is_late(self, outlet: AuditOutlet, number: int) -> bool:
        """Whether a block that is older than the alarm allows is not anchored, or the chain ends before what was."""
        if outlet.position >= number or not outlet.is_tried:
            return outlet.position > number
        oldest = db.session.scalar(select(AuditBlock.sealed_at).where(AuditBlock.number == outlet.position + 1))
        allowed = self._world.settings.audit.lag_alarm_seconds + self._world.settings.audit.anchor_seconds
        return oldest is not None and abs(self._world.now() - oldest).total_seconds() > allowed

    def _put(self, settings: Anchor, line: bytes) -> None:
        if not isinstance(settings, ConfigMapAnchor):
            self._world.sinks[_key(settings.name)].send([line])
            return
        cluster = db.session.scalar(select(Cluster).filter_by(name=settings.cluster))
        if cluster is None:
            raise NotFound("There is no cluster %(name)s.", name=settings.cluster)
        connection = self._world.connect(cluster)
        db.session.commit()  # no transaction stays open while the cluster answers
        connection.write_config_map(settings.namespace, settings.config_map, {KEY: line.decode() + "\n"})

    def _newest(self) -> Block | None:
        """Raises Unavailable where the last block is none."""
        row = db.session.scalars(select(AuditBlock).order_by(AuditBlock.number.desc()).limit(1)).one_or_none()
        if row is None:
            return None
        block = Block(row.header.encode("utf-8", "replace"), b"", row.signature)
        try:
            head_of(block)
        except NotABlock:
            raise Unavailable("The last block of the audit trail cannot be read. Run iam audit verify.") from None
        return block


def _key(name: str) -> str:
    return f"anchor {name}"
