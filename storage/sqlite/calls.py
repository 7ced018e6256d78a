"""A `CallLog` in one SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from raysume.errors import StoreUnavailable
from raysume.limits import STORE_BUSY_S_MAX
from raysume.storage.call_ports import Partition
from raysume.storage.moments import wall_clock_us
from raysume.storage.processes import end_process, is_other_live_process
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
        super().__init__(Database(Path(path), "calls", busy_s=busy_s), now_us=now_us)

    def close_partition(self, partition: int) -> Partition:
        """See `CallLog.close_partition`. When the file stays locked, the process that owns the
        partition is killed: it was stopped inside a transaction and would stop everybody."""
        try:
            return super().close_partition(partition)
        except StoreUnavailable as error:
            if not error.details.get("locked"):
                raise
            with self._database.read("read a partition") as connection:
                place = self._partition(connection, partition)
            if place is None or not is_other_live_process(place.owner):
                raise
            end_process(place.owner)
        return super().close_partition(partition)
