"""A workflow that tells how long its calls took until they were committed."""

from __future__ import annotations

import time

from pydantic import BaseModel

from raysume import external_call, step, wait, workflow


class Opened(BaseModel):
    """An instance begins to wait."""

    account: int


class Called(BaseModel):
    """What the instance waits for."""

    account: int
    sent_ns: int = 0
    """The moment from which the time counts, nanoseconds since the epoch; 0: it is not taken."""
    ends: bool = False
    """The instance returns what it has."""


opened = external_call("timed.opened", input=Opened, output=bool)
called = external_call("timed.called", input=Called, output=bool)


async def age_us(sent_ns: int) -> int:
    """Microseconds since then.

    A step starts after the commit of the turn that asked for it: here, of the turn that took the
    call. It is asynchronous, so that it runs where the pool works, without waiting for a thread.
    """
    return (time.time_ns() - sent_ns) // 1_000


@workflow
async def timed() -> list[int]:
    """The ages of the calls that wanted to be timed. Other calls cost one plain turn."""
    first = await wait(opened).match_any()
    number: int = first.input.account
    ages: list[int] = []
    is_over = False
    while not is_over:
        call = await wait(called).match(account=number)
        if call.input.sent_ns:
            ages.append(await step(age_us, call.input.sent_ns))
        is_over = call.input.ends
    return ages
