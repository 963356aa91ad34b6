"""Each rig starts for real and does one real thing."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import socket
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import ldap3
import psycopg
import pytest
import requests
from joserfc import jwt
from joserfc.jwk import KeySet
from ldap3.core.exceptions import LDAPExceptionError, LDAPInvalidCredentialsResult
from sqlalchemy import create_engine, text

from .broken_ldap import bare_disconnect_server, garbage_server, refusing_port, silent_server
from .chromium import Chromium, axe_violations
from .forged_provider import ForgedProvider
from .forgeries import GROUPS_UNKNOWN, REFUSED, Forgery
from .openid_provider import SOURCE, OpenIDProvider
from .postgres import Postgres
from .processes import ChildProcess, RigMissing, StartFailed, accepts_connections, find_binary
from .slapd import Slapd

CALLBACK = "http://127.0.0.1/callback"


def test_a_missing_binary_says_where_it_was_looked_for() -> None:
    with pytest.raises(RigMissing, match=r"no-such-thing not found; looked in /usr/lib/nowhere/\*, PATH"):
        find_binary("no-such-thing", "/usr/lib/nowhere/*")


def test_a_part_that_ends_at_once_shows_its_log(tmp_path: Path) -> None:
    child = ChildProcess(["sh", "-c", "echo broken config; exit 3"], log=tmp_path / "log")
    with pytest.raises(StartFailed, match="broken config"):
        child.start(lambda: False)


def starttls(slapd: Slapd, dn: str, password: str) -> ldap3.Connection:
    tls = ldap3.Tls(validate=ssl.CERT_REQUIRED, ca_certs_file=slapd.ca_file, valid_names=["127.0.0.1"])
    server = ldap3.Server(slapd.uri, tls=tls, get_info=ldap3.NONE, connect_timeout=5)
    order = ldap3.AUTO_BIND_TLS_BEFORE_BIND
    return ldap3.Connection(server, dn, password, auto_bind=order, raise_exceptions=True, receive_timeout=5)


def test_slapd_binds_over_verified_starttls_and_knows_memberof(slapd: Slapd) -> None:
    anna = slapd.add_person("anna", "Anna Ek", "anna@example.org", "correct horse")
    slapd.add_group("developers", [anna])
    before = slapd.operations()
    with starttls(slapd, anna, "correct horse") as connection:
        connection.search(anna, "(objectClass=*)", attributes=["memberOf", "entryUUID"])
        assert connection.response is not None
        assert connection.response[0]["attributes"]["memberOf"] == [f"cn=developers,{slapd.groups}"]
    with pytest.raises(LDAPInvalidCredentialsResult):
        starttls(slapd, anna, "wrong")
    after = slapd.operations()
    assert after["bind"] - before["bind"] == 2
    assert after["search"] - before["search"] == 1
    slapd.clear()


def test_slapd_keeps_data_and_port_over_a_restart(slapd: Slapd) -> None:
    person = slapd.add_person("bo", "Bo", "bo@example.org", None)
    slapd.stop()
    assert not accepts_connections(slapd.port)
    slapd.start()
    slapd.modify(person, {"mail": ["bo@example.com", "b@example.com"]})
    group = slapd.add_group("empty", [])
    slapd.add_member(group, person)
    slapd.remove_member(group, slapd.empty_group_member)
    slapd.remove_member(group, person)
    slapd.load(f"dn: cn=loaded,{slapd.groups}\nobjectClass: groupOfNames\ncn: loaded\nmember: {person}\n")
    slapd.delete(person)
    slapd.clear()


@pytest.mark.real_part("slapd")
def test_slapd_certificate_of_another_host_fails_verification() -> None:
    with Slapd(certificate_host="elsewhere.example.org") as slapd:
        context = ssl.create_default_context(cafile=slapd.ca_file)
        address = ("127.0.0.1", slapd.ldaps_port)
        with socket.create_connection(address) as plain, pytest.raises(ssl.SSLCertVerificationError):
            context.wrap_socket(plain, server_hostname="127.0.0.1")
        with socket.create_connection(address) as plain:
            context.wrap_socket(plain, server_hostname="elsewhere.example.org").close()


@pytest.mark.real_part("slapd")
def test_slapd_resolves_nested_groups_with_dynlist() -> None:
    slapd = Slapd(member_of="dynlist")
    person, inner = f"uid=cy,{slapd.people}", f"cn=inner,{slapd.groups}"
    slapd.load(
        f"dn: {person}\nobjectClass: inetOrgPerson\nuid: cy\ncn: Cy\nsn: Cy\n\n"
        f"dn: {inner}\nobjectClass: groupOfNames\ncn: inner\nmember: {person}\n\n"
        f"dn: cn=outer,{slapd.groups}\nobjectClass: groupOfNames\ncn: outer\nmember: {inner}\n"
    )
    with slapd:
        slapd.admin.search(person, "(objectClass=*)", attributes=["memberOf"])
        assert slapd.admin.response is not None
        assert set(slapd.admin.response[0]["attributes"]["memberOf"]) == {inner, f"cn=outer,{slapd.groups}"}


def test_broken_directories_break_as_named() -> None:
    hang_ups = (bare_disconnect_server(), bare_disconnect_server(reset=True))
    for broken in (silent_server(), garbage_server(), *hang_ups):
        with broken as server:
            where = ldap3.Server(server.uri, get_info=ldap3.NONE, connect_timeout=1)
            with pytest.raises((LDAPExceptionError, IndexError, OSError)):
                ldap3.Connection(where, receive_timeout=1, auto_bind=ldap3.AUTO_BIND_NO_TLS)
            assert server.connections == 1
            assert server.received
    with refusing_port() as port, pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=1)


class Login:
    """Code flow with PKCE, by hand."""

    def __init__(self, provider: OpenIDProvider | ForgedProvider) -> None:
        self.provider, self.verifier = provider, secrets.token_urlsafe(48)
        self.endpoints = requests.get(f"{provider.issuer}/.well-known/openid-configuration", timeout=5).json()

    def url(self, **more: str) -> str:
        digest = hashlib.sha256(self.verifier.encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        query = {
            "client_id": self.provider.client_id, "response_type": "code", "redirect_uri": CALLBACK,
            "scope": "openid profile email groups", "state": "s1", "nonce": "n1",
            "code_challenge": challenge, "code_challenge_method": "S256", **more,
        }  # fmt: skip
        return f"{self.endpoints['authorization_endpoint']}?{urlencode(query)}"

    def redeem(self, callback: str) -> dict[str, Any]:
        answer = {name: values[0] for name, values in parse_qs(urlsplit(callback).query).items()}
        assert (answer["state"], answer["iss"]) == ("s1", self.provider.issuer)
        form = {"code": answer["code"], "redirect_uri": CALLBACK, "code_verifier": self.verifier}
        return self.token(grant_type="authorization_code", **form)

    def token(self, **form: str) -> dict[str, Any]:
        client = (self.provider.client_id, self.provider.client_secret)
        answer = requests.post(self.endpoints["token_endpoint"], data=form, auth=client, timeout=5)
        answer.raise_for_status()
        return dict(answer.json())

    def claims(self, id_token: str) -> dict[str, Any]:
        keys = KeySet.import_key_set(requests.get(self.endpoints["jwks_uri"], timeout=5).json())
        return dict(jwt.decode(id_token, keys, algorithms=["RS256"]).claims)

    def userinfo(self, access_token: str) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {access_token}"}
        return dict(requests.get(self.endpoints["userinfo_endpoint"], headers=headers, timeout=5).json())


ANNA = {"email": "anna@example.org", "email_verified": True, "name": "Anna", "preferred_username": "anna"}


def test_openid_login_refresh_rotation_and_logout(openid_provider: OpenIDProvider) -> None:
    openid_provider.forget_accounts()  # others may have an Anna of their own
    openid_provider.set_account("sub-1", {**ANNA, "groups": ["developers"]})
    openid_provider.register(CALLBACK + "/2", "http://127.0.0.1/bye")
    login, browser = Login(openid_provider), requests.Session()
    tokens = login.redeem(openid_provider.sign_in(login.url(), "anna", browser=browser))
    claims = login.claims(tokens["id_token"])
    assert (claims["sub"], claims["nonce"], claims["groups"]) == ("sub-1", "n1", ["developers"])
    openid_provider.set_account("sub-1", {**ANNA, "groups": ["admins"]})
    openid_provider.rotate_keys()
    refreshed = login.token(grant_type="refresh_token", refresh_token=tokens["refresh_token"])
    assert login.claims(refreshed["id_token"])["groups"] == ["admins"]
    goodbye = {"post_logout_redirect_uri": "http://127.0.0.1/bye", "state": "x"}
    query = urlencode({"id_token_hint": refreshed["id_token"], **goodbye})
    end_session = f"{login.endpoints['end_session_endpoint']}?{query}"
    assert openid_provider.sign_out(end_session, browser=browser) == "http://127.0.0.1/bye?state=x"
    refused = browser.get(login.url(prompt="none"), allow_redirects=False, timeout=5)
    assert "error=login_required" in refused.headers["location"]


@pytest.mark.real_part("openid_provider")
def test_openid_login_hint_groups_from_userinfo_and_restart() -> None:
    with OpenIDProvider([CALLBACK], groups_in="userinfo", extra_claims=["department"]) as provider:
        provider.set_account("sub-2", {**ANNA, "groups": ["developers"], "department": "mail"})
        login = Login(provider)
        tokens = login.redeem(provider.sign_in(login.url(login_hint="sub-2"), "nobody"))
        claims = login.claims(tokens["id_token"])
        assert "groups" not in claims
        assert claims["department"] == "mail"
        assert login.userinfo(tokens["access_token"])["groups"] == ["developers"]
        provider.stop()
        assert not accepts_connections(provider.port)
        provider.start()
        assert login.claims(tokens["id_token"]) == claims
        refused = requests.get(login.url(code_challenge=""), allow_redirects=False, timeout=5)
        assert "error=invalid_request" in refused.headers["location"]
        assert requests.post(f"{provider.issuer}/test/rotate-keys", timeout=5).status_code == 403


def test_openid_lock_file_names_no_registry() -> None:
    lock = json.loads((SOURCE / "package-lock.json").read_text())
    assert not [name for name, package in lock["packages"].items() if "resolved" in package]


def test_forged_provider_is_flawless_until_told_otherwise() -> None:
    with ForgedProvider() as provider:
        login = Login(provider)
        callback = requests.get(login.url(), allow_redirects=False, timeout=5).headers["location"]
        assert login.claims(login.redeem(callback)["id_token"])["groups"] == ["developers"]
        for forgery in (*REFUSED.values(), *GROUPS_UNKNOWN.values()):
            with provider.forging(forgery):
                assert provider.id_token("n1").count(".") == 2
        with provider.forging(REFUSED["no issuer in the answer (RFC 9207)"]):
            callback = requests.get(login.url(), allow_redirects=False, timeout=5).headers["location"]
            assert "iss=" not in callback
        with provider.forging(Forgery(status={"/jwks": 500})):
            assert requests.get(login.endpoints["jwks_uri"], timeout=5).status_code == 500
        assert "GET /jwks" in provider.requests


def test_postgres_answers_and_keeps_data_over_a_restart(postgres: Postgres) -> None:
    engine = create_engine(postgres.create_database("rig"))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE kept (it int)"))
        assert connection.execute(text("SELECT 1")).scalar_one() == 1
    engine.dispose()
    postgres.stop()
    postgres.start()
    with engine.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM kept")).scalar_one() == 0
    postgres.drop_database("rig")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(postgres.url("rig").replace("+psycopg", ""))


def test_chromium_themes_languages_and_axe(chromium: Chromium) -> None:
    with chromium.page("dark", width=400, locale="zh-CN") as page:
        page.set_content("<html lang=zh><title>t</title><main><h1>中文</h1><img src='data:,'></main>")
        assert page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
        assert page.evaluate("[innerWidth, navigator.language]") == [400, "zh-CN"]
        assert [violation.rule for violation in axe_violations(page)] == ["image-alt"]
    with chromium.page() as page:
        page.set_content("<html lang=en><title>t</title><main><h1>fine</h1></main>")
        assert axe_violations(page) == []
