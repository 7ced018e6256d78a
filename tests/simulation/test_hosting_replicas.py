"""A pool's host on real files, and calls that come through several ingress replicas."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from pydantic import BaseModel
from tests.simulation.hosting import Hosted

from raysume import external_call, limits, wait, workflow
from raysume.actors.forgetting import forget_once
from raysume.records import Segment
from raysume.storage.moments import from_us, wall_clock_us


class Thing(BaseModel):
    """What the calls carry."""

    key: str = ""
    n: int = 0


begun = external_call("replicas.begun", input=Thing)
more = external_call("replicas.more", input=Thing)
other = external_call("replicas.other", input=Thing)


@workflow
async def in_order() -> list[int]:
    first = await wait(begun).match_any()
    got: list[int] = []
    while len(got) < first.input.n:
        got.append((await wait(more).match(key=first.input.key)).input.n)
    return got


@pytest.fixture
def pool(tmp_path: Path) -> Hosted:
    """A pool on the test's files."""
    return Hosted(tmp_path, in_order, begun, more)


def replicas(pool: Hosted, count: int) -> list[int]:
    """The partition of the pool's ingress, and of others."""
    more_of_them = [pool.log.open_partition(owner="1:0:replica").id for _ in range(count - 1)]
    return [pool.partition, *more_of_them]


def push_in_turn(pool: Hosted, partitions: list[int], numbers: int, seed: int) -> list[Segment]:
    """One client's calls reach the log through all replicas; nobody is told."""
    rng = random.Random(seed)
    segments = [pool.accept((begun, {"key": "a", "n": numbers}))]
    for n in range(numbers):
        pool.partition = rng.choice(partitions)
        segments.append(pool.accept((more, {"key": "a", "n": n}), (other, {})))
    return segments


@pytest.mark.parametrize("seed", range(3))
async def test_an_instance_sees_a_clients_calls_in_order_through_any_replicas(
    pool: Hosted, seed: int
) -> None:
    async with pool:
        segments = push_in_turn(pool, replicas(pool, 3), 40, seed)
        order = list(segments)
        random.Random(seed).shuffle(order)
        for segment in order:
            pool.tell(segment)
        for segment in segments:
            await pool.applied(segment)
        assert await pool.result(pool.only.id) == list(range(40))
        assert pool.host.kernel.intake.waiting == 0


async def test_what_a_replica_does_not_deliver_is_read_from_the_log(pool: Hosted) -> None:
    async with pool:
        left, right = replicas(pool, 2)
        segments = push_in_turn(pool, [left, right], 30, seed=7)
        assert {one.partition for one in segments} == {left, right}
        for segment in segments:
            if segment.partition == segments[-1].partition:
                pool.tell(segment)
        await pool.applied(segments[-1])
        assert await pool.result(pool.only.id) == list(range(30))


async def test_what_waits_for_another_replica_counts_as_lag(pool: Hosted) -> None:
    async with pool:
        left, right = replicas(pool, 2)
        first = pool.accept((begun, {"key": "a", "n": 2}))
        pool.partition = right
        behind = pool.accept((more, {"key": "a", "n": 1}), (more, {"key": "a", "n": 2}))
        pool.log.failures = 1_000_000
        pool.tell(behind)
        await pool.until(lambda: pool.host.kernel.intake.waiting == 2)
        assert pool.tell(behind) == 2 + 2, "two wait in the intake, two have just come"
        pool.log.failures = 0
        assert first.partition == left
        pool.tell(first)
        await pool.applied(behind)
        assert await pool.result(pool.only.id) == [1, 2]


async def test_a_pool_far_behind_holds_little_of_the_log_at_once(
    pool: Hosted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "DELIVERY_CALLS_MAX", 20)
    monkeypatch.setattr(limits, "COMMIT_EVENTS_MAX", 10)
    partitions = replicas(pool, 2)
    push_in_turn(pool, partitions, 200, seed=1)
    ends = {one.id: one.next_offset for one in pool.log.partitions()}
    assert min(ends.values()) > 100
    async with pool:
        pool.store.gate.clear()
        await pool.until(pool.store.at_gate.is_set)
        for _ in range(30):  # whoever reads on has its turn before each of these
            await pool.host.effects.read(lambda log: log.partitions())
        pool.store.gate.set()
        async with asyncio.timeout(20):
            await pool.host.caught_up(ends)
        assert await pool.result(pool.only.id) == list(range(200))
        assert pool.host.most_waiting <= 2 * 3 * 20 // 2, "half of all calls are for the pool"


async def test_a_partition_that_the_log_forgot_leaves_memory_and_what_is_saved(
    pool: Hosted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raysume.storage.leases._KEPT_US", -1_000_000)
    async with pool:
        closed, living = replicas(pool, 2)
        gone = pool.push(begun, key="a", n=2)
        await pool.applied(gone)
        pool.log.close_partition(closed)
        pool.partition = living
        await pool.applied(pool.push(more, key="a", n=1))
        assert pool.host.kernel.watermarks == {closed: 1, living: 1}
        deleted = pool.log.delete_before(from_us(wall_clock_us()), applied={closed: 1})
        assert deleted.partitions == 1
        await forget_once(pool.host)
        assert pool.host.kernel.watermarks == {living: 1}
        pool.tell(gone)
        await pool.applied(pool.push(more, key="a", n=2))
        assert await pool.result(pool.only.id) == [1, 2]
        await pool.host.checkpoint()
    async with Hosted(tmp_path, in_order, begun, more) as again:
        assert len(again.host.kernel.instances) + len(again.host.kernel.ended) == 1
