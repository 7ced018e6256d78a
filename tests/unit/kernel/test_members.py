"""A kernel that holds some of the shards: what is another member's it leaves alone."""

from __future__ import annotations

import pytest
from tests.unit.kernel.bench import START_US, Bench, begun, call, delivery, one
from tests.unit.kernel.cases import collector
from tests.unit.kernel.test_schedules import HOUR, hourly, no_methods

from raysume import ids, limits
from raysume.actors.kernel import driving, parting
from raysume.actors.kernel.bids import Bid
from raysume.actors.kernel.commits import CancelAsked, Delivered, RangeOrder, Started, TimersDue
from raysume.actors.kernel.deliveries import Delivery, StartRequest
from raysume.actors.kernel.intake import Intake
from raysume.actors.kernel.kernel import Kernel
from raysume.actors.kernel.schedules import KEEPER
from raysume.actors.kernel.shards import Shard
from raysume.actors.kernel.standing import learning_turn
from raysume.errors import ShardMoved

OWN = frozenset(range(0, limits.SHARDS, 2))
OTHERS = frozenset(range(limits.SHARDS)) - OWN


def is_own(id: str) -> bool:
    return ids.shard_of(id, limits.SHARDS) in OWN


def member() -> Bench:
    """A member with half of the shards."""
    bench = Bench(collector)
    parting.part_with(bench.kernel, OTHERS)
    return bench


def test_a_call_starts_an_instance_in_the_member_that_owns_its_shard_only() -> None:
    bench = member()
    calls = [call(begun, n, key=f"k{n}", n=1) for n in range(40)]
    bench.apply(delivery(*calls))
    expected = {ids.instance_id_of("collector", one.call.id) for one in calls}
    assert set(bench.kernel.instances) == {id for id in expected if is_own(id)}
    assert 0 < len(bench.kernel.instances) < 40
    assert bench.kernel.watermarks == {1: 40}


def test_an_explicit_start_of_another_members_instance_is_sent_back() -> None:
    bench = member()
    id = next(made for made in map(str, range(100)) if not is_own(made))
    request = StartRequest(workflow="collector", id=id, input=b"{}", at_us=START_US)
    [(token, answer)] = bench.apply(Started(request=request, token=7)).answers
    assert token == 7
    assert isinstance(answer, ShardMoved)
    assert answer.details["id"] == id
    assert bench.kernel.instances == {}


def test_a_command_for_another_members_instance_is_sent_back() -> None:
    bench = member()
    id = next(made for made in map(str, range(100)) if not is_own(made))
    [(token, error)] = bench.apply(CancelAsked(instance=id, token=3)).replies
    assert token == 3
    assert isinstance(error, ShardMoved)


def test_what_parts_is_found_by_no_call_and_rings_no_timer() -> None:
    bench = Bench(collector)
    bench.apply(delivery(*(call(begun, n, key="k", n=1) for n in range(20))))
    before = len(bench.kernel.instances)
    left = parting.part_with(bench.kernel, OTHERS)
    assert len(bench.kernel.instances) == before - len(left)
    assert 0 < len(left) < before
    commit = bench.apply(delivery(call(one, 20, key="k", n=5)))
    met = {turn.instance.id for turns in commit.turns.values() for turn in turns}
    assert met == set(bench.kernel.instances)
    assert all(is_own(id) for id in met)


def test_a_member_that_gets_its_first_shards_stands_before_no_call_that_it_bid_for_without_them() -> (
    None
):
    bench = member()
    kernel = bench.kernel
    kernel.arbitration.stopped = Bid(
        1, 3, 3, begun.urn, takes=False, waits_since=None, starts=False, knows_starts=True
    )
    parting.part_with(kernel, OWN)
    parting.begin_at(kernel, {1: 5}, (5, 4))
    assert not kernel.arbitration.is_open
    assert kernel.watermarks == {1: 5}


def test_nothing_is_applied_at_or_behind_the_bound() -> None:
    bench = Bench(collector)
    bench.kernel.intake.bound = {1: 3}
    bench.apply(delivery(*(call(begun, n, key=f"k{n}", n=1) for n in range(5))))
    assert bench.kernel.watermarks == {1: 3}
    assert len(bench.kernel.instances) == 3
    bench.apply(Delivered(delivery=Delivery(2, 0, 4, 1, [])))
    assert bench.kernel.watermarks == {1: 3}, "a partition that is not in the bound waits whole"
    bench.kernel.intake.bound = None
    bench.apply(Delivered(delivery=Delivery(0, 0, 0, 0, [])))
    assert bench.kernel.watermarks == {1: 5, 2: 4}
    assert len(bench.kernel.instances) == 5


@pytest.mark.parametrize("shards", [OWN, OTHERS], ids=["with the keeper", "without it"])
def test_scheduled_starts_are_the_keepers_and_begin_in_a_shard_of_its_own(
    shards: frozenset[int],
) -> None:
    kernel = Kernel(hourly, "1", methods=no_methods)
    turn = learning_turn(hourly, "1", 0)
    assert driving.run_inline(turn, kernel.standing.learning(turn)) is driving.FINISHED
    for number in shards:
        kernel.adopt(Shard(number), None)
    kernel.resume(HOUR // 2)
    started: set[str] = set()
    for hour in range(1, 12):
        commit = kernel.apply([TimersDue(upto_us=hour * HOUR)], hour * HOUR)
        started |= {turn.instance.id for turns in commit.turns.values() for turn in turns}
    assert len(started) == (11 if KEEPER in shards else 0)
    assert all(ids.shard_of(id, limits.SHARDS) in shards for id in started)


def test_an_id_that_a_member_makes_is_its_own() -> None:
    bench = member()
    assert all(is_own(parting.own_id(bench.kernel)) for _ in range(50))


def test_a_kernel_that_is_put_further_back_asks_again_for_what_it_asked_for_before() -> None:
    intake = Intake()
    intake.add(Delivery(1, 0, 20, 0, []))
    assert intake.following() == RangeOrder(partition=1, start=0, end=20)
    intake.add(Delivery(1, 0, 15, 1, []))
    came = intake.following()
    assert isinstance(came, Delivery)
    intake.applied(came)
    intake.jump({1: 5})
    intake.add(Delivery(1, 5, 20, 0, []))
    assert intake.following() == RangeOrder(partition=1, start=5, end=20)
