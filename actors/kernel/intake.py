"""Takes in deliveries: every call of a partition is applied once, in order, whatever arrives.

A delivery covers a range. What was applied before is cut off; a gap, or a range that came
without its calls, is asked from the log. Across partitions the calls follow each other in
the order in which they were accepted: while some of a partition are being read, those of
others wait, since what a dead ingress accepted comes before what its successor accepts.
"""

from __future__ import annotations

import msgspec

from raysume.actors.kernel.commits import RangeOrder
from raysume.actors.kernel.deliveries import Delivery


class Intake:
    """The watermarks of a kernel, and the deliveries that wait for an earlier one."""

    def __init__(self) -> None:
        self.watermarks: dict[int, int] = {}
        """partition -> offset below which every call was applied."""
        self._held: dict[int, list[Delivery]] = {}
        self._asked: dict[int, int] = {}
        """partition -> offset below which the log was asked for what is missing."""

    def recover(self, watermarks: dict[int, int]) -> None:
        """Calls below these offsets were applied by an earlier incarnation."""
        for partition, offset in watermarks.items():
            if offset > self.mark(partition):
                self.watermarks[partition] = offset

    def mark(self, partition: int) -> int:
        """The offset below which every call of the partition was applied."""
        return self.watermarks.get(partition, 0)

    def add(self, delivery: Delivery) -> None:
        """The delivery has come; `following` gives it when its turn has come."""
        held = self._held.setdefault(delivery.partition, [])
        held.append(delivery)
        held.sort(key=lambda one: one.start)

    def following(self) -> Delivery | RangeOrder | None:
        """What comes next: a delivery to apply, a range to read from the log, or nothing yet."""
        firsts: list[tuple[int, int]] = []
        is_reading = False
        for partition in {**self._held, **self._asked}:
            first = self._first(partition)
            if isinstance(first, RangeOrder):
                return first
            if first is None:
                is_reading = is_reading or self._asked.get(partition, 0) > self.mark(partition)
                continue
            pos = self._pos_of(first)
            if pos is None:
                return self._held[partition].pop(0)  # it has no calls whose order could matter
            firsts.append((pos, partition))
        if is_reading or not firsts:
            return None
        firsts.sort()
        return self._take(firsts[0][1], upto=firsts[1][0] if len(firsts) > 1 else None)

    def only(self, partition: int, offset: int) -> Delivery | RangeOrder | None:
        """The call at `offset`, where the partition stands, whatever comes first in others."""
        first = self._first(partition)
        if first is None or isinstance(first, RangeOrder):
            return first
        self._held[partition].pop(0)
        return self._kept_from(first, offset + 1)

    def stop_before(self, delivery: Delivery, offset: int) -> None:
        """Of the delivery, which `following` gave, the calls below `offset` were applied."""
        self._kept_from(delivery, offset)
        self.watermarks[delivery.partition] = offset

    def applied(self, delivery: Delivery) -> None:
        """The calls of the delivery were applied."""
        self.watermarks[delivery.partition] = delivery.end
        if self._asked.get(delivery.partition, delivery.end + 1) <= delivery.end:
            del self._asked[delivery.partition]

    def _first(self, partition: int) -> Delivery | RangeOrder | None:
        """What the partition goes on with; None: nothing is held, or the log is being read."""
        held = self._held.get(partition, [])
        while held:
            first, mark = held[0], self.mark(partition)
            if first.end <= mark:
                held.pop(0)
            elif first.start > mark:
                return self._order(partition, mark, first.start)
            elif first.catalogue == 0:
                held.pop(0)
                order = self._order(partition, mark, first.end)
                if order is not None:
                    return order
            else:
                return first
        self._held.pop(partition, None)
        return None

    def _pos_of(self, delivery: Delivery) -> int | None:
        """The place in the log of the first call to apply; None when there is none."""
        mark = self.mark(delivery.partition)
        return next((call.pos for call in delivery.calls if call.offset >= mark), None)

    def _take(self, partition: int, *, upto: int | None) -> Delivery:
        """The first delivery held of the partition, without what comes after `upto`."""
        held = self._held[partition]
        first = held.pop(0)
        if upto is None or not first.calls or first.calls[-1].pos <= upto:
            return first
        cut = next(call.offset for call in first.calls if call.pos > upto)
        return self._kept_from(first, cut)

    def _kept_from(self, delivery: Delivery, cut: int) -> Delivery:
        """What of the delivery lies below `cut`; the rest is held again, as the first."""
        if cut >= delivery.end:
            return delivery
        before = [call for call in delivery.calls if call.offset < cut]
        rest = msgspec.structs.replace(delivery, start=cut, calls=delivery.calls[len(before) :])
        self._held.setdefault(delivery.partition, []).insert(0, rest)
        return msgspec.structs.replace(delivery, end=cut, calls=before)

    def _order(self, partition: int, start: int, end: int) -> RangeOrder | None:
        if end <= self._asked.get(partition, 0):
            return None
        self._asked[partition] = end
        return RangeOrder(partition=partition, start=start, end=end)
