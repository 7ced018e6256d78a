"""One instance with a very long life: do its turns become dearer, does its state grow?

    python -m scale_tests.long_run --turns 100000 --json

One instance takes so many calls, one turn each. CPU of the pool and elapsed time are taken of
the first and of the last thousand turns, the bytes of its row in the store after both. Each run is
another instance. At last the pool is killed, and each of them gets one call more: `reload_s` is
the time from the kill until that is committed.
"""

from __future__ import annotations

import argparse
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from raysume.client import Client
from raysume.configuration import settings
from raysume.ids import instance_id_of
from raysume.serve_apps.development import Development
from raysume.storage.opening import open_store
from raysume.storage.ports import InstanceQuery
from scale_tests.measuring import Engine, measured, medians, open_instances, usual_options
from scale_tests.timing import (
    OPENED,
    TIMED,
    WORKFLOW,
    Probe,
    ages_ms,
    committed_ns,
    plain_call,
    send_probes,
)

WARM_UP_TURNS: Final = 2_000
"""Of an instance of their own."""
PATIENCE_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What some turns cost."""

    cpu_us: float
    """CPU of the pool for one turn."""
    elapsed_us: float


class LongRun:
    """Long lives in one engine."""

    def __init__(self, options: argparse.Namespace, development: Development) -> None:
        self._options, self._development = options, development
        self._engine = Engine(development, WORKFLOW)

    def measure(self, client: Client) -> dict[str, Any]:
        """The figures of all instances."""
        accounts = range(1, self._options.runs + 1)
        open_instances(self._development, self._engine, OPENED, self._options.runs + 1)
        self._turn(client, 0, WARM_UP_TURNS)
        lives = [self._live(client, account) for account in accounts]
        reloads = self._reloads(client, accounts)
        for life, reload_s in zip(lives, reloads, strict=True):
            life["reload_s"] = reload_s
        return medians(lives) | {"turns": self._options.turns, "part": self._options.part}

    def _live(self, client: Client, account: int) -> dict[str, float]:
        part = self._options.part
        first = self._turn(client, account, part)
        first_bytes = self._state_bytes(client, account)
        self._turn(client, account, self._options.turns - 2 * part)
        last = self._turn(client, account, part)
        return {
            "last_to_first_ratio": last.cpu_us / first.cpu_us,
            "last_to_first_elapsed_ratio": last.elapsed_us / first.elapsed_us,
            "first_cpu_us": first.cpu_us,
            "last_cpu_us": last.cpu_us,
            "first_elapsed_us": first.elapsed_us,
            "last_elapsed_us": last.elapsed_us,
            "first_state_bytes": first_bytes,
            "last_state_bytes": self._state_bytes(client, account),
        }

    def _turn(self, client: Client, account: int, turns: int) -> Part:
        """The instance has taken so many turns more."""
        before, begun = self._engine.stats(), time.monotonic()
        client.push_many(plain_call(account) for _ in range(turns))
        wanted = before["turns"] + turns
        after = self._engine.wait_for_turns(wanted, patience_s=PATIENCE_S)
        took = time.monotonic() - begun
        if after["turns"] != wanted:
            raise SystemExit(f"{wanted - after['turns']} of {turns} calls led to no turn")
        return Part(
            cpu_us=(after["cpu_s"] - before["cpu_s"]) / turns * 1e6,
            elapsed_us=took / turns * 1e6,
        )

    def _state_bytes(self, client: Client, account: int) -> int:
        """The bytes of the instance's row: its header, its waits and its sealed state."""
        next(iter(client.instances(WORKFLOW)))  # a listing checkpoints what it shows
        id = instance_id_of(WORKFLOW, f"open-{account}")
        store = open_store(settings().database_url, self._development.data_dir)
        with closing(store):
            rows = store.list_instances(InstanceQuery(workflow=WORKFLOW, limit=1_000))
        return next(len(row.body) for row in rows if row.id == id)

    def _reloads(self, client: Client, accounts: range) -> list[float]:
        """Seconds from the kill of the pool until each instance has taken a call more."""
        killed = self._engine.kill()
        killed_ns = time.time_ns()
        probes = [Probe(account, ends=True) for account in accounts]
        _, moments = send_probes(self._development, probes, 1_000)
        self._engine.wait_for_successor(
            killed,
            lambda stats: bool(stats["instances"]["waiting"] == 1),  # who warmed up
            patience_s=PATIENCE_S,
        )
        committed = committed_ns(moments, ages_ms(client, moments))
        if len(committed) != len(probes):
            raise SystemExit(f"{len(probes) - len(committed)} instances took no call any more")
        return [(at_ns - killed_ns) / 1e9 for at_ns in committed]


def run(options: argparse.Namespace, data_dir: Path) -> dict[str, Any]:
    """The figures of one engine on a fresh data directory."""
    with (
        Development(TIMED, data_dir=data_dir, port=0, dashboard=False) as development,
        development.client() as client,
    ):
        return LongRun(options, development).measure(client)


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options of a run."""
    parser = usual_options(__doc__)
    parser.add_argument("--turns", type=int, default=100_000, help="of each instance")
    parser.add_argument("--part", type=int, default=1_000, help="turns measured at both ends")
    options = parser.parse_args(arguments)
    if options.turns < 3 * options.part:
        parser.error("--turns has to be at least three times --part")
    return options


def main() -> None:
    """Runs the measurement and prints its figures."""
    measured(parsed(), run)


if __name__ == "__main__":
    main()
