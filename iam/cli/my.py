"""``iam my ...``: asking and deciding from one's own machine, through the API, with a token of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import click
import requests

from iam.cli.session import State, read_text
from iam.errors import Invalid, Problem, Unavailable

_TIMEOUT = (5, 60)
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class Remote:
    """The API of one server."""

    def __init__(self, server: str, token: str) -> None:
        try:
            parts = urlsplit(server)
        except ValueError:
            raise Invalid("This is no address.", field="--server") from None
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
            raise Invalid("The server begins with https://, or is on this machine: a token travels with every call.", field="--server")
        if not token.strip().isascii():
            raise Invalid("This is no token.", field="--token-file")
        self._base = server.rstrip("/") + "/api/v1"
        self._token = token.strip()

    def _sign(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """As ``auth``, so that no entry of a .netrc takes the token's place."""
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request

    def __call__(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Raises Problem with the server's own words."""
        try:
            answer = requests.request(
                method, self._base + path, json=body, auth=self._sign, timeout=_TIMEOUT, allow_redirects=False
            )
            found = answer.json()
        except requests.RequestException as error:
            raise Unavailable("%(server)s does not answer as it should (%(why)s).", server=self._base, why=type(error).__name__) from None
        if not isinstance(found, dict):
            raise Unavailable("%(server)s does not answer as it should (%(why)s).", server=self._base, why="no JSON object")
        if not answer.ok:
            raise Problem("%(what)s", field=found.get("field"), what=str(found.get("detail") or found.get("title") or answer.status_code))
        return found


pass_remote = click.make_pass_decorator(Remote)


@click.group()
@click.option("--server", envvar="IAM_SERVER", required=True, metavar="URL", help="Where kube-iam is; or IAM_SERVER.")
@click.option("--token-file", envvar="IAM_TOKEN_FILE", type=click.Path(path_type=Path), required=True,
              help="A file with a token of yours (scopes read and write), - for standard input; or IAM_TOKEN_FILE.")
@click.pass_context
def my(context: click.Context, server: str, token_file: Path) -> None:
    """My requests, my grants, my inbox: on any machine, with a token."""
    context.meta["state"], context.obj = context.obj, Remote(server, read_text(token_file))


@my.command()
@pass_remote
def offers(remote: Remote) -> None:
    """What I may ask for."""
    columns = ("name", "title", "clusters", "namespaces", "longest")
    _show(remote("GET", "/catalogue/offers")["items"], "The catalogue offers you nothing.", *columns)


@my.command()
@click.argument("entry")
@click.option("--cluster", "clusters", multiple=True, required=True)
@click.option("-n", "--namespace", "namespaces", multiple=True, help="None: the whole cluster.")
@click.option("--for", "duration", default="1h", show_default=True)
@click.option("--from", "starts_at", help="RFC 3339 with an offset; else as soon as it is approved.")
@click.option("--why", "reason", required=True)
@click.option("--ticket", default="")
@click.option("--dry-run", is_flag=True, help="Only show what it comes to.")
@pass_remote
def ask(remote: Remote, /, clusters: tuple[str, ...], namespaces: tuple[str, ...], *, dry_run: bool, **given: str | None) -> None:
    """Ask for ENTRY of the catalogue."""
    body = {**given, "clusters": list(clusters), "namespaces": list(namespaces)}
    parts = remote("POST", "/requests/preview", body)["items"]
    if dry_run:
        rows = [{**part, "stages": [" and ".join(need["need"] for need in stage) for stage in part["stages"]]} for part in parts]
        _show(rows, "Nothing.", "cluster", "namespaces", "rule", "risks", "stages")
        return
    _show(remote("POST", "/requests", body)["items"], "Nothing.", *_REQUEST)


@my.command("list")
@pass_remote
def list_mine(remote: Remote) -> None:
    """What I asked for."""
    _show(remote("GET", "/requests")["items"], "Nothing asked for yet: iam my offers", *_REQUEST)


@my.command()
@click.argument("request_id")
@pass_remote
def show(remote: Remote, request_id: str) -> None:
    """One request, with what was said to it."""
    found = remote("GET", f"/requests/{quote(request_id, safe='')}")
    _show([found], "", *_WHOLE)
    for said in found["decisions"]:
        click.echo(f"{said['approver']}: {said['verdict']} {said['comment']}".rstrip())
    for said in found["comments"]:
        click.echo(f"{said['by']}: {said['text']}")


@my.command()
@click.argument("request_id")
@click.argument("text")
@pass_remote
def comment(remote: Remote, request_id: str, text: str) -> None:
    """Say something about a request."""
    remote("POST", f"/requests/{quote(request_id, safe='')}/comments", {"text": text})
    click.echo("Said.")


@my.command()
@click.argument("request_id")
@pass_remote
def cancel(remote: Remote, request_id: str) -> None:
    """Take a request of mine back."""
    _show([remote("POST", f"/requests/{quote(request_id, safe='')}/cancel", {})], "", *_REQUEST)


@my.command()
@pass_remote
def grants(remote: Remote) -> None:
    """What I was granted, and until when."""
    _show(remote("GET", "/me/grants")["items"], "Nothing granted for a time.", *_GRANT)


@my.command("return")
@click.argument("grant_id")
@pass_remote
def give_back(remote: Remote, grant_id: str) -> None:
    """Give a grant back before its end."""
    _show([remote("POST", f"/grants/{quote(grant_id, safe='')}/return", {})], "", *_GRANT)


@my.command()
@pass_remote
def inbox(remote: Remote) -> None:
    """What waits for me."""
    _show(remote("GET", "/inbox")["items"], "Nothing waits for you.", *_REQUEST, "requester", "reason")


@my.command()
@click.argument("request_id")
@click.option("--for", "duration", help="For less time than was asked.")
@click.option("-n", "--namespace", "namespaces", multiple=True, help="Only in these of the namespaces asked for.")
@click.option("--comment", default="")
@click.option("--yes", is_flag=True, help="Do not show it and ask.")
@pass_remote
def approve(remote: Remote, request_id: str, duration: str | None, namespaces: tuple[str, ...], comment: str, *, yes: bool) -> None:
    """Say yes, to exactly what is shown."""
    path = f"/requests/{quote(request_id, safe='')}"
    found = remote("GET", path)
    if not yes:
        _show([found], "", *_WHOLE)
        click.confirm("Approve it?", abort=True)
    body = {
        "verdict": "approve", "digest": found["digest"], "comment": comment, "duration": duration, "namespaces": list(namespaces) or None,
    }
    _show([remote("POST", f"{path}/decision", body)], "", *_REQUEST)


@my.command()
@click.argument("request_id")
@click.option("--comment", required=True, help="Why not.")
@pass_remote
def deny(remote: Remote, request_id: str, comment: str) -> None:
    """Say no."""
    path = f"/requests/{quote(request_id, safe='')}"
    body = {"verdict": "deny", "digest": remote("GET", path)["digest"], "comment": comment}
    _show([remote("POST", f"{path}/decision", body)], "", *_REQUEST)


_REQUEST = ("id", "title", "cluster", "namespaces", "duration", "state")
_WHOLE = ("requester", "title", "role", "cluster", "namespaces", "duration", "starts_at", "reason", "ticket", "risks", "state")
_GRANT = ("id", "role", "cluster", "namespaces", "state", "ends_at", "applied_at")


def _show(rows: list[dict[str, Any]], empty: str, *columns: str) -> None:
    """All of it as JSON, some columns as a table."""
    state: State = click.get_current_context().meta["state"]
    state.show(rows if state.as_json else [{name: row[name] for name in columns} for row in rows], empty=empty)


