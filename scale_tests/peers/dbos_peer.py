"""DBOS: a library in the worker, on SQLite or on a PostgreSQL server of its own."""

from __future__ import annotations

from pathlib import Path

import psycopg

from scale_tests.peers import processes
from scale_tests.peers.peer import Unavailable
from scale_tests.peers.program_peer import ProgramPeer
from scale_tests.postgres_server import PostgresServer

_DATABASE = "dbos"


class _Dbos(ProgramPeer):
    packages = "dbos"

    def start_instances(self, group: str, count: int) -> None:
        """By the worker itself, as an application with DBOS inside does."""
        self.worker.ask("start", group=group, count=count)

    def start_long(self) -> None:
        """By the worker too."""
        self.worker.ask("start_long", events=self.load.long_events)


class DbosOnSqlite(_Dbos):
    """As DBOS runs when nothing is configured."""

    name = "dbos-sqlite"
    set_up = "one process, SQLite with synchronous=FULL, polled each second (its default)"

    def start_servers(self) -> None:
        """There are none."""
        self._data.mkdir()

    def stop_servers(self) -> None:
        """There are none."""

    def server_pids(self) -> list[int]:
        """There are none."""
        return []

    def arguments(self) -> list[str]:
        """The URL of the database."""
        return [f"sqlite:///{self._data / 'dbos.sqlite'}"]

    def disk_bytes(self) -> int:
        """The database with its journal."""
        return processes.folder_bytes(self._data)

    @property
    def _data(self) -> Path:
        return self.folder / "data"


class DbosOnPostgres(_Dbos):
    """As DBOS recommends it for use."""

    name = "dbos-postgres"
    set_up = "one process and a PostgreSQL server, fsync=on, synchronous_commit=on, LISTEN/NOTIFY"

    def __init__(self) -> None:
        super().__init__()
        self._server: PostgresServer | None = None
        self._url = ""

    def start_servers(self) -> None:
        """PostgreSQL runs, on an empty database."""
        self._server = PostgresServer()
        try:
            self._server.start()
        except RuntimeError as error:
            raise Unavailable(str(error)) from error
        self._url = self._server.create_database(_DATABASE)

    def stop_servers(self) -> None:
        """PostgreSQL is gone, with its data."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def server_pids(self) -> list[int]:
        """The first of its processes."""
        return [self._server.pid] if self._server is not None else []

    def arguments(self) -> list[str]:
        """The URL of the database."""
        return [self._url]

    def disk_bytes(self) -> int:
        """The database; PostgreSQL's log comes in files of 16 MB and says nothing here."""
        with psycopg.connect(self._url) as connection:
            row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
        assert row is not None
        return int(row[0])
