"""The whole engine on PostgreSQL: what it keeps there, and that it goes on when the server is back."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from scale_tests.postgres_server import PostgresServer
from tests.integration.cluster.running import Engine, started_by, until

from raysume import Client
from raysume.client import Run
from raysume.errors import Fenced
from raysume.storage.postgres.state import PostgresStore

WORKFLOWS = Path(__file__).with_name("kept_workflows.py")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as started:
        yield started


@pytest.fixture(scope="module")
def engine(server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    started = Engine(
        WORKFLOWS,
        tmp_path_factory.mktemp("engine") / "data",
        RAYSUME_DATABASE_URL=server.create_database("engine"),
        RAYSUME_SEAL_KEY=secrets.token_hex(32),
    ).start()
    yield started
    assert started.stop() == 0


def beginning(client: Client, name: str) -> Run[Any]:
    """A visit that has begun and waits for its end."""
    call = client.push("visits.arrived", input={"name": name}, output=True)
    run = started_by(client, "visit", call)
    until(lambda: True if [wait["method"] for wait in waits_of(run)] == ["visits.left"] else None)
    return run


def waits_of(run: Run[Any]) -> list[dict[str, Any]]:
    return list(run.describe().waits)


def end(client: Client, run: Run[Any], name: str) -> Any:
    client.push("visits.left", input={"name": name}, output=True)
    return run.result(timeout=60)


def test_an_instance_goes_through_its_life_in_postgresql_alone(
    engine: Engine, server: PostgresServer
) -> None:
    with engine.client() as client:
        assert end(client, beginning(client, "ann"), "ann") == "hello ann, goodbye"
    assert list(engine.data_dir.glob("*.db")) == []
    assert not (engine.data_dir / "seal.key").exists()
    with psycopg.connect(server.url("engine")) as connection:
        [calls] = connection.execute('SELECT sum("count") FROM raysume_calls.segment').fetchall()
    assert calls == (2,)


def test_work_goes_on_by_itself_after_the_server_was_stopped_immediately_and_its_pool_killed(
    engine: Engine, server: PostgresServer
) -> None:
    with engine.client() as client:
        run = beginning(client, "bob")
        server.stop_immediately()
        with engine.http() as http:
            refused = http.post(
                "/v1/calls", json={"method": "visits.left", "input": {"name": "x"}, "output": True}
            )
        assert refused.status_code == 503
        engine.kill("visit@")
        server.start()
        assert end(client, run, "bob") == "hello bob, goodbye"


def test_a_directory_that_has_a_successor_ends_and_changes_nothing(
    engine: Engine, server: PostgresServer
) -> None:
    former = engine.pid_of("raysume-directory")
    with closing(PostgresStore(server.url("engine"))) as store:
        # As a directory on another machine does that begins while this one goes on.
        taken = store.take_office("directory", owner="1:0:another")
        scaled = engine.command("workflow", "scale", "visit", "--members", "2")
        assert scaled.returncode == 0, scaled.stderr
        engine.pid_of("raysume-directory", other_than=former)
        with pytest.raises(Fenced, match=f"under epoch {taken.epoch + 1}"):
            store.check_office(taken)
        with engine.client() as client:
            assert end(client, beginning(client, "eve"), "eve") == "hello eve, goodbye"


def test_the_doctor_shows_the_database_without_its_password(
    engine: Engine, server: PostgresServer
) -> None:
    shown = engine.command("doctor")
    assert shown.returncode == 0, shown.stdout
    assert f"127.0.0.1:{server.port}/engine" in shown.stdout
    password = server.url().partition("://postgres:")[2].partition("@")[0]
    assert password not in shown.stdout + shown.stderr


def test_an_engine_without_a_given_key_is_refused_before_it_starts(
    server: PostgresServer, tmp_path: Path
) -> None:
    engine = Engine(
        WORKFLOWS, tmp_path / "data", RAYSUME_DATABASE_URL=server.create_database("keyless")
    )
    printed = engine.refuses_to_start()
    assert "RAYSUME_SEAL_KEY" in printed
    assert "every node" in printed
