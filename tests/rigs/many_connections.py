"""Many kept-alive connections to one API server, for what is asked thousands of times."""

from __future__ import annotations

import http.client
import json
import ssl
import tempfile
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from iam.kube.kubeconfig import Access

REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
TIMEOUT_SECONDS = 30
Call = tuple[str, str, Any]
"""(method, path, body or None)"""
Answer = tuple[int, dict[str, Any]]


class ManyConnections:
    """Calls go out in parallel, one connection a thread; answers come back in the order of the calls."""

    def __init__(self, access: Access, parallel: int = 8) -> None:
        self._context = ssl.create_default_context(cadata=access.ca_pem)
        with tempfile.TemporaryDirectory(prefix="kube-iam-") as folder:
            pair = Path(folder, "pair.pem")
            pair.touch(mode=0o600)
            pair.write_text(f"{access.certificate_pem}\n{access.key_pem}")
            self._context.load_cert_chain(pair)
        parts = urlsplit(access.server)
        self._address = parts.hostname or "", parts.port
        self._local = threading.local()
        self._opened: list[http.client.HTTPSConnection] = []
        self._pool = ThreadPoolExecutor(parallel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._pool.shutdown(cancel_futures=True)
        for connection in self._opened:
            connection.close()

    def call(self, method: str, path: str, body: Any = None, headers: Iterable[tuple[str, str]] = ()) -> Answer:
        """One call: status and JSON object. A header may stand there twice."""
        connection = self._connection()
        data = json.dumps(body).encode() if body is not None else b""
        connection.putrequest(method, path)
        for name, value in (("Content-Type", "application/json"), ("Content-Length", str(len(data))), *headers):
            connection.putheader(name, value)
        connection.endheaders(data)
        answer = connection.getresponse()
        document: dict[str, Any] = json.loads(answer.read())
        return answer.status, document

    def every(self, calls: Iterable[Call]) -> list[dict[str, Any]]:
        """All calls; the first that fails raises RuntimeError."""
        return list(self._pool.map(lambda call: self._well(*call), calls))

    def items(self, path: str) -> list[dict[str, Any]]:
        """A whole list."""
        found: list[dict[str, Any]] = self._well("GET", path, None)["items"]
        return found

    def allowed(self, specs: Iterable[Mapping[str, Any]]) -> list[bool]:
        """What the API server answers to SubjectAccessReviews."""
        answers = self.every(("POST", REVIEWS, review(spec)) for spec in specs)
        return [answer["status"].get("allowed") is True for answer in answers]

    def _well(self, method: str, path: str, body: Any) -> dict[str, Any]:
        status, document = self.call(method, path, body)
        if status >= 300:
            raise RuntimeError(f"{method} {path}: {status} {document.get('message')}; sent {json.dumps(body)[:500]}")
        return document

    def _connection(self) -> http.client.HTTPSConnection:
        found: http.client.HTTPSConnection | None = getattr(self._local, "connection", None)
        if found is None:
            host, port = self._address
            found = self._local.connection = http.client.HTTPSConnection(host, port, context=self._context, timeout=TIMEOUT_SECONDS)
            self._opened.append(found)
        return found


def review(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A SubjectAccessReview."""
    return {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
