"""What is counted reaches whoever exports it: once, with the labels of the table, and no other."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from pathlib import Path

import pytest
import structlog
from tests.unit.kernel.bench import Bench, begun, call, delivery, one

from raysume import limits, wait, workflow
from raysume.actors import metrics
from raysume.actors.kernel.commits import Commit
from raysume.actors.metrics import (
    CALLS_ACCEPTED,
    DELIVERY_SECONDS,
    TABLE,
    Durations,
    Growth,
    Metric,
    PoolMeters,
    RayExport,
    export_regularly,
)
from raysume.records import CallRecord, Segment
from raysume.serve_apps.ingress.metrics import IngressMeters

ROW = re.compile(
    r"\| `(?P<name>raysume_\w+)` \| (?P<kind>\w+) \| (?P<unit>\w+) \|(?P<labels>[^|]*)\|"
)
DOCUMENT = Path(__file__).parents[3] / "docs" / "metrics.md"


class Recorded:
    """Keeps what is exported, as Ray would."""

    def __init__(self) -> None:
        self.values: list[tuple[str, float, dict[str, str]]] = []

    def record(self, metric: Metric, value: float, **labels: str) -> None:
        """See `Export`."""
        assert labels.keys() <= set(metric.labels)
        self.values.append((metric.name, value, labels))


@workflow
async def followed() -> str:
    first = await wait(begun).match_any()
    second = await wait(one).match(key=first.input.key)
    return str(second.input.n)


def test_why_a_call_was_taken_by_nobody_is_counted_by_reason() -> None:
    bench = Bench(followed)
    commit = bench.apply(
        delivery(
            call(one, 0, key="a"),  # nobody waits yet
            call(begun, 1, key="b"),
            call(one, 2, key="b"),
            call(one, 3, key="b"),  # it waits no more
        )
    )
    assert (commit.applied_calls, commit.unmatched) == (4, {"no_wait": 2})
    bench.kernel.workflow.active = False
    try:
        stopped = bench.apply(delivery(call(begun, 4, key="c")))
    finally:
        bench.kernel.workflow.active = True
    assert stopped.unmatched == {"inactive": 1}


def test_commits_that_become_one_count_as_both_did() -> None:
    one, two = Commit(applied_calls=2), Commit(applied_calls=1)
    one.passed("no_wait")
    two.passed("no_wait")
    two.passed("elsewhere")
    one.absorb(two)
    assert (one.applied_calls, one.unmatched) == (3, {"no_wait": 2, "elsewhere": 1})


def test_a_counter_leaves_by_what_it_has_grown() -> None:
    recorded, grown = Recorded(), Growth()
    meters = PoolMeters()
    for calls in (3, 0, 2):
        meters.has_applied(Commit(applied_calls=calls))
        grown.export(recorded, metrics.CALLS_MATCHED, meters.applied)
    assert [value for _, value, _ in recorded.values] == [3, 2]


def test_counters_of_several_reasons_grow_apart() -> None:
    recorded, grown = Recorded(), Growth()
    grown.export(recorded, metrics.CALLS_UNMATCHED, 2, reason="no_wait")
    grown.export(recorded, metrics.CALLS_UNMATCHED, 2, reason="inactive")
    grown.export(recorded, metrics.CALLS_UNMATCHED, 3, reason="no_wait")
    assert [(value, labels["reason"]) for _, value, labels in recorded.values] == [
        (2, "no_wait"),
        (2, "inactive"),
        (1, "no_wait"),
    ]


def test_durations_leave_once_and_are_bounded() -> None:
    recorded, durations = Recorded(), Durations()
    assert durations.timed(max, 1, 2) == 2
    with pytest.raises(ZeroDivisionError):
        durations.timed(divmod, 1, 0)
    durations.export(recorded, metrics.APPLY_SECONDS)
    durations.export(recorded, metrics.APPLY_SECONDS)
    [(name, value, _)] = recorded.values
    assert name == "raysume_apply_seconds"
    assert value >= 0
    for _ in range(limits.DURATIONS_KEPT_MAX + 1):
        durations.seconds.append(0.0)
    assert len(durations.seconds) == limits.DURATIONS_KEPT_MAX


async def test_an_ingress_counts_what_is_durable_and_times_what_arrived() -> None:
    recorded, meters = Recorded(), IngressMeters()
    record = CallRecord("1", "m", "s", 0, b"{}")
    meters.has_stored([Segment(1, 0, 0, [record] * 3), Segment(1, 3, 1, [record])])

    async def deliver(pool: str, delivery: bytes) -> int:
        if not delivery:
            raise OSError(pool)
        return len(delivery)

    timed = meters.timing(deliver)
    assert await timed("pool", b"12345") == 5
    with pytest.raises(OSError, match="pool"):
        await timed("pool", b"")
    meters.report(recorded)
    meters.report(recorded)
    assert [name for name, _, _ in recorded.values] == [CALLS_ACCEPTED.name, DELIVERY_SECONDS.name]
    assert recorded.values[0][1:] == (4, {})


async def test_trouble_with_exporting_is_logged_once_and_ends_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "METRICS_INTERVAL_S", 0.0)
    asked, enough = Counter[str](), asyncio.Event()

    def export() -> None:
        asked["times"] += 1
        if asked["times"] == 3:
            enough.set()
        raise OSError("Ray is away")

    with structlog.testing.capture_logs() as logs:
        task = asyncio.create_task(export_regularly(export))
        await enough.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert [line["event"] for line in logs] == ["metrics_not_exported"]


def test_ray_takes_every_metric_of_the_table() -> None:
    export = RayExport(workflow="w", version="1")
    for metric in TABLE:
        more = {name: "x" for name in metric.labels if name not in ("workflow", "version")}
        export.record(metric, 1, **more)
        export.record(metric, 1, **more)


def test_the_document_has_every_metric_with_its_labels() -> None:
    rows = {
        found["name"]: found
        for line in DOCUMENT.read_text(encoding="utf-8").splitlines()
        if (found := ROW.match(line))
    }
    assert list(rows) == [metric.name for metric in TABLE]
    for metric in TABLE:
        row = rows[metric.name]
        assert row["kind"] == metric.kind
        assert tuple(re.findall(r"`(\w+)`", row["labels"])) == metric.labels
        assert bool(metric.bounds) == (metric.kind == "histogram")
