"""Ending transactions that hang: their processes may run on another machine, or not run at all.

A transaction that stands still is ended by the server (`IDLE_TRANSACTION_S`); one whose
process was stopped while it sent rows is not, because the server waits for the rest of a statement.
No process is killed: the one whose connection ended finds out when it goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from raysume.errors import StoreUnavailable
from raysume.storage.postgres.connections import PostgresDatabase
from raysume.storage.postgres.limits import TERMINATE_S_MAX

_ATTEMPTS: Final = 3

_TERMINATE: Final = """
SELECT pg_terminate_backend(pid, {wait_ms}) FROM (
    SELECT DISTINCT l.pid FROM pg_locks l
    WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted
      AND l.transactionid IN ({holders}) AND l.pid <> pg_backend_pid()) hanging"""

Result = TypeVar("Result")


def through_blockers(
    database: PostgresDatabase,
    do: Callable[[], Result],
    *,
    holders: str,
    values: list[Any],
) -> Result:
    """What `do` returns. When a lock is in its way for long, whoever holds it is ended.

    Args:
        holders: selects `xmax` of the rows that `do` must lock: it is the transaction that holds
            a row, if one does.
        values: those of `holders`.

    Raises:
        StoreUnavailable: `do` failed otherwise, or again and again.
    """
    for attempt in range(_ATTEMPTS):
        try:
            return do()
        except StoreUnavailable as error:
            if not error.details.get("locked") or attempt + 1 == _ATTEMPTS:
                raise
        statement = _TERMINATE.format(wait_ms=int(TERMINATE_S_MAX * 1000), holders=holders)
        with database.read("end a transaction that hangs") as connection:
            connection.execute(statement, values)
    raise AssertionError("the last attempt returns or raises")
