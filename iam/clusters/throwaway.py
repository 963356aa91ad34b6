"""A throwaway real control plane on loopback: etcd, kube-apiserver, kube-controller-manager.

For trying the product out and for its tests. The binaries are looked for where controller-runtime's envtest puts
them: ``KUBEBUILDER_ASSETS``, else /usr/local/kubebuilder/bin.
"""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Self

import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from iam.errors import Unavailable
from iam.kube.certificates import key_pem, new_ca, new_key, read_ca
from iam.kube.kubeconfig import Entry, write

DEFAULT_ASSETS = "/usr/local/kubebuilder/bin"
BINARIES = ("etcd", "kube-apiserver", "kube-controller-manager")
READY_SECONDS = 90
_YEAR = timedelta(days=365)
_CONTROLLERS = (
    "csrsigning,csrapproving,csrcleaner,clusterrole-aggregation-controller,serviceaccount-token-controller,"
    "serviceaccount-controller,namespace-controller,root-ca-certificate-publisher-controller"
)


def assets() -> Path:
    """The folder that the binaries are looked for in."""
    return Path(os.environ.get("KUBEBUILDER_ASSETS") or DEFAULT_ASSETS)


def missing() -> list[str]:
    """The binaries that are not there."""
    return [name for name in BINARIES if not os.access(assets() / name, os.X_OK)]


class ControlPlane:
    """One control plane in one folder; a second start in the same folder keeps its data."""

    def __init__(self, folder: Path | None = None, *, authorization: Sequence[str] = ("--authorization-mode=Node,RBAC",)) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="kube-iam-") if folder is None else None
        self.folder = folder or Path(self._temporary.name if self._temporary else "")
        self._authorization = tuple(authorization)
        self._processes: list[subprocess.Popen[bytes]] = []
        self.server = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start and wait until it answers and signs. Raises Unavailable, with the end of the log that tells why."""
        if missing():
            raise Unavailable("There is no control plane to start: %(names)s not found in %(folder)s.",
                              names=", ".join(missing()), folder=str(assets()))
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop what was started, the last one first."""
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()
        if self._temporary:
            self._temporary.cleanup()

    @property
    def ca_pem(self) -> str:
        """The CA of everything here."""
        return (self.folder / "ca.crt").read_text("utf-8")

    def kubeconfig(self, username: str = "admin", groups: Sequence[str] = ("system:masters",)) -> str:
        """A kubeconfig for anybody: this is a throwaway cluster."""
        certificate, key = self._issue(username, groups)
        return write([Entry("throwaway", self.server, self.ca_pem, username, certificate, key)])

    def _start(self) -> None:
        self._make_keys()
        etcd, peer, secure = self._ports()
        self.server = f"https://127.0.0.1:{secure}"
        self._spawn(
            "etcd", f"--data-dir={self.folder / 'etcd'}", f"--listen-client-urls=http://127.0.0.1:{etcd}",
            f"--advertise-client-urls=http://127.0.0.1:{etcd}", f"--listen-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}", f"--initial-cluster=default=http://127.0.0.1:{peer}",
            "--force-new-cluster=true" if (self.folder / "etcd").exists() else "--initial-cluster-state=new", "--unsafe-no-fsync",
        )
        self._wait("etcd", lambda: requests.get(f"http://127.0.0.1:{etcd}/health", timeout=2).ok)
        self._spawn(
            "kube-apiserver", f"--etcd-servers=http://127.0.0.1:{etcd}", f"--secure-port={secure}", "--bind-address=127.0.0.1",
            f"--client-ca-file={self.folder / 'ca.crt'}", f"--tls-cert-file={self.folder / 'server.crt'}",
            f"--tls-private-key-file={self.folder / 'server.key'}", f"--service-account-key-file={self.folder / 'accounts.pub'}",
            f"--service-account-signing-key-file={self.folder / 'accounts.key'}",
            "--service-account-issuer=https://kubernetes.default.svc", "--service-cluster-ip-range=10.96.0.0/16",
            "--endpoint-reconciler-type=none", *self._authorization,
        )
        self._wait("kube-apiserver", self._is_ready)
        self._spawn(
            "kube-controller-manager", f"--kubeconfig={self._manager_kubeconfig()}", "--use-service-account-credentials=true",
            f"--controllers={_CONTROLLERS}", f"--cluster-signing-cert-file={self.folder / 'ca.crt'}",
            f"--cluster-signing-key-file={self.folder / 'ca.key'}", f"--root-ca-file={self.folder / 'ca.crt'}",
            f"--service-account-private-key-file={self.folder / 'accounts.key'}", "--leader-elect=false", "--secure-port=0",
        )

    def _ports(self) -> tuple[int, int, int]:
        """The ports of the last start, so that kubeconfigs go on working; new ones where they are taken."""
        remembered = self.folder / "ports"
        old = [int(port) for port in remembered.read_text("utf-8").split()] if remembered.exists() else []
        ports = old if len(old) == 3 and all(_is_free(port) for port in old) else _free_ports(3)
        remembered.write_text(" ".join(map(str, ports)), "utf-8")
        return ports[0], ports[1], ports[2]

    def _is_ready(self) -> bool:
        certificate = self.folder / "probe.pem"
        if not certificate.exists():
            _write_secret(certificate, "".join(self._issue("probe", ("system:masters",))))
        answer = requests.get(
            f"{self.server}/readyz", cert=str(certificate), verify=str(self.folder / "ca.crt"), timeout=2
        )
        return answer.ok

    def _manager_kubeconfig(self) -> Path:
        path = self.folder / "manager.conf"
        _write_secret(path, self.kubeconfig("system:kube-controller-manager", ()))
        return path

    def _make_keys(self) -> None:
        if (self.folder / "accounts.pub").exists():
            return
        ca, ca_key = new_ca("throwaway", datetime.now(UTC), 10 * _YEAR)
        (self.folder / "ca.crt").write_bytes(ca)
        _write_secret(self.folder / "ca.key", ca_key.decode())
        certificate, key = self._issue("kube-apiserver", (), server=True)
        (self.folder / "server.crt").write_text(certificate, "utf-8")
        _write_secret(self.folder / "server.key", key)
        accounts = new_key()
        _write_secret(self.folder / "accounts.key", key_pem(accounts).decode())
        public = accounts.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        (self.folder / "accounts.pub").write_bytes(public)

    def _issue(self, name: str, groups: Sequence[str], *, server: bool = False) -> tuple[str, str]:
        ca, ca_key = read_ca((self.folder / "ca.crt").read_bytes(), (self.folder / "ca.key").read_bytes())
        key: ec.EllipticCurvePrivateKey = new_key()
        subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        now = datetime.now(UTC)
        purpose = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = (
            x509.CertificateBuilder().subject_name(x509.Name([*subject, x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(ca.subject).public_key(key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5)).not_valid_after(now + _YEAR)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        )
        if server:
            names = [x509.DNSName("localhost"), x509.DNSName("kubernetes.default.svc"), x509.IPAddress(IPv4Address("127.0.0.1"))]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(ca_key, hashes.SHA256())
        return certificate.public_bytes(serialization.Encoding.PEM).decode(), key_pem(key).decode()

    def _spawn(self, name: str, *flags: str) -> None:
        log = (self.folder / f"{name}.log").open("wb")
        with log:
            process = subprocess.Popen(  # noqa: S603  # our own binaries, our own flags
                [str(assets() / name), *flags], stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=self.folder,
                start_new_session=True,  # Ctrl-C goes to us; we stop these in order
            )
        self._processes.append(process)

    def _wait(self, name: str, is_ready: Callable[[], bool]) -> None:
        process = self._processes[-1]
        ends = time.monotonic() + READY_SECONDS
        while time.monotonic() < ends and process.poll() is None:
            try:
                if is_ready():
                    return
            except requests.RequestException:
                pass
            time.sleep(0.05)
        tail = (self.folder / f"{name}.log").read_text("utf-8", "replace")[-800:]
        raise Unavailable("%(name)s did not get ready:\n%(log)s", name=name, log=tail)


def _write_secret(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text, "utf-8")


def _is_free(port: int) -> bool:
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


