"""The connections to one SQLite file: one that writes, several that read.

Writers take turns by a lock on a file beside the database, before they begin. SQLite's
own lock would be enough to keep them apart, but whoever waits for it sleeps up to 100 ms
at a time; and SQLite before 3.51.3 can lose a commit made while another process copies
the write-ahead log into the database, which happens here within the turn of a commit.

Source: https://sqlite.org/wal.html, section "The WAL-Reset Bug".
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from raysume.errors import StoreUnavailable
from raysume.limits import READERS_IDLE_MAX, WAL_CHECKPOINT_PAGES
from raysume.storage import schema
from raysume.storage.sqlite.failures import is_damage, unavailable, unusable

_PRAGMAS: Final = (
    "PRAGMA synchronous=FULL",
    # macOS: fsync alone leaves the data in the drive's cache. No effect elsewhere.
    "PRAGMA fullfsync=1",
    "PRAGMA checkpoint_fullfsync=1",
    # Some builds overwrite deleted rows with zeros, which doubles the cost of trimming.
    "PRAGMA secure_delete=OFF",
    "PRAGMA temp_store=MEMORY",
)
_WRITER_PRAGMAS: Final = (
    f"PRAGMA wal_autocheckpoint={WAL_CHECKPOINT_PAGES}",
    "PRAGMA journal_size_limit=67108864",
    "PRAGMA cache_size=-65536",
)
_READER_PRAGMAS: Final = ("PRAGMA query_only=1", "PRAGMA cache_size=-16384")


class Database:
    """One SQLite file with the schema of its kind; made when it did not exist.

    Args:
        busy_s: seconds after which waiting for another writer is given up.

    Raises:
        ConfigurationError: the file cannot be used, and retrying cannot help.
    """

    def __init__(self, path: Path, kind: schema.Kind, *, busy_s: float) -> None:
        self.path = path
        self._busy_s = busy_s
        self._turn = threading.Lock()
        self._readers_lock = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._readers: list[sqlite3.Connection] = []
        self._closed = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._turn_file: IO[bytes] = path.with_name(f"{path.name}-turn").open("ab")
        except OSError as error:
            raise unusable(error, path) from error
        try:
            self._prepare(kind)
        except BaseException as error:
            self._turn_file.close()
            if isinstance(error, sqlite3.Error):
                raise unusable(error, path) from error
            raise

    @contextmanager
    def write(self, doing: str) -> Generator[sqlite3.Connection, None, None]:
        """A connection in a write transaction: committed and synced when the block ends well.

        Nothing is written when the block raises.

        Args:
            doing: what messages say failed, after "failed to".

        Raises:
            StoreUnavailable: SQLite failed; the outcome is not known when that was at the end.
        """
        deadline = time.monotonic() + self._busy_s
        if not self._turn.acquire(timeout=self._busy_s):
            raise self._busy(doing)
        try:
            self._take_turn(deadline, doing)
            try:
                yield from self._transaction(doing)
            finally:
                fcntl.flock(self._turn_file, fcntl.LOCK_UN)
        finally:
            self._turn.release()

    @contextmanager
    def read(self, doing: str) -> Generator[sqlite3.Connection, None, None]:
        """A connection that reads what is committed, without waiting for writers.

        Raises:
            StoreUnavailable: SQLite failed.
            ConfigurationError: the file is damaged.
        """
        connection: sqlite3.Connection | None = None
        try:
            connection = self._take_reader()
            yield connection
        except sqlite3.Error as error:
            if connection is not None:
                _close(connection)
                connection = None
            if is_damage(error):
                raise unusable(error, self.path) from error
            raise unavailable(error, self.path, doing) from error
        finally:
            if connection is not None:
                self._give_reader_back(connection)

    def turn_holder(self) -> int | None:
        """The id of the process that writes now; None when nobody does, or one cannot tell."""
        inode = os.fstat(self._turn_file.fileno()).st_ino
        try:
            locks = Path("/proc/locks").read_text(encoding="ascii").splitlines()
        except OSError:
            return None
        for fields in map(str.split, locks):
            # 1: FLOCK ADVISORY WRITE <pid> <major>:<minor>:<inode> 0 EOF
            if fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == str(inode):
                return int(fields[4])
        return None

    def check_open(self) -> None:
        """Raises StoreUnavailable when the database was closed."""
        if self._closed:
            raise StoreUnavailable(f"the database {self.path} was closed; open it again")

    def close(self) -> None:
        """Connections are closed, after the write that is under way; nothing else can begin."""
        with self._turn, self._readers_lock:
            self._closed = True
            self._drop_writer()
            while self._readers:
                _close(self._readers.pop())
            self._turn_file.close()

    def _prepare(self, kind: schema.Kind) -> None:
        is_new = not self.path.exists()
        connection = self._connect()
        # Kept as a reader until `close`: the last connection would take the log away with it.
        self._readers.append(connection)
        try:
            mode = connection.execute("PRAGMA journal_mode").fetchone()
            # A ready file is opened without a turn: also when its writer hangs.
            if mode != ("wal",) or not schema.is_current(connection, kind):
                self._take_turn(time.monotonic() + self._busy_s, "open")
                try:
                    connection.execute("PRAGMA journal_mode=WAL")
                    schema.make_current(self.path, kind, busy_s=self._busy_s)
                finally:
                    fcntl.flock(self._turn_file, fcntl.LOCK_UN)
            for pragma in _READER_PRAGMAS:
                connection.execute(pragma)
        except BaseException:
            _close(self._readers.pop())
            raise
        if is_new:
            _sync_folder(self.path.parent)

    def _take_turn(self, deadline: float, doing: str) -> None:
        self.check_open()
        pause_s = 0.0001
        while True:
            try:
                fcntl.flock(self._turn_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise self._busy(doing) from None
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.2, 0.0005)

    def _transaction(self, doing: str) -> Generator[sqlite3.Connection, None, None]:
        try:
            if self._writer is None:
                self._writer = self._connect(*_WRITER_PRAGMAS)
            connection = self._writer
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            # What this connection believes may differ from the file: start from the file.
            self._drop_writer()
            raise unavailable(error, self.path, doing) from error
        except BaseException:
            if self._writer is not None and self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            raise

    def _connect(self, *pragmas: str) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path,
            timeout=self._busy_s,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        try:
            for pragma in (*_PRAGMAS, *pragmas):
                connection.execute(pragma)
        except BaseException:
            _close(connection)
            raise
        return connection

    def _drop_writer(self) -> None:
        if self._writer is not None:
            _close(self._writer)
            self._writer = None

    def _take_reader(self) -> sqlite3.Connection:
        with self._readers_lock:
            self.check_open()
            if self._readers:
                return self._readers.pop()
        return self._connect(*_READER_PRAGMAS)

    def _give_reader_back(self, connection: sqlite3.Connection) -> None:
        with self._readers_lock:
            if not self._closed and len(self._readers) < READERS_IDLE_MAX:
                self._readers.append(connection)
                return
        _close(connection)

    def _busy(self, doing: str) -> StoreUnavailable:
        holder = self.turn_holder()
        who = "`fuser` names it" if holder is None else f"process {holder}"
        return StoreUnavailable(
            f"the database {self.path} failed to {doing}: another writer has kept it locked for "
            f"{self._busy_s:g} s. End the process that hangs ({who}), then retry.",
            retry_after=1.0,
            path=str(self.path),
            locked=True,
        )


def _close(connection: sqlite3.Connection) -> None:
    with suppress(sqlite3.Error):
        connection.close()


def _sync_folder(folder: Path) -> None:
    """The names of new files in the folder survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
