"""All flights of 2013 from New York through a whole engine: run it by `scale_tests.flights`.

Each flight and each day of an airport is an instance; their calls are pushed in the order of
time, as fast as the engine takes them. It is over when every instance has finished. What they
returned gives the same figures as the file, or the exit code is 1.
"""

from __future__ import annotations

import argparse
import heapq
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import flights_data
from flights_data import STAGES, DayCall, Flight, Stage, calls_of, read_flights
from flights_figures import Report, differences, figures_of_file, figures_of_reports
from flights_options import STORM
from flights_replay import STUCK_AFTER_S, wait_until_finished
from raysume.client import Client
from raysume.serve_apps.development import Development
from scale_tests.conditions import conditions
from scale_tests.measuring import (
    Engine,
    Stats,
    cpu_of_engine,
    fresh_folder,
    medians,
    usual_options,
)
from scale_tests.telling import tell

WORKFLOWS: Final = Path(flights_data.__file__).with_name("flights_workflows.py")
FIRST_OF_YEAR: Final = date(2013, 1, 1)
DAYS_OF_YEAR: Final = 365

AWAITED: Final[dict[str, tuple[Stage, ...]]] = {
    "flight": ("scheduled", "departed", "cancelled", "arrived", "diverted"),
    "airport_alerts": ("opened", "departed", "closed"),
}
"""Workflow -> what it waits for; the first begins an instance."""

_Due = tuple[Any, int, str, DayCall]


def in_order(flights: Iterable[Flight]) -> Iterator[DayCall]:
    """Every call that these flights made, in the order of time, as `calls_of` gives them.

    Only those of a day or two are in memory: all of a year are a million.
    """
    pending: list[_Due] = []
    days = sorted(flights, key=_day)  # the file has October behind January
    for _, of_day in groupby(days, key=_day):
        calls = calls_of(of_day)
        # What later days bring comes later than this day's first call.
        while pending and pending[0][:3] < _place(calls[0]):
            yield heapq.heappop(pending)[3]
        for call in calls:
            heapq.heappush(pending, (*_place(call), call))
    while pending:
        yield heapq.heappop(pending)[3]


def _day(flight: Flight) -> date:
    return flight.day


def _place(call: DayCall) -> tuple[Any, int, str]:
    return call.at, STAGES.index(call.stage), call.subject


class Counted:
    """Counts the calls as they are pushed, by what happened."""

    def __init__(self) -> None:
        self.stages: Counter[Stage] = Counter()

    def over(self, calls: Iterable[DayCall]) -> Iterator[dict[str, Any]]:
        """The calls, as the client takes them."""
        for call in calls:
            self.stages[call.stage] += 1
            yield call.as_call()

    def of(self, workflow: str) -> int:
        """How many calls the workflow's pool has got in the end."""
        return sum(self.stages[stage] for stage in AWAITED[workflow])

    @property
    def instances(self) -> dict[str, int]:
        """Workflow -> how many instances the calls began."""
        return {workflow: self.stages[awaited[0]] for workflow, awaited in AWAITED.items()}


def wait_until_ended(engine: Development, counted: Counted) -> None:
    """Every call has been applied, and no instance waits any more."""
    for workflow in AWAITED:
        calls = counted.of(workflow)

        def has_ended(stats: Stats, calls: int = calls) -> bool:
            left = stats["instances"]["waiting"] + stats["instances"]["running"]
            return bool(stats["applied_calls"] >= calls and left == 0)

        Engine(engine, workflow).wait_until(has_ended, patience_s=STUCK_AFTER_S)


def returned(client: Client, workflow: str) -> Iterator[Report]:
    """What every completed instance of the workflow returned, as a listing has it."""
    for run in client.instances(workflow, status="completed"):
        report: Report = run.facts.result
        yield report


def replay(flights: list[Flight], folder: Path) -> tuple[dict[str, float], list[str]]:
    """The figures of one replay on a fresh engine, and where it does not agree with the file."""
    os.environ["FLIGHTS_LEDGER"] = str(folder / "bookings.txt")  # read by the step, in the engine
    counted = Counted()
    with (
        Development(WORKFLOWS, data_dir=folder, port=0, dashboard=False) as engine,
        engine.client() as client,
    ):
        cpu, own_cpu, begun = cpu_of_engine(), time.process_time(), time.monotonic()
        calls = client.push_many(counted.over(in_order(flights)))
        accepted_s = time.monotonic() - begun
        wait_until_ended(engine, counted)
        took, cpu = time.monotonic() - begun, cpu_of_engine() - cpu
        own_cpu = time.process_time() - own_cpu
        wait_until_finished(client, counted.instances, lambda _: None)  # which says what is not
        figures = figures_of_reports(returned(client, "flight"), returned(client, "airport_alerts"))
    wrong = differences(figures_of_file(flights), figures)
    return {
        "calls": calls,
        "seconds": took,
        "calls_per_s": calls / took,
        "accepted_per_s": calls / accepted_s,
        "cpu_us_per_call": cpu / calls * 1e6,
        "client_cpu_us_per_call": own_cpu / calls * 1e6,
        "instances": sum(counted.instances.values()),
        "differences": len(wrong),
    }, wrong


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options of a run."""
    parser = usual_options(__doc__, runs=1)
    add = parser.add_argument
    add("--year", action="store_true", help="all of 2013")
    add("--first", type=date.fromisoformat, default=STORM, help=f"first day (default {STORM})")
    add("--days", type=int, default=1, help="how many days")
    options = parser.parse_args(arguments)
    if options.year:
        options.first, options.days = FIRST_OF_YEAR, DAYS_OF_YEAR
    return options


def main() -> int:
    """The exit code: 0 when the engine's figures equal those of the file."""
    options = parsed()
    made_in = conditions(options.store)
    flights = read_flights(options.first, options.days)
    runs: list[dict[str, float]] = []
    wrong: list[str] = []
    for _ in range(options.runs):
        with fresh_folder(options.store) as folder:
            figures, found = replay(flights, folder)
        runs.append(figures)
        wrong += found
    told: dict[str, Any] = medians(runs) | {
        "flights": len(flights),
        "days": options.days,
        "equal": not wrong,
        "wrong": wrong,
    }
    tell(told, made_in, options)
    return 1 if wrong else 0
