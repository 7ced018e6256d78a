"""Two ingress processes over one call log: one dies or sleeps in the middle of a publisher's stream."""

from __future__ import annotations

import asyncio
import itertools
import random
import signal
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.integration.ingress.processes import (
    Replica,
    as_a_pool_sees_them,
    replicas,
    until,
)
from tests.unit.ingress.fakes import as_json, call

from raysume.storage.sqlite.calls import SqliteCallLog

SIZE = 5
"""Calls of one request."""


def body(name: str, n: int) -> bytes:
    return as_json([call(n, id=f"{name}-{n}-{m}") for m in range(SIZE)])


def numbered(name: str, n: int) -> dict[str, str]:
    return {"Raysume-Publisher": name, "Raysume-Sequence": str(n * SIZE + 1)}


async def send(served: list[Replica], rng: random.Random, name: str, n: int) -> None:
    """The batch is acknowledged, by whichever replica answers in the end."""
    for _ in range(200):
        try:
            answer = await rng.choice(served).client.post(
                "/v1/calls:batch", content=body(name, n), headers=numbered(name, n)
            )
        except httpx.HTTPError:
            continue
        if answer.status_code in (200, 202):
            return
        assert answer.status_code in (429, 503), answer.text
    raise AssertionError("no replica took the batch")


async def publish(served: list[Replica], name: str, batches: int, more: asyncio.Event) -> None:
    rng = random.Random(name)
    for n in range(batches):
        await send(served, rng, name, n)
        if n == batches // 3:
            more.set()


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
async def test_a_publishers_calls_are_stored_once_and_in_order_though_a_replica_fails(
    tmp_path: Path, blow: signal.Signals
) -> None:
    names, batches = "abc", 60
    async with replicas(tmp_path / "calls.db", 2) as served:
        marks = [asyncio.Event() for _ in names]
        jobs = [
            asyncio.create_task(publish(served, name, batches, mark))
            for name, mark in zip(names, marks, strict=True)
        ]
        await marks[0].wait()
        served[0].signal(blow)
        if blow is signal.SIGSTOP:
            with closing(SqliteCallLog(tmp_path / "calls.db")) as log:
                await until(lambda: any(not one.open for one in log.partitions()))
            served[0].signal(signal.SIGCONT)
        await asyncio.gather(*jobs)
    with closing(SqliteCallLog(tmp_path / "calls.db")) as log:
        assert len({one.id for one in log.partitions()}) >= 2
        applied = as_a_pool_sees_them(log)
    for name in names:
        mine = [one for one in applied if one.startswith(f"{name}-")]
        assert mine == [f"{name}-{n}-{m}" for n in range(batches) for m in range(SIZE)]


async def test_a_replica_that_slept_while_it_was_adopted_answers_what_it_was_asked(
    tmp_path: Path,
) -> None:
    with closing(SqliteCallLog(tmp_path / "calls.db")) as log:
        async with replicas(tmp_path / "calls.db", 2) as (sleeper, other):
            asleep, shared = numbered("asleep", 0), numbered("shared", 0)
            await sleeper.client.post("/v1/calls", content=as_json(call(id="first")))
            [mine] = [one.id for one in log.partitions() if one.next_offset == 1]
            sleeper.signal(signal.SIGSTOP)
            requests: list[Any] = [
                sleeper.client.post("/v1/calls", content=as_json(call(id="second"))),
                sleeper.client.post("/v1/calls", content=as_json(call(1, id=None))),
                sleeper.client.post("/v1/calls:batch", content=body("a", 0), headers=asleep),
                sleeper.client.post("/v1/calls:batch", content=body("b", 0), headers=shared),
            ]
            waiting = [asyncio.create_task(one) for one in requests]
            await until(lambda: mine in [one.id for one in log.partitions() if not one.open])
            answer = await other.client.post(
                "/v1/calls:batch", content=body("b", 0), headers=shared
            )
            assert answer.status_code == 202
            sleeper.signal(signal.SIGCONT)
            answers = await asyncio.gather(*waiting)
            assert [one.status_code for one in answers] == [202, 202, 202, 200]
            made = answers[1].json()["id"]
            again = await other.client.post("/v1/calls", content=as_json(call(id="second")))
            assert (again.status_code, again.json()["duplicate"]) == (200, True)
            changed = await other.client.post("/v1/calls", content=as_json(call(2, id="second")))
            assert changed.status_code == 409
        applied = as_a_pool_sees_them(log)
        expected = ["first", "second", made, *(f"{n}-0-{m}" for n in "ab" for m in range(SIZE))]
        assert sorted(applied) == sorted(expected)


async def test_what_one_replica_answered_comes_before_what_another_one_is_asked_then(
    tmp_path: Path,
) -> None:
    async with replicas(tmp_path / "calls.db", 2) as served:
        for n, replica in zip(range(40), itertools.cycle(served), strict=False):
            answer = await replica.client.post("/v1/calls", content=as_json(call(id=f"c{n}")))
            assert answer.status_code == 202
    with closing(SqliteCallLog(tmp_path / "calls.db")) as log:
        assert as_a_pool_sees_them(log) == [f"c{n}" for n in range(40)]
