"""Every test of this folder runs against every adapter."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from scale_tests.postgres_server import PostgresServer
from tests.conformance.stores.written import StartWriter, writers

from raysume.storage.call_ports import CallLog
from raysume.storage.memory.calls import MemoryCallLog
from raysume.storage.memory.state import MemoryStore
from raysume.storage.ports import Store
from raysume.storage.postgres.calls import PostgresCallLog
from raysume.storage.postgres.state import PostgresStore
from raysume.storage.sqlite.calls import SqliteCallLog
from raysume.storage.sqlite.state import SqliteStore

ADAPTERS = ("memory", "sqlite", "postgres")
DURABLE_ADAPTERS = ("sqlite", "postgres")

_TEMPLATE = "ready"
"""A database that has all tables: copying it takes a tenth of a second."""


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.us = 1_700_000_000_000_000

    def __call__(self) -> int:
        return self.us


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL server that no test stops."""
    with PostgresServer() as started:
        url = started.create_database(_TEMPLATE)
        PostgresStore(url).close()
        PostgresCallLog(url).close()
        yield started


@pytest.fixture(scope="session")
def database_names() -> Iterator[str]:
    return (f"test{number}" for number in itertools.count())


@pytest.fixture
def postgres_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A database of its own with all tables; the server starts with the first test that asks."""
    started: PostgresServer = request.getfixturevalue("server")
    name = next(request.getfixturevalue("database_names"))
    yield started.create_database(name, template=_TEMPLATE)
    started.drop_database(name)


@pytest.fixture
def start_writer() -> Iterator[StartWriter]:
    """Starts a program of writers.py on a folder or database; it ends with the test."""
    with writers() as start:
        yield start


Opener = Callable[[], Store]
LogOpener = Callable[[], CallLog]


def _open_store(request: pytest.FixtureRequest, adapter: str) -> Opener:
    if adapter == "sqlite":
        path: Path = request.getfixturevalue("tmp_path")
        return lambda: SqliteStore(path / "state.db")
    if adapter == "postgres":
        url: str = request.getfixturevalue("postgres_url")
        return lambda: PostgresStore(url)
    return MemoryStore


def _open_log(request: pytest.FixtureRequest, adapter: str, clock: Clock) -> LogOpener:
    if adapter == "sqlite":
        path: Path = request.getfixturevalue("tmp_path")
        return lambda: SqliteCallLog(path / "calls.db", now_us=clock)
    if adapter == "postgres":
        url: str = request.getfixturevalue("postgres_url")
        return lambda: PostgresCallLog(url, now_us=clock)
    return lambda: MemoryCallLog(now_us=clock)


@pytest.fixture(params=ADAPTERS)
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    made = _open_store(request, request.param)()
    yield made
    made.close()


@pytest.fixture(params=("memory", "sqlite"))
def local_store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """A store of this machine alone."""
    made = _open_store(request, request.param)()
    yield made
    made.close()


@pytest.fixture
def shared_store(postgres_url: str) -> Iterator[Store]:
    """A store that other machines may use too."""
    made = PostgresStore(postgres_url)
    yield made
    made.close()


@pytest.fixture(params=ADAPTERS)
def log(request: pytest.FixtureRequest, clock: Clock) -> Iterator[CallLog]:
    made = _open_log(request, request.param, clock)()
    yield made
    made.close()


@pytest.fixture(params=DURABLE_ADAPTERS)
def open_store(request: pytest.FixtureRequest) -> Iterator[Callable[[], Store]]:
    """Opens the same durable store again and again."""
    opened: list[Store] = []
    open_one = _open_store(request, request.param)

    def open_again() -> Store:
        opened.append(open_one())
        return opened[-1]

    yield open_again
    for store in opened:
        store.close()


@pytest.fixture(params=DURABLE_ADAPTERS)
def open_log(request: pytest.FixtureRequest, clock: Clock) -> Iterator[Callable[[], CallLog]]:
    """Opens the same durable call log again and again."""
    opened: list[CallLog] = []
    open_one = _open_log(request, request.param, clock)

    def open_again() -> CallLog:
        opened.append(open_one())
        return opened[-1]

    yield open_again
    for log in opened:
        log.close()
