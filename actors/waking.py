"""Cold instances are read in a thread before the kernel needs them: it would read them itself, while
nothing else happens in the pool."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

from raysume import limits
from raysume.actors.kernel.commits import (
    CancelAsked,
    ChildEnded,
    Delivered,
    Event,
    LookedBack,
    RetryAsked,
    RewindAsked,
    TimersDue,
)
from raysume.matching import Parsed

if TYPE_CHECKING:
    from raysume.actors.hosting import PoolHost
    from raysume.actors.kernel.instances import Instance
    from raysume.actors.kernel.kernel import Kernel


async def wake_for(host: PoolHost, events: Iterable[Event]) -> None:
    """Instances that these events are about to meet are in memory."""
    cold = host.kernel.instances.cold
    if not cold:
        return
    wanted = {id for event in events for id in _met_by(host.kernel, event) if id in cold}
    if wanted:
        async with host.passing:  # no shard leaves while its states are read
            await wake(host, wanted)


async def wake(host: PoolHost, ids: Iterable[str]) -> None:
    """Those of the instances that are cold are in memory."""
    instances, loop = host.kernel.instances, asyncio.get_running_loop()
    wanted = iter([id for id in ids if id in instances.cold])
    while some := list(islice(wanted, limits.COLD_READ_MAX)):
        instances.bring(await loop.run_in_executor(None, instances.keeper.read, some))


async def looked_at(host: PoolHost, ids: Collection[str]) -> list[Instance]:
    """Those of the instances that are there, to be looked at only, some hundreds at most.

    What is cold is read in a thread; if one is used meanwhile, it is told as it is then.
    """
    instances, loop = host.kernel.instances, asyncio.get_running_loop()
    async with host.passing:
        cold = [id for id in ids if id in instances.cold]
        if not cold:
            return list(instances.peek_all(ids))
        read = await loop.run_in_executor(None, instances.keeper.read, cold)
        return list(instances.peek_all(ids, read=read))


def _met_by(kernel: Kernel, event: Event) -> Iterator[str]:
    match event:
        case Delivered():
            for item in event.delivery.calls:
                yield from kernel.index.asleep(Parsed(item.call))
        case TimersDue():
            yield from kernel.timers.due(event.upto_us)
        case ChildEnded() | LookedBack() | CancelAsked() | RetryAsked() | RewindAsked():
            yield event.instance
        case _:
            return
