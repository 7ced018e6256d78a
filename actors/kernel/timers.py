"""The timers of all instances of a kernel, by when they are due."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator

from raysume.actors.kernel.instances import Instance
from raysume.actors.kernel.records import InstanceRecord
from raysume.actors.kernel.residents import Residents

RETRY_TIMER = "@retry"
"""The timer of a failed instance that is retried by its workflow's policy."""


class Timers:
    """A heap of timers; a stopped timer is forgotten when its time comes.

    The instances say which timers are set: an entry of the heap counts only while its
    instance has that timer due at that time. One that sleeps is asked only when the time has
    come.
    """

    def __init__(self, instances: Residents) -> None:
        self._instances = instances
        self._heap: list[tuple[int, str, str]] = []
        self._is_heap = True
        """False: some were put at its end."""
        self._postponed: dict[str, Instance] = {}
        """Instances whose timers wait until their waits have finished looking back."""

    def set(self, instance: Instance, timer_id: str, due_us: int) -> None:
        """The timer rings at `due_us` unless it is stopped."""
        instance.timers[timer_id] = due_us
        heapq.heappush(self._heap, (due_us, instance.id, timer_id))

    def restore(self, record: InstanceRecord) -> None:
        """The timers of a saved instance ring when they are due."""
        for timer in record.timers:
            heapq.heappush(self._heap, (timer.due_us, record.id, timer.id))

    def restore_all(
        self, dues_us: Iterable[int], ids: Iterable[str], timers: Iterable[str]
    ) -> None:
        """Timers of saved instances, of each that which stands at its place, ring when they are due."""
        self._heap.extend(zip(dues_us, ids, timers, strict=True))
        self._is_heap = False

    @property
    def next_due_us(self) -> int | None:
        """When the next timer is due; None when there is none that may ring.

        While a wait of its instance looks back, a timer may not: the call that stops it
        may have been accepted long ago. Of an instance that sleeps, a stopped timer may be told.
        """
        self._resume()
        while self._heap:
            due_us, instance_id, timer_id = self._heap[0]
            if self._instances.sleeps(instance_id):
                return due_us
            instance = self._instances.get(instance_id)
            is_set = instance is not None and instance.timers.get(timer_id) == due_us
            rings = instance is not None and (instance.is_active or timer_id == RETRY_TIMER)
            if instance is not None and is_set and rings:
                if not instance.looks_back:
                    return due_us
                self._postponed[instance_id] = instance
            heapq.heappop(self._heap)
        return None

    def _resume(self) -> None:
        if not self._is_heap:
            heapq.heapify(self._heap)
            self._is_heap = True
        for instance in list(self._postponed.values()):
            if not instance.looks_back:
                del self._postponed[instance.id]
                for timer_id, due_us in instance.timers.items():
                    heapq.heappush(self._heap, (due_us, instance.id, timer_id))

    def ring(self, upto_us: int) -> tuple[Instance, str] | None:
        """The next timer due at or before `upto_us`, which is set no more; None when there is none."""
        while True:
            due_us = self.next_due_us
            if due_us is None or due_us > upto_us:
                return None
            _, instance_id, timer_id = self._heap[0]
            if self._instances.sleeps(instance_id):
                self._instances.wake((instance_id,))
                continue
            heapq.heappop(self._heap)
            instance = self._instances[instance_id]
            del instance.timers[timer_id]
            return instance, timer_id

    def due(self, upto_us: int) -> Iterator[str]:
        """The instances with an entry due at or before `upto_us`, in any order."""
        self._resume()
        places = [0]
        while places:
            place = places.pop()
            if place < len(self._heap) and self._heap[place][0] <= upto_us:
                yield self._heap[place][1]
                places += (2 * place + 1, 2 * place + 2)
