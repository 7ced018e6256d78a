"""Shards leave a kernel, and others come: pools have several members, which pass them on.

A shard that leaves takes its instances with it, as they are durable. Whatever was under way
for them is under way again where the shard comes.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from raysume import ids, limits
from raysume.actors.kernel.commits import (
    CallsSent,
    CancelAsked,
    ChildEnded,
    Claimed,
    Decided,
    Delivered,
    Event,
    ForkAsked,
    LookedBack,
    RetryAsked,
    RewindAsked,
    Started,
    StepEnded,
    TimersDue,
    TurnEnded,
)
from raysume.actors.kernel.mailboxes import RecentCalls
from raysume.actors.kernel.schedules import KEEPER
from raysume.errors import ShardMoved

if TYPE_CHECKING:
    from raysume.actors.kernel.kernel import Kernel
    from raysume.actors.kernel.records import Place


def check_owned(kernel: Kernel, instance_id: str) -> None:
    """Returns when the instance is, or would be, one of this kernel.

    Raises:
        ShardMoved: its shard belongs to another member of the pool.
    """
    if not kernel.owns(instance_id):
        raise ShardMoved(
            f"instance {instance_id!r} of {kernel.workflow.name!r} is with another member of the "
            "pool. Look up which one, and ask there.",
            id=instance_id,
            retry_after=limits.RETRY_BACKOFF_S_MIN,
        )


def own_id(kernel: Kernel) -> str:
    """A new instance's id whose shard is this kernel's."""
    while True:
        made = ids.uuid7()
        if kernel.owns(made):
            return made


def part_with(kernel: Kernel, shards: Collection[int]) -> list[str]:
    """The kernel has nothing of the shards any more; everything of them is durable.

    Returns:
        The instances that were in memory.
    """
    left = {id for id in kernel.instances if ids.shard_of(id, limits.SHARDS) in shards}
    for id in left:
        instance = kernel.instances[id]
        for entry in instance.entries.values():
            kernel.index.remove(entry)
        instance.entries.clear()
        del kernel.instances[id]
    for key in [key for key in kernel.looking if key[0] in left]:
        del kernel.looking[key]
    for id in [id for id in kernel.ended if ids.shard_of(id, limits.SHARDS) in shards]:
        del kernel.ended[id]
    for number in shards:
        del kernel.shards[number]
    kernel.arbitration.keep_waiting(lambda event: shard_of_event(event) not in shards)
    if KEEPER in shards:
        kernel.schedule.next_us = None
    return list(left)


def begin_at(kernel: Kernel, offsets: dict[int, int], newest: Place) -> None:
    """A kernel without shards stands at this place; it remembers no call."""
    kernel.intake.jump(offsets)
    kernel.arbitration.gone_on()  # where it stood before a call, it stood with other shards
    kernel.newest = newest
    kernel.recent = RecentCalls(
        kernel.methods,
        capacity=kernel.recent.capacity,
        covers_after=newest,
        exclusives=kernel.exclusives,
    )


def mark_starts(kernel: Kernel) -> None:
    """Of the calls remembered, those that started instances of this kernel are known as such."""
    for call in kernel.recent.calls():
        if kernel.knows(ids.instance_id_of(kernel.workflow.name, call.call.id)):
            kernel.recent.started_an_instance((call.pos, call.offset))


def shard_of_event(event: Event) -> int | None:
    """The shard whose instance an event is for, if it means nothing where the shard is not.

    Deliveries and timers are for all, and whoever asks for something is answered.
    """
    match event:
        case StepEnded() | ChildEnded() | LookedBack():
            return ids.shard_of(event.instance, limits.SHARDS)
        case TurnEnded():
            return ids.shard_of(event.task.instance, limits.SHARDS)
        case Claimed():
            return ids.shard_of(event.claim.instance, limits.SHARDS)
        case CallsSent():
            return event.shard
        case (
            Delivered()
            | Decided()
            | TimersDue()
            | Started()
            | CancelAsked()
            | RetryAsked()
            | RewindAsked()
            | ForkAsked()
        ):
            return None
