"""The pool actor: a thin shell around `PoolHost`, visible in the Ray dashboard."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from datetime import timedelta
from functools import partial
from typing import Any

import msgspec
import structlog

from raysume import limits
from raysume.actors import commanding, explaining, handover
from raysume.actors.asking import ask_directory
from raysume.actors.beginning import about_to_take_over
from raysume.actors.commanding import CommandKind, PointAsked, command
from raysume.actors.families import Families
from raysume.actors.figures import figures_of, first_methods
from raysume.actors.garbage import collect_seldom, no_collection
from raysume.actors.hosting import PoolHost
from raysume.actors.kernel.deliveries import DeliveredCall, StartRequest
from raysume.actors.loading import load
from raysume.actors.metrics import PoolReport, RayExport, export_regularly
from raysume.actors.needs import needs_of
from raysume.actors.ordered import Ordered
from raysume.actors.outlet import IngressOutlet
from raysume.actors.process_logs import log_to_stderr
from raysume.actors.ray_steps import RaySteps
from raysume.actors.readings import Readings
from raysume.actors.spans import from_environment
from raysume.actors.specs import NAMESPACE, EngineSpec, Grant, Hello, PoolSpec
from raysume.actors.step_outcomes import delete_left_outcomes
from raysume.actors.untyped import in_group, ray
from raysume.actors.watchdog import Watchdog
from raysume.errors import ConfigurationError, Fenced, Unavailable
from raysume.publishing import set_engine_sink
from raysume.storage.opening import open_call_log, open_store
from raysume.storage.ports import OwnedShard
from raysume.storage.processes import owner_of_this_process
from raysume.storage.seal_key import load_seal
from raysume.workflows import Workflow

_log = structlog.get_logger("raysume.pool")


class Pool(Ordered):
    """One member of a workflow version's pool. All methods are called over Ray.

    It owns nothing until `ready` gives it shards, and never raises an epoch of its own.
    """

    def __init__(self, engine: bytes, pool: bytes, member: int, driver_paths: list[str]) -> None:
        log_to_stderr()
        self._engine = msgspec.msgpack.decode(engine, type=EngineSpec)
        self._spec = msgspec.msgpack.decode(pool, type=PoolSpec)
        self._name = self._spec.member(member)
        self._owner = owner_of_this_process(self._name)
        sys.path[:] = [path for path in sys.path if path not in driver_paths]
        if self._engine.service is not None:
            os.environ["RAYSUME_SERVICE"] = self._engine.service
        self._driver_paths = driver_paths
        self._fenced = asyncio.Event()
        self._host: PoolHost | None = None
        self._readings: Readings | None = None
        self._boot_task: asyncio.Task[None] | None = None
        self._granted = asyncio.Event()
        self._loop_at = time.monotonic()

    def _workflow(self) -> Workflow[..., Any]:
        deployment = load(self._spec.target)
        workflow = deployment.workflows.get(self._spec.workflow)
        found = None if workflow is None else workflow.version_id()
        if workflow is None or found != self._spec.version:
            raise ConfigurationError(
                f"{self._spec.target.module} no longer defines {self._spec.workflow}@"
                f"{self._spec.version} (found: {found}): the file was changed after it was "
                "deployed. Deploy it again."
            )
        return workflow

    async def _boot(self, owned: list[OwnedShard]) -> None:
        workflow = self._workflow()
        store = open_store(self._engine.database_url, self._engine.folder)
        call_log = open_call_log(self._engine.database_url, self._engine.folder)
        outlet = IngressOutlet(publisher=self._name)
        host = PoolHost(
            workflow,
            self._spec.version,
            store=store,
            call_log=call_log,
            sealer=load_seal(store, self._engine.folder),
            methods=self._spec.methods,
            publish=outlet.publish,
            give_up=self._give_up,
            checkpoint_interval_s=self._engine.checkpoint_interval_s,
            mailbox_window=timedelta(seconds=self._engine.mailbox_window_s),
            history_retention=timedelta(seconds=self._engine.history_retention_s),
            memory_budget=self._engine.memory_budget,
            elsewhere=RaySteps(self._engine, self._spec.target, self._driver_paths),
            participant=self._name,
            ask_verdict=ask_directory,
        )
        outlet.follow(asyncio.get_running_loop())
        set_engine_sink(outlet.take)
        handover.recall(host, self._spec.name)
        host.effects.follow_child = Families(store).follow
        host.effects.trace_with(from_environment())
        with no_collection():
            recovered = await host.start(owned)
        shards = sorted(host.kernel.shards)
        _log.info(
            "pool_ready", pool=self._name, recovered=recovered, pid=os.getpid(), shards=shards
        )
        await delete_left_outcomes(store, host.kernel)
        self._host, self._readings = host, Readings(host)
        Watchdog(self._spec.workflow)
        collect_seldom()
        to = RayExport(workflow=self._spec.workflow, version=self._spec.version)
        report = partial(PoolReport(), host, to)
        self._reports = asyncio.get_running_loop().create_task(export_regularly(report))

    async def _hosting(self) -> PoolHost:
        if self._host is None:
            try:
                async with asyncio.timeout(limits.MEMBER_GRANT_S_MAX):
                    await self._granted.wait()
            except TimeoutError:
                raise self._not_started() from None
            assert self._boot_task is not None
            await asyncio.shield(self._boot_task)
        assert self._host is not None
        return self._host

    def _started(self) -> PoolHost:
        """The host, for whoever must not wait until there is one."""
        if self._host is None:
            raise self._not_started()
        return self._host

    def _may_be_started(self) -> bool:
        booting = self._boot_task
        return booting is not None and (self._host is not None or not booting.done())

    def _not_started(self) -> Unavailable:
        return Unavailable(f"{self._name} has not been given its shards yet.", retry_after=1.0)

    def hello(self) -> bytes:
        """msgpack of `Hello`."""
        if self._boot_task is None:
            about_to_take_over()
        hello = Hello(owner=self._owner, is_started=self._boot_task is not None)
        return msgspec.msgpack.encode(hello)

    async def ready(self, grant: bytes | None) -> dict[str, Any]:
        """The member has recovered and knows its first wait.

        Args:
            grant: msgpack of `Grant`; None: it was given them before.

        Raises:
            UsageError: the workflow cannot be deployed; says why.
            Unavailable: they were given to a process of this member that ended meanwhile.
        """
        loop = asyncio.get_running_loop()
        if self._boot_task is None:
            if grant is None:
                raise self._not_started()
            given = msgspec.msgpack.decode(grant, type=Grant)
            if given.owner != self._owner:  # who takes over from it would end the wrong one
                raise self._not_started()
            self._obey(given.epoch)
            self._boot_task = loop.create_task(self._boot(given.owned))
            self._granted.set()
            self._beat = loop.create_task(self._show_that_the_loop_turns())
        host = await self._hosting()
        return {"pool": self._name, "pid": os.getpid(), "waits": len(host.kernel.index)}

    async def _show_that_the_loop_turns(self) -> None:
        while True:
            self._loop_at = time.monotonic()
            await asyncio.sleep(limits.MEMBER_HEARTBEAT_S / 4)

    @in_group("lease")
    async def alive(self) -> float:
        """For how many seconds the event loop has done nothing else than what it does now.

        A thread of its own answers: a process that does not answer is stopped, not busy.
        """
        return time.monotonic() - self._loop_at

    # --- handing over to another version ----------------------------------------------

    async def check(self) -> list[str]:
        """The workflow can be deployed, whether it runs yet or not.

        Returns:
            The URNs of the methods for which it waits first.

        Raises:
            UsageError: it cannot; says why.
        """
        if self._host is not None:
            return sorted({wait.method for wait in self._host.kernel.standing.waits})
        return await first_methods(self._workflow(), self._spec.version)

    async def hold(self, epoch: int) -> bytes:
        """See `handover.hold`, and for the epoch `Ordered`."""
        self._obey(epoch)
        return msgspec.msgpack.encode(handover.hold(self._started()))

    async def let_go(self, epoch: int) -> None:
        """See `handover.let_go`."""
        self._obey(epoch)
        handover.let_go(self._started())

    async def retire(self, epoch: int, after: bytes | None) -> bytes:
        """See `handover.retire`."""
        bound = None if after is None else msgspec.msgpack.decode(after, type=handover.Boundary)
        host, office = await self._hosting(), self._obey(epoch)
        boundary = await handover.retire(host, self._spec.name, after=bound, under=office)
        return msgspec.msgpack.encode(boundary)

    async def take_over(self, epoch: int, boundary: bytes) -> None:
        """See `handover.take_over`."""
        found = msgspec.msgpack.decode(boundary, type=handover.Boundary)
        host, office = await self._hosting(), self._obey(epoch)
        handover.take_over(host, self._spec.name, found, under=office)

    async def follow(self, epoch: int) -> bytes:
        """See `handover.follow`."""
        self._obey(epoch)
        return msgspec.msgpack.encode(await handover.follow(await self._hosting()))

    async def stand(self, places: list[tuple[int, int]]) -> dict[int, int]:
        """See `handover.stand`."""
        return handover.stand(await self._hosting(), places)

    async def lasting(self) -> None:
        """Lasts as long as the process: whoever awaits it learns of its death.

        A pool whose shards were taken over by another process ends here, for good.

        Raises:
            Unavailable: the process was not given its shards: it follows one that ended before this
                was asked.
        """
        if self._boot_task is None:
            raise self._not_started()
        await self._fenced.wait()
        ray.actor.exit_actor()

    def _give_up(self, error: BaseException) -> None:
        """The incarnation ends at once: what was not committed never happened."""
        _log.error("pool_gives_up", pool=self._name, error=repr(error), exc_info=error)
        sys.stderr.flush()
        if isinstance(error, Fenced):
            self._fenced.set()
        else:
            os._exit(1)

    async def deliver(self, delivery: bytes) -> int:
        """See `Engine.deliver`."""
        return (await self._hosting()).deliver(delivery)

    async def start(self, request: bytes) -> bytes:
        """See `Engine.start`."""
        host = await self._hosting()
        answer = await host.start_instance(msgspec.msgpack.decode(request, type=StartRequest))
        return msgspec.msgpack.encode(answer)

    async def describe(self, id: str) -> dict[str, Any] | None:
        """See `Engine.describe`."""
        await self._hosting()
        assert self._readings is not None
        return await self._readings.describe(id)

    async def command(self, id: str, kind: CommandKind, reason: str) -> dict[str, Any] | None:
        """See `Engine.command`."""
        host = await self._hosting()
        assert self._readings is not None
        return await command(host, self._readings, kind, id, reason)

    async def rewind(self, id: str, asked: bytes) -> dict[str, Any] | None:
        """See `Engine.rewind`."""
        host = await self._hosting()
        assert self._readings is not None
        point = msgspec.json.decode(asked, type=PointAsked)
        return await commanding.rewind(host, self._readings, id, point)

    async def fork(self, id: str, asked: bytes) -> bytes | None:
        """See `Engine.fork`."""
        host = await self._hosting()
        assert self._readings is not None
        point = msgspec.json.decode(asked, type=PointAsked)
        answer = await commanding.fork(host, self._readings, id, point)
        return None if answer is None else msgspec.msgpack.encode(answer)

    async def history(
        self, id: str, before: tuple[int, int] | None, limit: int
    ) -> dict[str, Any] | None:
        """See `Engine.history`."""
        await self._hosting()
        assert self._readings is not None
        return await self._readings.history(id, before, limit)

    async def state(self, id: str) -> dict[str, Any] | None:
        """See `Engine.state`."""
        await self._hosting()
        assert self._readings is not None
        return await self._readings.state(id)

    async def query(self, id: str, name: str, arguments: bytes, is_text: bool) -> bytes | None:
        """See `Engine.query`."""
        await self._hosting()
        assert self._readings is not None
        return await self._readings.query(id, name, arguments, is_text)

    async def result(self, id: str, wait_s: float) -> dict[str, Any] | None:
        """See `Engine.result`."""
        await self._hosting()
        assert self._readings is not None
        return await self._readings.result(id, wait_s)

    async def instances(self, query: dict[str, Any]) -> tuple[list[int], list[dict[str, Any]]]:
        """The shards that were asked, and their part of the page (see `Engine.instances`)."""
        await self._hosting()
        assert self._readings is not None
        return await self._readings.instances_by_shards(query)

    async def explain(self, call: bytes, id: str | None) -> tuple[list[int], bytes]:
        """The shards that were asked, and what they say (see `Engine.explain`)."""
        host = await self._hosting()
        assert self._readings is not None
        item = msgspec.msgpack.decode(call, type=DeliveredCall)
        found = await explaining.explain(host, self._readings, item, id)
        return sorted(host.kernel.shards), msgspec.msgpack.encode(found)

    async def waits(self, query: dict[str, Any]) -> tuple[list[int], list[dict[str, Any]]]:
        """The shards that were asked, and their part of the page (see `Engine.waits`)."""
        host = await self._hosting()
        found = await explaining.waits(host, query)
        return sorted(host.kernel.shards), found

    async def stats(self) -> dict[str, Any]:
        """Figures of the pool: see `figures_of`."""
        return {"pool": self._name, **figures_of(await self._hosting())}

    async def needs(self) -> bytes:
        """See `needs_of`."""
        return msgspec.msgpack.encode(await needs_of(await self._hosting()))

    async def caught_up(self, ends: dict[int, int]) -> None:
        """Every call below these offsets (partition -> offset) is applied, durably."""
        host = await self._hosting()
        await host.caught_up(ends)

    async def stop(self) -> None:
        """Everything is checkpointed; the pool takes nothing any more."""
        set_engine_sink(None)
        if self._host is not None:
            await self._host.stop()

    def pid(self) -> int:
        """The process id."""
        return os.getpid()

    def __repr__(self) -> str:
        # Ray asks once, as the actor is made: nothing that changes belongs here.
        return f"{self._name} · of {limits.SHARDS} shards · module {self._spec.target.module}"


def pool_actor(spec: PoolSpec, member: int, engine: EngineSpec, driver_paths: list[str]) -> Any:
    """A member's actor: the one that exists under its name, or a new one."""
    options = ray.remote(concurrency_groups={"lease": 4})(Pool).options(
        name=spec.member(member),
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        num_cpus=0.01,
        max_restarts=-1,
        max_task_retries=0,
        max_concurrency=1_000,
        runtime_env={"env_vars": {"RAYSUME_DATA_DIR": engine.data_dir}},
    )
    return options.remote(
        msgspec.msgpack.encode(engine), msgspec.msgpack.encode(spec), member, driver_paths
    )
