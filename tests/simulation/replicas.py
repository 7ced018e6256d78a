"""An ingress replica of the simulated cluster: the real acceptor and dispatcher."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tests.simulation.checking import require
from tests.simulation.clockwork import Process
from tests.simulation.disks import SimLog
from tests.simulation.members import SimMember

from raysume.errors import Unavailable
from raysume.records import Segment
from raysume.serve_apps.ingress.acceptance import Acceptor, _Settled  # pyright: ignore[reportPrivateUsage]
from raysume.serve_apps.ingress.cluster import RayEngine
from raysume.serve_apps.ingress.delivery import Dispatcher
from raysume.serve_apps.ingress.engine import Catalogue
from raysume.storage.call_ports import Accepted, Batch, Partition

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster

QUIET_LOOKS_S = 3_600.0
"""Seconds between two looks at the partitions, the first one excepted, once faults have stopped:
time then passes in long strides."""


class SimAcceptor(Acceptor):
    """The real acceptor, whose thread takes its rounds one by one."""

    cluster: Cluster

    async def start(self) -> None:
        """See `Acceptor.start`."""
        self._loop = asyncio.get_running_loop()
        self._more = asyncio.Event()
        self._turns = self._loop.create_task(self._take_turns())
        await self._tried.wait()

    async def accept(self, batch: Batch) -> Accepted:
        """See `Acceptor.accept`."""
        self._more.set()
        return await super().accept(batch)

    def _hear(self, settled: _Settled) -> None:
        for pending, answer in settled.answers:
            if isinstance(answer, Accepted):
                self._check(pending.batch, answer)
        super()._hear(settled)

    def _check(self, batch: Batch, answer: Accepted) -> None:
        for call, outcome in zip(batch.calls, answer.outcomes, strict=True):
            if outcome == "accepted":
                stored = self.cluster.log.find_call(call.id) is not None
                require(stored, f"call {call.id} was acknowledged before it was in the log")

    async def _take_turns(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if self._queue:
                await loop.run_in_executor(None, self._round)
                continue
            if not self.cluster.trouble:
                self._look_s = QUIET_LOOKS_S
            self._more.clear()
            await loop.run_in_executor(None, self._tend)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s()):
                    await self._more.wait()


class SimReplica:
    """A replica: when its process dies, or is taken for dead, another one takes its place."""

    def __init__(self, cluster: Cluster, number: int) -> None:
        self.cluster, self.number = cluster, number
        self.process: Process | None = None
        self.acceptor: SimAcceptor | None = None
        self._born = 0
        self._former: list[tuple[Process, SimAcceptor]] = []
        """Replicas that were replaced and may live: some clients still know them."""

    @property
    def owner(self) -> str:
        """As its partitions name it."""
        return repr(self.process)

    def begin(self) -> None:
        """A new process takes over."""
        cluster = self.cluster
        self._born += 1
        process = self.process = cluster.loop.process(f"ingress{self.number}#{self._born}")
        process.at_death.append(lambda: self._succeed(process))
        with cluster.loop.within(process):
            cluster.loop.create_task(self._boot(process))
        cluster.may_kill(process)
        if cluster.faults.replica_pause_s and cluster.trouble:
            in_s = cluster.rng.expovariate(1 / cluster.faults.replica_pause_s)
            cluster.loop.at(cluster.loop.world, in_s, self._pause, process)

    async def _boot(self, process: Process) -> None:
        cluster = self.cluster
        engine = None if cluster.resizing is None else RayEngine()
        dispatcher = Dispatcher(self._deliver if engine is None else engine.deliver)
        log: Any = SimLog(cluster, process)

        def emit(segments: Sequence[Segment], closed: Sequence[Partition]) -> None:
            for partition in closed:
                cluster.adopted.add(partition.id)
                if partition.next_offset > 0:
                    dispatcher.announce(partition.id, partition.next_offset)
            for segment in segments:
                dispatcher.offer(segment)

        acceptor = SimAcceptor(log, owner=repr(process), emit=emit)
        acceptor.cluster = cluster
        if engine is None:
            pools = {member.name: member.methods for member in cluster.members}
            catalogue = Catalogue(version=1, generation=1, methods={}, workflows=[], pools=pools)
            dispatcher.update(catalogue)
        else:
            cluster.loop.create_task(self._follow(engine, dispatcher))
        await acceptor.start()
        if self.process is process:
            self.acceptor = acceptor

    async def _follow(self, engine: RayEngine, dispatcher: Dispatcher) -> None:
        """Deliveries go to whatever members there are (see `Ingress`)."""
        known = -1
        while True:
            try:
                catalogue = await engine.catalogue(known)
            except Unavailable:
                await self.cluster.loop.passing(self.cluster.rng.uniform(0.05, 1.0))
                continue
            if catalogue.version != known:
                dispatcher.update(catalogue)
            known = catalogue.version

    async def _deliver(self, pool: str, delivery: bytes) -> int:
        member = next(one for one in self.cluster.members if one.name == pool)
        assert isinstance(member, SimMember), "members of others are reached by the engine"
        return await member.deliver(delivery)

    def _succeed(self, process: Process) -> None:
        if self.process is process:
            self.acceptor = None
            self.process = None
            in_s = self.cluster.rng.uniform(0.2, 6.0)
            self.cluster.loop.at(self.cluster.loop.world, in_s, self._again)

    def _again(self) -> None:
        if self.process is None:
            self.begin()

    def _pause(self, process: Process) -> None:
        cluster = self.cluster
        if process.is_dead or not cluster.trouble or self.process is not process:
            return
        pause_s = cluster.rng.choice((0.0, cluster.rng.uniform(0.1, 30.0)))
        process.paused_until = cluster.loop.time() + pause_s
        cluster.note(f"{process} is silent for {pause_s:.1f} s")
        if cluster.rng.random() < 0.7:
            self.replace()

    def replace(self) -> None:
        """Its process is taken for dead, and goes on; another one is on its way."""
        cluster, process = self.cluster, self.process
        assert process is not None
        cluster.zombies.append(process)
        if self.acceptor is not None:
            self._former.append((process, self.acceptor))
        self.process, self.acceptor = None, None
        cluster.loop.at(cluster.loop.world, cluster.rng.uniform(0.0, 2.0), self._again)

    async def accept(self, batch: Batch) -> Accepted:
        """The batch is durable; asked from another process.

        Raises:
            Unavailable: try again, with the same batch.
        """
        process, acceptor = self.process, self.acceptor
        if self._former and self.cluster.happens(0.3):
            process, acceptor = self.cluster.rng.choice(self._former)
        if process is None or acceptor is None:
            await self.cluster.loop.passing(self.cluster.rng.uniform(0.01, 0.1))
            raise Unavailable("simulated: no replica is there")
        accepted: Accepted = await self.cluster.ask(process, lambda: acceptor.accept(batch))
        return accepted
