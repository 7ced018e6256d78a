"""Calls come in, once and in order; instances start once."""

from __future__ import annotations

import pytest
from tests.unit.kernel.bench import (
    START_US,
    Bench,
    begun,
    call,
    delivery,
    one,
    two,
)
from tests.unit.kernel.cases import collector

from raysume import (
    any_of,
    subflow,
    wait,
    workflow,
)
from raysume.actors.kernel.commits import (
    Delivered,
    Started,
)
from raysume.actors.kernel.deliveries import Delivery, StartRequest
from raysume.actors.kernel.status import Status

# --- deliveries ----------------------------------------------------------------------


def test_a_gap_is_asked_from_the_log_once() -> None:
    bench = Bench(collector)
    commit = bench.apply(delivery(call(one, 3, key="a", n=3)))
    [order] = commit.ranges
    assert (order.partition, order.start, order.end) == (1, 0, 3)
    assert bench.apply(delivery(call(one, 4, key="a", n=4))).ranges == []
    assert bench.kernel.watermarks == {}
    calls = [call(begun, 0, key="a", n=4), call(one, 1, key="a", n=1), call(one, 2, key="a", n=2)]
    bench.apply(delivery(*calls))
    assert bench.result() == [1, 2, 3, 4]
    assert bench.kernel.watermarks == {1: 5}


def test_what_overlaps_or_comes_again_is_applied_once() -> None:
    bench = Bench(collector)
    calls = [call(begun, 0, key="a", n=4)] + [call(one, n, key="a", n=n) for n in range(1, 5)]
    for low, high in ((0, 2), (0, 3), (1, 2), (2, 5), (0, 5)):
        bench.apply(delivery(*calls[low:high]))
    assert bench.result() == [1, 2, 3, 4]
    assert sum(commit.applied_calls for commit in bench.committed) == 5


def test_a_range_without_its_calls_is_read_from_the_log() -> None:
    bench = Bench(collector)
    notice = Delivery(1, 0, 2, 0, [])
    real = Delivery(1, 0, 1, 1, [call(begun, 0, key="a", n=1)])
    commit = bench.apply(Delivered(delivery=notice), Delivered(delivery=real))
    assert [(order.start, order.end) for order in commit.ranges] == [(0, 2)]
    assert bench.kernel.watermarks == {1: 1}, "what did come is applied at once"
    assert bench.apply(Delivered(delivery=notice)).ranges == []
    bench.apply(delivery(call(one, 1, key="a", n=7)))
    assert bench.result() == [7]


def test_calls_of_other_methods_cost_their_range_only() -> None:
    bench = Bench(collector)
    commit = bench.apply(Delivered(delivery=Delivery(1, 0, 100, 1, [])))
    assert commit.turns == {}
    assert bench.kernel.watermarks == {1: 100}


def test_partitions_have_watermarks_of_their_own() -> None:
    bench = Bench(collector)
    bench.apply(delivery(call(begun, 0, pos=1, key="a", n=2), partition=1))
    bench.apply(delivery(call(one, 0, pos=2, key="a", n=1), partition=2))
    bench.apply(delivery(call(one, 1, pos=3, key="a", n=2), partition=1))
    assert bench.result() == [1, 2]
    assert bench.kernel.watermarks == {1: 2, 2: 1}


# --- starts --------------------------------------------------------------------------


def test_calls_wait_while_earlier_ones_of_another_partition_are_read_from_the_log() -> None:
    bench = Bench(collector)
    bench.apply(delivery(call(begun, 0, pos=1, key="a", n=4), partition=1))
    commit = bench.apply(
        Delivered(delivery=Delivery(1, 0, 4, 0, [])),
        delivery(call(one, 0, pos=5, key="a", n=4), partition=2),
    )
    assert [(order.partition, order.start, order.end) for order in commit.ranges] == [(1, 1, 4)]
    assert bench.kernel.watermarks == {1: 1}
    bench.apply(delivery(call(one, 1, pos=2, key="a", n=1), partition=1))
    bench.apply(delivery(call(one, 2, pos=3, key="a", n=2), partition=1))
    assert bench.kernel.watermarks == {1: 3}, "the next in order are applied as they come"
    bench.apply(delivery(call(one, 3, pos=4, key="a", n=3), partition=1))
    assert bench.result() == [1, 2, 3, 4]
    assert bench.kernel.watermarks == {1: 4, 2: 1}


def test_what_partitions_hold_together_is_applied_in_the_order_of_acceptance() -> None:
    bench = Bench(collector)
    bench.apply(delivery(call(begun, 0, pos=1, key="a", n=4), partition=1))
    notices = [Delivered(delivery=Delivery(n, 0, 3, 0, [])) for n in (2, 3)]
    assert len(bench.apply(*notices).ranges) == 2
    bench.apply(
        delivery(*(call(one, n, pos=p, key="a", n=p) for n, p in enumerate((3, 4, 7))), partition=3)
    )
    assert bench.kernel.watermarks == {1: 1}
    bench.apply(
        delivery(*(call(one, n, pos=p, key="a", n=p) for n, p in enumerate((2, 5, 6))), partition=2)
    )
    assert bench.result() == [2, 3, 4, 5]
    assert bench.kernel.watermarks == {1: 1, 2: 3, 3: 3}


def test_a_range_without_calls_waits_for_nobody() -> None:
    bench = Bench(collector)
    bench.apply(Delivered(delivery=Delivery(1, 0, 4, 0, [])))
    bench.apply(Delivered(delivery=Delivery(2, 0, 100, 1, [])))
    assert bench.kernel.watermarks == {2: 100}


def test_a_call_id_starts_one_instance_however_often_it_is_used() -> None:
    bench = Bench(collector)
    first = call(begun, 0, key="a", n=0)
    bench.apply(delivery(first))
    again = call(begun, 1, key="a", n=0)
    same = type(again)(1, 1, first.call)
    bench.apply(delivery(same))
    assert bench.result() == []
    bench.checkpoint()
    bench.kernel.forget(bench.only.id)
    assert bench.kernel.instances == {}
    bench.apply(delivery(type(again)(2, 2, first.call)))
    assert bench.kernel.instances == {}


def test_finished_instances_leave_memory_after_a_recovery_too() -> None:
    bench = Bench(collector)
    bench.push(begun, key="a", n=0)
    bench.push(begun, key="b", n=1)
    bench.checkpoint()
    bench.push(begun, key="c", n=0)
    bench.restart()
    [ended] = bench.journal.take_checkpointed_ends()
    bench.kernel.forget(ended)
    assert sorted(one.status for one in bench.kernel.instances.values()) == ["completed", "waiting"]
    assert bench.kernel.knows(ended)


def test_an_id_that_has_ended_is_answered_without_a_start() -> None:
    @workflow
    async def explicit(n: int) -> int:
        return n

    bench = Bench(explicit)
    request = StartRequest(workflow="explicit", id="x", input=b'{"n": 5}', at_us=START_US)
    [(_, first)] = bench.apply(Started(request=request, token=1)).answers
    assert bench.result() == 5
    bench.kernel.forget("x")
    [(token, second)] = bench.apply(Started(request=request, token=2)).answers
    assert not isinstance(first, Exception)
    assert not isinstance(second, Exception)
    assert (first.created, second.created, second.status, token) == (True, False, "completed", 2)


def test_running_instances_come_before_a_new_one() -> None:
    @workflow
    async def pairs() -> list[int]:
        first = await wait(one).match_any()
        second = await wait(one).match(key=first.input.key)
        return [first.input.n, second.input.n]

    bench = Bench(pairs)
    for n, key in enumerate("abab"):
        bench.push(one, key=key, n=n)
    assert [bench.result(instance) for instance in bench.instances] == [[0, 2], [1, 3]]


@pytest.mark.parametrize("member", [0, 1])
def test_each_member_of_a_first_group_can_start_an_instance(member: int) -> None:
    @subflow
    async def inner() -> str:
        return (await wait(two).match_any()).input.key

    @workflow
    async def grouped() -> int:
        first = await any_of(wait(one).match_any(), inner())
        return first.index

    bench = Bench(grouped)
    assert len(bench.kernel.standing.waits) == 2
    bench.push((one, two)[member], key="k")
    assert bench.result() == member
    assert len(bench.kernel.index) == 2


def test_a_first_wait_of_another_shape_fails_its_instance_only() -> None:
    shapes = [begun, one, begun, begun]

    @workflow
    async def moody() -> str:
        await wait(shapes.pop(0)).match_any()
        return "met"

    bench = Bench(moody)
    bench.push(begun)
    bench.push(begun)
    failed, fine = bench.instances
    assert failed.status is Status.FAILED
    assert failed.error is not None
    assert failed.error.type == "FirstWaitChanged"
    assert bench.result(fine) == "met"
    assert bench.restart().turns == {}


def test_a_workflow_that_no_longer_waits_first_fails_its_instance() -> None:
    waits = [True, False]

    @workflow
    async def hasty() -> str:
        if waits.pop(0):
            await wait(begun).match_any()
        return "done"

    bench = Bench(hasty)
    bench.push(begun)
    assert bench.only.status is Status.FAILED
