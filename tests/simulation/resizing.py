"""Pools with several members in a simulated cluster: the real directory resizes them.

Directory, supervisor, crews and the members' actors are the real ones; only Ray is not (`rays`).
"""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
from tests.simulation.checking import require
from tests.simulation.clockwork import Died, Process
from tests.simulation.disks import SEAL, SimLog, SimStore
from tests.simulation.members import (
    QUIET_CHECKPOINTS_S,
    check_marks,
    end,
    make_checkpoints,
    publish,
    recovered,
)
from tests.simulation.rays import SimRay
from tests.simulation.workflows import AWAITED, WORKFLOWS, barter

from raysume import limits
from raysume.actors import (
    asking,
    beginning,
    crews,
    directory,
    handover,
    pool,
    succession,
    supervision,
)
from raysume.actors.asking import ask_directory
from raysume.actors.deployed_workflows import DeployedWorkflow
from raysume.actors.deploying import described
from raysume.actors.directory import Directory
from raysume.actors.handover import Boundary, Record
from raysume.actors.hosting import PoolHost
from raysume.actors.journaling import PoolJournal
from raysume.actors.kernel.deliveries import StartAnswer, StartRequest
from raysume.actors.kernel.kernel import Kernel
from raysume.actors.kernel.records import START_OF_LOG
from raysume.actors.loading import Target
from raysume.actors.membership import assigned
from raysume.actors.pool import Pool
from raysume.actors.readings import Readings
from raysume.actors.specs import DIRECTORY_NAME, EngineSpec, Order, PoolSpec
from raysume.actors.step_outcomes import delete_left_outcomes
from raysume.deployments import deployment
from raysume.errors import Fenced, RaysumeError
from raysume.serve_apps.ingress import cluster as ray_engine
from raysume.serve_apps.ingress.cluster import RayEngine
from raysume.storage.ports import OwnedShard
from raysume.storage.sealing import Seal
from raysume.workflows import Workflow

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster

MEMBERS_MAX = 4
"""Of one pool: enough that shards pass between two others while one is away."""

QUIET_S = 6 * 3_600.0
"""Between questions that are asked again and again, once nothing happens any more."""

ENGINE = EngineSpec(
    data_dir="simulated",
    checkpoint_interval_s=QUIET_CHECKPOINTS_S,
    call_retention_s=365 * 86_400.0,
)


@functools.cache
def deployed() -> tuple[DeployedWorkflow, ...]:
    """What the directory finds deployed: each workflow awaits only methods of its own."""
    found, _ = described(
        deployment([*WORKFLOWS, barter], []), Target(module=barter.function.__module__, folder=None)
    )
    decoded = [msgspec.msgpack.decode(one, type=DeployedWorkflow) for one in found]
    return tuple(
        msgspec.structs.replace(
            one,
            pool=msgspec.structs.replace(
                one.pool, methods=frozenset(m.urn for m in AWAITED[one.pool.workflow])
            ),
        )
        for one in decoded
    )


class SimPoolActor(Pool):
    """The real actor of a member, on simulated storage."""

    def __init__(self, crew: SimCrew, process: Process, number: int) -> None:
        encode = msgspec.msgpack.encode
        super().__init__(encode(ENGINE), encode(crew.spec), number, [])
        self._crew, self._process = crew, process
        self._owner = repr(process)

    @property
    def host(self) -> PoolHost | None:
        """The host, once it works."""
        return self._host

    def _workflow(self) -> Workflow[Any, Any]:
        """It was loaded and checked when this module was: that is the same for every process."""
        return self._crew.workflow

    async def _boot(self, owned: list[OwnedShard]) -> None:
        cluster, crew = self._crew.cluster, self._crew
        store: Any = SimStore(cluster, self._process)
        call_log: Any = SimLog(cluster, self._process)
        host = PoolHost(
            crew.workflow,
            crew.spec.version,
            store=store,
            call_log=call_log,
            sealer=SEAL,
            methods=crew.spec.methods,
            publish=functools.partial(publish, cluster),
            give_up=self._give_up,
            checkpoint_interval_s=QUIET_CHECKPOINTS_S,
            memory_budget=limits.MEMORY_BUDGET,
            participant=self._name,
            ask_verdict=ask_directory,
        )
        handover.recall(host, crew.spec.name)
        await host.start(owned)
        check_marks(cluster, self._process, host)
        await delete_left_outcomes(store, host.kernel)
        self._host, self._readings = host, Readings(host)
        cluster.loop.create_task(make_checkpoints(cluster, host))

    def _give_up(self, error: BaseException) -> None:
        if isinstance(error, Fenced):
            super()._give_up(error)
        else:
            end(self._crew.cluster, self._process, error)

    async def _show_that_the_loop_turns(self) -> None:
        """There is nothing that could keep the loop from turning."""

    async def alive(self) -> float:
        """See `Pool.alive`."""
        return 0.0

    async def take(self, order: Order, grant: bytes) -> None:
        """See `Pool.take`."""
        await super().take(order, grant)
        assert self._host is not None
        check_marks(self._crew.cluster, self._process, self._host)

    async def start(self, request: bytes) -> bytes:
        """See `Engine.start`."""
        told = await super().start(request)
        answer = msgspec.msgpack.decode(told, type=StartAnswer)
        require(
            (self._spec.workflow, answer.id) in self._crew.cluster.witness.records,
            f"the start of {answer.id} was answered before it was durable",
        )
        return told


class SimCrew:
    """A pool whose members come and go."""

    def __init__(self, cluster: Cluster, ray: SimRay, one: DeployedWorkflow) -> None:
        self.cluster, self.spec = cluster, one.pool
        self.name, self.methods = one.pool.name, one.pool.methods
        self._ray = ray
        self._names = {self.spec.member(number) for number in range(limits.SHARDS)}
        self.workflow: Workflow[Any, Any] = next(
            w for w in (*WORKFLOWS, barter) if w.name == one.pool.workflow
        )

    def begin(self) -> None:
        """The directory does that."""

    def actors(self) -> list[SimPoolActor | None]:
        """The members that there are; None for one that is being brought back.

        One that a directory made which had a successor is none before it is given shards: it stays
        until shards are moved again, or another directory begins.
        """
        found: list[SimPoolActor | None] = []
        for name, one in self._ray.actors.items():
            made = None if one.life is None else one.life.instance
            is_stray = one.maker in self.cluster.zombies and (made is None or made.host is None)
            if name in self._names and not is_stray:
                found.append(made)
        return found

    @property
    def hosts(self) -> list[PoolHost]:
        """The hosts of all members that work."""
        found = [None if one is None else one.host for one in self.actors()]
        return [host for host in found if host is not None]

    def has_applied(self, ends: dict[int, int]) -> bool:
        """Whether all members have their share, and have applied everything, durably."""
        hosts = self.hosts
        assignment = assigned(self.cluster.store, self.name)
        if assignment is None or assignment.moves() or len(hosts) != assignment.members:
            return False
        owned = sorted(shard for host in hosts for shard in host.kernel.shards)
        if owned != list(range(limits.SHARDS)) or len(self.actors()) != len(hosts):
            return False
        return all(
            not host.has_uncommitted
            and host.kernel.intake.bound is None
            and host.released.is_set()
            and all(host.kernel.watermarks.get(one, 0) >= end for one, end in ends.items())
            for host in hosts
        )

    def recovered(self) -> tuple[Kernel, PoolJournal]:
        """What a process with all shards finds in the store."""
        return recovered(self.cluster, self.workflow, self.spec.version)

    async def start(self, request: StartRequest) -> StartAnswer:
        """See `Engine.start`; asked from another process."""
        told = await RayEngine().start(self.name, msgspec.msgpack.encode(request))
        return msgspec.msgpack.decode(told, type=StartAnswer)


class Resizing:
    """The directory, and who tells it to resize pools."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.ray = SimRay(cluster)
        self.crews = [SimCrew(cluster, self.ray, one) for one in deployed()]
        self._by_name = {crew.name: crew for crew in self.crews}

    def begin(self) -> None:
        """A directory begins, which finds everything deployed; pools are resized at any time."""
        cluster = self.cluster
        for one in deployed():
            key, body = f"workflow/{one.pool.name}", msgspec.msgpack.encode(one)
            cluster.store.put_document("deployed", key, body)
            begins = Boundary(offsets={}, newest=START_OF_LOG)
            handover.keep(cluster.store, one.pool.name, Record(begins=begins))
        self.ray.made(DIRECTORY_NAME, self._directory, is_retried=True, goes_on=True)
        with cluster.loop.within(cluster.loop.process("operator")):
            cluster.loop.create_task(self._restore())
            cluster.loop.create_task(self._resize_now_and_then())

    def _directory(self, _process: Process) -> Directory:
        return Directory(msgspec.msgpack.encode(ENGINE), [])

    async def _restore(self) -> None:
        await self.ray.named(DIRECTORY_NAME).restore.remote()

    async def _resize_now_and_then(self) -> None:
        cluster = self.cluster
        await cluster.loop.passing(cluster.rng.uniform(0.0, 2.0))
        while cluster.trouble:
            crew, members = cluster.rng.choice(self.crews), cluster.rng.randint(1, MEMBERS_MAX)
            cluster.loop.create_task(self._resize(crew, members))
            await cluster.loop.passing(cluster.rng.expovariate(1 / cluster.faults.resize_s))

    async def _resize(self, crew: SimCrew, members: int) -> None:
        self.cluster.note(f"{crew.name} is to have {members} members")
        try:
            directory = self.ray.named(DIRECTORY_NAME)
            await directory.resize.remote(crew.spec.workflow, members, None)
        except Exception as error:
            told = getattr(error, "cause", error)
            if not isinstance(told, RaysumeError):
                self.cluster.loop.errors.append(error)
            self.cluster.note(f"{crew.name} was not resized: {type(told).__name__}")
            return
        self.cluster.note(f"{crew.name} has {members} members")

    def be_quiet(self) -> None:
        """What is asked again and again is asked rarely: many days pass now."""
        for owner, name in _PERIODIC:
            setattr(owner, name, QUIET_S)

    # --- what the code under test is given ---------------------------------------------

    def _store(self, *_where: Any) -> Any:
        return SimStore(self.cluster, self.cluster.loop.current)

    def _log(self, *_where: Any) -> Any:
        return SimLog(self.cluster, self.cluster.loop.current)

    def _end_replaced(self) -> None:
        process = self.cluster.loop.current
        self.cluster.note(f"{process} has a successor, and ends")
        self.cluster.loop.kill(process)
        raise Died

    def _pool_actor(self, spec: PoolSpec, number: int, *_engine: Any) -> Any:
        crew = self._by_name[spec.name]

        def make(process: Process) -> SimPoolActor:
            return SimPoolActor(crew, process, number)

        return self.ray.made(spec.member(number), make, is_retried=False, goes_on=True)

    def surroundings(self) -> list[tuple[Any, str, Any]]:
        """(where, name, what it is in the simulation)."""
        named = self.ray.named
        return [
            *((owner, name, getattr(owner, name)) for owner, name in _PERIODIC),
            *((one, "ray", self.ray) for one in (crews, supervision, pool)),
            *((one, "actor_named", named) for one in (asking, crews, ray_engine)),
            (crews, "pool_actor", self._pool_actor),
            (crews, "end_process", _cannot_be_reached),
            (directory, "end_replaced_process", self._end_replaced),
            (directory, "log_to_stderr", _nothing),
            (pool, "log_to_stderr", _nothing),
            (beginning, "time", SimpleNamespace(sleep=_no_pause)),
            (directory, "open_store", self._store),
            (directory, "open_call_log", self._log),
            (succession, "open_call_log", self._log),
            (directory, "load_seal", _seal),
            (succession, "load_seal", _seal),
        ]


_PERIODIC: tuple[tuple[Any, str], ...] = (
    (limits, "MEMBER_HEARTBEAT_S"),
    (limits, "BIDS_AWAITED_S"),
    (directory, "LONG_POLL_S"),
)


def _seal(*_where: Any) -> Seal:
    return SEAL


def _nothing() -> None:
    """What a process does for its own logs."""


def _no_pause(_seconds: float) -> None:
    """Waiting for the database takes no time: what makes it come back is simulated elsewhere."""


def _cannot_be_reached(_owner: str) -> None:
    """The process is on another machine."""
