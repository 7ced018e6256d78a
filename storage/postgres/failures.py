"""PostgreSQL's errors, told as raysume's: what happened, in which database, and what to do."""

from __future__ import annotations

from typing import Final

import psycopg
from psycopg import errors

from raysume.errors import ConfigurationError, RaysumeError, StoreUnavailable


class Unanswered(psycopg.OperationalError):
    """The server said nothing for too long: it stands still, or nothing reaches it any more."""


_LOCKED: Final = (errors.LockNotAvailable, errors.DeadlockDetected)

_DAMAGED: Final = (errors.DataCorrupted, errors.IndexCorrupted)

_LASTING: Final = (
    errors.InvalidAuthorizationSpecification,
    errors.InvalidCatalogName,
    errors.InsufficientPrivilege,
    errors.InvalidSchemaName,
    errors.UndefinedObject,
    errors.FeatureNotSupported,
    errors.SyntaxError,
)
"""Errors at opening that somebody must mend: retrying cannot help."""

_LASTING_TEXTS: Final = (
    "password",
    "authentication",
    "pg_hba.conf",
    "does not exist",
    "not permit",
)
"""What the message of such an error contains when it came instead of a connection: the client
library gives those no code."""


def unavailable(error: psycopg.Error, where: str, doing: str) -> StoreUnavailable:
    """What to raise when a read or write failed: it is not known whether it was done.

    Its detail `locked` says whether another transaction was in the way, and `passing` that
    somebody who had the database open before may wait for it.
    """
    return StoreUnavailable(
        f"the {where} failed to {doing}: {_text(error)}. {_remedy(error)}",
        retry_after=1.0,
        locked=isinstance(error, _LOCKED),
        passing=True,
    )


def unusable(error: psycopg.Error, where: str) -> RaysumeError:
    """What to raise when the database cannot be opened, or is damaged."""
    if not _is_lasting(error):
        return unavailable(error, where, "open")
    return ConfigurationError(f"the {where} cannot be used: {_text(error)}. {_remedy(error)}")


def is_damage(error: psycopg.Error) -> bool:
    """True when what the database holds is wrong, so that trying again cannot help."""
    return isinstance(error, _DAMAGED)


def _is_lasting(error: psycopg.Error) -> bool:
    if isinstance(error, (*_LASTING, *_DAMAGED)):
        return True
    without_code = isinstance(error, psycopg.OperationalError) and error.sqlstate is None
    return without_code and any(text in str(error) for text in _LASTING_TEXTS)


def _text(error: psycopg.Error) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _remedy(error: psycopg.Error) -> str:
    match error:
        case errors.IdleInTransactionSessionTimeout():
            return "This process stood still in a transaction for too long. Retry."
        case Unanswered():
            return (
                "The server stands still, or is cut off: look at its processes, its disk and the "
                "network; it goes on by itself."
            )
        case errors.LockNotAvailable() | errors.DeadlockDetected():
            return "Another transaction hangs: pg_stat_activity shows it. Retry."
        case errors.DiskFull():
            return "The disk of the server is full: free some space; it goes on by itself."
        case errors.ReadOnlySqlTransaction():
            return (
                "It takes no writes: it is a standby, or default_transaction_read_only is on. Name "
                "the primary server in RAYSUME_DATABASE_URL, or make it writable, then retry."
            )
        case errors.TooManyConnections() | errors.ConfigurationLimitExceeded():
            return "Raise max_connections of the server, or end other clients, then retry."
        case errors.InsufficientPrivilege():
            return (
                "Give the user of RAYSUME_DATABASE_URL the right to create in the database "
                "(GRANT CREATE ON DATABASE ... TO ...), or let its owner run `raysume db migrate`."
            )
        case errors.DataCorrupted() | errors.IndexCorrupted():
            return "The database is damaged: restore it from a backup."
        case _ if _is_lasting(error):
            return "Correct RAYSUME_DATABASE_URL: its user, password, host and database."
        case psycopg.OperationalError() | psycopg.InterfaceError():
            return "Start the server, or check the network to it; it goes on by itself."
        case _:
            return "Retry; if it stays, check that the database comes from this release."
