"""Which finished instances of a shard are the next to be removed: those that ended first."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from raysume.actors.kernel.records import InstanceRecord
from raysume.actors.kernel.status import may_leave


class Departures:
    """The checkpointed instances of a shard that have ended, in the order of their ends."""

    __slots__ = ("_ends", "_queue")

    def __init__(self) -> None:
        self._queue: list[tuple[int, int, str]] = []
        self._ends: dict[int, int] = {}
        """number -> when it ended: of a rewound instance, no other entry of the queue counts."""

    def __len__(self) -> int:
        return len(self._ends)

    @property
    def first_us(self) -> int | None:
        """When the first of them ended; None when there is none."""
        return self._queue[0][0] if self._queue else None

    def add(self, record: InstanceRecord) -> None:
        """The instance is in a checkpoint, and leaves when its time has come, if it may."""
        if may_leave(record):
            self.put(record.number, record.id, record.updated_us)
        else:
            self._ends.pop(record.number, None)

    def put(self, number: int, id: str, ended_us: int) -> None:
        """The instance is in a checkpoint, and leaves when its time has come."""
        self._ends[number] = ended_us
        heapq.heappush(self._queue, (ended_us, number, id))

    def take(self, ended_before_us: int) -> Iterator[tuple[int, str]]:
        """(number, id) of those that ended before, the first one first; each leaves as it is given."""
        while self._queue and self._queue[0][0] < ended_before_us:
            ended_us, number, id = heapq.heappop(self._queue)
            if self._ends.get(number) == ended_us:
                del self._ends[number]
                yield number, id
