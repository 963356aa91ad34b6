"""The anchor of certificates: key, request, create, approve, read until signed, over one kept-alive connection.

Written without our own code, with nothing that could be left out.
"""

from __future__ import annotations

import base64
import http.client
import json
import secrets
import ssl
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from iam.kube.kubeconfig import Access

PATH = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
WAIT_SECONDS = 30


class BareCluster:
    """One connection to an API server. `pause` lies between two looks for the certificate."""

    def __init__(self, access: Access, pause: float) -> None:
        context = ssl.create_default_context(cadata=access.ca_pem)
        with tempfile.TemporaryDirectory(prefix="kube-iam-bench-") as folder:
            pair = Path(folder, "pair.pem")
            pair.touch(mode=0o600)
            pair.write_text(f"{access.certificate_pem}\n{access.key_pem}")
            context.load_cert_chain(pair)
        parts = urlsplit(access.server)
        self._connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, context=context, timeout=WAIT_SECONDS)
        self._pause = pause

    def ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """One request, one JSON object."""
        headers = {"Content-Type": "application/json"} if body is not None else {}
        self._connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = self._connection.getresponse()
        data = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {data[:300]!r}")
        document: dict[str, Any] = json.loads(data)
        return document

    def new_certificate(self, username: str) -> tuple[bytes, bytes]:
        """(certificate, key), both PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, username)])
        csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
        request = self.ask("POST", PATH, {
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "metadata": {"name": f"bare-{secrets.token_hex(10)}"},
            "spec": {
                "request": base64.b64encode(csr.public_bytes(serialization.Encoding.PEM)).decode(),
                "signerName": "kubernetes.io/kube-apiserver-client", "expirationSeconds": 3600, "usages": ["client auth"],
            },
        })  # fmt: skip
        request["status"] = {"conditions": [{"type": "Approved", "status": "True", "reason": "Bench", "message": "bare"}]}
        path = f"{PATH}/{request['metadata']['name']}"
        self.ask("PUT", f"{path}/approval", request)
        ends = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < ends:
            signed = self.ask("GET", path)["status"].get("certificate")
            if signed:
                pem = key.private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
                )
                return base64.b64decode(signed), pem
            time.sleep(self._pause)
        raise TimeoutError(f"not signed within {WAIT_SECONDS} s")
