"""Offices: what one process alone may hold at a time, and what is written by whoever holds one.

The row of an office is a document. Whoever writes under the office locks that row first, then
everything else, in one transaction, and whoever takes the office changes it: whichever comes
first, the other one sees it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Final

import msgspec

from raysume.storage.commit_rules import check_holder
from raysume.storage.ports import Office
from raysume.storage.sql.connections import AConnection, Connection, Database

KIND: Final = "office"
"""Of the documents."""

_HELD: Final = "SELECT body FROM document WHERE kind = ? AND key = ?"

_ADD: Final = "INSERT INTO document (kind, key, body) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"

_KEEP: Final = "UPDATE document SET body = ? WHERE kind = ? AND key = ?"


class Holding(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds an office, as its document says (JSON)."""

    epoch: int = 0
    owner: str = ""


def holding(connection: Connection, name: str, *, lock: str = "") -> Holding:
    """Who holds the office.

    Args:
        lock: the clause with which a SELECT locks what it reads until the transaction ends.
    """
    row = connection.execute(_HELD + lock, (KIND, name)).fetchone()
    return Holding() if row is None else msgspec.json.decode(row[0], type=Holding)


def take(connection: Connection, name: str, *, owner: str, lock: str) -> Office:
    """The office is held by `owner` under a new epoch, once the transaction is committed."""
    connection.execute(_ADD, (KIND, name, msgspec.json.encode(Holding())))
    taken = Holding(epoch=holding(connection, name, lock=lock).epoch + 1, owner=owner)
    connection.execute(_KEEP, (msgspec.json.encode(taken), KIND, name))
    return Office(name=name, epoch=taken.epoch)


class FencedDatabase(Database[AConnection]):
    """A database as the holder of an office writes to it: not any more, once another one holds it.

    Args:
        lock: see `holding`.
        lost: called before `Fenced` is raised.
    """

    def __init__(
        self,
        database: Database[AConnection],
        office: Office,
        *,
        lock: str,
        lost: Callable[[], None] | None,
    ) -> None:
        self._database, self._office, self._lock, self._lost = database, office, lock, lost

    @contextmanager
    def write(self, doing: str) -> Generator[AConnection]:
        """See `Database.write`.

        Raises:
            Fenced: another one holds the office; nothing was written.
        """
        with self._database.write(doing) as connection:
            held = holding(connection, self._office.name, lock=self._lock)
            check_holder(self._office, held.epoch, lost=self._lost)
            yield connection

    def read(self, doing: str) -> AbstractContextManager[AConnection]:
        """See `Database.read`."""
        return self._database.read(doing)

    def check_open(self) -> None:
        """See `Database.check_open`."""
        self._database.check_open()

    def close(self) -> None:
        """See `Database.close`."""
        self._database.close()
