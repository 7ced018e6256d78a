"""Every test of this folder runs against every adapter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from raysume.storage.call_ports import CallLog
from raysume.storage.memory.calls import MemoryCallLog
from raysume.storage.memory.state import MemoryStore
from raysume.storage.ports import Store
from raysume.storage.sqlite.calls import SqliteCallLog
from raysume.storage.sqlite.state import SqliteStore

ADAPTERS = ("memory", "sqlite")
DURABLE_ADAPTERS = ("sqlite",)


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.us = 1_700_000_000_000_000

    def __call__(self) -> int:
        return self.us


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=ADAPTERS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made: Store = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "state.db")
    yield made
    made.close()


@pytest.fixture(params=ADAPTERS)
def log(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[CallLog]:
    made: CallLog = (
        MemoryCallLog(now_us=clock)
        if request.param == "memory"
        else SqliteCallLog(tmp_path / "calls.db", now_us=clock)
    )
    yield made
    made.close()


@pytest.fixture(params=DURABLE_ADAPTERS)
def open_store(tmp_path: Path) -> Iterator[Callable[[], Store]]:
    """Opens the same durable store again and again."""
    opened: list[Store] = []

    def open_again() -> Store:
        opened.append(SqliteStore(tmp_path / "state.db"))
        return opened[-1]

    yield open_again
    for store in opened:
        store.close()


@pytest.fixture(params=DURABLE_ADAPTERS)
def open_log(tmp_path: Path, clock: Clock) -> Iterator[Callable[[], CallLog]]:
    """Opens the same durable call log again and again."""
    opened: list[CallLog] = []

    def open_again() -> CallLog:
        opened.append(SqliteCallLog(tmp_path / "calls.db", now_us=clock))
        return opened[-1]

    yield open_again
    for log in opened:
        log.close()
