"""A Kubernetes username stays with its person: nobody gets it while the old holder, or a certificate of theirs, still runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fixtures.offline import events, give, offline, person, stored, subjects
from fixtures.product import PASSWORD, Product, ProductMaker
from rigs.slapd import Slapd

from iam.models import Credential, Person, Session


def corp(slapd: Slapd) -> dict[str, Any]:
    return {
        "kind": "ldap", "name": "corp", "username_prefix": "corp-", "servers": [slapd.uri], "ca_file": slapd.ca_file,
        "bind_dn": slapd.reader_dn, "bind_password": slapd.reader_password, "user_base": slapd.people, "group_base": slapd.groups,
    }


@pytest.fixture
def held(make_product: ProductMaker, slapd: Slapd) -> Product:
    """Erin of corp is corp-erin and edits in shop."""
    slapd.clear()
    add_erin(slapd)
    product = make_product(directories=[{"kind": "local", "name": "local"}, corp(slapd)], roles={}, sync={"max_removed_floor": 10})
    offline(product)
    give(product, "corp:engineers", "edit", "shop")
    product.logged_in("erin", "corp", "pass-of-erin")
    return product


def add_erin(slapd: Slapd, password: str = "pass-of-erin") -> None:
    slapd.add_group("engineers", [slapd.add_person("erin", "Erin Engel", "erin@example.org", password)])


def replace_erin(slapd: Slapd) -> None:
    """The old entry goes; a new person gets the same uid. Only the entryUUID tells them apart."""
    slapd.clear()
    add_erin(slapd, "pass-of-second-erin")


def sync(product: Product) -> None:
    with product.app.app_context():
        product.services.sync.run(product.operator, "corp")


def enter_as_second_erin(product: Product) -> Any:
    return product.browser().login("erin", "pass-of-second-erin", "corp")


def people(product: Product) -> list[str]:
    return sorted(one.username for one in stored(product, Person))


def assert_refused(product: Product, answer: Any, who: str, words: str = "still belongs to somebody else") -> None:
    assert answer.status_code == 409
    assert words in answer.text
    event = events(product)[0]
    assert (event.action, event.result, event.actor_name) == ("login", "refused", who)
    assert words in event.reason


def test_the_same_name_out_of_another_directory_is_refused(held: Product) -> None:
    held.account("corp-erin", "administrators")
    assert_refused(held, held.browser().login("corp-erin", PASSWORD, "local"), "local:corp-erin", "belong to another directory")
    assert people(held) == ["corp-erin"]
    assert person(held, "corp-erin").directory == "corp"


def test_the_same_name_with_another_subject_is_refused_before_anybody_has_noticed(held: Product, slapd: Slapd, tmp_path: Path) -> None:
    replace_erin(slapd)
    assert_refused(held, enter_as_second_erin(held), "corp:erin")
    assert len(stored(held, Session)) == 1
    sync(held)
    held.work()
    assert subjects(held, tmp_path) == {}, "the first erin is gone, the second one is nobody yet"


def test_the_name_is_free_once_the_old_holder_is_gone(held: Product, slapd: Slapd) -> None:
    first = person(held, "corp-erin").id
    replace_erin(slapd)
    sync(held)
    assert person(held, "corp-erin").is_disabled
    assert enter_as_second_erin(held).status_code == 302
    second = person(held, "corp-erin")
    assert second.id != first
    assert not second.is_disabled
    assert people(held) == ["corp-erin", f"corp-erin#{first}"]


def test_a_running_certificate_keeps_the_name_even_when_its_holder_is_gone(held: Product, slapd: Slapd) -> None:
    browser = held.logged_in("erin", "corp", "pass-of-erin")
    assert browser.post("/kubeconfig/prod", key="ours", minutes="600").status_code == 200
    replace_erin(slapd)
    sync(held)
    held.clock.forward(minutes=599)
    assert_refused(held, enter_as_second_erin(held), "corp:erin")
    held.clock.forward(minutes=2)
    assert enter_as_second_erin(held).status_code == 302


def test_the_new_holder_inherits_neither_sessions_nor_certificates(held: Product, slapd: Slapd) -> None:
    old = held.logged_in("erin", "corp", "pass-of-erin")
    old.post("/kubeconfig/prod", key="ours", minutes="10")
    replace_erin(slapd)
    sync(held)
    held.clock.forward(minutes=11)
    fresh = held.logged_in("erin", "corp", "pass-of-second-erin")
    assert old.get("/").status_code == 302
    me = person(held, "corp-erin").id
    assert [one for one in stored(held, Credential) if one.person_id == me] == []
    assert [one.person_id for one in stored(held, Session) if one.ended_at is None] == [me]
    assert "/end" not in fresh.get("/account").text


def test_one_who_was_renamed_frees_the_old_name_only_for_after_their_certificates(held: Product, slapd: Slapd, tmp_path: Path) -> None:
    held.logged_in("erin", "corp", "pass-of-erin").post("/kubeconfig/prod", key="ours", minutes="10")
    slapd.rename(f"uid=erin,{slapd.people}", "uid=erna")
    slapd.add_member(f"cn=engineers,{slapd.groups}", f"uid=erna,{slapd.people}")
    held.logged_in("erna", "corp", "pass-of-erin")
    assert people(held) == ["corp-erna"]
    held.work()
    assert subjects(held, tmp_path) == {"shop/edit": ["corp-erna"]}
    slapd.add_person("erin", "Erin the Second", "second@example.org", "pass-of-second-erin")
    assert_refused(held, enter_as_second_erin(held), "corp:erin")
    held.clock.forward(minutes=11)
    assert enter_as_second_erin(held).status_code == 302
