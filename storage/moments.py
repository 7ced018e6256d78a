"""Moments as the store keeps them: microseconds since 1970, UTC, in a 64-bit integer.

Integers compare and page the same in every database; text and floats do not.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def to_us(moment: datetime) -> int:
    """The moment in microseconds, exactly; a naive datetime is a TypeError."""
    return (moment - _EPOCH) // _MICROSECOND


def from_us(us: int) -> datetime:
    """The aware UTC datetime of a number of microseconds, exactly."""
    return _EPOCH + timedelta(microseconds=us)


def wall_clock_us() -> int:
    """Now, by this machine's clock."""
    return time.time_ns() // 1_000
