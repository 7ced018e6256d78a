"""The workflows of raysume's side: one waits for one event, the other for many."""

from __future__ import annotations

import time

from pydantic import BaseModel

from raysume import external_call, wait, workflow


class Numbered(BaseModel):
    """Of which instance a call tells."""

    number: int


opened = external_call("peers.opened", input=Numbered, output=bool)
happened = external_call("peers.happened", input=Numbered, output=bool)
opened_long = external_call("peers.opened-long", input=Numbered, output=bool)
happened_long = external_call("peers.happened-long", input=Numbered, output=bool)


@workflow
async def one_event() -> int:
    """Waits for one event; its result is the moment of its next line."""
    first = await wait(opened).match_any()
    number: int = first.input.number
    await wait(happened).match(number=number)
    return time.monotonic_ns()


@workflow
async def many_events() -> None:
    """Waits for many events, one after the other."""
    first = await wait(opened_long).match_any()
    number: int = first.input.number
    passed = 0
    reached_ns = 0
    while True:
        await wait(happened_long).match(number=number)
        passed += 1
        # Read too, so that it is saved: what is never read is not.
        reached_ns = max(reached_ns, time.monotonic_ns())
