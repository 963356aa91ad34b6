"""Logging in through OpenID Connect: at a real provider what works, at a forged one what must not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
from pydantic import ValidationError
from rigs.broken_ldap import garbage_server, refusing_port, silent_server
from rigs.forged_provider import ForgedProvider
from rigs.forgeries import ELSEWHERE, GROUPS_UNKNOWN, REFUSED, Forgery
from rigs.openid_provider import OpenIDProvider

from iam.directory.base import Login, LoginRefused
from iam.directory.oidc import OidcDirectory
from iam.errors import Unavailable
from iam.settings.directories import OidcSettings

CALLBACK = "http://127.0.0.1/callback"
BYE = "http://127.0.0.1/goodbye"
ANNA: dict[str, object] = {
    "email": "anna@example.org", "email_verified": True, "name": "Anna Ek", "preferred_username": "Anna",
}  # fmt: skip
Provider = OpenIDProvider | ForgedProvider


def make(provider: Provider, **changes: Any) -> OidcDirectory:
    return OidcDirectory(OidcSettings.model_validate({
        "kind": "oidc", "name": "sso", "issuer": provider.issuer, "insecure_http": True, "timeout_seconds": 5,
        "client_id": provider.client_id, "client_secret": provider.client_secret,
        "scopes": ["openid", "profile", "email", "groups"], **changes,
    }))  # fmt: skip


def answer_of(provider: Provider, url: str, browser: requests.Session | None = None) -> dict[str, str]:
    if isinstance(provider, OpenIDProvider):
        back = provider.sign_in(url, "anna-1", browser=browser)
    else:
        back = requests.get(url, allow_redirects=False, timeout=5).headers["location"]
    return dict(parse_qsl(urlsplit(back).query))


def login(provider: Provider, sso: OidcDirectory, browser: requests.Session | None = None) -> Login:
    begun = sso.begin(CALLBACK)
    return sso.finish(CALLBACK, answer_of(provider, begun.url, browser), begun.transaction)


@pytest.fixture
def real(openid_provider: OpenIDProvider) -> OpenIDProvider:
    openid_provider.set_account("anna-1", {**ANNA, "groups": ["developers", "ops"]})
    return openid_provider


@pytest.fixture
def forged() -> Iterator[ForgedProvider]:
    with ForgedProvider() as provider:
        yield provider


def test_a_person_comes_with_canonical_name_and_groups(real: OpenIDProvider) -> None:
    anna = login(real, make(real, username_prefix="sso:")).identity
    assert (anna.directory, anna.subject, anna.username) == ("sso", "anna-1", "sso:anna")
    assert (anna.display_name, anna.email) == ("Anna Ek", "anna@example.org")
    assert anna.groups == {"developers", "ops"}


@pytest.fixture(scope="module")
def by_userinfo() -> Iterator[OpenIDProvider]:
    with OpenIDProvider([CALLBACK], groups_in="userinfo") as provider:
        yield provider


@pytest.mark.parametrize("place", ["id_token", "userinfo"])
def test_groups_missing_are_told_from_groups_empty(real: OpenIDProvider, by_userinfo: OpenIDProvider, place: str) -> None:
    provider = real if place == "id_token" else by_userinfo
    for given, found in ((["developers"], {"developers"}), ([], set()), ("developers", {"developers"})):
        provider.set_account("anna-1", {**ANNA, "groups": given})
        assert login(provider, make(provider)).identity.groups == found
    provider.set_account("anna-1", ANNA)
    with pytest.raises(LoginRefused, match="missing"):
        login(provider, make(provider))
    assert login(provider, make(provider, groups_required=False)).identity.groups == set()


@pytest.mark.parametrize("groups", [{"a": 1}, 7, [7], [["developers"]], None, [None]])
def test_groups_of_another_shape_are_refused(real: OpenIDProvider, groups: object) -> None:
    real.set_account("anna-1", {**ANNA, "groups": groups})
    with pytest.raises(LoginRefused):
        login(real, make(real))


def test_reserved_groups_never_come_through_and_reserved_names_never_get_in(real: OpenIDProvider) -> None:
    real.set_account("anna-1", {**ANNA, "groups": ["system:masters", "SYSTEM:nodes", "", "in\u200bvisible", "fine"]})
    assert login(real, make(real)).identity.groups == {"fine"}
    for name in ("system:admin", "System:Admin", "an na", "a" * 300, "an\u200bna", "", 7):
        real.set_account("anna-1", {**ANNA, "preferred_username": name, "groups": []})
        with pytest.raises(LoginRefused):
            login(real, make(real))


@pytest.mark.parametrize("verified", [False, None, "true"])
def test_an_address_becomes_a_name_only_when_verified(real: OpenIDProvider, verified: object) -> None:
    by_mail = make(real, username_claim="email")
    real.set_account("anna-1", {**ANNA, "groups": []})
    assert login(real, by_mail).identity.username == "anna@example.org"
    real.set_account("anna-1", {**ANNA, "groups": [], "email_verified": verified})
    with pytest.raises(LoginRefused, match="verified"):
        login(real, by_mail)


def test_rotated_keys_are_fetched_anew(real: OpenIDProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iam.directory.oidc_provider._KEYS_AGAIN_SECONDS", 0.0)
    sso = make(real)
    assert login(real, sso).identity == login(real, sso).identity
    for keep_old in (True, False):
        real.rotate_keys(keep_old=keep_old)
        assert login(real, sso).identity.username == "anna"


def test_the_answer_of_another_browser_is_refused(real: OpenIDProvider) -> None:
    sso = make(real)
    ours, theirs = sso.begin(CALLBACK), sso.begin(CALLBACK)
    answer = answer_of(real, theirs.url)
    with pytest.raises(LoginRefused, match="state"):
        sso.finish(CALLBACK, answer, ours.transaction)
    with pytest.raises(LoginRefused):  # their code under our state: the PKCE verifier is not theirs
        sso.finish(CALLBACK, {**answer, "state": ours.transaction["state"]}, ours.transaction)


@pytest.mark.parametrize("changes", [{"code": "made-up"}, {"code": ""}, {"iss": ELSEWHERE}, {"error": "access_denied"}])
def test_an_answer_that_was_tampered_with_is_refused(real: OpenIDProvider, changes: dict[str, str]) -> None:
    sso = make(real)
    begun = sso.begin(CALLBACK)
    answer = answer_of(real, begun.url)
    for tampered in ({**answer, **changes}, {name: answer[name] for name in answer if name not in changes}):
        if tampered != answer:
            with pytest.raises(LoginRefused):
                sso.finish(CALLBACK, tampered, begun.transaction)


def test_the_logout_url_ends_the_session_at_the_provider(real: OpenIDProvider) -> None:
    real.register(CALLBACK + "/bye", BYE)
    sso, browser = make(real), requests.Session()
    done = login(real, sso, browser)
    url = sso.logout_url(done.logout, BYE)
    assert url is not None
    assert real.sign_out(url, browser=browser).startswith(BYE)
    again = browser.get(sso.begin(CALLBACK).url + "&prompt=none", allow_redirects=False, timeout=5)
    assert "error=login_required" in again.headers["location"]


def test_a_wrong_client_secret_lets_nobody_in(real: OpenIDProvider) -> None:
    with pytest.raises(LoginRefused):
        login(real, make(real, client_secret="wrong"))


@pytest.mark.real_part("openid_provider")
def test_a_provider_that_goes_away_is_unavailable_at_every_step(by_userinfo: OpenIDProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iam.directory.oidc_provider._BROKEN_SECONDS", 0.0)
    by_userinfo.set_account("anna-1", {**ANNA, "groups": ["developers"]})
    sso = make(by_userinfo)
    begun = sso.begin(CALLBACK)
    answer = answer_of(by_userinfo, begun.url)
    by_userinfo.stop()
    with pytest.raises(Unavailable):
        sso.finish(CALLBACK, answer, begun.transaction)
    fresh = make(by_userinfo)
    with pytest.raises(Unavailable):
        fresh.begin(CALLBACK)
    by_userinfo.start()
    assert login(by_userinfo, fresh).identity.groups == {"developers"}


def test_a_flawless_forgery_logs_in(forged: ForgedProvider) -> None:
    assert login(forged, make(forged)).identity.groups == {"developers"}
    with forged.forging(Forgery(seconds={"exp": -20, "iat": -3600})):  # within the leeway
        assert login(forged, make(forged)).identity.username == "anna"


@pytest.mark.parametrize("forgery", REFUSED.values(), ids=REFUSED)
def test_a_forgery_is_refused(forged: ForgedProvider, forgery: Forgery) -> None:
    sso = make(forged)
    if forgery.discovery:
        with forged.forging(forgery), pytest.raises(Unavailable):
            sso.begin(CALLBACK)
        return
    # Without `name` in the token, userinfo is asked; a directory that knows enough does not ask.
    with forged.forging(replace(forgery, without=(*forgery.without, "name"))), pytest.raises(LoginRefused):
        login(forged, sso)


@pytest.mark.parametrize("forgery", GROUPS_UNKNOWN.values(), ids=GROUPS_UNKNOWN)
def test_groups_that_cannot_be_known_are_refused(forged: ForgedProvider, forgery: Forgery) -> None:
    with forged.forging(forgery), pytest.raises(LoginRefused):
        login(forged, make(forged))
    if forgery.claims:  # an overage is not "no groups", even where groups are optional
        with forged.forging(forgery), pytest.raises(LoginRefused, match="overage"):
            login(forged, make(forged, groups_required=False))


def test_userinfo_without_a_subject_or_a_signature_adds_nothing_of_its_own(forged: ForgedProvider) -> None:
    nameless = Forgery(without=("name",), userinfo={"preferred_username": "eve", "groups": ["admins"]})
    with forged.forging(nameless):
        found = login(forged, make(forged)).identity
    assert found.username == "anna"
    assert found.groups == {"developers"}
    with forged.forging(replace(nameless, userinfo_without=("sub",))), pytest.raises(LoginRefused):
        login(forged, make(forged))


def test_forged_tokens_cause_no_flood_of_requests(forged: ForgedProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iam.directory.oidc_provider._KEYS_AGAIN_SECONDS", 600.0)
    sso, unknown = make(forged), REFUSED["signed by another key under an unknown id"]
    for _ in range(5):
        with forged.forging(unknown), pytest.raises(LoginRefused):
            login(forged, sso)
    assert forged.requests.count("GET /jwks") == 1


@pytest.mark.parametrize("status", [302, 404, 429, 500])
@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/jwks", "/userinfo"])
def test_a_provider_that_answers_with_errors_is_unavailable(forged: ForgedProvider, path: str, status: int) -> None:
    with forged.forging(Forgery(status={path: status}, without=("name",))), pytest.raises(Unavailable):
        login(forged, make(forged))


TOKENS: list[object] = [[], ["x"], "x", None, {"id_token": 7}, {"id_token": "x", "access_token": "y"}]
KEYS: list[object] = [
    {},
    *({"keys": keys} for keys in (7, [7], [{"kty": "RSA"}], [{"kty": "oct", "k": "YQ"}])),
]


@pytest.mark.parametrize(("what", "answer"), [*(("token", token) for token in TOKENS), *(("jwks", keys) for keys in KEYS)])
def test_an_endpoint_that_talks_nonsense_lets_nobody_in(
    forged: ForgedProvider, monkeypatch: pytest.MonkeyPatch, what: str, answer: object
) -> None:
    monkeypatch.setattr(forged, what, lambda *asked: answer)
    with pytest.raises((LoginRefused, Unavailable)):
        login(forged, make(forged))


@pytest.mark.parametrize("name", ["authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint"])
@pytest.mark.parametrize("url", [7, "javascript:alert(1)", "file:///x", "https://"])
def test_discovery_that_leads_astray_is_unavailable(forged: ForgedProvider, name: str, url: object) -> None:
    with forged.forging(Forgery(discovery={name: url})), pytest.raises(Unavailable):
        make(forged).begin(CALLBACK)


OK = b"HTTP/1.1 200 OK\r\n"
BODIES = {
    "no JSON": OK + b"Content-Length: 5\r\n\r\nhello",
    "a body that never ends": OK + b"Content-Length: 1000\r\n\r\n{",
    "chunks that are none": OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a coding that is none": OK + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello",
    "no HTTP": b"SSH-2.0-OpenSSH\r\n\r\n",
    "nonsense": None,
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_provider_that_talks_garbage_is_unavailable(body: bytes | None, forged: ForgedProvider) -> None:
    with garbage_server(body) as server:
        forged.issuer = f"http://127.0.0.1:{server.port}"
        with pytest.raises(Unavailable):
            make(forged, timeout_seconds=0.5).check()


def test_a_silent_provider_is_given_up_in_time(forged: ForgedProvider) -> None:
    started = time.monotonic()
    with silent_server() as server, refusing_port() as refusing:
        for port in (server.port, refusing):
            forged.issuer = f"http://127.0.0.1:{port}"
            with pytest.raises(Unavailable):
                make(forged, timeout_seconds=0.5).begin(CALLBACK)
    assert time.monotonic() - started < 10


def test_plain_http_wants_an_explicit_setting(forged: ForgedProvider) -> None:
    with pytest.raises(ValidationError, match="https"):
        make(forged, insecure_http=False)
