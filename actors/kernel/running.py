"""Lets the code of a branch go on, up to the next durable value that it awaits."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, assert_never

from raysume.actors.kernel.branches import Outcome
from raysume.durable import Durable
from raysume.errors import Cancelled

if TYPE_CHECKING:
    from raysume.actors.kernel.turns import InstanceTurn


def sent(coroutine: Any, value: Any) -> Any:
    """What the coroutine yields when it goes on with the value, or its `Outcome` when it ends.

    For code that runs without a task; what it yields need not be durable (see `step_into`).
    """
    try:
        return coroutine.send(value)
    except StopIteration as stop:
        return Outcome("result", stop.value)
    except Cancelled:
        return Outcome("cancelled")
    except (Exception, asyncio.CancelledError, SystemExit) as error:
        return Outcome("error", error)


def step_into(
    turn: InstanceTurn, coroutine: Any, outcome: Outcome | None = None, *, came: Any = None
) -> Generator[Any, Any, Durable | Outcome]:
    """The next durable value that the coroutine is suspended at, or how it ended.

    Args:
        outcome: what it goes on with; None: it has gone on already.
        came: what it yielded then.
    """
    try:
        yielded = came if outcome is None else _went_on(coroutine, outcome)
        while not isinstance(yielded, Durable):
            try:
                value = yield yielded
            except GeneratorExit:
                coroutine.close()
                raise
            except BaseException as error:
                yielded = coroutine.throw(error)
            else:
                yielded = coroutine.send(value)
    except StopIteration as stop:
        return Outcome("result", stop.value)
    except Cancelled:
        return Outcome("cancelled")
    except asyncio.CancelledError as error:
        if turn.is_being_stopped:
            raise
        return Outcome("error", error)
    except (Exception, SystemExit) as error:
        return Outcome("error", error)
    return yielded


def _went_on(coroutine: Any, outcome: Outcome) -> Any:
    match outcome.kind:
        case "result":
            return coroutine.send(outcome.value)
        case "error":
            return coroutine.throw(outcome.value)
        case "cancelled":
            return coroutine.throw(Cancelled())
        case _:
            assert_never(outcome.kind)
