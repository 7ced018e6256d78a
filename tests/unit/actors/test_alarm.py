"""When a pool looks at its timers anew."""

from __future__ import annotations

import pytest

from raysume.actors.recurring import Alarm

NOW_US = 1_700_000_000_000_000
HOUR_US = 3_600_000_000


@pytest.mark.parametrize(
    ("due_us", "at_us", "looks"),
    [
        (NOW_US + 5, NOW_US + 10, False),  # the same timer, a moment later
        (NOW_US + 4, NOW_US + 10, True),  # an earlier one
        (None, NOW_US + 10, True),  # it was stopped
        (NOW_US + 5, NOW_US + HOUR_US, True),  # the clock was put forward
        (NOW_US + 5, NOW_US - HOUR_US, True),  # or back
    ],
)
def test_timers_are_looked_at_when_they_or_the_clock_have_changed(
    due_us: int | None, at_us: int, looks: bool
) -> None:
    alarm = Alarm(due_us=NOW_US + 5, looked_us=NOW_US)
    alarm.applied(due_us, at_us)
    assert alarm.changed.is_set() is looks
