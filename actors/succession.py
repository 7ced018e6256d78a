"""A deployed version follows another one: the directory's part of the hand-over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import msgspec
import structlog

from raysume import limits
from raysume.actors import handover
from raysume.actors.handover import Boundary, Record
from raysume.actors.specs import EngineSpec, PoolSpec
from raysume.actors.supervision import Supervisor
from raysume.errors import RaysumeError, SealBroken, Unavailable
from raysume.storage.opening import open_call_log
from raysume.storage.ports import Store
from raysume.storage.seal_key import load_seal

_log = structlog.get_logger("raysume.directory")


@dataclass(frozen=True, slots=True, kw_only=True)
class Succession:
    """A version that becomes the active one."""

    spec: PoolSpec
    before: PoolSpec | None
    """The version that is active until then; None: there is none."""


async def hand_over(
    succession: Succession, pools: Supervisor, store: Store, engine: EngineSpec
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
            handover.keep(store, new.name, Record(begins=_end_of_log(engine)))
        return
    async with _held(new, pools) as stands:
        after = Boundary.of_all(stands)
        if new.name not in pools:
            resting = _resting(new, store, engine)
            after = resting if resting.offsets else None
        boundary = await _retired(old, after, pools, store, engine)
        if new.name in pools:
            await pools.ask_all(new.name, "take_over", msgspec.msgpack.encode(boundary))
        else:
            handover.keep(store, new.name, Record(begins=boundary))


@asynccontextmanager
async def _held(spec: PoolSpec, pools: Supervisor) -> AsyncGenerator[list[Boundary]]:
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
            await pools.ask_all(spec.name, "let_go")
        except RaysumeError as error:  # whoever died meanwhile holds nothing
            _log.warning("member_not_let_go", pool=spec.name, error=str(error))
        lock.release()


async def _held_with_lock(spec: PoolSpec, pools: Supervisor, lock: asyncio.Lock) -> list[Boundary]:
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


async def _hold(spec: PoolSpec, pools: Supervisor) -> list[Boundary]:
    told = await pools.ask_all(spec.name, "hold")
    return [msgspec.msgpack.decode(one, type=Boundary) for one in told]


async def _hold_on(spec: PoolSpec, pools: Supervisor) -> None:
    while True:
        await asyncio.sleep(limits.HANDOVER_RENEWAL_S)
        try:
            await _hold(spec, pools)
        except RaysumeError as error:
            _log.warning("hold_not_renewed", pool=spec.name, error=str(error))


async def _retired(
    old: PoolSpec, after: Boundary | None, pools: Supervisor, store: Store, engine: EngineSpec
) -> Boundary:
    """Where the time of the old version ends, durably: one place for all of its members."""
    if old.name in pools:
        async with _held(old, pools) as stands:
            bound = Boundary.of_all([*stands, *([] if after is None else [after])])
            told = await pools.ask_all(old.name, "retire", msgspec.msgpack.encode(bound))
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
