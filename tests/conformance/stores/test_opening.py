"""What a database URL opens."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from raysume.errors import ConfigurationError
from raysume.storage.memory.calls import MemoryCallLog
from raysume.storage.memory.state import MemoryStore
from raysume.storage.opening import PostgresPlace, SqliteFiles, locate, open_call_log, open_store
from raysume.storage.sqlite.calls import SqliteCallLog
from raysume.storage.sqlite.state import SqliteStore


@pytest.mark.parametrize("url", [None, ""])
def test_without_a_url_both_files_are_in_the_data_directory(
    tmp_path: Path, url: str | None
) -> None:
    data_dir = tmp_path / "deep" / "data"
    store, log = open_store(url, data_dir), open_call_log(url, data_dir)
    assert isinstance(store, SqliteStore)
    assert isinstance(log, SqliteCallLog)
    store.close()
    log.close()
    assert {path.name for path in data_dir.glob("*.db")} == {"state.db", "calls.db"}


def test_memory_is_new_at_every_call(tmp_path: Path) -> None:
    first, second = open_store("memory://", tmp_path), open_store("memory://", tmp_path)
    assert isinstance(first, MemoryStore)
    assert isinstance(open_call_log("memory://", tmp_path), MemoryCallLog)
    first.put_document("k", "k", b"")
    assert second.documents("k") == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "state", "calls"),
    [
        ("sqlite:////var/x/state.db", "/var/x/state.db", "/var/x/calls.db"),
        ("sqlite:////var/x/shop.db", "/var/x/shop.db", "/var/x/shop-calls.db"),
        ("sqlite:////var/x/shop", "/var/x/shop", "/var/x/shop-calls"),
        ("sqlite:////var/x/", "/var/x/state.db", "/var/x/calls.db"),
        ("sqlite:////tmp", "/tmp/state.db", "/tmp/calls.db"),
        ("sqlite:///x/state.db", "x/state.db", "x/calls.db"),
        ("sqlite+pysqlite:///x/state.db", "x/state.db", "x/calls.db"),
    ],
)
def test_a_sqlite_url_names_two_files(url: str, state: str, calls: str) -> None:
    assert locate(url, Path("unused")) == SqliteFiles(state=Path(state), calls=Path(calls))


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg", "postgres"])
def test_a_postgresql_url_names_one_database_for_both(scheme: str) -> None:
    place = locate(f"{scheme}://user:secret@host:1/db?sslmode=require", Path("unused"))
    assert place == PostgresPlace(url="postgresql://user:secret@host:1/db?sslmode=require")
    assert "secret" not in repr(place)


@pytest.mark.parametrize("opens", ["open_store", "open_call_log"])
def test_without_its_driver_postgresql_is_refused_with_the_way_to_install_it(
    opens: str, tmp_path: Path
) -> None:
    program = (
        "import sys, pathlib; sys.modules['psycopg'] = None\n"
        "from raysume.storage import opening\n"
        f"opening.{opens}('postgresql://user:secret@host/db', pathlib.Path())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("raysume.errors.ConfigurationError")
    assert "pip install 'raysume[postgres]'" in last
    assert "secret" not in last


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///",
        "mysql://u:secret@h/d",
        "postgresql://",
        "secret",
        "memory://x",
        "state.db",
    ],
)
def test_any_other_url_is_refused_with_examples(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="sqlite:///") as refused:
        open_store(url, tmp_path)
    assert "secret" not in str(refused.value)
