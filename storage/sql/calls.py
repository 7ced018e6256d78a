"""A `CallLog` in a SQL database, but for its locks."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Final, Generic

from raysume.crash_points import crash_point
from raysume.errors import PartitionClosed
from raysume.records import Segment
from raysume.storage.admission import Admission, Known, Names, admit, names_in
from raysume.storage.call_ports import Appended, Batch, CallQuery, FoundCall, Partition
from raysume.storage.leases import has_lapsed, lease_from
from raysume.storage.moments import to_us
from raysume.storage.retention import Deleted
from raysume.storage.segments import (
    closed,
    counts_by_method,
    cut,
    encode_after,
    encode_calls,
    record_calls,
)
from raysume.storage.sql import call_queries
from raysume.storage.sql.connections import AConnection, Connection, Database
from raysume.storage.sql.deleting import delete_calls

_NAMES_MAX: Final = 500
"""Names looked up by one statement; far below SQLite's limit on parameters."""

_GROWN: Final = """
SELECT id, next_offset FROM partition
WHERE last_pos > (SELECT last_pos FROM partition WHERE id = ?) AND id != ?"""
"""The other partitions that have grown since the last segment of this one. The table is small."""

_PARTITION: Final = "SELECT id, next_offset, open, owner, lease FROM partition"

_GENERATION: Final = 0
"""Every segment is of the first generation until deployments count them."""


LAST: Final = "SELECT pos, at FROM clock WHERE id = 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Last:
    """The place and time of the last segment; 0 before the first."""

    pos: int
    at_us: int


class SqlCallLog(Generic[AConnection]):
    """Implements all of `raysume.storage.call_ports.CallLog`, if a write transaction locks the
    database. Safe to use from several threads.

    Args:
        now_us: the clock, in microseconds since 1970.
    """

    _KEEP: ClassVar[str] = ""
    """What is added to a SELECT whose row may not change before the transaction ends."""

    def __init__(self, database: Database[AConnection], *, now_us: Callable[[], int]) -> None:
        self._database = database
        self._now_us = now_us
        self._barrier_us = 0
        """The last moment that a barrier of this object answered for; the write turn guards it."""
        self._publishers_seen = ""
        """Up to which publisher silent ones were looked for; the write turn guards it."""

    def open_partition(self, *, owner: str) -> Partition:
        """See `CallLog.open_partition`."""
        partition = Partition(id=secrets.randbits(62), next_offset=0, open=True, owner=owner)
        with self._database.write("open a partition") as connection:
            connection.execute(
                "INSERT INTO partition (id, next_offset, open, owner, last_pos, lease) "
                "VALUES (?, 0, 1, ?, 0, ?)",
                (partition.id, owner, lease_from(self._now_us())),
            )
        return partition

    def append(self, partition: int, batches: Sequence[Batch]) -> Appended:
        """See `CallLog.append`."""
        names = names_in(batches)
        with self._database.write("append calls") as connection:
            last = self._last(connection)
            place = self._partition(connection, partition, keep=self._KEEP)
            if place is None or not place.open:
                raise closed(partition)
            admission = admit(batches, _known(connection, names))
            segment = self._store(connection, last, place, admission)
            crash_point("sql_during_append")
        return Appended(segment=segment, accepted=admission.accepted)

    def renew(self, partition: int) -> None:
        """See `CallLog.renew`."""
        with self._database.write("renew the lease of a partition") as connection:
            renewed = connection.execute(
                "UPDATE partition SET lease = ? WHERE id = ? AND open = 1",
                (lease_from(self._now_us()), partition),
            )
            if renewed.rowcount == 0:
                raise closed(partition)

    def close_partition(self, partition: int) -> Partition:
        """See `CallLog.close_partition`."""
        with self._database.write("close a partition") as connection:
            connection.execute(
                "UPDATE partition SET open = 0, lease = ? WHERE id = ? AND open = 1",
                (self._now_us(), partition),
            )
            place = self._partition(connection, partition)
        if place is None:
            raise PartitionClosed(f"there is no partition {partition}; it was never opened")
        return place

    def partitions(self) -> list[Partition]:
        """See `CallLog.partitions`."""
        with self._database.read("list partitions") as connection:
            return self._partitions(connection)

    def forgotten(self, partitions: Iterable[int]) -> set[int]:
        """See `CallLog.forgotten`."""
        asked = sorted(partitions)
        with self._database.read("list partitions") as connection:
            found = _lookup(connection, "SELECT id, id FROM partition WHERE id", asked)
            return set(asked) - {id for id, _ in found}

    def barrier(self) -> dict[int, int]:
        """See `CallLog.barrier`. Nothing is written: the transaction only waits its turn."""
        asked_us = self._now_us()
        with self._database.write("wait for appends") as connection:
            self._barrier_us = max(self._barrier_us, asked_us)
            return self._ends(connection)

    def read(self, partition: int, *, start: int, end: int) -> Iterator[Segment]:
        """See `CallLog.read`. Segments are fetched in parts, as the iterator is consumed."""
        self._database.check_open()
        return self._read(partition, start, end)

    def search(
        self, *, method: str, after_pos: int, since: datetime | None = None
    ) -> Iterator[Segment]:
        """See `CallLog.search`. Segments are fetched in parts, as the iterator is consumed."""
        self._database.check_open()
        return call_queries.search(
            self._database, method, after_pos, None if since is None else to_us(since)
        )

    def list_calls(self, query: CallQuery) -> list[FoundCall]:
        """See `CallLog.list_calls`."""
        self._database.check_open()
        return call_queries.list_calls(self._database, query)

    def find_call(self, call_id: str) -> FoundCall | None:
        """See `CallLog.find_call`."""
        self._database.check_open()
        return call_queries.find_call(self._database, call_id)

    def delete_before(self, before: datetime, *, applied: Mapping[int, int] | None) -> Deleted:
        """See `CallLog.delete_before`."""
        with self._database.write("delete old calls") as connection:
            deleted, self._publishers_seen = delete_calls(
                connection,
                before_us=to_us(before),
                now_us=self._now_us(),
                applied=applied,
                publishers_after=self._publishers_seen,
            )
        return deleted

    def close(self) -> None:
        """See `CallLog.close`."""
        self._database.close()

    def _read(self, partition: int, start: int, end: int) -> Iterator[Segment]:
        while start < end:
            found = call_queries.segments_from(self._database, partition, start, end)
            for segment in found:
                piece = cut(segment, start=start, end=end)
                if piece is not None:
                    yield piece
            if not found:
                return
            start = found[-1].end

    def _last(self, connection: AConnection) -> Last:
        """What the last append left; nobody else appends before the transaction ends."""
        row = connection.execute(LAST).fetchone()
        return Last(pos=0, at_us=0) if row is None else Last(pos=row[0], at_us=row[1])

    def _together(self, connection: AConnection) -> AbstractContextManager[object]:  # noqa: ARG002
        """Statements of this block may be sent together; none of them gives anything."""
        return nullcontext()

    def _partition(
        self, connection: AConnection, partition: int, *, keep: str = ""
    ) -> Partition | None:
        row = connection.execute(f"{_PARTITION} WHERE id = ?{keep}", (partition,)).fetchone()
        return None if row is None else self._shown(row)

    def _partitions(self, connection: AConnection) -> list[Partition]:
        rows = connection.execute(
            f"{_PARTITION} WHERE open = 1 OR EXISTS "
            "(SELECT 1 FROM segment WHERE partition = partition.id) ORDER BY id"
        ).fetchall()
        return [self._shown(row) for row in rows]

    def _ends(self, connection: AConnection) -> dict[int, int]:
        """partition -> next_offset, of all partitions that still hold calls or are open."""
        return {place.id: place.next_offset for place in self._partitions(connection)}

    def _shown(self, row: tuple[int, int, int, str, int]) -> Partition:
        id, next_offset, is_open, owner, lease_us = row
        return Partition(
            id=id,
            next_offset=next_offset,
            open=bool(is_open),
            owner=owner,
            lapsed=bool(is_open) and has_lapsed(lease_us, now_us=self._now_us()),
        )

    def _store(
        self, connection: AConnection, last: Last, place: Partition, admission: Admission
    ) -> Segment | None:
        if not admission.calls and not admission.publishers:
            return None
        at_us = max(last.at_us, self._barrier_us + 1, self._now_us())
        connection.executemany(
            "INSERT INTO publisher (id, next_sequence, at) VALUES (?, ?, ?) ON CONFLICT (id) "
            "DO UPDATE SET next_sequence = excluded.next_sequence, at = excluded.at",
            [(id, sequence, at_us) for id, sequence in admission.publishers.items()],
        )
        if not admission.calls:
            return None
        records = record_calls(admission.calls, at_us)
        after = dict(connection.execute(_GROWN, (place.id, place.id)).fetchall())
        segment = Segment(place.id, place.next_offset, last.pos + 1, records, after)
        with self._together(connection):
            self._insert_all(connection, segment, admission, at_us)
        return segment

    def _insert_all(
        self, connection: AConnection, segment: Segment, admission: Admission, at_us: int
    ) -> None:
        _insert(connection, segment, at_us, lease_us=lease_from(self._now_us()))
        connection.executemany(
            'INSERT INTO client_call (id_hash, partition, "offset", digest, at) '
            "VALUES (?, ?, ?, ?, ?)",
            [
                (row.id_hash, segment.partition, segment.first + row.index, row.digest, at_us)
                for row in admission.client_calls
            ],
        )


def _insert(connection: Connection, segment: Segment, at_us: int, *, lease_us: int) -> None:
    connection.execute(
        "INSERT INTO segment "
        '(pos, partition, first, count, generation, accepted_at, body, "after") '
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            segment.pos,
            segment.partition,
            segment.first,
            len(segment.calls),
            _GENERATION,
            at_us,
            encode_calls(segment.calls),
            encode_after(segment.after),
        ),
    )
    connection.executemany(
        "INSERT INTO segment_method (method, pos, service, count) VALUES (?, ?, ?, ?)",
        [
            (method, segment.pos, service, count)
            for (service, method), count in counts_by_method(segment.calls).items()
        ],
    )
    connection.execute(
        "INSERT INTO clock (id, pos, at) VALUES (1, ?, ?) "
        "ON CONFLICT (id) DO UPDATE SET pos = excluded.pos, at = excluded.at",
        (segment.pos, at_us),
    )
    connection.execute(
        "UPDATE partition SET next_offset = ?, last_pos = ?, lease = ? WHERE id = ?",
        (segment.end, segment.pos, lease_us, segment.partition),
    )


def _known(connection: Connection, names: Names) -> Known:
    return Known(
        publishers=dict(
            _lookup(
                connection,
                "SELECT id, next_sequence FROM publisher WHERE id",
                sorted(names.publishers),
            )
        ),
        client_calls=dict(
            _lookup(
                connection,
                "SELECT id_hash, digest FROM client_call WHERE id_hash",
                sorted(names.client_hashes),
            )
        ),
    )


def _lookup(
    connection: Connection, select: str, names: Sequence[str | bytes | int]
) -> Iterator[tuple[Any, Any]]:
    for start in range(0, len(names), _NAMES_MAX):
        part = names[start : start + _NAMES_MAX]
        marks = ",".join("?" * len(part))
        yield from connection.execute(f"{select} IN ({marks})", part)
