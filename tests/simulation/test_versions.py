"""Two versions of one workflow on real hosts and files: who gets a call, and who starts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import msgspec
import pytest
from tests.simulation.hosting import GatedStore, Hosted
from tests.simulation.trading import Order, offered, ordered, trade

from raysume import workflow
from raysume.actors import handover
from raysume.actors.arbitrating import Arbitrators
from raysume.actors.bidding import BidMade, verdicts_of
from raysume.actors.handover import Boundary
from raysume.actors.kernel.arbiter import Participant
from raysume.actors.kernel.bids import Verdict
from raysume.actors.kernel.deliveries import StartRequest
from raysume.actors.loading import Target
from raysume.actors.specs import EngineSpec, PoolSpec
from raysume.actors.succession import Succession, hand_over
from raysume.errors import Unavailable
from raysume.records import Segment

METHODS = frozenset((ordered.urn, offered.urn))


@workflow(name="versions.explicit")
async def explicit(n: int) -> int:
    """Started explicitly."""
    return n


class Versions:
    """The directory's part: arbiters, and hand-overs from version to version."""

    def __init__(self, folder: Path, of: Any) -> None:
        self.folder, self.workflow = folder, of
        self.store = GatedStore(folder / "state.db")
        self.running: dict[str, Hosted] = {}
        self.arbitrators = Arbitrators(self.store, participants=self._participants, ask=self._stand)
        self.engine = EngineSpec(data_dir=str(folder), checkpoint_interval_s=3_600)
        self.active: PoolSpec | None = None
        self.locks: dict[str, asyncio.Lock] = {}

    def _participants(self, _: str) -> Mapping[str, Participant]:
        return {
            name: Participant(version=one.host.version, methods=METHODS)
            for name, one in self.running.items()
        }

    async def _stand(self, name: str, places: list[tuple[int, int]]) -> dict[int, int]:
        return handover.stand(self.running[name].host, places)

    async def bid(self, made: BidMade) -> Verdict:
        """The verdict, made with everybody who runs."""
        return await self.arbitrators.bid(made)

    def __contains__(self, name: object) -> bool:
        return name in self.running

    def lock(self, name: str) -> asyncio.Lock:
        """Nothing else happens to the pool while it is held."""
        return self.locks.setdefault(name, asyncio.Lock())

    async def ask_all(self, name: str, method: str, *arguments: Any) -> list[Any]:
        """What the pool's only member does when it is asked."""
        return [await self._ask(name, method, *arguments)]

    async def order_all(self, name: str, method: str, *arguments: Any) -> list[Any]:
        """The same: there is one directory."""
        return await self.ask_all(name, method, *arguments)

    async def _ask(self, name: str, method: str, *arguments: Any) -> Any:
        host = self.running[name].host
        match method:
            case "hold":
                return msgspec.msgpack.encode(handover.hold(host))
            case "follow":
                return msgspec.msgpack.encode(await handover.follow(host))
            case "retire":
                after = msgspec.msgpack.decode(arguments[0], type=Boundary)
                ended = await handover.retire(host, name, after=after)
                return msgspec.msgpack.encode(ended)
            case "take_over":
                boundary = msgspec.msgpack.decode(arguments[0], type=Boundary)
                return handover.take_over(host, name, boundary)
            case _:
                assert method == "let_go"
                return handover.let_go(host)

    async def deploy(self, version: str) -> Hosted:
        """The version is the active one, and runs."""
        spec = PoolSpec(
            workflow=self.workflow.name,
            version=version,
            target=Target(module="tests", folder=None),
            methods=METHODS,
        )
        before = self.active
        succession = Succession(
            spec=spec,
            before=before,
            beside=[] if before is None else [before],
            methods=METHODS,
            starts=frozenset((ordered.urn,)),
        )
        if before is not None:
            await hand_over(succession, self, self.store, self.engine)
        self.active = spec
        return await self.run(spec.name, version)

    async def run(self, name: str, version: str) -> Hosted:
        """The pool's process has recovered."""
        made = Hosted(
            self.folder,
            self.workflow,
            ordered,
            offered,
            version=version,
            participant=name,
            ask_verdict=self.bid,
        )
        handover.recall(made.host, name)
        self.running[name] = made
        self.arbitrators.changed()
        return await made.__aenter__()

    async def kill(self, name: str) -> None:
        """The pool's process has ended; nobody brings it back yet."""
        killed = self.running.pop(name)
        killed.gave_up.set()
        await killed.__aexit__()

    def push(self, method: Any, **input: Any) -> Segment:
        """A call is accepted, and delivered to every version."""
        first, *others = self.running.values()
        segment = first.push(method, **Order(**input).model_dump())
        for one in others:
            one.tell(segment)
        return segment

    async def applied(self, segment: Segment) -> None:
        """Every version has dealt with the segment."""
        for one in self.running.values():
            await one.applied(segment)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.arbitrators.stop()
        for one in self.running.values():
            await one.__aexit__()
        self.store.close()


def instances(pool: Hosted) -> set[str]:
    return set(pool.host.kernel.instances)


async def test_a_call_that_an_older_version_waits_for_starts_nothing_in_the_new_one(
    tmp_path: Path,
) -> None:
    async with Versions(tmp_path, trade) as versions:
        first = await versions.deploy("1")
        await versions.applied(versions.push(ordered, group="a", plan="o"))
        [waiting] = instances(first)
        second = await versions.deploy("2")
        await versions.applied(versions.push(ordered, group="a", n=1))
        assert await first.result(waiting) == {"orders": [1], "offers": []}
        assert not instances(second)
        await versions.applied(versions.push(ordered, group="a", plan="o", n=2))
        assert len(instances(first)) == 1
        [new] = instances(second)
        await versions.applied(versions.push(ordered, group="a", n=3))
        assert await second.result(new) == {"orders": [3], "offers": []}


async def test_of_exclusive_waits_in_two_versions_the_one_waiting_longest_gets_the_call(
    tmp_path: Path,
) -> None:
    async with Versions(tmp_path, trade) as versions:
        first = await versions.deploy("1")
        await versions.applied(versions.push(ordered, group="a", plan="e"))
        [older] = instances(first)
        second = await versions.deploy("2")
        await versions.applied(versions.push(ordered, group="b", plan="e"))
        [newer] = instances(second)
        await versions.applied(versions.push(offered, n=1))
        await versions.applied(versions.push(offered, n=2))
        assert (await first.result(older))["offers"] == [1]
        assert (await second.result(newer))["offers"] == [2]


async def test_an_offer_that_nobody_waits_for_goes_to_the_first_that_looks_back(
    tmp_path: Path,
) -> None:
    async with Versions(tmp_path, trade) as versions:
        first = await versions.deploy("1")
        await versions.applied(versions.push(ordered, group="a", plan="oe"))
        [older] = instances(first)
        second = await versions.deploy("2")
        await versions.applied(versions.push(ordered, group="b", plan="oe"))
        [newer] = instances(second)
        await versions.applied(versions.push(offered, n=1))
        await versions.applied(versions.push(ordered, group="b", n=2))
        assert (await second.result(newer))["offers"] == [1]
        await versions.applied(versions.push(ordered, group="a", n=3))
        await first.until(lambda: len(first.host.kernel.instances[older].waits) == 1)
        await versions.applied(versions.push(offered, n=4))
        assert (await first.result(older))["offers"] == [4]


@pytest.mark.parametrize("from_log", [False, True], ids=["from memory", "from the log"])
async def test_a_call_that_started_an_instance_elsewhere_is_in_no_other_mailbox(
    tmp_path: Path, from_log: bool
) -> None:
    async with Versions(tmp_path, trade) as versions:
        first = await versions.deploy("1")
        await versions.applied(versions.push(ordered, group="a", plan="eo"))
        [older] = instances(first)
        second = await versions.deploy("2")
        await versions.applied(versions.push(ordered, group="a", n=1))
        assert len(instances(second)) == 1
        if from_log:
            first.host.kernel.recent.covers_after = first.host.kernel.newest
        await versions.applied(versions.push(offered, n=2))
        await first.until(lambda: not first.host.kernel.instances[older].looks_back)
        await versions.applied(versions.push(ordered, group="a", n=3))
        assert await first.result(older) == {"orders": [3], "offers": [2]}


async def test_a_version_whose_process_dies_while_its_bid_is_out_follows_the_verdict(
    tmp_path: Path,
) -> None:
    async with Versions(tmp_path, trade) as versions:
        first = await versions.deploy("1")
        await versions.applied(versions.push(ordered, group="a", plan="o"))
        [waiting] = instances(first)
        second = await versions.deploy("2")
        segment = second.push(
            ordered, **Order(group="a", n=1).model_dump()
        )  # the first does not hear
        await second.until(lambda: second.host.kernel.arbitration.is_open)
        await second.host.flushed()
        name = "trading.trade@2/0"
        await versions.kill(name)
        second = await versions.run(name, "2")
        assert second.host.kernel.arbitration.is_open
        await versions.applied(segment)
        assert await first.result(waiting) == {"orders": [1], "offers": []}
        assert not instances(second)
        [verdict] = verdicts_of(versions.store, trade.name, after=(-1, -1))
        assert verdict.is_taken


async def test_verdicts_made_while_a_version_was_away_count_when_it_is_back(
    tmp_path: Path,
) -> None:
    async with Versions(tmp_path, trade) as versions:
        first = await versions.deploy("1")
        await versions.applied(versions.push(ordered, group="a", plan="o"))
        [waiting] = instances(first)
        second = await versions.deploy("2")
        name = "trading.trade@1/0"
        await versions.kill(name)
        await versions.applied(versions.push(ordered, group="a", n=1))
        assert len(instances(second)) == 1
        first = await versions.run(name, "1")
        await first.until(
            lambda: (
                first.host.kernel.watermarks.get(second.partition) == 1
                and not first.host.kernel.arbitration.is_open
            )
        )
        assert first.host.kernel.instances[waiting].status == "waiting"
        await versions.applied(versions.push(ordered, group="a", n=2))
        assert await first.result(waiting) == {"orders": [2], "offers": []}


async def test_an_explicit_id_is_one_instance_whatever_version_is_asked(tmp_path: Path) -> None:
    async with Versions(tmp_path, explicit) as versions:
        first = await versions.deploy("1")
        request = StartRequest(workflow=explicit.name, id="x", input=b'{"n": 1}', at_us=1)
        assert (await first.host.start_instance(request)).created
        second = await versions.deploy("2")
        again = await second.host.start_instance(request)
        assert (again.created, again.version) == (False, "1")
        other = msgspec.structs.replace(request, id="y")
        with pytest.raises(Unavailable, match="another version"):
            await first.host.start_instance(other)
        both = await asyncio.gather(*(second.host.start_instance(other) for _ in range(2)))
        assert sorted(one.created for one in both) == [False, True]
        await second.host.checkpoint()
        assert (await first.host.start_instance(other)).version == "2"
