"""A real cluster under load while its processes are killed: nothing is lost, nothing happens twice.

    python -m scale_tests.faults --minutes 10 --seed 1 --store sqlite --json

Ray's head, its workers, the pools, the ingress, the directory and the database server are killed
or stopped at random moments and at armed crash points, while clients of their own push calls.
Afterwards what was acknowledged is compared with what happened. Exit code 1: something was
lost, doubled or is stuck.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import structlog

from raysume.serve_apps.proxying import free_port
from scale_tests.conditions import conditions
from scale_tests.faults.checker import Checker, Verdict, longest_gap
from scale_tests.faults.cluster import Nodes
from scale_tests.faults.harm import Database, Harm
from scale_tests.faults.journal import Acknowledged
from scale_tests.faults.observing import Observer
from scale_tests.faults.workflows import LEDGER_VARIABLE

CLIENTS = 3
CALM_S = 5.0
"""At the begin of the load, nothing is killed for so long."""
SPARE_FAULTS = 3
"""There is time for so many more, for those that find nobody and come again."""
DRAIN_S_MAX = 600
"""How long the clients may take to send what is left when the load is over."""

_log = structlog.get_logger("faults")


class Proof:
    """One run in a folder of its own."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self._options, self._folder = options, folder
        self._token = secrets.token_hex(16)
        self._port = free_port()
        self._url = f"http://127.0.0.1:{self._port}"
        for name in ("ledger", "crash-points", "journals", "data"):
            (folder / name).mkdir()
        self._journals = [folder / "journals" / f"client{n}" for n in range(CLIENTS)]

    def run(self) -> tuple[dict[str, Any], Verdict]:
        """The figures, and what does not agree."""
        environment = {
            LEDGER_VARIABLE: str(self._folder / "ledger"),
            "RAYSUME_CRASH_POINTS_DIR": str(self._folder / "crash-points"),
        }
        with contextlib.ExitStack() as exit:
            database, database_url = _database(self._options.store, environment, exit)
            nodes = exit.enter_context(
                Nodes(self._folder / "ray", workers=self._options.workers, environment=environment)
            )
            self._deploy(nodes, database_url)
            _log.info("engine_serves", url=self._url, folder=str(self._folder))
            harm = Harm(
                nodes,
                crash_points=self._folder / "crash-points",
                seed=self._options.seed,
                database=database,
            )
            began, ended = self._load(harm, exit)
            observer = Observer(self._url, self._token, self._folder / "data", database_url)
            observer.settle()
            observed, completed = observer.observe(self._folder / "ledger")
        acknowledged = Acknowledged.of(self._journals)
        if self._options.sabotage == "drop-ack":
            # What a lost call would look like: it was acknowledged, and nobody has it.
            observed.calls.pop(len(observed.calls) // 2)
        verdict = Checker(acknowledged, observed).check()
        figures = {
            "acknowledged": len(acknowledged.calls) + len(acknowledged.starts),
            "instances": len(observed.instances),
            "kills": dict(sorted(harm.done.items())),
            "longest_pause_s": round(
                max(
                    longest_gap(acknowledged.moments, began, ended),
                    longest_gap(completed, began, ended),
                ),
                1,
            ),
            "longest_pause_acknowledging_s": round(
                longest_gap(acknowledged.moments, began, ended), 1
            ),
            "longest_pause_completing_s": round(longest_gap(completed, began, ended), 1),
            "seconds": round(ended - began, 1),
        }
        return figures, verdict

    def _deploy(self, nodes: Nodes, database_url: str) -> None:
        wanted = {
            "address": nodes.address,
            "data_dir": str(self._folder / "data"),
            "database_url": database_url or None,
            "port": self._port,
            "token": self._token,
            "replicas": self._options.replicas,
            "members": self._options.members,
        }
        module = "scale_tests.faults.deploying"
        subprocess.run([sys.executable, "-m", module, json.dumps(wanted)], check=True)

    def _load(self, harm: Harm, exit: contextlib.ExitStack) -> tuple[float, float]:
        """Calls were pushed and processes killed; from when to when."""
        began = time.time()
        until = began + self._options.minutes * 60
        clients = [self._client(path, until, exit) for path in self._journals]
        kinds = self._options.kinds or harm.kinds
        faults = len(kinds) * self._options.rounds + SPARE_FAULTS
        every_s = (self._options.minutes * 60 - CALM_S) / faults
        time.sleep(CALM_S)
        try:
            harm.run(kinds, rounds=self._options.rounds, every_s=every_s, until=until)
        finally:
            harm.heal()
        _log.info("faults_stopped", kills=dict(harm.done))
        for client in clients:
            if client.wait(timeout=DRAIN_S_MAX) != 0:
                raise SystemExit("a client gave up: see its words above")
        return began, until

    def _client(
        self, journal: Path, until: float, exit: contextlib.ExitStack
    ) -> subprocess.Popen[bytes]:
        rate = self._options.rate / CLIENTS
        words = [self._url, self._token, journal.name, self._options.seed, rate, until, journal]
        client = subprocess.Popen(
            [sys.executable, "-m", "scale_tests.faults.load", *map(str, words)]
        )
        exit.callback(_end, client)
        return client


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def _database(
    store: str, environment: dict[str, str], exit: contextlib.ExitStack
) -> tuple[Database | None, str]:
    """The database server, and its URL; None and "": SQLite in the data directory."""
    if store == "sqlite":
        return None, ""
    from scale_tests.postgres_server import PostgresServer

    environment["RAYSUME_SEAL_KEY"] = secrets.token_hex(32)
    server = exit.enter_context(PostgresServer())
    return server, server.create_database("faults")


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options of a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long the load lasts")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--store", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--rate", type=float, default=600.0, help="calls a second, in the mean")
    parser.add_argument("--workers", type=int, default=2, help="nodes beside the head")
    parser.add_argument("--replicas", type=int, default=2, help="of the ingress")
    parser.add_argument("--members", type=int, default=2, help="of each pool")
    parser.add_argument("--rounds", type=int, default=5, help="how often each kind of fault comes")
    parser.add_argument("--kinds", nargs="*", help="only these kinds of faults")
    parser.add_argument("--sabotage", choices=("drop-ack",), help="plant a loss, to see it found")
    parser.add_argument("--keep", action="store_true", help="keep the folder")
    parser.add_argument("--json", action="store_true", help="print one JSON line")
    return parser.parse_args(arguments)


def _conditions(options: argparse.Namespace) -> dict[str, Any]:
    return conditions(options.store) | {
        "seed": options.seed,
        "minutes": options.minutes,
        "rate": options.rate,
        "workers": options.workers,
        "replicas": options.replicas,
        "members": options.members,
    }


def _terminated(number: int, _frame: object) -> None:
    sys.exit(128 + number)


def main() -> int:
    """Runs the proof and prints what came of it."""
    options = parsed()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    signal.signal(signal.SIGTERM, _terminated)
    folder = Path(tempfile.mkdtemp(prefix="raysume-faults-"))
    holds = False
    try:
        figures, verdict = Proof(options, folder).run()
        holds = verdict.holds
    finally:
        if holds and not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            _log.warning("kept", folder=str(folder))
    told = asdict(verdict)
    for note in told.pop("notes"):
        print(note, file=sys.stderr)
    line = figures | told | _conditions(options)
    if options.json:
        print(json.dumps(line))
    else:
        for name, value in line.items():
            print(f"{name:<32} {value}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
