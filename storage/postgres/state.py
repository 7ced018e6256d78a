"""A `Store` in a PostgreSQL database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final

from raysume.limits import STORE_BUSY_S_MAX
from raysume.storage.commit_rules import Held
from raysume.storage.ports import InstanceRow, Office, OwnedShard, ShardRef
from raysume.storage.postgres.blockers import through_blockers
from raysume.storage.postgres.connections import PostgresConnection, PostgresDatabase, storable
from raysume.storage.postgres.limits import ANSWER_S_MAX
from raysume.storage.sql import offices
from raysume.storage.sql.state import SqlStore, columns_of, raise_epoch

_COPIED_ROWS_MIN: Final = 20
"""Fewer rows are written faster one by one than through a table in between."""

_TAKEOVER: Final = 0x7461_6B65
"""Takeovers hold this advisory lock, one at a time: new shards take the next key. "take" in ASCII."""

_LOCK: Final = "SELECT key FROM shard WHERE key = ANY(?) ORDER BY key FOR NO KEY UPDATE"

_HELD: Final = """
SELECT s.key, s.epoch,
       coalesce((SELECT max(seq) FROM journal WHERE shard = s.key), 0),
       coalesce((SELECT seq FROM checkpoint WHERE shard = s.key), 0)
FROM shard s WHERE s.key = ANY(?)"""

_NAMED: Final = """
(workflow, version, number) IN (SELECT * FROM unnest(?::text[], ?::text[], ?::bigint[]))"""

_INCOMING: Final = """
CREATE TEMPORARY TABLE IF NOT EXISTS incoming (
    key bigint, id text, workflow text, version text, status text,
    started_at bigint, updated_at bigint, body bytea) ON COMMIT DELETE ROWS"""

_COPY: Final = b"COPY incoming FROM STDIN (FORMAT binary)"

_TYPES: Final = ("int8", "text", "text", "text", "text", "int8", "int8", "bytea")

_MERGE: Final = """
INSERT INTO instance (key, id, workflow, version, status, started_at, updated_at, body)
SELECT key, id, workflow, version, status, started_at, updated_at, body FROM incoming
ON CONFLICT (key) DO UPDATE SET
    status = excluded.status, updated_at = excluded.updated_at, body = excluded.body"""


class PostgresStore(SqlStore[PostgresConnection]):
    """Implements `raysume.storage.ports.Store`. Safe to use from several threads and machines.

    Durability: that of the server; it must run with fsync, as it does unless told otherwise.

    Fencing: a commit locks the rows of its shards before it reads their epochs, and a takeover
    raises the epochs first: whichever is first, the other one sees it. The same holds for whoever
    writes under an office, whose row it locks before any other.

    Args:
        url: "postgresql://user:password@host:port/database".
        busy_s: seconds after which waiting for a lock is given up, or its holder ended.
        answer_s: seconds of silence after which the server counts as lost; more than `busy_s`.

    Raises:
        ConfigurationError: the database cannot be used, and retrying cannot help.
        StoreUnavailable: it cannot be reached now.
    """

    row_lock: ClassVar[str] = " FOR NO KEY UPDATE"

    def __init__(
        self, url: str, *, busy_s: float = STORE_BUSY_S_MAX, answer_s: float = ANSWER_S_MAX
    ) -> None:
        self._postgres = PostgresDatabase(url, "state", busy_s=busy_s, answer_s=answer_s)
        super().__init__(self._postgres)

    @property
    def is_shared(self) -> bool:
        """See `Store.is_shared`."""
        return True

    def acquire(self, refs: Sequence[ShardRef], *, owner: str) -> list[OwnedShard]:
        """See `Store.acquire`. No process is killed, it may run on another machine; the
        transaction of a former owner that hangs is ended by the server."""
        named = [
            [ref.workflow for ref in refs],
            [ref.version for ref in refs],
            [ref.number for ref in refs],
        ]
        return through_blockers(
            self._postgres,
            lambda: self._take_over(refs, named, owner),
            holders=f"SELECT xmax FROM shard WHERE {_NAMED}",
            values=named,
        )

    def take_office(self, name: str, *, owner: str) -> Office:
        """See `Store.take_office`. No process is killed, it may run on another machine; the
        transaction of a former holder that hangs is ended by the server."""
        return through_blockers(
            self._postgres,
            lambda: super(PostgresStore, self).take_office(name, owner=owner),
            holders="SELECT xmax FROM document WHERE kind = ? AND key = ?",
            values=[offices.KIND, name],
        )

    def _take_over(
        self, refs: Sequence[ShardRef], named: list[Any], owner: str
    ) -> list[OwnedShard]:
        with self._database.write("take shards over") as connection:
            connection.execute(f"SELECT pg_advisory_xact_lock({_TAKEOVER})")
            # In the order in which commits lock them, so that no two wait for each other.
            connection.execute(
                f"SELECT key FROM shard WHERE {_NAMED} ORDER BY key FOR UPDATE", named
            )
            return [raise_epoch(connection, ref, owner) for ref in refs]

    def _held(self, connection: PostgresConnection, shards: Iterable[int]) -> Mapping[int, Held]:
        asked = [list(shards)]
        with connection.raw.pipeline():
            # Two statements: the second one sees what was committed before the lock was given.
            connection.execute(_LOCK, asked)
            found = connection.execute(_HELD, asked)
            rows = found.fetchall()
        return {
            key: Held(epoch=epoch, last_seq=max(last, covered), checkpoint_seq=covered)
            for key, epoch, last, covered in rows
        }

    def _write_rows(self, connection: PostgresConnection, rows: Sequence[InstanceRow]) -> None:
        if len(rows) < _COPIED_ROWS_MIN:
            super()._write_rows(connection, rows)
            return
        connection.execute(_INCOMING)
        with connection.raw.cursor().copy(_COPY) as copy:
            copy.set_types(_TYPES)
            for row in rows:
                key, id, *rest = columns_of(row)
                copy.write_row((key, storable(id), *rest))
        connection.execute(_MERGE)
        # A second checkpoint may come in the same transaction.
        connection.execute("TRUNCATE incoming")
