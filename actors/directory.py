"""The directory actor: what is deployed, and the pools that run it.

It supervises: pools are named, detached actors that Ray restarts; the directory makes
the ones that are missing, and tells every ingress when the catalogue changes.
"""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any

import msgspec
import structlog

from raysume import limits
from raysume.actors.arbitrating import Arbitrators
from raysume.actors.beginning import once_possible, passes
from raysume.actors.bidding import BidMade
from raysume.actors.cleaning import Cleaner, Deployed
from raysume.actors.deployed_workflows import (
    DeployedWorkflow,
    active_version,
    live_modules,
    refuse_taken_names,
)
from raysume.actors.followers import Followers
from raysume.actors.kernel.arbiter import Participant
from raysume.actors.known_methods import DeployedMethods, KnownMethods
from raysume.actors.office import HeldOffice, end_replaced_process
from raysume.actors.process_logs import log_to_stderr
from raysume.actors.specs import DIRECTORY_NAME, NAMESPACE, EngineSpec, PoolSpec
from raysume.actors.succession import hand_over, rule_for_members, succession_of
from raysume.actors.supervision import Supervisor
from raysume.actors.untyped import ray
from raysume.errors import NotFound, RaysumeError, Unavailable
from raysume.storage.opening import open_call_log, open_store
from raysume.storage.processes import owner_of_this_process
from raysume.storage.seal_key import load_seal

LONG_POLL_S = 30.0
"""Seconds after which an unchanged catalogue is answered all the same."""

_KIND = "deployed"

_log = structlog.get_logger("raysume.directory")


class MethodsOfBefore(msgspec.Struct, frozen=True, kw_only=True):
    """The methods of all deployments, as release 0.1.0 kept them."""

    entries: dict[str, bytes]
    """URN -> JSON of the ingress's MethodEntry."""


class Directory:
    """Knows what is deployed. All methods are called over Ray."""

    def __init__(self, engine: bytes, driver_paths: list[str]) -> None:
        log_to_stderr()
        self._engine = msgspec.msgpack.decode(engine, type=EngineSpec)
        store = once_possible(lambda: open_store(self._engine.database_url, self._engine.folder))
        self._office = once_possible(
            lambda: HeldOffice(
                store, owner=owner_of_this_process("directory"), lost=end_replaced_process
            )
        )
        self._store = self._office.store
        self._workflows: dict[str, DeployedWorkflow] = {}
        self._methods = KnownMethods()
        self._entries: dict[str, bytes] = {}
        """URN -> JSON of the ingress's MethodEntry."""
        self._pools = Supervisor(self._engine, driver_paths, self._office, self._announce)
        self._version = 0
        kept = once_possible(lambda: self._store.get_document(_KIND, "generation"))
        self._generation = int(kept or b"0")
        self._changed = asyncio.Condition()
        self._followers = Followers(silent_s=1.5 * LONG_POLL_S)
        self._restoring: asyncio.Task[None] | None = None
        self._returning: set[asyncio.Task[None]] = set()
        """Bring back the pools that ran before."""
        self._cleaner = self._made_cleaner()
        self._arbitrators = Arbitrators(
            self._store,
            participants=self._participants,
            ask=lambda name, places: self._pools.ask_member(name, "stand", places),
        )
        self._cleaning: asyncio.Task[None] | None = None

    async def restore(self) -> None:
        """What the store knows as deployed is running again; `problems` says what is not."""
        if self._restoring is None:
            self._restoring = asyncio.get_running_loop().create_task(self._restore())
        await asyncio.shield(self._restoring)

    def _made_cleaner(self) -> Cleaner:
        url, folder = self._engine.database_url, self._engine.folder
        return Cleaner(
            self._store,
            self._pools,
            open_log=lambda: open_call_log(url, folder),
            seal=lambda: load_seal(self._store, folder),
            deployed=lambda: [
                Deployed(spec=one.pool, is_active=one.active) for one in self._workflows.values()
            ],
            retention=timedelta(seconds=self._engine.call_retention_s),
            confirm=self._office.confirm,
        )

    async def clean(self) -> int:
        """See `Cleaner.clean`: at once, without waiting for its time."""
        await self.restore()
        return await self._cleaner.clean()

    async def _restore(self) -> None:
        for key, body in await asyncio.to_thread(
            once_possible, lambda: list(self._store.documents(_KIND))
        ):
            if key == "methods":
                before = msgspec.msgpack.decode(body, type=MethodsOfBefore)
                self._methods.restore_before(before.entries.values())
            elif key.startswith("methods/"):
                self._methods.restore(msgspec.msgpack.decode(body, type=DeployedMethods))
            elif key.startswith("workflow/"):
                one = msgspec.msgpack.decode(body, type=DeployedWorkflow)
                self._workflows[one.pool.name] = one
        self._entries = self._methods.entries(live_modules(self._workflows.values()))
        if self._workflows:
            loop = asyncio.get_running_loop()
            self._returning = {
                loop.create_task(self._bring_back(one.pool)) for one in self._workflows.values()
            }
            await asyncio.wait(self._returning, timeout=limits.RESTORE_S_MAX)
            await self._announce()
        self._cleaning = asyncio.get_running_loop().create_task(self._cleaner.run())

    async def _bring_back(self, spec: PoolSpec) -> None:
        """The pool runs as it did under the directory before this one, however long it takes."""
        backoff_s = limits.RETRY_BACKOFF_S_MIN
        while True:
            try:
                await self._pools.run(spec, ran_before=True)
            except RaysumeError as error:
                if not passes(error):
                    break  # it was given up: `problems` says why
                _log.warning("pool_not_back_yet", pool=spec.name, error=str(error))
                await asyncio.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, limits.RETRY_BACKOFF_S_MAX)
            else:
                break
        await self._announce()

    async def deploy(self, workflows: list[bytes], methods: bytes) -> dict[str, Any]:
        """The workflows take new instances; older versions keep what they have.

        Args:
            workflows: msgpack of `DeployedWorkflow`.
            methods: msgpack of `DeployedMethods`.

        Returns:
            {"generation": int, "catalogue": int, "pools": {name: pid}, "problems": {name: why}}.
            A version that was deployed before and cannot run now is among the problems.

        Raises:
            UsageError: a new version cannot be deployed, or none runs, or a name or URN is
                another deployment's; nothing was changed.
        """
        await self.restore()
        new = [msgspec.msgpack.decode(one, type=DeployedWorkflow) for one in workflows]
        declared = msgspec.msgpack.decode(methods, type=DeployedMethods)
        before = self._workflows.values()
        live = live_modules(before, without={one.pool.workflow for one in new})
        refuse_taken_names(new, before, live=live)
        self._methods.check(declared, live)
        await self._hand_over(new)
        pids = await self._run_new([one.pool for one in new])
        names = {one.pool.workflow for one in new}
        current = {one.pool.name for one in new}
        for old in list(self._workflows.values()):
            if old.pool.workflow in names and old.pool.name not in current and old.active:
                self._keep(msgspec.structs.replace(old, active=False))
        for one in new:
            self._keep(one)
        kept = self._methods.take(declared, self._generation + 1)
        self._store.put_document(_KIND, f"methods/{kept.module}", msgspec.msgpack.encode(kept))
        self._entries = self._methods.entries(live_modules(self._workflows.values()))
        self._generation += 1
        self._store.put_document(_KIND, "generation", str(self._generation).encode())
        await self._announce()
        await self._followed()
        return {
            "generation": self._generation,
            "catalogue": self._version,
            "pools": pids,
            "problems": dict(self._pools.problems),
        }

    async def _hand_over(self, new: list[DeployedWorkflow]) -> None:
        """Each call starts an instance of one version: of these from now on, or of those before.

        Raises:
            UsageError: one cannot be deployed; nothing was changed.
        """
        changing: list[DeployedWorkflow] = []
        for deployed in new:
            active = active_version(self._workflows.values(), deployed.pool.workflow)
            if active is None or active.pool != deployed.pool:
                changing.append(deployed)
        successions = await asyncio.gather(
            *(
                succession_of(
                    one, self._workflows.values(), self._pools, members=self._engine.pool_members
                )
                for one in changing
            )
        )
        for one in successions:
            await hand_over(one, self._pools, self._store, self._engine)

    def _participants(self, workflow: str) -> dict[str, Participant]:
        """The members of the workflow's pools that may own shards, unless they were given up."""
        return {
            member: Participant(version=one.pool.version, methods=one.pool.methods, shards=shards)
            for one in self._workflows.values()
            if one.pool.workflow == workflow
            for member, shards in self._pools.participants(one.pool).items()
        }

    async def bid(self, made: bytes) -> bytes:
        """See `Arbitrators.bid`."""
        await self.restore()
        bid = msgspec.msgpack.decode(made, type=BidMade)
        return msgspec.msgpack.encode(await self._arbitrators.bid(bid))

    async def _run_new(self, specs: list[PoolSpec]) -> dict[str, int]:
        """The process ids of the pools, which run; those deployed before may have problems."""
        running = {spec.name for spec in specs if spec.name in self._pools}
        outcomes = await self._run(specs)
        pids = {name: found for name, found in outcomes.items() if isinstance(found, int)}
        errors = {name: found for name, found in outcomes.items() if not isinstance(found, int)}
        fatal = [error for name, error in errors.items() if name not in self._workflows]
        if not fatal and not pids:
            fatal = list(errors.values())
        if fatal:
            for name in pids.keys() - self._workflows.keys() - running:
                self._pools.drop(name)
            for name in errors.keys() - self._workflows.keys():
                self._pools.problems.pop(name, None)
            raise fatal[0]
        return pids

    def _keep(self, one: DeployedWorkflow) -> None:
        self._workflows[one.pool.name] = one
        self._store.put_document(_KIND, f"workflow/{one.pool.name}", msgspec.msgpack.encode(one))

    async def _run(self, specs: list[PoolSpec]) -> dict[str, int | RaysumeError]:
        """Pool name -> its process id, or why it does not run."""

        async def outcome(spec: PoolSpec) -> int | RaysumeError:
            try:
                return await self._pools.run(spec)
            except RaysumeError as error:
                return error

        outcomes = await asyncio.gather(*(outcome(spec) for spec in specs))
        return {spec.name: found for spec, found in zip(specs, outcomes, strict=True)}

    async def resize(
        self, workflow: str, members: int, version: str | None = None
    ) -> dict[str, Any]:
        """The pool has so many members, and each its share of the shards; they go on meanwhile.

        Args:
            version: None: the one that takes new instances.

        Returns:
            {"pool": name, "version": version, "members": {name: [shards]}}.

        Raises:
            NotFound: there is no such workflow or version.
            UsageError: a pool cannot have so many members.
            Unavailable: the pool does not run.
        """
        await self.restore()
        found = [
            one.pool
            for one in self._workflows.values()
            if one.pool.workflow == workflow
            and (one.active if version is None else one.pool.version == version)
        ]
        if not found:
            named = workflow if version is None else f"{workflow}@{version}"
            raise NotFound(f"there is no deployed workflow {named!r}.")
        [pool] = found
        active = active_version(self._workflows.values(), workflow)
        if members > 1 and active is not None and active.pool.name in self._pools:
            await rule_for_members(
                active, self._workflows.values(), self._pools, self._store, self._engine
            )
        await self._pools.resize(pool.name, members)
        owned: dict[str, list[int]] = {}
        for shard, owner in enumerate(self._pools.owners(pool.name)):
            owned.setdefault(owner, []).append(shard)
        return {"pool": pool.name, "version": pool.version, "members": owned}

    async def _announce(self) -> None:
        self._arbitrators.changed()
        async with self._changed:
            # Later than every version that a directory before this one has announced.
            self._version = max(self._version + 1, time.time_ns() // 1_000)
            self._changed.notify_all()

    async def _followed(self) -> None:
        """Every ingress replica works with the catalogue, or has not said so in time."""
        try:
            async with asyncio.timeout(limits.CATALOGUE_FOLLOW_S), self._changed:
                await self._changed.wait_for(lambda: self._followers.all_know(self._version))
        except TimeoutError:
            _log.warning("catalogue_not_followed", catalogue=self._version)

    async def catalogue(self, known: int, replica: str = "") -> dict[str, Any]:
        """What is deployed, as soon as it differs from version `known`, or after 30 s.

        Args:
            replica: the ingress replica that asks; "" for others.

        Returns:
            {"version", "generation", "methods": {URN: JSON}, "workflows": [JSON],
            "pools": {member name: [URN]}, "owners": {pool name: [member name, by shard]}}.
        """
        await self.restore()
        try:
            async with asyncio.timeout(LONG_POLL_S), self._changed:
                if replica and self._followers.asked(replica, known):
                    self._changed.notify_all()
                await self._changed.wait_for(lambda: self._version not in (known, 0))
        except TimeoutError:
            pass
        if self._version == 0:
            raise Unavailable("nothing is deployed yet.", retry_after=1.0)
        return {
            "version": self._version,
            "generation": self._generation,
            "methods": self._entries,
            "workflows": [
                (one.entry, one.active and one.takes_new)
                for one in self._workflows.values()
                if one.pool.name in self._pools
            ],
            "pools": {
                member: sorted(one.pool.methods)
                for one in self._workflows.values()
                if one.pool.name in self._pools
                for member in sorted(set(self._pools.owners(one.pool.name)))
            },
            "owners": {
                one.pool.name: self._pools.owners(one.pool.name)
                for one in self._workflows.values()
                if one.pool.name in self._pools
            },
        }

    async def pools(self) -> dict[str, int]:
        """Pool name -> process id, of the pools that answer."""
        return await self._pools.pids()

    async def problems(self) -> dict[str, str]:
        """Pool name -> why it does not run."""
        return dict(self._pools.problems)

    async def stop(self) -> None:
        """Every pool has checkpointed."""
        if self._cleaning is not None:
            self._cleaning.cancel()
        self._arbitrators.stop()
        await self._pools.stop()

    def __repr__(self) -> str:
        # Ray asks once, as the actor is made: nothing that changes belongs here.
        return f"directory of {self._engine.data_dir}"


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
