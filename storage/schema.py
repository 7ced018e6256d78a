"""The schema of a database: made when it is new, migrated when it is behind.

Loading SQLAlchemy and Alembic takes most of a second, so they are imported only when
there is something to make or to migrate.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from raysume.errors import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy import Connection, MetaData

Kind = Literal["state", "calls"]

REVISIONS: Final[dict[Kind, tuple[str, ...]]] = {
    "state": ("state_0001", "state_0002", "state_0003", "state_0004", "state_0005"),
    "calls": ("calls_0001", "calls_0002", "calls_0003"),
}
"""All revisions that this release knows, oldest first; the last one is the one it works with."""

_TABLES: Final = "SELECT name FROM sqlite_master WHERE type = 'table'"
_STAMPED: Final = "SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'"
_REVISION: Final = "SELECT version_num FROM alembic_version"


def revision_of(connection: sqlite3.Connection) -> str | None:
    """The revision of the database's schema; None when it has no tables of raysume."""
    if not connection.execute(_STAMPED).fetchone()[0]:
        return None
    row = connection.execute(_REVISION).fetchone()
    return None if row is None else str(row[0])


def is_current(connection: sqlite3.Connection, kind: Kind) -> bool:
    """True when the database has the newest schema; decided without importing SQLAlchemy."""
    return revision_of(connection) == REVISIONS[kind][-1]


def make_current(path: Path, kind: Kind, *, busy_s: float) -> None:
    """The database has the newest schema, durably.

    All of it is one write transaction: of several processes that start together, one
    does it and the others find it done.

    Raises:
        ConfigurationError: it is another kind of database, or of a later release.
    """
    with write_transaction(path, busy_s=busy_s) as connection:
        tables = set(connection.exec_driver_sql(_TABLES).scalars())
        bring_up_to_date(connection, kind, tables, where=str(path))


def bring_up_to_date(
    connection: Connection, kind: Kind, tables: AbstractSet[str], *, where: str
) -> None:
    """The database has the newest schema, once the transaction of the connection is committed.

    Args:
        tables: those that it has now.

    Raises:
        ConfigurationError: it is another kind of database, or of a later release.
    """
    if not tables:
        create_from_metadata(connection, kind)
        return
    revision = None
    if "alembic_version" in tables:
        revision = connection.exec_driver_sql(_REVISION).scalar()
    if revision is None and tables == {"alembic_version"}:
        upgrade_with_alembic(connection, kind)
        return
    if revision is None:
        raise ConfigurationError(
            f"{where} is a database, but not one that raysume made. Set RAYSUME_DATABASE_URL "
            "or RAYSUME_DATA_DIR to another place."
        )
    if revision not in REVISIONS[kind]:
        raise ConfigurationError(
            f"{where} has schema {revision!r}, which this release does not know as a {kind} "
            "database: a later release of raysume made it, or it is another file. Start that "
            "release, restore a backup made before the upgrade, or correct "
            "RAYSUME_DATABASE_URL."
        )
    if revision != REVISIONS[kind][-1]:  # another process may have been faster
        upgrade_with_alembic(connection, kind)


@contextmanager
def write_transaction(path: Path, *, busy_s: float) -> Generator[Connection, None, None]:
    """A SQLAlchemy connection in a write transaction, committed when the block ends well.

    pysqlite commits by itself before some statements; so it is told to begin nothing,
    and the transaction is begun here.
    """
    from sqlalchemy import create_engine
    from sqlalchemy.engine import URL
    from sqlalchemy.pool import NullPool

    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        poolclass=NullPool,
        connect_args={"isolation_level": None, "timeout": busy_s},
    )
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA synchronous=FULL")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        yield connection
        connection.commit()


def metadata_of(kind: Kind) -> MetaData:
    """The declared tables of one database."""
    from raysume.storage import tables

    return tables.STATE.metadata if kind == "state" else tables.CALLS.metadata


def create_from_metadata(connection: Connection, kind: Kind) -> None:
    """The empty database has all tables, and counts as migrated to the newest revision."""
    metadata_of(kind).create_all(connection)
    connection.exec_driver_sql(
        "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, "
        "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
    )
    connection.exec_driver_sql(f"INSERT INTO alembic_version VALUES ('{REVISIONS[kind][-1]}')")


def upgrade_with_alembic(connection: Connection, kind: Kind, to: str = "head") -> None:
    """The database has been brought to revision `to`, one revision after the other."""
    from alembic import command
    from alembic.config import Config

    folder = Path(__file__).parent / "migrations"
    config = Config()
    config.set_main_option("script_location", str(folder))
    config.set_main_option("version_locations", str(folder / kind))
    config.set_main_option("path_separator", "newline")
    config.attributes["metadata"] = metadata_of(kind)
    config.attributes["connection"] = connection
    command.upgrade(config, to)
