"""How soon calls are served again after kill -9 of the pool's process, while many instances wait.

    python -m scale_tests.recovery --waits 100000 --json

N instances wait, and are in a checkpoint. The process is killed; right then, within half a
second, a call is sent to each of a sample of the instances, in all shards. They are accepted
meanwhile, and each tells when it was committed. `first_call_s` is the time until the first one
was, `all_s` until all were and every shard has recovered all of its instances: both from the
kill, and `..._from_start_s` from the start of the process that took over; one that Ray had kept
idle, and that was there before, counts as started at the kill.
"""

from __future__ import annotations

import argparse
import random
import time
from functools import partial
from pathlib import Path
from typing import Any, Final

import psutil

from raysume.client import Client
from raysume.serve_apps.development import Development
from scale_tests.measuring import Engine, Stats, measured, medians, open_instances, usual_options
from scale_tests.timing import (
    OPENED,
    TIMED,
    TURNS_OF_PROBE,
    WORKFLOW,
    Probe,
    ages_ms,
    committed_ns,
    send_probes,
)

SEND_S: Final = 0.5
"""In which all calls of the sample are sent."""
PATIENCE_S: Final = 600.0


class Recoveries:
    """Kills the pool of one engine again and again."""

    def __init__(self, options: argparse.Namespace, development: Development) -> None:
        self._options, self._development = options, development
        self._engine = Engine(development, WORKFLOW)
        self._sampled = random.Random(options.seed).sample(range(options.waits), options.waits)
        """Each gets one call, which ends it."""
        self._ended = 0

    def measure(self, client: Client) -> dict[str, Any]:
        """The figures of all kills."""
        open_instances(self._development, self._engine, OPENED, self._options.waits)
        self._warm_up()
        runs = [self._kill(client) for _ in range(self._options.runs)]
        return medians(runs) | {"waits": self._options.waits, "sample": self._options.sample}

    def _probes(self) -> list[Probe]:
        first, self._ended = self._ended, self._ended + self._options.sample
        return [Probe(account, ends=True) for account in self._sampled[first : self._ended]]

    def _warm_up(self) -> None:
        """The path of a call was used, the ingress has its connections."""
        probes, before = self._probes(), self._engine.stats()["turns"]
        send_probes(self._development, probes, len(probes) / SEND_S)
        wanted = before + TURNS_OF_PROBE * len(probes)
        self._engine.wait_for_turns(wanted, patience_s=PATIENCE_S)

    def _kill(self, client: Client) -> dict[str, float]:
        next(iter(client.instances(WORKFLOW)))  # a listing checkpoints what it shows
        probes = self._probes()
        left = self._options.waits - self._ended
        killed = self._engine.kill()
        killed_ns = time.time_ns()
        sent, moments = send_probes(self._development, probes, len(probes) / SEND_S)
        if sent.refused:
            raise SystemExit(f"{sent.refused} of {len(probes)} calls were refused")
        stats = self._engine.wait_for_successor(
            killed,
            partial(_are_served, waiting=left),
            patience_s=PATIENCE_S,
        )
        ready_ns = time.time_ns()
        started_ns = max(killed_ns, int(psutil.Process(stats["pid"]).create_time() * 1e9))
        committed = committed_ns(moments, ages_ms(client, moments))
        first_ns, all_ns = min(committed), max(*committed, ready_ns)
        return {
            "first_call_s": (first_ns - killed_ns) / 1e9,
            "all_s": (all_ns - killed_ns) / 1e9,
            "first_call_from_start_s": (first_ns - started_ns) / 1e9,
            "all_from_start_s": (all_ns - started_ns) / 1e9,
            "started_s": (started_ns - killed_ns) / 1e9,
            "lost": len(probes) - len(committed),
        }


def _are_served(stats: Stats, *, waiting: int) -> bool:
    """Whether so many instances wait, and no other one is on its way to its end."""
    counts = stats["instances"]
    return bool(counts["waiting"] == waiting and not counts.get("running"))


def run(options: argparse.Namespace, data_dir: Path) -> dict[str, Any]:
    """The figures of one engine on a fresh data directory."""
    with (
        Development(TIMED, data_dir=data_dir, port=0, dashboard=False) as development,
        development.client() as client,
    ):
        return Recoveries(options, development).measure(client)


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options of a run."""
    parser = usual_options(__doc__)
    parser.add_argument("--waits", type=int, default=100_000, help="instances that wait")
    parser.add_argument("--sample", type=int, default=200, help="calls sent after each kill")
    options = parser.parse_args(arguments)
    if options.sample * (options.runs + 1) > options.waits:
        parser.error("--waits is too small: each call of the samples has an instance of its own")
    return options


def main() -> None:
    """Runs the measurement and prints its figures."""
    measured(parsed(), run)


if __name__ == "__main__":
    main()
