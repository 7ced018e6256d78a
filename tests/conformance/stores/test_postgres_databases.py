"""PostgreSQL: databases that are not as they should be, and what is made in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from scale_tests.postgres_server import PostgresServer
from sqlalchemy import Connection, create_engine

from raysume.errors import ConfigurationError, StoreUnavailable
from raysume.storage import schema
from raysume.storage.ports import JournalRow, OwnedShard, ShardRef, StoreCommit
from raysume.storage.postgres.connections import translated
from raysume.storage.postgres.state import PostgresStore

KINDS: tuple[schema.Kind, ...] = ("state", "calls")
REF = ShardRef(workflow="flight", version="v1", number=0)


def row(shard: OwnedShard, seq: int) -> StoreCommit:
    journal = [JournalRow(shard=shard.key, seq=seq, body=b"%d" % seq)]
    return StoreCommit(epochs={shard.key: shard.epoch}, journal=journal)


def select(url: str, statement: str) -> list[Any]:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(statement.encode()).fetchall()


def execute(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


# --- databases that are not as they should be ------------------------------------


def test_a_database_that_takes_no_writes_is_unavailable_until_it_does(
    postgres_url: str, server: PostgresServer
) -> None:
    name = postgres_url.rpartition("/")[2]
    execute(postgres_url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with closing(PostgresStore(postgres_url)) as store:
        assert store.documents("k") == []
        with pytest.raises(StoreUnavailable, match="takes no writes"):
            store.put_document("k", "k", b"1")
        execute(server.url(), f"ALTER DATABASE {name} RESET default_transaction_read_only")
        with closing(PostgresStore(postgres_url)) as again:
            again.put_document("k", "k", b"1")


def test_a_full_disk_is_reported_and_nothing_is_written_until_there_is_space(
    postgres_url: str,
) -> None:
    execute(
        postgres_url,
        """
        CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE disk_full USING MESSAGE = 'No space left on device'; END $$;
        CREATE TRIGGER full_disk BEFORE INSERT ON raysume_state.journal
        FOR EACH ROW EXECUTE FUNCTION full_disk()""",
    )
    with closing(PostgresStore(postgres_url)) as store:
        [shard] = store.acquire([REF], owner="1:0:writer")
        with pytest.raises(StoreUnavailable, match="free some space"):
            store.commit(row(shard, 1))
        assert list(store.journal_of(shard.key, after=0)) == []
        execute(postgres_url, "DROP TRIGGER full_disk ON raysume_state.journal")
        store.commit(row(shard, 1))


def test_wrong_credentials_and_missing_databases_are_refused_without_the_password(
    postgres_url: str,
) -> None:
    password = postgres_url.partition("://postgres:")[2].partition("@")[0]
    for wrong in (
        postgres_url.replace(password, "another-secret"),
        postgres_url.rpartition("/")[0] + "/missing",
        "postgresql://user:another-secret@host:port/x?no_such_parameter=1",
    ):
        with pytest.raises(ConfigurationError, match="RAYSUME_DATABASE_URL") as refused:
            PostgresStore(wrong)
        assert password not in str(refused.value)
        assert "secret" not in str(refused.value)


def test_a_user_who_may_not_make_tables_is_told_what_to_do(
    server: PostgresServer, database_names: Iterator[str]
) -> None:
    name = next(database_names)
    url = server.create_database(name)
    execute(url, f"CREATE ROLE user_{name} LOGIN PASSWORD 'pass'")
    password = url.partition("://postgres:")[2].partition("@")[0]
    theirs = url.replace(f"postgres:{password}", f"user_{name}:pass")
    with pytest.raises(ConfigurationError, match="GRANT CREATE"):
        PostgresStore(theirs)
    execute(url, f"GRANT CREATE ON DATABASE {name} TO user_{name}")
    PostgresStore(theirs).close()
    server.drop_database(name)


# --- schema ----------------------------------------------------------------------


def begun(url: str, kind: schema.Kind) -> Iterator[Connection]:
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.exec_driver_sql(f"SET search_path = raysume_{kind}")
        yield connection
    engine.dispose()


def described(url: str, kind: schema.Kind) -> list[Any]:
    """Every column with its type and order of comparison, and every index."""
    columns = select(
        url,
        "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, "
        "l.collname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid "
        "LEFT JOIN pg_collation l ON l.oid = a.attcollation "
        f"WHERE c.relnamespace = 'raysume_{kind}'::regnamespace AND a.attnum > 0 "
        "AND c.relname NOT LIKE '%alembic%'",
    )
    indexes = select(
        url,
        f"SELECT indexdef FROM pg_indexes WHERE schemaname = 'raysume_{kind}' "
        "AND tablename NOT LIKE '%alembic%'",
    )
    return sorted([*columns, *indexes], key=str)


@pytest.mark.parametrize("kind", KINDS)
def test_migrations_and_declared_tables_make_the_same_schema(
    kind: schema.Kind,
    postgres_url: str,
    server: PostgresServer,
    database_names: Iterator[str],
) -> None:
    name = next(database_names)
    url = server.create_database(name)
    execute(url, f"CREATE SCHEMA raysume_{kind}")
    for connection in begun(url, kind):
        schema.upgrade_with_alembic(connection, kind)
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, schema.metadata_of(kind)) == []
    assert described(url, kind) == described(postgres_url, kind)
    server.drop_database(name)


@pytest.mark.parametrize("kind", KINDS)
def test_every_text_is_compared_byte_by_byte(kind: schema.Kind, postgres_url: str) -> None:
    texts = [line for line in described(postgres_url, kind) if "character varying" in line]
    assert texts
    assert {line[4] for line in texts} == {"C"}


def test_tables_of_a_later_release_are_refused(postgres_url: str) -> None:
    execute(postgres_url, "UPDATE raysume_state.alembic_version SET version_num = 'later_0099'")
    with pytest.raises(ConfigurationError, match="later release"):
        PostgresStore(postgres_url)


def test_shared_statements_are_translated() -> None:
    assert translated("SELECT a FROM t INDEXED BY ix_t WHERE b = ? AND c::text = :name") == (
        b"SELECT a FROM t  WHERE b = %s AND c::text = %(name)s"
    )
    assert translated("(SELECT 1) x CROSS JOIN y USING (z)") == b"(SELECT 1) x JOIN y USING (z)"
