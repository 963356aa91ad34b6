"""ABAC policies as they are kept: versions, references to people and groups, publishing, and what the audit trail says of it."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from fixtures.house import EVERYTHING, PLATFORM, Desk, line
from fixtures.offline import events, offline, stored
from fixtures.product import ProductMaker
from rigs.postgres import Postgres

from iam.directory.base import Identity
from iam.errors import Conflict, Forbidden, Invalid, NotFound, Problem, Unavailable
from iam.models import PolicyFile, PolicyVersion, db
from iam.services import policy_drafts
from iam.services.base import WORKER, Actor
from iam.services.locks import only_one
from iam.services.policies import NewPolicy

ODD = (
    "# \u2028 a comment\r\n\n\t \n  " + line(user="alice", resource="pods", namespace="dev").rstrip("\n") + " \r\n"
    '{"user":"bob","readonly":true}\n# retired: \r{"user":"alice"}\n#' + "x" * 60_000 + "\n"
    '{ "kind" : "Policy", "apiVersion":"abac.authorization.kubernetes.io/v1beta1", "spec":{"resource":"pods","user":"c\\u00e9"} }'
)
"""Everything that a reader might want to tidy up; no newline at the end."""
ENGINEERS = line(directoryGroup="local:engineers", namespace="shop", resource="pods")
ERIN = line(person="local:erin", namespace="shop", resource="secrets")


@pytest.fixture(params=["sqlite", "postgresql"])
def desk(request: pytest.FixtureRequest, make_product: ProductMaker, tmp_path: Path) -> Iterator[Desk]:
    """On each database; policies are published into the test's own folder."""
    if request.param == "sqlite":
        yield Desk(make_product(), tmp_path)
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    url = postgres.create_database("policies")
    try:
        made = Desk(make_product(database_url=url), tmp_path)
        yield made
        with made.open():
            db.session.remove()
            db.engine.dispose()
    finally:
        postgres.drop_database("policies")


class TestVersions:
    def test_every_line_is_kept_byte_for_byte(self, desk: Desk) -> None:
        desk.create(ODD)
        assert desk.text() == ODD
        (version,) = stored(desk.product, PolicyVersion)
        assert (version.number, version.lines, version.reason, version.author) == (1, 3, "because", "operator:test")
        assert [line.text for line in desk.draft().lines] == [one.removesuffix("\r") for one in ODD.split("\n")]

    def test_versions_stay_as_they_are(self, desk: Desk) -> None:
        desk.create(ENGINEERS)
        assert desk.save(ENGINEERS + ERIN, 1, "erin, too") == 2
        assert desk.save("", 2, "a fresh start") == 3
        assert [desk.text(number) for number in (1, 2, 3, None)] == [ENGINEERS, ENGINEERS + ERIN, "", ""]
        assert [one.number for one in stored(desk.product, PolicyVersion)] == [1, 2, 3]
        with pytest.raises(NotFound, match=r"no version 4 of base"):
            desk.text(4)

    @pytest.mark.parametrize("number", [0, -1, 2**31, 10**30])
    def test_a_number_that_no_version_has_is_not_found(self, desk: Desk, number: int) -> None:
        desk.create()
        with pytest.raises(NotFound):
            desk.text(number)

    def test_who_read_an_older_version_overwrites_nothing(self, desk: Desk) -> None:
        desk.create()
        desk.save("# theirs\n", 1)
        for base in (1, 3, 10**30):
            with pytest.raises(Conflict, match="Somebody has saved another version"):
                desk.save("# mine\n", base)
        assert (desk.text(), len(stored(desk.product, PolicyVersion))) == ("# theirs\n", 2)
        assert desk.save("# mine\n", 2) == 3

    def test_of_two_who_save_at_once_one_wins(self, desk: Desk) -> None:
        desk.create()

        def save(number: int) -> str:
            try:
                return f"version {desk.save(f'# {number}', 1)}"
            except Problem as problem:  # SQLite may answer that it is busy
                return type(problem).__name__

        with ThreadPoolExecutor(4) as pool:
            said = list(pool.map(save, range(4)))
        assert sorted(said) == ["Conflict", "Conflict", "Conflict", "version 2"]
        assert [one.number for one in stored(desk.product, PolicyVersion)] == [1, 2]
        assert len(desk.said("policy.changed")) == 1

    @pytest.mark.parametrize(("text", "reason", "field", "words"), [
        (ENGINEERS, "again", "text", "Nothing has changed."),
        ("# new", " \n", "reason", "Say why"),
        ("# new\n#\0\n", "why", "policy:2", "NUL"),
        ("# new\nno\n", "why", "policy:2", "not JSON"),
        ("# new\n{}\n[]\n{\n", "why", "policy:3", "A policy is a JSON object."),
        (line(person="local:erin", user="x"), "why", "policy:1 spec.person", "Name one subject"),
        (line(directoryGroup="engineers"), "why", "policy:1 spec.directoryGroup", "directory:name"),
        ("#" * 65_536, "why", "policy:1", "64 KiB"),
    ])  # fmt: skip
    def test_what_cannot_be_kept_is_refused_with_its_place(self, desk: Desk, text: str, reason: str, field: str, words: str) -> None:
        desk.create(ENGINEERS)
        with pytest.raises(Invalid) as refused:
            desk.save(text, 1, reason)
        assert (refused.value.field, words in str(refused.value)) == (field, True), refused.value
        if field != "text":
            with pytest.raises(Invalid) as refused:
                desk.create(text, "other", reason)
            assert refused.value.field == field
        assert [len(stored(desk.product, table)) for table in (PolicyFile, PolicyVersion)] == [1, 1]

    def test_names_are_unique_plain_and_free_again(self, desk: Desk) -> None:
        offline(desk.product)
        desk.create(cluster="prod", owner="the platform team")
        for name, kind in (("base", Conflict), ("Base", Invalid), ("../base", Invalid), ("", Invalid), ("x" * 64, Invalid)):
            with pytest.raises(kind):
                desk.create(name=name)
        with pytest.raises(NotFound, match="no cluster absent"):
            desk.create(name="other", cluster="absent")
        with desk.open() as product:
            product.services.policies.remove(product.operator, "base")
        assert stored(desk.product, PolicyVersion) == []
        desk.create()
        assert [(one.owner, one.cluster_id) for one in stored(desk.product, PolicyFile)] == [("operator:test", None)]

    def test_a_cluster_that_is_forgotten_leaves_its_policies(self, desk: Desk) -> None:
        offline(desk.product)
        desk.create(cluster="prod")
        with desk.open() as product:
            product.services.clusters.remove(product.operator, "prod")
        assert [one.cluster_id for one in stored(desk.product, PolicyFile)] == [None]

    def test_what_two_versions_tell_apart(self, desk: Desk) -> None:
        desk.remember("erin", "engineers")
        desk.create(ENGINEERS)
        desk.save(line(user="erin", namespace="shop", resource="pods") + ERIN, 1)
        found = policy_drafts.changes(desk.draft(1), desk.draft(2))
        assert [(one.user, one.resource) for one in found.gained] == [("erin", "secrets")]
        assert found.lost == ()


class TestReferences:
    def test_they_become_people_who_count_now(self, desk: Desk) -> None:
        for name, group in (("erin", "engineers"), ("lee", "leads"), ("zoe", "engineers"), ("gone", "engineers")):
            desk.remember(name, group)
        desk.shut_out("gone")
        desk.create(ENGINEERS + ERIN + line(person="local:gone", resource="pods") + line(person="other:lee", resource="pods"))
        draft = desk.draft()
        assert [(number, one.user, one.resource) for number, one in draft.numbered] == [
            (1, "erin", "pods"), (1, "zoe", "pods"), (2, "erin", "secrets"),
        ]  # fmt: skip
        assert [(number, reference.name) for number, reference in draft.empty] == [(3, "local:gone"), (4, "other:lee")]
        assert {one.line for one in draft.findings(alone=False) if one.code == "nobody"} == {3, 4}
        assert "directoryGroup" not in draft.rendered
        assert draft.rendered.count("\n") == 3

    def test_people_known_from_a_login_lapse(self, make_product: ProductMaker, tmp_path: Path) -> None:
        sso = {"kind": "oidc", "name": "sso", "issuer": "https://sso.example.org", "client_id": "kube-iam", "username_prefix": "sso:"}
        desk = Desk(make_product(directories=[sso], roles={}), tmp_path)
        with desk.open() as product:
            product.services.people.remember(WORKER, Identity("sso", "1", "sso:ada", "Ada", groups=frozenset({"platform"})))
            db.session.commit()
        desk.create(line(directoryGroup="sso:platform", resource="pods"))
        desk.publish()
        assert "sso:ada" in desk.published
        desk.product.clock.forward(hours=25)
        assert desk.follow() == ["base"]
        assert desk.published == ""

    def test_thousands_of_references_are_resolved(self, desk: Desk) -> None:
        desk.remember("erin", *(f"team-{number}" for number in range(900)))
        text = "".join(line(directoryGroup=f"local:team-{number}", resource="pods") for number in range(1000))
        desk.create(text + "".join(line(person=f"local:p{number}", resource="pods") for number in range(1000)) + ERIN)
        assert [number for number, _ in desk.draft().numbered] == [*range(1, 901), 2001]


class TestPublishing:
    def test_the_file_is_what_was_shown(self, desk: Desk) -> None:
        desk.remember("erin", "engineers")
        desk.create("# " + ENGINEERS + ENGINEERS + '{"user":"bob","readonly":true}\n')
        desk.publish()
        assert desk.published == desk.draft().rendered
        assert [one for one in desk.published.splitlines() if "abac.authorization.kubernetes.io/v1beta1" not in one] == []
        assert desk.record == (1, hashlib.sha256(desk.path.read_bytes()).hexdigest())
        assert desk.path.stat().st_mode & 0o777 == 0o644, "the API server runs as somebody else"
        assert [one.name for one in desk.path.parent.iterdir() if "jsonl" in one.name] == ["base.jsonl"]

    def test_errors_need_accept(self, desk: Desk) -> None:
        desk.create(line(user="erin", resource="Pods"), is_alone=True)
        with pytest.raises(Conflict, match=r"rrors were found.*accept"):
            desk.publish()
        assert (desk.path.exists(), desk.record) == (False, (None, ""))
        assert desk.said("policy.published") == [("policy.published", "refused", desk.said()[-1][2])]
        desk.publish(accept=True)
        assert desk.record[0] == 1
        desk.create(PLATFORM + line(group="system:masters", **EVERYTHING), "sound", is_alone=True)
        desk.publish("sound")

    def test_a_disk_that_says_no_leaves_everything_as_it_was(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        desk.create('{"user":"bob"}\n')
        desk.publish()
        desk.save('{"user":"eve"}\n', 1)
        before, said, record = desk.path.read_bytes(), desk.said(), desk.record

        def full(_number: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr("iam.files.os.fsync", full)
            with pytest.raises(Unavailable, match=r"base\.jsonl cannot be written: No space left on device"):
                desk.publish()
        assert (desk.path.read_bytes(), desk.record) == (before, record)
        assert [one[:2] for one in desk.said()[len(said) :]] == [("policy.published", "failed")]
        assert [one.name for one in desk.path.parent.iterdir() if "jsonl" in one.name] == ["base.jsonl"]
        desk.publish()
        assert "eve" in desk.published

    @pytest.mark.parametrize("folder", ["absent", "file"])
    def test_a_folder_that_is_none_is_said(self, make_product: ProductMaker, tmp_path: Path, folder: str) -> None:
        (tmp_path / "file").touch()
        desk = Desk(make_product(abac={"folder": tmp_path / folder}), tmp_path / folder)
        desk.create()
        with pytest.raises(Unavailable, match="cannot be written"):
            desk.publish()
        assert desk.record == (None, "")
        assert [one[:2] for one in desk.said("policy.published")] == [("policy.published", "failed")]

    def test_without_a_folder_it_is_carried_by_hand(self, make_product: ProductMaker, tmp_path: Path) -> None:
        desk = Desk(make_product(abac={}), tmp_path)
        desk.create('{"user":"bob"}\n')
        with pytest.raises(Invalid) as refused:
            desk.publish()
        assert refused.value.field == "abac.folder"
        with desk.open() as product:
            carried = product.services.publishing.download(product.operator, "base")
        assert (carried, desk.record) == (desk.draft().rendered, (1, desk.draft().digest))
        assert (desk.follow(), desk.path.exists()) == ([], False)

    def test_a_download_writes_no_file(self, desk: Desk) -> None:
        desk.create('{"user":"bob"}\n')
        desk.publish()
        desk.save('{"user":"eve"}\n', 1)
        with desk.open() as product:
            product.services.publishing.download(product.operator, "base")
        desk.follow()
        assert "eve" not in desk.published

    def test_a_version_published_meanwhile_is_not_taken_back(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        desk.create('{"user":"bob"}\n')
        is_first = iter([True])

        def theirs() -> None:
            desk.save('{"user":"eve"}\n', 1)
            desk.publish()

        @contextmanager
        def late(what: str) -> Iterator[bool]:
            if next(is_first, False):  # somebody else saves and publishes just before we get the lock
                with ThreadPoolExecutor(1) as pool:
                    pool.submit(theirs).result()
            with only_one(what) as mine:
                yield mine

        monkeypatch.setattr("iam.services.publishing.only_one", late)
        desk.publish()
        assert "eve" in desk.published
        assert desk.record == (2, hashlib.sha256(desk.path.read_bytes()).hexdigest())


class TestFollowing:
    @pytest.fixture
    def shared(self, desk: Desk) -> Desk:
        """Published with erin in the group."""
        desk.remember("erin", "engineers")
        desk.create(ENGINEERS)
        desk.publish()
        return desk

    def users(self, desk: Desk) -> list[str]:
        assert desk.record == (1, hashlib.sha256(desk.path.read_bytes()).hexdigest())
        return [one.partition('"user":"')[2].partition('"')[0] for one in desk.published.splitlines()]

    def test_who_joins_leaves_and_is_shut_out(self, shared: Desk) -> None:
        shared.remember("zoe", "engineers", "others")
        assert (shared.follow(), self.users(shared)) == (["base"], ["erin", "zoe"])
        shared.remember("erin")
        assert (shared.follow(), self.users(shared)) == (["base"], ["zoe"])
        shared.shut_out("zoe")
        assert (shared.follow(), self.users(shared)) == (["base"], [])
        said = [(one.actor_name, one.reason, one.details["lines"]) for one in events(shared.product, action="policy.published")]
        assert said[:-1] == [("kube-iam", "the directory has changed", number) for number in (0, 1, 2)]

    def test_it_is_silent_otherwise(self, shared: Desk) -> None:
        shared.create(ERIN, "never-published")
        before = (shared.path.stat().st_mtime_ns, shared.path.stat().st_ino, shared.said())
        shared.remember("lee", "leads")
        shared.save(ENGINEERS + ERIN, 1)
        assert shared.follow() == []
        assert (shared.path.stat().st_mtime_ns, shared.path.stat().st_ino, shared.said()[:-1]) == before
        assert not shared.path.with_name("never-published.jsonl").exists()

    @pytest.mark.parametrize("content", [b"", b'{"user":"mallory"}\n', b"\xff\0"])
    def test_a_file_changed_by_hand_is_written_again(self, shared: Desk, content: bytes) -> None:
        before = shared.path.read_bytes()
        shared.path.write_bytes(content)
        assert (shared.follow(), shared.follow()) == (["base"], [])
        assert shared.path.read_bytes() == before
        assert shared.said()[-1] == ("policy.published", "done", "the file was not as published")

    def test_the_published_version_is_followed_not_the_newest(self, shared: Desk) -> None:
        shared.save(ENGINEERS + ERIN, 1)
        shared.remember("zoe", "engineers")
        shared.follow()
        assert self.users(shared) == ["erin", "zoe"]

    def test_the_worker_follows(self, desk: Desk) -> None:
        desk.create(ENGINEERS)
        desk.publish()
        desk.product.account("erin", "engineers")
        desk.product.logged_in("erin")
        desk.product.work()
        assert self.users(desk) == ["erin"]

    def test_one_that_cannot_be_written_holds_up_no_other(self, desk: Desk) -> None:
        desk.remember("erin", "engineers")
        for name in ("aaa", "base", "zzz"):
            desk.create(ENGINEERS, name)
            desk.publish(name)
        blocked = [desk.path.with_name("aaa.jsonl"), desk.path.with_name("zzz.jsonl")]  # the first, whatever the order
        for path in blocked:
            path.unlink()
            path.mkdir()
        desk.remember("zoe", "engineers")
        with suppress(OSError, Problem):  # the worker logs it
            desk.follow()
        assert "zoe" in desk.published


class TestAuditTrail:
    def test_each_change_is_an_event(self, desk: Desk) -> None:
        offline(desk.product)
        desk.create('{"user":"bob"}\n', cluster="prod", reason="first")
        desk.save("# none\n", 1, "second")
        desk.publish()
        with desk.open() as product:
            product.services.policies.describe(product.operator, "base", cluster="", owner="ada", is_alone=True)
            product.services.policies.remove(product.operator, "base")
        assert desk.said() == [
            ("policy.created", "done", "first"), ("policy.changed", "done", "second"), ("policy.published", "done", ""),
            ("policy.changed", "done", ""), ("policy.removed", "done", ""),
        ]  # fmt: skip
        created, changed, published, *_ = reversed([one for one in events(desk.product) if one.action.startswith("policy.")])
        assert (created.target_kind, created.target_name, created.cluster) == ("policy", "base", "prod")
        assert (created.details["lines"], changed.details["version"], published.details["to"]) == (1, 2, "file")
        assert published.details["digest"] == hashlib.sha256(desk.path.read_bytes()).hexdigest()
        assert desk.path.exists(), "what was published stays"

    def test_each_refusal_is_an_event_and_changes_nothing(self, desk: Desk) -> None:
        desk.create()
        anybody = Actor("eve", "page", scopes=frozenset({"read", "write"}))
        auditor = Actor("aude", "page", roles=frozenset({"auditor"}), scopes=frozenset({"read", "write"}))
        reader = Actor("ada", "api", roles=frozenset({"administrator"}), scopes=frozenset({"read"}))
        with desk.open() as product:
            ours, handing = product.services.policies, product.services.publishing
            writes = [
                lambda who: ours.create(who, NewPolicy("fresh", "", "why")), lambda who: ours.save(who, "base", "#", "why", 1),
                lambda who: ours.describe(who, "base", cluster="", owner="x", is_alone=True), lambda who: ours.remove(who, "base"),
                lambda who: handing.publish(who, "base"), lambda who: handing.download(who, "base"),
            ]  # fmt: skip
            reads = [
                ours.list, lambda who: ours.get(who, "base"), lambda who: ours.version(who, "base"), lambda who: ours.draft(who, ""),
                lambda who: handing.check(who, "base"), lambda who: handing.standing(who, "base"),
            ]  # fmt: skip
            for who, calls in ((anybody, [*writes, *reads]), (auditor, writes), (reader, writes)):
                for call in calls:
                    with pytest.raises(Forbidden):
                        call(who)
        refused = [one.actor_name for one in events(desk.product, action="access.denied", result="refused")]
        assert {name: refused.count(name) for name in refused} == {"eve": 12, "aude": 6, "ada": 6}
        assert len(desk.said()) == 1
