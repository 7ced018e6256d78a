"""What waiting costs: memory for each waiting instance, finding the wait that a call meets.

    python -m scale_tests.active_waits --max 1000000 --json

Kernels and journals in processes of their own, one for each case and size, without Ray or HTTP, on
real SQLite files with synchronous=FULL. Memory: growth of the process for each instance that
waits, hot (as objects), warm (packed, see ADR 20) and cold (in the store only, ADR 22). Costs are microseconds of CPU, medians of
several runs; the first one, to warm up, does not count. `match_cost_ratio` is `match_us` at the
largest number of keyed waits divided by that at a thousand.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, Final

from scale_tests.active_cases import run_case
from scale_tests.conditions import conditions
from scale_tests.telling import printing_options, tell

SMALLEST: Final = 1_000
KEYLESS_MAX: Final = 100_000
HOT_WAITS: Final = 50_000
WARM_WAITS: Final = 100_000
COLD_WAITS: Final = 100_000
WAKE_WAITS: Final = 10_000

KEPT: Final = {"hot": HOT_WAITS, "warm": WARM_WAITS, "cold": COLD_WAITS}
"""How an instance is kept -> how many are made to see what it takes."""


def sizes(most: int) -> list[int]:
    """A thousand, ten thousand and so on, up to `most`, which is one of them in any case."""
    found = [min(SMALLEST, most)]
    while found[-1] * 10 <= most:
        found.append(found[-1] * 10)
    return found if found[-1] == most else [*found, most]


def in_process(case: str, size: int, runs: int) -> dict[str, Any]:
    """The figures of one case, measured in a new process."""
    words = ["--case", case, "--size", str(size), "--runs", str(runs)]
    done = subprocess.run(
        [sys.executable, "-m", "scale_tests.active_waits", *words],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def told(case: str, size: int, runs: int) -> dict[str, Any]:
    """The same with medians, and the figures of all runs as their spread."""
    found = in_process(case, size, runs)
    lists = [name for name, value in found.items() if isinstance(value, list)]
    line = {name: value for name, value in found.items() if name not in lists}
    line |= {name: statistics.median(found[name]) for name in lists}
    return line | {"spread": {name: sorted(found[name]) for name in lists}}


def memory_figures(options: argparse.Namespace) -> dict[str, Any]:
    """Bytes for each waiting instance, by how it is kept; each run in a process of its own."""
    figures: dict[str, Any] = {}
    spreads: dict[str, list[float]] = {}
    for kept, waits in KEPT.items():
        name, size = f"{kept}_bytes_per_wait", min(waits, options.max)
        found = [in_process(kept, size, 1)["bytes_per_wait"] for _ in range(options.runs)]
        figures[name], spreads[name] = statistics.median(found), sorted(found)
    return figures | {"spread": spreads}


def match_figures(options: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    """What calls cost, by the kind and the number of waits."""
    by_size = {size: told("keyed", size, options.runs) for size in sizes(options.max)}
    costs = [one["match_us"] for one in by_size.values()]
    yield "match_cost_ratio", round(costs[-1] / costs[0], 3)
    yield "keyed", by_size
    keyless = sizes(min(options.max, KEYLESS_MAX))
    for case in ("keyless", "keyless_ranged", "keyless_shared"):
        yield case, {size: told(case, size, options.runs) for size in keyless}
    yield "wake", told("wake", min(options.max, WAKE_WAITS), options.runs)
    yield "workflows", told("workflows", options.workflows, options.runs)


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options of a run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--max", type=int, default=1_000_000, help="the largest number of waits")
    add("--workflows", type=int, default=500, help="how many wait for the same method")
    add("--runs", type=int, default=5, help="how often each cost is measured")
    printing_options(parser)
    add("--case", help=argparse.SUPPRESS)
    add("--size", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.max < SMALLEST:
        parser.error(f"--max has to be at least {SMALLEST}")
    return options


def main() -> None:
    """Runs the measurement and prints its figures."""
    options = parsed()
    if options.case is not None:
        print(json.dumps(run_case(options.case, options.size, options.runs)))
        return
    made_in = conditions("sqlite")
    figures = memory_figures(options) | dict(match_figures(options))
    tell(figures, made_in, options)


if __name__ == "__main__":
    main()
