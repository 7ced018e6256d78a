"""Reading and writing instance rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import islice
from typing import Any, Final

from raysume.limits import INSTANCES_PER_SHARD_MAX, READ_ROWS_MAX
from raysume.storage.moments import to_us
from raysume.storage.ports import InstanceQuery, InstanceRow
from raysume.storage.sql.connections import Connection

_NUMBER_BITS: Final = INSTANCES_PER_SHARD_MAX.bit_length()

_ROW: Final = "(?, ?, ?, ?, ?, ?, ?, ?)"


def upsert_of(count: int) -> str:
    """Writes so many rows. Updates name no indexed column, so that they touch the row alone."""
    return f"""
INSERT INTO instance (key, id, workflow, version, status, started_at, updated_at, body)
VALUES {", ".join([_ROW] * count)}
ON CONFLICT (key) DO UPDATE SET
    status = excluded.status, updated_at = excluded.updated_at, body = excluded.body"""


UPSERT: Final = upsert_of(1)

_SELECT: Final = (
    "SELECT key, id, workflow, version, status, started_at, updated_at, body FROM instance"
)


_NAMES_MAX: Final = 50
_NAMED: Final = (
    f"{_SELECT} WHERE workflow = ? AND version = ? AND id IN ({', '.join('?' * _NAMES_MAX)})"
)

_UNTAG: Final = "DELETE FROM instance_tag WHERE instance = ?"
_TAG: Final = "INSERT INTO instance_tag (name, value, instance) VALUES (?, ?, ?)"
_HAS_TAGS: Final = "SELECT EXISTS (SELECT 1 FROM instance_tag)"


def write_tags(connection: Connection, rows: Sequence[InstanceRow]) -> None:
    """The tags of the rows are those that the rows have. Costs nothing while nobody tags."""
    tagged = [
        (name, value, key_of(row.shard, row.number))
        for row in rows
        for name, value in row.tags.items()
    ]
    if not tagged and not connection.execute(_HAS_TAGS).fetchone()[0]:
        return
    connection.executemany(_UNTAG, [(key_of(row.shard, row.number),) for row in rows])
    connection.executemany(_TAG, tagged)


def key_of(shard: int, number: int) -> int:
    """The primary key of an instance."""
    return (shard << _NUMBER_BITS) | number


def first_key_of(shard: int) -> int:
    """The lowest primary key that an instance of the shard can have."""
    return key_of(shard, 0)


def rows_of(connection: Connection, shard: int, after: int) -> list[InstanceRow]:
    """The next rows of a shard whose keys are greater than `after`, in order."""
    found = connection.execute(
        f"{_SELECT} WHERE key > ? AND key < ? ORDER BY key LIMIT ?",
        (after, first_key_of(shard + 1), READ_ROWS_MAX),
    )
    return [_row(fields) for fields in found.fetchall()]


def find_rows(connection: Connection, id: str, workflow: str | None) -> list[InstanceRow]:
    """The instances with this id, by workflow and version."""
    condition, values = ("", [id]) if workflow is None else (" AND workflow = ?", [id, workflow])
    found = connection.execute(
        f"{_SELECT} WHERE id = ?{condition} ORDER BY workflow, version", values
    )
    return [_row(fields) for fields in found.fetchall()]


def named_rows(
    connection: Connection, ids: Collection[str], workflow: str, version: str
) -> list[InstanceRow]:
    """The instances of a version with one of these ids."""
    found: list[InstanceRow] = []
    asked = iter(ids)
    while some := list(islice(asked, _NAMES_MAX)):
        some += some[:1] * (_NAMES_MAX - len(some))  # one statement, prepared once
        rows = connection.execute(_NAMED, [workflow, version, *some]).fetchall()
        found += map(_row, rows)
    return found


def list_rows(connection: Connection, query: InstanceQuery) -> list[InstanceRow]:
    """One page of `Store.list_instances`."""
    conditions, values = _conditions(query)
    # Only the lower of the two upper bounds is named: SQLite begins its search at either.
    if query.after is not None and (query.until is None or query.after[0] < query.until):
        conditions.append("(started_at, id) < (?, ?)")
        values += [to_us(query.after[0]), query.after[1]]
    elif query.until is not None:
        conditions.append("started_at < ?")
        values.append(to_us(query.until))
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    found = connection.execute(
        f"{_SELECT}{where} ORDER BY started_at DESC, id DESC, workflow, version LIMIT ?",
        [*values, query.limit],
    ).fetchall()
    rows = [_row(fields) for fields in found]
    if 0 < query.limit == len(rows):
        rows += _ties(connection, query, rows)
    return rows


def _ties(
    connection: Connection, query: InstanceQuery, page: list[InstanceRow]
) -> list[InstanceRow]:
    """The rows that share the place of the page's last one and did not fit on it.

    The next page begins behind that place, so they would be on none.
    """
    conditions, values = _conditions(query)
    last = page[-1]
    conditions += ["started_at = ?", "id = ?"]
    found = connection.execute(
        f"{_SELECT} WHERE {' AND '.join(conditions)} ORDER BY workflow, version",
        [*values, last.started_us, last.id],
    ).fetchall()
    shown = {(row.shard, row.number) for row in page}
    rows = [_row(fields) for fields in found]
    return [row for row in rows if (row.shard, row.number) not in shown]


def _conditions(query: InstanceQuery) -> tuple[list[str], list[Any]]:
    """All conditions of the query but its upper bounds, with their values."""
    conditions: list[str] = []
    values: list[Any] = []
    for column, value in (
        ("workflow", query.workflow),
        ("version", query.version),
        ("status", query.status),
    ):
        if value is not None:
            conditions.append(f"{column} = ?")
            values.append(value)
    for name, tag in query.tags.items():
        conditions.append("key IN (SELECT instance FROM instance_tag WHERE name = ? AND value = ?)")
        values += [name, tag]
    if query.since is not None:
        conditions.append("started_at >= ?")
        values.append(to_us(query.since))
    return conditions, values


def _row(fields: tuple[Any, ...]) -> InstanceRow:
    key, id, workflow, version, status, started_us, updated_us, body = fields
    return InstanceRow(
        shard=key >> _NUMBER_BITS,
        number=key & INSTANCES_PER_SHARD_MAX,
        id=id,
        workflow=workflow,
        version=version,
        status=status,
        started_us=started_us,
        updated_us=updated_us,
        body=body,
    )
