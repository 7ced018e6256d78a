"""SQLite files: their schema, and files or disks that are not as they should be."""

from __future__ import annotations

import resource
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from raysume.errors import ConfigurationError, StoreUnavailable
from raysume.storage import migrations, schema
from raysume.storage.call_ports import Batch, NewCall
from raysume.storage.ports import Checkpoint, JournalRow, ShardRef, StoreCommit
from raysume.storage.sqlite.calls import SqliteCallLog
from raysume.storage.sqlite.connections import Database
from raysume.storage.sqlite.state import SqliteStore

KINDS: tuple[schema.Kind, ...] = ("state", "calls")
REF = ShardRef(workflow="flight", version="v1", number=0)


def open_file(kind: schema.Kind, path: Path, *, busy_s: float = 1) -> SqliteStore | SqliteCallLog:
    adapter = SqliteStore if kind == "state" else SqliteCallLog
    return adapter(path, busy_s=busy_s)


def described(path: Path) -> list[tuple[str, ...]]:
    """Every table and index as SQL, without its white space."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
    return sorted((*row[:3], "".join((row[3] or "").split())) for row in rows)


def migrated(path: Path, kind: schema.Kind) -> None:
    with schema.write_transaction(path, busy_s=1) as connection:
        schema.upgrade_with_alembic(connection, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_migrations_and_declared_tables_make_the_same_schema(
    kind: schema.Kind, tmp_path: Path
) -> None:
    migrated(tmp_path / "migrated.db", kind)
    open_file(kind, tmp_path / "made.db").close()
    assert described(tmp_path / "migrated.db") == described(tmp_path / "made.db")
    with schema.write_transaction(tmp_path / "migrated.db", busy_s=1) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, schema.metadata_of(kind)) == []


@pytest.mark.parametrize("kind", KINDS)
def test_the_known_revisions_are_those_that_exist(kind: schema.Kind) -> None:
    folder = Path(migrations.__path__[0])
    scripts = ScriptDirectory(folder, version_locations=[folder / kind])
    found = [script.revision for script in scripts.walk_revisions()]
    assert tuple(reversed(found)) == schema.REVISIONS[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_a_database_behind_is_migrated_when_it_is_opened(kind: schema.Kind, tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    # What a downgrade before the first revision leaves.
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        connection.commit()
    open_file(kind, path).close()
    open_file(kind, tmp_path / "new.db").close()
    tables = [row for row in described(path) if "alembic" not in row[1]]
    assert tables == [row for row in described(tmp_path / "new.db") if "alembic" not in row[1]]
    with closing(sqlite3.connect(path)) as connection:
        assert schema.is_current(connection, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_database_of_a_later_release_is_refused(kind: schema.Kind, tmp_path: Path) -> None:
    path = tmp_path / "later.db"
    open_file(kind, path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'later_0099'")
        connection.commit()
    before = described(path)
    with pytest.raises(ConfigurationError, match="later release"):
        open_file(kind, path)
    assert described(path) == before


def test_a_call_log_is_not_opened_as_engine_state(tmp_path: Path) -> None:
    SqliteCallLog(tmp_path / "one.db").close()
    with pytest.raises(ConfigurationError, match="calls_0003"):
        SqliteStore(tmp_path / "one.db")


def test_somebody_elses_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
        connection.commit()
    before = described(path)
    with pytest.raises(ConfigurationError, match="not one that raysume made"):
        SqliteStore(path)
    assert described(path) == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_no_database_is_refused(kind: schema.Kind, tmp_path: Path) -> None:
    path = tmp_path / "text.db"
    path.write_bytes(b"certainly not a database\n" * 100)
    with pytest.raises(ConfigurationError, match="backup"):
        open_file(kind, path)
    assert path.read_bytes().startswith(b"certainly")


def test_a_damaged_file_is_reported_with_a_remedy(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with closing(SqliteStore(path)) as store:
        for number in range(200):
            store.put_document("kind", str(number), b"x" * 5_000)
    content = bytearray(path.read_bytes())
    content[8_192:] = b"\xaa" * (len(content) - 8_192)
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="backup"), closing(SqliteStore(path)) as store:
        store.documents("kind")


def test_a_folder_that_can_not_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigurationError, match="RAYSUME_DATA_DIR"):
        SqliteStore(tmp_path / "file" / "state.db")


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Path]:
    """A state file that another program, unaware of our turns, keeps locked."""
    path = tmp_path / "state.db"
    SqliteStore(path).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield path


def test_a_locked_database_is_unavailable_for_writing_and_open_for_reading(locked: Path) -> None:
    with closing(SqliteStore(locked, busy_s=0.05)) as store:
        with pytest.raises(StoreUnavailable, match="locked") as refused:
            store.put_document("kind", "key", b"")
        assert refused.value.retry_after is not None
        assert isinstance(refused.value.__cause__, sqlite3.OperationalError)
        with pytest.raises(StoreUnavailable, match="take shards over"):
            store.acquire([REF], owner="1:0:test")
        assert store.documents("kind") == []


def test_a_statement_that_fails_undoes_its_whole_commit(tmp_path: Path) -> None:
    not_bytes: Any = object()
    with closing(SqliteStore(tmp_path / "state.db")) as store:
        [shard] = store.acquire([REF], owner="1:0:test")
        good = JournalRow(shard=shard.key, seq=1, body=b"good")
        bad = Checkpoint(shard=shard.key, seq=1, header=not_bytes, rows=())
        epochs = {shard.key: shard.epoch}
        with pytest.raises(StoreUnavailable):
            store.commit(StoreCommit(epochs=epochs, journal=[good], checkpoints=[bad]))
        assert list(store.journal_of(shard.key, after=0)) == []
        store.commit(StoreCommit(epochs=epochs, journal=[good]))
        assert list(store.journal_of(shard.key, after=0)) == [good]


@pytest.mark.parametrize("kind", KINDS)
def test_commits_are_synced_to_the_disk(kind: schema.Kind, tmp_path: Path) -> None:
    with closing(Database(tmp_path / "one.db", kind, busy_s=1)) as database:
        for connecting in (database.write, database.read):
            with connecting("look") as connection:
                assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
                assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


FILL = """
import resource, signal, sys
from pathlib import Path
from raysume.errors import StoreUnavailable
from test_sqlite_files import fill
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, resource.RLIM_INFINITY))
fill(Path(sys.argv[1]))
"""

UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


def fill(folder: Path) -> None:
    """Writes until the disk takes no more; then, with room again, everything goes on."""
    with closing(SqliteStore(folder / "state.db")) as store:
        [shard] = store.acquire([REF], owner="1:0:test")
        seq = 0
        try:
            while True:
                row = JournalRow(shard=shard.key, seq=seq + 1, body=b"x" * 100_000)
                store.commit(StoreCommit(epochs={shard.key: shard.epoch}, journal=[row]))
                seq += 1
        except StoreUnavailable as error:
            print("commit:", error)
        resource.setrlimit(resource.RLIMIT_FSIZE, UNLIMITED)
        [shard] = store.acquire([REF], owner="1:0:test")
        assert [row.seq for row in store.journal_of(shard.key, after=0)] == list(range(1, seq + 1))
        row = JournalRow(shard=shard.key, seq=seq + 1, body=b"x")
        store.commit(StoreCommit(epochs={shard.key: shard.epoch}, journal=[row]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
    with closing(SqliteCallLog(folder / "calls.db")) as log:
        partition = log.open_partition(owner="1:0:test").id
        count = 0
        try:
            while True:
                body = bytes(number * count % 251 for number in range(50_000))
                call = NewCall(id=str(count), method="m", service="s", input=body, client_id=True)
                log.append(partition, [Batch(calls=[call])])
                count += 1
        except StoreUnavailable as error:
            print("append:", error)
        resource.setrlimit(resource.RLIMIT_FSIZE, UNLIMITED)
        assert log.close_partition(partition).next_offset == count
        found = [
            call.id for segment in log.read(partition, start=0, end=count) for call in segment.calls
        ]
        assert found == [str(number) for number in range(count)]
    print("went on")


def test_a_full_disk_is_unavailable_and_loses_nothing_acknowledged(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FILL, str(tmp_path)],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    commit, append, last = done.stdout.splitlines()
    assert commit.startswith("commit: the database")
    assert append.startswith("append: the database")
    assert last == "went on"


def test_a_refusal_to_open_says_whether_the_disk_may_be_to_blame(tmp_path: Path) -> None:
    """A pool that ran before waits for the disk; it does not wait for another file."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigurationError) as in_the_way:
        SqliteStore(tmp_path / "file" / "state.db")
    (tmp_path / "damaged.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(ConfigurationError) as damaged:
        SqliteStore(tmp_path / "damaged.db")
    (tmp_path / "folder.db").mkdir()
    with pytest.raises(ConfigurationError) as cannot_be_opened:
        SqliteStore(tmp_path / "folder.db")
    found = [one.value.details["passing"] for one in (in_the_way, damaged, cannot_be_opened)]
    assert found == [True, False, True]
