"""One API server over HTTPS, in terms of objects and the product's errors.

Requests go through the official client's configuration and connection pool, raw: building its model objects for ten
thousand bindings takes seconds. No redirect is followed and nothing is retried here; reconciliation repeats.
"""

from __future__ import annotations

import json
import ssl
import tempfile
import time
from typing import Any, cast
from urllib.parse import urlencode

import urllib3
from kubernetes import client as kubernetes

from iam import log
from iam.errors import Conflict, NotFound, Unavailable
from iam.kube.kubeconfig import Access
from iam.kube.requests import Request

TIMEOUT_SECONDS = (3.0, 15.0)
PAGE = 500
MAX_ITEMS = 1_000_000
REQUEST_SECONDS = 30.0
"""For one whole request, however slowly the answer drips."""
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
        configuration.retries = False
        configuration.connection_pool_maxsize = parallel
        self.server = access.server
        self.parallel = parallel
        self._client = kubernetes.ApiClient(configuration)
        self._client.rest_client.pool_manager.connection_pool_kw["ssl_context"] = _tls_context(access)
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
            page, metadata = answer.get("items"), answer.get("metadata") or {}
            is_list = str(answer.get("kind", "")).endswith("List") and isinstance(metadata, dict)
            if not is_list or not isinstance(page, list | None) or not all(isinstance(item, dict) for item in page or ()):
                raise self._nonsense(path)
            items += page or []
            before, resume = resume, str(metadata.get("continue") or "")
            if not resume:
                return items
            if resume == before or len(items) > MAX_ITEMS:
                raise self._nonsense(path)

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

    def allows(self, request: Request) -> bool:
        """Ask the API server whether somebody may do something (SubjectAccessReview). Raises Refused where we may not ask."""
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": request.as_review()}
        answer = self.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
        return (answer.get("status") or {}).get("allowed") is True

    def close(self) -> None:
        """Give connections back."""
        self._client.rest_client.close()

    def _nonsense(self, path: str) -> Unavailable:
        words = "What answers at %(server)s is no Kubernetes API: %(path)s is not as it should be."
        return Unavailable(words, server=self.server, path=path)

    def _request(self, method: str, path: str, body: Object | None = None, query: dict[str, str] | None = None) -> Object:
        url = self.server + path + ("?" + urlencode(query) if query else "")
        headers = self._headers | ({"Content-Type": "application/json"} if body is not None else {})
        try:
            answer = self._client.rest_client.request(  # type: ignore[no-untyped-call]
                method, url, headers=headers, body=body, _request_timeout=TIMEOUT_SECONDS
            )
            data = _whole(answer.response, time.monotonic() + REQUEST_SECONDS)
            answer.response.release_conn()
        except (urllib3.exceptions.HTTPError, kubernetes.ApiException, OSError) as error:
            _log.warning("cluster did not answer", server=self.server, method=method, path=path, error=_brief(error))
            raise Unavailable(
                "The cluster at %(server)s does not answer: %(why)s.", server=self.server, why=_why(error)
            ) from None
        return self._read(method, path, answer.status, data)

    def _read(self, method: str, path: str, status: int, data: bytes) -> Object:
        try:
            document = json.loads(data)
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


def _tls_context(access: Access) -> ssl.SSLContext:
    """Verified against the registered CA; our client certificate is in a file (mode 0600) only while it is loaded."""
    context = ssl.create_default_context(cadata=access.ca_pem or None)
    if access.certificate_pem and access.key_pem:
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", prefix="kube-iam-") as pair:
            pair.write(access.certificate_pem + "\n" + access.key_pem)
            pair.flush()
            context.load_cert_chain(pair.name)
    return context


def _whole(response: urllib3.BaseHTTPResponse, ends: float) -> bytes:
    """The body, within the time and size that one answer may take."""
    parts: list[bytes] = []
    size = 0
    while part := response.read1(1024 * 1024, decode_content=True):
        parts.append(part)
        size += len(part)
        if size > MAX_ANSWER or time.monotonic() > ends:
            response.close()
            raise urllib3.exceptions.ProtocolError("the answer timed out" if size <= MAX_ANSWER else "the answer is too large")
    return b"".join(parts)


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
