"""Takes in deliveries: every call is applied once, in the order of the log, whatever arrives.

A delivery covers a range of a partition. What was applied before is cut off; a gap, or a
range that came without its calls, is asked from the log. Across partitions every segment
names the ends of the others that come before it: its calls wait until those are applied,
and what of them has not come is asked from the log, too.

The first missing call of the whole log is never waited for in vain: the segment behind it
in another partition names it, or its own partition has it or a gap in its place; and a
range that was asked from the log comes for certain.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable

import msgspec

from raysume.actors.kernel.commits import RangeOrder
from raysume.actors.kernel.deliveries import Delivery


class Intake:
    """The watermarks of a kernel, and the deliveries that wait for an earlier one."""

    def __init__(self) -> None:
        self.watermarks: dict[int, int] = {}
        """partition -> offset below which every call was applied."""
        self.waiting = 0
        """Calls in the deliveries that are held."""
        self._held: dict[int, list[Delivery]] = {}
        """By partition, in order of their starts."""
        self._asked: dict[int, int] = {}
        """partition -> offset below which the log was asked for what is missing."""
        self.bound: dict[int, int] | None = None
        """partition -> offset at and behind which nothing is applied for now, also of a partition
        that is not there; None: there is no bound."""
        self._gone: set[int] = set()
        """Partitions that were just forgotten: what still comes of them was applied long ago."""

    def recover(self, watermarks: dict[int, int]) -> None:
        """Calls below these offsets were applied by an earlier incarnation."""
        for partition, offset in watermarks.items():
            if offset > self.mark(partition):
                self.watermarks[partition] = offset

    def jump(self, watermarks: dict[int, int]) -> None:
        """The kernel stands here: nothing depends on what it applied before, or asked for.

        That may be behind where it stood: what it dropped as applied is asked for again.
        """
        self.watermarks = dict(watermarks)
        self._asked.clear()

    def forget(self, partitions: Iterable[int]) -> None:
        """The log knows nothing of these partitions any more: their watermarks have left memory."""
        self._gone = set(partitions)
        for partition in self._gone:
            self.watermarks.pop(partition, None)
            self._asked.pop(partition, None)
            for delivery in self._held.pop(partition, ()):
                self.waiting -= len(delivery.calls)

    def mark(self, partition: int) -> int:
        """The offset below which every call of the partition was applied."""
        return self.watermarks.get(partition, 0)

    def add(self, delivery: Delivery) -> None:
        """The delivery has come; `following` gives it when its turn has come."""
        if delivery.partition not in self._gone:
            held = self._held.setdefault(delivery.partition, [])
            bisect.insort(held, delivery, key=_start)
            self.waiting += len(delivery.calls)

    def following(self) -> Delivery | RangeOrder | None:
        """What comes next: a delivery to apply, a range to read from the log, or nothing yet."""
        for partition in list(self._held):
            if self._is_at_bound(partition):
                continue
            first = self._first(partition)
            if first is None or isinstance(first, RangeOrder):
                if first is not None:
                    return first
                continue
            found = self._next_of(first)
            if found is not None:
                return found if isinstance(found, RangeOrder) else self._within_bound(found)
        return None

    def _is_at_bound(self, partition: int) -> bool:
        return self.bound is not None and self.mark(partition) >= self.bound.get(partition, 0)

    def _within_bound(self, ready: Delivery) -> Delivery:
        """What may be applied now of a delivery that waits for nothing else; the rest is held."""
        end = ready.end if self.bound is None else self.bound.get(ready.partition, 0)
        if ready.end <= end:
            return ready
        found = _ready(ready, end)
        rest = msgspec.structs.replace(
            ready, start=end, calls=ready.calls[len(found.calls) :], after=[]
        )
        self._held.setdefault(ready.partition, []).insert(0, rest)
        self.waiting += len(rest.calls)
        return found

    def only(self, partition: int, offset: int) -> Delivery | RangeOrder | None:
        """The call at `offset`, where the partition stands, whatever comes first in others."""
        if self._is_at_bound(partition):
            return None
        first = self._first(partition) if partition in self._held else None
        if first is None or isinstance(first, RangeOrder):
            return first
        self._drop_first(self._held[partition])
        self._keep_rest(first, offset + 1)
        return _ready(first, min(first.end, offset + 1))

    def stop_before(self, delivery: Delivery, offset: int) -> None:
        """Of the delivery, which `following` gave, the calls below `offset` were applied."""
        self._keep_rest(delivery, offset)
        self.watermarks[delivery.partition] = offset

    def applied(self, delivery: Delivery) -> None:
        """The calls of the delivery were applied."""
        self.watermarks[delivery.partition] = delivery.end
        if self._asked.get(delivery.partition, delivery.end + 1) <= delivery.end:
            del self._asked[delivery.partition]

    def _first(self, partition: int) -> Delivery | RangeOrder | None:
        """What the partition goes on with; None: nothing is held, or the log is being read."""
        held = self._held[partition]
        while held:
            first, mark = held[0], self.mark(partition)
            if first.end <= mark:
                self._drop_first(held)
            elif first.start > mark:
                return self._order(partition, mark, first.start)
            elif first.catalogue == 0:
                self._drop_first(held)
                order = self._order(partition, mark, first.end)
                if order is not None:
                    return order
            else:
                return first
        del self._held[partition]
        return None

    def _drop_first(self, held: list[Delivery]) -> None:
        self.waiting -= len(held.pop(0).calls)

    def _next_of(self, first: Delivery) -> Delivery | RangeOrder | None:
        """What of the first delivery of its partition may be applied now, or what it waits for."""
        held, mark = self._held[first.partition], self.mark(first.partition)
        for place, (offset, ends) in enumerate(first.after):
            missing = [one for one, end in ends.items() if self.mark(one) < end]
            if not missing:
                continue
            if offset > max(first.start, mark):
                held[0] = _rest(first, offset, place)
                ready = _ready(first, offset)
                self.waiting -= len(ready.calls)
                return ready
            for one in missing:
                order = self._ask_beside(one, ends[one])
                if order is not None:
                    return order
            return None
        self._drop_first(held)
        return first

    def _ask_beside(self, partition: int, end: int) -> RangeOrder | None:
        """The range of another partition that has to be read; None when it is on its way."""
        if self._held.get(partition):
            return None
        return self._order(partition, self.mark(partition), end)

    def _keep_rest(self, delivery: Delivery, offset: int) -> None:
        """What of the delivery, which was taken, lies at or behind `offset` is held again."""
        if offset < delivery.end:
            rest = _rest(delivery, offset, 0)
            self._held.setdefault(delivery.partition, []).insert(0, rest)
            self.waiting += len(rest.calls)

    def _order(self, partition: int, start: int, end: int) -> RangeOrder | None:
        asked = self._asked.get(partition, 0)
        if end <= asked:
            return None
        self._asked[partition] = end
        return RangeOrder(partition=partition, start=max(start, asked), end=end)


def _start(delivery: Delivery) -> int:
    return delivery.start


def _ready(delivery: Delivery, upto: int) -> Delivery:
    """The part of the delivery below `upto`, which waits for nothing."""
    size = bisect.bisect_left(delivery.calls, upto, key=lambda call: call.offset)
    return msgspec.structs.replace(delivery, end=upto, calls=delivery.calls[:size], after=[])


def _rest(delivery: Delivery, start: int, place: int) -> Delivery:
    """The part of the delivery from `start` on.

    Args:
        place: of the first of what that part comes after.
    """
    size = bisect.bisect_left(delivery.calls, start, key=lambda call: call.offset)
    return msgspec.structs.replace(
        delivery, start=start, calls=delivery.calls[size:], after=delivery.after[place:]
    )
