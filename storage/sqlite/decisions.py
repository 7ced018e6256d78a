"""The decisions about calls in a SQLite file. Everything here runs inside a caller's transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from raysume.limits import DECISIONS_FORGOTTEN_MAX, READ_ROWS_MAX
from raysume.storage.ports import Decision

Place = tuple[int, int, str]
"""(pos, offset, kind): where one decision of a workflow stands."""

BEHIND_ALL_KINDS: Final = "\U0010ffff"
"""Comes behind the decisions of every kind about the same call."""

_KEEP: Final = (
    'INSERT INTO decision (workflow, pos, "offset", kind, body) VALUES (?, ?, ?, ?, ?) '
    "ON CONFLICT DO NOTHING"
)

_KEPT: Final = (
    'SELECT body FROM decision WHERE workflow = ? AND pos = ? AND "offset" = ? AND kind = ?'
)

_PAGE: Final = """
SELECT pos, "offset", kind, body FROM decision
WHERE workflow = ? AND (pos, "offset", kind) > (?, ?, ?)
  AND (pos, "offset") <= (?, ?)
ORDER BY pos, "offset", kind LIMIT ?"""

_LAST: Final = (1 << 63) - 1

_FORGET: Final = """
DELETE FROM decision WHERE (workflow, pos, "offset", kind) IN (
    SELECT workflow, pos, "offset", kind FROM decision WHERE pos < ? ORDER BY pos LIMIT ?)"""


def keep(connection: sqlite3.Connection, decisions: Sequence[Decision]) -> list[Decision]:
    """See `Store.decide`."""
    kept: list[Decision] = []
    for one in decisions:
        key = (one.workflow, one.pos, one.offset, one.kind)
        connection.execute(_KEEP, (*key, one.body))
        [body] = connection.execute(_KEPT, key).fetchone()
        kept.append(
            Decision(
                workflow=one.workflow, pos=one.pos, offset=one.offset, kind=one.kind, body=body
            )
        )
    return kept


def page(
    connection: sqlite3.Connection, workflow: str, after: Place, upto: tuple[int, int] | None
) -> list[Decision]:
    """At most `READ_ROWS_MAX` decisions behind `after`, in order."""
    rows = connection.execute(
        _PAGE, (workflow, *after, *(upto or (_LAST, _LAST)), READ_ROWS_MAX)
    ).fetchall()
    return [
        Decision(workflow=workflow, pos=pos, offset=offset, kind=kind, body=body)
        for pos, offset, kind, body in rows
    ]


def forget(connection: sqlite3.Connection, before_pos: int) -> int:
    """See `Store.forget_decisions`."""
    return connection.execute(_FORGET, (before_pos, DECISIONS_FORGOTTEN_MAX)).rowcount
