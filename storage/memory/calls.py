"""A `CallLog` in memory: it keeps every promise of the port but surviving the process."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from raysume.errors import PartitionClosed, StoreUnavailable
from raysume.records import Segment
from raysume.storage.admission import Admission, Known, admit, names_in
from raysume.storage.moments import to_us, wall_clock_us
from raysume.storage.ports import Appended, Batch, CallQuery, FoundCall, Partition
from raysume.storage.segments import calls_for, cut, record_calls


class MemoryCallLog:
    """Implements `raysume.storage.ports.CallLog`. Safe to use from several threads.

    Durability: none; what is said to be durable lives as long as this object.

    Args:
        now_us: the clock, in microseconds since 1970.
    """

    def __init__(self, *, now_us: Callable[[], int] = wall_clock_us) -> None:
        self._now_us = now_us
        self._lock = threading.RLock()
        self._partitions: dict[int, Partition] = {}
        self._segments: list[Segment] = []
        self._by_id: dict[str, FoundCall] = {}
        self._publishers: dict[str, int] = {}
        self._client_calls: dict[bytes, bytes] = {}
        self._last_us = 0
        self._closed = False

    def open_partition(self, *, owner: str) -> Partition:
        """See `CallLog.open_partition`."""
        with self._lock:
            self._check_open()
            partition = Partition(id=secrets.randbits(62), next_offset=0, open=True, owner=owner)
            self._partitions[partition.id] = partition
            return partition

    def append(self, partition: int, batches: Sequence[Batch]) -> Appended:
        """See `CallLog.append`."""
        with self._lock:
            self._check_open()
            place = self._partitions.get(partition)
            if place is None or not place.open:
                raise PartitionClosed(
                    f"partition {partition} is closed; open another one and append there"
                )
            names = names_in(batches)
            admission = admit(
                batches,
                Known(
                    publishers={
                        name: self._publishers[name]
                        for name in names.publishers
                        if name in self._publishers
                    },
                    client_calls={
                        name: self._client_calls[name]
                        for name in names.client_hashes
                        if name in self._client_calls
                    },
                ),
            )
            segment = self._store(place, admission)
            return Appended(segment=segment, accepted=admission.accepted)

    def close_partition(self, partition: int) -> Partition:
        """See `CallLog.close_partition`."""
        with self._lock:
            self._check_open()
            place = self._partitions.get(partition)
            if place is None:
                raise PartitionClosed(f"there is no partition {partition}; it was never opened")
            place = self._partitions[partition] = replace(place, open=False)
            return place

    def partitions(self) -> list[Partition]:
        """See `CallLog.partitions`."""
        with self._lock:
            self._check_open()
            return [
                self._partitions[key]
                for key in sorted(self._partitions)
                if self._partitions[key].open or self._partitions[key].next_offset > 0
            ]

    def barrier(self) -> dict[int, int]:
        """See `CallLog.barrier`."""
        with self._lock:
            self._check_open()
            self._last_us = max(self._last_us, self._now_us() + 1)
            return {place.id: place.next_offset for place in self.partitions()}

    def read(self, partition: int, *, start: int, end: int) -> Iterator[Segment]:
        """See `CallLog.read`."""
        with self._lock:
            self._check_open()
            found = [
                cut(segment, start=start, end=end)
                for segment in self._segments
                if segment.partition == partition
            ]
        return iter([segment for segment in found if segment is not None])

    def search(
        self, *, method: str, after_pos: int, since: datetime | None = None
    ) -> Iterator[Segment]:
        """See `CallLog.search`."""
        since_us = 0 if since is None else to_us(since)
        with self._lock:
            self._check_open()
            return iter(
                [
                    segment
                    for segment in self._segments
                    if segment.pos > after_pos
                    and segment.calls[0].at_us >= since_us
                    and any(call.method == method for call in segment.calls)
                ]
            )

    def list_calls(self, query: CallQuery) -> list[FoundCall]:
        """See `CallLog.list_calls`."""
        with self._lock:
            self._check_open()
            page: list[FoundCall] = []
            for segment in self._segments:
                page += calls_for(segment, query)
                if len(page) >= query.limit:
                    break
            return page[: query.limit]

    def find_call(self, call_id: str) -> FoundCall | None:
        """See `CallLog.find_call`."""
        with self._lock:
            self._check_open()
            return self._by_id.get(call_id)

    def close(self) -> None:
        """See `CallLog.close`."""
        with self._lock:
            self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("the call log in memory was closed; open a new one")

    def _store(self, place: Partition, admission: Admission) -> Segment | None:
        self._publishers.update(admission.publishers)
        self._client_calls.update({row.id_hash: row.digest for row in admission.client_calls})
        if not admission.calls:
            return None
        self._last_us = max(self._last_us, self._now_us())
        records = record_calls(admission.calls, self._last_us)
        segment = Segment(place.id, place.next_offset, len(self._segments) + 1, records)
        self._segments.append(segment)
        self._partitions[place.id] = replace(place, next_offset=segment.end)
        for offset, call in enumerate(records, segment.first):
            found = FoundCall(call=call, partition=place.id, offset=offset, pos=segment.pos)
            self._by_id.setdefault(call.id, found)
        return segment
