"""From pushing a call to the commit of the turn that it led to: open loop, hot and cold.

    python -m scale_tests.resume_latency --waits 50000 --rate 50 --seconds 20 --json

Calls are sent one by one at moments that were set before, whatever becomes of those before; the
time counts from the moment, on the clock of this machine, until a step of the instance begins,
which is after the commit. It is taken in the pool's process. Three times in each run:
at low load to hot instances, at low load to cold ones, and to both beside a load of half of what
the engine takes (found by pushing as fast as it goes, or given by --half-rate).

Hot instances are a few that are called again and again. Each cold one gets a single call, and
was not touched since it was made; after it `--waits` others were made, and called since. The pool
has room for the records of a few only (`--memory-budget`), so that those of cold ones are read from
the store.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final

from raysume import configure
from raysume.client import Client
from raysume.serve_apps.development import Development
from scale_tests.measuring import (
    Engine,
    measured,
    medians,
    open_instances,
    percentile,
    usual_options,
)
from scale_tests.pushing import Load, push_for
from scale_tests.steady_load import Pushed, steady_load
from scale_tests.timing import (
    OPENED,
    TIMED,
    TURNS_OF_PROBE,
    WORKFLOW,
    Probe,
    ages_ms,
    in_turns,
    plain_call,
    send_probes,
)

HOT: Final = 50
"""Hot instances of one series."""
WARM_UP_S: Final = 3.0
MAXIMUM_S: Final = 5.0
"""How long calls are pushed to find out how many the engine takes."""
PATIENCE_S: Final = 30.0


class Accounts:
    """Who gets which calls: the cold ones were made first, then the hot ones, then all others."""

    def __init__(self, *, runs: int, probes: int, others: int) -> None:
        """
        Args:
            probes: of one series.
        """
        half = probes // 2
        self.colds = runs * (probes + half)
        """How many are never called before they are probed."""
        others_from = self.colds + (2 * runs + 1) * HOT
        self.total = others_from + others
        self.others = range(others_from, self.total)
        """They take the load, and come and go in the pool's memory."""
        self._colds = iter(range(self.colds))
        self._hots = iter(range(self.colds, others_from))

    def cold(self, count: int) -> list[int]:
        """So many that were never called."""
        return [next(self._colds) for _ in range(count)]

    def hot(self) -> list[int]:
        """Those of one series."""
        return [next(self._hots) for _ in range(HOT)]


@dataclass(frozen=True, slots=True)
class Series:
    """What one series of probes showed."""

    ages: dict[int, list[float]]
    """By account, milliseconds."""
    late_ms: list[float]
    """How late the probes were sent."""
    lost: int
    """Accepted calls without a turn."""
    refused: int
    """Calls of the load beside it."""

    def of(self, accounts: Iterable[int]) -> list[float]:
        """The ages of the calls of these accounts."""
        return list(chain.from_iterable(self.ages.get(one, ()) for one in dict.fromkeys(accounts)))


class Latencies:
    """Measures one engine."""

    def __init__(self, options: argparse.Namespace, development: Development) -> None:
        self._options, self._development = options, development
        self._probes = probes_of(options)
        self._accounts = Accounts(runs=options.runs, probes=self._probes, others=options.waits)
        self._engine = Engine(development, WORKFLOW)
        self._load = Load(batch=options.batch)
        self._rng = random.Random(options.seed)

    def measure(self, client: Client) -> dict[str, Any]:
        """The figures of all runs."""
        open_instances(self._development, self._engine, OPENED, self._accounts.total)
        self._push(WARM_UP_S)
        self._wait_until_cold()
        self._series(client, self._warmed(self._probes // 4), 0)
        half_rate = self._options.half_rate or self._push(MAXIMUM_S) / 2
        runs = [self._run(client, half_rate) for _ in range(self._options.runs)]
        return medians(runs) | {
            "rate": self._options.rate,
            "half_load_per_s": round(half_rate, 1),
            "half_load_batch": self._options.batch,
            "probes": self._probes,
            "waits": self._accounts.total,
        }

    def _wait_until_cold(self) -> None:
        """The records of all instances that were never called are in the store only."""
        deadline = time.monotonic() + PATIENCE_S
        while self._engine.stats()["kept"]["cold"] < self._accounts.colds:
            if time.monotonic() > deadline:
                raise SystemExit(
                    f"{self._engine.stats()['kept']}: the {self._accounts.colds} instances that were "
                    "never called are not cold. Give more --waits, or a smaller --memory-budget."
                )
            time.sleep(0.1)

    def _run(self, client: Client, half_rate: float) -> dict[str, float]:
        half = self._probes // 2
        hot = self._series(client, self._warmed(self._probes), 0)
        cold = self._series(client, self._untouched(self._probes), 0)
        both = alternating(self._warmed(half), self._untouched(half))
        loaded = self._series(client, both, half_rate)
        return {
            **_percentiles("hot", hot.of(hot.ages)),
            **_percentiles("cold", cold.of(cold.ages)),
            **_percentiles("half_load", loaded.of(probe.account for probe in both[::2])),
            **_percentiles("half_load_cold", loaded.of(probe.account for probe in both[1::2])),
            "sent_late_p99_ms": round(percentile([*hot.late_ms, *cold.late_ms], 99), 2),
            "half_load_sent_late_p99_ms": round(percentile(loaded.late_ms, 99), 2),
            "half_load_refused": loaded.refused,
            "lost": hot.lost + cold.lost + loaded.lost,
        }

    def _series(self, client: Client, probes: Sequence[Probe], load: float) -> Series:
        """The probes have been committed, beside a load of so many calls a second."""
        before, pushed = self._engine.stats()["turns"], Pushed()
        if load:
            seed = self._rng.randrange(1 << 30)
            with steady_load(
                self._development,
                rate=load,
                batch=self._options.batch,
                accounts=self._accounts.others,
                seed=seed,
            ) as pushed:
                sent, moments = send_probes(self._development, probes, self._options.rate)
        else:
            sent, moments = send_probes(self._development, probes, self._options.rate)
        if sent.refused:
            raise SystemExit(f"{sent.refused} of {len(probes)} calls were refused")
        wanted = before + pushed.accepted + TURNS_OF_PROBE * len(probes)
        lost = wanted - self._engine.wait_for_turns(wanted, patience_s=PATIENCE_S)["turns"]
        return Series(ages_ms(client, moments), sent.late_ms, lost, pushed.refused)

    def _push(self, seconds: float) -> float:
        """The others were called as fast as it goes; so many calls a second were committed."""
        counts = [0] * self._accounts.total
        before, begun = self._engine.stats()["turns"], time.monotonic()
        first = self._accounts.others.start
        asyncio.run(
            push_for(
                *(self._development, self._load, plain_call, self._rng, counts, seconds),
                first=first,
            )
        )
        wanted = before + sum(counts)
        turns = self._engine.wait_for_turns(wanted, patience_s=PATIENCE_S)["turns"] - before
        return float(turns) / (time.monotonic() - begun)

    def _warmed(self, count: int) -> list[Probe]:
        """Probes of instances that were called just now."""
        accounts = self._accounts.hot()[:count]
        before = self._engine.stats()["turns"]
        with self._development.client() as client:
            client.push_many(plain_call(account) for account in accounts * 2)
        self._engine.wait_for_turns(before + 2 * len(accounts), patience_s=PATIENCE_S)
        return in_turns(accounts, count)

    def _untouched(self, count: int) -> list[Probe]:
        """Probes of instances that were never called."""
        return in_turns(self._accounts.cold(count), count)


def probes_of(options: argparse.Namespace) -> int:
    """How many calls one series has."""
    return max(4, int(options.rate * options.seconds))


def alternating(hot: Sequence[Probe], cold: Sequence[Probe]) -> list[Probe]:
    """One of the first, one of the second, and so on; both have as many."""
    return list(chain.from_iterable(zip(hot, cold, strict=True)))


def _percentiles(name: str, ages: Sequence[float]) -> dict[str, float]:
    if not ages:
        raise SystemExit(f"no call of the series {name!r} was committed")
    return {
        f"{name}_p50_ms": round(percentile(ages, 50), 2),
        f"{name}_p99_ms": round(percentile(ages, 99), 2),
        f"{name}_max_ms": round(max(ages), 2),
    }


def run(options: argparse.Namespace, data_dir: Path) -> dict[str, Any]:
    """The figures of one engine on a fresh data directory."""
    configure(memory_budget=options.memory_budget)
    with (
        Development(TIMED, data_dir=data_dir, port=0, dashboard=False) as development,
        development.client() as client,
    ):
        return Latencies(options, development).measure(client)


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options of a run."""
    parser = usual_options(__doc__)
    add = parser.add_argument
    add("--waits", type=int, default=50_000, help="instances made after the cold ones")
    add("--memory-budget", type=int, default=2_000_000, help="bytes of records kept in memory")
    add("--rate", type=float, default=50.0, help="calls a second whose time is taken")
    add("--seconds", type=float, default=20.0, help="how long each series lasts")
    add("--half-rate", type=float, default=0.0, help="calls a second of the load beside it")
    add("--batch", type=int, default=100, help="calls in one request of that load")
    return parser.parse_args(arguments)


def main() -> None:
    """Runs the measurement and prints its figures."""
    measured(parsed(), run)


if __name__ == "__main__":
    main()
