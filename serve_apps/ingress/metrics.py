"""What an ingress replica measures of itself; the table of all metrics is in `actors/metrics.py`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from raysume.actors.metrics import (
    CALLS_ACCEPTED,
    DELIVERY_SECONDS,
    Durations,
    Export,
    Growth,
)
from raysume.records import Segment
from raysume.serve_apps.ingress.delivery import Deliver


@dataclass(slots=True)
class IngressMeters:
    """What one replica counts."""

    accepted: int = 0
    delivery: Durations = field(default_factory=Durations)
    _growth: Growth = field(default_factory=Growth)

    def has_stored(self, segments: Sequence[Segment]) -> None:
        """The calls of these segments are durable."""
        self.accepted += sum(len(segment.calls) for segment in segments)

    def timing(self, deliver: Deliver) -> Deliver:
        """As `deliver`; how long those deliveries took that arrived is known."""

        async def timed(pool: str, delivery: bytes) -> int:
            begun = time.perf_counter()
            backlog = await deliver(pool, delivery)
            self.delivery.seconds.append(time.perf_counter() - begun)
            return backlog

        return timed

    def report(self, to: Export) -> None:
        """Everything counted so far has left."""
        self._growth.export(to, CALLS_ACCEPTED, self.accepted)
        self.delivery.export(to, DELIVERY_SECONDS)
