"""How long a suite of TestShell cases takes.

    python -m scale_tests.shell_cases --cases 500 --json

Each case is what a user's test does: define workflows, open a shell, push calls, let time pass,
look at results; state is saved and reloaded after every step. The workflows are compiled anew
for each case, and each case has an event loop of its own. The exit code says whether the goal
was reached.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

CASES = 500
GOAL_MS = 40.0
"""For one case: 500 in 20 s."""
SOURCE = Path(__file__).with_name("shell_workflows.py")

Case = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a run showed."""

    cases: int
    seconds: float
    cpu_s: float
    ms_per_case: float
    slowest_ms: float
    slowest: str
    """The kind of the slowest case."""
    goal_ms_per_case: float = GOAL_MS

    @property
    def reached(self) -> bool:
        """Whether a case took no longer than the goal on average."""
        return self.ms_per_case <= self.goal_ms_per_case


def cases_of(number: int) -> tuple[Case, ...]:
    """The cases with workflows of their own, from a module loaded for them alone."""
    name = f"scale_tests.shell_workflows_{number}"
    spec = importlib.util.spec_from_file_location(name, SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return cast("tuple[Case, ...]", module.CASES)


async def _run(case: Case) -> None:
    await case()


def run(cases: int) -> Figures:
    """All cases have passed, one after the other."""
    began, used = time.perf_counter(), time.process_time()
    slowest, slowest_s = "", 0.0
    for number in range(cases):
        at = time.perf_counter()
        kinds = cases_of(number)
        case = kinds[number % len(kinds)]
        asyncio.run(_run(case))
        if number and (took := time.perf_counter() - at) > slowest_s:
            slowest, slowest_s = getattr(case, "__name__", ""), took
    seconds, cpu = time.perf_counter() - began, time.process_time() - used
    return Figures(
        cases=cases,
        seconds=round(seconds, 2),
        cpu_s=round(cpu, 2),
        ms_per_case=round(1000 * seconds / max(1, cases), 1),
        slowest_ms=round(1000 * slowest_s, 1),
        slowest=slowest,
    )


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=CASES, help="how many cases to run")
    parser.add_argument("--json", action="store_true", help="print one JSON line")
    return parser.parse_args(arguments)


def main() -> int:
    """Runs the cases and prints how long they took."""
    options = parsed()
    figures = run(options.cases)
    if options.json:
        print(json.dumps(asdict(figures)))
    else:
        print(
            f"{figures.cases} cases: {figures.seconds} s, {figures.ms_per_case} ms each "
            f"({figures.cpu_s} s CPU), the slowest {figures.slowest_ms} ms ({figures.slowest}); "
            f"goal {GOAL_MS:.0f} ms each"
        )
    return 0 if figures.reached else 1


if __name__ == "__main__":
    sys.exit(main())
