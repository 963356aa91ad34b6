"""The cluster as signer: a CertificateSigningRequest, approved by us, signed by kube-controller-manager.

Source: https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/. The object's name is
random, the subject is ours, and the caller compares what comes back: anybody with rights on requests could otherwise
swap one for another.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from datetime import timedelta
from typing import Any

from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_exponential

from iam.clusters.base import Signed
from iam.clusters.client import ApiServer
from iam.errors import Conflict, Unavailable
from iam.kube.bindings import MANAGED_BY, MANAGER
from iam.kube.certificates import SigningRequest

SIGNER = "kubernetes.io/kube-apiserver-client"
PATH = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
WAIT_SECONDS = 20.0
"""kube-controller-manager signs about 20 a second; a longer queue than this is better told than waited for."""


class CsrSigner:
    """Signs through the certificates API of one cluster."""

    def __init__(self, api: ApiServer, wait_seconds: float = WAIT_SECONDS) -> None:
        self._api = api
        self._wait_seconds = wait_seconds

    def sign(self, request: SigningRequest, lifetime: timedelta) -> Signed:
        """Create, approve, wait. Raises Unavailable when the cluster refuses, denies or does not sign."""
        name = f"kube-iam-{secrets.token_hex(10)}"
        created = self._api.post(PATH, _document(name, request, lifetime))
        try:
            self._approve(name, created)
            return Signed(self._wait(name), name)
        except (AttributeError, KeyError, TypeError):
            raise Unavailable("What the cluster returned is not a signing request.") from None

    def _approve(self, name: str, created: dict[str, Any]) -> None:
        created["status"] = {
            "conditions": [
                {
                    "type": "Approved",
                    "status": "True",
                    "reason": "KubeIam",
                    "message": "kube-iam authenticated this user and asked for this certificate",
                }
            ]
        }
        try:
            self._api.put(f"{PATH}/{name}/approval", created)
        except Conflict:
            fresh = self._api.get(f"{PATH}/{name}")
            fresh["status"] = {**(fresh.get("status") or {}), **created["status"]}
            self._api.put(f"{PATH}/{name}/approval", fresh)

    def _wait(self, name: str) -> bytes:
        attempts = Retrying(
            retry=retry_if_result(lambda pem: pem is None),
            wait=wait_exponential(multiplier=0.001, exp_base=1.5, max=0.25),
            stop=stop_after_delay(self._wait_seconds),
        )
        try:
            pem: bytes | None = attempts(self._certificate, name)
        except RetryError:
            pem = None
        if pem is None:
            raise Unavailable(
                "The cluster approved the request but did not sign it within %(seconds)d s. Some managed clusters sign no "
                "client certificates; give this cluster a CA signer instead.",
                seconds=self._wait_seconds,
            )
        return pem

    def _certificate(self, name: str) -> bytes | None:
        status = self._api.get(f"{PATH}/{name}").get("status") or {}
        for condition in status.get("conditions") or ():
            if condition.get("type") in {"Denied", "Failed"}:
                raise Unavailable(
                    "The cluster did not sign: %(type)s, %(why)s",
                    type=condition["type"], why=str(condition.get("message") or condition.get("reason") or "")[:300],
                )
        encoded = status.get("certificate")
        if not encoded:
            return None
        try:
            return base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            raise Unavailable("What the cluster returned is not a certificate.") from None


def _document(name: str, request: SigningRequest, lifetime: timedelta) -> dict[str, Any]:
    return {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": name, "labels": {MANAGED_BY: MANAGER}},
        "spec": {
            "request": base64.b64encode(request.pem).decode(),
            "signerName": SIGNER,
            "expirationSeconds": int(lifetime.total_seconds()),
            "usages": ["digital signature", "client auth"],
        },
    }
