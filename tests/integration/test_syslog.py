"""Audit events on a real syslog server: what arrives, what is told of it, and that nothing is lost when the server goes away."""

from __future__ import annotations

import ctypes
import re
import socket
import ssl
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives import serialization
from rigs.broken_ldap import refusing_port
from rigs.certificates import CertificateAuthority
from rigs.processes import LOOPBACK, wait_until
from rigs.syslog_server import LONGEST_MESSAGE, Driver, SyslogServer

from iam.notify import syslog
from iam.notify.base import NotDelivered
from iam.notify.syslog import SyslogSender

HEADER = "<109>1 2026-11-22T21:35:17.123456Z host kube-iam - grant.ended - "
SOME = [(HEADER + f"some {number}").encode() for number in range(3)]
MUCH = [(HEADER + "much").encode() * 1000] * 200
"""More than all buffers on the way hold."""
BATCH, RESTARTS, SHORT_SECONDS = 500, 5, 0.3
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_SO_ATTACH_FILTER = 26


class Way(NamedTuple):
    tls: bool
    driver: Driver


TCP, OPENSSL, GNUTLS = Way(False, "ossl"), Way(True, "ossl"), Way(True, "gtls")
NAMES = {TCP: "TCP", OPENSSL: "TLS-OpenSSL", GNUTLS: "TLS-GnuTLS"}


@pytest.fixture(params=list(NAMES), ids=list(NAMES.values()))
def way(request: pytest.FixtureRequest) -> Way:
    found: Way = request.param
    return found


@pytest.fixture
def syslog_server(way: Way) -> Iterator[SyslogServer]:
    with SyslogServer(driver=way.driver) as server:
        yield server


over_tls = pytest.mark.parametrize("way", [OPENSSL, GNUTLS], ids=[NAMES[OPENSSL], NAMES[GNUTLS]])
every_kind = pytest.mark.parametrize("tls", [False, True], ids=["TCP", "TLS"])


def sender(server: SyslogServer, *, tls: bool, **more: Any) -> SyslogSender:
    return SyslogSender("localhost", server.tls_port if tls else server.port, tls=tls, **({"ca_file": str(server.ca_file)} | more))


def numbered(count: int, first: int = 0) -> list[str]:
    return [f"{HEADER}{number} {'x' * 300}" for number in range(first, first + count)]


def once(received: list[str]) -> list[str]:
    """Without those that came again."""
    return list(dict.fromkeys(received))


def arrives(mine: SyslogSender, messages: list[bytes]) -> bool:
    with suppress(NotDelivered):
        mine.send(messages)
        return True
    return False


def deliver(mine: SyslogSender, messages: list[bytes]) -> None:
    """As the worker does, again until it is told that they arrived.

    rsyslog with OpenSSL (8.2302) closes each connection twice, the second time perhaps a newer one's.
    """
    wait_until(partial(arrives, mine, messages), seconds=60, what="syslog server")


def refusal(attempt: SyslogSender, messages: list[bytes] | None = None) -> str:
    """Why it says that it could not."""
    with pytest.raises(NotDelivered) as refused:
        attempt.send(messages or SOME)
    assert not refused.value.for_good
    why = str(refused.value)
    assert re.match(r"syslog server (localhost|127\.0\.0\.1):\d+, [a-zA-Z].*: .+", why)
    return why


def untrusted(mine: SyslogSender, because: str = "") -> bool:
    """Again, too, if the connection was cut."""
    return f"TLS handshake: its certificate is not trusted ({because}" in refusal(mine)


def test_messages_are_there_when_it_says_so(syslog_server: SyslogServer, way: Way) -> None:
    mine = sender(syslog_server, tls=way.tls)
    for one in SOME:
        deliver(mine, [one])
        assert syslog_server.received()[-1] == one.decode()
    deliver(mine, SOME)
    assert syslog_server.received()[-len(SOME) :] == [one.decode() for one in SOME]


def test_no_octet_is_changed(syslog_server: SyslogServer, way: Way) -> None:
    texts = [
        "\ufeff中文 👩🏽‍💻 é", "two\nlines\r\n", "".join(map(chr, range(1, 32))) + "\x7f\x85\u2028", '"quoted" \\n {} </x>', " blanks  ",
        "12 <109>1 looks like a frame", "x" * (LONGEST_MESSAGE - len(HEADER) - 4) + "last",
    ]  # fmt: skip
    deliver(sender(syslog_server, tls=way.tls), [(HEADER + text).encode() for text in texts])
    assert once(syslog_server.received()) == [HEADER + text for text in texts]


def test_many_arrive_in_order(syslog_server: SyslogServer, way: Way) -> None:
    messages, mine = numbered(10_000), sender(syslog_server, tls=way.tls)
    for start in range(0, len(messages), BATCH):
        deliver(mine, [one.encode() for one in messages[start : start + BATCH]])
    assert once(syslog_server.received()) == messages


@pytest.mark.parametrize(
    ("way", "end"), [(TCP, "stop"), (OPENSSL, "stop"), (OPENSSL, "kill"), (GNUTLS, "stop"), (GNUTLS, "kill")],
    ids=["TCP-stop", "TLS-OpenSSL-stop", "TLS-OpenSSL-kill", "TLS-GnuTLS-stop", "TLS-GnuTLS-kill"],
)  # fmt: skip
def test_nothing_is_lost_when_the_server_restarts_in_the_midst(syslog_server: SyslogServer, way: Way, end: str) -> None:
    """Plain TCP does not promise it for a server that is killed."""
    mine, enough = sender(syslog_server, tls=way.tls), threading.Event()
    delivered = 0

    def send_on() -> None:
        nonlocal delivered
        while not enough.is_set():
            deliver(mine, [one.encode() for one in numbered(BATCH, delivered * BATCH)])
            delivered += 1

    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(send_on)
        try:
            for _ in range(RESTARTS):
                more = delivered + 2
                wait_until(partial(_has_come, lambda: delivered, more), seconds=60, what="the next batches")
                getattr(syslog_server, end)()
                syslog_server.start()
        finally:
            enough.set()
        sending.result()
    assert once(syslog_server.received()) == numbered(delivered * BATCH)


def _has_come(count: Callable[[], int], wanted: int) -> bool:
    return count() >= wanted


def test_what_a_killed_server_had_not_read_is_not_taken_for_delivered(
    syslog_server: SyslogServer, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_sent, listen = threading.Event(), syslog._require_silence

    def freeze(connection: socket.socket, seconds: float) -> None:
        listen(connection, seconds)
        syslog_server.freeze()
        all_sent.set()

    mine = sender(syslog_server, tls=way.tls)
    if not way.tls:  # TLS would not get further than its handshake
        syslog_server.freeze()
    with monkeypatch.context() as patch, ThreadPoolExecutor(1) as pool:
        patch.setattr(syslog, "_require_silence", freeze)
        sending = pool.submit(refusal, mine)
        assert all_sent.wait(10)
        syslog_server.kill()
        assert sending.result().endswith("waiting until all is read: the connection was cut")
    syslog_server.start()
    deliver(mine, SOME)
    assert once(syslog_server.received()) == [one.decode() for one in SOME]


@over_tls
def test_a_server_that_is_not_trusted_learns_nothing(syslog_server: SyslogServer, tmp_path: Path) -> None:
    another = str(CertificateAuthority(tmp_path).ca_file)
    for ca_file in ("", another):  # those of the system, and one of another's
        wait_until(partial(untrusted, sender(syslog_server, tls=True, ca_file=ca_file)), seconds=60, what="the wrong certificate")
    assert syslog_server.received() == []


@pytest.mark.real_part("syslog_server")
def test_a_server_of_another_name_learns_nothing() -> None:
    with SyslogServer(hosts=["logs.example.org"]) as server:
        wait_until(partial(untrusted, sender(server, tls=True), "Hostname mismatch"), seconds=60, what="the wrong name")
        assert server.received() == []
        deliver(sender(server, tls=True, server_name="logs.example.org"), SOME)
        assert once(server.received()) == [one.decode() for one in SOME]


@pytest.mark.real_part("syslog_server")
@pytest.mark.parametrize("driver", ["ossl", "gtls"])
def test_a_server_that_wants_a_certificate_gets_it(driver: Driver, tmp_path: Path) -> None:
    with SyslogServer(driver=driver, knows_clients=True) as server:
        refusal(sender(server, tls=True))
        assert server.received() == []
        both, key_file = server.client_certificate(), tmp_path / "key"
        deliver(sender(server, tls=True, client_cert_file=str(both)), SOME[:1])
        key = serialization.load_pem_private_key(both.read_bytes(), None)
        mine = sender(server, tls=True, client_cert_file=str(both), client_key_file=str(key_file))
        key_file.write_bytes(_pem(key, serialization.NoEncryption()))
        deliver(mine, SOME[1:])
        assert once(server.received()) == [one.decode() for one in SOME]
        key_file.write_bytes(_pem(key, serialization.BestAvailableEncryption(b"secret")))
        assert f", reading {both}: " in refusal(mine)  # and nobody is asked for the password


def _pem(key: Any, encryption: serialization.KeySerializationEncryption) -> bytes:
    pem: bytes = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    return pem


@over_tls
def test_the_other_kind_of_port_is_noticed(syslog_server: SyslogServer) -> None:
    refusal(SyslogSender("localhost", syslog_server.tls_port, tls=False))
    assert syslog_server.received() == []
    mine = SyslogSender("localhost", syslog_server.port, tls=True, ca_file=str(syslog_server.ca_file), timeout=SHORT_SECONDS)
    assert ", TLS handshake: " in refusal(mine)


@every_kind
def test_a_port_that_refuses(tls: bool) -> None:
    with refusing_port() as port:
        mine = SyslogSender(LOOPBACK, port, tls=tls)
        mine.send([])  # for nothing, it does not even ask
        assert refusal(mine).endswith("connecting: Connection refused")


@pytest.mark.parametrize("content", [None, "no certificate"])
@pytest.mark.parametrize("which", ["ca_file", "client_cert_file"])
def test_a_file_that_cannot_be_read_is_named(which: str, content: str | None, tmp_path: Path) -> None:
    file = tmp_path / "file.pem"
    if content:
        file.write_text(content)
    more: dict[str, Any] = {which: str(file)}
    with refusing_port() as port:
        assert f"reading {file}: " in refusal(SyslogSender(LOOPBACK, port, tls=True, **more))


# From here on, servers that no package offers: they only inject a fault.


@dataclass
class Peer:
    port: int
    ca_file: Path
    heard: list[int] = field(default_factory=list)
    """Octets that each connection brought."""
    over: threading.Event = field(default_factory=threading.Event)

    def sender(self, *, tls: bool) -> SyslogSender:
        return SyslogSender("localhost", self.port, tls=tls, ca_file=str(self.ca_file), timeout=SHORT_SECONDS)

    def read(self, connection: socket.socket) -> None:
        """Until its end."""
        self.heard.append(0)
        while data := connection.recv(65_536):
            self.heard[-1] += len(data)


Talk = Callable[[Peer, socket.socket], None]


@contextmanager
def peer(folder: Path, talk: Talk, *, tls: bool, newest: ssl.TLSVersion | None = None) -> Iterator[Peer]:
    """Talks with each that connects, then closes."""
    authority = CertificateAuthority(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue(["localhost"]))
    if newest:
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = newest

    def serve(connection: socket.socket) -> None:
        with suppress(OSError), connection:
            if tls:
                connection = context.wrap_socket(connection, server_side=True)
            with connection:
                talk(one, connection)

    def accept() -> None:
        with ThreadPoolExecutor() as pool, suppress(OSError):
            while True:
                pool.submit(serve, listener.accept()[0])

    with socket.create_server((LOOPBACK, 0)) as listener:
        one = Peer(int(listener.getsockname()[1]), authority.ca_file)
        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield one
        finally:
            one.over.set()
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()


def never_reads(one: Peer, _connection: socket.socket) -> None:
    one.over.wait()


def never_ends(one: Peer, connection: socket.socket) -> None:
    one.read(connection)
    one.over.wait()


def resets(_one: Peer, connection: socket.socket) -> None:
    connection.recv(1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)


def ends_first(one: Peer, connection: socket.socket) -> None:
    """It reads on all the same: nothing is reset."""
    if isinstance(connection, ssl.SSLSocket):
        connection.unwrap()
    else:
        connection.shutdown(socket.SHUT_WR)
        one.read(connection)


def answers(one: Peer, connection: socket.socket) -> None:
    connection.sendall(b"220 mail.example.org ESMTP")
    one.read(connection)


@every_kind
@pytest.mark.filterwarnings("error::ResourceWarning")  # a connection that was left open warns when it is collected
@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("talk", "messages", "why"),
    [
        (never_reads, SOME, "waiting until all is read: no answer within 0.3 s"),
        (never_reads, MUCH, "sending: no answer within 0.3 s"),
        (never_ends, SOME, "waiting until all is read: no answer within 0.3 s"),
        (resets, SOME, "(sending|waiting until all is read): (the connection was cut|it closed the connection before we did)"),
        (resets, MUCH, "sending: the connection was cut"),
        (ends_first, MUCH, "(sending|waiting until all is read): (it closed the connection before we did|the connection was cut)"),
        (answers, SOME, "waiting until all is read: (it answers, which no syslog server does|application data after close notify)"),
    ],
    ids=["never-reads", "never-reads-much", "never-ends", "resets", "resets-in-the-midst", "ends-first", "answers"],
)
def test_a_server_that_does_not_do_as_it_should(talk: Talk, messages: list[bytes], why: str, tls: bool, tmp_path: Path) -> None:
    with peer(tmp_path, talk, tls=tls) as faulty:
        assert re.search(f", {why}$", refusal(faulty.sender(tls=tls), messages))


def test_a_server_that_never_begins_with_tls(tmp_path: Path) -> None:
    with peer(tmp_path, never_reads, tls=False) as faulty:
        assert refusal(faulty.sender(tls=True)).endswith("TLS handshake: no answer within 0.3 s")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_tls_before_1_2_is_refused(tmp_path: Path) -> None:
    with peer(tmp_path, never_ends, tls=True, newest=ssl.TLSVersion.TLSv1_1) as old:
        assert "TLS handshake: " in refusal(old.sender(tls=True))
        assert old.heard == []


def test_an_end_without_close_notify_is_believed_the_second_time(tmp_path: Path) -> None:
    """A server that answers, is cut off once, and answers again."""
    is_polite = [True, False, True, False, False, False]

    def talk(one: Peer, connection: socket.socket) -> None:
        is_polite_now = is_polite[len(one.heard)]
        one.read(connection)
        if is_polite_now and isinstance(connection, ssl.SSLSocket):
            connection.unwrap()

    with peer(tmp_path, talk, tls=True) as server:
        mine = server.sender(tls=True)
        tried = []
        for _ in range(4):
            mine.send(SOME)
            tried.append(len(server.heard))
    assert tried == [1, 3, 5, 6]
    assert set(server.heard) == {sum(len(one) + len(b"45 ") for one in SOME)}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what was acknowledged, and has a filter to lose it")
@every_kind
def test_an_end_that_crosses_ours_is_not_an_answer_to_it(tls: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As over a long line: the server has ended, and does not learn that we did."""
    all_sent, ended, listen = threading.Event(), threading.Event(), syslog._require_silence

    def cross(connection: socket.socket, seconds: float) -> None:
        listen(connection, seconds)
        all_sent.set()
        assert ended.wait(10)

    def talk(one: Peer, connection: socket.socket) -> None:
        assert all_sent.wait(10)
        lose_everything = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # BPF_RET | BPF_K, of 0 octets
        connection.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(lose_everything)))
        socket.socket.shutdown(connection, socket.SHUT_WR)  # past TLS
        ended.set()
        one.over.wait()

    monkeypatch.setattr(syslog, "_require_silence", cross)
    with peer(tmp_path, talk, tls=tls) as faulty:
        assert refusal(faulty.sender(tls=tls)).endswith("waiting until all is read: no answer within 0.3 s")
