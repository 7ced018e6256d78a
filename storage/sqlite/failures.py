"""SQLite's errors, told as raysume's: what happened, in which file, and what to do."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from raysume.errors import ConfigurationError, StoreUnavailable

_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_PASSING = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_IOERR,
    }
)
"""What the disk or another process may be to blame for: it may be well again later."""


def unavailable(error: sqlite3.Error, path: Path, doing: str) -> StoreUnavailable:
    """What to raise when a read or write failed: it is not known whether it was done."""
    return StoreUnavailable(
        f"the database {path} failed to {doing}: {error}. {_remedy(error, path)}",
        retry_after=1.0,
        path=str(path),
    )


def unusable(error: sqlite3.Error | OSError, path: Path) -> ConfigurationError:
    """What to raise when the database cannot be opened at all.

    Its detail `passing` says whether somebody who had it open before may wait for it.
    """
    if isinstance(error, sqlite3.Error):
        return ConfigurationError(
            f"the database {path} cannot be opened: {error}. {_remedy(error, path)}",
            path=str(path),
            passing=_code(error) in _PASSING,
        )
    return ConfigurationError(
        f"the folder {path.parent} cannot be used: {error}. Set RAYSUME_DATA_DIR to a folder that "
        "this user may write to.",
        path=str(path),
        passing=True,
    )


def is_damage(error: sqlite3.Error) -> bool:
    """True when the file's content is wrong, so that trying again cannot help."""
    return _code(error) in _DAMAGED


def _code(error: sqlite3.Error) -> int:
    # Errors that the Python module raises by itself carry no code of SQLite.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _remedy(error: sqlite3.Error, path: Path) -> str:
    match _code(error):
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return (
                "Another process keeps it locked: end whatever else works on this file "
                "(`fuser` names it), then retry."
            )
        case sqlite3.SQLITE_FULL:
            return f"The disk that holds {path.parent} is full: free some space, then retry."
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_CANTOPEN:
            return f"Give this user write access to {path} and its folder, then retry."
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return (
                "The file is damaged or is not a database: restore it from a backup, or move it "
                "away to start empty."
            )
        case sqlite3.SQLITE_IOERR:
            return "The disk failed: look at the system's log, check the disk, then retry."
        case _:
            return "Retry; if it stays, check the disk and that the file comes from this release."
