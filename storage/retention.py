"""What of a call log may be deleted: pure, and the same for every call log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from raysume.limits import CALL_ID_WINDOW, PUBLISHER_WINDOW

_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleted:
    """What one batch took out of a call log."""

    segments: int
    client_ids: int
    publishers: int
    more: bool
    """True when only the batch's size ended it: another one finds more."""
    partitions: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentEdge:
    """Where a segment ends, and when its calls were accepted."""

    pos: int
    partition: int
    end: int
    at_us: int


def deletable(
    oldest: Iterable[SegmentEdge], *, before_us: int, applied: Mapping[int, int] | None
) -> list[SegmentEdge]:
    """The first of these segments, up to one that is too young or that somebody may need.

    Args:
        oldest: in order of `pos`.
        applied: see `CallLog.delete_before`.
    """
    found: list[SegmentEdge] = []
    for edge in oldest:
        if edge.at_us >= before_us:
            break
        if applied is not None and edge.end > applied.get(edge.partition, 0):
            break
        found.append(edge)
    return found


def client_ids_before(before_us: int, *, now_us: int, oldest_us: int | None) -> int:
    """Ids of clients that were used before this moment may go.

    Args:
        oldest_us: when the oldest call that is left was accepted: it is found by its id; None:
            no call is left.
    """
    window_us = now_us - CALL_ID_WINDOW // _MICROSECOND
    return min(before_us, window_us, before_us if oldest_us is None else oldest_us)


def publishers_before(before_us: int, *, now_us: int) -> int:
    """Publishers that were last heard before this moment may be forgotten."""
    return min(before_us, now_us - PUBLISHER_WINDOW // _MICROSECOND)
