"""Runs attempts of steps: plain functions outside the workflow's turn."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from concurrent.futures import Executor
from contextvars import copy_context
from functools import partial
from typing import Any

from raysume.actors.kernel.records import StepDone
from raysume.compiler import dumps
from raysume.durable import current_turn
from raysume.errors import StepFailed
from raysume.steps import Step, current_step


async def attempt_step(
    step: Step[Any],
    function: Callable[..., Any],
    *,
    key: str,
    step_id: str,
    attempt: int,
    executor: Executor | None = None,
) -> StepDone:
    """One attempt has ended; what came of it is ready to be recorded.

    Args:
        step: what was asked.
        function: what to run: the step's own function, or a stand-in.
        key: what `step_key()` gives inside: the same for every attempt.
        step_id: the step's id within its instance.
        attempt: 1 for the first.
        executor: where synchronous functions run; None: here.
    """
    try:
        async with asyncio.timeout(
            None if step.time_limit is None else step.time_limit.total_seconds()
        ):
            result = await _call(step, function, key, executor)
        payload = dumps(result, origin=f"the result of step {step.label!r}")
    except (Exception, asyncio.CancelledError, SystemExit) as error:
        if isinstance(error, asyncio.CancelledError) and _is_being_cancelled():
            raise
        retry = step.retry
        retriable = retry is not None and not isinstance(error, retry.give_up_on)
        return failed_attempt(step_id, attempt, error, retriable=retriable)
    return StepDone(step_id, attempt, True, payload)


def failed_attempt(
    step_id: str, attempt: int, error: BaseException, *, retriable: bool
) -> StepDone:
    """The record of an attempt that ended with an error."""
    return StepDone(step_id, attempt, False, _portable(error), retriable)


async def _call(
    step: Step[Any], function: Callable[..., Any], key: str, executor: Executor | None
) -> Any:
    context = copy_context()
    context.run(current_step.set, key)
    context.run(current_turn.set, None)
    call = partial(function, *step.args, **step.kwargs)
    if inspect.iscoroutinefunction(function) or executor is None:
        result = context.run(call)
    else:
        loop = asyncio.get_running_loop()
        result = await loop.run_in_executor(executor, context.run, call)
    if inspect.isawaitable(result):
        task = asyncio.get_running_loop().create_task(_awaited(result), context=context)
        result = await task
    return result


async def _awaited(result: Any) -> Any:
    return await result


def _is_being_cancelled() -> bool:
    """Whether somebody cancels the attempt itself, not something that its function awaits."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _portable(error: BaseException) -> bytes:
    """The pickled error, or, when it cannot be pickled, one that tells of it."""
    try:
        return dumps(error)
    except Exception:
        return dumps(StepFailed(f"{type(error).__qualname__}: {error} (its data cannot be saved)"))
