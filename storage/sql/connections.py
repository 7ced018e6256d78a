"""What the shared statements need of a database's connections.

Statements are written with `?` and `:name` for values, and may give SQLite hints to its
planner (INDEXED BY, CROSS JOIN for an order); an adapter of another database translates them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar


class Rows(Protocol):
    """What a statement gave."""

    @property
    def rowcount(self) -> int:
        """How many rows were written."""
        ...

    def fetchone(self) -> Any:
        """The next row, or None."""
        ...

    def fetchall(self) -> list[Any]:
        """All rows that are left."""
        ...

    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    """A connection to a database; `sqlite3.Connection` is one."""

    def execute(self, sql: str, values: Sequence[Any] | Mapping[str, Any] = ..., /) -> Rows:
        """The statement was executed with these values."""
        ...

    def executemany(self, sql: str, values: Iterable[Sequence[Any]], /) -> Rows:
        """The statement was executed once for each of these."""
        ...


AConnection = TypeVar("AConnection", bound=Connection)
AConnection_co = TypeVar("AConnection_co", bound=Connection, covariant=True)


class Database(Protocol[AConnection_co]):
    """A database with the schema of its kind."""

    def write(self, doing: str) -> AbstractContextManager[AConnection_co]:
        """A connection in a write transaction: committed and synced when the block ends well.

        Nothing is written when the block raises.

        Args:
            doing: what messages say failed, after "failed to".

        Raises:
            StoreUnavailable: the database failed; the outcome is not known when that was at the
                end.
        """
        ...

    def read(self, doing: str) -> AbstractContextManager[AConnection_co]:
        """A connection that reads what is committed, without waiting for writers.

        Raises:
            StoreUnavailable: the database failed.
            ConfigurationError: it is damaged.
        """
        ...

    def check_open(self) -> None:
        """Raises StoreUnavailable when the database was closed."""
        ...

    def close(self) -> None:
        """Connections are closed; nothing else can begin."""
        ...
