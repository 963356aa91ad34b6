"""Which addresses a webhook may have: public ones, and those in networks that the settings name. Nobody is called here."""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from iam.errors import Invalid
from iam.notify.base import Call, NotDelivered
from iam.notify.webhook import HttpWebhookSender
from iam.settings import Webhooks

PUBLIC, PUBLIC_6 = "93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"
INSIDE = [
    "127.0.0.1", "127.8.9.10", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254", "192.0.2.1",
    "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fd00::1", "fc00::1", "ff02::1",
    "2001:db8::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:a9fe:a9fe", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::", "2002:a00:1::1", "2001:0:7f00:1::",
]  # fmt: skip
SPELLINGS = [
    "2130706433", "0x7f000001", "0x7f.1", "0x7f.0.0.1", "017700000001", "0177.0.0.1", "127.1", "127.0.1", "0", "localhost", "LOCALHOST",
    "[::ffff:7f00:1]", "[0:0:0:0:0:0:0:1]", "[0000::0001]", "2852039166", "0xa9fea9fe",
]  # fmt: skip
Resolve = Callable[..., None]


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Resolve:
    """``resolve("a.example.org", "10.0.0.1", ...)``: names lead there and nowhere else; addresses lead where they always do."""
    known: dict[str, tuple[str, ...]] = {}
    real = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *arguments: Any, **more: Any) -> list[Any]:
        if any(letter in host for letter in "ghjklmnopqrstuvwyz") and host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [found for one in known.get(host, (host,)) for found in real(one, port, *arguments, **more)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    def say(name: str, *addresses: str) -> None:
        known[name] = addresses

    return say


def sender(*inside: str) -> HttpWebhookSender:
    return HttpWebhookSender(Webhooks(inside_networks=inside), lambda: datetime.now(UTC))


def refused(url: str, *inside: str) -> bool:
    """Whether it is refused, both when it is written down and when it would be called."""
    with pytest.raises(Invalid) as problem:
        sender(*inside).check(url)
    assert problem.value.field == "url"
    with pytest.raises(NotDelivered) as lost:
        sender(*inside).send(Call("id", url, "whsec_AAAA", b"{}"))
    return lost.value.for_good


def in_url(address: str) -> str:
    return f"[{address}]" if ":" in address else address


@pytest.mark.parametrize("address", INSIDE)
@pytest.mark.parametrize("scheme", ["https", "http"])
def test_an_address_inside_is_refused(address: str, scheme: str) -> None:
    assert refused(f"{scheme}://{in_url(address)}/hook")
    assert refused(f"{scheme}://{in_url(address)}:8443/hook")


@pytest.mark.parametrize("address", INSIDE)
def test_a_name_that_leads_inside_is_refused(resolve: Resolve, address: str) -> None:
    resolve("hooks.example.org", address)
    assert refused("https://hooks.example.org/hook")


@pytest.mark.parametrize("host", SPELLINGS)
def test_no_spelling_of_an_address_inside_helps(host: str) -> None:
    assert refused(f"https://{host}/hook")


@pytest.mark.parametrize("addresses", [(PUBLIC, "127.0.0.1"), ("10.0.0.1", PUBLIC), (PUBLIC_6, PUBLIC, "::1"), (PUBLIC, "::ffff:10.0.0.1")])
def test_a_name_is_judged_by_all_of_its_addresses(resolve: Resolve, addresses: tuple[str, ...]) -> None:
    resolve("hooks.example.org", *addresses)
    assert refused("https://hooks.example.org/hook")
    resolve("inside.example.org", "10.20.0.1", *addresses)
    assert refused("https://inside.example.org/hook", "10.20.0.0/16")


@pytest.mark.parametrize("address", [PUBLIC, PUBLIC_6])
def test_a_public_address_is_called_encrypted_or_not_at_all(resolve: Resolve, address: str) -> None:
    resolve("hooks.example.org", address)
    assert sender().check("https://hooks.example.org/hook") == "hooks.example.org"
    assert sender().check(f"https://{in_url(address)}/hook") == address
    assert refused("http://hooks.example.org/hook")
    assert refused(f"http://{in_url(address)}:8080/hook", "10.0.0.0/8")


@pytest.mark.parametrize(("address", "network"), [
    ("127.0.0.1", "127.0.0.0/8"), ("10.20.3.4", "10.20.0.0/16"), ("fd00::1", "fd00::/8"), ("::1", "::1/128"),
    ("::ffff:127.0.0.1", "127.0.0.0/8"), ("64:ff9b::7f00:1", "127.0.0.0/8"),
])  # fmt: skip
def test_networks_of_our_own_are_named_in_the_settings(address: str, network: str) -> None:
    for scheme in ("https", "http"):
        assert sender("192.168.0.0/16", network).check(f"{scheme}://{in_url(address)}/hook")
    assert refused("https://10.21.0.1/hook", network)
    assert refused("https://169.254.169.254/latest/meta-data", network)


@pytest.mark.parametrize("url", [
    "", "hooks.example.org", "//hooks.example.org/", "ftp://hooks.example.org/", "file:///etc/passwd", "gopher://hooks.example.org/",
    "javascript:alert(1)", "https://", "https:///hook", "https://:443/hook", "https://user@hooks.example.org/",
    "https://user:pass@hooks.example.org/", "https://:pass@hooks.example.org/", "https://hooks.example.org\\@127.0.0.1/",
    "https://hooks.example.org/#part", "https://hooks.example.org:0/", "https://hooks.example.org:65536/", "https://hooks.example.org:x/",
    "https://hooks.example.org/a b", "https://hooks.example.org/\r\nX-Evil: 1", "https://hooks.example.org/\x00",
    "https://hooks.example.org\n.evil.org/", "https://[::1/", "https://[hooks]/", "https://hooks.example.org/" + "a" * 2000,
])  # fmt: skip
def test_what_is_no_plain_address_is_refused(resolve: Resolve, url: str) -> None:
    resolve("hooks.example.org", PUBLIC)
    assert refused(url)


def test_a_refusal_names_neither_path_nor_query() -> None:
    with pytest.raises(Invalid) as problem:
        sender().check("https://127.0.0.1/services/T00/B00/secret-part?token=secret-part")
    assert "secret-part" not in str(problem.value)
    assert "secret-part" not in repr(Call("id", "https://127.0.0.1/secret-part", "secret-part", b"secret-part"))


@pytest.mark.parametrize("host", ["nowhere.example.org", "a..b.example.org", "x" * 64 + ".example.org"])
def test_a_name_that_leads_nowhere_today_may_be_written_down_and_is_tried_again(resolve: Resolve, host: str) -> None:
    assert sender().check(f"https://{host}/hook") == host
    with pytest.raises(NotDelivered, match="does not resolve") as lost:
        sender().send(Call("id", f"https://{host}/hook", "whsec_AAAA", b"{}"))
    assert not lost.value.for_good


@pytest.mark.parametrize("network", ["10.20.0.1/16", "10.20.0.0/33", "inside", "10.20.*"])
def test_the_settings_name_networks(network: str) -> None:
    with pytest.raises(ValueError, match="is not a network such as"):
        Webhooks(inside_networks=(network,))
