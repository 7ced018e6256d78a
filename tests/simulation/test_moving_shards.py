"""Shards pass between members while calls come: whoever dies, at whatever step, all is there once."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from tests.simulation.crews import Died, SimulatedCrew

from raysume import external_call, ids, limits, step, wait, workflow
from raysume.actors import membership, moving
from raysume.actors.hosting import PoolHost
from raysume.actors.kernel.commits import CancelAsked
from raysume.actors.membership import Assignment, Move, settle
from raysume.actors.readings import Readings
from raysume.errors import InvariantViolated, RaysumeError, ShardMoved, UsageError


class Thing(BaseModel):
    """What the calls carry."""

    key: str = ""
    n: int = 0


begun = external_call("moving.begun", input=Thing)
more = external_call("moving.more", input=Thing)

KEYS = [f"key-{n}" for n in range(12)]
END = -1
MOVED = (0, 4, 10)


def noted(n: int) -> int:
    """A step."""
    return n


@workflow
async def crew() -> list[int]:
    first = await wait(begun).match_any()
    got: list[int] = []
    while True:
        call = await wait(more).match(key=first.input.key).timeout(timedelta(hours=1))
        if call.input.n == END:
            return got
        got.append(await step(noted, call.input.n))


class Load:
    """Calls for every key, numbered; each is accepted once."""

    def __init__(self, on: SimulatedCrew, seed: int) -> None:
        self.on, self.chance = on, random.Random(seed)
        self.instances: dict[str, str] = {}
        self.pushed: dict[str, list[int]] = {key: [] for key in KEYS}

    async def begin(self) -> None:
        """An instance waits for each key."""
        segment = self.on.push(self.chance, *((begun, {"key": key}) for key in KEYS))
        for call, key in zip(segment.calls, KEYS, strict=True):
            self.instances[key] = ids.instance_id_of("crew", call.id)
        await self.on.caught_up(segment)

    def more(self) -> None:
        """One more call for some of the keys."""
        keys = self.chance.sample(KEYS, 4)
        for key in keys:
            self.pushed[key].append(len(self.pushed[key]))
        numbered = [(more, {"key": key, "n": self.pushed[key][-1]}) for key in keys]
        self.on.push(self.chance, *numbered)

    async def check(self) -> None:
        """Every shard has one owner, and every instance got every call once, in order."""
        last = self.on.push(self.chance, *((more, {"key": key, "n": END}) for key in KEYS))
        await self.on.caught_up(last)
        assert all(len(owners) == 1 for owners in self.on.owners().values()), self.on.owners()
        found = {key: await self.on.result(id) for key, id in self.instances.items()}
        assert found == self.pushed
        live = [one for one in self.on.processes.values() if not one.is_dead]
        held = [id for one in live for id in one.host.kernel.instances]
        assert sorted(held) == sorted(self.instances.values())


@pytest.fixture
def made(tmp_path: Path) -> Iterator[SimulatedCrew]:
    """A crew on the test's files."""
    found = SimulatedCrew(tmp_path, crew, begun, more)
    yield found
    found.close()


STEPS = (
    "before hold",
    "after hold",
    "before reach",
    "after reach",
    "before give",
    "after give",
    "before assign",
    "after assign",
    "before acquire",
    "after acquire",
    "before take",
    "after take",
    "before go on",
    "after go on",
)


@pytest.mark.parametrize("dies", ["source", "target", "directory", "all three"])
@pytest.mark.parametrize("when", STEPS)
async def test_whoever_dies_at_whatever_step_every_shard_has_one_owner_and_every_call_counts_once(
    made: SimulatedCrew, dies: str, when: str
) -> None:
    members = 1 + STEPS.index(when) % 2
    await made.begin(Assignment.spread(members))
    if members == 1:
        await made.start(1)
    order = (await made.assignment()).resized(2).moves()[0] if members == 1 else _two_to_one()
    load = Load(made, seed=STEPS.index(when))
    await load.begin()
    load.more()
    reached: list[str] = []

    def at(step: str) -> None:
        reached.append(step)
        load.more()
        if step == when and reached.count(step) == 1:
            if dies in ("source", "all three"):
                made.processes[order.source].dies()
            if dies in ("target", "all three"):
                made.processes[order.target].dies()
            if dies in ("directory", "all three"):
                raise Died

    made.at = at
    with contextlib.suppress(Died, RaysumeError):
        await membership.move(made, order)
    assert when in reached
    load.more()
    await made.recover()
    load.more()
    await made.resize(2)
    await load.check()
    await _is_the_same_after_restarts(made, load)


def _two_to_one() -> Move:
    return Move(source=0, target=1, shards=MOVED)


async def _is_the_same_after_restarts(made: SimulatedCrew, load: Load) -> None:
    for process in list(made.processes.values()):
        process.dies()
    await made.recover()
    found = {key: await made.result(id) for key, id in load.instances.items()}
    assert found == load.pushed


@pytest.mark.parametrize("fails", ["before", "after"])
async def test_a_member_that_cannot_say_whether_it_gave_its_shards_up_ends_and_has_them_again(
    made: SimulatedCrew, fails: str
) -> None:
    await made.begin(Assignment.spread(2))
    load = Load(made, seed=3)
    await load.begin()
    made.at = lambda _: load.more()
    made.processes[0].store.yields_fail = fails
    with pytest.raises(RaysumeError):
        await membership.move(made, _two_to_one())
    assert made.processes[0].is_dead
    await made.recover()
    assert (await made.assignment()).of(0) == Assignment.spread(2).of(0)
    await load.check()


async def test_a_member_whose_checkpoint_fails_as_it_gives_shards_up_ends_and_has_them_again(
    made: SimulatedCrew,
) -> None:
    await made.begin(Assignment.spread(2))
    load = Load(made, seed=4)
    await load.begin()
    made.at = lambda _: load.more()
    made.processes[0].store.fails = lambda commit: bool(commit.checkpoints)
    with pytest.raises(RaysumeError):
        await membership.move(made, _two_to_one())
    assert made.processes[0].is_dead
    await made.recover()
    await load.check()


async def test_a_pool_grows_and_shrinks_under_load(made: SimulatedCrew) -> None:
    await made.begin(Assignment.spread(1))
    load = Load(made, seed=1)
    await load.begin()
    made.at = lambda _: load.more()
    for members in (3, 2, 16, 1):
        await made.resize(members)
        owners = [only for [only] in made.owners().values()]
        counts = [owners.count(member) for member in range(members)]
        assert sum(counts) == limits.SHARDS
        assert max(counts) - min(counts) <= 1
    made.at = lambda _: None
    await load.check()
    await _is_the_same_after_restarts(made, load)


async def test_a_member_that_was_held_goes_on_only_when_it_is_told_to(made: SimulatedCrew) -> None:
    await made.begin(Assignment.spread(2))
    load = Load(made, seed=5)
    await load.begin()
    before = moving.hold(made.processes[0].host)
    load.more()
    segment = made.push(load.chance, (more, {"key": KEYS[0], "n": 99}))
    made.processes[1].host.notice({segment.partition: segment.end})
    await made.processes[1].host.caught_up({segment.partition: segment.end})
    assert moving.standing(made.processes[0].host).offsets == before.offsets
    await settle(made, [0, 1])
    await made.caught_up(segment)


async def test_a_member_goes_on_to_the_place_it_is_told_and_not_beyond(made: SimulatedCrew) -> None:
    await made.begin(Assignment.spread(2))
    load = Load(made, seed=6)
    await load.begin()
    host = made.processes[0].host
    place = moving.hold(host)
    wanted = {made.partition: place.offsets[made.partition] + 3}
    load.more()
    host.notice({made.partition: wanted[made.partition] + 10})
    await moving.reach(host, moving.Standing(shards={}, offsets=wanted, is_held=True))
    assert moving.standing(host).offsets == wanted


async def test_shards_are_not_taken_by_a_member_that_stands_elsewhere(made: SimulatedCrew) -> None:
    await made.begin(Assignment.spread(2))
    load = Load(made, seed=7)
    await load.begin()
    source, target = made.processes[0].host, made.processes[1].host
    moving.hold(source)
    await moving.give(source, [0])
    load.more()
    last = made.push(load.chance, (more, {"key": KEYS[0], "n": 7}))
    target.notice({last.partition: last.end})
    await target.caught_up({last.partition: last.end})
    moving.hold(target)
    owned = made.store.acquire(made.refs([0]), owner=made.processes[1].owner)
    with pytest.raises(InvariantViolated, match="was given to a member that stands at"):
        await moving.take(target, owned)
    assert made.processes[1].is_dead


async def test_whoever_asks_a_former_owner_is_told_to_look_the_owner_up(
    made: SimulatedCrew,
) -> None:
    await made.begin(Assignment.spread(2))
    load = Load(made, seed=8)
    await load.begin()
    await membership.move(made, _two_to_one())
    moved = [id for id in load.instances.values() if ids.shard_of(id, limits.SHARDS) in MOVED]
    for id in moved:
        for ask in (Readings(made.processes[0].host).describe, _cancel(made.processes[0].host)):
            with pytest.raises(ShardMoved, match="with another member"):
                await ask(id)
        described = await Readings(made.processes[1].host).describe(id)
        assert described is not None
        assert described["status"] == "waiting"
    assert moved


def _cancel(host: PoolHost) -> Callable[[str], Awaitable[Any]]:
    return lambda id: host.answers.ask(lambda token: CancelAsked(instance=id, token=token))


def test_a_pool_has_at_least_one_member_and_at_most_as_many_as_shards() -> None:
    for members in (0, 17):
        with pytest.raises(UsageError, match="from 1 to 16"):
            Assignment.spread(members)


def test_moves_give_every_member_its_share_and_move_no_more_than_needed() -> None:
    for before in range(1, 17):
        for after in range(1, 17):
            assignment = Assignment.spread(before).resized(after)
            orders = assignment.moves()
            for order in orders:
                assert set(order.shards) <= set(assignment.of(order.source))
                assignment = assignment.moved(order.shards, order.target)
            sizes = [len(assignment.of(member)) for member in range(after)]
            assert sum(sizes) == limits.SHARDS
            assert max(sizes) - min(sizes) <= 1
            assert assignment.moves() == []
            if after > before:
                assert all(order.target >= before for order in orders)
            elif after < before:
                assert all(order.source >= after for order in orders)
