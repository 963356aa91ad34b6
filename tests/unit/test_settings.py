"""Settings: every mistake in one go, and no secret in any message."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from iam import settings
from iam.errors import Misconfigured
from iam.settings import Settings
from iam.settings.directories import LdapSettings

SECRET = "hunter2-recognisable"
KEY = f"{SECRET}-{'x' * 32}"
FERNET = base64.urlsafe_b64encode(SECRET.encode().ljust(32, b"!")).decode()
OTHER_FERNET = base64.urlsafe_b64encode(b"o" * 32).decode()
GOOD = f'secret_key = "{KEY}"\nencryption_keys = ["{FERNET}"]\n'


def directory(name: str, kind: str, *more: str) -> str:
    return "\n".join([f'[[directories]]\nname = "{name}"\nkind = "{kind}"', *more, ""])


LOCAL = directory("local", "local")
LDAP = directory("ldap", "ldap", 'user_base = "ou=p"', 'group_base = "ou=g"', f'bind_password = "{SECRET}"')
OIDC = directory("oidc", "oidc", 'client_id = "iam"', f'client_secret = "{SECRET}"')

Load = Callable[[str], Settings]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Load settings from a file with this text, in an environment that sets nothing."""
    for name in [name for name in os.environ if name.startswith("KUBE_IAM_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

    def load_text(text: str) -> Settings:
        file = tmp_path / "iam.toml"
        file.write_text(text, "utf-8")
        return settings.load(file)

    return load_text


def mistakes(load: Load, text: str) -> list[str]:
    """What loading this complains about; a secret that is in the file must not be among it."""
    with pytest.raises(Misconfigured) as caught:
        load(text)
    for secret in (SECRET, FERNET):
        assert secret not in f"{caught.value} {caught.value!r} {caught.value.mistakes}"
    return caught.value.mistakes


def test_two_secrets_are_all_that_is_needed(load: Load) -> None:
    loaded = load(GOOD)
    assert loaded.secret_key.get_secret_value() == KEY
    assert [key.get_secret_value() for key in loaded.encryption_keys] == [FERNET]
    assert loaded.server.host == "127.0.0.1"
    assert loaded.directories == ()


def test_secrets_do_not_show_when_settings_are_printed(load: Load) -> None:
    oidc = OIDC + 'issuer = "https://i"\nusername_prefix = "o:"\n'
    loaded = load(GOOD + LDAP + 'servers = ["ldaps://h"]\n' + oidc)
    for shown in (repr(loaded), str(loaded), loaded.model_dump_json()):
        assert SECRET not in shown
        assert FERNET not in shown


def test_settings_cannot_be_changed_once_loaded(load: Load) -> None:
    loaded = load(GOOD + LOCAL)
    parts: dict[str, BaseModel] = {"instance": loaded, "host": loaded.server, "name": loaded.directories[0]}
    for field, part in parts.items():
        with pytest.raises(ValidationError, match="frozen"):
            setattr(part, field, "other")


BAD_VALUES = [
    ('log_level = "loud"\n' + GOOD, "log_level"),
    ('instance = "Not A Label"\n' + GOOD, "instance"),
    ('instance = "a\\n"\n' + GOOD, "instance"),
    (f'secret_kye = "{SECRET}"\n' + GOOD, "secret_kye: is not a setting"),
    (GOOD + f'[server]\nprot = "{SECRET}"\n', "server.prot: is not a setting"),
    (GOOD + "[server]\nport = 65536\n", "server.port"),
    (GOOD + f'[server]\nport = "{SECRET}"\n', "server.port"),
    (f'server = "{SECRET}"\n' + GOOD, "server"),
    (GOOD + "[server]\nworkers = 0\n", "server.workers"),
    (GOOD + "[sessions]\nidle_minutes = 0\n", "sessions.idle_minutes"),
    (GOOD + "[throttle]\nper_account = 0\n", "throttle.per_account"),
    (GOOD + "[sync]\nmax_removed_share = 1.1\n", "sync.max_removed_share"),
    (GOOD + "[reconcile]\npoll_seconds = 0\n", "reconcile.poll_seconds"),
    (f'encryption_keys = ["{FERNET}"]\n', "secret_key: is required"),
    (f'secret_key = "{KEY}"\n', "encryption_keys: is required"),
    (f'secret_key = "{SECRET}"\nencryption_keys = ["{FERNET}"]\n', "secret_key: is shorter than 32"),
    (f'secret_key = ["{SECRET}"]\nencryption_keys = ["{FERNET}"]\n', "secret_key"),
    (f'secret_key = "{KEY}"\nencryption_keys = []\n', "encryption_keys: is empty"),
    (f'secret_key = "{KEY}"\nencryption_keys = ["{FERNET}", "{SECRET}"]\n', "encryption_keys: key 2 is not"),
    (GOOD + directory("l", "ldpa"), "directories[0]"),
    (GOOD + directory("Upper", "local"), "name"),
    (GOOD + LDAP + "servers = []\n", "servers"),
    (GOOD + LDAP + 'servers = ["http://h"]\n', "servers[0]: should look like ldaps://host:636"),
    (GOOD + LDAP + 'servers = ["ldap://h"]\nstart_tls = false\n', "would send passwords in the clear"),
    (GOOD + LDAP + 'servers = ["ldaps://a", "ldap://b"]\nstart_tls = false\n', "servers[1]: would send"),
    (GOOD + LDAP + 'servers = ["ldaps://h"]\nuser_filter = "(uid=x)"\n', "user_filter: should contain"),
    (GOOD + LDAP + 'servers = ["ldaps://h"]\nbind_template = "uid=x"\n', "bind_template: should contain"),
    (GOOD + directory("l", "ldap", 'servers = ["ldaps://h"]', 'group_base = "g"'), "user_base: is required"),
    (GOOD + directory("l", "ldap", 'servers = ["ldaps://h"]', 'user_base = "p"'), "group_base: is required"),
    (GOOD + OIDC + 'issuer = "http://i"\n', "issuer: should be https://"),
    (GOOD + OIDC + 'issuer = "i"\n', "issuer"),
    (GOOD + OIDC + 'issuer = "https://i"\nalgorithms = ["HS256"]\n', "algorithms[0]"),
    (GOOD + OIDC + 'issuer = "https://i"\nalgorithms = ["none"]\n', "algorithms[0]"),
    (GOOD + OIDC + 'issuer = "https://i"\nleeway_seconds = 121\n', "leeway_seconds"),
    (GOOD + LOCAL + directory("local", "local"), "'local' is used twice"),
    (GOOD + LOCAL + directory("two", "local"), "'two' and 'local' share the prefix"),
    (GOOD + LOCAL + directory("a", "local", 'username_prefix = "x,"'), "username_prefix"),
    (GOOD + '[roles]\nauditor = ["ldap:a"]\n' + LOCAL, "roles.auditor: 'ldap:a' should read directory:group"),
    (GOOD + '[roles]\napprover = ["nobody"]\n' + LOCAL, "roles.approver: 'nobody'"),
]


@pytest.mark.parametrize(("text", "says"), BAD_VALUES, ids=[says for _, says in BAD_VALUES])
def test_a_mistake_is_named_by_file_and_setting(load: Load, text: str, says: str) -> None:
    (found,) = mistakes(load, text)
    assert says in found
    assert "iam.toml: " in found


def test_every_mistake_is_reported_in_one_go(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBE_IAM_SECRT_KEY", SECRET)
    found = mistakes(
        load,
        f'secret_key = "{SECRET}"\nencryption_keys = ["{SECRET}"]\nlog_level = "loud"\ntypo = 1\n'
        "[server]\nport = -1\n" + OIDC
        + directory("l", "ldap", 'servers = ["ldap://h"]', "start_tls = false", 'user_filter = "x"'),
    )
    for part in ("SECRT_KEY", "secret_key", "encryption_keys", "log_level", "typo", "server.port",
                 "in the clear", "user_filter", "user_base", "group_base", "issuer"):
        assert any(part in line for line in found), part
    assert all("\n" not in line for line in found)


def test_two_mistakes_across_sections_are_both_reported(load: Load) -> None:
    roles = '[roles]\nauditor = ["x"]\napprover = ["y:z"]\n'
    found = mistakes(load, GOOD + LOCAL + directory("two", "local") + roles)
    assert len(found) == 3


@pytest.mark.parametrize("text", [f'a = "{SECRET}', f"a = {SECRET}", f'a = 1\na = "{SECRET}"', f'"{SECRET}'])
def test_what_is_not_toml_is_said_to_be_so(load: Load, text: str) -> None:
    (found,) = mistakes(load, text)
    assert "is not TOML" in found


def test_a_settings_file_that_cannot_be_read_is_named(load: Load, tmp_path: Path) -> None:
    (tmp_path / "bin").write_bytes(b"\xff\xfe" + SECRET.encode())
    for name, says in {"gone": "no such file", ".": "cannot be read", "bin": "cannot be read"}.items():
        with pytest.raises(Misconfigured, match=says) as caught:
            settings.load(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
        assert SECRET not in str(caught.value)


def test_the_file_can_be_named_in_the_environment(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    load(GOOD + 'instance = "named"\n')
    monkeypatch.setenv("KUBE_IAM_CONFIG", "iam.toml")
    assert settings.load().instance == "named"


def test_the_environment_is_stronger_setting_by_setting(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBE_IAM_SESSIONS__IDLE_MINUTES", "5")
    monkeypatch.setenv("KUBE_IAM_LOG_LEVEL", "debug")
    loaded = load('log_level = "error"\n' + GOOD + "[sessions]\nidle_minutes = 7\nabsolute_hours = 3\n")
    assert (loaded.log_level, loaded.sessions.idle_minutes, loaded.sessions.absolute_hours) == ("debug", 5, 3)


@pytest.mark.parametrize("name", ["SECRT_KEY", "SERVRE__PORT", "_SECRET_KEY", "SECRETKEY", "CONFIGURATION"])
def test_an_unknown_variable_is_named(load: Load, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"KUBE_IAM_{name}", SECRET)
    (found,) = mistakes(load, GOOD)
    assert f"KUBE_IAM_{name} is not a setting" in found


def test_an_unknown_variable_within_a_section_is_refused(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBE_IAM_SERVER__PROT", SECRET)
    (found,) = mistakes(load, GOOD)
    assert "server.prot: is not a setting" in found


def test_other_programs_variables_are_none_of_ours(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    monkeypatch.setenv("SECRET_KEY", "other")
    assert load(GOOD).secret_key.get_secret_value() == KEY


def test_secrets_come_from_files_without_the_last_newline(load: Load, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n", "utf-8")
    (tmp_path / "fernet").write_text(f"{FERNET},{OTHER_FERNET}\r\n", "utf-8")
    (tmp_path / "password").write_text(f" {SECRET} \n", "utf-8")
    loaded = load(
        'secret_key_file = "key"\nencryption_keys_file = "fernet"\n'
        + LDAP.replace(f'bind_password = "{SECRET}"', 'bind_password_file = "password"\nservers = ["ldaps://h"]')
    )
    assert loaded.secret_key.get_secret_value() == KEY
    assert [key.get_secret_value() for key in loaded.encryption_keys] == [FERNET, OTHER_FERNET]
    (ldap,) = loaded.directories
    assert isinstance(ldap, LdapSettings)
    assert ldap.bind_password.get_secret_value() == f" {SECRET} "


BAD_FILES = [
    (GOOD.replace(f'secret_key = "{KEY}"', 'secret_key_file = "nowhere"'), "secret_key_file: cannot be read"),
    ('secret_key_file = "iam.toml"\n' + GOOD, "secret_key_file: secret_key is given too"),
    (GOOD + directory("l", "local", 'bind_password_file = "nowhere"'), "bind_password_file: cannot be read"),
]


@pytest.mark.parametrize(("text", "says"), BAD_FILES, ids=["missing", "twice", "in a directory"])
def test_a_secret_file_that_does_not_work_is_named(load: Load, text: str, says: str) -> None:
    assert any(says in line for line in mistakes(load, text))


def test_a_ca_file_stays_a_path(load: Load) -> None:
    (ldap,) = load(GOOD + LDAP + 'servers = ["ldap://h"]\nca_file = "/etc/ca.pem"\n').directories
    assert isinstance(ldap, LdapSettings)
    assert ldap.ca_file == Path("/etc/ca.pem")


def test_plain_ldap_must_be_asked_for_by_name(load: Load) -> None:
    plain = 'servers = ["ldap://h"]\nstart_tls = false\ninsecure_plain = true\n'
    (ldap,) = load(GOOD + LDAP + plain).directories
    assert isinstance(ldap, LdapSettings)
    assert ldap.insecure_plain


def test_prefixes_keep_directories_apart(load: Load) -> None:
    loaded = load(GOOD + LOCAL + directory("two", "local", 'username_prefix = "two:"', 'title = "Two"'))
    found = [(each.username_prefix, each.label) for each in loaded.directories]
    assert found == [("", "local"), ("two:", "Two")]


@pytest.mark.parametrize(("url", "is_https"), [("https://iam.example", True), ("http://127.0.0.1", False)])
def test_cookies_are_secure_where_the_address_is(load: Load, url: str, is_https: bool) -> None:
    assert load(GOOD + f'[server]\npublic_url = "{url}"\n').server.is_https is is_https
