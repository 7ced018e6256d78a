"""What the result of a step costs on its way to the workflow, by its size and where it ran.

    python -m scale_tests.step_results --sizes 1000,1000000,100000000 --json

For each size and place: from starting an instance to holding its result (the median), CPU of
all of the engine's processes for one instance, and how far the memory of the runner and of
the pool rose above what they held before. Files are SQLite with synchronous=FULL.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from raysume import Client
from raysume.actors.ray_steps import RUNNER_NAME, Runner
from raysume.serve_apps.development import Development
from scale_tests.conditions import conditions
from scale_tests.measuring import cpu_of_engine
from scale_tests.pushed_calls import WORKLOADS
from scale_tests.telling import printing_options, tell

PLACES = {"ray task": "steps_result", "pool": "steps_result_here"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What results of one size cost."""

    ran: str
    """In a Ray task, or in the pool."""
    bytes: int
    runs: int
    started_to_result_ms: float
    cpu_ms: float
    runner_rise_mb: float
    pool_rise_mb: float


class Memory:
    """How far a process has risen above what it held at first; Linux keeps the highest mark."""

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")
        (self._folder / "clear_refs").write_text("5", encoding="ascii")
        self._first_kb = self._read("VmRSS")

    @property
    def rise_mb(self) -> float:
        """The highest so far, less what was held at first."""
        return (self._read("VmHWM") - self._first_kb) / 1_000

    def _read(self, name: str) -> int:
        lines = (self._folder / "status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def pid_of_runner() -> int:
    """The process of the actor that runs steps as Ray tasks; Ray names it by its class."""
    for process in psutil.Process().children(recursive=True):
        if " ".join(process.cmdline()).startswith(f"ray::{Runner.__name__}"):
            return process.pid
    raise SystemExit(f"no process is {RUNNER_NAME}")


def measure(development: Development, client: Client, ran: str, size: int, runs: int) -> Cost:
    """Instances ran one after another."""
    workflow = PLACES[ran]
    pools = development.pool_pids()
    pool = Memory(next(pid for name, pid in pools.items() if name.startswith(workflow + "@")))
    runner = Memory(pid_of_runner())
    times: list[float] = []
    cpu = cpu_of_engine()
    for _ in range(runs):
        begun = time.perf_counter()
        if client.start(workflow, size=size).result(timeout=120) != size:
            raise SystemExit(f"{workflow} gave another result than {size}")
        times.append((time.perf_counter() - begun) * 1_000)
    return Cost(
        ran=ran,
        bytes=size,
        runs=runs,
        started_to_result_ms=round(statistics.median(times), 1),
        cpu_ms=round((cpu_of_engine() - cpu) / runs * 1_000, 1),
        runner_rise_mb=round(runner.rise_mb, 1),
        pool_rise_mb=round(pool.rise_mb, 1),
    )


def run(sizes: list[int], runs: int, data_dir: Path) -> list[Cost]:
    """One measurement on a fresh data directory."""
    with (
        Development(WORKLOADS, data_dir=data_dir, port=0, dashboard=False) as development,
        development.client() as client,
    ):
        for workflow in PLACES.values():  # starts the runner and a worker of Ray's
            client.start(workflow, size=1).result(timeout=120)
        return [
            measure(development, client, ran, size, runs if size < 10_000_000 else 3)
            for ran in PLACES
            for size in sizes
        ]


def main() -> None:
    """Runs the measurement and prints its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="1000,1000000,100000000", help="bytes, with commas")
    parser.add_argument("--runs", type=int, default=20, help="of each size below 10 MB")
    printing_options(parser)
    options = parser.parse_args()
    sizes = [int(size) for size in options.sizes.split(",")]
    made_in = conditions("sqlite")
    with tempfile.TemporaryDirectory(prefix="raysume-scale-") as folder:
        costs = run(sizes, options.runs, Path(folder))
    table = ["  ".join(f"{name} {value}" for name, value in asdict(one).items()) for one in costs]
    tell({"costs": [asdict(one) for one in costs]}, made_in, options, table=table)


if __name__ == "__main__":
    main()
