"""One API server over HTTPS, in terms of objects and the product's errors.

Requests go through the official client's configuration and connection pool, raw: building its model objects for ten
thousand bindings takes seconds. No redirect is followed and nothing is retried here; reconciliation repeats.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode

import urllib3
from kubernetes import client as kubernetes

from iam import log
from iam.errors import Conflict, NotFound, Unavailable
from iam.kube.kubeconfig import Access

TIMEOUT_SECONDS = (3.0, 15.0)
PAGE = 500
MAX_ANSWER = 64 * 1024 * 1024
_log = log.get(__name__)

Object = dict[str, Any]


class Refused(Unavailable):
    """The API server answered 401 or 403: our own credential lacks a right."""

    kind = "cluster-refused"


class ApiServer:
    """JSON in, JSON out. 404 is NotFound, 409 Conflict, 401/403 Refused, everything else Unavailable."""

    def __init__(self, access: Access, *, parallel: int = 24) -> None:
        configuration = kubernetes.Configuration()
        configuration.host = access.server
        configuration.verify_ssl = True
        configuration.ca_cert_data = access.ca_pem or None
        configuration.retries = False
        configuration.connection_pool_maxsize = parallel
        if access.certificate_pem and access.key_pem:
            self._files = tempfile.TemporaryDirectory(prefix="kube-iam-")  # mode 0700, gone with this object
            pair = Path(self._files.name, "pair.pem")
            pair.touch(mode=0o600)
            pair.write_text(access.certificate_pem + "\n" + access.key_pem, "utf-8")
            configuration.cert_file = configuration.key_file = str(pair)
        self.server = access.server
        self.parallel = parallel
        self._client = kubernetes.ApiClient(configuration)
        self._headers = {"Accept": "application/json", "User-Agent": "kube-iam"}
        if access.token:
            self._headers["Authorization"] = f"Bearer {access.token}"

    def get(self, path: str) -> Object:
        """One object, or whatever the path answers."""
        return self._request("GET", path)

    def list(self, path: str, label_selector: str = "") -> list[Object]:
        """All items, in pages."""
        items: list[Object] = []
        resume = ""
        while True:
            query = {"limit": str(PAGE)} | ({"labelSelector": label_selector} if label_selector else {})
            answer = self._request("GET", path, query=query | ({"continue": resume} if resume else {}))
            items += answer.get("items") or ()
            resume = (answer.get("metadata") or {}).get("continue") or ""
            if not resume:
                return items

    def post(self, path: str, body: Object) -> Object:
        """Create."""
        return self._request("POST", path, body)

    def put(self, path: str, body: Object) -> Object:
        """Replace."""
        return self._request("PUT", path, body)

    def delete(self, path: str, body: Object | None = None) -> Object:
        """Delete; ``body`` may carry DeleteOptions with preconditions."""
        return self._request("DELETE", path, body)

    def may(self, **attributes: str) -> bool:
        """Ask the API server whether our own credential may do something (SelfSubjectAccessReview)."""
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        answer = self.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
        return (answer.get("status") or {}).get("allowed") is True

    def close(self) -> None:
        """Give connections back."""
        self._client.rest_client.close()

    def _request(self, method: str, path: str, body: Object | None = None, query: dict[str, str] | None = None) -> Object:
        url = self.server + path + ("?" + urlencode(query) if query else "")
        headers = self._headers | ({"Content-Type": "application/json"} if body is not None else {})
        try:
            answer = self._client.rest_client.request(  # type: ignore[no-untyped-call]
                method, url, headers=headers, body=body, _request_timeout=TIMEOUT_SECONDS
            )
            data = answer.response.read(MAX_ANSWER + 1, decode_content=True)
            answer.response.release_conn()
        except (urllib3.exceptions.HTTPError, kubernetes.ApiException, OSError) as error:
            _log.warning("cluster did not answer", server=self.server, method=method, path=path, error=_brief(error))
            raise Unavailable(
                "The cluster at %(server)s does not answer: %(why)s.", server=self.server, why=_why(error)
            ) from None
        return self._read(method, path, answer.status, data)

    def _read(self, method: str, path: str, status: int, data: bytes) -> Object:
        try:
            document = json.loads(data) if len(data) <= MAX_ANSWER else None
        except (ValueError, RecursionError):
            document = None
        message = document.get("message") if isinstance(document, dict) else None
        said = str(message)[:300] if message else f"HTTP {status}"
        if status < 300 and isinstance(document, dict):
            return cast("Object", document)
        _log.info("cluster refused", server=self.server, method=method, path=path, status=status, message=said)
        if status in {401, 403}:
            raise Refused("The cluster at %(server)s refuses our own credential: %(said)s", server=self.server, said=said)
        if status == 404:
            raise NotFound("The cluster has no %(path)s.", path=path)
        if status in {409, 412}:
            raise Conflict("The cluster holds a newer version: %(said)s", said=said)
        raise Unavailable(
            "The cluster at %(server)s answered %(status)s where an object was expected: %(said)s",
            server=self.server, status=status, said=said,
        )


def _why(error: Exception) -> str:
    """A short reason that a person can act on; the whole error is in the log."""
    text = str(error)
    for sign, reason in (
        ("Hostname mismatch", "its certificate is for another host"),
        ("IP address mismatch", "its certificate is for another host"),
        ("CERTIFICATE_VERIFY_FAILED", "its certificate is not signed by the CA that is registered"),
        ("refused", "connection refused"),
        ("timed out", "timed out"),
        ("Name or service not known", "no such host"),
        ("resolve", "no such host"),
    ):
        if sign in text:
            return reason
    return "the connection broke"


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]
