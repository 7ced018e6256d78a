"""What a host does again and again by itself: timers ring, checkpoints are made."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from raysume import limits
from raysume.actors.kernel.commits import TimersDue
from raysume.crash_points import crash_point
from raysume.storage.moments import wall_clock_us as now_us

if TYPE_CHECKING:
    from raysume.actors.hosting import PoolHost


_LOOK_US = 1_000_000
"""Microseconds after which timers are looked at anew although none has changed: the wall clock
may have been set."""


def is_to_look(host: PoolHost, at_us: int) -> bool:
    """Whether `ring_timers`, which waits for the next timer, is to look at the timers anew."""
    return host.kernel.next_due_us != host.due_seen_us or abs(at_us - host.looked_us) > _LOOK_US


async def ring_timers(host: PoolHost) -> None:
    """Timers ring when they are due, after every call that was accepted before."""
    while True:
        host.timers_changed.clear()
        due_us, at_us = host.kernel.next_due_us, now_us()
        host.due_seen_us, host.looked_us = due_us, at_us
        pause_s = None if due_us is None else max(0.0, (due_us - at_us) / 1_000_000)
        if pause_s is None or pause_s > 0:
            try:
                async with asyncio.timeout(pause_s):
                    await host.timers_changed.wait()
            except TimeoutError:
                pass
            continue
        asked_us = now_us()
        ends: dict[int, int] = await host.effects.read_surely(lambda log: log.barrier())
        host.notice(ends)
        async with host.progress:
            await host.progress.wait_for(partial(host.has_applied, ends))
        crash_point("after_timer_barrier")
        host.report(TimersDue(upto_us=asked_us))
        async with host.progress:
            await host.progress.wait_for(partial(host.has_committed, host.applied + 1))


async def make_checkpoints(host: PoolHost, interval_s: float) -> None:
    """Changed instances are checkpointed, and those whose retention is over are removed."""
    while True:
        expired = host.journal.has_expired(host.older_than_us())
        await asyncio.sleep(limits.REMOVAL_PAUSE_S if expired else interval_s)
        if expired or host.journal.dirty:
            await host.checkpoint()
