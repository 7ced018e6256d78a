"""Steady load for a long time: does the memory of a process grow, is a call lost?

    python -m scale_tests.soak --minutes 60 --json

Instances begin, take some calls and end; as many wait all the time. The memory (RSS) of every
process is sampled. Its slope is that of the line of least squares through the second half of the
samples: in the first half caches and windows fill up, if it lasts long enough (calls are kept
for look-back up to a number, what has ended for `--retention`). `spread` has the slopes of the
third and the last quarter. `lost` are accepted calls without a durable turn.
"""

from __future__ import annotations

import argparse
import random
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

from raysume import configure
from raysume.client import Client
from raysume.serve_apps.development import Development
from scale_tests.measuring import Engine, measured, percentile, slope, usual_options
from scale_tests.processes import resident_mb

WORKLOADS: Final = Path(__file__).with_name("soak_workloads.py")
WORKFLOW: Final = "errand"
TICK_S: Final = 0.1
"""From one batch of calls to the next."""
CALLS_MAX: Final = 8
"""Calls of an errand after its first: from 1 to so many."""
PATIENCE_S: Final = 60.0

Sample = tuple[float, Mapping[str, float]]
"""Seconds since the begin of the load, and MB by part of the engine."""


class Errands:
    """What to send next, so that always about as many errands wait."""

    def __init__(self, waiting: int, seed: int) -> None:
        self._wanted, self._random = waiting, random.Random(seed)
        self._open: list[tuple[int, int]] = []
        """Number of an errand, and the calls that it still takes."""
        self.begun = 0
        """How many have begun so far."""

    def calls(self, count: int) -> list[dict[str, Any]]:
        """The next so many calls."""
        return [
            self._begin() if len(self._open) < self._wanted else self._report()
            for _ in range(count)
        ]

    def rest(self) -> list[dict[str, Any]]:
        """All calls that are needed until every errand has ended."""
        made: list[dict[str, Any]] = []
        while self._open:
            made.append(self._report())
        return made

    def _begin(self) -> dict[str, Any]:
        self.begun += 1
        calls = self._random.randint(1, CALLS_MAX)
        self._open.append((self.begun, calls))
        return {"method": "soak.begun", "input": {"errand": self.begun, "calls": calls}}

    def _report(self) -> dict[str, Any]:
        at = self._random.randrange(len(self._open))
        number, left = self._open[at]
        if left > 1:
            self._open[at] = (number, left - 1)
        else:
            self._open[at] = self._open[-1]
            self._open.pop()
        return {"method": "soak.reported", "input": {"errand": number, "note": "x" * 40}}


class Sampler:
    """Samples memory in a thread, until it is stopped."""

    def __init__(self, every_s: float) -> None:
        self._every_s, self._ended = every_s, threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.samples: list[Sample] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        began = time.monotonic()
        while not self._ended.wait(self._every_s):
            self.samples.append((time.monotonic() - began, resident_mb()))


def slopes_mb_per_hour(samples: Sequence[Sample]) -> dict[str, float]:
    """How fast the memory of each part grows; of parts that are in all samples."""
    if not samples:
        return {}
    parts = [name for name in samples[0][1] if all(name in held for _, held in samples)]
    return {
        name: round(slope([(at / 3600, held[name]) for at, held in samples]), 2) for name in parts
    }


def memory_figures(samples: Sequence[Sample]) -> dict[str, Any]:
    """The slopes of the second half and of its quarters, and what is held at the end."""
    half, last = len(samples) // 2, len(samples) * 3 // 4
    slopes = slopes_mb_per_hour(samples[half:])
    if not slopes:
        raise SystemExit("no sample was taken: --minutes is too short, or --sample too long")
    quarters = [slopes_mb_per_hour(part) for part in (samples[half:last], samples[last:])]
    return {
        "rss_slope_mb_per_hour": slopes["engine"],
        "rss_slopes_mb_per_hour": slopes,
        "rss_mb": {name: round(held, 1) for name, held in samples[-1][1].items()},
        "rss_first_mb": {name: round(held, 1) for name, held in samples[0][1].items()},
        "samples": len(samples),
        "spread": {
            "rss_slope_mb_per_hour": sorted(one["engine"] for one in quarters if one),
        },
    }


def push_steadily(client: Client, errands: Errands, *, rate: float, seconds: float) -> list[float]:
    """So many calls a second were accepted; how long each batch took (milliseconds).

    A batch that takes too long makes those after it late: they catch up.
    """
    began, taken = time.monotonic(), list[float]()
    size = max(1, round(rate * TICK_S))
    for tick in range(round(seconds * rate / size)):
        time.sleep(max(0.0, began + tick * size / rate - time.monotonic()))
        sent = time.monotonic()
        client.push_many(errands.calls(size))
        taken.append((time.monotonic() - sent) * 1_000)
    return taken


def run(options: argparse.Namespace, data_dir: Path) -> dict[str, Any]:
    """The figures of one engine on a fresh data directory."""
    kept = f"{options.retention}s"
    configure(mailbox_window=kept, history_retention=kept, call_retention=kept)
    errands = Errands(options.waits, options.seed)
    with (
        Development(WORKLOADS, data_dir=data_dir, port=0, dashboard=False) as development,
        development.client() as client,
    ):
        engine = Engine(development, WORKFLOW)
        idle_s = engine.stats()["cpu_s"]
        accepted = client.push_many(errands.calls(options.waits * 2))  # to warm up
        begun = time.monotonic()
        with Sampler(options.sample) as sampler:
            batches = push_steadily(
                client, errands, rate=options.rate, seconds=options.minutes * 60
            )
        took = time.monotonic() - begun
        steady = len(batches) * max(1, round(options.rate * TICK_S))
        accepted += steady + client.push_many(errands.rest())
        stats = engine.wait_for_turns(accepted, patience_s=PATIENCE_S)
        return memory_figures(sampler.samples) | {
            "lost": accepted - stats["turns"],
            "left_waiting": stats["instances"]["waiting"],
            "calls": accepted,
            "calls_per_s": round(steady / took, 1),
            "instances": errands.begun,
            "accepted_p50_ms": round(percentile(batches, 50), 2),
            "accepted_p99_ms": round(percentile(batches, 99), 2),
            "pool_cpu_us_per_call": round((stats["cpu_s"] - idle_s) / accepted * 1e6, 1),
            "waits": options.waits,
            "minutes": options.minutes,
            "retention_s": options.retention,
        }


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options of a run."""
    parser = usual_options(__doc__, runs=None)
    add = parser.add_argument
    add("--minutes", type=float, default=30.0, help="how long the load lasts")
    add("--rate", type=float, default=400.0, help="calls a second")
    add("--waits", type=int, default=2_000, help="instances that wait at a time")
    add("--sample", type=float, default=5.0, help="seconds between two looks at the memory")
    add("--retention", type=int, default=60, help="seconds for which what has ended is kept")
    return parser.parse_args(arguments)


def main() -> None:
    """Runs the measurement and prints its figures."""
    measured(parsed(), run)


if __name__ == "__main__":
    main()
