"""A pool of the simulated cluster: the real host, in one incarnation after the other."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from tests.simulation.checking import require
from tests.simulation.clockwork import Process
from tests.simulation.disks import SEAL, SimLog, SimStore, is_expected, shards_of
from tests.simulation.workflows import AWAITED

from raysume import ids, limits
from raysume.actors.beginning import about_to_take_over
from raysume.actors.hosting import PoolHost
from raysume.actors.journaling import PoolJournal
from raysume.actors.kernel.deliveries import StartAnswer, StartRequest
from raysume.actors.kernel.kernel import Kernel
from raysume.actors.loading import method_of
from raysume.errors import InvariantViolated, Unavailable
from raysume.records import OutgoingCall
from raysume.storage.call_ports import Batch, NewCall, Publisher
from raysume.workflows import Workflow

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster

QUIET_CHECKPOINTS_S = 3_600.0
"""Seconds between checkpoints once faults have stopped: time then passes in long strides."""


def check_marks(cluster: Cluster, process: Process, host: PoolHost) -> None:
    """No call is applied again of which something is durable: that its instance has started."""
    if process in cluster.zombies or any(
        owner != repr(process) for key, owner in cluster.owners.items() if host.journal.writes(key)
    ):
        return  # another one has its shards by now, and may have applied more
    name = host.workflow.name
    for partition, end in cluster.ends.items():
        mark = host.kernel.watermarks.get(partition, 0)
        for segment in cluster.log.read(partition, start=mark, end=end):
            for call in segment.calls:
                started = ids.instance_id_of(name, call.id)
                require(
                    (name, started) not in cluster.witness.records or not host.kernel.owns(started),
                    f"{process} would apply call {call.id} again, which is durable",
                )


async def make_checkpoints(cluster: Cluster, host: PoolHost) -> None:
    """The host makes checkpoints at any time."""
    while True:
        busy = cluster.rng.uniform(0.2, 15.0)
        await cluster.loop.passing(busy if cluster.trouble else QUIET_CHECKPOINTS_S)
        if host.journal.dirty:
            await host.checkpoint()


def end(cluster: Cluster, process: Process, error: BaseException) -> None:
    """The process has ended because of the error, which is one that may come."""
    cluster.note(f"{process} gives up: {type(error).__name__}")
    is_late = process in cluster.zombies and isinstance(error, InvariantViolated)
    if not (is_expected(error) or is_late):  # what it reads, its successor may be writing
        cluster.loop.errors.append(error)
    cluster.loop.kill(process)


async def publish(cluster: Cluster, publisher: str, first: int, calls: list[OutgoingCall]) -> None:
    """The calls are accepted by a replica; they are part of a durable turn."""
    for sequence in range(first, first + len(calls)):
        require(
            (publisher, sequence) in cluster.witness.outgoing,
            f"call {sequence} of {publisher} went out before its turn was durable",
        )
    made = [
        NewCall(id=c.id, method=c.method, service=c.service, input=c.input, output=c.output)
        for c in calls
    ]
    batch = Batch(calls=made, publisher=Publisher(id=publisher, first=first))
    replica = cluster.rng.choice(cluster.replicas)
    await replica.accept(batch)


class Incarnation:
    """One process of a pool."""

    def __init__(self, member: SimMember, process: Process) -> None:
        self.member, self.process = member, process
        self.booted = asyncio.Event()
        self.host: PoolHost | None = None

    async def boot(self) -> None:
        """The pool has recovered, or its process has ended."""
        member, cluster = self.member, self.member.cluster
        store: Any = SimStore(cluster, self.process)
        call_log: Any = SimLog(cluster, self.process)
        host = PoolHost(
            member.workflow,
            "1",
            store=store,
            call_log=call_log,
            sealer=SEAL,
            methods=member.methods,
            publish=partial(publish, cluster),
            give_up=self._give_up,
            checkpoint_interval_s=QUIET_CHECKPOINTS_S,
            memory_budget=limits.MEMORY_BUDGET,
        )
        try:
            about_to_take_over()
            refs = shards_of(member.workflow.name, "1", range(limits.SHARDS))
            owner = repr(self.process)
            await host.start(await asyncio.to_thread(store.acquire, refs, owner=owner))
        except Exception as error:
            self._give_up(error)
            return
        check_marks(cluster, self.process, host)
        self.host = host
        self.booted.set()
        cluster.loop.create_task(make_checkpoints(cluster, host))

    def _give_up(self, error: BaseException) -> None:
        end(self.member.cluster, self.process, error)

    async def deliver(self, delivery: bytes) -> int:
        """See `Engine.deliver`."""
        await self.booted.wait()
        assert self.host is not None
        return self.host.deliver(delivery)

    async def start(self, request: StartRequest) -> StartAnswer:
        """See `Engine.start`."""
        await self.booted.wait()
        assert self.host is not None
        answer = await self.host.start_instance(request)
        require(
            (self.member.workflow.name, answer.id) in self.member.cluster.witness.records,
            f"the start of {answer.id} was answered before it was durable",
        )
        return answer


def recovered(
    cluster: Cluster, workflow: Workflow[Any, Any], version: str
) -> tuple[Kernel, PoolJournal]:
    """What a process with all shards of the version finds in the store."""
    refs = shards_of(workflow.name, version, range(limits.SHARDS))
    journal = PoolJournal(cluster.store, cluster.store.acquire(refs, owner=""), SEAL)
    kernel = Kernel(workflow, version, methods=method_of)
    journal.recover(kernel)
    return kernel, journal


class SimMember:
    """A pool: whoever dies of it, or is taken for dead, is followed by another process."""

    def __init__(self, cluster: Cluster, workflow: Workflow[Any, Any]) -> None:
        self.cluster, self.workflow = cluster, workflow
        self.name = f"{workflow.name}@1/0"
        self.methods = frozenset(method.urn for method in AWAITED[workflow.name])
        self.current: Incarnation | None = None
        self._born = 0

    @property
    def host(self) -> PoolHost | None:
        """The host of the current incarnation, once it works."""
        return None if self.current is None else self.current.host

    @property
    def hosts(self) -> list[PoolHost]:
        """The host, if it works."""
        return [] if self.host is None else [self.host]

    def begin(self) -> None:
        """A new incarnation is on its way."""
        cluster = self.cluster
        self._born += 1
        process = cluster.loop.process(f"{self.workflow.name}#{self._born}")
        self.current = Incarnation(self, process)
        process.at_death.append(lambda: self._succeed(process))
        with cluster.loop.within(process):
            cluster.loop.create_task(self.current.boot())
        cluster.may_kill(process)
        if cluster.faults.pause_s and cluster.trouble:
            in_s = cluster.rng.expovariate(1 / cluster.faults.pause_s)
            cluster.loop.at(cluster.loop.world, in_s, self._pause, process)

    def _succeed(self, process: Process) -> None:
        """A dead process that was not replaced yet is replaced."""
        cluster = self.cluster
        if self.current is not None and self.current.process is process:
            self.current = None
            cluster.loop.at(cluster.loop.world, cluster.rng.uniform(0.2, 6.0), self._again)

    def _again(self) -> None:
        if self.current is None:
            self.begin()

    def _pause(self, process: Process) -> None:
        """The process is stopped, or only taken for dead; it may go on after it was replaced."""
        cluster = self.cluster
        if process.is_dead or not cluster.trouble or self.current is None:
            return
        if self.current.process is not process:
            return
        pause_s = cluster.rng.choice((0.0, cluster.rng.uniform(0.1, 30.0)))
        process.paused_until = cluster.loop.time() + pause_s
        cluster.note(f"{process} is silent for {pause_s:.1f} s")
        if cluster.rng.random() < 0.7:
            in_s = cluster.rng.uniform(0.0, 2.0)
            cluster.loop.at(cluster.loop.world, in_s, self._replace, process)

    def _replace(self, process: Process) -> None:
        if self.current is not None and self.current.process is process and not process.is_dead:
            self.cluster.note(f"{process} is taken for dead")
            self.cluster.zombies.append(process)
            self.current = None
            self.cluster.fail_asks(process)
            self._again()

    def has_applied(self, ends: dict[int, int]) -> bool:
        """Whether everything below these offsets was applied, durably."""
        host = self.host
        if host is None or host.has_uncommitted:
            return False
        marks = host.kernel.watermarks
        return all(marks.get(partition, 0) >= end for partition, end in ends.items())

    def recovered(self) -> tuple[Kernel, PoolJournal]:
        """What a new process finds in the store."""
        return recovered(self.cluster, self.workflow, "1")

    async def deliver(self, delivery: bytes) -> int:
        """See `Engine.deliver`; asked from another process."""
        current = self.current
        if current is None:
            raise Unavailable("simulated: the pool is being brought back")
        return int(await self.cluster.ask(current.process, lambda: current.deliver(delivery)))

    async def start(self, request: StartRequest) -> StartAnswer:
        """See `Engine.start`; asked from another process."""
        current = self.current
        if current is None:
            raise Unavailable("simulated: the pool is being brought back")
        answer: StartAnswer = await self.cluster.ask(
            current.process, lambda: current.start(request)
        )
        return answer
