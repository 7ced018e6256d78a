"""A `CallLog` in one SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from raysume.errors import StoreUnavailable
from raysume.limits import STORE_BUSY_S_MAX
from raysume.storage.call_ports import Partition
from raysume.storage.moments import wall_clock_us
from raysume.storage.processes import end_process, is_other_live_process, names
from raysume.storage.sql.calls import SqlCallLog
from raysume.storage.sqlite.connections import Database


class SqliteCallLog(SqlCallLog[sqlite3.Connection]):
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
        self._file = Database(Path(path), "calls", busy_s=busy_s)
        super().__init__(self._file, now_us=now_us)

    def close_partition(self, partition: int) -> Partition:
        """See `CallLog.close_partition`. When the file stays locked by the process that owns the
        partition, or one whose lease is over, that process is killed: it was stopped inside a
        transaction and would stop everybody."""
        try:
            return super().close_partition(partition)
        except StoreUnavailable as error:
            if not error.details.get("locked"):
                raise
            hanging = self._hanging(partition)
            if not hanging:
                raise
            for owner in hanging:
                end_process(owner)
        return super().close_partition(partition)

    def _hanging(self, partition: int) -> list[str]:
        """The owner that keeps the file locked, if it may be killed for it."""
        holder = self._file.turn_holder()
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
