"""A real OpenID Provider: panva's oidc-provider under Node, see openid/provider.mjs."""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self
from urllib.parse import urljoin

import requests

from .processes import LOOPBACK, ChildProcess, RigMissing, find_binary, first_line, free_port

NODE_MODULES = "KUBE_IAM_NODE_MODULES"
SOURCE = Path(__file__).parent / "openid"
Claims = Mapping[str, object]
_MOST_REDIRECTS = 20


class OpenIDProvider:
    """An OpenID Provider with one client. Keys, accounts and port outlive `stop()` and `start()`.

    PKCE is required, refresh tokens are given, answers carry `iss` (RFC 9207). `groups` wants the scope
    `groups` and comes in the ID token and from userinfo, or with `groups_in="userinfo"` only from there.
    `extra_claims` names further claims that come with every `openid` request.
    """

    client_id = "kube-iam"
    client_secret = "openid-client-secret"

    def __init__(
        self,
        redirect_uris: Sequence[str],
        *,
        post_logout_redirect_uris: Sequence[str] = (),
        groups_in: Literal["id_token", "userinfo"] = "id_token",
        extra_claims: Sequence[str] = (),
    ) -> None:
        node = find_binary("node")
        modules = install()
        self._temporary = tempfile.TemporaryDirectory(prefix="kube-iam-openid-")
        self._folder = Path(self._temporary.name)
        self._test_token = secrets.token_urlsafe()
        self._redirect_uris = list(redirect_uris)
        self._post_logout_redirect_uris = list(post_logout_redirect_uris)
        self._accounts: dict[str, Claims] = {}
        self.port = free_port()
        self.issuer = f"http://{LOOPBACK}:{self.port}"
        self._write("settings.json", {
            "issuer": self.issuer,
            "port": self.port,
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "groups_in": groups_in,
            "extra_claims": list(extra_claims),
            "test_token": self._test_token,
        })  # fmt: skip
        self._write_state()
        self.process = ChildProcess(
            [node, SOURCE / "provider.mjs", self._folder],
            log=self._folder / "provider.log",
            env={NODE_MODULES: str(modules)},
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._temporary.cleanup()

    def start(self) -> None:
        """Start the provider, on the port and with the keys it had before."""
        self.process.start(self._answers)

    def stop(self) -> None:
        """Stop the provider; its port refuses connections."""
        self.process.stop()

    @property
    def accounts(self) -> dict[str, Claims]:
        """The accounts' claims by subject; a copy."""
        return dict(self._accounts)

    def set_account(self, sub: str, claims: Claims) -> None:
        """Add or replace an account: email, email_verified, name, preferred_username, groups."""
        self._accounts[sub] = dict(claims)
        self._write_state()

    def remove_account(self, sub: str) -> None:
        """Forget an account; its refresh tokens stop working."""
        self._accounts.pop(sub, None)
        self._write_state()

    def forget_accounts(self) -> None:
        """Forget every account: what other tests left in a shared provider answers to no login here."""
        self._accounts.clear()
        self._write_state()

    def register(self, redirect_uri: str, post_logout_redirect_uri: str | None = None) -> None:
        """Register one more redirect URI of the client while running."""
        self._redirect_uris.append(redirect_uri)
        if post_logout_redirect_uri is not None:
            self._post_logout_redirect_uris.append(post_logout_redirect_uri)
        self._write_state()
        self._administer("rebuild")

    def rotate_keys(self, *, keep_old: bool = False) -> None:
        """Sign with a new key from now on; the old public keys leave the JWKS unless they are kept."""
        self._administer("rotate-keys?keep=1" if keep_old else "rotate-keys")

    def sign_in(self, authorization_url: str, login: str, *, browser: requests.Session | None = None) -> str:
        """Log in as a browser would and return the client's redirect URI, with the answer in its query.

        `login` is a subject, a preferred username or an address; pass a session to stay logged in.
        """
        with requests.Session() as fresh:
            return self._walk(browser or fresh, "GET", authorization_url, {"login": login})

    def sign_out(self, end_session_url: str, *, browser: requests.Session) -> str:
        """Log out as a browser would and return where the provider sends it at last."""
        page = browser.get(end_session_url, timeout=10)
        page.raise_for_status()
        xsrf = re.search(r'name="xsrf" value="(\w+)"', page.text)
        action = re.search(r'action="([^"]+)"', page.text)
        if xsrf is None or action is None:
            raise AssertionError(f"no logout form at {end_session_url}: {page.text}")
        return self._walk(browser, "POST", action[1], {"xsrf": xsrf[1], "logout": "yes"})

    def _walk(self, browser: requests.Session, method: str, url: str, form: dict[str, str]) -> str:
        """Follow redirects until they leave the provider; a login page on the way gets the form."""
        for _ in range(_MOST_REDIRECTS):
            answer = browser.request(
                method, url, data=form if method == "POST" else None, allow_redirects=False, timeout=10
            )
            if answer.is_redirect:
                method, url = "GET", urljoin(url, answer.headers["location"])
                if not url.startswith(self.issuer + "/"):
                    return url
            elif answer.ok and method == "GET" and "/interaction/" in url:
                method = "POST"
            elif answer.ok:
                return url
            else:
                raise AssertionError(f"{method} {url} answered {answer.status_code}: {answer.text}")
        raise AssertionError(f"the provider keeps redirecting, at last to {url}")

    def _administer(self, action: str) -> None:
        headers = {"Authorization": f"Bearer {self._test_token}"}
        requests.post(f"{self.issuer}/test/{action}", headers=headers, timeout=10).raise_for_status()

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.issuer}/.well-known/openid-configuration", timeout=5).ok
        except requests.ConnectionError:
            return False

    def _write_state(self) -> None:
        self._write("state.json", {
            "accounts": self._accounts,
            "redirect_uris": self._redirect_uris,
            "post_logout_redirect_uris": self._post_logout_redirect_uris,
        })  # fmt: skip

    def _write(self, name: str, value: object) -> None:
        unfinished = self._folder / f"{name}.new"
        unfinished.write_text(json.dumps(value))
        unfinished.replace(self._folder / name)


def install() -> Path:
    """Make sure that the locked packages are there, with `npm ci` if not; return the folder of node_modules.

    They go below the folder named by KUBE_IAM_NODE_MODULES, else beside package.json, where git ignores them.
    """
    folder = _modules_folder()
    if _installed_version(folder) == _wanted_version():
        return folder / "node_modules"
    npm = find_binary("npm")
    folder.mkdir(parents=True, exist_ok=True)
    # Workers of one run, and runs at the same time, wait for one another.
    with (Path(tempfile.gettempdir()) / f"kube-iam-npm-{os.geteuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _installed_version(folder) != _wanted_version():
            if folder != SOURCE:
                for name in ("package.json", "package-lock.json", ".npmrc"):
                    shutil.copy(SOURCE / name, folder / name)
            command: list[str | Path] = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            if done.returncode:
                why = done.stderr.strip()[-500:]
                raise RigMissing("npm package oidc-provider", [folder, f"the registry of npm ({why})"])
    return folder / "node_modules"


def version() -> str:
    """The version of the OpenID Provider that would be started, and of its Node."""
    found = _installed_version(_modules_folder()) or f"{_wanted_version()} (not installed)"
    return f"oidc-provider {found}, Node {first_line([find_binary('node'), '--version'])}"


def _modules_folder() -> Path:
    named = os.environ.get(NODE_MODULES)
    if not named:
        return SOURCE
    folder = Path(named).absolute()
    return folder.parent if folder.name == "node_modules" else folder


def _wanted_version() -> str:
    return str(json.loads((SOURCE / "package.json").read_text())["dependencies"]["oidc-provider"])


def _installed_version(folder: Path) -> str | None:
    try:
        return str(json.loads((folder / "node_modules/oidc-provider/package.json").read_text())["version"])
    except FileNotFoundError:
        return None
