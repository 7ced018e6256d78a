"""Reading a call log in SQLite: ranges, look-back, pages, and single calls.

`accepted_at` never goes back as `pos` rises, so an index by time is an index by `pos`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from raysume.limits import FIND_CALL_AFTER_S, FIND_CALL_BEFORE_S, READ_SEGMENTS_MAX
from raysume.records import Segment
from raysume.storage.admission import id_hash
from raysume.storage.moments import to_us
from raysume.storage.ports import CallQuery, FoundCall
from raysume.storage.segments import (
    call_with_id,
    calls_for,
    decode_calls,
    holds_text,
    made_at_us,
)
from raysume.storage.sqlite.connections import Database

_COLUMNS: Final = "partition, first, pos, body"

_FROM_OFFSET: Final = f"""
SELECT {_COLUMNS} FROM segment
WHERE partition = :partition AND first < :end AND first >= coalesce(
    (SELECT max(first) FROM segment WHERE partition = :partition AND first <= :start), 0)
ORDER BY first LIMIT :limit"""

_TIME_OF_POS: Final = (
    "coalesce((SELECT accepted_at FROM segment WHERE pos <= :pos ORDER BY pos DESC LIMIT 1), 0)"
)


def segments_from(database: Database, partition: int, start: int, end: int) -> list[Segment]:
    """The next segments of a partition that hold offsets from `start` to before `end`."""
    values = {"partition": partition, "start": start, "end": end, "limit": READ_SEGMENTS_MAX}
    found = _segments(database, _FROM_OFFSET, values)
    return [segment for segment in found if segment.end > start]


def search(
    database: Database, method: str, after_pos: int, since_us: int | None
) -> Iterator[Segment]:
    """The segments that hold a call of `method`, in order of `pos`."""
    values = {"method": method, "since": since_us}
    return _by_pos(database, values, after_pos, until_us=None)


def list_calls(database: Database, query: CallQuery) -> list[FoundCall]:
    """One page of `CallLog.list_calls`."""
    values = {
        "method": query.method,
        "service": query.service,
        "since": None if query.since is None else to_us(query.since),
    }
    # The page may begin within the segment of the last call of the page before.
    after_pos = 0 if query.after is None else query.after[0] - 1
    until_us = None if query.until is None else to_us(query.until)
    page: list[FoundCall] = []
    if query.limit <= 0:
        return page
    for segment in _by_pos(database, values, after_pos, until_us):
        page += calls_for(segment, query)
        if len(page) >= query.limit:
            break
    return page[: query.limit]


def find_call(database: Database, call_id: str) -> FoundCall | None:
    """The call with this id: by the table of client ids, else by the time in the id."""
    with database.read("find a call") as connection:
        row = connection.execute(
            "SELECT partition, offset FROM client_call WHERE id_hash = ?", (id_hash(call_id),)
        ).fetchone()
    if row is not None:
        for segment in segments_from(database, row[0], row[1], row[1] + 1):
            found = call_with_id(segment, call_id)
            if found is not None:
                return found
    made_us = made_at_us(call_id)
    return None if made_us is None else _find_by_time(database, call_id, made_us)


def _find_by_time(database: Database, call_id: str, made_us: int) -> FoundCall | None:
    values: dict[str, Any] = {
        "since": made_us - int(FIND_CALL_BEFORE_S * 1e6),
        "until": made_us + int(FIND_CALL_AFTER_S * 1e6),
        "pos": 0,
    }
    while True:
        with database.read("find a call") as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM segment WHERE accepted_at >= :since "
                f"AND accepted_at <= :until AND pos > :pos ORDER BY accepted_at, pos "
                f"LIMIT {READ_SEGMENTS_MAX}",
                values,
            ).fetchall()
        for partition, first, pos, body in rows:
            if holds_text(body, call_id):
                found = call_with_id(Segment(partition, first, pos, decode_calls(body)), call_id)
                if found is not None:
                    return found
        if len(rows) < READ_SEGMENTS_MAX:
            return None
        values["pos"] = rows[-1][2]


def _by_pos(
    database: Database, filters: Mapping[str, Any], after_pos: int, until_us: int | None
) -> Iterator[Segment]:
    """Segments in order of `pos`, by method, service and time where `filters` give them."""
    values = {**filters, "until": until_us, "pos": after_pos, "limit": READ_SEGMENTS_MAX}
    select = _select_by_pos(values)
    while True:
        found = _segments(database, select, values)
        yield from found
        if len(found) < READ_SEGMENTS_MAX:
            return
        values["pos"] = found[-1].pos


def _select_by_pos(values: Mapping[str, Any]) -> str:
    """Each condition stands in the statement only when it is asked for: so the index is used."""
    by_method = values.get("method") is not None
    by_service = values.get("service") is not None
    indexed = by_method or by_service
    at = "at" if indexed else "accepted_at"
    conditions = [f"{at} >= {_TIME_OF_POS}", "pos > :pos"]
    for given, condition in (
        (by_method, "method = :method"),
        (by_service, "service = :service"),
        (values.get("since") is not None, f"{at} >= :since"),
        (values.get("until") is not None, f"{at} < :until"),
    ):
        if given:
            conditions.append(condition)
    where = " AND ".join(conditions)
    if not indexed:
        return (
            f"SELECT {_COLUMNS} FROM segment WHERE {where} ORDER BY accepted_at, pos LIMIT :limit"
        )
    # One method may come from several services in one segment.
    places = (
        f"SELECT DISTINCT at, pos FROM segment_method WHERE {where} ORDER BY at, pos LIMIT :limit"
    )
    return f"SELECT {_COLUMNS} FROM ({places}) CROSS JOIN segment USING (pos) ORDER BY at, pos"


def _segments(database: Database, select: str, values: Mapping[str, Any]) -> list[Segment]:
    with database.read("read calls") as connection:
        rows = connection.execute(select, values).fetchall()
    return [
        Segment(partition, first, pos, decode_calls(body)) for partition, first, pos, body in rows
    ]
