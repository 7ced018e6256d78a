"""Runs turns: inline when they await only durable things, else as a task of the event loop."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Generator
from typing import Any

from raysume.actors.kernel.turns import InstanceTurn
from raysume.durable import turn_scope

FINISHED: Any = object()
"""Returned by `run_inline` when the turn is over."""


def run_inline(turn: InstanceTurn, steps: Generator[Any, Any, None]) -> Any:
    """The turn has run to its end, or up to the first thing that needs the event loop.

    Returns:
        That thing, or `FINISHED` when the turn is over.
    """
    with turn_scope(turn):
        try:
            return next(steps)
        except StopIteration:
            return FINISHED


@types.coroutine
def _passed_through(steps: Generator[Any, Any, None], pending: Any) -> Generator[Any, Any, None]:
    try:
        yielded = next(steps) if pending is None else pending
        while True:
            try:
                value = yield yielded
            except GeneratorExit:
                steps.close()
                raise
            except BaseException as error:
                yielded = steps.throw(error)
            else:
                yielded = steps.send(value)
    except StopIteration:
        return


async def run_as_task(
    turn: InstanceTurn, steps: Generator[Any, Any, None], pending: Any = None
) -> None:
    """The turn has run to its end within the current task."""
    turn.task = asyncio.current_task()
    with turn_scope(turn):
        await _passed_through(steps, pending)
