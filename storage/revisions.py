"""Which schema a deployment's databases have, and which one this release works with."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from raysume.errors import ConfigurationError
from raysume.storage import schema
from raysume.storage.opening import (
    PostgresPlace,
    SqliteFiles,
    locate,
    needing_psycopg,
    open_call_log,
    open_store,
)

Standing = Literal["current", "missing", "behind", "ahead"]
"""missing: there are no tables yet; ahead: a later release made or migrated them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaFound:
    """The tables of one kind in a deployment's database."""

    kind: schema.Kind
    database: str
    """The file, or the database and its server, without a password."""
    revision: str | None
    """None: there are no tables."""

    @property
    def newest(self) -> str:
        """The revision with which this release works."""
        return schema.REVISIONS[self.kind][-1]

    @property
    def standing(self) -> Standing:
        """What that revision means to this release."""
        if self.revision is None:
            return "missing"
        if self.revision == self.newest:
            return "current"
        return "behind" if self.revision in schema.REVISIONS[self.kind] else "ahead"


def schemas_found(url: str | None, data_dir: Path) -> list[SchemaFound]:
    """What is there of each kind; nothing is made or changed.

    Args:
        url: as `open_store` takes it.

    Raises:
        ConfigurationError: the URL or the database cannot be used.
        StoreUnavailable: the server cannot be reached now.
    """
    match locate(url, data_dir):
        case None:
            return []
        case SqliteFiles() as files:
            return [_in_file(files.state, "state"), _in_file(files.calls, "calls")]
        case PostgresPlace() as place:
            return [_in_postgres(place.url, kind) for kind in schema.REVISIONS]


def migrate(url: str | None, data_dir: Path) -> None:
    """Both kinds have the newest tables, durably, as whoever opens them would make them.

    Raises:
        ConfigurationError: a later release made them, or the database cannot be used.
        StoreUnavailable: the server cannot be reached now.
    """
    open_store(url, data_dir).close()
    open_call_log(url, data_dir).close()


def _in_file(path: Path, kind: schema.Kind) -> SchemaFound:
    revision: str | None = None
    if path.exists():
        try:
            with closing(sqlite3.connect(path)) as connection:
                connection.execute("PRAGMA query_only=1")
                revision = schema.revision_of(connection)
        except sqlite3.Error as error:
            raise ConfigurationError(
                f"{path} cannot be read: {error}. Look whether it is a database of raysume, and "
                "whether you may read it."
            ) from error
    return SchemaFound(kind=kind, database=str(path), revision=revision)


def _in_postgres(url: str, kind: schema.Kind) -> SchemaFound:
    with needing_psycopg():
        from raysume.storage.postgres.connections import revision_in
    where, revision = revision_in(url, kind)
    return SchemaFound(kind=kind, database=where, revision=revision)
