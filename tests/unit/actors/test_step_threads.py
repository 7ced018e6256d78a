"""Synchronous steps: in threads, in the order of asking, each with its own time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

from raysume import step
from raysume.actors.kernel.records import StepDone
from raysume.actors.stepping import StepThreads, attempt_step
from raysume.compiler import loads

SHORT = timedelta(milliseconds=250)


async def attempted(
    threads: StepThreads, function: Callable[..., Any], timeout: timedelta | None = None
) -> StepDone:
    """What came of one attempt."""
    asked = step(function, timeout=timeout)
    return await attempt_step(asked, function, key="k", step_id="1.1", attempt=1, threads=threads)


async def never() -> None:
    """Ends by its time limit only."""
    await asyncio.Event().wait()


async def test_the_time_of_a_step_begins_when_there_is_a_thread_for_it() -> None:
    threads, goes_on = StepThreads(1), threading.Event()
    first = asyncio.create_task(attempted(threads, goes_on.wait))
    second = asyncio.create_task(attempted(threads, lambda: "in time", timeout=SHORT))
    passed = await attempted(threads, never, timeout=SHORT)
    assert isinstance(loads(passed.payload), TimeoutError)
    assert not second.done()
    goes_on.set()
    assert (await first).succeeded
    assert loads((await second).payload) == "in time"
    threads.stop()


async def test_steps_run_in_the_order_in_which_they_asked_for_a_thread() -> None:
    threads, goes_on = StepThreads(1), threading.Event()
    ran: list[int] = []
    first = asyncio.create_task(attempted(threads, goes_on.wait))
    others = [
        asyncio.create_task(attempted(threads, partial(ran.append, number))) for number in range(20)
    ]
    goes_on.set()
    await asyncio.gather(first, *others)
    assert ran == list(range(20))
    threads.stop()


async def test_a_step_that_ran_out_of_time_keeps_its_thread_until_it_ends() -> None:
    threads, goes_on = StepThreads(1), threading.Event()
    late = await attempted(threads, goes_on.wait, timeout=SHORT)
    assert isinstance(loads(late.payload), TimeoutError)
    second = asyncio.create_task(attempted(threads, lambda: "after it", timeout=SHORT))
    await attempted(threads, never, timeout=SHORT)
    assert not second.done()
    goes_on.set()
    assert loads((await second).payload) == "after it"
    threads.stop()
