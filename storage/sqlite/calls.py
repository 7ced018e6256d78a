"""A `CallLog` in one SQLite file."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from raysume.crash_points import crash_point
from raysume.errors import PartitionClosed, StoreUnavailable
from raysume.limits import STORE_BUSY_S_MAX
from raysume.records import Segment
from raysume.storage.admission import Admission, Known, Names, admit, names_in
from raysume.storage.call_ports import Appended, Batch, CallQuery, FoundCall, Partition
from raysume.storage.leases import has_lapsed, lease_from
from raysume.storage.moments import to_us, wall_clock_us
from raysume.storage.processes import end_process, is_other_live_process, names
from raysume.storage.retention import Deleted
from raysume.storage.segments import (
    closed,
    counts_by_method,
    cut,
    encode_after,
    encode_calls,
    record_calls,
)
from raysume.storage.sqlite import call_queries
from raysume.storage.sqlite.connections import Database
from raysume.storage.sqlite.deleting import delete_calls

_NAMES_MAX: Final = 500
"""Names looked up by one statement; far below SQLite's limit on parameters."""

_GROWN: Final = """
SELECT id, next_offset FROM partition
WHERE last_pos > (SELECT last_pos FROM partition WHERE id = ?) AND id != ?"""
"""The other partitions that have grown since the last segment of this one. The table is small."""

_PARTITION: Final = "SELECT id, next_offset, open, owner, lease FROM partition"

_GENERATION: Final = 0
"""Every segment is of the first generation until deployments count them."""


class SqliteCallLog:
    """Implements `raysume.storage.call_ports.CallLog`. Safe to use from several threads.

    Durability: WAL with synchronous=FULL; what is said to be durable has been synced.

    Args:
        path: the file; made, with its folder, when it does not exist.
        busy_s: seconds after which waiting for another writer is given up.
        now_us: the clock, in microseconds since 1970.

    Raises:
        ConfigurationError: the file cannot be used, and retrying cannot help.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        busy_s: float = STORE_BUSY_S_MAX,
        now_us: Callable[[], int] = wall_clock_us,
    ) -> None:
        self._database = Database(Path(path), "calls", busy_s=busy_s)
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
            place = self._partition(connection, partition)
            if place is None or not place.open:
                raise closed(partition)
            admission = admit(batches, _known(connection, names))
            segment = self._store(connection, place, admission)
            crash_point("sqlite_during_append")
        return Appended(segment=segment, accepted=admission.accepted)

    def renew(self, partition: int) -> None:
        """See `CallLog.renew`."""
        with self._database.write("renew the lease of a partition") as connection:
            renewed = connection.execute(
                "UPDATE partition SET lease = ? WHERE id = ? AND open",
                (lease_from(self._now_us()), partition),
            )
            if renewed.rowcount == 0:
                raise closed(partition)

    def close_partition(self, partition: int) -> Partition:
        """See `CallLog.close_partition`. When the file stays locked by the process that owns the
        partition, or one whose lease is over, that process is killed: it was stopped inside a
        transaction and would stop everybody."""
        try:
            return self._close_partition(partition)
        except StoreUnavailable as error:
            if not error.details.get("locked"):
                raise
            hanging = self._hanging(partition)
            if not hanging:
                raise
            for owner in hanging:
                end_process(owner)
        return self._close_partition(partition)

    def _hanging(self, partition: int) -> list[str]:
        """The owner that keeps the file locked, if it may be killed for it."""
        holder = self._database.turn_holder()
        with self._database.read("list partitions") as connection:
            places = self._partitions(connection)
            asked = self._partition(connection, partition)
        suspects = [place.owner for place in places if place.lapsed]
        suspects += [asked.owner] if asked is not None else []
        return [
            owner
            for owner in dict.fromkeys(suspects)
            if is_other_live_process(owner) and (holder is None or names(owner, holder))
        ]

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
            return {place.id: place.next_offset for place in self._partitions(connection)}

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

    def _close_partition(self, partition: int) -> Partition:
        with self._database.write("close a partition") as connection:
            connection.execute(
                "UPDATE partition SET open = 0, lease = ? WHERE id = ? AND open",
                (self._now_us(), partition),
            )
            place = self._partition(connection, partition)
        if place is None:
            raise PartitionClosed(f"there is no partition {partition}; it was never opened")
        return place

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

    def _store(
        self, connection: sqlite3.Connection, place: Partition, admission: Admission
    ) -> Segment | None:
        if not admission.calls and not admission.publishers:
            return None
        last_pos, last_us = connection.execute(
            "SELECT coalesce(max(pos), 0), coalesce(max(at), 0) FROM clock WHERE id = 1"
        ).fetchone()
        at_us = max(last_us, self._barrier_us + 1, self._now_us())
        connection.executemany(
            "INSERT INTO publisher (id, next_sequence, at) VALUES (?, ?, ?) ON CONFLICT (id) "
            "DO UPDATE SET next_sequence = excluded.next_sequence, at = excluded.at",
            [(id, sequence, at_us) for id, sequence in admission.publishers.items()],
        )
        if not admission.calls:
            return None
        records = record_calls(admission.calls, at_us)
        after = dict(connection.execute(_GROWN, (place.id, place.id)).fetchall())
        segment = Segment(place.id, place.next_offset, last_pos + 1, records, after)
        _insert(connection, segment, at_us, lease_us=lease_from(self._now_us()))
        connection.executemany(
            "INSERT INTO client_call (id_hash, partition, offset, digest, at) "
            "VALUES (?, ?, ?, ?, ?)",
            [
                (row.id_hash, place.id, segment.first + row.index, row.digest, at_us)
                for row in admission.client_calls
            ],
        )
        return segment

    def _partition(self, connection: sqlite3.Connection, partition: int) -> Partition | None:
        row = connection.execute(f"{_PARTITION} WHERE id = ?", (partition,)).fetchone()
        return None if row is None else self._shown(row)

    def _partitions(self, connection: sqlite3.Connection) -> list[Partition]:
        rows = connection.execute(
            f"{_PARTITION} WHERE open OR EXISTS "
            "(SELECT 1 FROM segment WHERE partition = partition.id) ORDER BY id"
        ).fetchall()
        return [self._shown(row) for row in rows]

    def _shown(self, row: tuple[int, int, int, str, int]) -> Partition:
        id, next_offset, is_open, owner, lease_us = row
        return Partition(
            id=id,
            next_offset=next_offset,
            open=bool(is_open),
            owner=owner,
            lapsed=bool(is_open) and has_lapsed(lease_us, now_us=self._now_us()),
        )


def _insert(connection: sqlite3.Connection, segment: Segment, at_us: int, *, lease_us: int) -> None:
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


def _known(connection: sqlite3.Connection, names: Names) -> Known:
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
    connection: sqlite3.Connection, select: str, names: Sequence[str | bytes | int]
) -> Iterator[tuple[Any, Any]]:
    for start in range(0, len(names), _NAMES_MAX):
        part = names[start : start + _NAMES_MAX]
        marks = ",".join("?" * len(part))
        yield from connection.execute(f"{select} IN ({marks})", part)
