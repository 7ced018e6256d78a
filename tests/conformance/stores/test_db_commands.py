"""`raysume db`: what tables there are, and making them, in files and on a server."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from click.testing import CliRunner, Result
from scale_tests.postgres_server import PostgresServer

from raysume.serve_apps.cli.root import raysume
from raysume.storage import schema
from raysume.storage.opening import open_call_log, open_store
from raysume.storage.revisions import schemas_found

PASSWORD = "not-to-be-seen"


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without any tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/state.db"
        return
    server: PostgresServer = request.getfixturevalue("server")
    name = next(request.getfixturevalue("database_names"))
    yield server.create_database(name)
    server.drop_database(name)


def run(url: str, *words: str, input: str | None = None) -> Result:
    result = CliRunner().invoke(
        raysume, ["db", *words], env={"RAYSUME_DATABASE_URL": url}, input=input
    )
    assert (urlsplit(url).password or PASSWORD) not in result.output
    return result


def standings(url: str) -> dict[str, str]:
    """kind -> how it stands, as the command prints it."""
    result = run(url, "status", "-o", "json")
    printed: list[dict[str, Any]] = json.loads(result.stdout)
    assert result.exit_code == (0 if all(one["standing"] == "current" for one in printed) else 5)
    return {one["kind"]: one["standing"] for one in printed}


def stamp(url: str, kind: schema.Kind, revision: str) -> None:
    """The tables of the kind are of this revision, as far as they say themselves."""
    statement = f"UPDATE {{}}alembic_version SET version_num = '{revision}'"
    if url.startswith("sqlite"):
        [file] = [one.database for one in schemas_found(url, Path()) if one.kind == kind]
        with closing(sqlite3.connect(file)) as connection, connection:
            connection.execute(statement.format(""))
        return
    with psycopg.connect(url, autocommit=True) as server:
        server.execute(statement.format(f"raysume_{kind}.").encode())


def test_looking_makes_nothing_and_says_how_to(url: str) -> None:
    for _ in range(2):
        assert standings(url) == {"state": "missing", "calls": "missing"}
    assert "`raysume db migrate` makes them" in run(url, "status").output


def test_tables_are_made_when_asked_and_agreed(url: str) -> None:
    tried = run(url, "migrate", "--dry-run")
    assert "state: no tables -> state_" in tried.output
    assert run(url, "migrate", input="n\n").exit_code == 1
    assert standings(url) == {"state": "missing", "calls": "missing"}
    assert run(url, "migrate", input="y\n").exit_code == 0
    assert standings(url) == {"state": "current", "calls": "current"}
    assert "Everything is current." in run(url, "migrate").output


def test_what_the_engine_has_made_is_current(url: str, tmp_path: Path) -> None:
    open_store(url, tmp_path).close()
    assert standings(url) == {"state": "current", "calls": "missing"}
    open_call_log(url, tmp_path).close()
    assert standings(url) == {"state": "current", "calls": "current"}


def test_tables_of_an_earlier_release_are_behind(url: str) -> None:
    run(url, "migrate", "--yes")
    stamp(url, "calls", schema.REVISIONS["calls"][0])
    assert standings(url) == {"state": "current", "calls": "behind"}
    told = run(url, "migrate", "--dry-run").output
    assert f"calls: {schema.REVISIONS['calls'][0]} -> {schema.REVISIONS['calls'][-1]}" in told
    assert "state:" not in told


def test_tables_of_a_later_release_are_left_alone(url: str) -> None:
    run(url, "migrate", "--yes")
    stamp(url, "state", "state_0999")
    assert standings(url) == {"state": "ahead", "calls": "current"}
    assert "A later release made them" in run(url, "status").output
    refused = run(url, "migrate", "--yes")
    assert refused.exit_code == 2
    assert "state_0999" in refused.output
    assert standings(url)["state"] == "ahead"


def test_a_server_that_cannot_be_reached_is_unhealthy_and_its_password_stays_hidden() -> None:
    result = run(f"postgresql://somebody:{PASSWORD}@127.0.0.1:1/nothing", "status")
    assert result.exit_code == 5
    assert "Start the server" in result.output


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(b"certainly not a database " * 100)
    result = run(f"sqlite:///{path}", "status")
    assert result.exit_code == 2
    assert str(path) in result.output
    assert path.read_bytes().startswith(b"certainly")


def test_memory_has_no_tables() -> None:
    result = run("memory://", "status")
    assert result.exit_code == 0
    assert "has no tables" in result.output
