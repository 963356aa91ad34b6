"""For machines that watch us: alive, ready, metrics. No names of people or clusters' secrets in any of them."""

from __future__ import annotations

import os
import time

from flask import Blueprint, Response, current_app, g, request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

from iam import schema, services
from iam.services.base import WORKER

probes = Blueprint("probes", __name__)
_METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"}
_requests = Counter("kube_iam_http_requests_total", "Requests answered", ["endpoint", "method", "status"])
_seconds = Histogram("kube_iam_http_request_seconds", "Time to answer", ["endpoint"])


@probes.before_app_request
def _start_clock() -> None:
    g.started = time.perf_counter()


@probes.after_app_request
def _count(response: Response) -> Response:
    endpoint = request.endpoint or "none"
    method = request.method if request.method in _METHODS else "other"
    _requests.labels(endpoint, method, response.status_code).inc()
    _seconds.labels(endpoint).observe(time.perf_counter() - g.get("started", time.perf_counter()))
    return response


@probes.get("/healthz")
def alive() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@probes.get("/readyz")
def ready() -> tuple[dict[str, str], int]:
    """The database answers, and its schema is ours."""
    wrong = schema.mistake(current_app._get_current_object())  # type: ignore[attr-defined]  # noqa: SLF001
    return ({"status": "ok"}, 200) if wrong is None else ({"status": "not ready", "reason": "database"}, 503)


@probes.get("/metrics")
def metrics() -> Response:
    """Prometheus text format; counters over all server processes, gauges read from the database now."""
    registry = CollectorRegistry()
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        counters = generate_latest(registry)
    else:
        counters = generate_latest()
    return Response(counters + generate_latest(_gauges()), content_type=CONTENT_TYPE_LATEST)


def _gauges() -> CollectorRegistry:
    registry = CollectorRegistry()
    seen = services.current().heartbeats.last(WORKER)
    age = Gauge("kube_iam_worker_seconds", "Since a worker was last seen at work; -1 for never", registry=registry)
    age.set(round((services.current().world.now() - seen).total_seconds(), 1) if seen else -1)
    ours = services.current()
    for name, count in (ours.access.counts() | ours.clockwork.counts() | {"notices_held_up": ours.outbox.held_up()}).items():
        Gauge(f"kube_iam_{name}", f"How many {name.replace('_', ' ')}", registry=registry).set(count)
    behind = Gauge("kube_iam_cluster_behind", "1 while a cluster waits for a change", ["cluster"], registry=registry)
    failures = Gauge("kube_iam_cluster_failures", "Failed attempts since the last success", ["cluster"], registry=registry)
    bindings = Gauge("kube_iam_cluster_bindings", "Bindings of ours", ["cluster"], registry=registry)
    for state in services.current().reconciler.states(WORKER):
        behind.labels(state.cluster.name).set(state.is_behind)
        failures.labels(state.cluster.name).set(state.failures)
        bindings.labels(state.cluster.name).set(state.bindings)
    chain = ours.chain.state(WORKER)
    Gauge("kube_iam_audit_waiting", "Audit events that are not sealed yet", registry=registry).set(chain.waiting)
    Gauge("kube_iam_audit_forged", "Rows of the audit trail that this service did not write", registry=registry).set(chain.put_aside)
    lag = Gauge("kube_iam_audit_lag_seconds", "How long the oldest event waits that has not arrived", ["forwarder"], registry=registry)
    undelivered = Gauge("kube_iam_audit_behind", "Events that have not arrived", ["forwarder"], registry=registry)
    for forwarder in ours.forwarding.standings(WORKER):
        lag.labels(forwarder.name).set(forwarder.lag_seconds)
        undelivered.labels(forwarder.name).set(forwarder.behind)
    loose = Gauge("kube_iam_audit_anchor_behind", "Blocks that are not anchored", ["anchor"], registry=registry)
    for anchor in ours.anchoring.standings(WORKER):
        loose.labels(anchor.name).set(anchor.behind)
    stopped = Gauge("kube_iam_sync_stopped", "1 while a directory's sync has stopped", ["directory"], registry=registry)
    for sync in services.current().sync.states(WORKER):
        stopped.labels(sync.directory).set(bool(sync.alarm))
    return registry
