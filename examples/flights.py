"""Replays one real day of flights through a whole engine, and checks what came out of it.

    python examples/flights.py                       # 2013-02-08, a snow storm
    python examples/flights.py --day 2013-03-08      # a worse one
    python examples/flights.py --kill                # with three SIGKILLs on the way
    python examples/flights.py --data DIR            # stop it whenever you like, then
    python examples/flights.py --data DIR --resume   # it goes on

The workflows are in flights_workflows.py. Exit code 0: the engine's figures equal those of
the file, every call was received once and in order, every alert and booking made once.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from flights_audit import check_accepted, check_alerts, check_bookings, check_receptions
from flights_data import DayCall, Flight, NoSuchData, calls_of, read_flights
from flights_figures import Report, differences, figures_of_file, figures_of_reports, table
from flights_options import Refused, parse, prepare
from flights_replay import (
    Killer,
    Note,
    Progress,
    ReplayFailed,
    push,
    results,
    stored_ids,
    stored_inputs,
    wait_until_finished,
)
from raysume import Client
from raysume.errors import RaysumeError
from raysume.serve_apps.development import Development

WORKFLOWS = Path(__file__).with_name("flights_workflows.py")
LEDGER = "flights-bookings.txt"

console = Console(soft_wrap=True, highlight=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """The replay's exit code: 0 all equal, 1 not, 2 wrong options, 130 interrupted."""
    options = parse(arguments)
    signal.signal(signal.SIGTERM, _interrupt)  # so that the engine's processes end with us
    try:
        folder, note = prepare(options)
        flights = read_flights(note.first, note.days)
    except (NoSuchData, Refused) as error:
        console.print(f"[red]{error}[/]")
        return 2
    try:
        return replay(options, folder, note, flights)
    except KeyboardInterrupt:
        console.print(f"\nStopped. Go on with: {_command(f'--data {folder} --resume')}")
        return 130
    except (ReplayFailed, RaysumeError) as error:
        console.print(f"[red]{error}[/]")
        return 1


def replay(options: argparse.Namespace, folder: Path, note: Note, flights: list[Flight]) -> int:
    """The engine has had the days, and its figures stand beside those of the file."""
    calls = calls_of(flights)
    os.environ["FLIGHTS_LEDGER"] = str(folder / LEDGER)  # read by the step, in the engine
    console.print(
        f"{len(flights)} flights, {len(calls)} calls, from {note.day}, {note.days} day(s)"
    )
    console.print("Starting the engine: Ray, shards, HTTP ...")
    begun = time.monotonic()
    with Development(
        target=WORKFLOWS, data_dir=folder, port=options.port, dashboard=True
    ) as engine:
        console.print(f"It is up after {time.monotonic() - begun:.1f} s at {engine.url}")
        with engine.client() as client:
            killer = Killer(engine) if options.kill else None
            reports = run_day(client, calls, note, folder, killer=killer, pace=options.pace)
            equal = judge(client, calls, flights, reports, folder)
        if killer is not None:
            console.print(f"The shards' processes were killed {killer.kills} times.")
        explain(engine, folder, stays=options.stay)
        if options.stay:
            _until_interrupted()
    return 0 if equal else 1


def run_day(
    client: Client,
    calls: list[DayCall],
    note: Note,
    folder: Path,
    *,
    killer: Killer | None,
    pace: float | None,
) -> tuple[list[Report], list[Report]]:
    """All calls are accepted and all instances finished; gives what they returned."""
    begun = time.monotonic()
    flights = sum(call.stage == "scheduled" for call in calls)
    airport_days = sum(call.stage == "opened" for call in calls)
    expected = {"flight": flights, "airport_alerts": airport_days}
    with _bars() as bars:
        push(
            *(client, calls, note, folder),
            progress=_bar(bars, "calls accepted", len(calls), note.accepted),
            killer=killer,
            pace=pace,
        )
        finished = _bar(bars, "instances finished", sum(expected.values()))
        wait_until_finished(client, expected, finished)
        took = time.monotonic() - begun
        flight_reports = results(client, "flight", _bar(bars, "results read", flights))
        alert_reports = results(client, "airport_alerts", lambda _: None)
    console.print(f"All of it was pushed, and every instance finished, in {took:.1f} s.")
    return flight_reports, alert_reports


def judge(
    client: Client,
    calls: list[DayCall],
    flights: list[Flight],
    reports: tuple[list[Report], list[Report]],
    folder: Path,
) -> bool:
    """The figures and the checks are printed; true when all of them hold."""
    file, engine = figures_of_file(flights), figures_of_reports(*reports)
    console.print(table(file, engine))
    ledger = folder / LEDGER
    lines = ledger.read_text(encoding="utf-8").splitlines() if ledger.exists() else []
    bookings, repeated = check_bookings(lines, reports[0])
    methods = sorted({call.method for call in calls})
    checks = {
        "the figures equal those of the file": differences(file, engine),
        "no accepted call is lost": check_accepted(calls, stored_ids(client, methods)),
        "each instance received its calls once, in order": check_receptions(calls, *reports),
        "each alert was published once": check_alerts(
            stored_inputs(client, "flights.alert_raised"), reports[1]
        ),
        "each rebooked flight has one booking": bookings,
    }
    for claim, wrong in checks.items():
        console.print(f"[red]NOT true: {claim}[/]" if wrong else f"[green]true:[/] {claim}")
        for line in wrong:
            console.print(f"    {line}", markup=False)
    if repeated:
        console.print(f"{repeated} interrupted step(s) ran again, with the same key: one booking.")
    return not any(checks.values())


def explain(engine: Development, folder: Path, *, stays: bool) -> None:
    """How to look around is printed."""
    raysume = _shown(Path(sys.executable).with_name("raysume"))
    workflows, data = _shown(WORKFLOWS), _shown(folder)
    console.print("\n[bold]Look around[/] in what the day left behind:")
    if stays:
        console.print(f"  HTTP, with all routes      {engine.url}/docs")
        console.print(f"  Ray dashboard              {engine.dashboard_url}")
    else:
        console.print(f"  start it again             {raysume} dev {workflows} --data-dir {data}")
        console.print("                             (prints the addresses of /docs and dashboard)")
    for title, command in (
        ("instances", "instance list --workflow airport_alerts"),
        ("one of them", "instance show ID"),
        ("workflows and versions", "workflow list"),
        ("a flight of your own", "call push flights.scheduled @flight.json"),
    ):
        console.print(f"  {title:<26} {raysume} --data-dir {data} {command}")
    console.print(f"  the workflows              {workflows}\n")


@contextmanager
def _bars() -> Generator[Bars]:
    columns = (
        TextColumn("{task.description:>20}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Bars(*columns, console=console) as bars:
        yield bars


def _bar(bars: Bars, title: str, total: int, done: int = 0) -> Progress:
    task = bars.add_task(title, total=total, completed=done)

    def show(completed: int) -> None:
        bars.update(task, completed=completed)

    return show


def _until_interrupted() -> None:
    console.print("The engine stays up: Ctrl-C ends it.")
    try:
        signal.pause()
    except KeyboardInterrupt:
        console.print("Ended.")


def _interrupt(_signal: int, _frame: Any) -> NoReturn:
    raise KeyboardInterrupt


def _command(options: str) -> str:
    return f"{_shown(Path(sys.executable))} {_shown(Path(__file__))} {options}"


def _shown(path: Path) -> str:
    """As the user would type it from where they are; symbolic links are not followed."""
    path = Path(os.path.abspath(path))
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


if __name__ == "__main__":
    sys.exit(main())
