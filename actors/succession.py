"""A deployed version follows another one: the directory's part of the hand-over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec
import structlog

from raysume import limits
from raysume.actors import handover
from raysume.actors.cleaning import Pools
from raysume.actors.deployed_workflows import DeployedWorkflow, active_version
from raysume.actors.handover import Boundary, Record
from raysume.actors.kernel.bids import Regime
from raysume.actors.kernel.records import START_OF_LOG
from raysume.actors.regimes import Waiting, needed, rule
from raysume.actors.specs import EngineSpec, PoolSpec
from raysume.actors.supervision import Supervisor
from raysume.errors import RaysumeError, SealBroken, Unavailable
from raysume.storage.opening import open_call_log
from raysume.storage.ports import Store
from raysume.storage.seal_key import load_seal

_log = structlog.get_logger("raysume.directory")


class HeldPools(Pools, Protocol):
    """What is asked of the pools while one version follows another (`Supervisor`)."""

    async def order_all(self, name: str, method: str, *arguments: Any) -> list[Any]:
        """What each member of the pool answers, told the epoch of this directory first."""
        ...

    def lock(self, name: str) -> asyncio.Lock:
        """Held while nothing else may happen to the members of a pool that runs."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Succession:
    """A version that becomes the active one."""

    spec: PoolSpec
    before: PoolSpec | None
    """The version that is active until then; None: there is none."""
    beside: list[PoolSpec] = field(default_factory=list[PoolSpec])
    """Every other version there is, that one included."""
    methods: frozenset[str] = frozenset()
    """From then on, calls of these need a verdict (see `regimes.needed`)."""
    starts: frozenset[str] = frozenset()
    """Those with which instances of the new version start."""

    @property
    def versions(self) -> list[PoolSpec]:
        """The new one, and every other."""
        return [self.spec, *self.beside]


async def succession_of(
    new: DeployedWorkflow,
    deployed: Collection[DeployedWorkflow],
    pools: Supervisor,
    *,
    members: int,
) -> Succession:
    """How the version follows the one that is active now; it can be deployed.

    Args:
        members: of its pool, if that does not run yet.

    Raises:
        UsageError: it cannot be deployed.
        Unavailable: a pool did not answer.
    """
    spec = new.pool
    versions = [one for one in deployed if one.pool.workflow == spec.workflow]
    active = active_version(versions, spec.workflow)
    if active is None and members == 1:
        return Succession(spec=spec, before=None)
    others = [one for one in versions if one.pool.name != spec.name]
    waiting = [await _waiting(one, pools, checks=one is new) for one in (new, *others)]
    methods, starts = needed(waiting[0], waiting[1:])
    return Succession(
        spec=spec,
        before=None if active is None else active.pool,
        beside=[one.pool for one in others],
        methods=methods,
        starts=starts,
    )


async def _waiting(one: DeployedWorkflow, pools: Supervisor, *, checks: bool) -> Waiting:
    first: frozenset[str] | None = None
    if one.pool.name in pools:
        first = frozenset((await pools.ask_all(one.pool.name, "check"))[0])
    elif checks:
        first = frozenset(await pools.check(one.pool))
    return Waiting(methods=one.pool.methods, awaits=one.awaits, first=first)


async def hand_over(
    succession: Succession, pools: HeldPools, store: Store, engine: EngineSpec
) -> None:
    """Calls start instances of the new version exactly from where they no longer do of the old.

    Durability: the old version's end is kept first; until the new one's begin is, deploying
    again finishes what was begun, and calls wait in the log.

    Raises:
        Unavailable: the old version's pool did not answer.
    """
    new, old = succession.spec, succession.before
    if old is None:
        if handover.recorded(store, new.name) is None:
            begins = _end_of_log(engine)
            _ruled_from(succession, begins, store)
            handover.keep(store, new.name, Record(begins=begins))
        return
    async with _all_held(succession, pools) as stands:
        after = await _ruled(succession, stands, pools, store, engine)
        boundary = await _retired(old, after, pools, store, engine)
        if new.name in pools:
            await pools.order_all(new.name, "take_over", msgspec.msgpack.encode(boundary))
        else:
            handover.keep(store, new.name, Record(begins=boundary))


async def rule_for_members(
    active: DeployedWorkflow,
    deployed: Collection[DeployedWorkflow],
    pools: Supervisor,
    store: Store,
    engine: EngineSpec,
) -> None:
    """Before a pool gets more members: calls that one of them cannot decide on alone need a
    verdict from now on.

    Raises:
        Unavailable: a pool did not answer, or did not stand still.
    """
    found = await succession_of(active, deployed, pools, members=limits.SHARDS)
    async with _all_held(found, pools) as stands:
        await _ruled(found, stands, pools, store, engine)


@asynccontextmanager
async def _all_held(succession: Succession, pools: HeldPools) -> AsyncGenerator[list[Boundary]]:
    """No member of any version applies anything meanwhile; where those that run stand."""
    async with AsyncExitStack() as held:
        stands: list[Boundary] = []
        for spec in sorted(succession.versions, key=lambda one: one.name):  # one order of locks
            stands += await held.enter_async_context(_held(spec, pools))
        yield stands


async def _ruled(
    succession: Succession,
    stands: Sequence[Boundary],
    pools: HeldPools,
    store: Store,
    engine: EngineSpec,
) -> Boundary:
    """All versions, which hold still if they run, are before this boundary, and know what is
    decided behind it.

    One whose process has ended meanwhile has moved on: then the boundary is further on.

    Raises:
        Unavailable: a pool did not answer, or did not stand still.
    """
    resting = [_resting(one, store, engine) for one in succession.versions if one.name not in pools]
    here = Boundary(offsets={}, newest=START_OF_LOG)
    for one in (*stands, *resting):
        here = here.joined(one)
    regime = None
    for _ in range(limits.POOL_START_ATTEMPTS):
        regime = _ruled_from(succession, here, store, replaces=regime)
        further = here
        for spec in succession.versions:
            if spec.name in pools:
                for told in await pools.order_all(spec.name, "follow"):
                    further = further.joined(msgspec.msgpack.decode(told, type=Boundary))
        if further == here:
            return here
        here = further
    raise Unavailable(f"versions of {succession.spec.workflow!r} did not hold still. Deploy again.")


def _ruled_from(
    succession: Succession, boundary: Boundary, store: Store, *, replaces: Regime | None = None
) -> Regime | None:
    return rule(
        store,
        succession.spec.workflow,
        boundary,
        methods=succession.methods,
        starts=succession.starts,
        replaces=replaces,
    )


@asynccontextmanager
async def _held(spec: PoolSpec, pools: HeldPools) -> AsyncGenerator[list[Boundary]]:
    """No member of the pool, if it runs, applies anything meanwhile; where they stand.

    They are told again and again, however long it takes: one that went on by itself would be
    behind the place that is being agreed on.
    """
    if spec.name not in pools:
        yield []
        return
    lock = pools.lock(spec.name)
    stands = await _held_with_lock(spec, pools, lock)
    renewal = asyncio.create_task(_hold_on(spec, pools))
    try:
        yield stands
    finally:
        renewal.cancel()
        await asyncio.gather(renewal, return_exceptions=True)
        try:
            await pools.order_all(spec.name, "let_go")
        except RaysumeError as error:  # whoever died meanwhile holds nothing
            _log.warning("member_not_let_go", pool=spec.name, error=str(error))
        lock.release()


async def _held_with_lock(spec: PoolSpec, pools: HeldPools, lock: asyncio.Lock) -> list[Boundary]:
    """Where the members stand, which are held; the lock is acquired: none of them is restarted.

    One that is being restarted is waited for, without the lock.

    Raises:
        Unavailable: not all of them answered in the time that a hand-over may take.
    """
    deadline = asyncio.get_running_loop().time() + limits.HANDOVER_S_MAX
    while True:
        await lock.acquire()
        try:
            return await _hold(spec, pools)
        except Unavailable:
            lock.release()
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(limits.SHARD_LOOKUP_PAUSE_S)
        except BaseException:
            lock.release()
            raise


async def _hold(spec: PoolSpec, pools: HeldPools) -> list[Boundary]:
    told = await pools.order_all(spec.name, "hold")
    return [msgspec.msgpack.decode(one, type=Boundary) for one in told]


async def _hold_on(spec: PoolSpec, pools: HeldPools) -> None:
    while True:
        await asyncio.sleep(limits.HANDOVER_RENEWAL_S)
        try:
            await _hold(spec, pools)
        except RaysumeError as error:
            _log.warning("hold_not_renewed", pool=spec.name, error=str(error))


async def _retired(
    old: PoolSpec, after: Boundary, pools: HeldPools, store: Store, engine: EngineSpec
) -> Boundary:
    """Where the time of the old version ends, durably: one place for all of its members."""
    if old.name in pools:
        told = await pools.order_all(old.name, "retire", msgspec.msgpack.encode(after))
        return msgspec.msgpack.decode(told[0], type=Boundary)
    record = handover.recorded(store, old.name)
    if record is not None and record.ends is not None:
        return record.ends
    boundary = _resting(old, store, engine)
    if record is not None:
        boundary = boundary.joined(record.begins)
    boundary = boundary.joined(after)
    handover.keep(store, old.name, handover.end(record, boundary))
    return boundary


def _resting(spec: PoolSpec, store: Store, engine: EngineSpec) -> Boundary:
    try:
        return Boundary.of_resting(store, load_seal(store, engine.folder), spec)
    except SealBroken as error:
        _log.error("end_of_version_unknown", pool=spec.name, error=str(error))
        return _end_of_log(engine)


def _end_of_log(engine: EngineSpec) -> Boundary:
    log = open_call_log(engine.database_url, engine.folder)
    try:
        return Boundary.at_end_of(log)
    finally:
        log.close()
