"""The figures of each airport, once from the file and once from what the instances returned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from rich.table import Table

from flights_data import Flight

DELAYED_FROM_MINUTES = 15
"""From here on a departure counts as delayed, as the airlines themselves count."""

REBOOKED_ABOVE_MINUTES = 60
LATE_DEPARTURES_PER_ALERT = 10

Report = Mapping[str, Any]
"""What an instance returned, as JSON: the fields of FlightReport or AlertReport."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One airport's line of the table."""

    flights: int = 0
    cancelled: int = 0
    diverted: int = 0
    delayed: int = 0
    rebooked: int = 0
    alerts: int = 0
    departures: int = 0
    delay_minutes: int = 0
    """Sum over the departures; early ones count negative."""

    @property
    def mean_delay(self) -> float | None:
        """Minutes for each departure; None without departures."""
        return self.delay_minutes / self.departures if self.departures else None


def figures_of_file(flights: Iterable[Flight]) -> dict[str, Figures]:
    """Airport -> figures, counted straight from the rows of the file."""
    found: dict[str, Figures] = {}
    late: dict[tuple[str, str], int] = {}
    for flight in flights:
        old = found.get(flight.origin, Figures())
        delay = flight.departure_delay
        over_an_hour = delay is not None and delay > REBOOKED_ABOVE_MINUTES
        if over_an_hour:
            day = (flight.origin, flight.day.isoformat())
            late[day] = late.get(day, 0) + 1
        found[flight.origin] = replace(
            old,
            flights=old.flights + 1,
            cancelled=old.cancelled + (delay is None),
            diverted=old.diverted + (delay is not None and flight.arrival is None),
            delayed=old.delayed + (delay is not None and delay >= DELAYED_FROM_MINUTES),
            rebooked=old.rebooked + over_an_hour,
            departures=old.departures + (delay is not None),
            delay_minutes=old.delay_minutes + (delay or 0),
        )
    for (airport, _), count in late.items():
        alerts = found[airport].alerts + count // LATE_DEPARTURES_PER_ALERT
        found[airport] = replace(found[airport], alerts=alerts)
    return found


def figures_of_reports(
    flight_reports: Iterable[Report], alert_reports: Iterable[Report]
) -> dict[str, Figures]:
    """Airport -> figures, counted from the results of the instances."""
    found: dict[str, Figures] = {}
    for report in flight_reports:
        old = found.get(report["origin"], Figures())
        delay = report["departure_delay"]
        found[report["origin"]] = replace(
            old,
            flights=old.flights + 1,
            cancelled=old.cancelled + (report["outcome"] == "cancelled"),
            diverted=old.diverted + (report["outcome"] == "diverted"),
            delayed=old.delayed + (delay is not None and delay >= DELAYED_FROM_MINUTES),
            rebooked=old.rebooked + (report["booking"] is not None),
            departures=old.departures + (delay is not None),
            delay_minutes=old.delay_minutes + (delay or 0),
        )
    for report in alert_reports:
        old = found.get(report["airport"], Figures())
        found[report["airport"]] = replace(old, alerts=old.alerts + len(report["alerts"]))
    return found


def differences(file: Mapping[str, Figures], engine: Mapping[str, Figures]) -> list[str]:
    """One line for every airport whose figures are not equal; empty when all are."""
    lines: list[str] = []
    for airport in sorted({*file, *engine}):
        if file.get(airport) != engine.get(airport):
            lines.append(f"{airport}: file {file.get(airport)}, engine {engine.get(airport)}")
    return lines


COLUMNS = ("flights", "cancelled", "diverted", "delayed", "rebooked", "alerts", "mean\ndelay")


def table(file: Mapping[str, Figures], engine: Mapping[str, Figures]) -> Table:
    """Each airport's figures, the engine's above the file's; unequal ones are marked."""
    shown = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold underline")
    for column in ("airport", "from"):
        shown.add_column(column)
    for column in COLUMNS:
        shown.add_column(column, justify="right")
    for airport in sorted({*file, *engine}):
        ours = _cells(engine.get(airport, Figures()))
        theirs = _cells(file.get(airport, Figures()))
        marked = (a if a == b else f"[bold red]{a}[/]" for a, b in zip(ours, theirs, strict=True))
        shown.add_row(airport, "engine", *marked)
        shown.add_row("", "file", *theirs)
    return shown


def _cells(figures: Figures) -> tuple[str, ...]:
    mean = figures.mean_delay
    counts = (
        *(figures.flights, figures.cancelled, figures.diverted),
        *(figures.delayed, figures.rebooked, figures.alerts),
    )
    return (*map(str, counts), "-" if mean is None else f"{mean:.2f}")
