"""What the engine measures of itself, and how it leaves a process: through Ray, to Prometheus.

Whatever works adds to plain numbers, once for a batch; a task hands what has grown to Ray once a
second. Recording with Ray costs some microseconds for each value, so nothing records there while
it works. Every metric stands here, in one table; `docs/metrics.md` explains them.
"""

from __future__ import annotations

import asyncio
import importlib
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Protocol, TypeVar

import structlog

from raysume import limits

if TYPE_CHECKING:
    from raysume.actors.hosting import PoolHost
    from raysume.actors.kernel.commits import Commit
    from raysume.storage.ports import StoreCommit

P = ParamSpec("P")
R = TypeVar("R")

_log = structlog.get_logger("raysume.metrics")

# --- the table ---------------------------------------------------------------------

_POOL = ("workflow", "version")
_FAST_S = (0.001, 0.005, 0.02, 0.1, 0.5, 2.0)
_SLOW_S = (0.01, 0.1, 1.0, 10.0, 60.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric of the table."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    meaning: str
    """One line, which Prometheus shows, too."""
    bounds: tuple[float, ...] = ()
    """Of a histogram: where its buckets end."""


CALLS_ACCEPTED = Metric(
    name="raysume_calls_accepted_total",
    kind="counter",
    labels=(),
    meaning="Calls that this ingress replica made durable.",
)
DELIVERY_SECONDS = Metric(
    name="raysume_delivery_seconds",
    kind="histogram",
    labels=(),
    meaning="From sending a delivery to a pool until it has been received.",
    bounds=_FAST_S,
)
CALLS_MATCHED = Metric(
    name="raysume_calls_matched_total",
    kind="counter",
    labels=_POOL,
    meaning="Calls taken by a waiting instance, or by a new one, as they were applied.",
)
CALLS_UNMATCHED = Metric(
    name="raysume_calls_unmatched_total",
    kind="counter",
    labels=(*_POOL, "reason"),
    meaning="Calls that nobody in this pool member took as they were applied.",
)
APPLY_SECONDS = Metric(
    name="raysume_apply_seconds",
    kind="histogram",
    labels=_POOL,
    meaning="Applying one batch of events in memory, all its turns included.",
    bounds=_FAST_S,
)
COMMIT_SECONDS = Metric(
    name="raysume_commit_seconds",
    kind="histogram",
    labels=_POOL,
    meaning="Making batches durable in one transaction, with a checkpoint if one was due.",
    bounds=_FAST_S,
)
BACKLOG_CALLS = Metric(
    name="raysume_backlog_calls",
    kind="gauge",
    labels=_POOL,
    meaning="Calls that a pool member has received and not applied.",
)
ACTIVE_WAITS = Metric(
    name="raysume_active_waits",
    kind="gauge",
    labels=_POOL,
    meaning="Waits that a call could meet now, the standing first one included.",
)
INSTANCES = Metric(
    name="raysume_instances",
    kind="gauge",
    labels=(*_POOL, "temperature"),
    meaning="Instances: loaded as objects, packed as bytes, or cold: in the store only.",
)
CHECKPOINT_BYTES = Metric(
    name="raysume_checkpoint_bytes_total",
    kind="counter",
    labels=_POOL,
    meaning="Bytes of instance rows and index runs written by checkpoints.",
)
TIMER_LAG_SECONDS = Metric(
    name="raysume_timer_lag_seconds",
    kind="histogram",
    labels=_POOL,
    meaning="From when timers were due until what they did was durable.",
    bounds=_SLOW_S,
)

TABLE = (
    CALLS_ACCEPTED,
    DELIVERY_SECONDS,
    CALLS_MATCHED,
    CALLS_UNMATCHED,
    APPLY_SECONDS,
    COMMIT_SECONDS,
    BACKLOG_CALLS,
    ACTIVE_WAITS,
    INSTANCES,
    CHECKPOINT_BYTES,
    TIMER_LAG_SECONDS,
)
"""Every metric there is."""

# --- while it works ----------------------------------------------------------------


@dataclass(slots=True)
class Durations:
    """How long things took since the last export."""

    seconds: deque[float] = field(
        default_factory=lambda: deque[float](maxlen=limits.DURATIONS_KEPT_MAX)
    )

    def timed(self, do: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """What `do` gives; how long it took is known. One that raises does not count."""
        begun = time.perf_counter()
        result = do(*args, **kwargs)
        self.seconds.append(time.perf_counter() - begun)
        return result

    def export(self, to: Export, metric: Metric) -> None:
        """Everything so far has left."""
        while self.seconds:
            to.record(metric, self.seconds.popleft())


@dataclass(slots=True)
class PoolMeters:
    """What one member of a pool counts. All of it may be read while it works."""

    applied: int = 0
    unmatched: dict[str, int] = field(default_factory=dict[str, int])
    checkpoint_bytes: int = 0
    apply: Durations = field(default_factory=Durations)
    commit: Durations = field(default_factory=Durations)
    timer_lag: Durations = field(default_factory=Durations)

    def has_applied(self, commit: Commit) -> None:
        """A batch was applied."""
        self.applied += commit.applied_calls
        for reason, calls in commit.unmatched.items():
            self.unmatched[reason] = self.unmatched.get(reason, 0) + calls

    def has_written(self, prepared: StoreCommit) -> None:
        """A transaction has committed."""
        for checkpoint in prepared.checkpoints:
            self.checkpoint_bytes += sum(len(row.body) for row in checkpoint.rows)
            self.checkpoint_bytes += sum(len(run.body) for run in checkpoint.runs)


# --- once a second -----------------------------------------------------------------


class Export(Protocol):
    """Where values go."""

    def record(self, metric: Metric, value: float, **labels: str) -> None:
        """The counter has grown by the value, the gauge is the value, the histogram has it too."""
        ...


class Growth:
    """By how much counters have grown since they were last asked about."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, ...], int] = {}

    def export(self, to: Export, metric: Metric, total: int, **labels: str) -> None:
        """What was added to the counter has left."""
        key = (metric.name, *labels.values())
        grown = total - self._seen.get(key, 0)
        if grown:
            self._seen[key] = total
            to.record(metric, grown, **labels)


class RayExport:
    """Hands values to Ray, which gives those of all processes of a node to Prometheus.

    Args:
        labels: the same for every value that has such labels.
    """

    def __init__(self, **labels: str) -> None:
        self._labels = labels
        self._made: dict[str, Any] = {}

    def record(self, metric: Metric, value: float, **labels: str) -> None:
        """See `Export`."""
        made = self._made.get(metric.name)
        if made is None:
            made = self._made[metric.name] = self._make(metric)
        made(value, labels or None)

    def _make(self, metric: Metric) -> Callable[[float, Mapping[str, str] | None], None]:
        ray_metrics: Any = importlib.import_module("ray.util.metrics")
        tags = {name: value for name, value in self._labels.items() if name in metric.labels}
        match metric.kind:
            case "counter":
                made = ray_metrics.Counter(metric.name, metric.meaning, metric.labels)
                record = made.inc
            case "gauge":
                made = ray_metrics.Gauge(metric.name, metric.meaning, metric.labels)
                record = made.set
            case "histogram":
                bounds = list(metric.bounds)
                made = ray_metrics.Histogram(metric.name, metric.meaning, bounds, metric.labels)
                record = made.observe
        made.set_default_tags(tags)
        recorder: Callable[[float, Mapping[str, str] | None], None] = record
        return recorder


class PoolReport:
    """Exports what a member of a pool counts, and how it stands."""

    def __init__(self) -> None:
        self._growth = Growth()

    def __call__(self, host: PoolHost, to: Export) -> None:
        """Everything counted so far has left."""
        meters, grown = host.meters, self._growth
        unmatched = dict(meters.unmatched)
        grown.export(to, CALLS_MATCHED, meters.applied - sum(unmatched.values()))
        for reason, calls in unmatched.items():
            grown.export(to, CALLS_UNMATCHED, calls, reason=reason)
        grown.export(to, CHECKPOINT_BYTES, meters.checkpoint_bytes)
        meters.apply.export(to, APPLY_SECONDS)
        meters.commit.export(to, COMMIT_SECONDS)
        meters.timer_lag.export(to, TIMER_LAG_SECONDS)
        instances = host.kernel.instances
        to.record(BACKLOG_CALLS, host.backlog)
        to.record(ACTIVE_WAITS, len(host.kernel.index))
        to.record(INSTANCES, len(instances.loaded), temperature="loaded")
        to.record(INSTANCES, instances.packed, temperature="packed")
        to.record(INSTANCES, len(instances.cold), temperature="cold")


async def export_regularly(export: Callable[[], None]) -> None:
    """`export` is called once a second, until this is cancelled.

    What goes wrong in it is logged once, and delays nothing: the next call comes all the same.
    """
    trouble = ""
    while True:
        await asyncio.sleep(limits.METRICS_INTERVAL_S)
        try:
            export()
        except Exception as error:
            if repr(error) != trouble:
                trouble = repr(error)
                _log.warning("metrics_not_exported", error=trouble)
