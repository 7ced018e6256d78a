"""What measurements of a running engine have in common: looking at it, figures, printing."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import psutil

from raysume import ids, limits
from raysume.actors.untyped import RayError, actor_named, ray
from raysume.serve_apps.development import Development
from scale_tests.conditions import STORES, StoreKind, conditions, on_store
from scale_tests.telling import printing_options, tell

LOOK_S: Final = 0.02
"""Between two looks at an engine that is working something off."""

Stats = dict[str, Any]
"""See `raysume.actors.figures.figures_of`."""

# --- the engine ------------------------------------------------------------------


class Engine:
    """Looks at the running engine from outside its hot path."""

    def __init__(self, development: Development, workflow: str) -> None:
        """
        Args:
            workflow: whose pool is looked at.
        """
        self._development = development
        self._names = sorted(
            name for name in development.pool_pids() if name.startswith(f"{workflow}@")
        )
        self._pools = [actor_named(name) for name in self._names]

    def stats(self) -> Stats:
        """The figures of the pool: of all of its members together."""
        return together(ray.get([pool.stats.remote() for pool in self._pools]))

    def state(self, instance: str) -> dict[str, Any]:
        """The saved state of an instance."""
        shard = ids.shard_of(instance, limits.SHARDS)
        owned: list[Stats] = ray.get([pool.stats.remote() for pool in self._pools])
        [at] = [number for number, one in enumerate(owned) if shard in one["shards"]]
        state: dict[str, Any] = ray.get(self._pools[at].state.remote(instance))
        return state

    def wait_for_turns(self, turns: int, *, patience_s: float) -> Stats:
        """The stats, once that many turns are durable or nothing has moved for `patience_s`."""
        return self.wait_until(lambda stats: bool(stats["turns"] >= turns), patience_s=patience_s)

    def wait_until(self, is_done: Callable[[Stats], bool], *, patience_s: float) -> Stats:
        """The stats, once they are as asked or no turn has become durable for `patience_s`."""
        seen, since = -1, time.monotonic()
        while True:
            stats = self.stats()
            if is_done(stats) or time.monotonic() - since > patience_s:
                return stats
            if stats["turns"] != seen:
                seen, since = stats["turns"], time.monotonic()
            time.sleep(LOOK_S)

    def kill(self) -> int:
        """The process of the pool's first member got SIGKILL; its id."""
        pid = self._development.pool_pids()[self._names[0]]
        os.kill(pid, signal.SIGKILL)
        return pid

    def wait_for_successor(
        self, of: int, is_ready: Callable[[Stats], bool], *, patience_s: float
    ) -> Stats:
        """The stats of another process than `of`, once it has all shards and `is_ready`."""
        stats: Stats = {}
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            with contextlib.suppress(RayError):  # it is not back yet
                stats = self.stats()
                is_other = stats["pid"] != of and len(stats["shards"]) == limits.SHARDS
                if is_other and is_ready(stats):
                    return stats
            time.sleep(LOOK_S)
        raise SystemExit(f"{self._names[0]} was not back after {patience_s} s: {stats}")


def together(members: Sequence[Stats]) -> Stats:
    """The figures of several members of a pool as those of one.

    Each of them gets all calls: `applied_calls` are those that all of them have applied.
    """
    found: Stats = {"pool": members[0]["pool"], "pid": members[0]["pid"], "shards": []}
    for name in members[0].keys() - found.keys():
        values = [member[name] for member in members]
        if isinstance(values[0], dict):
            counts: list[dict[str, Any]] = values
            found[name] = {key: sum(count[key] for count in counts) for key in counts[0]}
        else:
            found[name] = min(values) if name == "applied_calls" else sum(values)
    found["shards"] = sorted(shard for member in members for shard in member["shards"])
    return found


def cpu_of_engine() -> float:
    """Seconds of CPU used so far by every process that this one started, directly or not."""
    total = 0.0
    for process in psutil.Process().children(recursive=True):
        try:
            times = process.cpu_times()
            total += times.user + times.system
        except psutil.Error:
            continue
    return total


def open_instances(development: Development, engine: Engine, method: str, waits: int) -> float:
    """`waits` instances wait, begun by calls `open-0`, `open-1` ...; bytes of the pool for each."""
    before = engine.stats()
    with development.client() as client:
        client.push_many(
            {"method": method, "id": f"open-{number}", "input": {"account": number}}
            for number in range(waits)
        )
    stats = engine.wait_for_turns(before["turns"] + waits, patience_s=30)
    if stats["instances"]["waiting"] != waits:
        raise SystemExit(f"{stats['instances']} instances instead of {waits} waiting")
    return float(stats["rss_bytes"] - before["rss_bytes"]) / waits


# --- figures ---------------------------------------------------------------------


def percentile(values: Sequence[float], percent: int) -> float:
    """What `percent` of the values do not exceed; between two of them in proportion.

    Args:
        percent: from 1 to 99.
    """
    if len(values) == 1:
        return values[0]
    found = statistics.quantiles(values, n=100)[percent - 1]
    return min(max(found, min(values)), max(values))


def spread(found: Iterable[object], names: Iterable[str]) -> dict[str, list[float]]:
    """Figures of all runs, each from the least to the greatest."""
    runs = list(found)
    return {name: sorted(getattr(one, name) for one in runs) for name in names}


def medians(found: Iterable[Mapping[str, float]]) -> dict[str, Any]:
    """Each figure's median over the runs, and `spread` with those of all runs."""
    runs = list(found)
    names = list(runs[0])
    told: dict[str, Any] = {
        name: round(statistics.median(run[name] for run in runs), 3) for name in names
    }
    return told | {"spread": {name: sorted(round(run[name], 3) for run in runs) for name in names}}


def slope(points: Sequence[tuple[float, float]]) -> float:
    """How much the second value of a point grows for 1 of the first: the line of least squares.

    Returns:
        0.0 where there is no line: fewer than two points, or all of one moment.
    """
    if len({x for x, _ in points}) < 2:
        return 0.0
    xs, ys = zip(*points, strict=True)
    return float(statistics.linear_regression(xs, ys).slope)


# --- options and running ---------------------------------------------------------


def usual_options(description: str | None, *, runs: int | None = 3) -> argparse.ArgumentParser:
    """A parser with the options that measurements of a whole engine have.

    Args:
        runs: how many there are usually; None: one, always.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", choices=sorted(STORES), default="sqlite")
    if runs is not None:
        parser.add_argument("--runs", type=int, default=runs, help="how often it is measured")
    parser.add_argument("--seed", type=int, default=1)
    printing_options(parser)
    return parser


@contextlib.contextmanager
def fresh_folder(store: StoreKind) -> Generator[Path, None, None]:
    """A data directory that is gone afterwards; what is deployed in the block uses the store."""
    with (
        tempfile.TemporaryDirectory(prefix="raysume-scale-") as folder,
        on_store(store),
    ):
        yield Path(folder)


def measured(
    options: argparse.Namespace, run: Callable[[argparse.Namespace, Path], dict[str, Any]]
) -> None:
    """A measurement on a fresh data directory was made and printed, with its conditions."""
    made_in = conditions(options.store)
    with fresh_folder(options.store) as folder:
        figures = run(options, folder)
    tell(figures, made_in, options)
