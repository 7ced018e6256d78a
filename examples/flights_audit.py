"""Was every call received once, in order, and did every turn have its effect once?

Each check returns the lines of what is wrong; no lines mean that it holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flights_data import DayCall
from flights_figures import LATE_DEPARTURES_PER_ALERT, REBOOKED_ABOVE_MINUTES, Report

SHOWN = 10
"""Lines of one check that are worth reading; the rest is counted."""


def expected_receptions(calls: Iterable[DayCall]) -> dict[str, list[str]]:
    """Subject (flight, or airport and day) -> ids of the calls its instance must have received."""
    expected: dict[str, list[str]] = {}
    for call in calls:
        expected.setdefault(call.subject, []).append(call.id)
        if call.stage == "departed" and call.input["delay_minutes"] > REBOOKED_ABOVE_MINUTES:
            airport_day = f"{call.input['day']}/{call.input['origin']}"
            expected.setdefault(airport_day, []).append(call.id)
    return expected


def check_receptions(
    calls: Sequence[DayCall], flights: Iterable[Report], alerts: Iterable[Report]
) -> list[str]:
    """Every instance received exactly its calls, each once, in the order in which they were made."""
    expected = expected_receptions(calls)
    seen: dict[str, list[list[str]]] = {}
    for report in flights:
        seen.setdefault(report["flight"], []).append(list(report["calls"]))
    for report in alerts:
        seen.setdefault(f"{report['day']}/{report['airport']}", []).append(list(report["calls"]))
    lines = [
        f"{subject}: expected {wanted}, its instances received {seen.get(subject, [])}"
        for subject, wanted in expected.items()
        if seen.get(subject) != [wanted]
    ]
    lines += [f"{subject}: nobody announced it" for subject in seen if subject not in expected]
    return _shortened(lines)


def check_bookings(ledger: Iterable[str], flights: Iterable[Report]) -> tuple[list[str], int]:
    """Every rebooked flight has one booking, the one in its result; no other was made.

    Returns:
        What is wrong, and how many attempts were repeated: a step that a crash interrupted
        before its result was saved runs again, with the same key, which is no error.
    """
    attempts = Counter(line.strip() for line in ledger if line.strip())
    made = set(attempts)
    wanted = {f"{r['booking']} {r['flight']}" for r in flights if r["booking"] is not None}
    lines = [f"{line}: in a result, never booked" for line in sorted(wanted - made)]
    lines += [f"{line}: booked, in no result" for line in sorted(made - wanted)]
    return _shortened(lines), sum(attempts.values()) - len(attempts)


def check_alerts(published: Iterable[Mapping[str, Any]], alerts: Iterable[Report]) -> list[str]:
    """Each alert was published as one call, never twice, and no other was."""
    made = Counter(
        (str(call["airport"]), str(call["day"]), int(call["late_departures"])) for call in published
    )
    wanted = Counter(
        (str(report["airport"]), str(report["day"]), LATE_DEPARTURES_PER_ALERT * (n + 1))
        for report in alerts
        for n in range(len(report["alerts"]))
    )
    lines = [f"{alert}: published {made[alert]} times" for alert in made if made[alert] != 1]
    lines += [f"{alert}: never published" for alert in wanted if alert not in made]
    lines += [f"{alert}: published, in no result" for alert in made if alert not in wanted]
    return _shortened(lines)


def check_accepted(calls: Iterable[DayCall], stored: Iterable[str]) -> list[str]:
    """The call log holds every call of the replay exactly once."""
    held = Counter(stored)
    lines = [f"{call.id}: stored {held[call.id]} times" for call in calls if held[call.id] != 1]
    return _shortened(lines)


def _shortened(lines: list[str]) -> list[str]:
    if len(lines) <= SHOWN:
        return lines
    return [*lines[:SHOWN], f"... and {len(lines) - SHOWN} more"]
