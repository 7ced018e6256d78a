"""Deleting what nobody needs any more: old calls, and instances whose retention is over.

Everything here runs inside a transaction of its caller, and touches a bounded number of rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from raysume.errors import InvariantViolated
from raysume.limits import CALLS_DELETED_NAMES_MAX, CALLS_DELETED_SEGMENTS_MAX
from raysume.storage.leases import forgettable_before
from raysume.storage.retention import (
    Deleted,
    SegmentEdge,
    client_ids_before,
    deletable,
    publishers_before,
)
from raysume.storage.sql.connections import Connection

# --- instances -------------------------------------------------------------------

_DEPENDANTS: Final = (
    "DELETE FROM instance_tag WHERE instance = ?",
    "DELETE FROM history WHERE instance = ?",
)
"""What goes with an instance, by the key of its row."""

_INSTANCE: Final = "DELETE FROM instance WHERE key = ?"


def remove_instances(connection: Connection, keys: Sequence[int]) -> None:
    """The instances with these keys are gone, with everything that depends on them.

    Raises:
        InvariantViolated: one of them is not there.
    """
    rows = [(key,) for key in keys]
    for statement in _DEPENDANTS:
        connection.executemany(statement, rows)
    if connection.executemany(_INSTANCE, rows).rowcount != len(rows):
        raise InvariantViolated("an instance that is not there was to be removed")


# --- calls -----------------------------------------------------------------------

_OLDEST: Final = (
    'SELECT pos, partition, first + "count", accepted_at FROM segment ORDER BY pos LIMIT ?'
)

_METHODS: Final = """
WITH RECURSIVE methods (name) AS (
    SELECT min(method) FROM segment_method
    UNION ALL
    SELECT (SELECT min(method) FROM segment_method WHERE method > name) FROM methods
    WHERE name IS NOT NULL
) SELECT name FROM methods WHERE name IS NOT NULL"""
"""One look-up for each method: a scan would read a row for each segment."""

_FORGET: Final = """
DELETE FROM partition WHERE open = 0 AND lease < ?
AND NOT EXISTS (SELECT 1 FROM segment WHERE partition = partition.id)"""
"""Closed partitions without calls: what they held was deleted, so that nobody needs it."""

_OLD_IDS: Final = """
DELETE FROM client_call WHERE id_hash IN (
    SELECT id_hash FROM client_call WHERE at < ? ORDER BY at LIMIT ?)"""

_PUBLISHERS: Final = "SELECT id FROM publisher WHERE id > ? ORDER BY id LIMIT ?"
_SILENT: Final = "DELETE FROM publisher WHERE id > ? AND id <= ? AND at < ?"


def delete_calls(
    connection: Connection,
    *,
    before_us: int,
    now_us: int,
    applied: Mapping[int, int] | None,
    publishers_after: str,
) -> tuple[Deleted, str]:
    """A batch is gone (see `CallLog.delete_before`).

    Args:
        publishers_after: looks at the publishers behind this one: their `at` has no index, which
            every append would pay for.

    Returns:
        What is gone, and where to look for publishers next.
    """
    segments, whole = _delete_segments(connection, before_us, applied)
    oldest = connection.execute(_OLDEST, (1,)).fetchone()
    ids_us = client_ids_before(
        before_us, now_us=now_us, oldest_us=None if oldest is None else oldest[3]
    )
    ids = connection.execute(_OLD_IDS, (ids_us, CALLS_DELETED_NAMES_MAX)).rowcount
    silent_us = publishers_before(before_us, now_us=now_us)
    publishers, last = _forget_publishers(connection, publishers_after, silent_us)
    deleted = Deleted(
        segments=segments,
        client_ids=ids,
        publishers=publishers,
        partitions=connection.execute(_FORGET, (forgettable_before(now_us),)).rowcount,
        more=whole or ids == CALLS_DELETED_NAMES_MAX,
    )
    return deleted, last


def _delete_segments(
    connection: Connection, before_us: int, applied: Mapping[int, int] | None
) -> tuple[int, bool]:
    """How many are gone, and whether they were a whole batch."""
    rows = connection.execute(_OLDEST, (CALLS_DELETED_SEGMENTS_MAX,)).fetchall()
    edges = [SegmentEdge(pos=row[0], partition=row[1], end=row[2], at_us=row[3]) for row in rows]
    old = deletable(edges, before_us=before_us, applied=applied)
    if not old:
        return 0, False
    last = old[-1].pos
    methods = connection.execute(_METHODS).fetchall()
    connection.executemany(
        "DELETE FROM segment_method WHERE method = ? AND pos <= ?",
        [(method, last) for (method,) in methods],
    )
    connection.execute("DELETE FROM segment WHERE pos <= ?", (last,))
    return len(old), len(old) == CALLS_DELETED_SEGMENTS_MAX


def _forget_publishers(connection: Connection, after: str, silent_us: int) -> tuple[int, str]:
    """How many of the next ones are gone, and the last one looked at; "" at the end."""
    page = connection.execute(_PUBLISHERS, (after, CALLS_DELETED_NAMES_MAX)).fetchall()
    if not page:
        return 0, ""
    last: str = page[-1][0]
    gone = connection.execute(_SILENT, (after, last, silent_us)).rowcount
    return gone, last if len(page) == CALLS_DELETED_NAMES_MAX else ""
