"""A `Store` in one SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Final

from raysume.errors import InvariantViolated, StoreUnavailable
from raysume.limits import STORE_BUSY_S_MAX
from raysume.storage.ports import InstanceRow, Office, OwnedShard, ShardRef
from raysume.storage.processes import end_process, is_other_live_process
from raysume.storage.sql import offices
from raysume.storage.sql.instances import upsert_of
from raysume.storage.sql.state import SqlStore, columns_of, owner_of, raise_epoch
from raysume.storage.sqlite.connections import Database

_TAKEOVERS_MAX: Final = 10
"""Owners ended one after the other in one `acquire`: more means that somebody restarts them."""

_UPSERTS: Final = tuple((size, upsert_of(size)) for size in (256, 64, 16, 4, 1))
"""How many rows a statement writes, and the statement: few of them, so that all stay prepared."""


class SqliteStore(SqlStore[sqlite3.Connection]):
    """Implements `raysume.storage.ports.Store`. Safe to use from several threads.

    Durability: WAL with synchronous=FULL; what is said to be durable has been synced.

    Args:
        path: the file; made, with its folder, when it does not exist.
        busy_s: seconds after which waiting for another writer is given up.

    Raises:
        ConfigurationError: the file cannot be used, and retrying cannot help.
    """

    def __init__(self, path: Path | str, *, busy_s: float = STORE_BUSY_S_MAX) -> None:
        self._path = Path(path)
        super().__init__(Database(self._path, "state", busy_s=busy_s))

    @property
    def is_shared(self) -> bool:
        """See `Store.is_shared`."""
        return False

    def acquire(self, refs: Sequence[ShardRef], *, owner: str) -> list[OwnedShard]:
        """See `Store.acquire`. The process of a former owner on this machine is killed first:
        one that was stopped inside a transaction would keep the file locked."""
        self._database.check_open()
        for _ in range(_TAKEOVERS_MAX):
            for former in self._owners(refs):
                if former != owner:
                    end_process(former)
            owned = self._take_over(refs, owner)
            if owned is not None:
                return owned
        raise StoreUnavailable(
            f"the shards of {self._path} were taken by another process again and again "
            f"while {owner!r} took them over. Let one supervisor alone start their owners."
        )

    def take_office(self, name: str, *, owner: str) -> Office:
        """See `Store.take_office`. The process of a former holder on this machine is killed first:
        one that was stopped inside a transaction would keep the file locked."""
        with self._database.read("take an office") as connection:
            former = offices.holding(connection, name).owner
        if former != owner:
            end_process(former)
        return super().take_office(name, owner=owner)

    def _owners(self, refs: Sequence[ShardRef]) -> list[str]:
        with self._database.read("take shards over") as connection:
            owners = {owner_of(connection, ref) for ref in refs}
        return sorted(owner for owner in owners if owner is not None)

    def _take_over(self, refs: Sequence[ShardRef], owner: str) -> list[OwnedShard] | None:
        """The shards under new epochs; None when another process took one of them meanwhile."""
        with self._database.write("take shards over") as connection:
            for ref in refs:
                former = owner_of(connection, ref)
                if former not in (None, owner) and is_other_live_process(str(former)):
                    return None
            return [raise_epoch(connection, ref, owner) for ref in refs]

    def _write_rows(self, connection: sqlite3.Connection, rows: Sequence[InstanceRow]) -> None:
        """See `SqlStore`. Many rows are one statement: SQLite gives the interpreter's lock away for
        each, and a thread that computes keeps it for 5 ms then."""
        at = 0
        try:
            for size, upsert in _UPSERTS:
                while len(rows) - at >= size:
                    some = [columns_of(row) for row in rows[at : at + size]]
                    connection.execute(upsert, tuple(chain.from_iterable(some)))
                    at += size
        except sqlite3.IntegrityError as error:
            raise InvariantViolated(
                f"an instance exists twice in its version: {error}; nothing was written"
            ) from error
