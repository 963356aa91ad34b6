"""Whatever a directory, an administrator or a browser calls itself, pages show it as text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
import yaml
from fixtures.house import actor_of, ask, evidence, inhabit, mapping_id, offer, person_id, product_in, say
from fixtures.offline import offline
from fixtures.product import PASSWORD, Browser, Product, TestClock
from fixtures.routes import PAGES

from iam.services.access import NewMapping
from iam.services.requests.catalogue import NewEntry
from iam.services.requests.doors import NewDoor
from iam.services.requests.emergency import Opening
from iam.services.requests.rules import NewRule
from iam.web.catalogue import ENTRY, RULE
from iam.web.emergency import DOOR

ATTACK = """<attack-tag data-attack="1">"' data-attack=1 x='{{7*1909999}}${7*1909999}&lt;attack-tag&gt;"""
GROUP = f"group {ATTACK}"
ANSI = f"\x1b[31m\x1b]0;attack\x07\x9b2J{ATTACK}\u202e\x08\x1b[0m\r\n{ATTACK}"
"""What turns a terminal red and its title around, with the attack in it."""
LINES = "title\r\nSet-Cookie: attack=1\r\n\r\n<attack-tag>"


class Elements(HTMLParser):
    """Every tag and attribute of a page, as a browser reads it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.values: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen += [tag, *(name for name, _value in attrs)]
        self.values += [value or "" for _name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def check(page: str) -> None:
    """No element or attribute that came from us, and no expression that was computed."""
    found = Elements(page)
    assert not [name for name in found.seen if "attack" in name]
    assert str(7 * 1909999) not in page
    assert not [name for name in found.seen if name.startswith("on") or name == "style"]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """A house in which everything that can be named is named after an attack."""
    directory = {"kind": "local", "name": "local", "title": ATTACK}
    with product_in(tmp_path_factory.mktemp("hostile"), TestClock(), directories=[directory]) as product:
        inhabit(product)
        name_everything(product)
        for username in ("mallory", "ada"):
            enter(product, username).post("/account/tokens", name=ATTACK[:80], scopes=["read"], days="1")
        offer(product)
        request_everything(product)
        yield product


def request_everything(product: Product) -> None:
    """``mallory`` asks twice, is refused once, breaks the glass and is doubted; every word is an attack."""
    entry = NewEntry("hostile", ATTACK, role_name="edit", description=ANSI, clusters=("hostile",), namespaces=("*",))
    rule = NewRule("hostile", "1 of local:administrators", entry="hostile", ticket_pattern=".*<attack-tag .*", position=1)
    door = NewDoor(
        "hostile", ATTACK, role_name="admin", description=ANSI, clusters=("hostile",), groups=(f"local:{GROUP}",),
        tell=(f"local:{GROUP}",), reviewers=("local:administrators",),
    )
    with product.app.app_context():
        product.services.catalogue.save(product.operator, entry)
        product.services.rules.save(product.operator, rule)
        product.services.doors.save(product.operator, door)
    words: dict[str, Any] = {"clusters": ("hostile",), "reason": ANSI, "ticket": ATTACK}
    denied = ask(product, "mallory", "hostile", "denied", **words)
    say(product, "ada", denied, "deny", ANSI)
    waiting = ask(product, "mallory", "hostile", "waiting", **words)
    with product.app.app_context():
        product.services.decisions.comment(actor_of(product, "ada"), waiting, ANSI)
        opening = Opening("hostile", "hostile", 1800, ANSI, PASSWORD)
        opened = product.services.emergencies.open(actor_of(product, "mallory"), opening).id
        product.services.emergencies.review(actor_of(product, "ada"), opened, "questioned", ANSI)
        product.services.emergencies.open(actor_of(product, "mallory"), opening)
    enter(product, "mallory").post("/requests/new", step="draft", entry=ATTACK, reason=ATTACK)


def furniture_of(product: Product) -> dict[str, str]:
    """The ids of the latest of it."""
    mallory, ada = enter(product, "mallory"), enter(product, "ada")
    with product.app.app_context():
        sealed = evidence(product)
    return sealed | {
        "granted": re.findall('"/emergency/([0-9a-f]{24})"', ada.get("/emergency").text)[0],
        "request": re.findall('"/requests/([0-9a-f]{24})"', ada.get("/inbox").text)[0],
        "denied": re.findall("again=([0-9a-f]{24})", mallory.get("/requests").text)[-1],
        "draft": re.findall("draft=([0-9a-f]{24})", mallory.get("/requests").text)[0],
        "grant": re.findall("/grants/([0-9a-f]{24})/return", mallory.get("/requests").text)[0],
        "emergency": re.findall('"/emergency/([0-9a-f]{24})"', ada.get("/emergency").text)[0],
        "reviewed": re.findall('"/emergency/([0-9a-f]{24})"', ada.get("/emergency").text)[-1],
    }


REQUESTS = [
    "/requests", "/requests/new", "/requests/new?entry=hostile", "/requests/new?draft={draft}", "/requests/new?again={denied}",
    "/requests/{request}", "/requests/{denied}", "/inbox", "/grants", "/catalogue", "/catalogue/hostile", "/rules", "/rules/hostile",
    "/emergency", "/emergency/{emergency}", "/emergency/{reviewed}", "/emergency/doors", "/emergency/doors/hostile",
]


@pytest.mark.parametrize("path", REQUESTS)
def test_words_of_requests_are_text(hostile: Product, path: str) -> None:
    found = path.format(**furniture_of(hostile))
    pages = [enter(hostile, username).get(found) for username in ("mallory", "ada")]
    for page in pages:
        check(page.text)
        assert not set(page.text).intersection("\x1b\x9b\x07\x08\u202e"), "nothing for terminals"
    assert any("<attack-tag " in Elements(page.text).text + "".join(Elements(page.text).values) for page in pages)


def test_words_of_requests_come_back_as_text(hostile: Product) -> None:
    mallory, ada = enter(hostile, "mallory"), enter(hostile, "ada")
    ids = furniture_of(hostile)
    wish = dict.fromkeys(("clusters", "namespaces", "reason", "ticket", "starts", "zone", "how_long"), ATTACK)
    check(mallory.post("/requests/new", step="preview", entry="hostile", **wish).text)
    check(mallory.post("/requests/new", step="preview", entry="hostile", **(wish | {"how_long": "1h", "starts": "2040-01-01T00:00"})).text)
    check(mallory.post("/requests/new", step="preview", entry=ATTACK, draft=ATTACK, extends=ATTACK, **wish).text)
    check(ada.post(f"/requests/{ids['request']}", step="approve", digest=ATTACK, comment=ATTACK, how_long=ATTACK).text)
    check(ada.post(f"/requests/{ids['request']}", step=ATTACK, digest=ATTACK).text)
    check(ada.post("/inbox", step=ATTACK, chosen=[ids["request"]], comment=ATTACK).text)
    check(ada.get("/inbox").text)
    check(ada.get("/grants", query_string={"cluster": ATTACK}).text)
    check(ada.get("/rules/simulate", query_string={"username": ATTACK, "entry": ATTACK, "clusters": ATTACK, "ticket": ATTACK}).text)
    for path in ("/catalogue/new", "/rules/new", "/emergency/doors/new"):
        answer = ada.post(path, **dict.fromkeys({*ENTRY, *RULE, *DOOR}, ATTACK))
        assert answer.status_code == 422
        check(answer.text)
    check(mallory.post("/emergency", door="hostile", cluster=ATTACK, how_long=ATTACK, reason=ATTACK, password=ATTACK).text)
    check(ada.post("/notifications/webhooks", name=ATTACK, url=f"https://{ATTACK}/", format=ATTACK, events=[ATTACK]).text)


def name_everything(product: Product) -> None:
    with product.app.app_context():
        product.services.accounts.create(
            product.operator, username="mallory", password=PASSWORD, display_name=ATTACK, email=f"{ATTACK}@example.org",
            groups=frozenset({GROUP}),
        )
    offline(product, "hostile", title=ATTACK)
    with product.app.app_context():
        product.services.access.create(
            product.operator, NewMapping(f"local:{GROUP}", "hostile", "ClusterRole", ATTACK, note=ATTACK)
        )


def enter(product: Product, username: str) -> Browser:
    browser = product.browser()
    browser.client.environ_base["HTTP_USER_AGENT"] = ATTACK
    assert browser.login(username, PASSWORD).status_code == 302
    return browser


@pytest.mark.parametrize("language", ["en", "zh_Hans"])
@pytest.mark.parametrize("route", [route for route in PAGES if route.method == "GET" and route.key != "GET clusters.manifest"], ids=str)
def test_names_are_text_on(hostile: Product, route: object, language: str) -> None:
    mallory, ada = enter(hostile, "mallory"), enter(hostile, "ada")
    path = str(getattr(route, "path", "")).replace("demo", "hostile").format(
        person=person_id(hostile, "mallory"), mapping=mapping_id(hostile, f"local:{GROUP}"), **furniture_of(hostile)
    )
    for browser in (ada, mallory):
        browser.post("/preferences", language=language)
        check(browser.get(path).text)


def test_the_manifest_is_no_page_at_all(hostile: Product) -> None:
    answer = enter(hostile, "ada").get("/clusters/hostile/manifest")
    assert answer.mimetype == "text/plain"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    rules = [rule for document in yaml.safe_load_all(answer.text) for rule in document.get("rules", ())]
    assert [rule for rule in rules if ATTACK in rule.get("resourceNames", ())]


def test_the_names_do_get_there(hostile: Product) -> None:
    mallory, ada = enter(hostile, "mallory"), enter(hostile, "ada")
    for browser, path in (
        (ada, "/people"), (ada, "/mappings"), (ada, "/clusters"), (ada, f"/people/{person_id(hostile, 'mallory')}"), (mallory, "/"),
        (mallory, "/account"), (ada, "/status"), (mallory, "/kubeconfig/hostile"),
    ):
        assert "<attack-tag data-attack" in Elements(browser.get(path).text).text, path


@pytest.mark.parametrize("path", ["/people?q=", "/mappings?q=", "/audit?actor=", "/audit?target=", "/audit?cluster=", "/login?next=/"])
def test_what_is_searched_for_is_text(hostile: Product, path: str) -> None:
    name, _, start = path.partition("?")[2].partition("=")
    check(enter(hostile, "ada").get(path.partition("?")[0], query_string={name: start + ATTACK}).text)
    check(hostile.browser().get(path.partition("?")[0], query_string={name: start + ATTACK}).text)


@pytest.mark.parametrize("path", ["/nowhere/{}", "/clusters/{}", "/people/{}", "/kubeconfig/{}", "/login/{}/start", "/mappings/{}/remove"])
def test_a_path_is_text(hostile: Product, path: str) -> None:
    answer = enter(hostile, "ada").get(path.format(ATTACK.replace("?", "").replace("/", "")))
    assert answer.status_code in {200, 404}
    check(answer.text)


def test_what_was_typed_comes_back_as_text(hostile: Product) -> None:
    ada = enter(hostile, "ada")
    check(hostile.browser().login(ATTACK, ATTACK).text)
    check(ada.post("/clusters/new", name=ATTACK, title=ATTACK, server=ATTACK, ca_pem=ATTACK, signer_ca_pem=ATTACK, access=ATTACK).text)
    check(ada.post("/mappings/new", group=ATTACK, cluster=ATTACK, role_name=ATTACK, namespaces=ATTACK, note=ATTACK).text)
    check(ada.post("/mappings/new", group=f"local:{GROUP}", cluster="hostile", role_name="view", note=ATTACK).text)
    check(ada.post("/account/tokens", name=ATTACK * 9, scopes=[ATTACK], days="1").text)
    check(ada.post("/kubeconfig/hostile", minutes=ATTACK, key="theirs", key_path=ATTACK).text)


def test_messages_about_names_are_text(hostile: Product) -> None:
    enter(hostile, "mallory")
    ada = enter(hostile, "ada")
    for step in ("disable", "enable"):
        ada.post(f"/people/{person_id(hostile, 'mallory')}/{step}")
        page = ada.get("/people").text
        assert "attack-tag" in page
        check(page)


def test_no_name_writes_a_header_or_a_line_of_the_kubeconfig(hostile: Product) -> None:
    ada = enter(hostile, "ada")
    answer = ada.post("/clusters/new", name="lines", title=LINES, access="offline", server="https://x.invalid", signer="none")
    assert "attack" not in str(answer.headers.get("Set-Cookie", "")).partition("kube_iam_state")[0]
    kubeconfig = enter(hostile, "mallory").post("/kubeconfig/hostile", key="ours")
    assert kubeconfig.headers["Content-Disposition"] == 'attachment; filename="kubeconfig-hostile.yaml"'
    assert "attack" not in kubeconfig.text
    assert not re.search("attack", str(kubeconfig.headers))
