"""Runs attempts of steps: plain functions outside the workflow's turn."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any

from raysume import limits
from raysume.actors.kernel.records import StepDone
from raysume.actors.spans import attach
from raysume.compiler import dumps
from raysume.durable import current_turn
from raysume.errors import StepFailed, UsageError
from raysume.steps import Step, current_step
from raysume.tracing import step_context


async def attempt_step(
    step: Step[Any],
    function: Callable[..., Any],
    *,
    key: str,
    step_id: str,
    attempt: int,
    threads: StepThreads | None = None,
    trace: str | None = None,
) -> StepDone:
    """One attempt has ended; what came of it is ready to be recorded.

    Args:
        step: what was asked.
        function: what to run: the step's own function, or a stand-in.
        key: what `step_key()` gives inside: the same for every attempt.
        step_id: the step's id within its instance.
        attempt: 1 for the first.
        threads: where synchronous functions run; None: here. The time limit begins when there
            is a thread for it.
        trace: the W3C trace context in which it runs.
    """
    try:
        begun = await _begin(step, function, key, threads, trace)
        async with asyncio.timeout(
            None if step.time_limit is None else step.time_limit.total_seconds()
        ):
            result = await begun()
        payload = dumps(result, origin=f"the result of step {step.label!r}")
    except (Exception, asyncio.CancelledError, SystemExit) as error:
        if isinstance(error, asyncio.CancelledError) and _is_being_cancelled():
            raise
        retry = step.retry
        retriable = retry is not None and not isinstance(error, retry.give_up_on)
        return failed_attempt(step_id, attempt, error, retriable=retriable)
    if len(payload) > limits.STEP_RESULT_BYTES_MAX:
        return failed_attempt(step_id, attempt, _too_large(step, payload), retriable=False)
    return StepDone(step_id, attempt, True, payload)


def failed_attempt(
    step_id: str, attempt: int, error: BaseException, *, retriable: bool
) -> StepDone:
    """The record of an attempt that ended with an error."""
    return StepDone(step_id, attempt, False, _portable(error), retriable)


class StepThreads:
    """Threads for synchronous steps, given in the order in which they are asked for."""

    def __init__(self, count: int) -> None:
        self._executor = ThreadPoolExecutor(count, "raysume-step")
        self._free = asyncio.Semaphore(count)

    async def run(self, call: Callable[[], Any]) -> asyncio.Future[Any]:
        """The call runs in a thread; awaited, the future gives its result."""
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        running = self._executor.submit(call)

        def free(_: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(self._free.release)

        running.add_done_callback(free)  # not before its end, which nothing can hasten
        return asyncio.wrap_future(running)

    def stop(self) -> None:
        """No more calls begin; those that run are left to end by themselves."""
        self._executor.shutdown(wait=False, cancel_futures=True)


async def _begin(
    step: Step[Any],
    function: Callable[..., Any],
    key: str,
    threads: StepThreads | None,
    trace: str | None,
) -> Callable[[], Awaitable[Any]]:
    """What to await for the function's result; in a thread it runs already."""
    context = copy_context()
    context.run(current_step.set, key)
    context.run(current_turn.set, None)
    context.run(step_context.set, trace)
    context.run(attach, trace)
    call = partial(context.run, partial(function, *step.args, **step.kwargs))
    in_thread = threads is not None and not inspect.iscoroutinefunction(function)
    running = await threads.run(call) if threads is not None and in_thread else None

    async def finish() -> Any:
        result = call() if running is None else await running
        if inspect.isawaitable(result):
            task = asyncio.get_running_loop().create_task(_awaited(result), context=context)
            try:
                return await task
            finally:
                if inspect.iscoroutine(result):
                    result.close()  # its time may be over before it has begun
        return result

    return finish


async def _awaited(result: Any) -> Any:
    return await result


def _is_being_cancelled() -> bool:
    """Whether somebody cancels the attempt itself, not something that its function awaits."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _too_large(step: Step[Any], payload: bytes) -> UsageError:
    return UsageError.by_rule(
        "step-result-too-large",
        f"the result of step {step.label!r} has {len(payload):,} bytes when saved; "
        f"{limits.STEP_RESULT_BYTES_MAX:,} are allowed, because it is written into the journal "
        "whole. Keep it elsewhere (a file, a bucket, a table) and return where it is.",
    )


def _portable(error: BaseException) -> bytes:
    """The pickled error, or, when it cannot be pickled, one that tells of it."""
    try:
        return dumps(error)
    except Exception:
        return dumps(StepFailed(f"{type(error).__qualname__}: {error} (its data cannot be saved)"))
