"""Reading and writing index runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from raysume.errors import InvariantViolated
from raysume.limits import INDEX_RUNS_READ_MAX
from raysume.storage.ports import Checkpoint, IndexRun
from raysume.storage.sql.connections import Connection

_INSERT: Final = "INSERT INTO index_run (shard, page, nth, body) VALUES (?, ?, ?, ?)"
_DELETE: Final = "DELETE FROM index_run WHERE shard = ? AND page = ? AND nth = ?"
_SELECT: Final = """
SELECT shard, page, nth, body FROM index_run
WHERE shard = ? AND (page, nth) > (?, ?) AND page <= ? ORDER BY page, nth LIMIT ?"""

LAST_PAGE: Final = (1 << 63) - 1
"""No page is greater."""


def write_runs(connection: Connection, checkpoint: Checkpoint) -> None:
    """The index runs of the checkpoint are written, those that they replace are gone.

    Raises:
        InvariantViolated: one that was to go is not there.
    """
    merged = [(checkpoint.shard, page, nth) for page, nth in checkpoint.merged]
    if merged and connection.executemany(_DELETE, merged).rowcount != len(merged):
        raise InvariantViolated("an index run that is not there was to be removed")
    rows = [(run.shard, run.page, run.nth, run.body) for run in checkpoint.runs]
    if rows:
        connection.executemany(_INSERT, rows)


def page_of_runs(
    connection: Connection, shard: int, after: tuple[int, int], last: int
) -> Sequence[IndexRun]:
    """The next runs of a shard in order of pages, the oldest of each first.

    Args:
        after: (page, nth) of the one before.
        last: the last page that is asked for.
    """
    values = (shard, *after, last, INDEX_RUNS_READ_MAX)
    found = connection.execute(_SELECT, values).fetchall()
    return [IndexRun(shard=of, page=page, nth=nth, body=body) for of, page, nth, body in found]
