"""The call log cannot be written for a while: 503, a reason, nothing lost, and then on by itself."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.integration.ingress.processes import (
    Replica,
    as_a_pool_sees_them,
    replicas,
    small_disk,
    until,
)
from tests.unit.ingress.fakes import as_json, call

from raysume.limits import PARTITION_LEASE_S
from raysume.records import Segment
from raysume.serve_apps.ingress.acceptance import Acceptor
from raysume.storage.call_ports import Batch, NewCall, Partition
from raysume.storage.sqlite import connections
from raysume.storage.sqlite.calls import SqliteCallLog

HOUR_US = 3_600_000_000

Push = Callable[[Replica], Any]


class Client:
    """Pushes calls with ids of its own, and keeps what it was told."""

    def __init__(self) -> None:
        self.sent = 0
        self.acknowledged: list[str] = []
        self.refused: list[str] = []
        self.last: httpx.Response

    async def push(self, replica: Replica) -> int:
        """A new call is sent; gives the status of the answer."""
        self.sent += 1
        id = f"c{self.sent}"
        sent = call(id=id, input={"order": {"id": 1}, "user": "x" * 20_000})
        self.last = await replica.client.post("/v1/calls", content=as_json(sent))
        told = self.acknowledged if self.last.status_code in (200, 202) else self.refused
        told.append(id)
        return self.last.status_code

    async def until_refused(self, replica: Replica) -> dict[str, Any]:
        """Calls were accepted until one was not; gives the problem of that one."""
        async with asyncio.timeout(60):
            while await self.push(replica) == 202:
                pass
        assert self.last.status_code == 503, self.last.text
        assert self.last.headers["content-type"] == "application/problem+json"
        assert int(self.last.headers["retry-after"]) >= 1
        problem: dict[str, Any] = self.last.json()
        return problem


async def is_well(replica: Replica) -> bool:
    return bool((await replica.health())["status"] == "ok")


async def test_a_full_disk_stops_acceptance_until_there_is_room(tmp_path: Path) -> None:
    client = Client()
    with small_disk(tmp_path / "disk", megabytes=8) as disk:
        database = disk.folder / "calls.db"
        async with replicas(database, 2) as (left, right):
            for replica in (left, right):
                assert await client.push(replica) == 202
            disk.fill()
            for replica in (left, right):
                await client.until_refused(replica)
                health = await replica.client.get("/v1/health")
                assert health.status_code == 503
                assert health.json()["status"] == "unavailable"
                assert "full" in health.json()["detail"]
                assert await client.push(replica) == 503
            disk.free()
            for replica in (left, right):
                await until(lambda: is_well(replica))  # noqa: B023
                assert await client.push(replica) == 202
        with closing(SqliteCallLog(database)) as log:
            stored = as_a_pool_sees_them(log)
    assert len(stored) == len(set(stored))
    assert set(client.acknowledged) <= set(stored)
    assert set(stored) <= set(client.acknowledged) | set(client.refused)


async def test_a_disk_that_fails_in_a_running_process_stops_acceptance_until_it_works(
    tmp_path: Path,
) -> None:
    client = Client()
    database = tmp_path / "calls.db"
    async with replicas(database, 1) as [only]:
        assert await client.push(only) == 202
        _, hard = resource.prlimit(only.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(only.process.pid, resource.RLIMIT_FSIZE, (0, hard))
        await client.until_refused(only)
        await until(lambda: only.client.get("/v1/health"))
        assert (await only.health())["status"] == "unavailable"
        resource.prlimit(only.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
        await until(lambda: is_well(only))
        assert await client.push(only) == 202
    with closing(SqliteCallLog(database)) as log:
        assert set(client.acknowledged) <= set(as_a_pool_sees_them(log))


# --- acceptance alone, over a real file --------------------------------------------------


class Told:
    """What an acceptor says is to be delivered."""

    def __init__(self) -> None:
        self.segments: list[Segment] = []

    def __call__(self, segments: list[Segment], _: list[Partition]) -> None:
        self.segments += segments


@asynccontextmanager
async def accepting(log: SqliteCallLog, told: Told) -> AsyncGenerator[Acceptor]:
    acceptor = Acceptor(log, owner="1:0:test", emit=told, look_s=0.05)
    await acceptor.start()
    try:
        yield acceptor
    finally:
        await acceptor.stop()


def one(id: str) -> Batch:
    new = NewCall(id=id, method="m", service="s", input=b"{}", client_id=True)
    return Batch(calls=[new])


async def test_a_read_only_database_stops_acceptance_until_it_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(SqliteCallLog(tmp_path / "calls.db")) as log:
        told = Told()
        async with accepting(log, told) as acceptor:
            await acceptor.accept(one("before"))
            writable = connections._WRITER_PRAGMAS  # pyright: ignore[reportPrivateUsage]
            monkeypatch.setattr(connections, "_WRITER_PRAGMAS", (*writable, "PRAGMA query_only=1"))
            database = log._database  # pyright: ignore[reportPrivateUsage]
            with database._turn:  # pyright: ignore[reportPrivateUsage]
                database._drop_writer()  # pyright: ignore[reportPrivateUsage]
            await until(lambda: acceptor.trouble is not None)
            assert acceptor.trouble is not None
            assert "write access" in acceptor.trouble
            monkeypatch.setattr(connections, "_WRITER_PRAGMAS", writable)
            await until(lambda: acceptor.trouble is None)
            await acceptor.accept(one("after"))
        assert as_a_pool_sees_them(log) == ["before", "after"]


@pytest.mark.parametrize("jumps", [(HOUR_US, -HOUR_US), (-HOUR_US, HOUR_US)], ids=["on", "back"])
async def test_a_clock_that_jumps_an_hour_stops_nobody_and_times_never_go_back(
    tmp_path: Path, jumps: tuple[int, ...]
) -> None:
    clock_us = [1_700_000_000_000_000]
    path = tmp_path / "calls.db"
    with (
        closing(SqliteCallLog(path, now_us=lambda: clock_us[0])) as first,
        closing(SqliteCallLog(path, now_us=lambda: clock_us[0])) as second,
    ):
        told = Told()
        async with accepting(first, told) as left, accepting(second, told) as right:
            for n, jump_us in enumerate((0, *jumps, int(PARTITION_LEASE_S * 1e6) // 2)):
                clock_us[0] += jump_us
                for m, acceptor in enumerate((left, right, left)):
                    accepted = await acceptor.accept(one(f"{n}-{m}"))
                    assert list(accepted.outcomes) == ["accepted"]
            assert (left.trouble, right.trouble) == (None, None)
        expected = [f"{n}-{m}" for n in range(len(jumps) + 2) for m in range(3)]
        assert as_a_pool_sees_them(first) == expected
        times = [segment.calls[0].at_us for segment in sorted(told.segments, key=lambda s: s.pos)]
        assert times == sorted(times)
        assert len(times) == len(expected)
