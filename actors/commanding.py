"""What somebody asks for one instance of a pool: that it is cancelled, or retried."""

from __future__ import annotations

from typing import Any, Literal, assert_never

from raysume.actors.hosting import PoolHost
from raysume.actors.kernel.commits import CancelAsked, RetryAsked
from raysume.actors.readings import Readings

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
