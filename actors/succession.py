"""A deployed version follows another one: the directory's part of the hand-over."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import msgspec
import structlog

from raysume import limits
from raysume.actors import handover
from raysume.actors.cleaning import Pools
from raysume.actors.deployed_workflows import DeployedWorkflow
from raysume.actors.handover import Boundary, Record
from raysume.actors.kernel.records import START_OF_LOG
from raysume.actors.regimes import Waiting, needed, rule
from raysume.actors.specs import EngineSpec, PoolSpec
from raysume.actors.supervision import Supervisor
from raysume.errors import SealBroken, Unavailable
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
    beside: list[PoolSpec] = field(default_factory=list[PoolSpec])
    """Every other version there is, that one included."""
    methods: frozenset[str] = frozenset()
    """From then on, calls of these need a verdict (see `regimes.needed`)."""
    starts: frozenset[str] = frozenset()
    """Those with which instances of the new version start."""


async def succession_of(
    new: DeployedWorkflow, deployed: Collection[DeployedWorkflow], pools: Supervisor
) -> Succession:
    """How the version follows the one that is active now; it can be deployed.

    Raises:
        UsageError: it cannot be deployed.
        Unavailable: a pool did not answer.
    """
    spec = new.pool
    versions = [one for one in deployed if one.pool.workflow == spec.workflow]
    active = next((one.pool for one in versions if one.active), None)
    if active is None:
        return Succession(spec=spec, before=None)
    others = [one for one in versions if one.pool.name != spec.name]
    waiting = [await _waiting(one, pools, checks=one is new) for one in (new, *others)]
    methods, starts = needed(waiting[0], waiting[1:])
    return Succession(
        spec=spec,
        before=active,
        beside=[one.pool for one in others],
        methods=methods,
        starts=starts,
    )


async def _waiting(one: DeployedWorkflow, pools: Supervisor, *, checks: bool) -> Waiting:
    first: frozenset[str] | None = None
    if one.pool.name in pools:
        first = frozenset(await pools.ask(one.pool.name, "check"))
    elif checks:
        first = frozenset(await pools.check(one.pool))
    return Waiting(methods=one.pool.methods, awaits=one.awaits, first=first)


async def hand_over(succession: Succession, pools: Pools, store: Store, engine: EngineSpec) -> None:
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
    held = [one.name for one in (new, *succession.beside) if one.name in pools]
    try:
        after = await _ruled(succession, held, pools, store, engine)
        boundary = await _retired(old, msgspec.msgpack.encode(after), pools, store, engine)
        if new.name in pools:
            await pools.ask(new.name, "take_over", msgspec.msgpack.encode(boundary))
        else:
            handover.keep(store, new.name, Record(begins=boundary))
    finally:
        for name in held:
            await pools.ask(name, "release")


async def _ruled(
    succession: Succession,
    held: list[str],
    pools: Pools,
    store: Store,
    engine: EngineSpec,
) -> Boundary:
    """All versions that run hold still before this boundary, and know what is decided behind it.

    One whose process has ended meanwhile, or that was held too long, has moved on: then the
    boundary is further on.

    Raises:
        Unavailable: a pool did not answer, or did not stand still.
    """
    here = Boundary(offsets={}, newest=START_OF_LOG)
    for one in (succession.spec, *succession.beside):
        if one.name in held:
            told = await pools.ask(one.name, "hold")
            here = here.joined(msgspec.msgpack.decode(told, type=Boundary))
        else:
            here = here.joined(_resting(one, store, engine))
    regime = None
    for _ in range(limits.POOL_START_ATTEMPTS):
        regime = rule(
            store,
            succession.spec.workflow,
            here,
            methods=succession.methods,
            starts=succession.starts,
            replaces=regime,
        )
        further = here
        for name in held:
            told = await pools.ask(name, "follow")
            further = further.joined(msgspec.msgpack.decode(told, type=Boundary))
        if further == here:
            return here
        here = further
    raise Unavailable(f"versions of {succession.spec.workflow!r} did not hold still. Deploy again.")


async def _retired(
    old: PoolSpec, after: bytes | None, pools: Pools, store: Store, engine: EngineSpec
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
