"""The worker of Restate: `restate_worker.py INGRESS_PORT ADMIN_PORT WORKER_PORT`."""

from __future__ import annotations

import asyncio
import sys
from typing import Final

import restate
from hypercorn.asyncio import serve
from hypercorn.config import Config

from scale_tests.peers.conversation import converse, own_stdout
from scale_tests.peers.progress import LONG, Progress

UNLIMITED: Final = 2**31 - 1

progress = Progress()
names: dict[tuple[str, int], str] = {}
"""Of the awakeable for which each instance waits."""

waits = restate.Service("Waits")
long = restate.Service("Long")
events = restate.Service("Events")


@waits.handler()
async def one_event(ctx: restate.Context, instance: dict[str, int | str]) -> int:
    """Waits for one event, whose sender was told once where to send it."""
    group, number = str(instance["group"]), int(instance["number"])
    name, event = ctx.awakeable(type_hint=int)

    async def tell() -> None:
        names[group, number] = name

    await ctx.run_typed("tell", tell)
    progress.note("begun", group, number)
    total = await event
    progress.note("reached", group, number)
    return total


@long.handler()
async def many_events(ctx: restate.Context, count: int) -> int:
    """Waits for so many events, one after the other."""
    progress.note("begun", LONG, 0)
    total = 0
    for number in range(count):
        total += await ctx.signal(f"event-{number}", type_hint=int)
        progress.note("reached", LONG, number)
    return total


@events.handler()
async def deliver(ctx: restate.Context, names: list[str]) -> None:
    """One event for each awakeable, in one invocation."""
    for number, name in enumerate(names):
        ctx.resolve_awakeable(name, number)


@events.handler()
async def stream(ctx: restate.Context, asked: dict[str, int | str]) -> None:
    """Consecutive events for one instance, in one invocation."""
    first, count = int(asked["first"]), int(asked["count"])
    for number in range(first, first + count):
        ctx.resolve_signal(str(asked["invocation"]), f"event-{number}", number)


async def names_of(group: str, count: int) -> list[str]:
    """Where to send the events of these instances."""
    return [names[group, number] for number in range(count)]


def listening(port: int) -> Config:
    """What the documentation's template gives to Hypercorn, for one process."""
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.h2_max_concurrent_streams = UNLIMITED
    config.keep_alive_max_requests = UNLIMITED
    config.keep_alive_timeout = UNLIMITED
    return config


async def main(port: int) -> None:
    """Runs until the driver closes its end."""
    answers = own_stdout()
    ended = asyncio.Event()

    async def wait_for_end() -> None:
        await ended.wait()

    app = restate.app([waits, long, events])
    serving = asyncio.create_task(serve(app, listening(port), shutdown_trigger=wait_for_end))
    await converse(progress.commands() | {"names": names_of}, answers)
    ended.set()
    await serving


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[3])))
