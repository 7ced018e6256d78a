"""The same work on raysume and on its peers, in turns, on this machine.

    python -m scale_tests.peers --instances 10000 --runs 3 --json

Each round runs every system once, one after the other, each alone and on an empty folder. What
cannot be installed or started here is skipped, with its reason. What is measured and how:
docs/peers.md.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Final

from scale_tests.conditions import conditions
from scale_tests.peers.dbos_peer import DbosOnPostgres, DbosOnSqlite
from scale_tests.peers.environments import CACHE
from scale_tests.peers.measuring import LONG_EVENTS_MIN, PROBES_MIN, Round, measure
from scale_tests.peers.peer import Load, Peer, Unavailable
from scale_tests.peers.raysume_side import Raysume
from scale_tests.peers.reporting import report, table
from scale_tests.peers.restate_peer import Restate
from scale_tests.peers.temporal_peer import Temporal
from scale_tests.telling import printing_options, tell

PEERS: Final[dict[str, Callable[[], Peer]]] = {
    "dbos-sqlite": DbosOnSqlite,
    "dbos-postgres": DbosOnPostgres,
    "restate": Restate,
    "temporal": Temporal,
}


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options of a run."""
    parser = argparse.ArgumentParser(prog="python -m scale_tests.peers", description=__doc__)
    parser.add_argument("--instances", type=int, default=10_000, help="that wait for one event")
    parser.add_argument("--runs", type=int, default=3, help="how often each system has its turn")
    parser.add_argument("--peers", default=",".join(PEERS), help="some of them, with commas")
    parser.add_argument("--without-raysume", action="store_true", help="measure only the peers")
    parser.add_argument("--probes", type=int, default=100, help="latencies measured in a round")
    parser.add_argument("--probes-per-s", type=float, default=10.0)
    parser.add_argument("--long-events", type=int, default=10_000, help="to one instance")
    parser.add_argument(
        "--patience", type=float, default=120.0, help="seconds without progress that are a failure"
    )
    parser.add_argument("--cache", type=Path, default=CACHE, help="where the peers are installed")
    printing_options(parser)
    options = parser.parse_args(arguments)
    options.peers = [name for name in options.peers.split(",") if name]
    unknown = sorted(set(options.peers) - set(PEERS))
    if unknown:
        parser.error(f"no such peers: {', '.join(unknown)}; there are {', '.join(PEERS)}")
    least = {"instances": 1, "runs": 1, "probes": PROBES_MIN, "long_events": LONG_EVENTS_MIN}
    for name, number in least.items():
        if getattr(options, name) < number:
            parser.error(f"--{name.replace('_', '-')} is at least {number}")
    return options


def prepared(options: argparse.Namespace, skipped: dict[str, str]) -> list[Peer]:
    """The systems that are installed; what is not is in `skipped`."""
    systems: list[Peer] = [] if options.without_raysume else [Raysume()]
    for peer in (PEERS[name]() for name in options.peers):
        say(f"{peer.name}: preparing")
        try:
            peer.prepare(options.cache.resolve())
        except Unavailable as reason:
            skipped[peer.name] = str(reason)
        else:
            systems.append(peer)
    return systems


def run(
    systems: list[Peer], load: Load, runs: int, skipped: dict[str, str]
) -> dict[str, list[Round]]:
    """All rounds of all systems; one that does not start is in `skipped`, and not tried again."""
    found: dict[str, list[Round]] = {}
    for number in range(runs):
        for system in systems:
            if system.name in skipped:
                continue
            say(f"{system.name}: round {number + 1} of {runs}")
            try:
                with tempfile.TemporaryDirectory(prefix=f"peers-{system.name}-") as folder:
                    one = measure(system, load, Path(folder))
            except Unavailable as reason:
                skipped[system.name] = str(reason)
                continue
            found.setdefault(system.name, []).append(one)
            say(f"{system.name}: {one.failed or one.refused or 'done'}")
    return found


def say(text: str) -> None:
    """Progress, beside the figures."""
    print(text, file=sys.stderr, flush=True)


def end(number: int, frame: FrameType | None) -> None:
    """A polite signal ends the run like an interrupt: what was started is stopped."""
    _ = frame
    raise SystemExit(128 + number)


def main() -> None:
    """Runs the comparison and prints its figures."""
    options = parsed()
    signal.signal(signal.SIGTERM, end)
    load = Load(
        instances=options.instances,
        probes=options.probes,
        probes_per_s=options.probes_per_s,
        long_events=options.long_events,
        patience_s=options.patience,
    )
    made_in = conditions("sqlite")
    skipped: dict[str, str] = {}
    systems = prepared(options, skipped)
    found = run(systems, load, options.runs, skipped)
    told = report(systems, found, skipped, load)
    tell(told, made_in, options, table=table(told))


if __name__ == "__main__":
    main()
