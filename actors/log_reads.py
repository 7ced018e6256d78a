"""What a pool reads from the call log: ranges that have not come, calls for a wait that looks back."""

from __future__ import annotations

from raysume.actors.kernel.commits import LookBackOrder
from raysume.actors.kernel.moments import moment
from raysume.records import Segment
from raysume.storage.call_ports import CallLog


class RangeRead:
    """Reads the segments of a range."""

    def __init__(self, partition: int, start: int, end: int) -> None:
        self._partition, self._start, self._end = partition, start, end

    def __call__(self, log: CallLog) -> list[Segment]:
        """The segments, in order."""
        return list(log.read(self._partition, start=self._start, end=self._end))


class LookBackRead:
    """Reads the segments that a look-back needs."""

    def __init__(self, order: LookBackOrder) -> None:
        self._order = order

    def __call__(self, log: CallLog) -> list[Segment]:
        """The segments, in order."""
        order = self._order
        since = moment(order.since_us)
        found: list[Segment] = []
        for segment in log.search(method=order.method, after_pos=order.after[0] - 1, since=since):
            if segment.pos > order.upto[0]:
                break
            found.append(segment)
        return found
