"""Moments as the kernel counts them: microseconds since the epoch, UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""Where microseconds are counted from."""

_ONE = timedelta(microseconds=1)


def moment(us: int) -> datetime:
    """The aware UTC datetime of a count of microseconds since the epoch."""
    return EPOCH + timedelta(microseconds=us)


def microseconds(at: datetime) -> int:
    """Microseconds since the epoch of an aware datetime."""
    return (at - EPOCH) // _ONE


def duration_us(delay: timedelta) -> int:
    """A duration in microseconds."""
    return delay // _ONE
