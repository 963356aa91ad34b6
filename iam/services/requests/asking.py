"""Asking: what a wish comes to (who decides, what it allows, what is held already), and submitting, drafting, cancelling it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, or_, select, update

from iam.approval import scopes, stages, texts, times
from iam.approval.scopes import WHOLE_CLUSTER
from iam.approval.stages import Need, Stage
from iam.errors import Conflict, Forbidden, Hidden, Invalid, NotFound
from iam.models import AccessRequest, ApprovalRule, CatalogueEntry, Cluster, Draft, Grant, Person, db, new_id
from iam.models.grant import ENDED
from iam.models.request import PENDING
from iam.services.audit import Audit
from iam.services.base import READ, WRITE, Actor, World, transaction
from iam.services.requests.approvers import Approvers
from iam.services.requests.catalogue import Catalogue
from iam.services.requests.humans import human_of, names_of, subject_of
from iam.services.requests.progress import WITH_WORDS, Progress
from iam.services.requests.rules import Considered, Question, Rules, require_words
from iam.services.requests.shown import Roles, Shown

MAX_OPEN = 50
"""Requests that wait and grants that run, of one person."""
MAX_CLUSTERS, MAX_SCOPES = 50, 200
FURTHEST = timedelta(days=90)
OVERLAP = timedelta(minutes=1)
"""An extension begins so long before the end of what it extends: no moment without access lies between."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A wish; an empty ``namespaces`` is the whole cluster. ``starts_at`` is aware UTC, None is as soon as possible."""

    entry: str
    clusters: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    seconds: int = times.HOUR
    starts_at: datetime | None = None
    reason: str = ""
    ticket: str = ""
    extends: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """One request that a wish becomes: one cluster, namespaces that the same people decide on."""

    entry: CatalogueEntry
    cluster: Cluster
    namespaces: tuple[str, ...]
    rule: ApprovalRule
    shown: Shown
    asked: tuple[tuple[tuple[Need, tuple[Person, ...]], ...], ...]
    """Stage by stage, who would be asked for each need."""

    @property
    def is_automatic(self) -> bool:
        """Whether nobody is asked."""
        return not self.asked


class Requests:
    """Use cases of whoever asks."""

    def __init__(
        self, world: World, audit: Audit, catalogue: Catalogue, rules: Rules, approvers: Approvers, roles: Roles, progress: Progress
    ) -> None:
        self._world = world
        self._audit = audit
        self._catalogue = catalogue
        self._rules = rules
        self._approvers = approvers
        self._roles = roles
        self._progress = progress

    def offered(self, actor: Actor) -> list[tuple[CatalogueEntry, list[Cluster]]]:
        """What the actor may ask for, and in which clusters."""
        self._audit.require(actor, scope=READ)
        person = self._approvers.load(actor.person_id)
        clusters = self._catalogue.clusters()
        found = [(entry, self._catalogue.clusters_of(entry, clusters)) for entry in self._catalogue.offered(person)] if person else []
        return [(entry, clusters) for entry, clusters in found if clusters]

    def preview(self, actor: Actor, ask: Ask) -> list[Part]:
        """What the wish comes to, before it is sent. Raises Invalid, NotFound, Conflict, Unavailable."""
        self._audit.require(actor, scope=READ)
        return self._parts(self._asker(actor), ask)

    def submit(self, actor: Actor, ask: Ask, *, draft: str = "") -> list[AccessRequest]:
        """Ask for it: one request a part, all or none. The harmless may be granted at once. Raises what ``preview`` raises."""
        self._audit.require(actor, scope=WRITE)
        parts = self._parts(self._asker(actor), ask)
        with transaction():
            person = self._asker(actor)
            self._refuse_flood(person, len(parts))
            batch = new_id() if len(parts) > 1 else ""
            made = [self._make(actor, person, ask, part, batch) for part in parts]
            kept = db.session.scalar(select(Draft).filter_by(id=draft, person_id=person.id)) if draft else None
            if kept:
                db.session.delete(kept)
        return made

    def cancel(self, actor: Actor, request_id: str) -> AccessRequest:
        """Take one's own request back while it is open. Raises NotFound, Conflict."""
        self._audit.require(actor, scope=WRITE)
        with transaction():
            request = self._progress.take(request_id)
            if request.person_id != actor.person_id:
                raise Hidden("There is no such request.")
            self._progress.cancel(actor, request)
        return request

    def mine(self, actor: Actor, most: int = 100) -> Sequence[AccessRequest]:
        """One's own requests, the latest first."""
        self._audit.require(actor, scope=READ)
        query = select(AccessRequest).where(AccessRequest.person_id == actor.person_id).order_by(AccessRequest.created_at.desc())
        return db.session.scalars(query.options(*WITH_WORDS).limit(most)).all()

    def as_ask(self, request: AccessRequest) -> Ask:
        """The same wish again, to begin a new request with."""
        entry = db.session.get(CatalogueEntry, request.entry_id) if request.entry_id else None
        return Ask(
            entry.name if entry else "", (request.cluster_name,), tuple(request.asked_namespaces), request.asked_seconds,
            None, request.reason, request.ticket,
        )

    def own(self, actor: Actor, request_id: str) -> AccessRequest:
        """One of one's own. Raises NotFound."""
        self._audit.require(actor, scope=READ)
        request = db.session.get(AccessRequest, request_id)
        if request is None:
            raise NotFound("There is no such request.")
        if not actor.person_id or request.person_id != actor.person_id:
            raise Hidden("There is no such request.")
        return request

    def simulate(self, actor: Actor, username: str, ask: Ask) -> list[tuple[str, str, list[Considered], list[Part] | Exception]]:
        """For administrators: (cluster, namespace, the rules tried, what it comes to or why not) for each scope of a wish."""
        self._audit.require(actor, "administrator", "auditor", scope=READ)
        person = db.session.scalar(select(Person).filter_by(username=username.strip()))
        if person is None:
            raise NotFound("There is no person %(name)s.", name=username, field="username")
        entry = self._catalogue.named(ask.entry)
        if len(ask.clusters) * len(ask.namespaces) > MAX_SCOPES:
            raise Invalid("At most %(most)s namespaces over all clusters in one request.", field="namespaces", most=MAX_SCOPES)
        scopes.check(ask.namespaces, field="namespaces")
        written = self._rules.all()
        found: list[tuple[str, str, list[Considered], list[Part] | Exception]] = []
        for cluster in self._clusters(entry, ask.clusters):
            for namespace in ask.namespaces or ("",):
                one = Ask(ask.entry, (cluster.name,), (namespace,) if namespace else (), ask.seconds, ask.starts_at, ask.reason, ask.ticket)
                shown = self._roles.shown(cluster, entry.role_kind, entry.role_name, one.namespaces)
                question = Question(entry, cluster, namespace, shown.is_harmless, names_of(self._world, person))
                tried = self._rules.considered(question, written)
                try:
                    outcome: list[Part] | Exception = self._parts(person, one)
                except (Invalid, Conflict, NotFound, Forbidden) as problem:
                    outcome = problem
                found.append((cluster.name, namespace, tried, outcome))
        return found

    def _asker(self, actor: Actor) -> Person:
        person = self._approvers.load(actor.person_id) if actor.person_id else None
        if person is None or person.is_disabled:
            raise Forbidden("Only people ask for access: log in as one.")
        return person

    def _parts(self, person: Person, ask: Ask) -> list[Part]:
        entry = next((one for one in self._catalogue.offered(person) if one.name == ask.entry), None)
        if entry is None:
            raise NotFound("The catalogue offers you no entry %(name)s.", field="entry", name=ask.entry or "?")
        reason = texts.paragraphs(ask.reason, texts.MAX_REASON, field="reason")
        ticket = texts.line(ask.ticket, texts.MAX_TICKET, field="ticket")
        if not reason:
            raise Invalid("Say why: whoever decides has only your words.", field="reason")
        times.check(ask.seconds, field="seconds", most=entry.longest_seconds)
        self._check_start(ask.starts_at)
        namespaces = self._checked_namespaces(entry, ask.namespaces, max(1, len(ask.clusters)))
        parts: list[Part] = []
        for cluster in self._clusters(entry, ask.clusters):
            shown = self._roles.require(cluster, entry.role_kind, entry.role_name, namespaces)
            self._roles.require_namespaces(cluster, namespaces)
            for rule, some in self._by_rule(person, entry, cluster, namespaces, shown):
                parts.append(self._part(person, Part(entry, cluster, some, rule, shown.within(some), ()), ask.seconds))
                require_words(rule, reason, ticket)
        return parts

    def _part(self, person: Person, part: Part, seconds: int) -> Part:
        rule, found = part.rule, stages.parse(part.rule.stages)
        times.check(seconds, field="seconds", most=min(rule.longest_seconds, part.entry.longest_seconds))
        missing = self._approvers.missing(found, part.cluster.id, part.namespaces, person)
        if missing:
            raise Conflict(
                "Nobody could approve this: there are not enough people besides you for %(needs)s, which the rule %(rule)s asks for.",
                rule=rule.name, needs=", ".join(map(str, missing)),
            )
        return Part(part.entry, part.cluster, part.namespaces, rule, part.shown, tuple(self._asked(one, person, part) for one in found))

    def _asked(self, stage: Stage, person: Person, part: Part) -> tuple[tuple[Need, tuple[Person, ...]], ...]:
        own = human_of(self._world, person)
        found = []
        for need in stage:
            people = self._approvers.people(self._approvers.references(need, person, part.cluster.id, part.namespaces))
            found.append((need, tuple(one for one in people if human_of(self._world, one) != own)))
        return tuple(found)

    def _by_rule(
        self, person: Person, entry: CatalogueEntry, cluster: Cluster, namespaces: Sequence[str], shown: Shown
    ) -> list[tuple[ApprovalRule, tuple[str, ...]]]:
        """The namespaces, apart by rule, and apart by owners where a rule asks these."""
        together: dict[tuple[str, frozenset[str]], list[str]] = defaultdict(list)
        rules: dict[str, ApprovalRule] = {}
        written, asker = self._rules.all(), names_of(self._world, person)
        for namespace in namespaces or ("",):
            is_harmless = shown.within([namespace] if namespace else ()).is_harmless
            rule = self._rules.fitting(Question(entry, cluster, namespace, is_harmless, asker), written)
            if rule is None:
                raise Conflict(
                    "No approval rule fits %(entry)s in %(cluster)s, %(where)s, so nobody could decide on it. An administrator adds one.",
                    entry=entry.title, cluster=cluster.label, where=namespace or WHOLE_CLUSTER,
                )
            asks_owners = any(need.kind == "owners" for stage in stages.parse(rule.stages) for need in stage)
            owners = frozenset(self._approvers.owning_groups(cluster.id, [namespace])) if asks_owners and namespace else frozenset()
            together[rule.id, owners].append(namespace)
            rules[rule.id] = rule
        return [(rules[rule_id], tuple(filter(None, some))) for (rule_id, _owners), some in together.items()]

    def _clusters(self, entry: CatalogueEntry, wanted: Sequence[str]) -> list[Cluster]:
        offered = {cluster.name: cluster for cluster in self._catalogue.clusters_of(entry)}
        if not wanted or len(wanted) > MAX_CLUSTERS:
            raise Invalid("Choose between one and %(most)s clusters.", field="clusters", most=MAX_CLUSTERS)
        for name in wanted:
            if name not in offered:
                raise Invalid("%(entry)s is not offered in the cluster %(name)s.", field="clusters", entry=entry.title, name=name)
        return [offered[name] for name in dict.fromkeys(wanted)]

    def _checked_namespaces(self, entry: CatalogueEntry, wanted: Sequence[str], clusters: int) -> tuple[str, ...]:
        if len(wanted) * clusters > MAX_SCOPES:
            raise Invalid("At most %(most)s namespaces over all clusters in one request.", field="namespaces", most=MAX_SCOPES)
        if not wanted and WHOLE_CLUSTER not in entry.namespaces:
            raise Invalid("Name at least one namespace; the whole cluster is not offered.", field="namespaces")
        scopes.check(wanted, field="namespaces")
        for namespace in wanted:
            if not scopes.is_exact(namespace) or not scopes.covers(entry.namespaces, namespace) or namespace == WHOLE_CLUSTER:
                raise Invalid("%(entry)s is not offered in the namespace %(name)s.", field="namespaces", entry=entry.title, name=namespace)
        return tuple(sorted(dict.fromkeys(wanted)))

    def _check_start(self, starts_at: datetime | None) -> None:
        now = self._world.now()
        if starts_at and starts_at < now - timedelta(minutes=5):
            raise Invalid("The start lies in the past.", field="starts_at")
        if starts_at and starts_at > now + FURTHEST:
            raise Invalid("The start lies more than %(days)s days ahead.", field="starts_at", days=FURTHEST.days)

    def _refuse_flood(self, person: Person, more: int) -> None:
        db.session.execute(update(Person).where(Person.id == person.id).values(entry=Person.entry))  # one request of a person at a time
        waiting = select(func.count(AccessRequest.id)).where(AccessRequest.person_id == person.id, AccessRequest.state == PENDING)
        running = select(func.count(Grant.id)).where(Grant.person_id == person.id, Grant.state != ENDED)
        if (db.session.scalar(waiting) or 0) + (db.session.scalar(running) or 0) + more > MAX_OPEN:
            raise Conflict("You have %(most)s open requests and running grants already; wait, or give some back.", most=MAX_OPEN)

    def _refuse_held(self, person: Person, ask: Ask, part: Part) -> None:
        """What a grant gives already is extended, not given a second time."""
        running = db.session.scalars(select(Grant).where(
            Grant.person_id == person.id, Grant.cluster_id == part.cluster.id, Grant.state != ENDED,
            or_(Grant.ends_at.is_(None), Grant.ends_at > self._world.now()),
            Grant.role_kind == part.entry.role_kind, Grant.role_name == part.entry.role_name,
        )).all()
        if ask.extends:
            old = next((one for one in running if one.id == ask.extends and one.ends_at), None)
            if old is None or (old.namespaces and not set(part.namespaces or ["*"]) <= set(old.namespaces)):
                raise Conflict("The grant that this should extend has ended, or was for something else. Ask anew.")
            if old.ends_at and (ask.starts_at or self._world.now()) < old.ends_at - 2 * OVERLAP:  # a form has no seconds
                raise Invalid("An extension begins when what it extends ends.", field="starts_at")
            return
        for one in running:
            if not one.namespaces or (part.namespaces and set(part.namespaces) <= set(one.namespaces)):
                raise Conflict("You hold this already by a grant. Extend that one instead.")

    def _make(self, actor: Actor, person: Person, ask: Ask, part: Part, batch: str) -> AccessRequest:
        now = self._world.now()
        twin = db.session.scalars(select(AccessRequest).where(
            AccessRequest.person_id == person.id, AccessRequest.state == PENDING, AccessRequest.entry_id == part.entry.id,
            AccessRequest.cluster_id == part.cluster.id, AccessRequest.starts_at == ask.starts_at,
        ))
        if any(one.namespaces == list(part.namespaces) for one in twin):
            raise Conflict("You have asked for exactly this already, and it is still open.")
        self._refuse_held(person, ask, part)
        request = AccessRequest(
            id=new_id(), person_id=person.id, person=person, requester_subject=subject_of(person),
            requester_human=human_of(self._world, person), entry_id=part.entry.id, title=part.entry.title, cluster_id=part.cluster.id,
            cluster=part.cluster, cluster_name=part.cluster.name, role_kind=part.entry.role_kind, role_name=part.entry.role_name,
            namespaces=list(part.namespaces), asked_namespaces=list(part.namespaces), seconds=ask.seconds, asked_seconds=ask.seconds,
            starts_at=ask.starts_at, reason=texts.paragraphs(ask.reason, texts.MAX_REASON, field="reason"),
            ticket=texts.line(ask.ticket, texts.MAX_TICKET, field="ticket"), batch=batch, extends=ask.extends[:24],
            created_at=now, submitted_at=now,
        )
        db.session.add(request)
        self._progress.begin(actor, request, part.rule, part.shown)
        return request
