"""Which instances are packed or cold, and which stay objects as something of them is under way."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.unit.kernel.bench import Bench, begun, one, two

from raysume import WaitTimeout, any_of, limits, step, wait, workflow
from raysume.actors.kernel.commits import Commit, LookedBack, TimersDue
from raysume.actors.kernel.instances import Instance
from raysume.errors import Fenced, SealBroken
from raysume.storage.ports import Checkpoint, StoreCommit


def work(n: int) -> int:
    """A step."""
    return n


@workflow
async def racing() -> int:
    """Waits for a call and for a step at the same time, then for a call only."""
    first = await wait(begun).match_any()
    await any_of(wait(one).match(key=first.input.key), step(work, 1))
    return (await wait(one).match(key=first.input.key)).input.n


def test_an_instance_with_a_step_under_way_is_not_packed_and_asks_for_it_again() -> None:
    bench = Bench(racing, loaded_instances=0)
    asked = bench.push(begun, key="k").steps
    assert len(asked) == 1
    assert bench.kernel.instances.packed == 0
    assert bench.restart().steps == asked


def test_an_instance_that_only_waits_is_packed_and_goes_on() -> None:
    bench = Bench(racing, loaded_instances=0)
    bench.push(begun, key="k")
    bench.push(one, key="k", n=1)
    assert bench.kernel.instances.packed == 1
    bench.restart()
    assert bench.kernel.instances.packed == 1
    assert [value for _, value in bench.push(one, key="k", n=7).results] == [7]


def test_an_instance_made_of_its_record_lacks_nothing() -> None:
    bench = Bench(racing)
    bench.push(begun, key="k")
    [instance] = bench.kernel.instances.loaded
    made = Instance.of(instance.record(), shard=instance.shard)
    assert [name for name in Instance.__slots__ if not hasattr(made, name)] == []
    assert made.record() == instance.record()


@workflow
async def twofold() -> list[str]:
    """Has two waits under one key at the same time."""
    first = await wait(begun).match_any()
    winner = await any_of(
        wait(one, name="left").match(key=first.input.key),
        wait(one, name="right").match(key=first.input.key),
    )
    call = await wait(one).match(key=first.input.key)
    return [str(winner.index), str(call.input.n)]


def test_two_waits_under_one_key_are_packed_and_met_as_before() -> None:
    bench = Bench(twofold, loaded_instances=0)
    bench.push(begun, key="k")
    bench.push(begun, key="k")
    assert bench.kernel.instances.packed == 2
    bench.push(one, key="k", n=1)
    assert bench.kernel.instances.packed == 2
    assert [value for _, value in bench.push(one, key="k", n=2).results] == [["0", "2"]] * 2


@workflow
async def patient() -> int:
    """Adds up what calls with its key bring, until none comes for an hour."""
    first = await wait(begun).match_any()
    total = 0
    while True:
        try:
            call = await wait(one).match(key=first.input.key).timeout(timedelta(hours=1))
        except WaitTimeout:
            return total
        total += call.input.n


def cold_bench(*keys: str) -> Bench:
    """An instance waits for each key; none has room in memory."""
    bench = Bench(patient, loaded_instances=0, memory_budget=0)
    for key in keys:
        bench.push(begun, key=key)
    chill(bench)
    return bench


def chill(bench: Bench, *under_way: Commit) -> None:
    """What is committed is checkpointed, and leaves memory as far as it may."""
    bench.checkpoint()
    bench.journal.let_go(bench.kernel, under_way)


def test_only_what_is_checkpointed_is_cold() -> None:
    bench = cold_bench("a", "b")
    instances = bench.kernel.instances
    assert (len(instances.cold), instances.packed, instances.packed_bytes) == (2, 0, 0)
    bench.push(one, key="a", n=1)
    bench.journal.let_go(bench.kernel)
    assert (len(instances.cold), instances.packed) == (1, 1)
    chill(bench)
    assert (len(instances.cold), instances.packed) == (2, 0)


def test_what_changed_in_a_commit_that_is_not_durable_stays() -> None:
    bench = cold_bench("a")
    ahead = bench.push(one, key="a", n=1)
    chill(bench, ahead)
    assert (len(bench.kernel.instances.cold), bench.kernel.instances.packed) == (0, 1)


def test_some_leave_at_a_time_until_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LEFT_INSTANCES_MAX", 2)
    bench = Bench(patient, loaded_instances=0, memory_budget=0)
    for key in "abcde":
        bench.push(begun, key=key)
    assert not bench.journal.let_go(bench.kernel), "nothing is checkpointed"
    bench.checkpoint()
    found: list[tuple[bool, int]] = []
    while not found or found[-1][0]:
        is_more = bench.journal.let_go(bench.kernel)
        found.append((is_more, len(bench.kernel.instances.cold)))
    assert found == [(True, 2), (True, 4), (False, 5)]


def test_a_cold_instance_goes_on_with_a_call_as_if_it_had_never_left() -> None:
    bench = cold_bench("a", "b")
    for n in (1, 2, 3):
        bench.push(one, key="a", n=n)
        chill(bench)
    bench.now_us += 3_600_000_000
    ended = bench.apply(TimersDue(upto_us=bench.now_us))
    assert sorted(value for _, value in ended.results) == [0, 6]


def test_what_nobody_met_is_not_read() -> None:
    bench = cold_bench("a", "b")
    bench.push(one, key="c", n=1)
    bench.push(two, key="a", n=1)
    assert len(bench.kernel.instances.cold) == 2


def test_recovery_leaves_what_has_no_room_in_the_store() -> None:
    bench = cold_bench("a", "b")
    bench.push(one, key="a", n=5)
    bench.restart()
    instances = bench.kernel.instances
    assert (len(instances.cold), instances.packed) == (1, 1), "one has changed since"
    bench.now_us += 3_600_000_000
    ended = bench.apply(TimersDue(upto_us=bench.now_us))
    assert sorted(value for _, value in ended.results) == [0, 5]


def test_timers_of_cold_instances_ring_only_if_they_are_still_set() -> None:
    bench = cold_bench("a")
    first_due = bench.kernel.next_due_us
    bench.now_us += 60_000_000
    bench.push(one, key="a", n=5)
    chill(bench)
    assert first_due is not None
    bench.now_us = first_due
    assert not bench.apply(TimersDue(upto_us=first_due)).turns
    assert bench.kernel.next_due_us == first_due + 60_000_000


def test_copies_of_cold_instances_can_be_looked_at() -> None:
    bench = cold_bench("a", "b", "c")
    instances = bench.kernel.instances
    assert {one.status.value for one in instances.values()} == {"waiting"}
    assert [one.id for one in instances.newest_first()]
    assert len(instances.cold) == len(instances) == 3
    assert all(instances.peek(id) is not None for id in list(instances))
    assert instances.peek("nobody") is None


def test_a_cold_row_that_was_set_back_is_refused() -> None:
    bench = cold_bench("a")
    [id] = bench.kernel.instances.cold
    [before] = bench.store.find_instance(id)
    bench.push(one, key="a", n=5)
    chill(bench)
    saved = bench.store.checkpoint_of(before.shard)
    assert saved is not None
    forged = Checkpoint(shard=before.shard, seq=saved[0], header=saved[1], rows=[before])
    bench.store.commit(StoreCommit(epochs={before.shard: 1}, checkpoints=[forged]))
    with pytest.raises(SealBroken, match="set back"):
        bench.push(one, key="a", n=6)


def test_a_cold_row_that_a_successor_wrote_ends_whoever_was_replaced() -> None:
    bench = cold_bench("a")
    former = bench.kernel
    bench.restart()
    bench.push(one, key="a", n=5)
    chill(bench)
    [id] = former.instances.cold
    with pytest.raises(Fenced, match="took it over"):
        former.instances.get(id)


@workflow
async def thorough() -> int:
    """Waits for the second kind of call first, then for what may have come meanwhile."""
    first = await wait(begun).match_any()
    await wait(two).match(key=first.input.key)
    return (await wait(one).match(key=first.input.key)).input.n


def test_a_cold_wait_that_had_looked_back_meets_calls() -> None:
    bench = Bench(thorough, loaded_instances=0, memory_budget=0, recent_calls=1)
    bench.push(begun, key="a")
    for _ in range(3):
        bench.push(one, key="other")
    [order] = bench.push(two, key="a").look_backs
    read = LookedBack(instance=order.instance, wait=order.wait, calls=[], verdicts=[])
    bench.apply(read)
    chill(bench)
    assert len(bench.kernel.instances.cold) == 1
    assert [value for _, value in bench.push(one, key="a", n=7).results] == [7]
