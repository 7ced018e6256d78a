"""The outbox file: calls that were published here and are not yet known to be accepted."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from raysume.errors import ConfigurationError, StoreUnavailable, Unavailable
from raysume.ids import uuid7
from raysume.limits import (
    CLIENT_BATCH_BYTES,
    OUTBOX_CALLS_MAX,
    OUTBOX_REFUSED_MAX,
    STORE_BUSY_S_MAX,
)

_FORMAT = 1

_SCHEMA = f"""
begin immediate;
create table pending (sequence integer primary key autoincrement, body blob not null);
create table refused (
    sequence integer primary key, body blob not null, code text not null,
    reason text not null, refused_at real not null
);
create table publisher (id text not null);
pragma user_version = {_FORMAT};
commit;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """The oldest calls of an outbox: sequences without holes, for one request."""

    publisher: str
    first: int
    """The sequence of the first one."""
    calls: Sequence[bytes]
    """JSON, each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A call that the engine did not take, and why."""

    sequence: int
    body: bytes
    """JSON, as it was sent."""
    code: str
    reason: str
    refused_at: float
    """Seconds since the epoch."""


class _Entry:
    __slots__ = ("body", "error", "written")

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.written = False
        self.error: BaseException | None = None


class Outbox:
    """Calls in a SQLite file that this process has claimed (see raysume.publishing.claims).

    May be used by several threads. A call's row number is its sequence: it is never given to
    another call of the same publisher, so sending a call again is harmless.

    Durability: what `append` returned for is on disk (WAL, synchronous=FULL).
    """

    def __init__(self, path: Path, *, calls_max: int = OUTBOX_CALLS_MAX) -> None:
        self.path = path
        self._calls_max = calls_max
        self._disk = threading.Lock()
        """Held while the connection is used."""
        self._gate = threading.Lock()
        """Held while the list of waiting calls is changed."""
        self._waiting: list[_Entry] = []
        try:
            self._connection = _open(path)
            self.publisher = self._prepare()
            row = self._connection.execute("select count(*) from pending").fetchone()
        except sqlite3.Error as error:
            raise _unusable(path, error) from error
        self.pending: int = row[0]
        """Calls that are not known to be accepted."""

    def append(self, body: bytes) -> None:
        """The call is on disk, behind all that were appended before.

        Calls appended by several threads at the same time share one transaction.

        Raises:
            Unavailable: the outbox is full, as the engine was away for long.
            StoreUnavailable: the disk did not take it; it is not published.
        """
        if self.pending >= self._calls_max:
            raise Unavailable(
                f"{self.pending} published calls wait in {self.path} for the engine to come back, "
                "and no more are kept. Start the engine, or publish less."
            )
        entry = _Entry(body)
        with self._gate:
            self._waiting.append(entry)
        with self._disk:
            if not entry.written and entry.error is None:
                self._write_waiting()
        if entry.error is not None:
            raise StoreUnavailable(
                f"the call could not be kept in {self.path} and was not published: {entry.error}."
            ) from entry.error

    def head(self, *, calls_max: int, bytes_max: int = CLIENT_BATCH_BYTES) -> Pending | None:
        """The oldest calls; None when there are none."""
        with self._disk:
            query = "select sequence, body from pending order by sequence limit ?"
            rows = self._connection.execute(query, (calls_max,)).fetchall()
        if not rows:
            return None
        first, size, calls = rows[0][0], 0, list[bytes]()
        for place, (sequence, body) in enumerate(rows):
            size += len(body)
            if sequence != first + place or (calls and size > bytes_max):
                break
            calls.append(body)
        return Pending(publisher=self.publisher, first=first, calls=calls)

    def accepted(self, pending: Pending) -> None:
        """The calls are gone from the outbox: the engine has them."""
        last = pending.first + len(pending.calls)
        with self._disk:
            self._connection.execute(
                "delete from pending where sequence >= ? and sequence < ?", (pending.first, last)
            )
            self._changed(-len(pending.calls))

    def refuse(self, sequence: int, *, code: str, reason: str) -> None:
        """The call stands among the refused ones and blocks the others no longer."""
        with self._disk, self._connection:
            self._connection.execute("begin immediate")
            self._connection.execute(
                "insert or replace into refused select sequence, body, ?, ?, ? from pending "
                "where sequence = ?",
                (code, reason, time.time(), sequence),
            )
            gone = self._connection.execute("delete from pending where sequence = ?", (sequence,))
            self._connection.execute(
                "delete from refused where sequence <= "
                "(select sequence from refused order by sequence desc limit 1 offset ?)",
                (OUTBOX_REFUSED_MAX,),
            )
            self._changed(-gone.rowcount)

    def refused(self) -> list[Refused]:
        """The calls that the engine did not take, oldest first."""
        with self._disk:
            rows = self._connection.execute(
                "select sequence, body, code, reason, refused_at from refused order by sequence"
            ).fetchall()
        return [
            Refused(sequence=s, body=body, code=code, reason=reason, refused_at=at)
            for s, body, code, reason, at in rows
        ]

    def close(self) -> None:
        """The file is closed; what is in it stays."""
        with self._disk:
            self._connection.close()

    def _prepare(self) -> str:
        """The publisher's id. A new one when nothing is pending: then a copy of the file that
        went elsewhere (an image of a machine, say) can never be taken for this publisher."""
        (pending,) = self._connection.execute("select exists(select 1 from pending)").fetchone()
        row = self._connection.execute("select id from publisher").fetchone()
        if pending and row is not None:
            return str(row[0])
        fresh = uuid7()
        with self._connection:
            self._connection.execute("begin immediate")
            self._connection.execute("delete from publisher")
            self._connection.execute("insert into publisher values (?)", (fresh,))
        return fresh

    def _write_waiting(self) -> None:
        with self._gate:
            entries, self._waiting = self._waiting, []
        try:
            with self._connection:
                self._connection.execute("begin immediate")
                self._connection.executemany(
                    "insert into pending (body) values (?)", [(entry.body,) for entry in entries]
                )
        except BaseException as error:
            for entry in entries:
                entry.error = error
            if not isinstance(error, sqlite3.Error):
                raise
            return
        for entry in entries:
            entry.written = True
        self._changed(len(entries))

    def _changed(self, by: int) -> None:
        self.pending += by


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, timeout=STORE_BUSY_S_MAX
    )
    try:
        path.chmod(0o600)
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = full")
        (version,) = connection.execute("pragma user_version").fetchone()
        if version == 0:
            connection.executescript(_SCHEMA)
        elif version != _FORMAT:
            raise ConfigurationError(
                f"{path} was written by a newer release of raysume (format {version}). "
                "Use that release, or another RAYSUME_DATA_DIR.",
                setting="data_dir",
            )
    except BaseException:
        connection.close()
        raise
    return connection


def _unusable(path: Path, error: sqlite3.Error) -> ConfigurationError:
    return ConfigurationError(
        f"the outbox {path} cannot be used: {error}. If the file is damaged, move it away; the "
        "calls in it that were not sent are then lost.",
        setting="data_dir",
    )


def count_pending(path: Path) -> int:
    """Calls that wait in an outbox file, whoever holds it.

    Raises:
        ConfigurationError: it cannot be read.
    """
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            (version,) = connection.execute("pragma user_version").fetchone()
            if version == 0:
                return 0  # its process ended before it wrote anything
            return int(connection.execute("select count(*) from pending").fetchone()[0])
    except sqlite3.Error as error:
        raise _unusable(path, error) from error
