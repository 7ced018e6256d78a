"""Several members of one version on real hosts: who gets a call, and who starts, while shards move."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.simulation.crews import SimulatedCrew, name_of
from tests.simulation.trading import offered, ordered, trade

from raysume import ids
from raysume.actors import handover, regimes
from raysume.actors.arbitrating import Arbitrators
from raysume.actors.handover import Boundary
from raysume.actors.kernel.arbiter import Participant
from raysume.actors.kernel.records import START_OF_LOG
from raysume.actors.membership import Assignment
from raysume.records import Segment

METHODS = frozenset((ordered.urn, offered.urn))
GROUPS = [f"group-{n}" for n in range(9)]
SIZES = (3, 1, 4, 2)
"""Members of the pool, one after the other."""


class Trading:
    """A crew that trades, and the directory's arbiter beside it."""

    def __init__(self, folder: Path, seed: int, *, has_arbiter: bool = True) -> None:
        self.crew = SimulatedCrew(folder, trade, ordered, offered)
        self.chance = random.Random(seed)
        self.arbitrators = Arbitrators(
            self.crew.store, participants=self._participants, ask=self._stand
        )
        if has_arbiter:
            self.crew.ask_verdict = self.arbitrators.bid
            start = Boundary(offsets={}, newest=START_OF_LOG)
            starts = frozenset((ordered.urn,))
            regimes.rule(self.crew.store, trade.name, start, methods=METHODS, starts=starts)
        self.last: Segment | None = None

    def _participants(self, _: str) -> Mapping[str, Participant]:
        return {
            name_of(member): Participant(version="1", methods=METHODS)
            for member, process in self.crew.processes.items()
            if process.host.kernel.shards and not process.is_dead
        }

    async def _stand(self, name: str, places: list[tuple[int, int]]) -> dict[int, int]:
        [process] = [one for n, one in self.crew.processes.items() if name_of(n) == name]
        return handover.stand(process.host, places)

    def push(self, *calls: tuple[Any, dict[str, Any]]) -> list[str]:
        """The calls are accepted; the instances that each of them would start."""
        self.last = self.crew.push(self.chance, *calls)
        return [ids.instance_id_of(trade.name, call.id) for call in self.last.calls]

    async def settled(self) -> None:
        """Every member has applied everything."""
        assert self.last is not None
        await self.crew.caught_up(self.last)

    def known(self) -> list[str]:
        """Every instance of every member."""
        return [
            id
            for process in self.crew.processes.values()
            for id in (*process.host.kernel.instances, *process.host.kernel.ended)
            if not process.is_dead
        ]


@pytest.fixture
def made() -> Iterator[list[Trading]]:
    """What is put here is closed in the end."""
    found: list[Trading] = []
    yield found
    for one in found:
        one.crew.close()


async def trading(made: list[Trading], folder: Path, seed: int, **options: bool) -> Trading:
    """A pool of two members that trades."""
    found = Trading(folder, seed, **options)
    made.append(found)
    await found.crew.begin(Assignment.spread(2))
    return found


@pytest.mark.parametrize("seed", range(3))
async def test_what_an_instance_of_any_member_waits_for_starts_nothing(
    made: list[Trading], tmp_path: Path, seed: int
) -> None:
    pool = await trading(made, tmp_path, seed)
    first = [(ordered, {"group": group, "plan": "o" * len(SIZES)}) for group in GROUPS]
    started = dict(zip(GROUPS, pool.push(*first), strict=True))
    for n, members in enumerate(SIZES):
        pool.push(*((ordered, {"group": group, "plan": "", "n": n}) for group in GROUPS))
        await pool.crew.resize(members)
    await pool.settled()
    assert sorted(pool.known()) == sorted(started.values())
    for group in GROUPS:
        result = await pool.crew.result(started[group])
        assert result == {"orders": list(range(len(SIZES))), "offers": []}
    pool.arbitrators.stop()


async def test_an_offer_goes_to_one_instance_of_all_members(
    made: list[Trading], tmp_path: Path
) -> None:
    pool = await trading(made, tmp_path, seed=7)
    started = pool.push(*((ordered, {"group": group, "plan": "e"}) for group in GROUPS))
    await pool.settled()
    for n in range(len(GROUPS)):
        pool.push((offered, {"n": n}))
        await pool.crew.resize(1 + n % 3)
    await pool.settled()
    results = [await pool.crew.result(id) for id in started]
    assert sorted(n for one in results for n in one["offers"]) == list(range(len(GROUPS)))
    assert all(len(one["offers"]) == 1 for one in results)
    pool.arbitrators.stop()


async def test_without_an_arbiter_members_start_what_another_one_waits_for(
    made: list[Trading], tmp_path: Path
) -> None:
    pool = await trading(made, tmp_path, seed=1, has_arbiter=False)
    started = pool.push(*((ordered, {"group": group, "plan": "o"}) for group in GROUPS))
    await pool.settled()
    pool.push(*((ordered, {"group": group, "plan": "o"}) for group in GROUPS))
    await pool.settled()
    assert len(pool.known()) > len(started), "the tests above would find it"
