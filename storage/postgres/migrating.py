"""The tables of raysume in a PostgreSQL database: made when there are none, migrated when behind.

Each of the two kinds has a schema of its own, so that no table meets one of the user's.
"""

from __future__ import annotations

from typing import Final

import psycopg

from raysume.storage import schema
from raysume.storage.postgres.limits import MIGRATION_ANSWER_S_MAX, MIGRATION_S_MAX
from raysume.storage.postgres.silence import WatchedConnection

_LOCK: Final = 0x7261797375
"""Whoever makes or migrates tables holds this advisory lock: "raysu" in ASCII."""


def schema_of(kind: schema.Kind) -> str:
    """The schema that holds the tables of one kind."""
    return f"raysume_{kind}"


def revision_of(connection: WatchedConnection, kind: schema.Kind) -> str | None:
    """The revision of the tables; None when there are none."""
    table = f"{schema_of(kind)}.alembic_version"
    [[found]] = connection.execute("SELECT to_regclass(%s)", (table,)).fetchall()
    if found is None:
        return None
    row = connection.execute(f"SELECT version_num FROM {table}".encode()).fetchone()
    return None if row is None else str(row[0])


def is_current(connection: WatchedConnection, kind: schema.Kind) -> bool:
    """True when the tables are of the newest revision; decided without importing SQLAlchemy."""
    return revision_of(connection, kind) == schema.REVISIONS[kind][-1]


def make_current(connection: WatchedConnection, kind: schema.Kind, *, where: str) -> None:
    """The database has the newest tables, durably.

    All of it is one transaction: of several processes that start together, one does it and the
    others find it done. The connection is closed.

    Raises:
        ConfigurationError: a later release made the tables.
        psycopg.Error: the database failed.
    """
    from sqlalchemy import create_engine
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.pool import NullPool

    name = schema_of(kind)
    schema.metadata_of(kind)  # Imported before the transaction begins: that may take seconds.
    connection.autocommit = False
    connection.answer_s = MIGRATION_ANSWER_S_MAX
    engine = create_engine("postgresql+psycopg://", creator=lambda: connection, poolclass=NullPool)
    try:
        with engine.begin() as begun:
            begun.exec_driver_sql(
                f"SET LOCAL idle_in_transaction_session_timeout = {int(MIGRATION_S_MAX * 1000)}"
            )
            begun.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
            begun.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {name}")
            rows = begun.exec_driver_sql(
                f"SELECT tablename FROM pg_tables WHERE schemaname = '{name}'"
            )
            schema.bring_up_to_date(begun, kind, set(rows.scalars()), where=f"the {where}")
    except DBAPIError as error:
        if isinstance(error.orig, psycopg.Error):
            raise error.orig from error
        raise
