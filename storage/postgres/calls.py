"""A `CallLog` in a PostgreSQL database."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import ClassVar, Final

from raysume.limits import STORE_BUSY_S_MAX
from raysume.storage.call_ports import Partition
from raysume.storage.moments import wall_clock_us
from raysume.storage.postgres.blockers import through_blockers
from raysume.storage.postgres.connections import PostgresConnection, PostgresDatabase
from raysume.storage.postgres.limits import ANSWER_S_MAX
from raysume.storage.sql.calls import LAST, Last, SqlCallLog

_FIRST: Final = "INSERT INTO clock (id, pos, at) VALUES (1, 0, 0) ON CONFLICT DO NOTHING"

_PASSED: Final = "UPDATE clock SET at = ? WHERE id = 1 AND at <= ?"


class PostgresCallLog(SqlCallLog[PostgresConnection]):
    """Implements `raysume.storage.call_ports.CallLog`. Safe to use from several threads and
    machines.

    Durability: that of the server; it must run with fsync, as it does unless told otherwise.

    Order: every append locks the one row of `clock` until it is committed, so that `pos` and time
    rise in the order of commits, over all partitions and machines.

    Args:
        url: "postgresql://user:password@host:port/database".
        busy_s: seconds after which waiting for a lock is given up, or its holder ended.
        answer_s: seconds of silence after which the server counts as lost; more than `busy_s`.
        now_us: the clock, in microseconds since 1970.

    Raises:
        ConfigurationError: the database cannot be used, and retrying cannot help.
        StoreUnavailable: it cannot be reached now.
    """

    _KEEP: ClassVar[str] = " FOR NO KEY UPDATE"

    def __init__(
        self,
        url: str,
        *,
        busy_s: float = STORE_BUSY_S_MAX,
        answer_s: float = ANSWER_S_MAX,
        now_us: Callable[[], int] = wall_clock_us,
    ) -> None:
        self._postgres = PostgresDatabase(url, "calls", busy_s=busy_s, answer_s=answer_s)
        super().__init__(self._postgres, now_us=now_us)

    def close_partition(self, partition: int) -> Partition:
        """See `CallLog.close_partition`. No process is killed, it may run on another machine; a
        transaction of the owner that hangs is ended by the server."""
        return through_blockers(
            self._postgres,
            lambda: super(PostgresCallLog, self).close_partition(partition),
            holders="SELECT xmax FROM partition WHERE id = ?",
            values=[partition],
        )

    def barrier(self) -> dict[int, int]:
        """See `CallLog.barrier`. What is written need not survive a crash by itself: whatever is
        committed because of this barrier is committed behind it."""
        asked_us = self._now_us()
        with self._database.write("wait for appends") as connection:
            connection.execute("SET LOCAL synchronous_commit = off")
            self._last(connection)
            connection.execute(_PASSED, (asked_us + 1, asked_us))
            return self._ends(connection)

    def _together(self, connection: PostgresConnection) -> AbstractContextManager[object]:
        return connection.raw.pipeline()

    def _last(self, connection: PostgresConnection) -> Last:
        keep = f"{LAST}{self._KEEP}"
        row = connection.execute(keep).fetchone()
        if row is None:
            connection.execute(_FIRST)
            row = connection.execute(keep).fetchone()
            assert row is not None
        return Last(pos=row[0], at_us=row[1])
