"""Journal rows and the turns that outlive them, as history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from raysume.storage.ports import HistoryRow, JournalRow
from raysume.storage.sql.connections import Connection
from raysume.storage.sql.instances import key_of

_UNTRIMMED: Final = """
SELECT seq, at, body FROM journal
WHERE shard = :shard
  AND seq <= coalesce((SELECT seq FROM checkpoint WHERE shard = :shard), 0)
ORDER BY seq LIMIT :limit"""

_TURNS: Final = """
SELECT seq, nth, body FROM history
WHERE instance = ? AND (seq, nth) < (?, ?) ORDER BY seq DESC, nth DESC LIMIT ?"""

_LAST: Final = ((1 << 63) - 1, 0)


def past_rows(connection: Connection, shard: int, limit: int) -> list[JournalRow]:
    """The oldest journal rows that the checkpoint of the shard covers."""
    found = connection.execute(_UNTRIMMED, {"shard": shard, "limit": limit})
    return [JournalRow(shard=shard, seq=seq, at_us=at, body=body) for seq, at, body in found]


def row_at(connection: Connection, shard: int, seq: int) -> JournalRow | None:
    """One journal row."""
    found = connection.execute(
        "SELECT at, body FROM journal WHERE shard = ? AND seq = ?", (shard, seq)
    ).fetchone()
    return (
        None if found is None else JournalRow(shard=shard, seq=seq, at_us=found[0], body=found[1])
    )


def turns_of(
    connection: Connection,
    shard: int,
    number: int,
    before: tuple[int, int] | None,
    limit: int,
) -> list[HistoryRow]:
    """Kept turns of an instance, newest first."""
    found = connection.execute(
        _TURNS, (key_of(shard, number), *(_LAST if before is None else before), limit)
    )
    return [
        HistoryRow(shard=shard, number=number, seq=seq, nth=nth, body=body)
        for seq, nth, body in found
    ]


def write_turns(connection: Connection, rows: Sequence[HistoryRow]) -> None:
    """The turns are kept beyond their journal rows."""
    connection.executemany(
        "INSERT INTO history (instance, seq, nth, body) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        [(key_of(row.shard, row.number), row.seq, row.nth, row.body) for row in rows],
    )


def trim(connection: Connection, trims: Mapping[int, int]) -> None:
    """Journal rows at or before the positions are deleted."""
    connection.executemany("DELETE FROM journal WHERE shard = ? AND seq <= ?", trims.items())
