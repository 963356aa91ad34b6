"""Signed webhooks, as Standard Webhooks has them, that cannot be turned against our own network.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md; for what is refused, see OWASP's
Server-Side Request Forgery Prevention Cheat Sheet: the address is resolved once, checked, and exactly that is connected to
(so a name that answers differently a second time gains nothing); redirects are not followed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import http.client
import ipaddress
import secrets
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from urllib.parse import SplitResult, urlsplit

import urllib3
import urllib3.connection

from iam.errors import Invalid
from iam.notify.base import Call, NotDelivered
from iam.settings import Webhooks

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_NOT_PUBLIC = [ipaddress.ip_network(one) for one in ("fec0::/10", "::/96", "64:ff9b:1::/48", "::ffff:0:0:0/96", "192.88.99.0/24")]
"""What the standard library takes for global and is not: site-local, IPv4-compatible and -translated, local NAT64, 6to4 relays."""
_PREFIX = "whsec_"


def new_secret() -> str:
    """192 random bits, as Standard Webhooks writes them."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(24)).decode()


def signature(secret: str, call_id: str, timestamp: int, body: bytes) -> str:
    """``v1,<base64 of the HMAC-SHA256 of "id.timestamp.body">``."""
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = secret.encode()
    mac = hmac.new(key, f"{call_id}.{timestamp}.".encode() + body, hashlib.sha256)
    return "v1," + base64.b64encode(mac.digest()).decode()


class HttpWebhookSender:
    """Calls addresses that are public, or in networks that the settings name."""

    def __init__(self, settings: Webhooks, now: Callable[[], datetime]) -> None:
        self._settings = settings
        self._now = now
        self._inside = [ipaddress.ip_network(network) for network in settings.inside_networks]

    def check(self, url: str) -> str:
        """The host. Raises Invalid for what is no address we would call; a name that does not resolve now is not refused."""
        try:
            parts = _split(url)
            self._addresses(parts)
        except NotDelivered as problem:
            if problem.for_good:
                raise Invalid("This address cannot be called: %(why)s.", field="url", why=str(problem)) from None
        return _split(url).hostname or ""

    def send(self, call: Call) -> None:
        """POST, once, within one deadline for all of it. Raises NotDelivered for everything but a 2xx."""
        parts = _split(call.url)
        address = self._addresses(parts)[0]
        timestamp = int(self._now().timestamp())
        headers = {
            "Host": _host_header(parts), "Content-Type": "application/json", "User-Agent": "kube-iam", "webhook-id": call.id,
            "webhook-timestamp": str(timestamp), "webhook-signature": signature(call.secret, call.id, timestamp, call.body),
        }
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            status = self._post(parts, address, target, headers, call.body)
        except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError) as error:
            raise NotDelivered(f"the webhook does not answer as it should ({type(error).__name__})") from None
        if 300 <= status < 400:
            raise NotDelivered(f"the webhook redirects ({status}), which is not followed")
        if not 200 <= status < 300:
            raise NotDelivered(f"the webhook answers {status}", for_good=status == 410)

    def _post(self, parts: SplitResult, address: _Address, target: str, headers: dict[str, str], body: bytes) -> int:
        """A connection of its own, cut off when the time is over: a time-out alone counts anew with every byte that drips."""
        connection = self._connection(parts, address)
        watch = threading.Timer(self._settings.timeout_seconds, _cut_off, [connection])
        watch.daemon = True
        watch.start()
        try:
            connection.request("POST", target, body=body, headers=headers, preload_content=False)
            return int(connection.getresponse().status)
        finally:
            watch.cancel()
            connection.close()

    def _connection(self, parts: SplitResult, address: _Address) -> urllib3.connection.HTTPConnection:
        timeout, host = self._settings.timeout_seconds, parts.hostname or ""
        if parts.scheme == "http":
            return urllib3.connection.HTTPConnection(str(address), parts.port or 80, timeout=timeout)
        context = ssl.create_default_context(cafile=self._settings.ca_file)
        return urllib3.connection.HTTPSConnection(
            str(address), parts.port or 443, timeout=timeout, ssl_context=context, server_hostname=host, assert_hostname=host
        )

    def _addresses(self, parts: SplitResult) -> list[_Address]:
        """Where the name leads; every one of its addresses must be one that we may call. Raises NotDelivered."""
        try:
            found = socket.getaddrinfo(parts.hostname, parts.port or (443 if parts.scheme == "https" else 80), type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise NotDelivered("the name does not resolve") from None
        addresses = list(dict.fromkeys(_unwrapped(ipaddress.ip_address(str(one[4][0]).partition("%")[0])) for one in found))
        for address in addresses:
            is_ours = any(address in network for network in self._inside)
            is_public = address.is_global and not address.is_multicast and not any(address in network for network in _NOT_PUBLIC)
            if not is_ours and not is_public:
                raise NotDelivered("it leads into a network that is not public; the settings name those that are allowed", for_good=True)
            if parts.scheme == "http" and not is_ours:
                raise NotDelivered("outside of our own networks it begins with https://", for_good=True)
        return addresses


def _split(url: str) -> SplitResult:
    """Raises NotDelivered for what is no plain http(s) address."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise NotDelivered("it is no address", for_good=True) from None
    is_plain = parts.scheme in {"http", "https"} and parts.hostname and "@" not in parts.netloc and not parts.fragment
    if not is_plain or port == 0 or parts.netloc.endswith(":") or not url.isprintable() or " " in url or len(url) > 2000:
        raise NotDelivered("it should look like https://host/path", for_good=True)
    if not url.isascii():
        raise NotDelivered("names and paths outside of ASCII are written encoded (xn--..., %E4%B8%AD)", for_good=True)
    return parts


def _host_header(parts: SplitResult) -> str:
    host = parts.hostname or ""
    named = f"[{host}]" if ":" in host else host
    return f"{named}:{parts.port}" if parts.port else named


def _cut_off(connection: urllib3.connection.HTTPConnection) -> None:
    """Whoever reads from it gets an end."""
    open_socket = connection.sock
    if open_socket is not None:
        with suppress(OSError):
            open_socket.shutdown(socket.SHUT_RDWR)


def _unwrapped(address: _Address) -> _Address:
    """The IPv4 address inside an IPv6 one, where there is one: it is that which is reached."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return inner if inner and not inner.is_global else address
    return address
