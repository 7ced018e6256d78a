"""What is old goes, on real files: instances from a pool's store, calls from its log."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel
from tests.simulation.hosting import SEAL, Hosted

from raysume import external_call, limits, wait, workflow
from raysume.actors import handover
from raysume.actors.cleaning import Cleaner, Deployed
from raysume.actors.handover import Boundary, Record
from raysume.actors.kernel.commits import CancelAsked, RetryAsked
from raysume.actors.kernel.records import START_OF_LOG
from raysume.actors.loading import Target
from raysume.actors.needs import needs_of
from raysume.actors.specs import PoolSpec
from raysume.errors import Unavailable
from raysume.storage.call_ports import CallQuery
from raysume.storage.moments import wall_clock_us
from raysume.storage.ports import InstanceQuery


class Thing(BaseModel):
    """What the calls carry."""

    key: str = ""


begun = external_call("retained.begun", input=Thing)
more = external_call("retained.more", input=Thing)

HOUR = timedelta(hours=1)
HOUR_US = HOUR // timedelta(microseconds=1)


@workflow
async def paired() -> str:
    first = await wait(begun).match_any()
    await wait(more).match(key=first.input.key)
    return first.input.key


trouble = ["the disk is full"]


@workflow
async def failing() -> str:
    first = await wait(begun).match_any()
    await wait(more).match(key=first.input.key)
    if trouble:
        raise OSError(*trouble)
    return first.input.key


SPEC = PoolSpec(
    workflow="paired",
    version="1",
    target=Target(module="tests.simulation.test_retention", folder=None),
    methods=frozenset({begun.urn, more.urn}),
)


class Running:
    """The pools of a directory: one that runs, or none."""

    def __init__(self, hosted: Hosted | None = None) -> None:
        self.hosted = hosted
        self.trouble: Exception | None = None

    def __contains__(self, name: object) -> bool:
        return self.hosted is not None and name == SPEC.name

    async def ask_all(self, name: str, method: str, *arguments: Any) -> list[Any]:
        """What the pool's only member answers."""
        assert (name in self, method, arguments) == (True, "needs", ())
        assert self.hosted is not None
        if self.trouble is not None:
            raise self.trouble
        return [msgspec.msgpack.encode(await needs_of(self.hosted.host))]


def cleaner(hosted: Hosted, pools: Running, *, is_active: bool = True) -> Cleaner:
    """A cleaner an hour and a little later, for a retention of an hour."""
    return Cleaner(
        hosted.store,
        pools,
        open_log=lambda: hosted.log,
        seal=lambda: SEAL,
        deployed=lambda: [Deployed(spec=SPEC, is_active=is_active)],
        retention=HOUR,
        now_us=lambda: wall_clock_us() + HOUR_US + 1_000_000,
    )


def left(hosted: Hosted) -> list[str]:
    """The methods of the calls in the log."""
    return [found.call.method for found in hosted.log.list_calls(CallQuery())]


async def test_a_pool_removes_its_old_instances_with_its_checkpoints(tmp_path: Path) -> None:
    async with Hosted(tmp_path, paired, begun, more) as pool:
        await pool.applied(pool.push(begun, key="a"))
        await pool.applied(pool.push(begun, key="b"))
        await pool.applied(pool.push(more, key="a"))
        await pool.host.flushed()
        await pool.host.checkpoint()
        [waiting] = pool.host.kernel.instances.values()
        [ended] = pool.host.kernel.ended
        await pool.host.checkpoint()
        assert pool.host.kernel.ended.keys() == {ended}
    async with Hosted(tmp_path, paired, begun, more, history_retention=timedelta(0)) as later:
        await later.host.checkpoint()
        rows = later.store.list_instances(InstanceQuery())
        assert [row.id for row in rows] == [waiting.id]
        assert later.host.kernel.ended == {}
        assert await later.readings.describe(ended) is None
    async with Hosted(tmp_path, paired, begun, more) as again:
        assert again.only.id == waiting.id


async def test_the_checkpoint_loop_goes_on_until_all_that_is_old_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "INSTANCES_REMOVED_MAX", 2)
    monkeypatch.setattr(limits, "REMOVAL_PAUSE_S", 0.0)
    async with Hosted(tmp_path, paired, begun, more) as pool:
        for key in "abcde":
            pool.push(begun, key=key)
            await pool.applied(pool.push(more, key=key))
        await pool.host.flushed()
    async with Hosted(tmp_path, paired, begun, more, history_retention=timedelta(0)) as again:
        await again.until(lambda: not again.host.kernel.instances and not again.host.kernel.ended)
        assert again.store.list_instances(InstanceQuery()) == []


async def test_old_calls_go_once_the_pool_has_applied_them(tmp_path: Path) -> None:
    async with Hosted(tmp_path, paired, begun, more) as pool:
        await pool.applied(pool.push(begun, key="a"))
        pool.accept((more, {"key": "a"}))  # nobody has told the pool
        assert await cleaner(pool, Running(pool)).clean() == 1
        assert left(pool) == [more.urn]
        pool.host.notice({pool.partition: 2})
        await pool.until(lambda: pool.host.kernel.watermarks[pool.partition] == 2)
        assert await cleaner(pool, Running(pool)).clean() == 1
        assert left(pool) == []


async def test_what_was_applied_and_is_not_durable_yet_stays(tmp_path: Path) -> None:
    async with Hosted(tmp_path, paired, begun, more) as pool:
        await pool.host.flushed()
        pool.store.gate.clear()
        await pool.applied(pool.push(begun, key="a"))
        asking = asyncio.ensure_future(needs_of(pool.host))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not asking.done()
        pool.store.gate.set()
        assert (await asking).applied == {pool.partition: 1}


async def test_calls_that_a_wait_is_searching_for_stay(tmp_path: Path) -> None:
    async with Hosted(tmp_path, paired, begun, more) as pool:
        await pool.applied(pool.push(begun, key="a"))
        [instance] = pool.host.kernel.instances.values()
        [wait_id] = instance.waits
        pool.host.kernel.looking[instance.id, wait_id] = START_OF_LOG
        assert await cleaner(pool, Running(pool)).clean() == 0
        del pool.host.kernel.looking[instance.id, wait_id]
        assert await cleaner(pool, Running(pool)).clean() == 1


async def test_an_inbox_holds_its_calls_itself(tmp_path: Path) -> None:
    async with Hosted(tmp_path, failing, begun, more) as pool:
        await pool.applied(pool.push(begun, key="a"))
        await pool.applied(pool.push(more, key="a"))
        await pool.host.flushed()
        assert pool.only.status == "failed"
        assert [type(one).__name__ for one in pool.only.inbox] == ["CallMet"]
        assert await cleaner(pool, Running(pool)).clean() == 2
        trouble.clear()
        [id] = pool.host.kernel.instances
        await pool.host.answers.ask(lambda token: RetryAsked(instance=id, token=token))
        assert await pool.result(id) == "a"


async def test_nothing_goes_while_a_pool_does_not_answer(tmp_path: Path) -> None:
    async with Hosted(tmp_path, paired, begun, more) as pool:
        await pool.applied(pool.push(begun, key="a"))
        running = Running(pool)
        running.trouble = Unavailable("it restarts")
        with pytest.raises(Unavailable):
            await cleaner(pool, running).clean()
        assert left(pool) == [begun.urn]
        running.trouble = None
        assert await cleaner(pool, running).clean() == 1


@pytest.mark.parametrize(
    ("is_active", "ends", "kept"),
    [(True, True, 1), (True, False, 1), (False, False, 1), (False, True, 0)],
    ids=["active", "active and unfinished", "unfinished", "over"],
)
async def test_calls_wait_for_a_pool_without_process_unless_it_is_over(
    tmp_path: Path, is_active: bool, ends: bool, kept: int
) -> None:
    async with Hosted(tmp_path, paired, begun, more) as pool:
        await pool.applied(pool.push(begun, key="a"))
        if ends:
            [instance] = pool.host.kernel.instances.values()
            asked = CancelAsked(instance=instance.id, token=0)
            pool.host.report(asked)
            await pool.until(lambda: instance.status == "cancelled")
        await pool.host.flushed()
        pool.accept((more, {"key": "b"}))
        resting = cleaner(pool, Running(), is_active=is_active)
        assert await resting.clean() == 2 - kept
        assert left(pool) == [more.urn] * kept


async def test_calls_wait_for_the_version_that_follows_one_whose_time_has_ended(
    tmp_path: Path,
) -> None:
    async with Hosted(tmp_path, paired, begun, more) as pool:
        for key in "ab":
            await pool.applied(pool.push(begun, key=key))
        here = Boundary(offsets={pool.partition: 1}, newest=(1, 0))
        nowhere = Boundary(offsets={}, newest=START_OF_LOG)
        handover.keep(pool.store, SPEC.name, Record(begins=nowhere, ends=here))
        assert await cleaner(pool, Running(pool)).clean() == 1
        assert await cleaner(pool, Running(pool), is_active=False).clean() == 1
