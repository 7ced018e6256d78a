"""Every pool gets every range, in order, whatever fails; and nobody waits for a slow one."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.ingress.fakes import FakeEngine, Pool, catalogue

from raysume.limits import BACKLOG_CALLS_MAX, DELIVERY_CALLS_MAX
from raysume.records import Segment
from raysume.serve_apps.ingress import delivery
from raysume.serve_apps.ingress.delivery import Dispatcher
from raysume.serve_apps.ingress.ranges import FROM_LOG
from raysume.storage.call_ports import Batch, NewCall
from raysume.storage.memory.calls import MemoryCallLog

A, B = "approval@v1/0", "fulfil@v1/0"


class Stage:
    """A dispatcher between a real log and pools that keep their promises."""

    def __init__(self) -> None:
        self.log = MemoryCallLog()
        self.engine = FakeEngine(self.log)
        self.partition = self.log.open_partition(owner="1:0:test").id
        self.dispatcher = Dispatcher(self.engine.deliver)
        self.sent: dict[str, list[str]] = {"orders.submitted": [], "orders.paid": []}
        self._count = 0

    def accept(self, *methods: str) -> Segment:
        """Calls of these methods are in the log and offered to the pools."""
        calls: list[NewCall] = []
        for method in methods:
            self._count += 1
            calls.append(NewCall(id=f"c{self._count}", method=method, service="s", input=b"{}"))
            self.sent.setdefault(method, []).append(f"c{self._count}")
        segment = self.log.append(self.partition, [Batch(calls=calls)]).segment
        assert segment is not None
        self.dispatcher.offer(segment)
        return segment

    async def all_there(self) -> None:
        await self.dispatcher.drain()
        assert self.engine.pool(A).calls == self.sent["orders.submitted"]
        assert self.engine.pool(B).calls == self.sent["orders.paid"]


@asynccontextmanager
async def stage() -> AsyncGenerator[Stage]:
    one = Stage()
    one.dispatcher.update(one.engine.current)
    try:
        yield one
    finally:
        await one.dispatcher.stop()


def ranges(pool: Pool) -> list[tuple[int, int]]:
    return [(one.start, one.end) for one in pool.deliveries]


async def test_each_pool_gets_the_calls_it_awaits_and_ranges_without_holes() -> None:
    async with stage() as one:
        for _ in range(5):
            one.accept("orders.submitted", "orders.paid", "orders.submitted", "other")
            await asyncio.sleep(0)
        await one.all_there()
        for name in (A, B):
            found = ranges(one.engine.pool(name))
            assert found[0][0] == 0
            assert found[-1][1] == 20
            assert all(end == start for (_, end), (start, _) in itertools.pairwise(found))
            assert all(d.catalogue == 1 for d in one.engine.pool(name).deliveries)


async def test_a_pool_that_fails_gets_the_same_range_again_before_anything_newer() -> None:
    async with stage() as one:
        pool = one.engine.pool(A)
        pool.away = 3
        for _ in range(10):
            one.accept("orders.submitted")
            await asyncio.sleep(0)
        await one.all_there()
        assert pool.away == 0
        assert ranges(pool)[0][0] == 0
        assert all(
            start <= before
            for (_, before), (start, _) in zip(ranges(pool), ranges(pool)[1:], strict=False)
        )


async def test_a_pool_that_hangs_delays_nobody_else() -> None:
    async with stage() as one:
        one.engine.pool(A).gate.clear()
        segment = one.accept("orders.submitted", "orders.paid")
        await one.engine.pool(B).arrived.wait()
        for _ in range(100):
            segment = one.accept("orders.paid")
        await one.dispatcher.progress.until(
            lambda: one.engine.pool(B).watermarks.get(one.partition) == segment.end
        )
        assert one.engine.pool(A).calls == []
        one.engine.pool(A).gate.set()
        await one.all_there()


async def test_nothing_overtakes_what_was_accepted_into_another_partition_before() -> None:
    async with stage() as one:
        pool = one.engine.pool(A)
        pool.gate.clear()
        one.dispatcher.announce(one.partition, one.accept("orders.submitted").end)
        one.log.close_partition(one.partition)
        one.partition = one.log.open_partition(owner="1:0:test").id
        one.accept("orders.submitted")
        one.accept("orders.submitted")
        await pool.arrived.wait()
        assert pool.under_way_max == 1
        pool.gate.set()
        await one.all_there()
        assert pool.under_way_max == 1


async def test_at_most_two_deliveries_are_under_way_and_the_rest_is_merged() -> None:
    async with stage() as one:
        pool = one.engine.pool(A)
        pool.gate.clear()
        for _ in range(100):
            one.accept("orders.submitted")
        await pool.arrived.wait()
        pool.gate.set()
        await one.all_there()
        assert [len(d.calls) for d in pool.deliveries] == [1, 1, 98]


async def test_a_delivery_has_at_most_its_share_of_calls() -> None:
    async with stage() as one:
        one.accept(*["orders.submitted"] * (2 * DELIVERY_CALLS_MAX + 5))
        await one.all_there()
        sizes = [len(one.calls) for one in one.engine.pool(A).deliveries]
        assert sizes == [DELIVERY_CALLS_MAX, DELIVERY_CALLS_MAX, 5]


async def test_an_ingress_that_adopted_many_partitions_remembers_the_last_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delivery, "PARTITIONS_REMEMBERED_MAX", 3)
    async with stage() as one:
        one.accept("orders.submitted", "orders.paid")
        for _ in range(10):
            one.log.close_partition(one.partition)
            one.dispatcher.announce(one.partition, 2)
            one.partition = one.log.open_partition(owner="1:0:test").id
            one.accept("orders.submitted", "orders.paid")
        await one.all_there()
        assert len(one.dispatcher._ends) <= 4  # pyright: ignore[reportPrivateUsage]


async def test_many_pools_that_lag_hold_no_more_together_than_the_process_can_bear(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delivery, "DISPATCH_BYTES_MAX", 100_000)
    pools = {f"p{n}": frozenset({"orders.submitted"}) for n in range(8)}
    async with stage() as one:
        one.dispatcher.update(catalogue(2, pools=pools))
        streams = one.dispatcher._streams.values()  # pyright: ignore[reportPrivateUsage]
        for name in pools:
            one.engine.pool(name).gate.clear()
        for _ in range(200):
            one.accept(*["orders.submitted"] * 5)
            assert sum(stream.held_bytes for stream in streams) <= 100_000
        assert sum(stream.held_bytes for stream in streams) > 0
        one.engine.deploy(catalogue(2, pools=pools))
        for name in pools:
            one.engine.pool(name).gate.set()
        await one.dispatcher.drain()
        for name in pools:
            assert one.engine.pool(name).calls == one.sent["orders.submitted"]


async def test_a_pool_too_far_behind_reads_the_log_and_only_its_methods_are_refused() -> None:
    async with stage() as one:
        pool = one.engine.pool(A)
        pool.gate.clear()
        for _ in range(BACKLOG_CALLS_MAX // 1000 + 4):
            one.accept(*["orders.submitted"] * 1000)
        one.accept("orders.paid")
        assert one.dispatcher.lagging({"orders.submitted"}) == [A]
        assert one.dispatcher.lagging({"orders.paid"}) == []
        assert one.dispatcher.lag()[A] >= BACKLOG_CALLS_MAX
        pool.gate.set()
        await one.all_there()
        notices = [d for d in pool.deliveries if d.catalogue == FROM_LOG]
        assert notices
        assert all(notice.calls == [] for notice in notices)
        assert one.dispatcher.lagging({"orders.submitted"}) == []


async def test_a_pool_that_reports_a_backlog_is_asked_until_it_has_worked_it_off() -> None:
    async with stage() as one:
        pool = one.engine.pool(A)
        pool.backlog = BACKLOG_CALLS_MAX + 1
        one.accept("orders.submitted")
        await one.dispatcher.progress.until(
            lambda: one.dispatcher.lagging({"orders.submitted"}) == [A]
        )
        pool.backlog = 0
        await one.dispatcher.progress.until(
            lambda: one.dispatcher.lagging({"orders.submitted"}) == []
        )
        assert pool.calls == one.sent["orders.submitted"]


async def test_ranges_without_calls_are_delivered_too_soon_after() -> None:
    async with stage() as one:
        segment = one.accept("other", "other")
        await one.dispatcher.progress.until(
            lambda: one.engine.pool(A).watermarks.get(one.partition) == segment.end
        )
        assert one.engine.pool(A).calls == []


async def test_pools_of_the_first_catalogue_are_told_of_all_that_the_log_holds() -> None:
    one = Stage()
    one.accept("orders.submitted", "orders.paid")
    one.dispatcher.announce(one.partition, 2)
    one.dispatcher.update(one.engine.current)
    await one.all_there()
    assert ranges(one.engine.pool(A)) == [(0, 2)]
    assert one.engine.pool(A).deliveries[0].catalogue == FROM_LOG
    await one.dispatcher.stop()


async def test_a_new_pool_starts_at_the_end_and_a_pool_that_went_gets_nothing_more() -> None:
    async with stage() as one:
        one.accept("orders.submitted")
        await one.all_there()
        new = catalogue(2, pools={"new@v2/0": frozenset({"orders.submitted"})})
        one.engine.deploy(new)
        one.dispatcher.update(new)
        segment = one.accept("orders.submitted")
        await one.dispatcher.delivered(one.partition, segment.end)
        assert ranges(one.engine.pool("new@v2/0"))[0][0] == 1
        assert {d.catalogue for d in one.engine.pool("new@v2/0").deliveries} == {2}
        assert one.engine.pool(A).watermarks[one.partition] == 1


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_fails_every_pool_takes_every_call_once_in_order(data: st.DataObject) -> None:
    async def check() -> None:
        async with stage() as one:
            for _ in range(data.draw(st.integers(1, 12))):
                match data.draw(st.sampled_from(["accept", "fail", "hang", "go", "yield", "note"])):
                    case "accept":
                        methods = st.sampled_from(["orders.submitted", "orders.paid", "other"])
                        one.accept(*data.draw(st.lists(methods, min_size=1, max_size=5)))
                    case "fail":
                        one.engine.pool(A).away = 1
                    case "hang":
                        one.engine.pool(A).gate.clear()
                    case "go":
                        one.engine.pool(A).gate.set()
                    case "note":
                        for partition in one.log.partitions():
                            one.dispatcher.announce(partition.id, partition.next_offset)
                    case _:
                        await asyncio.sleep(0)
            one.engine.pool(A).gate.set()
            await one.all_there()

    asyncio.run(check())
