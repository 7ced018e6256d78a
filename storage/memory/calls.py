"""A `CallLog` in memory: it keeps every promise of the port but surviving the process."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from raysume.errors import PartitionClosed, StoreUnavailable
from raysume.limits import CALLS_DELETED_NAMES_MAX, CALLS_DELETED_SEGMENTS_MAX
from raysume.records import Segment
from raysume.storage.admission import Admission, Known, admit, names_in
from raysume.storage.call_ports import Appended, Batch, CallQuery, FoundCall, Partition
from raysume.storage.leases import forgettable_before, has_lapsed, lease_from
from raysume.storage.moments import to_us, wall_clock_us
from raysume.storage.retention import (
    Deleted,
    SegmentEdge,
    client_ids_before,
    deletable,
    publishers_before,
)
from raysume.storage.segments import calls_for, closed, cut, record_calls


class MemoryCallLog:
    """Implements `raysume.storage.call_ports.CallLog`. Safe to use from several threads.

    Durability: none; what is said to be durable lives as long as this object.

    Args:
        now_us: the clock, in microseconds since 1970.
    """

    def __init__(self, *, now_us: Callable[[], int] = wall_clock_us) -> None:
        self._now_us = now_us
        self._lock = threading.RLock()
        self._partitions: dict[int, Partition] = {}
        self._newest: dict[int, int] = {}
        """Partition -> `pos` of its newest segment."""
        self._leases: dict[int, int] = {}
        """Partition -> until when its owner is believed to live; or when it was closed."""
        self._segments: list[Segment] = []
        self._by_id: dict[str, FoundCall] = {}
        self._publishers: dict[str, tuple[int, int]] = {}
        """Publisher -> the sequence number expected next, and when it was last heard."""
        self._client_calls: dict[bytes, tuple[bytes, int]] = {}
        """Hash of a client's id -> digest of the body, and when it was used."""
        self._last_us = self._last_pos = 0
        self._closed = False

    def open_partition(self, *, owner: str) -> Partition:
        """See `CallLog.open_partition`."""
        with self._lock:
            self._check_open()
            partition = Partition(id=secrets.randbits(62), next_offset=0, open=True, owner=owner)
            self._partitions[partition.id] = partition
            self._newest[partition.id] = 0
            self._leases[partition.id] = lease_from(self._now_us())
            return partition

    def append(self, partition: int, batches: Sequence[Batch]) -> Appended:
        """See `CallLog.append`."""
        with self._lock:
            self._check_open()
            place = self._partitions.get(partition)
            if place is None or not place.open:
                raise closed(partition)
            names = names_in(batches)
            admission = admit(
                batches,
                Known(
                    publishers={
                        name: self._publishers[name][0]
                        for name in names.publishers
                        if name in self._publishers
                    },
                    client_calls={
                        name: self._client_calls[name][0]
                        for name in names.client_hashes
                        if name in self._client_calls
                    },
                ),
            )
            segment = self._store(place, admission)
            return Appended(segment=segment, accepted=admission.accepted)

    def renew(self, partition: int) -> None:
        """See `CallLog.renew`."""
        with self._lock:
            self._check_open()
            place = self._partitions.get(partition)
            if place is None or not place.open:
                raise closed(partition)
            self._leases[partition] = lease_from(self._now_us())

    def close_partition(self, partition: int) -> Partition:
        """See `CallLog.close_partition`."""
        with self._lock:
            self._check_open()
            place = self._partitions.get(partition)
            if place is None:
                raise PartitionClosed(f"there is no partition {partition}; it was never opened")
            if place.open:
                place = self._partitions[partition] = replace(place, open=False)
                self._leases[partition] = self._now_us()
            return place

    def partitions(self) -> list[Partition]:
        """See `CallLog.partitions`."""
        with self._lock:
            self._check_open()
            holding = {segment.partition for segment in self._segments}
            return [
                self._shown(self._partitions[key])
                for key in sorted(self._partitions)
                if self._partitions[key].open or key in holding
            ]

    def forgotten(self, partitions: Iterable[int]) -> set[int]:
        """See `CallLog.forgotten`."""
        with self._lock:
            self._check_open()
            return set(partitions) - self._partitions.keys()

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

    def delete_before(self, before: datetime, *, applied: Mapping[int, int] | None) -> Deleted:
        """See `CallLog.delete_before`."""
        before_us, now_us = to_us(before), self._now_us()
        with self._lock:
            self._check_open()
            edges = map(_edge, self._segments[:CALLS_DELETED_SEGMENTS_MAX])
            old = len(deletable(edges, before_us=before_us, applied=applied))
            for segment in self._segments[:old]:
                for call in segment.calls:
                    found = self._by_id.get(call.id)
                    if found is not None and found.pos == segment.pos:
                        del self._by_id[call.id]
            del self._segments[:old]
            oldest_us = self._segments[0].calls[0].at_us if self._segments else None
            ids_us = client_ids_before(before_us, now_us=now_us, oldest_us=oldest_us)
            used = ((name, at_us) for name, (_, at_us) in self._client_calls.items())
            ids = [name for name, at_us in used if at_us < ids_us][:CALLS_DELETED_NAMES_MAX]
            for name in ids:
                del self._client_calls[name]
            silent_us = publishers_before(before_us, now_us=now_us)
            heard = ((name, at_us) for name, (_, at_us) in self._publishers.items())
            silent = [name for name, at_us in heard if at_us < silent_us]
            for publisher in silent:
                del self._publishers[publisher]
            return Deleted(
                segments=old,
                client_ids=len(ids),
                publishers=len(silent),
                partitions=self._forget_partitions(now_us),
                more=old == CALLS_DELETED_SEGMENTS_MAX or len(ids) == CALLS_DELETED_NAMES_MAX,
            )

    def close(self) -> None:
        """See `CallLog.close`."""
        with self._lock:
            self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("the call log in memory was closed; open a new one")

    def _shown(self, place: Partition) -> Partition:
        lapsed = has_lapsed(self._leases[place.id], now_us=self._now_us())
        return replace(place, lapsed=place.open and lapsed)

    def _forget_partitions(self, now_us: int) -> int:
        holding = {segment.partition for segment in self._segments}
        gone = [
            key
            for key, place in self._partitions.items()
            if not place.open
            and key not in holding
            and self._leases[key] < forgettable_before(now_us)
        ]
        for key in gone:
            del self._partitions[key], self._newest[key], self._leases[key]
        return len(gone)

    def _store(self, place: Partition, admission: Admission) -> Segment | None:
        if not admission.calls and not admission.publishers:
            return None
        at_us = self._last_us = max(self._last_us, self._now_us())
        for publisher, sequence in admission.publishers.items():
            self._publishers[publisher] = (sequence, at_us)
        if not admission.calls:
            return None
        for row in admission.client_calls:
            self._client_calls[row.id_hash] = (row.digest, at_us)
        records = record_calls(admission.calls, at_us)
        self._last_pos += 1
        after = {
            one.id: one.next_offset
            for one in self._partitions.values()
            if one.id != place.id and self._newest[one.id] > self._newest[place.id]
        }
        segment = Segment(place.id, place.next_offset, self._last_pos, records, after)
        self._segments.append(segment)
        self._partitions[place.id] = replace(place, next_offset=segment.end)
        self._newest[place.id] = segment.pos
        self._leases[place.id] = lease_from(self._now_us())
        for offset, call in enumerate(records, segment.first):
            found = FoundCall(call=call, partition=place.id, offset=offset, pos=segment.pos)
            self._by_id.setdefault(call.id, found)
        return segment


def _edge(segment: Segment) -> SegmentEdge:
    return SegmentEdge(
        pos=segment.pos,
        partition=segment.partition,
        end=segment.end,
        at_us=segment.calls[0].at_us,
    )
