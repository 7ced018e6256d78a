"""Reading a call log: ranges, look-back, pages, and single calls.

`accepted_at` never goes back as `pos` rises, so every range of time is a range of `pos`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from raysume.limits import FIND_CALL_AFTER_S, FIND_CALL_BEFORE_S, READ_SEGMENTS_MAX
from raysume.records import Segment
from raysume.storage.admission import id_hash
from raysume.storage.call_ports import CallQuery, FoundCall
from raysume.storage.moments import to_us
from raysume.storage.segments import (
    call_with_id,
    calls_for,
    cut,
    decode_after,
    decode_calls,
    holds_text,
    made_at_us,
)
from raysume.storage.sql.connections import Connection, Database

_COLUMNS: Final = 'partition, first, pos, body, "after"'

_FROM_OFFSET: Final = f"""
SELECT {_COLUMNS} FROM segment
WHERE partition = :partition AND first < :end AND first >= coalesce(
    (SELECT max(first) FROM segment WHERE partition = :partition AND first <= :start), 0)
ORDER BY first LIMIT :limit"""

_ALL: Final = f"""
SELECT {_COLUMNS} FROM segment WHERE pos > :low AND pos < :high ORDER BY pos LIMIT :limit"""

# One method may come from several services in one segment, hence DISTINCT.
_OF_METHOD: Final = f"""
SELECT {_COLUMNS} FROM (
    SELECT DISTINCT pos FROM segment_method
    WHERE method = :method AND pos > :low AND pos < :high ORDER BY pos LIMIT :limit
) methods CROSS JOIN segment USING (pos) ORDER BY pos"""

_OF_BOTH: Final = _OF_METHOD.replace(":method AND", ":method AND service = :service AND")

_OF_SERVICE: Final = f"""
SELECT {_COLUMNS} FROM (
    SELECT DISTINCT pos FROM segment_method INDEXED BY ix_segment_method_service_pos
    WHERE service = :service AND pos > :low AND pos < :high ORDER BY pos LIMIT :limit
) services CROSS JOIN segment USING (pos) ORDER BY pos"""

_FIRST_POS: Final = (
    "SELECT pos FROM segment WHERE accepted_at >= ? ORDER BY accepted_at, pos LIMIT 1"
)

_POS_MAX: Final = (1 << 63) - 1

_Row = tuple[int, int, int, bytes, bytes | None]
"""The columns of `_COLUMNS`."""


def segments_from(
    database: Database[Connection], partition: int, start: int, end: int
) -> list[Segment]:
    """The next segments of a partition that hold offsets from `start` to before `end`."""
    values = {"partition": partition, "start": start, "end": end, "limit": READ_SEGMENTS_MAX}
    with database.read("read calls") as connection:
        rows = connection.execute(_FROM_OFFSET, values).fetchall()
    return [segment for segment in map(_segment, rows) if segment.end > start]


def search(
    database: Database[Connection], method: str, after_pos: int, since_us: int | None
) -> Iterator[Segment]:
    """The segments that hold a call of `method`, in order of `pos`."""
    low, high = _range_of(database, since_us, None)
    query = CallQuery(method=method)
    return map(_segment, _rows(database, query, max(low, after_pos), high))


def list_calls(database: Database[Connection], query: CallQuery) -> list[FoundCall]:
    """One page of `CallLog.list_calls`."""
    page: list[FoundCall] = []
    if query.limit <= 0:
        return page
    low, high = _range_of(
        database,
        None if query.since is None else to_us(query.since),
        None if query.until is None else to_us(query.until),
    )
    if query.after is not None:
        # The page may begin within the segment of the last call of the page before.
        low = max(low, query.after[0] - 1)
    for row in _rows(database, query, low, high):
        page += calls_for(_segment(row), query)
        if len(page) >= query.limit:
            break
    return page[: query.limit]


def find_call(database: Database[Connection], call_id: str) -> FoundCall | None:
    """The call with this id: by the table of client ids, else by the time in the id."""
    with database.read("find a call") as connection:
        row = connection.execute(
            'SELECT partition, "offset" FROM client_call WHERE id_hash = ?', (id_hash(call_id),)
        ).fetchone()
    if row is not None:
        partition, offset = row
        for segment in segments_from(database, partition, offset, offset + 1):
            piece = cut(segment, start=offset, end=offset + 1)
            found = None if piece is None else call_with_id(piece, call_id)
            if found is not None:
                return found
    made_us = made_at_us(call_id)
    return None if made_us is None else _find_by_time(database, call_id, made_us)


def _find_by_time(database: Database[Connection], call_id: str, made_us: int) -> FoundCall | None:
    since_us = made_us - int(FIND_CALL_BEFORE_S * 1e6)
    until_us = made_us + int(FIND_CALL_AFTER_S * 1e6)
    low, high = _range_of(database, since_us, until_us)
    for row in _rows(database, CallQuery(), low, high):
        if holds_text(row[3], call_id):
            found = call_with_id(_segment(row), call_id)
            if found is not None:
                return found
    return None


def _range_of(
    database: Database[Connection], since_us: int | None, until_us: int | None
) -> tuple[int, int]:
    """(low, high): what was accepted in the time has low < pos < high."""
    low, high = 0, _POS_MAX
    with database.read("read calls") as connection:
        if since_us is not None:
            first = connection.execute(_FIRST_POS, (since_us,)).fetchone()
            low = _POS_MAX if first is None else first[0] - 1
        if until_us is not None:
            behind = connection.execute(_FIRST_POS, (until_us,)).fetchone()
            high = _POS_MAX if behind is None else behind[0]
    return low, high


def _rows(database: Database[Connection], query: CallQuery, low: int, high: int) -> Iterator[_Row]:
    """The segments with low < pos < high that hold calls of the query's method and service."""
    select = _ALL
    if query.method is not None:
        select = _OF_METHOD if query.service is None else _OF_BOTH
    elif query.service is not None:
        select = _OF_SERVICE
    values: dict[str, Any] = {"limit": READ_SEGMENTS_MAX, "high": high, "low": low}
    if select is not _ALL:
        values |= {"method": query.method, "service": query.service}
    while True:
        with database.read("read calls") as connection:
            rows: list[_Row] = connection.execute(select, values).fetchall()
        yield from rows
        if len(rows) < READ_SEGMENTS_MAX:
            return
        values["low"] = rows[-1][2]


def _segment(row: _Row) -> Segment:
    partition, first, pos, body, after = row
    return Segment(partition, first, pos, decode_calls(body), decode_after(after))
