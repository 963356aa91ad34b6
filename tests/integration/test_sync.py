"""Re-reading directories: who left loses access, who comes back has it again, and a broken directory removes nobody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fixtures.offline import events, give, offline, person, subjects
from fixtures.product import Product, ProductMaker
from rigs.openid_provider import OpenIDProvider
from rigs.slapd import Slapd

from iam.services.sync import Synced

CREW = [f"crew{number}" for number in range(10)]


def corp(slapd: Slapd) -> dict[str, Any]:
    return {
        "kind": "ldap", "name": "corp", "servers": [slapd.uri], "ca_file": slapd.ca_file, "bind_dn": slapd.reader_dn,
        "bind_password": slapd.reader_password, "user_base": slapd.people, "group_base": slapd.groups,
    }


class Office:
    """Ten people of one group who have all logged in once, and an offline cluster where they are bound."""

    def __init__(self, slapd: Slapd, product: Product, folder: Path) -> None:
        self.slapd, self.product, self.folder = slapd, product, folder
        self.dn = {uid: slapd.add_person(uid, uid.title(), f"{uid}@example.org", f"pass-of-{uid}") for uid in CREW}
        self.group = slapd.add_group("engineers", self.dn.values())
        offline(product)
        give(product, "corp:engineers", "edit", "shop")
        for uid in CREW:
            product.logged_in(uid, "corp", f"pass-of-{uid}")
        product.work()

    def sync(self, **more: Any) -> Synced:
        self.product.clock.forward(minutes=2)
        with self.product.app.app_context():
            return self.product.services.sync.run(self.product.operator, "corp", **more)

    @property
    def bound(self) -> list[str]:
        self.product.work()
        return subjects(self.product, self.folder).get("shop/edit", [])

    @property
    def alarms(self) -> list[str]:
        with self.product.app.app_context():
            return [state.alarm for state in self.product.services.sync.states(self.product.operator)]


@pytest.fixture
def office(make_product: ProductMaker, slapd: Slapd, tmp_path: Path) -> Iterator[Office]:
    slapd.clear()
    yield Office(slapd, make_product(directories=[corp(slapd)], roles={}, sync={"max_removed_floor": 3}), tmp_path)
    slapd.start()


class TestLdap:
    def test_somebody_who_left_the_group_loses_the_binding_and_nothing_else(self, office: Office) -> None:
        assert office.bound == CREW
        browser = office.product.logged_in("crew0", "corp", "pass-of-crew0")
        office.slapd.remove_member(office.group, office.dn["crew0"])
        assert office.sync() == Synced("corp", 10, 0)
        assert office.bound == CREW[1:]
        assert browser.get("/").status_code == 200
        event = events(office.product, action="person.changed")[0]
        assert (event.target_name, event.details) == ("crew0", {"joined": [], "left": ["engineers"]})

    def test_somebody_who_joined_is_bound_without_logging_in_again(self, office: Office) -> None:
        office.slapd.add_group("admins", [office.dn["crew1"]])
        give(office.product, "corp:admins", "admin")
        office.sync()
        office.product.work()
        assert subjects(office.product, office.folder)["*/admin"] == ["crew1"]

    def test_the_worker_syncs_when_a_minute_is_over_and_not_before(self, office: Office) -> None:
        office.sync()
        office.slapd.remove_member(office.group, office.dn["crew0"])
        office.product.clock.forward(seconds=59)
        office.product.work()
        assert office.bound == CREW
        office.product.clock.forward(seconds=2)
        office.product.work()
        assert office.bound == CREW[1:]

    def test_one_who_is_gone_is_shut_out_and_one_who_comes_back_is_let_in(self, office: Office) -> None:
        browser = office.product.logged_in("crew0", "corp", "pass-of-crew0")
        office.slapd.modify(office.dn["crew0"], {"pwdAccountLockedTime": "000001010000Z"})
        assert office.sync() == Synced("corp", 10, 1)
        assert office.bound == CREW[1:]
        assert browser.get("/").status_code == 302
        assert person(office.product, "crew0").disabled_reason == "directory"
        assert [event.target_name for event in events(office.product, action="person.disabled")] == ["crew0"]

        assert office.sync() == Synced("corp", 10, 0)
        assert len(events(office.product, action="person.disabled")) == 1, "said once"

        office.slapd.modify(office.dn["crew0"], {"pwdAccountLockedTime": None})
        office.sync()
        assert office.bound == CREW
        assert not person(office.product, "crew0").is_disabled
        assert browser.get("/").status_code == 302, "the old session stays over"

    def test_whom_an_administrator_shut_out_the_directory_does_not_let_in(self, office: Office) -> None:
        with office.product.app.app_context():
            office.product.services.people.disable(office.product.operator, person(office.product, "crew0").id)
        office.sync()
        assert office.bound == CREW[1:]
        assert person(office.product, "crew0").disabled_reason == "administrator"

    def test_a_person_who_is_renamed_is_bound_under_the_new_name_only(self, office: Office) -> None:
        office.slapd.rename(office.dn["crew0"], "uid=boss")
        office.slapd.add_member(office.group, f"uid=boss,{office.slapd.people}")
        office.sync()
        assert office.bound == sorted(["boss", *CREW[1:]])

    def test_too_many_gone_at_once_raise_an_alarm_and_change_nothing(self, office: Office) -> None:
        for uid in CREW[:4]:
            office.slapd.delete(office.dn[uid])
        first = office.sync()
        assert "4 of 10 people" in first.alarm
        assert office.alarms == [first.alarm]
        assert office.bound == CREW
        office.sync()
        assert [event.reason for event in events(office.product, action="sync.stopped")] == [first.alarm], "said once"

    def test_a_group_that_is_suddenly_empty_for_all_is_an_alarm_too(self, office: Office) -> None:
        office.slapd.delete(office.group)
        assert "10 of 10 people" in office.sync().alarm
        assert office.bound == CREW

    def test_no_more_than_the_floor_may_go_without_asking(self, office: Office) -> None:
        for uid in CREW[:3]:
            office.slapd.delete(office.dn[uid])
        assert office.sync() == Synced("corp", 10, 3)
        assert office.bound == CREW[3:]

    def test_removals_that_somebody_accepts_are_carried_out_and_the_alarm_ends(self, office: Office) -> None:
        for uid in CREW[:4]:
            office.slapd.delete(office.dn[uid])
        office.sync()
        assert office.sync(accept_removals=True) == Synced("corp", 10, 4)
        assert office.bound == CREW[4:]
        assert office.alarms == [""]
        assert len(events(office.product, action="sync.resumed")) == 1

    def test_the_worker_never_accepts_removals_by_itself(self, office: Office) -> None:
        for uid in CREW[:4]:
            office.slapd.delete(office.dn[uid])
        for _ in range(3):
            office.product.clock.forward(minutes=10)
            office.product.work()
        assert office.bound == CREW

    def test_a_directory_that_is_away_changes_nothing_and_says_so(self, office: Office) -> None:
        office.slapd.stop()
        away = office.sync()
        assert away.alarm
        assert office.bound == CREW
        assert len(events(office.product, action="sync.stopped", result="failed")) == 1
        office.slapd.start()
        assert office.sync().alarm == ""
        assert len(events(office.product, action="sync.resumed")) == 1

    def test_a_search_account_that_is_refused_changes_nothing(self, office: Office) -> None:
        office.slapd.modify(office.slapd.reader_dn, {"userPassword": "changed-by-somebody"})
        try:
            assert office.sync().alarm
        finally:
            office.slapd.modify(office.slapd.reader_dn, {"userPassword": office.slapd.reader_password})
        assert office.bound == CREW


class TestOidc:
    CALLBACK = "http://localhost/login/sso/callback"

    @pytest.fixture
    def single(self, make_product: ProductMaker, openid_provider: OpenIDProvider) -> Product:
        openid_provider.register(self.CALLBACK)
        claims = {"preferred_username": "olive", "name": "Olive", "email": "olive@example.org", "groups": ["engineers"]}
        openid_provider.set_account("olive-subject", claims)
        directory = {
            "kind": "oidc", "name": "sso", "issuer": openid_provider.issuer, "client_id": openid_provider.client_id,
            "client_secret": openid_provider.client_secret, "insecure_http": True, "membership_hours": 10,
            "scopes": ["openid", "profile", "email", "groups"],
        }
        product = make_product(directories=[directory], roles={}, server={"public_url": "http://localhost"})
        offline(product)
        give(product, "sso:engineers", "edit", "shop")
        return product

    def log_in(self, product: Product, provider: OpenIDProvider) -> Any:
        browser = product.browser()
        back = provider.sign_in(browser.get("/login/sso/start").location, "olive-subject")
        answer = browser.get(back.removeprefix("http://localhost"))
        assert answer.status_code == 302, answer.text
        return browser

    def test_memberships_that_no_login_has_renewed_lapse(
        self, single: Product, openid_provider: OpenIDProvider, tmp_path: Path
    ) -> None:
        browser = self.log_in(single, openid_provider)
        single.work()
        assert subjects(single, tmp_path) == {"shop/edit": ["olive"]}
        single.clock.forward(hours=9, minutes=59)
        single.work()
        assert subjects(single, tmp_path) == {"shop/edit": ["olive"]}
        single.clock.forward(minutes=11)
        single.work()
        assert subjects(single, tmp_path) == {}
        assert browser.post("/kubeconfig/prod", key="ours").status_code == 302, "idle for hours"

        self.log_in(single, openid_provider)
        single.work()
        assert subjects(single, tmp_path) == {"shop/edit": ["olive"]}

    def test_lapsed_memberships_give_no_kubeconfig_even_within_a_session(
        self, single: Product, openid_provider: OpenIDProvider
    ) -> None:
        browser = self.log_in(single, openid_provider)
        for _ in range(21):
            single.clock.forward(minutes=29)
            assert browser.get("/").status_code == 200
        assert browser.post("/kubeconfig/prod", key="ours").status_code == 403

    def test_a_login_without_the_group_takes_the_binding_away_at_once(
        self, single: Product, openid_provider: OpenIDProvider, tmp_path: Path
    ) -> None:
        self.log_in(single, openid_provider)
        single.work()
        openid_provider.set_account("olive-subject", {**openid_provider.accounts["olive-subject"], "groups": []})
        self.log_in(single, openid_provider)
        single.work()
        assert subjects(single, tmp_path) == {}

    def test_a_redirect_directory_is_not_synced(self, single: Product) -> None:
        with single.app.app_context():
            assert single.services.sync.names() == []
