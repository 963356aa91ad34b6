"""A kubeconfig with a new certificate, one at a time: through our HTTP API, against the bare sequence."""

from __future__ import annotations

from bench.ground import Ground
from bench.issuing import issuing
from bench.measure import in_turn, milliseconds
from bench.table import Row, Target

PAIRS = 80
PACE = 0.13
"""Two certificates in this time: kube-controller-manager signs 20 a second, and this is about latency."""
PAUSE = 0.001
BURST = 15


def run(ground: Ground) -> list[Row]:
    """p50 and p95."""
    with issuing(ground, "kubeconfig") as both:
        ours, bare = both.ours(), both.bare(PAUSE)
        in_turn(ours, bare, 8, pace=PACE)
        turns = in_turn(ours, bare, PAIRS, pace=PACE)
        in_turn(ours, bare, BURST, pace=0.0)  # uses up what the signer lets through at once
        loaded = in_turn(ours, bare, PAIRS // 2, pace=0.0)
    anchor_is = "key, create, approve, read over one connection"
    return [
        Row(
            f"new kubeconfig over HTTP, {ground.database_kind}, with pauses, p50",
            milliseconds(turns.ours), milliseconds(turns.anchor), "ms", anchor_is, Target("ratio <=", 1.3),
        ),
        Row(
            "the same back to back, at the signer's own limit, p50", milliseconds(loaded.ours), milliseconds(loaded.anchor), "ms",
            anchor_is, Target("ratio <=", 1.3),
        ),
        Row("with pauses, p95", milliseconds(turns.ours, 0.95), milliseconds(turns.anchor, 0.95), "ms", anchor_is),
    ]
