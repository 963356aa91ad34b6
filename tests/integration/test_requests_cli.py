"""The catalogue as a file, grants on the command line, and ``iam my`` through the API of a running server."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from fixtures.cli import Iam, assert_one_clear_line, installed
from fixtures.live import Live, LiveMaker

from iam.cli import demo_requests
from iam.services.base import SCOPES

CATALOGUE = yaml.safe_dump({
    "entries": [{"name": "look", "title": "Look", "role_name": "view", "clusters": ["demo"], "namespaces": ["shop"]}],
    "rules": [
        {"name": "strict", "stages": "1 of local:leads\n1 of local:administrators", "entry": "look"},
        {"name": "rest", "stages": "1 of local:administrators"},
    ],
})


@pytest.fixture
def office(make_live: LiveMaker) -> Live:
    """The demo's people have logged in once, so that rules can name their groups."""
    live = make_live()
    for username in ("erin", "lee", "ada", "aude"):
        live.session(username)
    return live


@pytest.fixture
def iam(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], office: Live, tmp_path: Path) -> Iam:
    """Beside the database of that server."""
    made = installed(monkeypatch, capsys, tmp_path)
    made.key = office.product.services.world.settings.encryption_keys[0].get_secret_value()
    made.configure()
    return made


def as_user(live: Live, iam: Iam, username: str, *scopes: str) -> tuple[str, ...]:
    """The options of ``iam my`` for this person."""
    path = iam.config.with_name(f"{username}.token")
    path.write_text(live.product.token(username, *(scopes or SCOPES))["Authorization"].removeprefix("Bearer ") + "\n", "utf-8")
    return "my", "--server", live.base, "--token-file", str(path)


class TestCatalogue:
    def test_what_is_exported_can_be_applied_again_and_changes_nothing(self, office: Live, iam: Iam) -> None:
        with office.product.app.app_context():
            demo_requests.seed(office.product.services, office.product.operator)
        exported = iam("catalogue", "export").out
        assert iam("catalogue", "apply", "-", stdin=exported).code == 0
        assert iam("catalogue", "export").out == exported
        assert [one["name"] for one in yaml.safe_load(exported)["rules"]] == [rule.name for rule in demo_requests.RULES]

    def test_rules_stand_in_the_files_order(self, iam: Iam) -> None:
        said = iam("--json", "catalogue", "apply", "-", stdin=CATALOGUE)
        assert [(one["what"], one["name"], one["done"]) for one in said.json] == [
            ("entries", "look", "added"), ("rules", "strict", "added"), ("rules", "rest", "added"),
        ]
        turned = yaml.safe_load(CATALOGUE)
        turned["rules"].reverse()
        assert iam("catalogue", "apply", "-", stdin=yaml.safe_dump(turned)).code == 0
        assert [one["name"] for one in yaml.safe_load(iam("catalogue", "export").out)["rules"]] == ["rest", "strict"]

    def test_the_simulator_says_which_rule_counts(self, iam: Iam) -> None:
        iam("catalogue", "apply", "-", stdin=CATALOGUE)
        (found,) = iam("--json", "catalogue", "simulate", "erin", "look", "--cluster", "demo", "-n", "shop").json
        assert found["tried"] == ["strict: counts"]
        assert found["stages"] == ["1 of local:leads", "1 of local:administrators"]
        (alone,) = iam("--json", "catalogue", "simulate", "ada", "look", "--cluster", "demo", "-n", "shop").json
        assert "not enough people" in alone["problem"]

    @pytest.mark.parametrize(("text", "words"), [
        ("entries: [", "not YAML"), ("- a", "entries, rules and doors"), ("people: []", "entries, rules and doors"),
        ("entries: [{name: a, colour: red}]", "only these keys"), ("rules: [{name: a}]", "missing"),
        ("rules: [{name: a, stages: [lead]}]", "stages"),
        ("entries: [{name: a, title: T, role_name: view, clusters: ['*']}]", "namespaces"),
        ("rules: [{name: a, stages: '9 of local:leads'}]", "not enough people"),
    ])  # fmt: skip
    def test_a_wrong_file_is_refused_in_one_line(self, iam: Iam, text: str, words: str) -> None:
        assert_one_clear_line(iam("catalogue", "apply", "-", stdin=text), words)
        assert yaml.safe_load(iam("catalogue", "export").out) == {"entries": [], "rules": [], "doors": []}


class TestMy:
    def test_from_the_offer_to_the_grant_and_back(self, office: Live, iam: Iam) -> None:
        iam("catalogue", "apply", "-", stdin=CATALOGUE)
        erin, lee, ada = (as_user(office, iam, one) for one in ("erin", "lee", "ada"))
        assert [one["name"] for one in iam("--json", *erin, "offers").json] == ["look"]
        wish = ("ask", "look", "--cluster", "demo", "-n", "shop", "--for", "2h", "--why", "The till is down.")
        assert [one["rule"] for one in iam("--json", *erin, *wish, "--dry-run").json] == ["strict"]
        (asked,) = iam("--json", *erin, *wish).json
        (waiting,) = iam("--json", *lee, "inbox").json
        assert (waiting["id"], waiting["requester"]) == (asked["id"], "erin")
        assert_one_clear_line(iam(*erin, "approve", asked["id"], "--yes"), "your own request")
        assert iam("--json", *lee, "approve", asked["id"], "--for", "1h", "--yes").json[0]["stage"] == 1
        (done,) = iam("--json", *ada, "approve", asked["id"], "--yes").json
        assert (done["state"], done["duration"], done["asked_duration"]) == ("approved", "1h", "2h")
        (grant,) = iam("--json", *erin, "grants").json
        assert [one["id"] for one in iam("--json", "grants", "list").json] == [grant["id"]]
        assert iam("--json", *erin, "return", grant["id"]).json[0]["end_reason"] == "returned"
        assert iam("--json", "grants", "list").json == []

    def test_denied_cancelled_and_revoked(self, office: Live, iam: Iam) -> None:
        iam("catalogue", "apply", "-", stdin=CATALOGUE)
        erin, lee, ada = (as_user(office, iam, one) for one in ("erin", "lee", "ada"))
        wish = ("ask", "look", "--cluster", "demo", "-n", "shop", "--why", "x")
        (first,) = iam("--json", *erin, *wish).json
        assert iam("--json", *lee, "deny", first["id"], "--comment", "Not today.").json[0]["outcome"] == "Not today."
        (second,) = iam("--json", *erin, *wish).json
        assert iam("--json", *erin, "cancel", second["id"]).json[0]["state"] == "cancelled"
        assert_one_clear_line(iam(*lee, "approve", second["id"], "--yes"), "cancelled")
        (third,) = iam("--json", *erin, *wish).json
        for who in (lee, ada):
            iam(*who, "approve", third["id"], "--yes")
        (grant,) = iam("--json", "grants", "list").json
        assert iam("grants", "revoke", grant["id"], "--reason", "Enough.").code == 0
        assert_one_clear_line(iam("grants", "revoke", grant["id"], "--reason", "Enough."), "ended already")

    def test_what_goes_wrong_is_one_clear_line(self, office: Live, iam: Iam) -> None:
        erin = as_user(office, iam, "erin", "read")
        assert_one_clear_line(iam(*erin, "ask", "nothing", "--cluster", "demo", "--why", "x"), "no entry nothing")
        assert_one_clear_line(iam(*erin, "cancel", "nothing"), "scope write")
        assert_one_clear_line(iam("my", "--server", "http://localhost.evil.example", "--token-file", erin[-1], "list"), "https://")
        assert_one_clear_line(iam("my", "--server", "http://127.0.0.1:9", "--token-file", erin[-1], "list"), "does not answer")
        Path(erin[-1]).write_text("kiam_nonsense", "utf-8")
        assert_one_clear_line(iam(*erin, "list"), "token")
