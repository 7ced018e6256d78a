"""Calls come in, once and in order; instances start once."""

from __future__ import annotations

import random

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
    limits,
    subflow,
    wait,
    workflow,
)
from raysume.actors.kernel.commits import (
    CancelAsked,
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


def test_what_waited_behind_a_gap_is_applied_in_several_commits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "COMMIT_EVENTS_MAX", 2)
    bench = Bench(collector)
    for n in range(1, 6):
        bench.apply(delivery(call(one, n, key="a", n=n)))
    asked = CancelAsked(token=7, instance="nobody")
    commits = [bench.apply(delivery(call(begun, 0, key="a", n=5)), asked)]
    while bench.kernel.arbitration.is_cut:
        commits.append(bench.apply())
    assert [commit.applied_calls for commit in commits] == [2, 2, 2, 0]
    assert bench.result() == [1, 2, 3, 4, 5]
    replied = [[token for token, _ in commit.replies] for commit in commits]
    assert replied == [[], [], [], [7]], "what came behind the calls is done behind them"


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


def test_calls_wait_until_what_comes_before_them_was_read_from_the_log() -> None:
    bench = Bench(collector)
    bench.apply(delivery(call(begun, 0, pos=1, key="a", n=4), partition=1))
    commit = bench.apply(
        Delivered(delivery=Delivery(1, 0, 4, 0, [])),
        delivery(call(one, 0, pos=5, key="a", n=4), partition=2, after={0: {1: 4}}),
    )
    assert [(order.partition, order.start, order.end) for order in commit.ranges] == [(1, 1, 4)]
    assert bench.kernel.watermarks == {1: 1}
    bench.apply(delivery(call(one, 1, pos=2, key="a", n=1), partition=1))
    bench.apply(delivery(call(one, 2, pos=3, key="a", n=2), partition=1))
    assert bench.kernel.watermarks == {1: 3}, "the next in order are applied as they come"
    bench.apply(delivery(call(one, 3, pos=4, key="a", n=3), partition=1))
    assert bench.result() == [1, 2, 3, 4]
    assert bench.kernel.watermarks == {1: 4, 2: 1}


def test_what_comes_before_and_does_not_come_is_asked_from_the_log_once() -> None:
    bench = Bench(collector)
    bench.apply(delivery(call(begun, 0, key="a", n=3), partition=1))
    late = delivery(call(one, 0, pos=4, key="a", n=2), partition=2, after={0: {1: 2, 3: 1}})
    orders = bench.apply(late).ranges
    assert [(order.partition, order.start, order.end) for order in orders] == [(1, 1, 2), (3, 0, 1)]
    later = delivery(call(one, 1, pos=6, key="a", n=3), partition=2, after={1: {1: 3}})
    assert bench.apply(later).ranges == [], "it is not the first of its partition yet"
    bench.apply(delivery(call(one, 0, pos=2, key="a", n=0), partition=3))
    assert bench.kernel.watermarks == {1: 1, 3: 1}
    [order] = bench.apply(delivery(call(one, 1, pos=3, key="a", n=1), partition=1)).ranges
    assert (order.partition, order.start, order.end) == (1, 2, 3)
    assert bench.kernel.watermarks == {1: 2, 2: 1, 3: 1}
    bench.apply(delivery(call(two, 2, pos=5, key="a"), partition=1))
    assert bench.result() == [0, 1, 2]
    assert bench.kernel.watermarks == {1: 3, 2: 2, 3: 1}
    assert bench.kernel.intake.waiting == 0


def test_a_delivery_of_several_segments_is_applied_between_those_of_another_partition() -> None:
    bench = Bench(collector)
    bench.apply(delivery(call(begun, 0, pos=1, key="a", n=6), partition=1))
    left = [call(one, n, pos=p, key="a", n=p) for n, p in ((1, 2), (2, 2), (3, 4), (4, 6))]
    right = [call(one, n, pos=p, key="a", n=p) for n, p in enumerate((3, 5))]
    behind = {1: {2: 0}, 3: {2: 1}, 4: {2: 2}}
    bench.apply(delivery(*left, partition=1, after=behind))
    assert bench.kernel.watermarks == {1: 3}, "the first segment waits for nothing"
    assert bench.kernel.intake.waiting == 2
    bench.apply(delivery(*right, partition=2, after={0: {1: 3}, 1: {1: 4}}))
    assert bench.result() == [2, 2, 3, 4, 5, 6]
    assert bench.kernel.watermarks == {1: 5, 2: 2}
    assert bench.kernel.intake.waiting == 0


def test_a_range_without_calls_waits_too_since_what_follows_it_relies_on_that() -> None:
    bench = Bench(collector)
    bench.apply(Delivered(delivery=Delivery(2, 0, 100, 1, [], [(0, {1: 1})])))
    assert bench.kernel.watermarks == {}
    bench.apply(delivery(call(one, 100, pos=9, key="a", n=2), partition=2))
    assert bench.kernel.watermarks == {}
    bench.apply(delivery(call(begun, 0, pos=1, key="a", n=1), partition=1))
    assert bench.result() == [2]
    assert bench.kernel.watermarks == {1: 1, 2: 101}


def interleaved(rng: random.Random) -> list[Delivery]:
    """The segments of three partitions, in the order of the log: a start, and numbers to collect."""
    sizes = [1] + [rng.randint(1, 3) for _ in range(40)]
    ends, seen = [0, 0, 0], [[0, 0, 0] for _ in range(3)]
    made: list[Delivery] = []
    for pos, size in enumerate(sizes):
        mine = rng.randrange(3)
        start, method = ends[mine], one if pos else begun
        number = pos or sum(sizes) - 1
        calls = [call(method, start + n, pos=pos, key="a", n=number) for n in range(size)]
        after = {n: ends[n] for n in range(3) if n != mine and ends[n] > seen[mine][n]}
        ends[mine] += size
        seen[mine] = list(ends)
        made.append(Delivery(mine, start, ends[mine], 1, calls, [(start, after)]))
    return made


@pytest.mark.parametrize("seed", range(25))
def test_partitions_that_arrive_in_any_order_are_applied_in_one(seed: int) -> None:
    rng = random.Random(seed)
    bench = Bench(collector)
    segments = interleaved(rng)
    ends = {made.partition: made.end for made in segments}
    post = [made for made in segments if rng.random() < 0.7]
    rng.shuffle(post)
    post += [Delivery(partition, 0, end, 0, []) for partition, end in ends.items()]
    while post:
        for order in bench.apply(Delivered(delivery=post.pop(0))).ranges:
            post += [
                made
                for made in segments
                if made.partition == order.partition
                and made.end > order.start
                and made.start < order.end
            ]
    expected = [pos for pos, made in enumerate(segments) for _ in made.calls if pos]
    assert bench.result() == expected
    assert bench.kernel.watermarks == ends
    assert bench.kernel.intake.waiting == 0


def test_a_partition_that_the_log_forgot_leaves_memory_and_its_echoes_are_dropped() -> None:
    bench = Bench(collector)
    old = delivery(call(begun, 0, pos=1, key="a", n=2), partition=1)
    bench.apply(old, delivery(call(one, 2, pos=4, key="a", n=2), partition=1))
    bench.kernel.intake.forget([1])
    bench.apply(delivery(call(one, 0, pos=5, key="a", n=1), partition=2))
    bench.apply(old)
    assert len(bench.instances) == 1
    assert bench.kernel.watermarks == {2: 1}
    assert bench.kernel.intake.waiting == 0
    assert bench.restart().turns == {}


# --- starts --------------------------------------------------------------------------


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
