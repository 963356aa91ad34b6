"""ABAC policies on the command line, over the API and in the forms of the pages: what they answer, and what they refuse."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from fixtures.cli import SETTINGS, Iam, Said, assert_one_clear_line, installed
from fixtures.house import EVERYTHING, PLATFORM, POLICY_TEXT, Desk, enter_all, line
from fixtures.offline import events, offline
from fixtures.product import Product, ProductMaker
from fixtures.stored import contents

from iam.services.policies import MAX_POLICY_BYTES

ENGINEERS = line(directoryGroup="local:engineers", namespace="shop", resource="pods")
BOB = line(user="bob", namespace="shop", resource="pods")
HUNDRED_THOUSAND = "".join(
    line(user=f"user-{number}", namespace=f"team-{team}", resource="pods") for team in range(5) for number in range(20_000)
)
"""No line says what another says."""
FOLDER = '\n[abac]\nfolder = "{folder}"\n'


@pytest.fixture
def iam(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iam:
    """Settings with a folder, no database; in an empty folder."""
    monkeypatch.setenv("COLUMNS", "400")
    made = installed(monkeypatch, capsys, tmp_path)
    made.configure(SETTINGS.replace("\n[roles]", FOLDER + "\n[roles]"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return made


@pytest.fixture
def desk(iam: Iam, make_product: ProductMaker, tmp_path: Path) -> Desk:
    """The same database, seen from inside."""
    return Desk(make_product(encryption_keys=[iam.key]), tmp_path)


def a_file(text: str, name: str = "some.jsonl") -> str:
    Path(name).write_bytes(text.encode())
    return f"./{name}"


class TestCommandLine:
    def test_a_file_is_imported_byte_for_byte_and_again_as_the_next_version(self, iam: Iam, desk: Desk) -> None:
        text = "# one\r\n\n" + BOB.rstrip("\n")
        said = iam("abac", "import", a_file(text), "base", "--reason", "from the old server", "--owner", "ops", "--beside-rbac")
        assert (said.code, said.out) == (0, "base, version 1: 1 policies.\n")
        assert iam("--json", "abac", "import", a_file(text + "\n" + ENGINEERS), "base", "--reason", "more").json == {
            "name": "base", "version": 2, "policies": 2,
        }  # fmt: skip
        assert [desk.text(1), desk.text(2)] == [text, text + "\n" + ENGINEERS]
        (row,) = iam("--json", "abac", "list").json
        assert (row["name"], row["owner"], row["version"], row["published"]) == ("base", "ops", 2, None)
        assert_one_clear_line(iam("abac", "import", a_file(text + "\n" + ENGINEERS), "base", "--reason", "again"), "Nothing has changed.")

    @pytest.mark.usefixtures("desk")
    def test_nothing_is_said_in_words(self, iam: Iam) -> None:
        assert iam("abac", "list").out == "No policy yet: iam abac import FILE NAME --reason WHY\n"
        assert iam("--json", "abac", "list").json == []
        assert iam("abac", "lint", a_file(BOB), "--beside-rbac").out == "Nothing found.\n"
        assert iam("abac", "diff", a_file(BOB), a_file("# " + BOB + BOB, "b.jsonl")).out == "Nobody gains or loses anything.\n"

    def test_a_file_that_names_nobody_of_ours_needs_no_database(self, iam: Iam, tmp_path: Path) -> None:
        path = a_file("# x\n" + '{"user":"bob","readonly":true}\n')
        assert iam("abac", "generate", path).out == line(user="bob", readonly=True, **EVERYTHING)
        assert [iam("abac", command, path).code for command in ("lint", "convert")] == [1, 0]
        assert iam("abac", "diff", path, path).code == 0
        assert not (tmp_path / "test.db").exists()
        assert_one_clear_line(iam("abac", "generate", a_file(ENGINEERS)), "")

    def test_directory_groups_become_people(self, iam: Iam, desk: Desk) -> None:
        desk.remember("erin", "engineers")
        expected = line(user="erin", namespace="shop", resource="pods")
        desk.create(ENGINEERS)
        desk.save(BOB, 1)
        assert [iam("abac", "generate", source).out for source in (a_file(ENGINEERS), "base@1", "base")] == [expected, expected, BOB]
        assert iam("abac", "generate", "-", stdin=ENGINEERS).out == expected
        said = iam("--json", "abac", "generate", "base@1", "--out", "out.jsonl")
        assert (Path("out.jsonl").read_text("utf-8"), said.json["lines"], said.json["digest"]) == (expected, 1, desk.draft(1).digest)
        assert_one_clear_line(iam("abac", "generate", "base", "--out", "absent/out.jsonl"), "cannot be written")

    def test_what_comes_by_standard_input_is_read_as_a_file_is(self, iam: Iam) -> None:
        text = b'# retired: \r{"user":"alice"}\n'
        Path("retired.jsonl").write_bytes(text)
        for source in ("./retired.jsonl", "-"):
            done = subprocess.run(
                [sys.executable, "-m", "iam", "--config", str(iam.config), "abac", "generate", source],
                input=text, capture_output=True, timeout=60, check=False, env={"PYTHONPATH": str(Path(__file__).parents[2])},
            )  # fmt: skip
            assert (done.returncode, done.stdout) == (0, b""), (source, done)

    def test_standard_input_that_is_no_text_is_one_clear_line(self, iam: Iam) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "iam", "--config", str(iam.config), "abac", "lint", "-"],
            input=b'{"user":"\xff"}', capture_output=True, timeout=60, check=False,
            env={"PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONIOENCODING": "utf-8"},  # as with LANG=en_US.UTF-8
        )  # fmt: skip
        assert_one_clear_line(Said(done.returncode, done.stdout.decode(), done.stderr.decode()), "cannot be read")

    def test_lint_names_every_line_and_ends_with_1_for_errors(self, iam: Iam) -> None:
        text = "no\n" + line(user="bob", resource="Pods") + BOB + BOB + "{\n" + line(group="system:authenticated", **EVERYTHING)
        said = iam("--json", "abac", "lint", "-", "--beside-rbac", stdin=text)
        found = {(row["line"], row["severity"], row["finding"]) for row in said.json}
        assert said.code == 1
        assert found >= {
            (1, "error", "unreadable"), (5, "error", "unreadable"), (2, "error", "never-matches"), (4, "warning", "shadowed"),
            (6, "error", "gives-everything"),
        }  # fmt: skip
        assert iam("abac", "lint", "-", "--beside-rbac", stdin=BOB + BOB).code == 0, "warnings are no errors"
        assert [iam("abac", "lint", "-", *more, stdin=BOB).code for more in ([], ["--beside-rbac"])] == [1, 0]
        assert iam("abac", "lint", "-", stdin=PLATFORM).code == 0

    def test_lint_of_a_stored_policy_knows_that_rbac_stands_beside_it(self, iam: Iam, desk: Desk) -> None:
        desk.create(BOB, is_alone=False)
        desk.create(BOB, "lonely", is_alone=True)
        assert [iam("abac", "lint", name).code for name in ("base", "lonely")] == [0, 1]

    def test_diff_says_who_gains_and_who_loses(self, iam: Iam, desk: Desk) -> None:
        desk.create(BOB)
        desk.save(line(user="eve", readonly=True, nonResourcePath="/metrics"), 1)
        found = iam("--json", "abac", "diff", "base@1", "base").json
        assert [(row["who"], row[""], row["what"]) for row in found] == [("eve", "gains", "/metrics"), ("bob", "loses", "pods")]
        assert "eve" in iam("abac", "diff", "base@1", "-", stdin=desk.text()).out

    def test_convert_prints_yaml_and_names_what_is_left(self, iam: Iam) -> None:
        said = iam("abac", "convert", "-", "--name", "old", stdin=BOB + line(user="bob", group="ops", resource="pods"))
        role, binding = yaml.safe_load_all(said.out)
        assert (said.code, role["kind"], binding["subjects"][0]["name"]) == (1, "Role", "bob")
        assert role["metadata"]["name"].startswith("old-")
        assert said.err.startswith("line 2: RBAC binds a user or a group")
        assert iam("abac", "convert", "-", stdin=BOB).code == 0

    def test_publish_writes_the_file_and_says_what_is_next(self, iam: Iam, desk: Desk) -> None:
        desk.create(BOB, is_alone=True)
        assert_one_clear_line(iam("abac", "publish", "base"), "accept")
        assert not desk.path.exists()
        said = iam("abac", "publish", "base", "--accept")
        assert (said.code, desk.published) == (0, BOB)
        assert said.out == (
            f"{desk.path} is written. Start kube-apiserver anew with --authorization-mode=ABAC --authorization-policy-file={desk.path}\n"
        )
        (row,) = iam("--json", "abac", "list").json
        assert row["published"] == 1
        iam.configure()
        assert_one_clear_line(iam("abac", "publish", "base", "--accept"), "abac.folder")

    @pytest.mark.parametrize(("arguments", "complaint"), [
        (("generate", "absent"), "There is no policy absent"), (("generate", "base@9"), "There is no version 9 of base"),
        (("generate", f"base@{10**30}"), "There is no version"), (("generate", "base@x"), "A version is a number"),
        (("lint", "./absent.jsonl"), "absent.jsonl cannot be read"), (("lint", "."), "cannot be read"),
        (("generate", "./bad.jsonl"), "bad.jsonl:2: This is not JSON"), (("convert", "./bad.jsonl"), "bad.jsonl:2: This is not JSON"),
        (("diff", "base", "./bad.jsonl"), "bad.jsonl:2: This is not JSON"), (("diff", "base"), "Missing argument"),
        (("import", "./bad.jsonl", "odd", "--reason", "x"), "2: This is not JSON"), (("import", "./bad.jsonl", "odd"), "--reason"),
        (("import", "./good.jsonl", "odd", "--reason", " "), "reason: Say why"),
        (("import", "./good.jsonl", "No Name", "--reason", "x"), "is not a name of lower-case letters"),
        (("import", "./good.jsonl", "odd", "--reason", "x", "--cluster", "absent"), "There is no cluster absent"),
        (("import", "./absent.jsonl", "odd", "--reason", "x"), "absent.jsonl cannot be read"),
        (("publish", "absent"), "There is no policy absent"), (("check", "absent"), "There is no policy absent"),
        (("check", "base"), "cluster: Say first which cluster"), (("check", "far"), "An offline cluster decides nothing"),
    ])  # fmt: skip
    def test_wrong_input_ends_with_2_and_one_clear_line(self, iam: Iam, desk: Desk, arguments: tuple[str, ...], complaint: str) -> None:
        a_file("# fine\nbad\n", "bad.jsonl"), a_file(BOB, "good.jsonl")
        offline(desk.product)
        desk.create(BOB)
        desk.create(BOB, "far", cluster="prod")
        before = contents(desk.product)
        assert_one_clear_line(iam("abac", *arguments), complaint)
        assert contents(desk.product) == before

    def test_a_hundred_thousand_lines(self, iam: Iam, desk: Desk) -> None:
        path = a_file(HUNDRED_THOUSAND)
        assert iam("abac", "import", path, "base", "--reason", "all of it").out == "base, version 1: 100000 policies.\n"
        assert desk.text() == HUNDRED_THOUSAND
        assert iam("abac", "generate", path).out == HUNDRED_THOUSAND


class TestApi:
    @pytest.fixture
    def house(self, house: Product) -> Product:
        enter_all(house)
        return house

    def problem(self, product: Product, headers: dict[str, str], method: str, path: str, body: Any, status: int) -> dict[str, Any]:
        """The answer, as RFC 9457 says that it looks."""
        answer = product.api(method, path, headers, body)
        assert (answer.status_code, answer.mimetype) == (status, "application/problem+json"), answer.text[:500]
        found: dict[str, Any] = answer.get_json()
        assert (found["status"], bool(found["detail"] and found["type"] and found["title"])) == (status, True)
        return found

    def test_from_the_first_version_to_the_last(self, house: Product, tmp_path: Path) -> None:
        headers = house.token("ada", "read", "write")

        def ask(method: str, path: str, body: Any = None) -> Any:
            answer = house.api(method, f"/policies{path}", headers, body)
            assert answer.status_code in {200, 201}, answer.text
            return answer.get_json()

        made = ask("POST", "", {"name": "odd", "text": "# x\n" + ENGINEERS, "reason": "a start", "cluster": "spare", "beside_rbac": True})
        assert (made["version"], made["owner"], made["published_version"], made["beside_rbac"]) == (1, "ada", None, True)
        assert ask("POST", "/odd/versions", {"text": BOB, "reason": "bob only", "base": 1})["number"] == 2
        whole = ask("GET", "/odd?version=1")
        assert (whole["text"], [one["number"] for one in whole["versions"]]) == ("# x\n" + ENGINEERS, [2, 1])
        erin = line(user="erin", namespace="shop", resource="pods")
        assert [ask("GET", f"/odd/generated{which}")["text"] for which in ("?version=1", "")] == [erin, BOB]
        assert ask("POST", "/generate", {"text": ENGINEERS}) == ask("GET", "/odd/generated?version=1")
        changes = ask("GET", "/odd/difference?before=1&after=2")
        assert [[one["user"] for one in changes[side]] for side in ("gained", "lost")] == [["bob"], ["erin"]]
        assert ask("POST", "/diff", {"before": ENGINEERS, "after": BOB}) == changes
        assert ask("GET", "/odd/findings")["items"] == []
        found = ask("POST", "/lint", {"text": BOB + BOB + "no"})["items"]
        assert {one["finding"] for one in found} == {"shadowed", "unreadable", "lockout"}
        assert ask("GET", "/odd/rbac")["manifests"][1]["subjects"][0]["name"] == "bob"
        assert ask("POST", "/convert", {"text": line(user="bob", resource="pods")})["left_over"][0]["line"] == 1
        question = "user=erin&verb=delete&resource=pods&namespace=shop"
        assert [ask("GET", f"/odd/simulate?{question}{which}") for which in ("&version=1", "")] == [
            {"allowed": True, "reason": "ABAC: allowed by line 2", "line": 2},
            {"allowed": False, "reason": "No policy matched.", "line": None},
        ]  # fmt: skip
        published = ask("POST", "/odd/publish", {})
        assert (Path(published["file"]).read_text("utf-8"), published["flags"][0]) == (BOB, "--authorization-mode=Node,RBAC,ABAC")
        assert [(one["name"], one["published_version"]) for one in ask("GET", "")["items"]] == [("base", None), ("odd", 2)]
        ask("DELETE", "/odd")
        assert Path(published["file"]).exists()
        assert [one["name"] for one in ask("GET", "")["items"]] == ["base"]

    @pytest.mark.parametrize(("method", "path", "body", "status", "field"), [
        ("GET", "/absent", None, 404, None), ("GET", "/base?version=7", None, 404, None),
        ("GET", f"/base?version={10**30}", None, 404, None),
        ("GET", "/base?version=x", None, 422, "version"), ("GET", "/base/difference?before=1", None, 422, "after"),
        ("GET", "/base/simulate?verb=get&resource=pods", None, 422, "user"),
        ("GET", "/base/simulate?user=a&verb=&resource=pods", None, 422, "verb"),
        ("POST", "", {"name": "odd"}, 422, "reason"), ("POST", "", {"name": "base", "reason": "x"}, 409, "name"),
        ("POST", "", {"name": "New", "reason": "x"}, 422, "name"), ("POST", "", {"name": "odd", "reason": "x", "colour": 1}, 422, "colour"),
        ("POST", "", {"name": "odd", "reason": "x", "text": "#\nno"}, 422, "policy:2"),
        ("POST", "", {"name": "odd", "reason": "x", "text": "#\0"}, 422, None),
        ("POST", "", {"name": "odd", "reason": "x", "cluster": "absent"}, 404, None),
        ("POST", "/base/versions", {"text": "#", "reason": "x", "base": 2}, 409, "base"),
        ("POST", "/base/versions", {"text": "#", "reason": "x", "base": 10**30}, 409, "base"),
        ("POST", "/base/versions", {"text": POLICY_TEXT, "reason": "x", "base": 1}, 422, "text"),
        ("POST", "/generate", {"text": "#\nno"}, 422, "policy:2"), ("POST", "/convert", {"text": "no"}, 422, "policy:1"),
        ("POST", "/diff", {"before": "no", "after": ""}, 422, "before:1"), ("POST", "/diff", {"before": "", "after": "no"}, 422, "after:1"),
        ("POST", "/base/check", None, 503, None), ("DELETE", "/absent", None, 404, None),
    ])  # fmt: skip
    def test_wrong_input_is_refused_naming_the_field(
        self, house: Product, method: str, path: str, body: Any, status: int, field: str | None
    ) -> None:
        headers = house.token("ada", "read", "write")
        before = contents(house, "api_tokens")
        assert self.problem(house, headers, method, f"/policies{path}", body, status).get("field") == field
        assert contents(house, "api_tokens") == before

    def test_errors_are_published_only_when_accepted(self, house: Product) -> None:
        headers = house.token("ada", "read", "write")
        house.api("POST", "/policies", headers, {"name": "alone", "text": BOB, "reason": "x"})
        assert self.problem(house, headers, "POST", "/policies/alone/publish", {}, 409)["field"] == "accept"
        assert house.api("POST", "/policies/alone/publish", headers, {"accept": True}).status_code == 200

    def test_a_token_that_only_writes_publishes_and_is_told_so(self, house: Product, tmp_path: Path) -> None:
        answer = house.api("POST", "/policies/base/publish", house.token("ada", "write"), {})
        assert (answer.status_code, (tmp_path / "base.jsonl").exists()) == (200, True)

    @pytest.mark.parametrize(("who", "scopes", "status"), [
        ("erin", ("read", "write"), 403), ("lee", ("read",), 403), ("aude", ("read",), 200), ("ada", ("write",), 403),
    ])  # fmt: skip
    def test_who_reads(self, house: Product, who: str, scopes: tuple[str, ...], status: int) -> None:
        headers = house.token(who, *scopes)
        for path in ("", "/base", "/base/generated", "/base/findings", "/base/rbac"):
            assert house.api("GET", f"/policies{path}", headers).status_code == status
        assert house.api("POST", "/policies/lint", headers, {"text": ""}).status_code == status

    def test_a_hundred_thousand_lines(self, house: Product) -> None:
        headers = house.token("ada", "read", "write")
        body = {"name": "large", "text": HUNDRED_THOUSAND, "reason": "all of it", "beside_rbac": True}
        assert house.api("POST", "/policies", headers, body).status_code == 201
        assert house.api("GET", "/policies/large/generated", headers).get_json()["text"] == HUNDRED_THOUSAND
        assert house.api("POST", "/policies/lint", headers, {"text": HUNDRED_THOUSAND, "beside_rbac": True}).get_json() == {"items": []}

    def test_a_body_over_32_mib_is_too_large(self, house: Product) -> None:
        body = {"name": "endless", "text": "#" * MAX_POLICY_BYTES, "reason": "x"}
        headers = house.token("ada", "read", "write")
        before = contents(house, "api_tokens")
        self.problem(house, headers, "POST", "/policies", body, 413)
        assert contents(house, "api_tokens") == before

    def test_who_has_no_token_sends_nothing_large(self, house: Product) -> None:
        body = {"name": "large", "text": "#" * (MAX_POLICY_BYTES // 2), "reason": "x"}
        assert house.api("POST", "/policies", {}, body).status_code in {401, 413}


def seal(text: str) -> str:
    """What a preview of this text carries, so that it can be saved."""
    return hashlib.sha256(text.encode()).hexdigest()


class TestForms:
    @pytest.fixture
    def house(self, house: Product) -> Product:
        enter_all(house)
        return house

    @pytest.mark.parametrize("size", [MAX_POLICY_BYTES // 2, MAX_POLICY_BYTES])
    def test_a_file_is_taken_up_to_32_mib(self, house: Product, size: int) -> None:
        text = ("#" * 60_000 + "\n") * (size // 60_001 + 1)
        upload = {"file": (BytesIO(text.encode()), "policy.jsonl"), "name": "large", "reason": "all of it"}
        answer = house.logged_in("ada").post("/policies/new", **upload)
        assert answer.status_code == (302 if size < MAX_POLICY_BYTES else 413)
        assert answer.status_code == 302 or "At most 32 MiB" in answer.text
        assert house.logged_in("erin").post("/policies/new", file=(BytesIO(text.encode()), "x")).status_code == 413

    @pytest.mark.parametrize(("content", "complaint"), [
        (b'{"user":"\xff"}', "not UTF-8: byte 9"), (b"#\n\0", "policy:2: There is a NUL"), (b"#\nno\nno", "policy:2: This is not JSON"),
    ])  # fmt: skip
    def test_a_file_that_cannot_be_kept_says_where(self, house: Product, content: bytes, complaint: str) -> None:
        answer = house.logged_in("ada").post("/policies/new", file=(BytesIO(content), "p"), name="odd", reason="x")
        assert (answer.status_code, complaint in answer.text) == (422, True)

    @pytest.mark.parametrize("path", ["difference?after=", "difference?before=", "line?line="])
    @pytest.mark.parametrize("number", [0, 99, 2**31, 10**30])
    def test_a_number_that_is_none_is_not_found(self, house: Product, path: str, number: int) -> None:
        assert house.logged_in("ada").get(f"/policies/base/{path}{number}").status_code == 404

    def test_every_name_that_is_taken_leads_to_its_page(self, house: Product) -> None:
        ada = house.logged_in("ada")
        for name in ("lint", "new"):
            answer = ada.post("/policies/new", name=name, reason="x")
            assert answer.status_code == 422 or f"<h1>{name}</h1>" in ada.get(answer.location).text, name

    @pytest.mark.parametrize(("path", "form"), [
        ("text", {"base": 1, "text": "#", "reason": "x", "step": "save"}), ("text", {"base": 1, "text": "#", "reason": "x"}),
        ("line", {"subject": "local:leads", "resource": "pods"}), ("publish", {"step": "file"}),
    ])  # fmt: skip
    def test_a_refusal_is_recorded_once(self, house: Product, path: str, form: dict[str, Any]) -> None:
        assert house.logged_in("aude").post(f"/policies/base/{path}", **form).status_code == 403
        assert len(events(house, action="access.denied")) == 1

    def test_nothing_is_saved_that_was_not_shown(self, house: Product) -> None:
        ada = house.logged_in("ada")
        preview = ada.post("/policies/base/text", base=1, text=POLICY_TEXT + BOB, reason="bob", step="preview").text
        form = dict(re.findall(r'<input type="hidden" name="(?!csrf)([^"]+)" value="([^"]*)"', preview))
        answer = ada.post("/policies/base/text", **form, text=POLICY_TEXT + line(user="eve", **EVERYTHING), reason="bob", step="save")
        assert (answer.status_code, "eve" in answer.text) == (200, True), "shown first"

    def test_a_line_that_moved_meanwhile_is_not_mistaken_for_another(self, house: Product, tmp_path: Path) -> None:
        ada, desk = house.logged_in("ada"), Desk(house, tmp_path)
        page = ada.get("/policies/base/line?line=2").text
        desk.save(PLATFORM + POLICY_TEXT, 1)
        form = dict(re.findall(r'<input type="hidden" name="(?!csrf)([^"]+)" value="([^"]*)"', page))
        answer = ada.post("/policies/base/line?line=2", **form, step="remove")
        assert answer.status_code == 409, "line 2 is the scheduler's now"

    @pytest.mark.parametrize("edit", [str, lambda text: text.replace("\n", "\r\n")], ids=["LF", "CR LF"])
    def test_a_text_comes_back_as_a_browser_sends_it(self, house: Product, edit: Callable[[str], str], tmp_path: Path) -> None:
        ada, desk = house.logged_in("ada"), Desk(house, tmp_path)
        form = {"base": 1, "text": edit("\n" + BOB), "seen": seal("\n" + BOB), "reason": "x", "step": "save"}
        assert ada.post("/policies/base/text", **form).status_code == 302
        assert desk.text() == "\n" + BOB
        assert re.search(r"<textarea[^>]*>\n\n\{", ada.get("/policies/base/text").text), "a browser drops the first newline"

    def test_names_in_lines_are_text(self, house: Product) -> None:
        ada, attack = house.logged_in("ada"), "<attack-tag data-x='1'>\"{{7*191}}"
        text = line(user=attack, namespace=attack, resource="pods", apiGroup=attack)
        text += line(directoryGroup=f"local:{attack}", nonResourcePath=attack)
        assert ada.post("/policies/base/text", base=1, text=text, seen=seal(text), reason=attack, step="save").status_code == 302
        for path in ("", "/text", "/line?line=1", "/line?line=2", "/difference", "/rbac", "/publish", "/settings", f"?q={attack}"):
            page = ada.get(f"/policies/base{path}").text
            assert ("<attack-tag" in page, str(7 * 191) in page) == (False, False), path
