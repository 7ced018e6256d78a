"""Two workflows over one day of flights: this is the file to read first.

A workflow is an ordinary `async def`. Where it waits, its position and its variables are
saved; hours or months later, perhaps in another process, it goes on with the next line.

Start it with `raysume dev examples/flights_workflows.py`, or let `make run` replay a day.
"""

from __future__ import annotations

import hashlib
import os
from datetime import date, datetime

from pydantic import BaseModel

from raysume import Retry, any_of, external_call, push_call, step, step_key, wait, workflow

REBOOK_AFTER_MINUTES = 60
LATE_DEPARTURES_PER_ALERT = 10


# --- What the airports report. They run elsewhere and push these calls over HTTP. ---------


class Scheduled(BaseModel):
    """A flight is on the board."""

    flight: str
    origin: str
    destination: str
    day: date
    departure: datetime
    at: datetime


class Departed(BaseModel):
    """A flight has left, `delay_minutes` after its time (negative: before)."""

    flight: str
    origin: str
    day: date
    delay_minutes: int
    at: datetime


class Cancelled(BaseModel):
    """A flight will not leave."""

    flight: str
    at: datetime


class Arrived(BaseModel):
    """A flight has landed where it was bound for; after a detour without a delay."""

    flight: str
    delay_minutes: int | None
    at: datetime


class Diverted(BaseModel):
    """A flight has landed elsewhere and went no further."""

    flight: str
    at: datetime


class AirportDay(BaseModel):
    """An airport begins, or ends, its departures of a day."""

    airport: str
    day: date
    at: datetime


scheduled = external_call("flights.scheduled", input=Scheduled)
departed = external_call("flights.departed", input=Departed)
cancelled = external_call("flights.cancelled", input=Cancelled)
arrived = external_call("flights.arrived", input=Arrived)
diverted = external_call("flights.diverted", input=Diverted)
day_opened = external_call("flights.day_opened", input=AirportDay)
day_closed = external_call("flights.day_closed", input=AirportDay)


# --- What we do ourselves. ----------------------------------------------------------------


def rebook(flight: str) -> str:
    """The connecting passengers of `flight` have seats on a later one; returns the booking.

    A step that a crash interrupted may run again, with the same `step_key()`: as the booking's
    number it makes both attempts one booking.
    """
    booking = "RB" + hashlib.blake2b(step_key().encode(), digest_size=5).hexdigest()
    ledger = os.environ.get("FLIGHTS_LEDGER")
    if ledger:
        with open(ledger, "a", encoding="utf-8") as lines:
            lines.write(f"{booking} {flight}\n")
    return booking


@push_call("flights.alert_raised", external=True)
def raise_alert(airport: str, day: date, late_departures: int) -> str:
    """The airport's duty officer is told. Other workflows may wait for this call."""
    return f"{airport}: {late_departures} departures of {day} were over an hour late"


# --- The workflows. -----------------------------------------------------------------------


class FlightReport(BaseModel):
    """What became of one flight."""

    flight: str
    origin: str
    day: date
    outcome: str
    departure_delay: int | None = None
    booking: str | None = None
    calls: list[str]
    """The calls that this instance received, in order."""


@workflow
async def flight() -> FlightReport:
    """One scheduled flight. Each `flights.scheduled` call starts an instance."""
    plan = await wait(scheduled).match_any()
    report = FlightReport(
        flight=plan.input.flight,
        origin=plan.input.origin,
        day=plan.input.day,
        outcome="scheduled",
        calls=[plan.id],
    )

    decision = await any_of(
        wait(departed).match(flight=report.flight),
        wait(cancelled).match(flight=report.flight),
    )
    report.calls.append(decision.result.id)
    departure = decision.result.input
    if isinstance(departure, Cancelled):
        report.outcome = "cancelled"
        return report

    report.departure_delay = departure.delay_minutes
    if departure.delay_minutes > REBOOK_AFTER_MINUTES:
        report.booking = await step(rebook, report.flight, retry=Retry(max_attempts=5))

    # An arrival that was reported during the step is not lost: it waits in the mailbox.
    landing = await any_of(
        wait(arrived).match(flight=report.flight),
        wait(diverted).match(flight=report.flight),
    )
    report.calls.append(landing.result.id)
    report.outcome = "arrived" if isinstance(landing.result.input, Arrived) else "diverted"
    return report


class AlertReport(BaseModel):
    """One airport's day."""

    airport: str
    day: date
    alerts: list[str]
    calls: list[str]
    """The calls that this instance received, in order."""


@workflow
async def airport_alerts() -> AlertReport:
    """One airport's day: an alert after every tenth departure that is over an hour late."""
    opened = await wait(day_opened).match_any()
    airport, day = opened.input.airport, opened.input.day
    report = AlertReport(airport=airport, day=day, alerts=[], calls=[opened.id])

    late = 0
    while True:
        event = await any_of(
            wait(departed).match_if(
                lambda call: (
                    call.input.origin == airport
                    and call.input.day == day
                    and call.input.delay_minutes > REBOOK_AFTER_MINUTES
                )
            ),
            wait(day_closed).match(airport=airport, day=day),
        )
        report.calls.append(event.result.id)
        if isinstance(event.result.input, AirportDay):
            return report

        late += 1
        if late % LATE_DEPARTURES_PER_ALERT == 0:
            # Published once, when this turn is saved: never for a turn that a crash undid.
            report.alerts.append(raise_alert(airport, day, late))
