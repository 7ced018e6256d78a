"""The figures from the file, from results, and the checks on what the engine did."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import date
from functools import cache
from typing import Any

import pytest
from rich.console import Console

from flights_audit import check_accepted, check_alerts, check_bookings, check_receptions
from flights_data import DayCall, calls_of, read_flights
from flights_figures import (
    COLUMNS,
    Figures,
    differences,
    figures_of_file,
    figures_of_reports,
    table,
)

STORM = date(2013, 2, 8)


@cache
def calls() -> list[DayCall]:
    return calls_of(read_flights(STORM))


@cache
def file_figures() -> dict[str, Figures]:
    return figures_of_file(read_flights(STORM))


def reports() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What a right engine returns for the day, worked out from the calls alone."""
    flights: dict[str, dict[str, Any]] = {}
    airports: dict[str, dict[str, Any]] = {}
    for call in calls():
        facts = call.input
        if call.stage == "opened":
            airports[facts["airport"]] = {**facts, "alerts": [], "calls": [call.id]}
        elif call.stage == "closed":
            airports[facts["airport"]]["calls"].append(call.id)
        elif call.stage == "scheduled":
            plan = {"departure_delay": None, "booking": None, "outcome": "scheduled"}
            flights[call.subject] = {**facts, **plan, "calls": [call.id]}
        else:
            flight = flights[call.subject]
            flight["outcome"] = call.stage
            flight["calls"].append(call.id)
            if call.stage == "departed":
                flight["departure_delay"] = facts["delay_minutes"]
                if facts["delay_minutes"] > 60:
                    flight["booking"] = f"RB-{call.subject}"
                    seen = airports[flight["origin"]]
                    seen["calls"].append(call.id)
                    if (len(seen["calls"]) - 1) % 10 == 0:
                        seen["alerts"].append("late")
    return list(flights.values()), list(airports.values())


def test_the_storms_figures_are_those_of_the_file() -> None:
    # Counted with awk: rows, dep_delay NA, >= 15, > 60, that by ten, and the sum of dep_delay.
    counted = {
        airport: (f.flights, f.cancelled, f.delayed, f.rebooked, f.alerts, f.delay_minutes)
        for airport, f in file_figures().items()
    }
    assert counted == {
        "EWR": (341, 177, 37, 8, 0, 1413),
        "JFK": (304, 159, 29, 4, 0, 1240),
        "LGA": (285, 136, 59, 22, 2, 4151),
    }


def test_a_right_engine_has_the_same_figures() -> None:
    assert differences(file_figures(), figures_of_reports(*reports())) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [("departure_delay", 7), ("outcome", "cancelled"), ("origin", "JFK"), ("booking", "RB1")],
)
def test_one_wrong_result_makes_the_figures_differ(field: str, value: object) -> None:
    flights, alerts = reports()
    [wrong, *_] = [
        report
        for report in flights
        if (report["origin"], report["outcome"]) == ("LGA", "arrived") and not report["booking"]
    ]
    wrong[field] = value
    assert differences(file_figures(), figures_of_reports(flights, alerts)) != []


def test_a_missing_alert_makes_the_figures_differ() -> None:
    flights, alerts = reports()
    [lga] = [report for report in alerts if report["airport"] == "LGA"]
    lga["alerts"].pop()
    assert differences(file_figures(), figures_of_reports(flights, alerts)) != []


def test_the_table_shows_both_figures_of_every_airport() -> None:
    text = io.StringIO()
    engine = dict(file_figures())
    engine["JFK"] = replace(engine["JFK"], cancelled=engine["JFK"].cancelled - 1)
    Console(file=text, width=80).print(table(file_figures(), engine))
    lines = text.getvalue().splitlines()
    row = next(n for n, line in enumerate(lines) if "JFK" in line)
    cancelled = file_figures()["JFK"].cancelled
    assert lines[row].split()[:4] == ["JFK", "engine", "304", str(cancelled - 1)]
    assert lines[row + 1].split()[:3] == ["file", "304", str(cancelled)]
    assert all(any(airport in line for line in lines) for airport in ("EWR", "LGA"))
    assert all(name in text.getvalue() for name in COLUMNS[:-1])


def test_an_airport_without_departures_has_no_mean_delay() -> None:
    assert Figures(flights=3, cancelled=3).mean_delay is None


def test_each_call_received_once_and_in_order_passes_the_audit() -> None:
    assert check_receptions(calls(), *reports()) == []


def test_a_turn_that_was_doubled_or_skipped_or_swapped_fails_the_audit() -> None:
    def doubled(seen: list[str]) -> list[str]:
        return [*seen, seen[-1]]

    def skipped(seen: list[str]) -> list[str]:
        return seen[:-1]

    def swapped(seen: list[str]) -> list[str]:
        return seen[::-1]

    for spoilt in (doubled, skipped, swapped):
        flights, alerts = reports()
        flights[0]["calls"] = spoilt(flights[0]["calls"])
        assert len(check_receptions(calls(), flights, alerts)) == 1
        flights, alerts = reports()
        alerts[-1]["calls"] = spoilt(alerts[-1]["calls"])
        assert len(check_receptions(calls(), flights, alerts)) == 1


def test_an_instance_too_many_fails_the_audit() -> None:
    flights, alerts = reports()
    assert check_receptions(calls(), [*flights, flights[0]], alerts) != []
    assert check_receptions(calls(), [*flights, {**flights[0], "flight": "other"}], alerts) != []


def test_a_booking_tried_twice_is_one_booking() -> None:
    flights, _ = reports()
    ledger = [f"{report['booking']} {report['flight']}" for report in flights if report["booking"]]
    assert check_bookings([*ledger, ledger[0], ""], flights) == ([], 1)


def test_a_second_booking_and_a_missing_one_fail_the_audit() -> None:
    flights, _ = reports()
    ledger = [f"{report['booking']} {report['flight']}" for report in flights if report["booking"]]
    assert check_bookings([*ledger, f"RB-again {flights[0]['flight']}"], flights)[0] != []
    assert check_bookings(ledger[1:], flights)[0] != []


def test_an_alert_published_twice_or_never_fails_the_audit() -> None:
    _, alerts = reports()
    published = [
        {"airport": report["airport"], "day": report["day"], "late_departures": 10 * (n + 1)}
        for report in alerts
        for n in range(len(report["alerts"]))
    ]
    assert len(published) == 2
    assert check_alerts(published, alerts) == []
    assert check_alerts([*published, published[0]], alerts) != []
    assert check_alerts(published[1:], alerts) != []
    assert check_alerts(published, []) != []


def test_a_lost_call_and_a_doubled_one_fail_the_audit() -> None:
    ids = [call.id for call in calls()]
    assert check_accepted(calls(), ids) == []
    assert check_accepted(calls(), ids[1:]) == [f"{ids[0]}: stored 0 times"]
    assert check_accepted(calls(), [*ids, ids[5]]) == [f"{ids[5]}: stored 2 times"]
