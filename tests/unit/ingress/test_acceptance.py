"""Group commit, and what a failing call log does to requests: nothing lost, nothing doubled."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import pytest

from raysume.errors import Overloaded, PartitionClosed, StoreUnavailable, Unavailable
from raysume.limits import ACCEPT_QUEUE_CALLS_MAX, PARTITION_LEASE_S, PARTITION_LOOK_S
from raysume.records import Segment
from raysume.serve_apps.ingress.acceptance import Acceptor
from raysume.storage.call_ports import Appended, Batch, CallQuery, NewCall, Partition, Publisher
from raysume.storage.memory.calls import MemoryCallLog
from raysume.storage.processes import owner_of_this_process


class FailingLog(MemoryCallLog):
    """A call log whose next appends and closes fail as told."""

    def __init__(self) -> None:
        self.clock_us = 1_700_000_000_000_000
        super().__init__(now_us=lambda: self.clock_us)
        self.looks = threading.Condition()
        self.before: list[Exception] = []
        """Raised by the next appends, which store nothing."""
        self.after: list[Exception] = []
        """Raised by the next appends, which store everything first."""
        self.down = False
        self.poison: str | None = None
        self.may_append = threading.Event()
        self.may_append.set()
        self.appending = threading.Event()
        self.may_look = threading.Event()
        self.may_look.set()
        self.groups: list[int] = []

    def append(self, partition: int, batches: Sequence[Batch]) -> Appended:
        self.appending.set()
        assert self.may_append.wait(30)
        if self.before:
            raise self.before.pop()
        if any(call.id == self.poison for batch in batches for call in batch.calls):
            raise ValueError("this one cannot be encoded")
        self.groups.append(len(batches))
        appended = super().append(partition, batches)
        if self.after:
            raise self.after.pop()
        return appended

    def close_partition(self, partition: int) -> Partition:
        if self.down:
            raise StoreUnavailable("the disk is gone")
        return super().close_partition(partition)

    def open_partition(self, *, owner: str) -> Partition:
        if self.down:
            raise StoreUnavailable("the disk is gone")
        return super().open_partition(owner=owner)

    def renew(self, partition: int) -> None:
        if self.down:
            raise StoreUnavailable("the disk is gone")
        super().renew(partition)

    def partitions(self) -> list[Partition]:
        assert self.may_look.wait(30)
        found = super().partitions()
        with self.looks:
            self.looks.notify_all()
        return found

    async def looked_again(self) -> None:
        """Whoever looks at the partitions has begun and ended a look."""

        def wait() -> None:
            with self.looks:
                for _ in range(2):
                    assert self.looks.wait(30)

        await asyncio.to_thread(wait)

    def ids(self) -> list[str]:
        return [one.call.id for one in self.list_calls(CallQuery(limit=100_000))]


class Heard:
    """What the acceptor says is to be delivered."""

    def __init__(self) -> None:
        self.segments: list[Segment] = []
        self.closed: list[Partition] = []
        self.more = asyncio.Event()

    def __call__(self, segments: list[Segment], closed: list[Partition]) -> None:
        self.segments += segments
        self.closed += closed
        self.more.set()

    async def closing(self, partition: int) -> None:
        """The partition has been named."""
        async with asyncio.timeout(30):
            while partition not in [one.id for one in self.closed]:
                self.more.clear()
                await self.more.wait()

    def ids(self) -> list[str]:
        return [call.id for segment in self.segments for call in segment.calls]


def batch(*ids: str, client_ids: bool = False, publisher: Publisher | None = None) -> Batch:
    return Batch(
        calls=[
            NewCall(id=id, method="m", service="s", input=b"{}", client_id=client_ids) for id in ids
        ],
        publisher=publisher,
    )


def dead_owner() -> str:
    """The owner of a process of this machine that has ended."""
    return "2147483000:" + owner_of_this_process("gone").partition(":")[2]


@asynccontextmanager
async def accepting(
    log: FailingLog, *, look_s: float = PARTITION_LOOK_S
) -> AsyncGenerator[tuple[Acceptor, Heard]]:
    heard = Heard()
    acceptor = Acceptor(log, owner="1:0:test", emit=heard, look_s=look_s)
    await acceptor.start()
    try:
        yield acceptor, heard
    finally:
        log.may_append.set()
        log.may_look.set()
        await acceptor.stop()


async def test_requests_that_come_during_an_append_go_together_into_the_next() -> None:
    log = FailingLog()
    async with accepting(log) as (acceptor, heard):
        log.may_append.clear()
        tasks = [asyncio.create_task(acceptor.accept(batch("first")))]
        await asyncio.to_thread(log.appending.wait, 30)
        tasks += [asyncio.create_task(acceptor.accept(batch(f"c{n}"))) for n in range(64)]
        await asyncio.sleep(0)
        log.may_append.set()
        answers = await asyncio.gather(*tasks)
        assert log.groups == [1, 64]
        assert all(answer.outcomes == ["accepted"] for answer in answers)
        assert heard.ids() == log.ids() == ["first", *(f"c{n}" for n in range(64))]


async def test_a_large_batch_is_not_cut_and_takes_no_others_beyond_the_limit() -> None:
    log = FailingLog()
    async with accepting(log) as (acceptor, _):
        log.may_append.clear()
        tasks = [asyncio.create_task(acceptor.accept(batch("first")))]
        await asyncio.to_thread(log.appending.wait, 30)
        large = batch(*(f"l{n}" for n in range(6_000)))
        tasks += [asyncio.create_task(acceptor.accept(one)) for one in (large, batch("last"))]
        await asyncio.sleep(0)
        log.may_append.set()
        await asyncio.gather(*tasks)
        assert log.groups == [1, 1, 1]


async def test_more_than_can_wait_is_refused_with_429() -> None:
    log = FailingLog()
    async with accepting(log) as (acceptor, _):
        log.may_append.clear()
        tasks = [asyncio.create_task(acceptor.accept(batch("first")))]
        await asyncio.to_thread(log.appending.wait, 30)
        full = batch(*["x"] * ACCEPT_QUEUE_CALLS_MAX)
        tasks.append(asyncio.create_task(acceptor.accept(full)))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await acceptor.accept(batch("one too many"))
        log.may_append.set()
        await asyncio.gather(*tasks)
        assert (await acceptor.accept(batch("later"))).outcomes == ["accepted"]


@pytest.mark.parametrize("error", [PartitionClosed("adopted"), StoreUnavailable("locked")])
async def test_calls_that_were_not_stored_go_to_a_new_partition(error: Exception) -> None:
    log = FailingLog()
    async with accepting(log) as (acceptor, heard):
        await acceptor.accept(batch("before"))
        log.before.append(error)
        assert (await acceptor.accept(batch("during"))).outcomes == ["accepted"]
        assert log.ids() == heard.ids() == ["before", "during"]
        assert heard.segments[0].partition != heard.segments[1].partition
        assert [one.open for one in log.partitions()].count(True) == 1


async def test_calls_that_were_stored_by_a_failing_append_are_acknowledged_once() -> None:
    log = FailingLog()
    async with accepting(log) as (acceptor, heard):
        log.after.append(StoreUnavailable("the connection broke after the commit"))
        assert (await acceptor.accept(batch("a", "b"))).outcomes == ["accepted", "accepted"]
        assert log.ids() == heard.ids() == ["a", "b"]
        assert (await acceptor.accept(batch("c"))).outcomes == ["accepted"]
        assert log.ids() == ["a", "b", "c"]


async def test_a_failing_append_still_tells_duplicates_and_conflicts_apart() -> None:
    log = FailingLog()
    async with accepting(log) as (acceptor, _):
        await acceptor.accept(batch("old", client_ids=True))
        log.may_append.clear()
        blocked = asyncio.create_task(acceptor.accept(batch("first")))
        await asyncio.sleep(0)
        conflict = Batch(
            calls=[NewCall(id="old", method="m", service="s", input=b"[]", client_id=True)]
        )
        some = [batch("new"), batch("old", client_ids=True), conflict]
        tasks = [asyncio.create_task(acceptor.accept(one)) for one in some]
        await asyncio.sleep(0)
        log.after.append(StoreUnavailable("the connection broke after the commit"))
        log.may_append.set()
        await blocked
        answers = [list((await task).outcomes) for task in tasks]
        assert answers == [["accepted"], ["duplicate"], ["conflict"]]
        assert log.ids() == ["old", "first", "new"]


async def test_while_the_log_is_away_requests_fail_and_afterwards_nothing_is_missing() -> None:
    log = FailingLog()
    async with accepting(log) as (acceptor, heard):
        log.after.append(StoreUnavailable("the disk went away after the commit"))
        log.down = True
        with pytest.raises(Unavailable, match="cannot be asked whether it did"):
            await acceptor.accept(batch("unknown", publisher=Publisher(id="p", first=0)))
        assert acceptor.trouble is not None
        with pytest.raises(Unavailable, match="Nothing was stored"):
            await acceptor.accept(batch("not stored"))
        log.down = False
        await heard.more.wait()
        # What was stored without anybody knowing is delivered by its range.
        [closed] = heard.closed
        assert (closed.next_offset, closed.open) == (1, False)
        again = await acceptor.accept(batch("unknown", publisher=Publisher(id="p", first=0)))
        assert again.outcomes == ["duplicate"]
        assert log.ids() == ["unknown"]


async def test_whoever_waits_is_refused_before_a_log_that_is_away_is_tried_again() -> None:
    log = FailingLog()
    async with accepting(log) as (acceptor, _), asyncio.timeout(20):
        log.may_append.clear()
        first = asyncio.create_task(acceptor.accept(batch("first")))
        await asyncio.to_thread(log.appending.wait, 30)
        queued = asyncio.create_task(acceptor.accept(batch("queued")))
        await asyncio.sleep(0)
        log.before.append(StoreUnavailable("it has not answered"))
        log.down = True
        log.may_look.clear()
        log.may_append.set()
        with pytest.raises(Unavailable, match="cannot be asked whether it did"):
            await first
        with pytest.raises(Unavailable, match="Nothing was stored"):
            await queued
        log.down = False


async def test_a_batch_that_cannot_be_stored_fails_no_other() -> None:
    log = FailingLog()
    log.poison = "bad"
    async with accepting(log) as (acceptor, _):
        log.may_append.clear()
        blocked = asyncio.create_task(acceptor.accept(batch("first")))
        await asyncio.to_thread(log.appending.wait, 30)
        tasks = [asyncio.create_task(acceptor.accept(batch(id))) for id in ("a", "bad", "b")]
        await asyncio.sleep(0)
        log.may_append.set()
        await blocked
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(outcomes[1], ValueError)
        assert log.ids() == ["first", "a", "b"]
        assert (await acceptor.accept(batch("later"))).outcomes == ["accepted"]


async def test_partitions_left_open_by_the_dead_are_adopted_and_named() -> None:
    log = FailingLog()
    left = log.open_partition(owner=dead_owner())
    MemoryCallLog.append(log, left.id, [batch("a", "b")])
    async with accepting(log) as (acceptor, heard):
        [adopted] = heard.closed
        assert (adopted.id, adopted.next_offset, adopted.open) == (left.id, 2, False)
        await acceptor.accept(batch("c"))
        assert heard.segments[0].partition != left.id
        assert heard.segments[0].after == {left.id: 2}


async def test_partitions_of_other_machines_and_of_the_living_are_left_alone() -> None:
    log = FailingLog()
    for owner in ("2147483000:1-abc:elsewhere", owner_of_this_process("beside"), "who knows"):
        MemoryCallLog.append(log, log.open_partition(owner=owner).id, [batch(owner)])
    async with accepting(log) as (_, heard):
        assert heard.closed == []
        assert [one.open for one in log.partitions()].count(False) == 0


async def test_whoever_dies_or_falls_silent_is_adopted_while_others_run() -> None:
    log = FailingLog()
    async with accepting(log, look_s=0.01) as (acceptor, heard):
        assert heard.closed == []
        dead = log.open_partition(owner=dead_owner())
        silent = log.open_partition(owner="2147483000:1-abc:elsewhere")
        for one in (dead, silent):
            MemoryCallLog.append(log, one.id, [batch(str(one.id))])
        await heard.closing(dead.id)
        log.clock_us += int(PARTITION_LEASE_S * 1e6) + 1
        await heard.closing(silent.id)
        assert [one.next_offset for one in heard.closed] == [1, 1]
        await acceptor.accept(batch("mine"))
        assert log.groups == [1]


async def test_what_somebody_else_closed_is_told_too_since_that_one_may_have_died() -> None:
    log = FailingLog()
    async with accepting(log, look_s=0.01) as (_, heard):
        one = log.open_partition(owner="2147483000:1-abc:elsewhere")
        MemoryCallLog.append(log, one.id, [batch("a")])
        MemoryCallLog.close_partition(log, one.id)
        await heard.closing(one.id)
        await log.looked_again()
        assert len(heard.closed) == 1


async def test_an_idle_ingress_keeps_its_lease() -> None:
    log = FailingLog()
    async with accepting(log, look_s=0.01) as (acceptor, _):
        await acceptor.accept(batch("a"))
        for _ in range(5):
            log.clock_us += int(PARTITION_LEASE_S * 1e6) // 2
            await log.looked_again()
        [mine] = log.partitions()
        assert (mine.open, mine.lapsed) == (True, False)


async def test_an_idle_ingress_that_was_taken_for_dead_opens_another_partition() -> None:
    log = FailingLog()
    async with accepting(log, look_s=0.01) as (acceptor, heard):
        await acceptor.accept(batch("a"))
        [mine] = log.partitions()
        MemoryCallLog.close_partition(log, mine.id)
        await heard.closing(mine.id)
        assert (await acceptor.accept(batch("b"))).outcomes == ["accepted"]
        assert heard.ids() == log.ids() == ["a", "b"]
        assert acceptor.trouble is None


def trouble_of(acceptor: Acceptor) -> str:
    return acceptor.trouble or ""


async def test_an_idle_ingress_tells_that_the_log_cannot_be_written_and_when_it_can_again() -> None:
    log = FailingLog()
    async with accepting(log, look_s=0.01) as (acceptor, _):
        await acceptor.accept(batch("a"))
        log.down = True
        while not trouble_of(acceptor):
            await log.looked_again()
        assert "the disk is gone" in trouble_of(acceptor)
        with pytest.raises(Unavailable) as refused:
            await acceptor.accept(batch("b"))
        assert refused.value.retry_after is not None
        log.down = False
        while trouble_of(acceptor):
            await log.looked_again()
        assert (await acceptor.accept(batch("c"))).outcomes == ["accepted"]
        assert log.ids() == ["a", "c"]


async def test_stopping_stores_what_waits_and_closes_the_partition() -> None:
    log = FailingLog()
    async with accepting(log) as (acceptor, heard):
        log.may_append.clear()
        tasks = [asyncio.create_task(acceptor.accept(batch(str(n)))) for n in range(10)]
        await asyncio.sleep(0)
        stopping = asyncio.create_task(acceptor.stop())
        await asyncio.sleep(0)
        with pytest.raises(Unavailable):
            await acceptor.accept(batch("too late"))
        log.may_append.set()
        await asyncio.gather(*tasks)
        await stopping
    assert heard.ids() == log.ids() == [str(n) for n in range(10)]
    assert [one.open for one in log.partitions()] == [False]
