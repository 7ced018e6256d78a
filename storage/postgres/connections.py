"""The connections to one PostgreSQL database, a few for each process.

They are made when they are needed and kept when they are idle, by the thread that needs
one: when the server is away, that thread is told why, and the first one to ask after the
server is back has a connection at once. (psycopg's own pool connects in threads of its own,
with pauses of up to minutes, and keeps the reason to itself: docs/adr/0009.)
"""

from __future__ import annotations

import re
import select
import threading
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any, Final

import psycopg
from psycopg import conninfo, errors, pq
from psycopg.types.string import StrDumperUnknown

from raysume.errors import ConfigurationError, InvariantViolated, StoreUnavailable
from raysume.storage import schema
from raysume.storage.postgres import migrating
from raysume.storage.postgres.failures import is_damage, unavailable, unusable
from raysume.storage.postgres.limits import (
    ANSWER_S_MAX,
    CONNECT_S_MAX,
    CONNECTIONS_IDLE_MAX,
    CONNECTIONS_MAX,
    IDLE_TRANSACTION_S,
    SILENCE_S_MAX,
)
from raysume.storage.postgres.silence import WatchedConnection

_DEFAULTS: Final[Mapping[str, str]] = {
    "application_name": "raysume",
    "connect_timeout": f"{CONNECT_S_MAX:.0f}",
    # A server whose machine is gone without a word is noticed, instead of waited for.
    "keepalives_idle": f"{SILENCE_S_MAX / 2:.0f}",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": f"{SILENCE_S_MAX * 1000:.0f}",
}
"""Parameters of a connection, where the URL does not give them."""

_PLACEHOLDER: Final = re.compile(r"\?|(?<!:):([a-z_]+)\b")
_HINT: Final = re.compile(r"INDEXED BY \w+|CROSS (?=JOIN)")


@lru_cache(maxsize=512)
def translated(sql: str) -> bytes:
    """A shared statement (see `raysume.storage.sql.connections`) as psycopg takes it."""
    text = _HINT.sub("", sql)
    return _PLACEHOLDER.sub(lambda found: f"%({found[1]})s" if found[1] else "%s", text).encode()


def storable(text: str) -> str:
    """The text as PostgreSQL can keep it: it has no character of code 0, which users may type."""
    return text.replace("\x00", "\N{SYMBOL FOR NULL}") if "\x00" in text else text


class _TextDumper(StrDumperUnknown):
    def dump(self, obj: str) -> bytes | bytearray | memoryview | None:
        return super().dump(storable(obj))


class PostgresConnection:
    """A connection that executes shared statements."""

    __slots__ = ("raw",)

    def __init__(self, raw: WatchedConnection) -> None:
        self.raw = raw

    def execute(
        self, sql: str, values: Sequence[Any] | Mapping[str, Any] = (), /
    ) -> psycopg.Cursor[Any]:
        """The statement was executed with these values."""
        return self.raw.execute(translated(sql), values or None, binary=True)

    def executemany(self, sql: str, values: Iterable[Sequence[Any]], /) -> psycopg.Cursor[Any]:
        """The statement was executed once for each of these, in few round trips."""
        cursor = self.raw.cursor(binary=True)
        cursor.executemany(translated(sql), values)
        return cursor

    def is_alive(self) -> bool:
        """False when the server is known to have closed the connection, without asking it."""
        if self.raw.closed or self.raw.info.transaction_status != pq.TransactionStatus.IDLE:
            return False
        # An idle connection has nothing to read but its own end.
        readable, _, _ = select.select([self.raw.fileno()], [], [], 0)
        return not readable

    def close(self) -> None:
        """The connection is closed, with whatever transaction it was in."""
        with suppress(psycopg.Error):
            self.raw.close()


class PostgresDatabase:
    """One schema of a PostgreSQL database, with the tables of its kind; made when it did not exist.

    Args:
        url: "postgresql://user:password@host:port/database?parameters".
        busy_s: seconds after which waiting for a lock of another transaction is given up.
        answer_s: seconds of silence after which the server counts as lost; more than `busy_s`.

    Raises:
        ConfigurationError: the database cannot be used, and retrying cannot help.
        StoreUnavailable: it cannot be reached now.
    """

    def __init__(
        self, url: str, kind: schema.Kind, *, busy_s: float, answer_s: float = ANSWER_S_MAX
    ) -> None:
        self._parameters = _parameters_of(url)
        self._kind: schema.Kind = kind
        self._busy_s, self._answer_s = busy_s, answer_s
        self._free = threading.BoundedSemaphore(CONNECTIONS_MAX)
        self._lock = threading.Lock()
        self._idle: list[PostgresConnection] = []
        self._closed = False
        self.where = _shown(self._parameters)
        try:
            connection = self._connect()
            try:
                if not migrating.is_current(connection.raw, kind):
                    migrating.make_current(connection.raw, kind, where=self.where)
            finally:
                self._give_back(connection)
        except psycopg.Error as error:
            raise unusable(error, self.where) from error

    @contextmanager
    def write(self, doing: str) -> Generator[PostgresConnection, None, None]:
        """A connection in a transaction: committed and synced when the block ends well.

        Nothing is written when the block raises.

        Args:
            doing: what messages say failed, after "failed to".

        Raises:
            StoreUnavailable: the database failed; the outcome is not known when that was at the
                end. Its detail `locked` is True when a lock of another transaction was in the way.
            InvariantViolated: what was written exists already.
        """
        with self._connection(doing) as connection:
            connection.raw.execute(b"BEGIN")
            yield connection
            connection.raw.execute(b"COMMIT")

    @contextmanager
    def read(self, doing: str) -> Generator[PostgresConnection, None, None]:
        """A connection that reads what is committed, without waiting for writers.

        Raises:
            StoreUnavailable: the database failed.
            ConfigurationError: it is damaged.
        """
        with self._connection(doing) as connection:
            yield connection

    def check_open(self) -> None:
        """Raises StoreUnavailable when the database was closed."""
        if self._closed:
            raise StoreUnavailable(f"the {self.where} was closed; open it again")

    def close(self) -> None:
        """Idle connections are closed, others at the end of what they do; nothing else can begin."""
        with self._lock:
            self._closed = True
        self._close_idle()

    @contextmanager
    def _connection(self, doing: str) -> Generator[PostgresConnection, None, None]:
        self.check_open()
        if not self._free.acquire(timeout=self._busy_s):
            raise StoreUnavailable(
                f"the {self.where} failed to {doing}: {CONNECTIONS_MAX} threads of this "
                f"process have been working with it for {self._busy_s:g} s. Retry.",
                retry_after=1.0,
            )
        connection: PostgresConnection | None = None
        try:
            connection = self._take()
            yield connection
        except psycopg.Error as error:
            if connection is not None and connection.raw.closed:
                # What this one met, the others do: whoever took one of them would wait as long.
                self._close_idle()
            raise self._told(error, doing) from error
        finally:
            if connection is not None:
                self._give_back(connection)
            self._free.release()

    def _told(self, error: psycopg.Error, doing: str) -> Exception:
        if is_damage(error):
            return unusable(error, self.where)
        if isinstance(error, errors.UniqueViolation):
            return InvariantViolated(
                f"the {self.where} failed to {doing}: something exists twice: {error}; nothing was "
                "written"
            )
        return unavailable(error, self.where, doing)

    def _take(self) -> PostgresConnection:
        while True:
            with self._lock:
                self.check_open()
                idle = self._idle.pop() if self._idle else None
            if idle is None:
                return self._connect()
            if idle.is_alive():
                return idle
            idle.close()

    def _give_back(self, connection: PostgresConnection) -> None:
        # Whoever failed in a transaction leaves it to the server: it ends with the connection.
        if connection.raw.info.transaction_status == pq.TransactionStatus.INTRANS:
            with suppress(psycopg.Error):
                connection.raw.execute(b"ROLLBACK")
        with self._lock:
            is_kept = not self._closed and len(self._idle) < CONNECTIONS_IDLE_MAX
            if is_kept and connection.is_alive():
                self._idle.append(connection)
                return
        connection.close()

    def _close_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _connect(self) -> PostgresConnection:
        raw = WatchedConnection.connect(**self._parameters, autocommit=True)
        raw.answer_s = self._answer_s
        try:
            raw.execute(
                f"SET search_path = {migrating.schema_of(self._kind)};"
                f"SET lock_timeout = {int(self._busy_s * 1000)};"
                f"SET idle_in_transaction_session_timeout = {int(IDLE_TRANSACTION_S * 1000)};"
                # What is acknowledged is on the disk, whatever the server's default.
                "SELECT set_config('synchronous_commit', 'on', false) "
                "WHERE current_setting('synchronous_commit') = 'off'".encode()
            )
        except BaseException:
            raw.close()
            raise
        raw.adapters.register_dumper(str, _TextDumper)
        return PostgresConnection(raw)


def revision_in(url: str, kind: schema.Kind) -> tuple[str, str | None]:
    """(where, revision) of the tables of one kind; None: there are none. Nothing is changed.

    Raises:
        ConfigurationError: the database cannot be used.
        StoreUnavailable: it cannot be reached now.
    """
    parameters = _parameters_of(url)
    where = _shown(parameters)
    try:
        with WatchedConnection.connect(**parameters, autocommit=True) as connection:
            return where, migrating.revision_of(connection, kind)
    except psycopg.Error as error:
        raise unusable(error, where) from error


def _parameters_of(url: str) -> dict[str, Any]:
    try:
        return {**_DEFAULTS, **conninfo.conninfo_to_dict(url)}
    except psycopg.ProgrammingError:
        raise ConfigurationError(
            # The URL may hold a password, so neither it nor the error is repeated.
            "the database URL cannot be read. Use "
            "postgresql://user:password@host:5432/database in RAYSUME_DATABASE_URL; special "
            "characters in the password are written as %XX."
        ) from None


def _shown(parameters: Mapping[str, Any]) -> str:
    return (
        f"PostgreSQL database {parameters.get('dbname', '')!r} at "
        f"{parameters.get('host', 'localhost')}:{parameters.get('port', 5432)}"
    )
