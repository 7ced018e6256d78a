"""The workflows of the flights: each path of one flight, an airport's alerts, a whole airport."""

from __future__ import annotations

from datetime import date
from typing import Any, TypeVar

import pytest

import flights_workflows as example
from flights_audit import check_receptions
from flights_data import DayCall, calls_of, read_flights
from flights_figures import differences, figures_of_file, figures_of_reports
from raysume.testing import TestShell
from raysume.testing.views import Run

STORM = date(2013, 2, 8)
NOON = "2013-02-08T12:00:00+00:00"


async def announce(shell: TestShell, flight: str = "UA1") -> None:
    await shell.push(
        example.scheduled,
        flight=flight,
        origin="LGA",
        destination="ORD",
        day=STORM,
        departure=NOON,
        at=NOON,
    )


async def leave(shell: TestShell, flight: str = "UA1", *, late: int, origin: str = "LGA") -> str:
    return await shell.push(
        example.departed, flight=flight, origin=origin, day=STORM, delay_minutes=late, at=NOON
    )


R = TypeVar("R")


def result_of(run: Run[R]) -> R:
    assert run.status == "completed", run.error
    assert run.result is not None
    return run.result


async def test_a_flight_in_time_arrives_without_a_booking() -> None:
    async with TestShell(example.flight) as shell:
        await announce(shell)
        await leave(shell, late=60)
        await shell.push(example.arrived, flight="UA1", delay_minutes=-4, at=NOON)
        [run] = shell.instances(example.flight)
        report = result_of(run)
        assert (report.outcome, report.departure_delay) == ("arrived", 60)
        assert report.booking is None
        assert len(report.calls) == 3


async def test_a_flight_over_an_hour_late_is_rebooked_once() -> None:
    async with TestShell(example.flight) as shell:
        await announce(shell)
        await leave(shell, late=61)
        await shell.push(example.diverted, flight="UA1", at=NOON)
        [run] = shell.instances(example.flight)
        assert result_of(run).outcome == "diverted"
        assert str(result_of(run).booking).startswith("RB")


async def test_a_cancelled_flight_is_finished() -> None:
    async with TestShell(example.flight) as shell:
        await announce(shell)
        await shell.push(example.cancelled, flight="UA1", at=NOON)
        [run] = shell.instances(example.flight)
        assert result_of(run).outcome == "cancelled"


async def test_calls_of_another_flight_are_not_received() -> None:
    async with TestShell(example.flight) as shell:
        await announce(shell, "UA1")
        await announce(shell, "UA2")
        await leave(shell, "UA2", late=0)
        first, second = shell.instances(example.flight)
        assert [w.method for w in first.waits if w.status == "waiting" and w.method] == [
            "flights.departed",
            "flights.cancelled",
        ]
        await shell.push(example.arrived, flight="UA2", delay_minutes=0, at=NOON)
        assert (first.status, second.status) == ("waiting", "completed")


async def test_every_tenth_departure_over_an_hour_late_raises_an_alert() -> None:
    async with TestShell(example.airport_alerts) as shell:
        for airport in ("LGA", "JFK"):
            await shell.push(example.day_opened, airport=airport, day=STORM, at=NOON)
        for _ in range(20):
            await leave(shell, late=90)
            await leave(shell, late=60)
        for _ in range(9):
            await leave(shell, late=90, origin="JFK")
        for airport in ("LGA", "JFK"):
            await shell.push(example.day_closed, airport=airport, day=STORM, at=NOON)
        lga, jfk = (result_of(run) for run in shell.instances(example.airport_alerts))
        assert lga.alerts == [
            "LGA: 10 departures of 2013-02-08 were over an hour late",
            "LGA: 20 departures of 2013-02-08 were over an hour late",
        ]
        assert jfk.alerts == []
        # 4 for the days, 49 departures, and the alerts: published as calls, once each.
        assert shell.counts().calls == 4 + 49 + 2


@pytest.mark.parametrize("airport", ["LGA"])
async def test_an_airports_storm_has_the_figures_of_the_file(airport: str) -> None:
    flights = [flight for flight in read_flights(STORM) if flight.origin == airport]
    calls = calls_of(flights)
    names: dict[str, str] = {}  # the shell's id of a call -> the replay's
    async with TestShell(example.flight, example.airport_alerts, reload=False) as shell:
        for call in calls:
            names[await shell.push(METHODS[call.method], input=call.input)] = call.id
        flight_reports = [as_json(result_of(run), names) for run in shell.instances(example.flight)]
        alert_reports = [
            as_json(result_of(run), names) for run in shell.instances(example.airport_alerts)
        ]
    engine = figures_of_reports(flight_reports, alert_reports)
    assert differences(figures_of_file(flights), engine) == []
    assert check_receptions(calls, flight_reports, alert_reports) == []


METHODS = {
    method.urn: method
    for method in (
        *(example.scheduled, example.departed, example.cancelled, example.arrived),
        *(example.diverted, example.day_opened, example.day_closed),
    )
}


def as_json(report: Any, names: dict[str, str]) -> dict[str, Any]:
    """A result as the client reads it, with the replay's call ids."""
    document: dict[str, Any] = report.model_dump(mode="json")
    document["calls"] = [names[id] for id in document["calls"]]
    return document


def test_every_call_of_the_replay_fits_its_method() -> None:
    flights: list[DayCall] = calls_of(read_flights(STORM))
    for call in flights:
        METHODS[call.method].input_model.model_validate(call.input, strict=False)
