"""What a review found in break-glass, in who somebody is, and in how they are told: each of it stays mended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
from fixtures.asking import DIRECTORIES, MAIL, Scene, from_elsewhere, people, scene
from fixtures.offline import events, offline, stored
from fixtures.product import PASSWORD, ProductMaker
from rigs.forged_provider import ForgedProvider
from rigs.forgeries import Forgery
from rigs.mail_server import MailServer
from rigs.webhook_receiver import WebhookReceiver
from sqlalchemy.exc import IntegrityError

from iam.clusters import connection
from iam.directory.base import Identity
from iam.directory.oidc import OidcDirectory
from iam.errors import Conflict, Forbidden, NotFound, TooMany, Unauthenticated, Unavailable
from iam.models import AccessRequest, Notice, db
from iam.services.base import SCOPES, WORKER, Actor
from iam.services.requests.emergency import MOST_UNREVIEWED
from iam.services.telling import outbox
from iam.services.telling.notices import Told
from iam.services.telling.webhooks import NewWebhook
from iam.settings.directories import OidcSettings

__all__ = ["scene"]
CALLBACK = "http://127.0.0.1/callback"
SSO = {
    "kind": "oidc", "name": "sso", "username_prefix": "sso:", "issuer": "https://sso.invalid", "client_id": "x", "client_secret": "y",
    "membership_hours": 12,
}
"""A directory that tells of groups at logins only; nobody logs in there."""


@pytest.fixture
def house(scene: Scene) -> Scene:
    """Gil and Gus of security have passwords, and a door."""
    return with_a_door(scene)


def with_a_door(scene: Scene, **more: Any) -> Scene:
    for one in ("gil", "gus"):
        scene.account(one, "security")
    scene.door(**more)
    return scene


def moves(scene: Scene, username: str, email: str, *groups: str) -> None:
    """Somebody has a new address from now on, and is in these groups."""
    with scene.open() as product:
        found = product.services.people.by_username(username)
        identity = Identity(found.directory, found.subject, username, found.display_name, email, groups=frozenset(groups))
        product.services.people.remember(WORKER, identity)
        db.session.commit()


class TestReviewOfOnesOwn:
    @pytest.mark.parametrize("who", ["gil", "gus"])
    def test_not_by_who_opened_or_unsealed_it_whatever_their_address_is_now(self, house: Scene, who: str) -> None:
        house.door(change=True, is_sealed=True)
        opened = house.break_glass("gil")
        house.unseal("gus", opened)
        for email in (f"{who}@example.org", "new@example.org", ""):
            moves(house, who, email, "security", "leads")
            with pytest.raises(Forbidden):
                house.review(who, opened)
        moves(house, who, "new@example.org", "security")
        for number, email in enumerate((f"{who}@example.org", "NEW+other@example.org")):  # their accounts of then, and of now
            house.remember(f"{who}{number}", "leads", email=email)
            with pytest.raises(Forbidden):
                house.review(f"{who}{number}", opened)
        assert house.request(opened).reviewed_at is None
        house.review("lee", opened)
        assert house.request(opened).verdict == "justified"

    def test_the_database_refuses_it_too(self, house: Scene) -> None:
        opened = house.break_glass("gil")
        with house.open(), pytest.raises(IntegrityError, match="reviewed_by_another"):
            db.session.execute(db.update(AccessRequest).where(AccessRequest.id == opened).values(reviewer_id=AccessRequest.person_id))


class TestSealed:
    @pytest.fixture
    def sealed(self, house: Scene) -> Scene:
        house.door(change=True, is_sealed=True)
        return house

    @pytest.mark.parametrize("change", [{"role_name": "view"}, {"namespaces": ("till",)}, {"clusters": ("spare",)}])
    def test_a_door_that_leads_elsewhere_meanwhile_is_asked_for_anew(self, sealed: Scene, change: dict[str, Any]) -> None:
        offline(sealed.product, "spare")
        opened = sealed.break_glass("gil")
        sealed.product.clock.forward(seconds=1)
        sealed.door(change=True, **{"is_sealed": True, **change})
        with pytest.raises(Conflict, match="door was changed"):
            sealed.unseal("gus", opened)
        assert (sealed.request(opened).state, sealed.grant(opened)) == ("pending", None)

    def test_so_is_a_role_that_was_changed_meanwhile(self, sealed: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        opened = sealed.break_glass("gil")
        roles = connection._USER_FACING_ROLES.read_text("utf-8")
        changed = tmp_path / "roles.json"
        changed.write_text(roles.replace('"*"', '"things"'), "utf-8")
        monkeypatch.setattr(connection, "_USER_FACING_ROLES", changed)
        with pytest.raises(Conflict, match="role changed"):
            sealed.unseal("gus", opened)
        assert sealed.grant(opened) is None
        sealed.unseal("gus", sealed.break_glass("gil"))

    def test_a_cluster_that_is_away_keeps_nobody_out(self, sealed: Scene) -> None:
        def away(cluster: object) -> Any:
            raise Unavailable("The cluster does not answer.")

        opened = sealed.break_glass("gil")
        object.__setattr__(sealed.product.services.world, "connect", away)
        sealed.unseal("gus", opened)
        assert sealed.granted(opened).state == "active"


class TestUnreviewed:
    def test_five_of_one_person_are_enough(self, house: Scene) -> None:
        opened = [house.break_glass("gil") for _ in range(MOST_UNREVIEWED)]
        with pytest.raises(Conflict, match="wait for their review"):
            house.break_glass("gil")
        assert house.break_glass("gus")
        house.product.clock.forward(hours=2)
        house.clockwork()
        with pytest.raises(Conflict, match="wait for their review"):
            house.break_glass("gil")
        house.review("lee", opened[0])
        assert house.break_glass("gil")
        assert len(stored(house.product, AccessRequest)) == MOST_UNREVIEWED + 2

    def test_also_through_a_sealed_door(self, house: Scene) -> None:
        house.door(change=True, is_sealed=True)
        unsealed = 0
        for _ in range(MOST_UNREVIEWED + 2):
            try:
                opened = house.break_glass("gil")
            except Conflict:
                break
            house.unseal("gus", opened)
            unsealed += 1
        assert unsealed == MOST_UNREVIEWED

    def test_also_where_all_were_asked_for_before_one_was_unsealed(self, house: Scene) -> None:
        house.door(change=True, is_sealed=True)
        try:
            asked = [house.break_glass("gil") for _ in range(MOST_UNREVIEWED + 2)]
            for one in asked:
                house.unseal("gus", one)
        except Conflict:
            pass
        waiting = [one for one in stored(house.product, AccessRequest) if one.review_due_at and not one.reviewed_at]
        assert len(waiting) <= MOST_UNREVIEWED


class TestTelling:
    @pytest.fixture
    def server(self, tmp_path: Path) -> Iterator[MailServer]:
        with MailServer(tmp_path / "mail") as server:
            yield server

    @pytest.fixture
    def told(self, make_product: ProductMaker, tmp_path: Path, server: MailServer) -> Iterator[Scene]:
        with WebhookReceiver(tmp_path / "receiver") as receiver:
            product = make_product(directories=DIRECTORIES, mail=server.settings(), webhooks=receiver.settings())
            offline(product)
            with product.app.app_context():
                hook = NewWebhook("chat", receiver.url(), "json", (Told.EMERGENCY_OPENED, Told.EMERGENCY_WAITS))
                product.services.webhooks.create(product.operator, hook)
            yield with_a_door(people(Scene(product, tmp_path)), tell=("local:administrators",))

    @pytest.mark.parametrize("is_sealed", [False, True])
    def test_webhooks_hear_of_it_once(self, told: Scene, is_sealed: bool) -> None:
        told.door(change=True, is_sealed=is_sealed)
        opened = told.break_glass("gil")
        if is_sealed:
            told.unseal("gus", opened)
        heard = [one.event for one in stored(told.product, Notice) if one.webhook_id]
        assert sorted(heard) == ["emergency.opened", *(["emergency.waits"] if is_sealed else [])]

    def test_it_overtakes_a_long_queue_and_leaves_out_who_is_shut_out(
        self, told: Scene, server: MailServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        facts = {"title": "Edit", "cluster": "prod", "requester": "erin", "requester_name": "Erin", "seconds": 60}
        with told.open() as product:
            nico = product.services.people.by_username("nico")
            for _ in range(30):
                product.services.notices.tell(Told.REQUEST_WAITS, [nico], facts, "/requests/x")
            db.session.commit()
        told.product.clock.forward(minutes=1)
        told.break_glass("gil")
        urgent = [one for one in stored(told.product, Notice) if one.person_id and one.event != "request.waits"]
        monkeypatch.setattr(outbox, "AT_ONCE", len(urgent))
        told.shut_out("lou")
        with told.open() as product:
            product.services.outbox.deliver("mail")
        reached = {recipient.partition("@")[0] for letter in server.letters for recipient in letter.recipients}
        assert reached == {"gil", "gus", "sam", "sue", "lee", "ada", "alf"}
        assert {one.event for one in stored(told.product, Notice) if one.sent_at} == {"emergency.opened", "review.due"}
        lost = events(told.product, action="notice.lost", limit=100)
        assert {one.target_name for one in lost} == {"lou"}


class TestGuessing:
    @pytest.fixture
    def strict(self, make_product: ProductMaker, tmp_path: Path) -> Scene:
        product = make_product(directories=DIRECTORIES, mail=MAIL, throttle={"per_account": 2})
        offline(product)
        return from_elsewhere(with_a_door(people(Scene(product, tmp_path))), "192.0.2.7")

    def at_the_login_page(self, scene: Scene, password: str, address: str) -> None:
        with scene.open() as product:
            product.services.logins.with_password(Actor("?", "page", scopes=frozenset(SCOPES), address=address), "local", "gil", password)

    def test_at_the_login_page_keeps_nobody_from_breaking_glass(self, strict: Scene) -> None:
        for number in range(20):
            with pytest.raises((Unauthenticated, TooMany)):
                self.at_the_login_page(strict, "a guess", f"198.51.100.{number % 5}")
        for _ in range(3):
            with pytest.raises((Unauthenticated, TooMany)):
                self.at_the_login_page(strict, "a guess", strict.address)
        with pytest.raises(TooMany):
            self.at_the_login_page(strict, PASSWORD, strict.address)
        assert strict.break_glass("gil")

    def test_at_the_door_closes_the_door_and_not_the_login_page(self, strict: Scene) -> None:
        for _ in range(2):
            with pytest.raises(Unauthenticated):
                strict.break_glass("gil", "a guess")
        for password in ("a guess", PASSWORD):
            with pytest.raises(TooMany):
                strict.break_glass("gil", password)
        assert stored(strict.product, AccessRequest) == []
        self.at_the_login_page(strict, PASSWORD, strict.address)
        assert strict.break_glass("gus")
        strict.product.clock.forward(minutes=16)
        assert strict.break_glass("gil")


class TestWhoSomebodyIs:
    @pytest.mark.parametrize(("forgery", "kept"), [
        (Forgery(), True), (Forgery(without=("email_verified",)), True), (Forgery(claims={"email_verified": False}), False),
        (Forgery(claims={"email_verified": "true"}), False), (Forgery(claims={"email_verified": False}, without=("name",)), False),
        (Forgery(without=("email", "email_verified"), userinfo={"email_verified": False}), False),
        (Forgery(without=("email", "email_verified"), userinfo_without=("email_verified",)), True),
        (Forgery(without=("email",), userinfo={"email_verified": False}), False),
    ])  # fmt: skip
    def test_an_address_that_the_provider_has_not_verified_is_not_kept(self, forgery: Forgery, kept: bool) -> None:
        with ForgedProvider() as provider, provider.forging(forgery):
            sso = OidcDirectory(OidcSettings.model_validate({
                "kind": "oidc", "name": "sso", "issuer": provider.issuer, "insecure_http": True, "client_id": provider.client_id,
                "client_secret": provider.client_secret, "scopes": ["openid", "profile", "email", "groups"],
            }))  # fmt: skip
            begun = sso.begin(CALLBACK)
            back = requests.get(begun.url, allow_redirects=False, timeout=5).headers["location"]
            told = sso.finish(CALLBACK, dict(parse_qsl(urlsplit(back).query)), begun.transaction).identity
            assert told.email == ("anna@example.org" if kept else "")

    def test_groups_of_a_login_long_ago_open_nothing(self, make_product: ProductMaker, tmp_path: Path) -> None:
        product = make_product(directories=[*DIRECTORIES, SSO], mail=MAIL)
        offline(product)
        both = people(Scene(product, tmp_path))
        olga = both.remember("olga", "ops", directory="sso")
        both = with_a_door(both, groups=("local:security", "sso:ops"), reviewers=("local:leads", "sso:ops"))
        both.offer(groups=("sso:ops",))
        both.rule("1 of local:leads")
        opened, actor = both.break_glass("gil"), both.actor(olga)

        def can() -> tuple[bool, ...]:
            with both.open() as product:
                requests, emergencies = product.services.requests, product.services.emergencies
                return bool(requests.offered(actor)), bool(emergencies.open_to(actor)), bool(emergencies.to_review(actor))

        assert can() == (True, True, True)
        product.clock.forward(hours=12)
        assert can() == (False, False, False)
        with pytest.raises(NotFound):
            both.ask(olga, "shop")
        with pytest.raises(Forbidden, match="not named"):
            both.break_glass(olga)
        with pytest.raises((Forbidden, NotFound)):
            both.review(olga, opened)
        assert both.request(opened).reviewed_at is None
        both.remember("olga", "ops", directory="sso")
        assert can() == (True, True, True)
        both.review(olga, opened)
        assert both.request(opened).verdict == "justified"
