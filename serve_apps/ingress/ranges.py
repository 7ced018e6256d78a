"""Ranges of a partition on their way to one pool: merged, split, bounded, never skipped. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from raysume.actors.kernel.deliveries import DeliveredCall, Delivery
from raysume.limits import (
    BACKLOG_BYTES_MAX,
    BACKLOG_CALLS_MAX,
    DELIVERY_BYTES_MAX,
    DELIVERY_CALLS_MAX,
)

FROM_LOG = 0
"""Catalogue version of a range whose calls the pool reads from the log itself."""

_CALL_OVERHEAD_BYTES = 200
_encoder = msgspec.msgpack.Encoder()


@dataclass(slots=True, kw_only=True)
class Range:
    """The calls with start <= offset < end of a partition that one pool awaits."""

    partition: int
    start: int
    end: int
    catalogue: int
    """Version that the calls were filtered with; FROM_LOG when they are left to the pool."""
    calls: list[DeliveredCall]
    awaited: int
    """Calls that the pool awaits in the range, also when `calls` is left out."""
    size: int
    """Bytes of `calls`, roughly."""
    after: list[tuple[int, dict[int, int]]] = field(default_factory=list)
    """What its calls come after (`Delivery.after`); empty when they are left to the pool."""

    def encode(self) -> bytes:
        """The delivery as the pool takes it."""
        return _encoder.encode(
            Delivery(self.partition, self.start, self.end, self.catalogue, self.calls, self.after)
        )

    def fits(self, other: Range) -> bool:
        """True when `other` goes on where this one ends, and one delivery can carry both."""
        return (
            other.partition == self.partition
            and other.start == self.end
            and other.catalogue == self.catalogue
            and len(self.calls) + len(other.calls) <= DELIVERY_CALLS_MAX
            and self.size + other.size <= DELIVERY_BYTES_MAX
        )

    def absorb(self, other: Range) -> None:
        """This range covers `other` too, which fits."""
        self.end = other.end
        # Never in place: the list may be shared with the ranges of other pools.
        self.calls = [*self.calls, *other.calls] if other.calls else self.calls
        self.after = [*self.after, *other.after] if other.after else self.after
        self.awaited += other.awaited
        self.size += other.size


def size_of(delivered: DeliveredCall) -> int:
    """Bytes of one call, roughly."""
    call = delivered.call
    return len(call.input) + len(call.output or b"") + _CALL_OVERHEAD_BYTES


def split(
    *,
    partition: int,
    start: int,
    end: int,
    catalogue: int,
    calls: list[DeliveredCall],
    after: dict[int, int],
) -> Iterator[Range]:
    """The calls as ranges of which each fits into one delivery; together they cover start..end.

    Args:
        after: of their segment (`Segment.after`).
    """
    behind = [(start, after)] if after else []
    part: list[DeliveredCall] = []
    size = 0
    for delivered in calls:
        more = size_of(delivered)
        if part and (len(part) == DELIVERY_CALLS_MAX or size + more > DELIVERY_BYTES_MAX):
            yield Range(
                partition=partition,
                start=start,
                end=delivered.offset,
                catalogue=catalogue,
                calls=part,
                awaited=len(part),
                size=size,
                after=behind,
            )
            start, part, size, behind = delivered.offset, [], 0, []
        part.append(delivered)
        size += more
    yield Range(
        partition=partition,
        start=start,
        end=end,
        catalogue=catalogue,
        calls=part,
        awaited=len(part),
        size=size,
        after=behind,
    )


class PendingRanges:
    """Ranges that wait to be sent to one pool, in order, within the bounds of memory."""

    def __init__(self) -> None:
        self._ranges: deque[Range] = deque()
        self.awaited = 0
        """Calls in them that the pool awaits."""
        self.size = 0
        """Bytes of the calls held."""

    def __bool__(self) -> bool:
        return bool(self._ranges)

    def __len__(self) -> int:
        return len(self._ranges)

    @property
    def only_empty(self) -> bool:
        """True when no range holds a call or has to be read from the log."""
        return self.awaited == 0 and all(one.catalogue != FROM_LOG for one in self._ranges)

    @property
    def oldest(self) -> Range:
        """The range that `take` gives next; there is one."""
        return self._ranges[0]

    def add(self, new: Range) -> None:
        """`new` is sent after all others; when too much is held, the pool reads from the log."""
        self.awaited += new.awaited
        self.size += new.size
        if self._ranges and self._ranges[-1].fits(new):
            self._ranges[-1].absorb(new)
        else:
            self._ranges.append(new)
        if self.size > BACKLOG_BYTES_MAX or self.awaited > BACKLOG_CALLS_MAX:
            self.leave_to_log()

    def take(self) -> Range:
        """The oldest range; it is no longer held."""
        oldest = self._ranges.popleft()
        self.awaited -= oldest.awaited
        self.size -= oldest.size
        return oldest

    def put_back(self, failed: list[Range]) -> None:
        """Ranges that were taken are held again, before all others, in the order given."""
        self._ranges.extendleft(reversed(failed))
        self.awaited += sum(one.awaited for one in failed)
        self.size += sum(one.size for one in failed)

    def leave_to_log(self) -> None:
        """No calls are held any more: the same ranges name what to read from the log."""
        if self.size == 0:
            return
        ranges, self._ranges = self._ranges, deque()
        for one in ranges:
            one.calls, one.after, one.size, one.catalogue = [], [], 0, FROM_LOG
            if self._ranges and self._ranges[-1].fits(one):
                self._ranges[-1].absorb(one)
            else:
                self._ranges.append(one)
        self.size = 0
