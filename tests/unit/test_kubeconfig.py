"""Kubeconfigs: written for people, read from administrators with suspicion."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml

from iam.errors import Invalid
from iam.kube import certificates
from iam.kube.kubeconfig import Access, Entry, check_access, check_server, read, write

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SECRET = "hunter2-recognisable"
CA, CA_KEY = (pem.decode() for pem in certificates.new_ca("ca", NOW, timedelta(days=1)))
KEY = certificates.new_key()
KEY_PEM = certificates.key_pem(KEY).decode()
OTHER_KEY = certificates.key_pem(certificates.new_key()).decode()
CERTIFICATE = certificates.sign(
    certificates.new_request(KEY, "admin"), CA.encode(), CA_KEY.encode(), timedelta(hours=1), NOW
).decode()
SERVER = "https://api.example.com:6443"
INLINE_CERTIFICATE = "client-certificate-data"
INLINE_KEY = "client-key-data"


def inline(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


PAIR = {INLINE_CERTIFICATE: inline(CERTIFICATE), INLINE_KEY: inline(KEY_PEM)}
Section = dict[str, Any]


def document(*, cluster: Section | None = None, user: Section | None = None, **top: Any) -> Section:
    inner = {"server": SERVER, "certificate-authority-data": inline(CA)} | (cluster or {})
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "admin@prod",
        "contexts": [{"name": "admin@prod", "context": {"cluster": "prod", "user": "admin"}}],
        "clusters": [{"name": "prod", "cluster": inner}],
        "users": [{"name": "admin", "user": {"token": SECRET} if user is None else user}],
    } | top


def refused(config: Section | str, why: str, field: str = "kubeconfig") -> None:
    """Reading it must fail for this reason, and the message must keep the secret."""
    with pytest.raises(Invalid, match=why) as caught:
        read(config if isinstance(config, str) else yaml.safe_dump(config))
    assert caught.value.field == field
    assert SECRET not in str(caught.value)


def entry(cluster: str = "prod", **changes: Any) -> Entry:
    values: Section = {"server": SERVER, "ca_pem": CA, "username": "alice", "certificate_pem": CERTIFICATE}
    return Entry(cluster=cluster, **values | changes)


def test_what_is_written_is_a_kubeconfig_with_everything_inline() -> None:
    config = yaml.safe_load(write([entry(key_pem=KEY_PEM)]))
    assert (config["apiVersion"], config["kind"], config["current-context"]) == ("v1", "Config", "alice@prod")
    (cluster,), (user,), (context,) = config["clusters"], config["users"], config["contexts"]
    assert cluster == document()["clusters"][0]
    assert user == {"name": "alice@prod", "user": PAIR}
    assert context == {"name": "alice@prod", "context": {"cluster": "prod", "user": "alice@prod"}}


def test_a_key_of_ones_own_is_named_by_its_path_only() -> None:
    (user,) = yaml.safe_load(write([entry(key_path="/home/alice/key.pem")]))["users"]
    assert user["user"] == {INLINE_CERTIFICATE: inline(CERTIFICATE), "client-key": "/home/alice/key.pem"}


def test_the_first_of_several_clusters_is_current() -> None:
    config = yaml.safe_load(write([entry("a"), entry("b")]))
    assert config["current-context"] == "alice@a"
    assert [item["name"] for item in config["contexts"]] == ["alice@a", "alice@b"]


def test_a_kubeconfig_without_clusters_is_still_one() -> None:
    config = yaml.safe_load(write([]))
    assert (config["kind"], config["current-context"], config["clusters"]) == ("Config", "", [])


def test_what_is_written_with_its_key_can_be_read() -> None:
    access = read(write([entry(key_pem=KEY_PEM), entry("b", server="https://b", key_pem=KEY_PEM)]))
    assert access == Access(SERVER, CA.strip() + "\n", "", CERTIFICATE, KEY_PEM)


def test_another_context_can_be_named() -> None:
    text = write([entry(key_pem=KEY_PEM), entry("b", server="https://b", key_pem=KEY_PEM)])
    assert read(text, "alice@b").server == "https://b"
    with pytest.raises(Invalid, match="no context of the name"):
        read(text, "alice@c")


def test_a_token_is_a_credential_and_json_is_fine() -> None:
    assert read(json.dumps(document())) == Access(SERVER, CA, SECRET)


def test_nothing_secret_shows_when_an_access_is_printed() -> None:
    access = Access(SERVER, CA, SECRET, CERTIFICATE, KEY_PEM)
    for shown in (repr(access), str(access), f"{access}", repr([access])):
        assert SECRET not in shown
        assert "PRIVATE KEY" not in shown


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("exec", {"command": "sh", "args": [SECRET]}),
        ("auth-provider", {"name": "oidc", "config": {"refresh-token": SECRET}}),
        ("tokenFile", "/etc/passwd"), ("client-certificate", "/etc/passwd"), ("client-key", "/root/.ssh/id"),
        ("username", "admin"), ("password", SECRET), ("as", "root"), ("as-uid", "0"),
        ("as-groups", ["system:masters"]), ("as-user-extra", {"a": ["b"]}),
    ],
)
@pytest.mark.parametrize("besides", [{}, {"token": SECRET}], ids=["alone", "beside a token"])
def test_a_user_that_is_more_than_inline_data_is_refused(key: str, value: object, besides: Section) -> None:
    refused(document(user={key: value} | besides), f"'{key}'")


@pytest.mark.parametrize(
    ("key", "value"),
    [("certificate-authority", "/ca"), ("insecure-skip-tls-verify", True), ("proxy-url", f"http://u:{SECRET}@p")],
)
def test_a_cluster_that_is_not_reached_directly_and_verified_is_refused(key: str, value: object) -> None:
    refused(document(cluster={key: value}), f"'{key}'")


def test_a_refused_key_of_another_user_does_not_matter() -> None:
    config = document()
    config["users"].append({"name": "other", "user": {"exec": {"command": "sh"}}})
    assert read(yaml.safe_dump(config)).token == SECRET


BILLION_LAUGHS = "kind: Config\na0: &a0 [lol]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
)


@pytest.mark.parametrize(
    "text",
    [BILLION_LAUGHS, "kind: Config\nx: &x [*x]", "kind: Config\nbase: &b {a: 1}\nmore: {<<: *b}"],
    ids=["a billion laughs", "a loop", "a merge"],
)
def test_aliases_are_refused_before_they_are_followed(text: str) -> None:
    refused(text, "aliases")


def test_stars_and_ampersands_in_values_are_no_aliases() -> None:
    assert read(yaml.safe_dump(document(extensions=["a & b", "*c"]))).token == SECRET


@pytest.mark.parametrize(
    "text",
    [
        "{", "a: b: c", "\0", "kind: Config\n\tx: 1", "[" * 5000, "kind: Config\n---\nkind: Config",
    ],
    ids=range(6),
)
def test_what_is_not_yaml_is_refused(text: str) -> None:
    refused(text, "neither YAML nor JSON")


@pytest.mark.parametrize("text", ["", "hello", "[]", "3", "kind: Pod", "apiVersion: v1", "null"])
def test_what_is_no_kubeconfig_is_refused(text: str) -> None:
    refused(text, "not a kubeconfig")


def test_more_than_256_kib_are_not_even_parsed() -> None:
    refused(f"{write([])}# {'x' * 256 * 1024}", "256 KiB")


@pytest.mark.parametrize(
    "top",
    [
        {"current-context": ""}, {"current-context": "nowhere"}, {"current-context": None},
        {"current-context": 7}, {"contexts": None}, {"contexts": []}, {"contexts": {}},
        {"contexts": [None, "x", {"name": "admin@prod"}]},
        {"contexts": [{"name": "admin@prod", "context": "prod"}]}, {"clusters": []}, {"users": None},
    ],
    ids=str,
)
def test_a_kubeconfig_that_leads_nowhere_is_refused(top: Section) -> None:
    refused(document(**top), "has no (context|cluster|user)")


@pytest.mark.parametrize("garbage", ["!!!", "YWJj*", "a", base64.b64encode(b"\xff\xfe").decode()])
@pytest.mark.parametrize("key", [INLINE_CERTIFICATE, INLINE_KEY])
def test_inline_data_that_is_no_base64_text_is_refused(key: str, garbage: str) -> None:
    refused(document(user={key: garbage, "token": SECRET}), "not base64")
    refused(document(cluster={"certificate-authority-data": garbage}), "not base64")


def test_a_ca_that_is_no_certificate_is_refused() -> None:
    config = document(cluster={"certificate-authority-data": inline(KEY_PEM)})
    refused(config, "not a PEM certificate", "ca_pem")


@pytest.mark.parametrize(
    "user",
    [{}, PAIR | {INLINE_KEY: ""}, PAIR | {INLINE_CERTIFICATE: ""}, {"token": ""}, {"token": [5]}],
    ids=["nothing", "no key", "no certificate", "empty", "list"],
)
def test_half_a_credential_is_refused(user: Section) -> None:
    refused(document(user=user), "no token and no client certificate", "credential")


def test_a_key_of_another_certificate_is_refused() -> None:
    refused(document(user=PAIR | {INLINE_KEY: inline(OTHER_KEY)}), "does not belong", "credential")


NO_PAIRS = [("junk", KEY_PEM), (CERTIFICATE, "junk"), (KEY_PEM, CERTIFICATE)]


@pytest.mark.parametrize(("certificate", "key"), NO_PAIRS, ids=range(3))
def test_a_pair_that_is_no_pem_is_refused(certificate: str, key: str) -> None:
    with pytest.raises(Invalid, match="not unencrypted PEM"):
        check_access(Access(SERVER, CA, "", certificate, key))


@pytest.mark.parametrize("token", ["a b", "a\r\nX-Evil: 1", "tök", "a\0b", "\x7f"], ids=ascii)
def test_a_token_that_could_break_a_header_is_refused(token: str) -> None:
    with pytest.raises(Invalid, match="token"):
        check_access(Access(SERVER, CA, token))


@pytest.mark.parametrize(
    "server",
    [
        "", "api.example.com", "http://h", "ftp://h", "//h", "file:///etc/passwd", "https://", "https:///x",
        "https://:6443", f"https://admin:{SECRET}@h", "https://admin@h", "https://h?a=b", "https://h#a",
        "https://h:0", "https://h:65536", "https://h:port", "https://[::1", "https://good\\@evil",
    ],
)
def test_a_server_that_is_no_plain_https_address_is_refused(server: str) -> None:
    refused(document(cluster={"server": server}), "address", "server")


@pytest.mark.parametrize("server", [SERVER, "https://[::1]:6443", "https://rancher/k8s/clusters/c-1", "HTTPS://h"])
def test_an_https_address_is_taken_without_its_last_slash(server: str) -> None:
    assert check_server(server) == check_server(f"{server}/") == server
