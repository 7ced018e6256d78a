"""Takes in deliveries: every call of a partition is applied once, in order, whatever arrives.

A delivery covers a range. What was applied before is cut off; a gap, or a range that came
without its calls, is asked from the log.
"""

from __future__ import annotations

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

    def following(self, partition: int) -> Delivery | RangeOrder | None:
        """What comes next: a delivery to apply, a range to read from the log, or nothing yet."""
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
                return held.pop(0)
        self._held.pop(partition, None)
        return None

    def applied(self, delivery: Delivery) -> None:
        """The calls of the delivery were applied."""
        self.watermarks[delivery.partition] = delivery.end

    def _order(self, partition: int, start: int, end: int) -> RangeOrder | None:
        if end <= self._asked.get(partition, 0):
            return None
        self._asked[partition] = end
        return RangeOrder(partition=partition, start=start, end=end)
