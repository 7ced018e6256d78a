"""What a host does again and again by itself: timers ring, checkpoints are made."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
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


@dataclass(slots=True)
class Alarm:
    """Wakes `ring_timers`, which waits until the next timer is due."""

    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set: it is to look at the timers anew."""
    due_us: int | None = None
    """When the next one was due when it looked last."""
    looked_us: int = 0
    """When that was, by the wall clock."""

    def applied(self, due_us: int | None, at_us: int) -> None:
        """At that time something was applied, after which the next timer is due then."""
        if due_us != self.due_us or abs(at_us - self.looked_us) > _LOOK_US:
            self.changed.set()


async def ring_timers(host: PoolHost) -> None:
    """Timers ring when they are due, after every call that was accepted before."""
    while True:
        host.alarm.changed.clear()
        due_us, at_us = host.kernel.next_due_us, now_us()
        host.alarm.due_us, host.alarm.looked_us = due_us, at_us
        if due_us is None or due_us > at_us:
            pause_s = None if due_us is None else (due_us - at_us) / 1_000_000
            try:
                async with asyncio.timeout(pause_s):
                    await host.alarm.changed.wait()
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
        host.meters.timer_lag.seconds.append((now_us() - due_us) / 1_000_000)


async def make_checkpoints(host: PoolHost, interval_s: float) -> None:
    """Changed instances are checkpointed, and those whose retention is over are removed."""
    while True:
        expired = host.journal.has_expired(host.older_than_us())
        await asyncio.sleep(limits.REMOVAL_PAUSE_S if expired else interval_s)
        if expired or host.journal.is_behind:
            await host.checkpoint(in_haste=False)
