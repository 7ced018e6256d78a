"""What somebody asks for one instance of a pool: cancelled, retried, rewound or forked."""

from __future__ import annotations

import asyncio
from typing import Any, Literal, assert_never

import msgspec

from raysume.actors.hosting import PoolHost
from raysume.actors.kernel.commits import CancelAsked, ForkAsked, RetryAsked, RewindAsked
from raysume.actors.kernel.deliveries import StartAnswer
from raysume.actors.kernel.parting import own_id
from raysume.actors.kernel.points import find_point
from raysume.actors.kernel.records import InstanceRecord
from raysume.actors.kernel.rewinding import open_ids
from raysume.actors.readings import Readings
from raysume.errors import UsageError
from raysume.storage.moments import wall_clock_us as now_us

CommandKind = Literal["cancel", "retry"]


async def command(
    host: PoolHost, readings: Readings, kind: CommandKind, id: str, reason: str
) -> dict[str, Any] | None:
    """The command is taken, durably; the instance as `Engine.describe` gives it, or None.

    Raises:
        UsageError: it is refused, because of what the instance is now.
    """
    if await readings.describe(id) is None:
        return None
    match kind:
        case "cancel":
            await host.answers.ask(
                lambda token: CancelAsked(instance=id, reason=reason, token=token)
            )
        case "retry":
            await host.answers.ask(
                lambda token: RetryAsked(instance=id, reason=reason, token=token)
            )
        case _:
            assert_never(kind)
    return await readings.describe(id)


class PointAsked(msgspec.Struct, frozen=True, kw_only=True):
    """Where an instance, or a fork of it, is to stand."""

    to: str | int | None
    """See `find_point`."""
    set: dict[str, Any] = {}
    """Variables to change there: JSON values by name."""
    reason: str = ""
    id: str | None = None
    """Of a fork."""


async def rewind(
    host: PoolHost, readings: Readings, id: str, asked: PointAsked
) -> dict[str, Any] | None:
    """The instance stands at the point, durably; as `Engine.describe` gives it, or None.

    Raises:
        NotFound: it never stood there.
        UsageError: it cannot go back there, or a variable cannot be set.
        Unavailable: a turn of it is under way.
    """
    current = await readings.record(id)
    if current is None:
        return None
    record = await _point(host, readings, current, asked.to, anew=True)
    await host.answers.ask(
        lambda token: RewindAsked(
            instance=id,
            record=record,
            current=current,
            variables=asked.set,
            reason=asked.reason,
            token=token,
        )
    )
    return await readings.describe(id)


async def fork(
    host: PoolHost, readings: Readings, id: str, asked: PointAsked
) -> StartAnswer | None:
    """A new instance stands at the point, durably; None: there is none to fork.

    Raises:
        NotFound: the instance never stood there.
        UsageError: the id is taken, or a variable cannot be set.
    """
    current = await readings.record(id)
    if current is None:
        return None
    record = await _point(host, readings, current, asked.to, anew=False)
    made = asked.id or own_id(host.kernel)
    if not host.kernel.owns(made):
        raise UsageError(
            f"a fork of {id!r} cannot have the id {made!r}: that belongs to another member of the "
            "pool. Leave the id out, or scale the workflow to one member first."
        )
    answer: StartAnswer = await host.answers.ask(
        lambda token: ForkAsked(
            instance=id,
            record=record,
            id=made,
            at_us=now_us(),
            variables=asked.set,
            reason=asked.reason,
            token=token,
        )
    )
    return answer


async def _point(
    host: PoolHost, readings: Readings, current: InstanceRecord, to: str | int | None, *, anew: bool
) -> InstanceRecord:
    """The saved point that is meant; with `anew`, not where the instance stands now."""
    past = await readings.past_of(current)
    instance = host.kernel.instances.get(current.id)
    open_now = set(open_ids(instance)) if anew and instance and instance.is_active else set[str]()
    return await asyncio.to_thread(find_point, (one.record for one in past), to, open_now=open_now)
