"""From a database URL to the adapter that it names."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from raysume.errors import ConfigurationError
from raysume.storage.call_ports import CallLog
from raysume.storage.ports import Store

STATE_FILE_NAME: Final = "state.db"
CALLS_FILE_NAME: Final = "calls.db"

_EXAMPLES: Final = (
    "Use postgresql://user:password@host/database, sqlite:///folder/state.db, memory://, or leave "
    "RAYSUME_DATABASE_URL unset."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SqliteFiles:
    """Where the two databases of a deployment are."""

    state: Path
    calls: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresPlace:
    """The one database that holds state and calls of a deployment."""

    url: str = field(repr=False)
    """May hold a password."""


def open_store(url: str | None, data_dir: Path) -> Store:
    """The engine state that `url` names is open; it was made if it did not exist.

    Args:
        url: "postgresql://user:password@host:port/database?parameters" (for both), or
            "sqlite:///relative/path", "sqlite:////absolute/path" (of the state file, or of a
            folder for both files), "memory://" (a new one at every call); None or "" means
            files in `data_dir`.

    Raises:
        ConfigurationError: the URL cannot be used; retrying cannot help.
        StoreUnavailable: the server cannot be reached now.
    """
    match locate(url, data_dir):
        case None:
            from raysume.storage.memory.state import MemoryStore

            return MemoryStore()
        case SqliteFiles() as files:
            from raysume.storage.sqlite.state import SqliteStore

            return SqliteStore(files.state)
        case PostgresPlace() as place:
            with needing_psycopg():
                from raysume.storage.postgres.state import PostgresStore
            return PostgresStore(place.url)


def open_call_log(url: str | None, data_dir: Path) -> CallLog:
    """The call log that `url` names is open; it was made if it did not exist.

    With SQLite it is a file of its own beside the state: "folder/shop.db" has its calls in
    "folder/shop-calls.db". Arguments and errors are those of `open_store`.
    """
    match locate(url, data_dir):
        case None:
            from raysume.storage.memory.calls import MemoryCallLog

            return MemoryCallLog()
        case SqliteFiles() as files:
            from raysume.storage.sqlite.calls import SqliteCallLog

            return SqliteCallLog(files.calls)
        case PostgresPlace() as place:
            with needing_psycopg():
                from raysume.storage.postgres.calls import PostgresCallLog
            return PostgresCallLog(place.url)


def locate(url: str | None, data_dir: Path) -> SqliteFiles | PostgresPlace | None:
    """The files or the database that a URL names; None when it names memory.

    Raises:
        ConfigurationError: the URL is of another kind.
    """
    if not url:
        return SqliteFiles(state=data_dir / STATE_FILE_NAME, calls=data_dir / CALLS_FILE_NAME)
    scheme, separator, rest = url.partition("://")
    match scheme.partition("+")[0].lower():
        case "memory" if separator and not rest:
            return None
        case "sqlite" if rest.startswith("/") and len(rest) > 1:
            return _files_at(rest[1:])
        case "postgresql" | "postgres" if rest:
            # A driver in the scheme is how SQLAlchemy names it; psycopg itself knows none.
            return PostgresPlace(url=f"postgresql://{rest}")
        case _:
            # The URL may hold a password, so it is not repeated.
            shown = (
                f"a database URL that begins with {scheme!r}" if separator else "that database URL"
            )
            raise ConfigurationError(f"{shown} cannot be used. {_EXAMPLES}")


@contextmanager
def needing_psycopg() -> Generator[None, None, None]:
    """Inside the block the driver is imported.

    Raises:
        ConfigurationError: it is not installed; says how to.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "psycopg":
            raise
        raise ConfigurationError(
            "a postgresql:// database needs the driver psycopg, which is not installed here. "
            "Install raysume with it on every node: pip install 'raysume[postgres]'"
        ) from error


def _files_at(place: str) -> SqliteFiles:
    path = Path(place)
    if place.endswith("/") or path.is_dir():
        return SqliteFiles(state=path / STATE_FILE_NAME, calls=path / CALLS_FILE_NAME)
    if path.name == STATE_FILE_NAME:
        return SqliteFiles(state=path, calls=path.with_name(CALLS_FILE_NAME))
    return SqliteFiles(state=path, calls=path.with_name(f"{path.stem}-calls{path.suffix}"))
