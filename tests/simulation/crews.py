"""The members of one pool as real hosts on SQLite files, whose processes die when told to."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import msgspec
from tests.simulation.disks import shards_of
from tests.simulation.hosting import SEAL, SOON_S, GatedStore, WatchedHost, pushed, sent

from raysume import limits
from raysume.actors import moving
from raysume.actors.bidding import AskVerdict
from raysume.actors.kernel.deliveries import DeliveredCall, Delivery
from raysume.actors.membership import Assignment, assign, assigned, move, settle
from raysume.actors.moving import Standing
from raysume.actors.readings import Readings
from raysume.errors import StoreUnavailable, Unavailable
from raysume.records import OutgoingCall, Segment
from raysume.storage.ports import OwnedShard, ShardRef
from raysume.storage.processes import owner_of_this_process
from raysume.storage.sqlite.calls import SqliteCallLog
from raysume.workflows import Workflow

POOL = "crew@1/0"


def name_of(member: int) -> str:
    """The name of a member's actor."""
    return f"crew@1/{member}"


class Died(Exception):
    """The directory's process has ended."""


class MemberStore(GatedStore):
    """The real store; giving shards up can fail, before it is durable or after."""

    yields_fail: str | None = None

    def acquire(self, refs: Any, *, owner: str) -> list[OwnedShard]:
        """See `Store.acquire`."""
        if owner == moving.NOBODY and self.yields_fail == "before":
            raise StoreUnavailable("the disk is gone")
        owned = super().acquire(refs, owner=owner)
        if owner == moving.NOBODY and self.yields_fail == "after":
            raise StoreUnavailable("the disk is gone")
        return owned


class Process:
    """One incarnation of a member."""

    def __init__(self, crew: SimulatedCrew, member: int) -> None:
        self.member, self.crew = member, crew
        self.store = MemberStore(crew.folder / "state.db")
        self.log = SqliteCallLog(crew.folder / "calls.db")
        self.is_dead = False
        self.moved = asyncio.Event()
        self.owner = owner_of_this_process(f"member-{member}-{crew.count()}")
        self.host = WatchedHost(
            crew.workflow,
            "1",
            store=self.store,
            call_log=self.log,
            sealer=SEAL,
            methods=crew.methods,
            publish=self._publish,
            give_up=lambda _: self.dies(),
            checkpoint_interval_s=3_600,
            participant=name_of(member),
            ask_verdict=crew.ask_verdict,
        )
        self.host.moved = self.moved

    def dies(self) -> None:
        """Nothing of it goes on, as after SIGKILL: what a thread is writing may become durable."""
        self.is_dead = True
        self.moved.set()
        for task in self.host._loops:  # pyright: ignore[reportPrivateUsage]
            task.cancel()

    def close(self) -> None:
        """Its threads have ended too, after the event loop."""
        self.host.effects._steps.stop()  # pyright: ignore[reportPrivateUsage]
        self.host.effects._reads.shutdown(wait=True)  # pyright: ignore[reportPrivateUsage]
        self.host._commits.shutdown(wait=True)  # pyright: ignore[reportPrivateUsage]
        self.store.close()
        self.log.close()

    async def _publish(self, publisher: str, first: int, calls: list[OutgoingCall]) -> None:
        self.log.append(self.crew.partition, [sent(publisher, first, calls)])


class SimulatedCrew:
    """Implements `raysume.actors.membership.Crew` by the hosts themselves.

    Args:
        at: called before and after everything that the directory asks, with what it is; it may
            let processes die, and raise `Died`.
    """

    def __init__(self, folder: Path, workflow: Workflow[Any, Any], *methods: Any) -> None:
        self.folder, self.workflow = folder, workflow
        self.methods = frozenset(method.urn for method in methods)
        self.at: Callable[[str], object] = lambda _: None
        self.store = GatedStore(folder / "state.db")
        self.log = SqliteCallLog(folder / "calls.db")
        self.partition = self.log.open_partition(owner=owner_of_this_process("test")).id
        self.processes: dict[int, Process] = {}
        self.ask_verdict: AskVerdict | None = None
        self._ended: list[Process] = []
        self._count = 0
        self._ids = (f"call-{n}" for n in itertools.count())

    def count(self) -> int:
        """A number never given before."""
        self._count += 1
        return self._count

    # --- what the directory asks ---------------------------------------------------

    def _process(self, member: int) -> Process:
        process = self.processes.get(member)
        if process is None or process.is_dead:
            raise Unavailable(f"member {member} does not answer")
        return process

    async def _asked(self, member: int, what: str, work: Callable[[Process], Any]) -> Any:
        self.at(f"before {what}")
        process = self._process(member)
        task = asyncio.ensure_future(work(process))
        while not task.done():
            process.moved.clear()
            if process.is_dead:
                task.cancel()
                raise Unavailable(f"member {member} died")
            signal = asyncio.ensure_future(process.moved.wait())
            await asyncio.wait([task, signal], return_when="FIRST_COMPLETED", timeout=SOON_S)
            signal.cancel()
        found = task.result()
        self.at(f"after {what}")
        return found

    async def hold(self, member: int) -> Standing | None:
        """See `Crew`."""
        self.at("before hold")
        process = self.processes.get(member)
        if process is None or process.is_dead:
            return None
        found = await moving.hold_between(process.host)
        self.at("after hold")
        return found

    async def reach(self, member: int, place: Standing) -> None:
        """See `Crew`."""
        await self._asked(member, "reach", lambda process: moving.reach(process.host, place))

    async def give(self, member: int, shards: Collection[int]) -> None:
        """See `Crew`."""
        await self._asked(member, "give", lambda process: moving.give(process.host, shards))

    async def acquire(self, member: int, shards: Collection[int]) -> list[OwnedShard]:
        """See `Crew`."""
        self.at("before acquire")
        owned = self.store.acquire(self.refs(shards), owner=self._process(member).owner)
        self.at("after acquire")
        return owned

    async def take(self, member: int, owned: list[OwnedShard]) -> None:
        """See `Crew`."""
        await self._asked(member, "take", lambda process: moving.take(process.host, owned))

    async def go_on(self, member: int) -> None:
        """See `Crew`."""

        async def go_on(process: Process) -> None:
            moving.go_on(process.host)

        await self._asked(member, "go on", go_on)

    async def assignment(self) -> Assignment:
        """See `Crew`."""
        found = assigned(self.store, POOL)
        assert found is not None
        return found

    async def assign(self, assignment: Assignment) -> None:
        """See `Crew`."""
        self.at("before assign")
        assign(self.store, POOL, assignment)
        self.at("after assign")

    def refs(self, shards: Collection[int]) -> list[ShardRef]:
        """The shards by number."""
        return shards_of(self.workflow.name, "1", shards)

    # --- what the directory does ---------------------------------------------------

    async def start(self, member: int) -> Process:
        """The member runs, with what the assignment gives it."""
        shards = (await self.assignment()).of(member)
        process = Process(self, member)
        owned = self.store.acquire(self.refs(shards), owner=process.owner)
        await process.host.start(owned)
        former = self.processes.get(member)
        if former is not None:
            self._ended.append(former)
        self.processes[member] = process
        return process

    async def begin(self, assignment: Assignment) -> None:
        """All members run."""
        assign(self.store, POOL, assignment)
        for member in assignment.crew:
            await self.start(member)

    async def recover(self) -> None:
        """What a directory does that begins, or saw a member die: all run, and go on."""
        self.at = lambda _: None
        members = (await self.assignment()).crew
        await settle(self, members)
        for member in members:
            process = self.processes.get(member)
            if process is None or process.is_dead:
                await self.start(member)

    async def resize(self, members: int) -> None:
        """The pool has so many members, however often it takes."""
        await self.assign((await self.assignment()).resized(members))
        for member in range(members):
            if member not in self.processes or self.processes[member].is_dead:
                await self.start(member)
        while orders := (await self.assignment()).moves():
            for order in orders:
                await move(self, order)

    def close(self) -> None:
        """Everything has ended, after the event loop."""
        for process in (*self.processes.values(), *self._ended):
            process.close()
        self.store.close()
        self.log.close()

    # --- calls -----------------------------------------------------------------------

    def push(self, chance: random.Random, *calls: tuple[Any, dict[str, Any]]) -> Segment:
        """The calls are accepted, and delivered to some of the members, or to all, or to none."""
        segment = self.log.append(self.partition, [pushed(self._ids, *calls)]).segment
        assert segment is not None
        delivered = [
            DeliveredCall(segment.first + index, segment.pos, call)
            for index, call in enumerate(segment.calls)
        ]
        after = [(segment.first, segment.after)]
        delivery = Delivery(segment.partition, segment.first, segment.end, 1, delivered, after)
        for process in self.processes.values():
            if not process.is_dead and chance.random() < 0.6:
                process.host.deliver(msgspec.msgpack.encode(delivery))
        return segment

    async def caught_up(self, segment: Segment) -> None:
        """Every member with shards has applied everything up to the segment."""
        ends = {segment.partition: segment.end}
        for process in self.processes.values():
            if process.host.kernel.shards and not process.is_dead:
                process.host.notice(ends)
                async with asyncio.timeout(SOON_S):
                    await process.host.caught_up(ends)

    # --- looking at it -----------------------------------------------------------------

    def owner_of(self, instance_id: str) -> Process:
        """The one process that has the instance's shard."""
        [found] = [
            process
            for process in self.processes.values()
            if not process.is_dead and process.host.kernel.owns(instance_id)
        ]
        return found

    def owners(self) -> dict[int, list[int]]:
        """shard -> the members whose processes own it."""
        return {
            shard: [
                member
                for member, process in self.processes.items()
                if not process.is_dead and shard in process.host.kernel.shards
            ]
            for shard in range(limits.SHARDS)
        }

    async def result(self, instance_id: str) -> Any:
        """What the instance returned, once it ended."""
        process = self.owner_of(instance_id)
        answer = await Readings(process.host).result(instance_id, SOON_S)
        assert answer is not None, instance_id
        assert answer["error"] is None, answer
        return json.loads(answer["result"] or "null")
