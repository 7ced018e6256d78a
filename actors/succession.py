"""A deployed version follows another one: the directory's part of the hand-over."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import structlog

from raysume.actors import handover
from raysume.actors.handover import Boundary, Record
from raysume.actors.specs import EngineSpec, PoolSpec
from raysume.actors.supervision import Supervisor
from raysume.errors import SealBroken
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
    running = new.name in pools
    after = await pools.ask(new.name, "hold") if running else None
    if not running:
        resting = _resting(new, store, engine)
        after = msgspec.msgpack.encode(resting) if resting.offsets else None
    boundary = await _retired(old, after, pools, store, engine)
    if running:
        await pools.ask(new.name, "take_over", msgspec.msgpack.encode(boundary))
    else:
        handover.keep(store, new.name, Record(begins=boundary))


async def _retired(
    old: PoolSpec, after: bytes | None, pools: Supervisor, store: Store, engine: EngineSpec
) -> Boundary:
    """Where the time of the old version ends, durably."""
    if old.name in pools:
        told = await pools.ask(old.name, "retire", after)
        return msgspec.msgpack.decode(told, type=Boundary)
    record = handover.recorded(store, old.name)
    if record is not None and record.ends is not None:
        return record.ends
    floor = None if after is None else msgspec.msgpack.decode(after, type=Boundary)
    boundary = _resting(old, store, engine)
    if record is not None:
        boundary = boundary.joined(record.begins)
    boundary = boundary.joined(floor)
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
