"""Which events: by who, whom, what, where, when. The same for the page, the API, the command line and exports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Select, or_

from iam.approval import times
from iam.errors import Invalid
from iam.evidence.events import moment
from iam.models import AuditEvent
from iam.models.audit import says
from iam.services.audit.vocabulary import Event

PAGE = 100
MOST, LONGEST = 1000, 255
TEXTS = ("actor", "person", "action", "target", "cluster", "result", "case", "request")
RESULTS = ("done", "refused", "failed")
_MAX_ID = 2**63 - 1
_S = TypeVar("_S", bound=Select[*tuple[Any, ...]])


def parsed_time(text: str, field: str) -> datetime | None:
    """``2026-11-22`` or RFC 3339, in UTC unless it says otherwise; None for nothing. Raises Invalid."""
    text = text.strip()
    if not text:
        return None
    return times.moment(text if "T" in text.upper() else f"{text}T00:00", field=field)


def _number(asked: Any) -> int | None:
    if asked is None or isinstance(asked, int):
        return asked
    return int(asked) if str(asked).isdecimal() and len(str(asked)) < 20 else -1


@dataclass(frozen=True, slots=True)
class Filter:
    """Empty fields do not narrow."""

    actor: str = ""
    action: str = ""
    """One action, or a family such as ``grant.`` with its dot."""
    target: str = ""
    cluster: str = ""
    result: str = ""
    person: str = ""
    """Whoever did it or was concerned."""
    case: str = ""
    """The id of an access request: everything that came of it."""
    request: str = ""
    """The id of one call: everything that happened in it."""
    since: datetime | None = None
    until: datetime | None = None
    """Up to, and without."""
    before: int | None = None
    limit: int = PAGE

    @classmethod
    def asked(cls, asked: Mapping[str, Any]) -> Filter:
        """From what somebody typed. Raises Invalid."""
        values: dict[str, Any] = {name: str(asked.get(name) or "").strip() for name in TEXTS}
        values |= {name: parsed_time(str(asked.get(name) or ""), name) for name in ("since", "until")}
        return cls(**values, before=_number(asked.get("before")), limit=PAGE if asked.get("limit") is None else asked["limit"])

    def check(self) -> None:
        """Raises Invalid."""
        for name in TEXTS:
            if len(getattr(self, name)) > LONGEST:
                raise Invalid("%(name)s has at most %(most)s characters.", field=name, name=name, most=LONGEST)
        if self.result and self.result not in RESULTS:
            raise Invalid("A result is one of %(results)s.", field="result", results=", ".join(RESULTS))
        if self.action and not self.actions:
            raise Invalid("There is no event %(name)s; docs/audit-events.md has all of them.", field="action", name=self.action)
        if not 1 <= self.limit <= MOST:
            raise Invalid("limit lies between 1 and 1000.", field="limit")
        if self.before is not None and not 0 <= self.before <= _MAX_ID:
            raise Invalid("before is the id of an event.", field="before")
        if self.since and self.until and self.since >= self.until:
            raise Invalid("The time ends before it begins.", field="until")

    @property
    def actions(self) -> list[str]:
        """The events that ``action`` means, none for nonsense."""
        is_family = self.action.endswith(".")
        return [one.value for one in Event if (one.startswith(self.action) if is_family else one.value == self.action)]

    @property
    def is_narrow(self) -> bool:
        """Whether it leaves anything out."""
        return bool(self.facts())

    def facts(self) -> dict[str, str]:
        """What was asked for, as an export and its event say it."""
        asked = {name: value for name, value in asdict(self).items() if value and name not in {"before", "limit"}}
        return {name: moment(value) if isinstance(value, datetime) else str(value) for name, value in asked.items()}

    def narrow(self, query: _S) -> _S:
        """The query, for these events only."""
        for column, value in (
            (AuditEvent.actor_name, self.actor), (AuditEvent.target_name, self.target), (AuditEvent.cluster, self.cluster),
            (AuditEvent.result, self.result), (AuditEvent.case_id, self.case), (AuditEvent.request_id, self.request),
        ):
            if value:
                query = query.where(says(column, value))
        if self.action:
            query = query.where(AuditEvent.action.in_(self.actions))
        if self.person:
            query = query.where(or_(says(AuditEvent.actor_name, self.person), says(AuditEvent.person, self.person)))
        if self.since:
            query = query.where(AuditEvent.at >= self.since)
        return query.where(AuditEvent.at < self.until) if self.until else query
