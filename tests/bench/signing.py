"""Certificates a second, 16 clients at once: through our HTTP API, against what the signer gives at most."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from bench.ground import Ground
from bench.issuing import issuing
from bench.measure import Work, at_once, rate_at_once
from bench.table import Row, Target

CLIENTS = 16
ROUNDS = 2
SECONDS, SKIP = 4.0, 1.0
"""The first second spends what the signer saved up while the round before it ran out."""
DRAIN_SECONDS = 2.5
"""kube-controller-manager starts with 30 requests in hand; spent before, they make nobody look faster."""
PAUSE = 0.02


def run(ground: Ground) -> list[Row]:
    """One row."""
    with issuing(ground, "signing") as both:
        ours = [both.ours() for _ in range(CLIENTS)]
        bare = [both.bare(PAUSE) for _ in range(CLIENTS)]
        at_once(ours, 1.0)
        at_once(bare, DRAIN_SECONDS)
        rates = [(_rate(ours), _rate(bare)) for _ in range(ROUNDS)]
    return [
        Row(
            f"certificates, {CLIENTS} at once over HTTP", statistics.mean(our for our, _ in rates),
            statistics.mean(bare for _, bare in rates), "/s", f"the signer's ceiling: {CLIENTS} bare sequences",
            Target("ratio >=", 0.95),
        ),
    ]


def _rate(works: Sequence[Work]) -> float:
    return rate_at_once(at_once(works, SKIP + SECONDS), SECONDS, skip=SKIP)
