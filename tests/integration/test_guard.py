"""No change without an event: what a service changes and does not record is not changed. And an event holds whatever it is told."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fixtures.offline import give, offline, stored
from fixtures.product import Product, remember
from fixtures.sealed import DATABASES, database, opened, seal
from fixtures.stored import contents
from sqlalchemy import delete, event, insert, select, text, update
from sqlalchemy.orm import Session

from iam.directory.base import Identity
from iam.evidence.events import LONGEST
from iam.models import ApiToken, AuditEvent, Group, Heartbeat, LocalAccount, Mapping, Membership, Person, db
from iam.services.audit import Event, Target
from iam.services.base import WORKER, Actor, transaction
from iam.services.guard import Unrecorded

ACCOUNT = {"directory": "local", "username": "new", "display_name": "New", "password_hash": "none"}


@pytest.fixture(scope="module", params=DATABASES)
def product(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """On both databases: a cluster, a mapping, erin in two groups. No test leaves anything behind but events."""
    folder: Path = tmp_path_factory.mktemp("guard")
    with database(request, request.param, folder, "guard") as url, opened(url, folder, is_empty=True) as product:
        offline(product)
        give(product, "local:engineers", "edit", "shop")
        remember(product, Identity("local", "id-erin", "erin", "Erin", groups=frozenset({"engineers", "leads"})))
        yield product


def erin() -> Person:
    return db.session.scalars(select(Person).filter_by(username="erin")).one()


def mapping() -> Mapping:
    return db.session.scalars(select(Mapping)).one()


def flush_and_go_on() -> None:
    erin().username = "mallory"
    db.session.flush()
    db.session.execute(update(Person).values(language="en"))


def in_a_savepoint() -> None:
    with db.session.begin_nested():
        erin().username = "mallory"


def both() -> None:
    erin().language = "xx"
    erin().disabled_reason = "so"


def insert_from_a_query() -> None:
    db.session.execute(insert(Group).from_select(["id", "directory", "name"], select(Person.id, Person.directory, Person.username)))
    db.session.execute(insert(Membership).from_select(["person_id", "group_id"], select(Person.id, Person.id)))


def join() -> None:
    person = erin()
    person.groups.append(Group(directory="local", name="new"))


def after_a_savepoint() -> None:
    with db.session.begin_nested():
        erin().language = "en"
    erin().username = "mallory"


LOUD: dict[str, Callable[[], object]] = {
    "a field": lambda: setattr(erin(), "username", "mallory"),
    "a silent field and a loud one": both,
    "a field, flushed": flush_and_go_on,
    "a row added": lambda: db.session.add(LocalAccount(**ACCOUNT)),
    "a row merged": lambda: db.session.merge(LocalAccount(id="new", **ACCOUNT)),
    "a row dropped": lambda: db.session.delete(mapping()),
    "a member gone": lambda: setattr(erin(), "groups", []),
    "a member more": join,
    "update": lambda: db.session.execute(update(Person).values(username="mallory")),
    "update of a table": lambda: db.session.execute(update(Person.__table__).values(username="mallory")),  # type: ignore[arg-type]
    "update, in order": lambda: db.session.execute(update(Person).ordered_values((Person.username, "mallory"))),
    "update, returning": lambda: db.session.scalars(update(Person).values(username="mallory").returning(Person.id)).all(),
    "update, returning rows": lambda: db.session.scalars(update(Person).values(username="mallory").returning(Person)).all(),
    "update by key": lambda: db.session.execute(update(Person), [{"id": erin().id, "username": "mallory"}]),
    "update with parameters": lambda: db.session.execute(update(Person), {"id": erin().id, "username": "mallory"}),
    "update by query": lambda: db.session.query(Person).update({"username": "mallory"}),
    "delete": lambda: db.session.execute(delete(Mapping)),
    "delete of a table": lambda: db.session.execute(delete(Membership.__table__)),  # type: ignore[arg-type]
    "delete, returning": lambda: db.session.scalars(delete(Mapping).returning(Mapping.id)).all(),
    "delete by query": lambda: db.session.query(Mapping).delete(),
    "insert": lambda: db.session.execute(insert(LocalAccount).values(id="new", **ACCOUNT)),
    "insert of many": lambda: db.session.execute(insert(LocalAccount), [{"id": f"n-{at}", **ACCOUNT, "username": str(at)} for at in "ab"]),
    "insert, returning": lambda: db.session.scalars(insert(LocalAccount).values(id="new", **ACCOUNT).returning(LocalAccount)).all(),
    "insert from a query": insert_from_a_query,
    "bulk rows": lambda: db.session.bulk_save_objects([LocalAccount(id="new", **ACCOUNT)]),
    "bulk updates": lambda: db.session.bulk_update_mappings(Person.__mapper__, [{"id": erin().id, "username": "mallory"}]),
    "past the models": lambda: db.session.connection().execute(update(Person).values(username="mallory")),
    "as text": lambda: db.session.execute(text("UPDATE people SET username = 'mallory'")),
}
QUIET: dict[str, Callable[[], object]] = {
    "nothing": lambda: None,
    "a look": lambda: db.session.scalars(select(Person)).all(),
    "when somebody logged in": lambda: setattr(erin(), "last_login_at", erin().created_at),
    "what language somebody reads": lambda: db.session.execute(update(Person).values(language="zh_Hans")),
    "the same again": lambda: setattr(erin(), "username", "erin"),
    "an update that finds nobody": lambda: db.session.execute(update(Person).where(Person.username == "nobody").values(username="x")),
    "an update that finds nobody, returning": lambda: db.session.scalars(
        update(Person).where(Person.username == "nobody").values(username="x").returning(Person.id)
    ).all(),
    "a deletion that finds nothing": lambda: db.session.execute(delete(Mapping).where(Mapping.role_name == "nothing")),
    "a sign of life": lambda: db.session.merge(Heartbeat(name="test", at=erin().created_at)),
    "tokens long after their end": lambda: db.session.execute(delete(ApiToken).where(ApiToken.revoked_at.is_not(None))),
}


def change(product: Product, act: Callable[[], object]) -> None:
    with product.app.app_context(), transaction():
        act()


class Committed(Exception):
    """Nobody has refused."""


@pytest.fixture
def never_committed() -> Iterator[None]:
    """What the guard lets through does not disturb the next test."""

    def refuse(session: Session) -> None:
        if not session.in_nested_transaction():
            raise Committed

    event.listen(Session, "before_commit", refuse)
    yield
    event.remove(Session, "before_commit", refuse)


@pytest.mark.usefixtures("never_committed")
@pytest.mark.parametrize("name", LOUD)
def test_a_change_without_its_event_is_refused_and_not_done(product: Product, name: str) -> None:
    before = contents(product)
    with pytest.raises(Unrecorded):
        change(product, LOUD[name])
    assert contents(product) == before


@pytest.mark.usefixtures("never_committed")
@pytest.mark.parametrize("act", [in_a_savepoint, after_a_savepoint])
@pytest.mark.parametrize("product", DATABASES[1:], indirect=True)
def test_a_savepoint_is_not_the_end_of_a_transaction(product: Product, act: Callable[[], object]) -> None:
    before = contents(product)
    with pytest.raises(Unrecorded):
        change(product, act)
    assert contents(product) == before


@pytest.mark.parametrize("product", DATABASES[1:], indirect=True)
def test_a_savepoint_that_is_undone_takes_its_events_with_it(product: Product) -> None:
    def tell(row: int) -> None:
        product.services.audit.record(WORKER, Event.AUDIT_FORGED, Target("event", str(row)), row=row, sha256="")

    def act() -> None:
        tell(1)
        with db.session.begin_nested():
            tell(2)
        with db.session.begin_nested() as undone:
            tell(3)
            undone.rollback()
        tell(4)

    change(product, act)
    told = [one.details["row"] for one in stored(product, AuditEvent) if one.action == "audit.forged"]
    assert sorted(told) == [1, 2, 4]


@pytest.mark.parametrize("name", QUIET)
def test_what_is_no_change_needs_no_event(product: Product, name: str) -> None:
    trail = len(stored(product, AuditEvent))
    change(product, QUIET[name])
    assert len(stored(product, AuditEvent)) == trail


def test_a_refusal_leaves_nothing_for_the_next_transaction(product: Product) -> None:
    with product.app.app_context():
        with pytest.raises(Unrecorded), transaction():
            erin().username = "mallory"
        with transaction():
            erin().language = "en"
        with transaction():
            product.services.audit.record(WORKER, Event.CLUSTER_AWAY, Target("cluster", "prod"))
        with pytest.raises(Unrecorded), transaction():
            erin().username = "mallory"
        assert erin().username == "erin"


def test_fields_that_the_vocabulary_does_not_name_are_refused(product: Product) -> None:
    before = contents(product)

    def act() -> None:
        db.session.delete(mapping())
        product.services.audit.record(WORKER, Event.MAPPING_REMOVED, Target("mapping", "x"), namespaces=[], colour="red")

    with pytest.raises(TypeError, match=r"no field \['colour'\] of mapping.removed"):
        change(product, act)
    assert contents(product) == before


HOSTILE = {
    "NUL": "a\0b", "lone surrogates": "a\ud800b\udfff", "long": "x" * 1_000_000, "long, beyond the plane": "\U0001f600" * 300_000,
    "right to left": "a\u202eb\u2066c\u200fd", "terminal": "\x1b[31mred\x1b]0;title\x07\x9b2J", "line ends": "a\r\nb\u2028c\u0085d",
    "JSON": '","action":"audit.pruned","x":"\\', "SQL": "'; DROP TABLE audit_trail; --", "astral": "\U0001f600\U000e0041",
    "formats": "%s %(actor)s {0} ${x}", "combining": "e" + "\u0301" * 500, "not a character": "\ufffe\uffff", "empty": "",
}


def kept(value: str) -> str:
    """As the details keep a text."""
    cut = value[:LONGEST] + "…" if len(value) > LONGEST else value
    return cut.replace("\0", "\ufffd").replace("\ud800", "?").replace("\udfff", "?")


@pytest.mark.parametrize("name", HOSTILE)
def test_an_event_holds_whatever_it_is_told(product: Product, name: str) -> None:
    value = HOSTILE[name]
    actor = Actor(value, "page", address=value, request_id=value)
    target = Target("cluster", value, value, value)
    details: dict[str, Any] = {"role": value, "namespaces": [value, {value}], "seconds": {value: value}, "why": {value: [1, None, True]}}
    with product.app.app_context():
        with transaction():
            product.services.audit.record(actor, Event.REQUEST_SUBMITTED, target, reason=value, **details)
        row = db.session.scalars(select(AuditEvent).order_by(AuditEvent.id.desc()).limit(1)).one().id
        db.session.expire_all()
        found = product.services.audit.get(product.operator, row)
        assert found.details == {
            "role": kept(value), "namespaces": [kept(value), [kept(value)]], "seconds": {kept(value): kept(value)},
            "why": {kept(value): [1, None, True]},
        }
        shown = (found.actor_name, found.address, found.request_id, found.target_name, found.cluster, found.person, found.reason)
        assert max(map(len, shown)) <= 500
        assert not [one for one in "".join(shown) if unicodedata.category(one) in {"Cc", "Cf", "Cs", "Zl", "Zp"}]
        if value.isprintable() and len(value) < 60:
            assert set(shown) == {value}
        assert found.body.isascii()
        assert found.body.isprintable()
    seal(product)
    with product.app.app_context():
        assert product.services.verifier.verify(product.operator).is_whole
