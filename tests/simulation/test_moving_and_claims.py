"""What a shard takes along as it moves, and what members know of each other meanwhile."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.simulation.crews import SimulatedCrew, name_of
from tests.simulation.resizing import ENGINE, deployed
from tests.simulation.test_moving_shards import begun, more
from tests.simulation.trading import PROMPT, offered, ordered, trade

from raysume import ids, limits, push_call, wait, workflow
from raysume.actors import handover, membership, moving, regimes
from raysume.actors.arbitrating import Arbitrators
from raysume.actors.bidding import winner_of
from raysume.actors.crews import PoolCrew
from raysume.actors.handover import Boundary
from raysume.actors.kernel.arbiter import Participant
from raysume.actors.kernel.bids import Claim
from raysume.actors.kernel.commits import TimersDue
from raysume.actors.kernel.moments import duration_us
from raysume.actors.kernel.records import START_OF_LOG
from raysume.actors.membership import Assignment, Move, settle
from raysume.actors.office import HeldOffice
from raysume.errors import StoreUnavailable
from raysume.records import Segment
from raysume.storage.memory.state import MemoryStore
from raysume.storage.moments import wall_clock_us


@push_call("moving.told")
def told(key: str) -> None:
    """Something was begun."""


@workflow(name="teller")
async def teller() -> None:
    """Says that it has begun."""
    first = await wait(begun).match_any()
    told(key=first.input.key)
    await wait(more).match(key=first.input.key)


@pytest.fixture
def crews() -> Iterator[list[SimulatedCrew]]:
    """What is put here is closed in the end."""
    found: list[SimulatedCrew] = []
    yield found
    for one in found:
        one.close()


async def a_crew(crews: list[SimulatedCrew], members: int, *what: Any) -> SimulatedCrew:
    """So many members run."""
    made = SimulatedCrew(*what)
    crews.append(made)
    await made.begin(Assignment.spread(members))
    return made


async def arbitrated(crew: SimulatedCrew) -> Arbitrators:
    """Orders need a verdict from the beginning of the log; who makes it."""
    made = Arbitrators(
        crew.store, participants=partial(_participants, crew), ask=partial(_stand, crew)
    )
    crew.ask_verdict = made.bid
    methods, begin = frozenset((ordered.urn,)), Boundary(offsets={}, newest=START_OF_LOG)
    regimes.rule(crew.store, trade.name, begin, methods=methods, starts=methods)
    for process in crew.processes.values():
        process.dies()
    await crew.recover()
    return made


async def begun_trade(crew: SimulatedCrew, *, plan: str) -> tuple[str, int]:
    """An instance of the group "g" waits; its id, and the member that has it."""
    first = accepted(crew, ordered, group="g", plan=plan)
    await crew.caught_up(first)
    id = ids.instance_id_of(trade.name, first.calls[0].id)
    return id, 0 if crew.processes[0].host.kernel.owns(id) else 1


def accepted(crew: SimulatedCrew, method: Any, **input: Any) -> Segment:
    """The call is in the log, and every member knows."""
    segment = crew.push(random.Random(0), (method, input))
    for process in crew.processes.values():
        process.host.notice({segment.partition: segment.end})
    return segment


async def test_a_call_that_was_sent_does_not_leave_with_its_shard(
    crews: list[SimulatedCrew], tmp_path: Path
) -> None:
    crew = await a_crew(crews, 2, tmp_path, teller, begun, more)
    source, target = (crew.processes[n].host for n in range(2))
    segment = accepted(crew, begun, key="k")
    await crew.caught_up(segment)
    shard = ids.shard_of(ids.instance_id_of("teller", segment.calls[0].id), limits.SHARDS)
    if shard not in source.kernel.shards:
        source, target = target, source
    async with source.progress:
        await source.progress.wait_for(
            lambda: source.kernel.shards[shard].sent == 2 and not source.has_uncommitted
        )
    members = {id(crew.processes[n].host): n for n in range(2)}
    await membership.move(
        crew, Move(source=members[id(source)], target=members[id(target)], shards=(shard,))
    )
    assert target.kernel.shards[shard].sent == 2
    assert target.kernel.shards[shard].unsent == {}


async def test_a_member_is_not_settled_while_it_gives_shards_away(
    crews: list[SimulatedCrew], tmp_path: Path
) -> None:
    crew = await a_crew(crews, 2, tmp_path, teller, begun, more)
    host = crew.processes[0].host
    moving.hold(host)
    giving = asyncio.create_task(moving.give(host, [0]))
    await asyncio.sleep(0)  # the directory that ordered it dies, and its successor looks around
    await settle(crew, [0, 1])
    await giving
    assert crew.owners()[0] == [0]
    assert host.kernel.intake.bound is None


async def test_a_member_that_stands_before_a_call_bids_again_with_the_shards_that_come(
    crews: list[SimulatedCrew], tmp_path: Path
) -> None:
    crew = await a_crew(crews, 2, tmp_path, trade, ordered, offered)
    arbitrators = await arbitrated(crew)
    id, source = await begun_trade(crew, plan="o")
    target = 1 - source
    moving.hold(crew.processes[source].host)
    second = accepted(crew, ordered, group="g", plan="", n=7)
    host = crew.processes[target].host
    async with host.progress:
        await host.progress.wait_for(lambda: host.kernel.arbitration.is_open)
    shards = tuple((await crew.assignment()).of(source))
    await membership.move(crew, Move(source=source, target=target, shards=shards))
    await crew.caught_up(second)
    assert await crew.result(id) == {"orders": [7], "offers": []}
    assert ids.instance_id_of(trade.name, second.calls[0].id) not in host.kernel.instances
    arbitrators.stop()


async def test_no_timer_comes_before_a_call_for_which_a_shard_was_bid_where_it_was_before(
    crews: list[SimulatedCrew], tmp_path: Path
) -> None:
    crew = await a_crew(crews, 2, tmp_path, trade, ordered, offered)
    arbitrators = await arbitrated(crew)
    id, source = await begun_trade(crew, plan="t")
    host, target = (crew.processes[n].host for n in (source, 1 - source))
    moving.hold(target)
    second = accepted(crew, ordered, group="g", plan="", n=7)
    async with host.progress:
        await host.progress.wait_for(lambda: host.kernel.arbitration.is_open)
    due = TimersDue(upto_us=wall_clock_us() + 10 * duration_us(PROMPT))
    crew.at = lambda step: target.report(due) if step == "before go on" else None
    shards = tuple((await crew.assignment()).of(source))
    await membership.move(crew, Move(source=source, target=1 - source, shards=shards))
    await crew.caught_up(second)
    assert await crew.result(id) == {"orders": [7], "offers": []}
    arbitrators.stop()


def _participants(crew: SimulatedCrew, _workflow: str) -> dict[str, Participant]:
    methods = frozenset((ordered.urn, offered.urn))
    return {
        name_of(n): Participant(version="1", methods=methods, shards=list(one.host.kernel.shards))
        for n, one in crew.processes.items()
        if one.host.kernel.shards and not one.is_dead
    }


async def _stand(crew: SimulatedCrew, name: str, places: list[tuple[int, int]]) -> dict[int, int]:
    [process] = [one for n, one in crew.processes.items() if name_of(n) == name]
    return handover.stand(process.host, places)


async def test_what_an_exclusive_wait_took_before_there_were_others_is_nobody_elses(
    crews: list[SimulatedCrew], tmp_path: Path
) -> None:
    crew = await a_crew(crews, 1, tmp_path, trade, ordered, offered)
    segment = accepted(crew, ordered, group="g", plan="e")
    offer = accepted(crew, offered, n=1)
    await crew.caught_up(offer)
    [id] = [ids.instance_id_of(trade.name, one.id) for one in segment.calls]
    assert (await crew.result(id))["offers"] == [1]
    await handover.follow(crew.processes[0].host)
    claim = Claim("another", "wait", offer.pos, offer.first)
    assert winner_of(crew.store, trade.name, claim) != "another"


class Deaf(MemoryStore):
    """Keeps a document, and says that it did not."""

    def put_document(self, kind: str, key: str, body: bytes) -> None:
        """See `Store.put_document`."""
        super().put_document(kind, key, body)
        raise StoreUnavailable("kept, but not heard of")


async def test_whoever_may_own_shards_takes_part_also_while_that_is_being_written() -> None:
    spec = deployed()[0].pool
    store = Deaf()
    MemoryStore.put_document(store, *_kept(spec.name, Assignment.spread(2)))
    office = HeldOffice(store, owner="1:0:directory", lost=lambda: None)
    crew = PoolCrew(spec, office, ENGINE, [])
    assert crew.participants == {}
    before = await crew.assignment()
    assert crew.participants == {spec.member(n): before.of(n) for n in range(2)}
    with pytest.raises(StoreUnavailable):
        await crew.assign(before.moved([0], 2))
    assert crew.participants == {
        **{spec.member(n): before.of(n) for n in range(2)},
        spec.member(2): [0],
    }
    assert set(crew.owners) == {spec.member(0), spec.member(1)}
    await crew.assignment()
    assert set(crew.owners) == {spec.member(0), spec.member(1), spec.member(2)}


def _kept(pool: str, assignment: Assignment) -> tuple[str, str, bytes]:
    store = MemoryStore()
    membership.assign(store, pool, assignment)
    [(key, body)] = store.documents("members")
    return "members", key, body
