"""A real pool host on SQLite files, with a store that can be held up or made to fail."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import msgspec
from tests.simulation.disks import shards_of

from raysume import limits
from raysume.actors.hosting import PoolHost
from raysume.actors.kernel.commits import Commit, Event
from raysume.actors.kernel.deliveries import DeliveredCall, Delivery
from raysume.actors.kernel.instances import Instance
from raysume.actors.readings import Readings
from raysume.errors import StoreUnavailable
from raysume.records import OutgoingCall, Segment
from raysume.storage.call_ports import Batch, NewCall, Publisher
from raysume.storage.ports import StoreCommit
from raysume.storage.processes import owner_of_this_process
from raysume.storage.sealing import Seal
from raysume.storage.sqlite.calls import SqliteCallLog
from raysume.storage.sqlite.state import SqliteStore
from raysume.workflows import Workflow

SEAL = Seal(b"hosting-key" * 4)
SOON_S = 20.0
"""A test that waits longer than this for something has failed."""


def pushed(ids: Iterator[str], *calls: tuple[Any, dict[str, Any]]) -> Batch:
    """Calls of methods with their inputs, as a client pushes them.

    Args:
        ids: of the calls. Which shard an instance belongs to follows from them: the same ones lead
            to the same shards.
    """
    return Batch(
        calls=[
            NewCall(
                id=next(ids),
                method=method.urn,
                service="hosting",
                input=json.dumps(input).encode(),
            )
            for method, input in calls
        ]
    )


def sent(publisher: str, first: int, calls: list[OutgoingCall]) -> Batch:
    """Calls that a workflow published, as its shard sends them."""
    made = [NewCall(id=c.id, method=c.method, service=c.service, input=c.input) for c in calls]
    return Batch(calls=made, publisher=Publisher(id=publisher, first=first))


class GatedStore(SqliteStore):
    """The real store; its commits wait while the gate is shut, and can be made to fail."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.gate = threading.Event()
        self.gate.set()
        self.at_gate = threading.Event()
        self.commits = 0
        self.fails: Callable[[StoreCommit], bool] = lambda _commit: False
        self.writes_before_failing = False
        self.arrived: Callable[[], object] = lambda: None

    def commit(self, commit: StoreCommit) -> None:
        """See `Store.commit`."""
        self.at_gate.set()
        self.arrived()
        if not self.gate.wait(SOON_S):
            raise StoreUnavailable("the gate was never opened")
        if self.fails(commit):
            if self.writes_before_failing:
                super().commit(commit)
            raise StoreUnavailable("the disk is gone")
        super().commit(commit)
        self.commits += 1


class FlakyLog(SqliteCallLog):
    """The real log; some of its reads fail."""

    failures = 0

    def read(self, partition: int, *, start: int, end: int) -> Any:
        """See `CallLog.read`."""
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("the log is away for a moment")
        return super().read(partition, start=start, end=end)


class WatchedHost(PoolHost):
    """The real host; whoever waits for something hears of every batch applied or released."""

    moved: asyncio.Event
    most_waiting = 0
    """The most calls that waited to be applied at any time."""

    def report(self, event: Event) -> None:
        """See `PoolHost.report`."""
        super().report(event)
        waiting = self._backlog + self.kernel.intake.waiting
        self.most_waiting = max(self.most_waiting, waiting)

    def _applied_commit(self, commit: Commit) -> None:
        super()._applied_commit(commit)
        self.moved.set()

    def _release(self, commit: Commit) -> None:
        super()._release(commit)
        self.moved.set()


class Hosted:
    """One incarnation of a pool, and the ingress beside it."""

    def __init__(
        self,
        folder: Path,
        workflow: Workflow[Any, Any],
        *methods: Any,
        version: str = "1",
        **options: Any,
    ) -> None:
        self.folder, self.workflow = folder, workflow
        self.methods = frozenset(method.urn for method in methods)
        self.store = GatedStore(folder / "state.db")
        self.log = FlakyLog(folder / "calls.db")
        self.partition = self.log.open_partition(owner=owner_of_this_process("test")).id
        self._ids = (f"{self.partition}-{n}" for n in itertools.count())
        self.errors: list[BaseException] = []
        self.gave_up = asyncio.Event()
        self.host = WatchedHost(
            workflow,
            version,
            store=self.store,
            call_log=self.log,
            sealer=SEAL,
            methods=self.methods,
            publish=self._publish,
            give_up=self._give_up,
            checkpoint_interval_s=3_600,
            **options,
        )
        self.moved = self.host.moved = asyncio.Event()
        self.readings = Readings(self.host)

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self.store.arrived = lambda: loop.call_soon_threadsafe(self.moved.set)
        refs = shards_of(self.workflow.name, self.host.version, range(limits.SHARDS))
        owner = owner_of_this_process("test")
        await self.host.start(await asyncio.to_thread(self.store.acquire, refs, owner=owner))
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.store.gate.set()
        if not self.gave_up.is_set():
            await self.host.stop()
        else:
            await self.die()
        self.store.close()
        self.log.close()

    async def die(self) -> None:
        """Nothing of the incarnation goes on, as after the end of its process."""
        for task in self.host._loops:  # pyright: ignore[reportPrivateUsage]
            task.cancel()
        await asyncio.gather(*self.host._loops, return_exceptions=True)  # pyright: ignore[reportPrivateUsage]
        await self.host.effects.stop()

    def _give_up(self, error: BaseException) -> None:
        self.errors.append(error)
        self.gave_up.set()

    async def _publish(self, publisher: str, first: int, calls: list[OutgoingCall]) -> None:
        self.log.append(self.partition, [sent(publisher, first, calls)])

    def accept(self, *calls: tuple[Any, dict[str, Any]]) -> Segment:
        """The calls are in the log; nobody is told."""
        segment = self.log.append(self.partition, [pushed(self._ids, *calls)]).segment
        assert segment is not None
        return segment

    def tell(self, segment: Segment, *, upto: int | None = None) -> int:
        """The segment, or its first calls, are delivered."""
        end = segment.end if upto is None else segment.first + upto
        calls = [
            DeliveredCall(segment.first + index, segment.pos, call)
            for index, call in enumerate(segment.calls)
            if segment.first + index < end
        ]
        after = [(segment.first, segment.after)]
        delivery = Delivery(segment.partition, segment.first, end, 1, calls, after)
        return self.host.deliver(msgspec.msgpack.encode(delivery))

    def push(self, method: Any, **input: Any) -> Segment:
        """A call is accepted and delivered."""
        segment = self.accept((method, input))
        self.tell(segment)
        return segment

    async def applied(self, segment: Segment) -> None:
        """The kernel has applied the segment, durably or not."""
        await self.until(
            lambda: self.host.kernel.watermarks.get(segment.partition, 0) >= segment.end
        )

    async def until(self, condition: Callable[[], bool]) -> None:
        """The condition holds; it is looked at after each batch, and each arrival at the gate.

        Going round the event loop instead would keep the interpreter from the threads that
        commit.
        """
        async with asyncio.timeout(SOON_S):
            while not condition():
                self.moved.clear()
                await self.moved.wait()

    @property
    def only(self) -> Instance:
        """The one instance in memory."""
        [found] = self.host.kernel.instances.values()
        return found

    async def result(self, instance_id: str) -> Any:
        """What the instance returned, once it ended; its error when it failed."""
        answer = await self.readings.result(instance_id, SOON_S)
        assert answer is not None
        if answer["error"] is not None:
            return answer["error"]["type"]
        return None if answer["result"] is None else json.loads(answer["result"])
