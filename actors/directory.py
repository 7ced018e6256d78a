"""The directory actor: what is deployed, and the pools that run it.

It supervises: pools are named, detached actors that Ray restarts; the directory makes
the ones that are missing, and tells every ingress when the catalogue changes.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import msgspec
import ray
import structlog

from raysume.actors.pool import pool_actor
from raysume.actors.specs import DIRECTORY_NAME, NAMESPACE, EngineSpec, PoolSpec
from raysume.errors import Unavailable
from raysume.storage.opening import open_store
from raysume.storage.ports import Store

LONG_POLL_S = 30.0
"""Seconds after which an unchanged catalogue is answered all the same."""

_KIND = "deployed"

_log = structlog.get_logger("raysume.directory")


class DeployedWorkflow(msgspec.Struct, frozen=True, kw_only=True):
    """One deployed version of a workflow, as the store keeps it."""

    pool: PoolSpec
    active: bool
    takes_new: bool
    """False for `@workflow(active=False)`."""
    entry: bytes
    """JSON of the ingress's WorkflowEntry."""


class DeployedMethods(msgspec.Struct, frozen=True, kw_only=True):
    """The methods of a deployment, as the store keeps them."""

    entries: dict[str, bytes]
    """URN -> JSON of the ingress's MethodEntry."""


class Directory:
    """Knows what is deployed. All methods are called over Ray."""

    def __init__(self, engine: bytes, driver_paths: list[str]) -> None:
        self._engine = msgspec.msgpack.decode(engine, type=EngineSpec)
        self._driver_paths = driver_paths
        self._store: Store = open_store(self._engine.database_url, self._engine.folder)
        self._workflows: dict[str, DeployedWorkflow] = {}
        self._methods: dict[str, bytes] = {}
        self._pools: dict[str, Any] = {}
        self._problems: dict[str, str] = {}
        self._version = 0
        self._generation = int(self._store.get_document(_KIND, "generation") or b"0")
        self._changed = asyncio.Condition()
        self._restored = False

    async def restore(self) -> None:
        """What the store knows as deployed is running again."""
        if self._restored:
            return
        self._restored = True
        for key, body in self._store.documents(_KIND):
            if key == "methods":
                self._methods.update(msgspec.msgpack.decode(body, type=DeployedMethods).entries)
            elif key.startswith("workflow/"):
                one = msgspec.msgpack.decode(body, type=DeployedWorkflow)
                self._workflows[one.pool.name] = one
        for one in list(self._workflows.values()):
            try:
                await self._run(one.pool)
            except Exception as error:
                self._problems[one.pool.name] = str(error)
                _log.warning("pool_not_started", pool=one.pool.name, error=str(error))
        await self._announce()

    async def deploy(self, workflows: list[bytes], methods: bytes) -> dict[str, Any]:
        """The workflows take new instances; older versions keep what they have.

        Args:
            workflows: msgpack of `DeployedWorkflow`.
            methods: msgpack of `DeployedMethods`.

        Returns:
            {"generation": int, "pools": {name: pid}, "problems": {name: why}}.

        Raises:
            UsageError: a workflow cannot be deployed; nothing was changed.
        """
        await self.restore()
        new = [msgspec.msgpack.decode(one, type=DeployedWorkflow) for one in workflows]
        pids: dict[str, int] = {}
        for one in new:
            pids[one.pool.name] = await self._run(one.pool)
        names = {one.pool.workflow for one in new}
        for old in list(self._workflows.values()):
            if old.pool.workflow in names and old.pool.name not in pids and old.active:
                self._keep(msgspec.structs.replace(old, active=False))
        for one in new:
            self._keep(one)
        self._methods.update(msgspec.msgpack.decode(methods, type=DeployedMethods).entries)
        kept = DeployedMethods(entries=self._methods)
        self._store.put_document(_KIND, "methods", msgspec.msgpack.encode(kept))
        self._generation += 1
        self._store.put_document(_KIND, "generation", str(self._generation).encode())
        await self._announce()
        return {"generation": self._generation, "pools": pids, "problems": dict(self._problems)}

    def _keep(self, one: DeployedWorkflow) -> None:
        self._workflows[one.pool.name] = one
        self._problems.pop(one.pool.name, None)
        self._store.put_document(_KIND, f"workflow/{one.pool.name}", msgspec.msgpack.encode(one))

    async def _run(self, spec: PoolSpec) -> int:
        actor = self._pools.get(spec.name)
        if actor is None:
            actor = pool_actor(spec, self._engine, self._driver_paths)
        try:
            ready = await actor.ready.remote()
        except ray.exceptions.RayTaskError as error:
            ray.kill(actor)
            raise error.cause from None
        self._pools[spec.name] = actor
        return int(ready["pid"])

    async def _announce(self) -> None:
        async with self._changed:
            self._version += 1
            self._changed.notify_all()

    async def catalogue(self, known: int) -> dict[str, Any]:
        """What is deployed, as soon as it differs from version `known`, or after 30 s.

        Returns:
            {"version", "generation", "methods": {URN: JSON}, "workflows": [JSON],
            "pools": {name: [URN]}}.
        """
        if not self._restored:
            await self.restore()
        try:
            async with asyncio.timeout(LONG_POLL_S), self._changed:
                await self._changed.wait_for(lambda: self._version not in (known, 0))
        except TimeoutError:
            pass
        if self._version == 0:
            raise Unavailable("nothing is deployed yet.", retry_after=1.0)
        return {
            "version": self._version,
            "generation": self._generation,
            "methods": self._methods,
            "workflows": [
                (one.entry, one.active and one.takes_new)
                for one in self._workflows.values()
                if one.pool.name in self._pools
            ],
            "pools": {
                one.pool.name: sorted(one.pool.methods)
                for one in self._workflows.values()
                if one.pool.name in self._pools
            },
        }

    async def pools(self) -> dict[str, int]:
        """Pool name -> process id, of the pools that answer."""
        found: dict[str, int] = {}
        for name, actor in self._pools.items():
            with contextlib.suppress(ray.exceptions.RayError):  # it is restarting
                found[name] = await actor.pid.remote()
        return found

    async def problems(self) -> dict[str, str]:
        """Pool name -> why it does not run."""
        return dict(self._problems)

    async def stop(self) -> None:
        """Every pool has checkpointed."""
        for actor in self._pools.values():
            try:
                await actor.stop.remote()
            except ray.exceptions.RayError as error:
                _log.warning("pool_not_stopped", error=str(error))

    def __repr__(self) -> str:
        return f"directory · {len(self._pools)} pools · generation {self._generation}"


def directory_actor(engine: EngineSpec, driver_paths: list[str]) -> Any:
    """The directory: the one that exists, or a new one."""
    actor: Any = ray.remote(Directory)
    options = actor.options(
        name=DIRECTORY_NAME,
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        num_cpus=0.01,
        max_restarts=-1,
        max_task_retries=-1,
        max_concurrency=1_000,
    )
    return options.remote(msgspec.msgpack.encode(engine), driver_paths)
