"""No secret in the log at its chattiest, in the audit trail, on a page, or readable in the database."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from io import StringIO

import pytest
import yaml
from argon2 import PasswordHasher
from cryptography.fernet import Fernet
from fixtures.house import inhabit, product_in, session_key
from fixtures.offline import events
from fixtures.product import PASSWORD, Product, ProductMaker, TestClock
from fixtures.stored import contents, database_bytes

from iam.directory import local
from iam.kube.certificates import new_ca
from iam.kube.kubeconfig import Entry, write
from iam.services.accounts import SqlAccountStore
from iam.settings.directories import LocalSettings

WRONG = "a password that was mistyped"
SECRET_KEY = "the-key-that-signs-our-cookies-" + "s" * 20
CLUSTER_TOKEN = "eyJhbGciOiJSUzI1NiJ9.cluster-token-of-ours.c2lnbmF0dXJl"


@dataclass
class Run:
    """A product after everything that handles secrets, and the secrets."""

    product: Product
    pages: list[str] = field(default_factory=list)
    secrets: dict[str, str] = field(default_factory=dict)
    log: str = ""

    def found_in(self, text: str) -> list[str]:
        """The names of the secrets that stand in a text, also in parts or in base64."""
        return [name for name, secret in self.secrets.items() if any(form in text for form in forms(secret))]


def forms(secret: str) -> list[str]:
    """How one may come across a secret: as it is, in base64, and each long line of a PEM alone."""
    lines = [line for line in secret.splitlines() if len(line) > 40 and not line.startswith("-----")]
    return [secret, base64.b64encode(secret.encode()).decode(), *lines]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """One run for the whole file, with standard error kept."""
    encryption_key = Fernet.generate_key().decode()
    settings = {"log_level": "debug", "secret_key": SECRET_KEY, "encryption_keys": [encryption_key]}
    with redirect_stderr(StringIO()) as log, product_in(tmp_path_factory.mktemp("secrets"), TestClock(), **settings) as product:
        inhabit(product)
        run = everything(product, encryption_key)
        run.log = log.getvalue()
        yield run


def everything(product: Product, encryption_key: str) -> Run:
    """Log in rightly and wrongly, make a token, download, register clusters by token, kubeconfig and CA, fail at it too."""
    run = Run(product, secrets={"password": PASSWORD, "mistyped": WRONG, "signing": SECRET_KEY, "encryption": encryption_key})
    stranger = product.browser()
    run.pages += [stranger.login(name, WRONG).text for name in ("erin", "nobody", "a,b", "") for _ in range(3)]
    erin, ada = product.logged_in("erin"), product.logged_in("ada")
    run.secrets |= {"session": session_key(erin), "administrator's session": session_key(ada)}
    made = erin.post("/account/tokens", name="mine", scopes=["read", "kubeconfig"], days="1").text
    run.secrets["token"] = re.findall(r"kiam_[A-Za-z0-9_-]+", made)[0]
    _download(run, erin.post("/kubeconfig/demo", key="ours").text, "by page")
    headers = {"Authorization": f"Bearer {run.secrets['token']}"}
    _download(run, product.api("POST", "/kubeconfig", headers, {}).get_json()["kubeconfig"], "by API")
    product.api("GET", "/me", {"Authorization": "Bearer kiam_made-up-token-that-nobody-has-but-is-secret"})
    run.secrets["made-up token"] = "kiam_made-up-token-that-nobody-has-but-is-secret"

    ca, ca_key = (part.decode() for part in new_ca("secret", product.clock(), product.clock() - product.clock().replace(year=2020)))
    kubeconfig = write([Entry("far", "https://127.0.0.1:1", ca, "admin", ca, ca_key)])
    run.secrets |= {"cluster token": CLUSTER_TOKEN, "CA key": ca_key, "cluster kubeconfig": kubeconfig}
    address = {"server": "https://127.0.0.1:1", "ca_pem": ca}
    for form in (
        {"name": "by-token", "token": CLUSTER_TOKEN, **address},
        {"name": "by-kubeconfig", "kubeconfig": kubeconfig},
        {"name": "by-ca", "access": "offline", "server": "https://x.invalid", "signer": "ca", "signer_ca_pem": ca, "signer_ca_key": ca_key},
        {"name": "Not A Name", "token": CLUSTER_TOKEN, "kubeconfig": kubeconfig, "signer_ca_key": ca_key},
        {"name": "cut-short", "kubeconfig": kubeconfig[:-20] + "\n  - ["},
    ):
        run.pages.append(ada.post("/clusters/new", **form).text)
    refused = ada.post("/clusters/new", name="in-address", token="t", server=f"https://user:{CLUSTER_TOKEN}@127.0.0.1")
    assert refused.status_code == 422
    product.work()
    for name in ("by-token", "by-kubeconfig", "by-ca"):
        run.pages += [ada.get(f"/clusters/{name}{page}").text for page in ("", "/edit", "/bindings")]
    run.pages += [ada.get(page).text for page in ("/clusters", "/audit", "/status", "/account", "/metrics")]
    run.pages += [erin.get(page).text for page in ("/", "/account", "/audit", "/kubeconfig/demo")]
    erin.post("/logout")
    return run


def _download(run: Run, kubeconfig: str, how: str) -> None:
    user = yaml.safe_load(kubeconfig)["users"][0]["user"]
    run.secrets[f"kubeconfig {how}"] = kubeconfig
    run.secrets[f"key {how}"] = base64.b64decode(user["client-key-data"]).decode()


class TestNoSecret:
    def test_in_the_log(self, run: Run) -> None:
        assert '"action": "credential.issued"' in run.log
        assert run.log.count('"action": "login"') >= 5
        assert run.found_in(run.log) == []
        assert "PRIVATE KEY" not in run.log
        assert "argon2" not in run.log

    def test_in_the_audit_trail(self, run: Run) -> None:
        trail = [vars(event) for event in events(run.product, limit=1000)]
        assert len(trail) > 20
        assert run.found_in(json.dumps(trail, default=str)) == []

    def test_in_the_database(self, run: Run) -> None:
        stored = database_bytes(run.product).decode("latin-1")
        assert "by-kubeconfig" in stored
        assert run.found_in(stored) == []
        assert run.found_in(repr(contents(run.product))) == []
        assert "PRIVATE KEY" not in stored

    def test_on_any_page(self, run: Run) -> None:
        assert {name for page in run.pages for name in run.found_in(page)} == set()

    def test_in_what_shows_itself(self, run: Run) -> None:
        world = run.product.services.world
        assert run.found_in(repr(world.settings) + repr(run.product.services.accounts) + str(world.settings)) == []

    def test_and_still_each_of_them_would_have_been_found(self, run: Run) -> None:
        for name, secret in run.secrets.items():
            assert name in run.found_in(f"... {secret} ...")
            assert name in run.found_in(base64.b64encode(secret.encode()).decode())


class Counting:
    """The hasher, counting."""

    def __init__(self) -> None:
        self.real = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
        self.verified: list[str] = []

    def hash(self, password: str) -> str:
        return self.real.hash(password)

    def verify(self, password_hash: str, password: str) -> bool:
        self.verified.append(password_hash)
        return self.real.verify(password_hash, password)


@pytest.mark.parametrize("username", ["erin", "ERIN", "nobody", "nobody-either", "gone"])
def test_a_login_hashes_once_whether_the_name_is_known_or_not(
    make_product: ProductMaker, monkeypatch: pytest.MonkeyPatch, username: str
) -> None:
    counting = Counting()
    monkeypatch.setattr(local, "hasher", counting)
    product = make_product()
    inhabit(product)
    product.account("gone")
    product.logged_in("gone")
    with product.app.app_context():
        person = product.services.people.by_username("gone")
        product.services.people.disable(product.operator, person.id)
    counting.verified.clear()
    answer = product.browser().login(username, WRONG)
    assert answer.status_code == 401
    assert len(counting.verified) == 1
    assert "did not work" in answer.text


def test_known_and_unknown_names_get_the_same_answer(house: Product) -> None:
    known, unknown = (house.browser().login(name, WRONG) for name in ("erin", "erna"))
    plain = [re.sub(r'name="csrf_token" value="[^"]+"|erin|erna', "", answer.text) for answer in (known, unknown)]
    assert plain[0] == plain[1]
    assert known.status_code == unknown.status_code == 401


def test_the_stand_in_costs_as_much_as_a_real_password() -> None:
    directory = local.LocalDirectory(LocalSettings(kind="local", name="local"), SqlAccountStore())
    stand_in, real = directory._nobody.split("$")[:4], local.new_hash(PASSWORD).split("$")[:4]
    assert stand_in == real
