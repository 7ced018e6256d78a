"""What a workflow may await: the root of every durable value, and the turn it runs in.

A turn is one uninterrupted run of an instance's code between two saved points. The
kernel enters it with `turn_scope`; awaiting a durable value anywhere else is refused
here, with the remedy, instead of surfacing as an asyncio error about a bad yield.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any, ClassVar, Protocol

from raysume.errors import UsageError
from raysume.records import OutgoingCall


class Turn(Protocol):
    """What the running turn offers to the code in it (implemented by the kernel)."""

    task: asyncio.Task[Any] | None
    """The task that runs the turn; None when it runs inline."""

    @property
    def instance(self) -> Any:
        """What `instance()` returns (see raysume.instances)."""
        ...

    @property
    def trace(self) -> str | None:
        """The W3C trace context of the turn (see raysume.tracing); None: it is not traced."""
        ...

    def has_passed(self, moment: datetime) -> bool:
        """Whether a sleep of the turn cannot end at `moment` any more, by the clock of the turn.

        That is the pool's, or a TestShell's. None has passed where a first sleep begins anew.
        """
        ...

    def publish(self, call: OutgoingCall) -> None:
        """The call is published once, after the turn's commit; never when the turn fails."""
        ...


current_turn: ContextVar[Turn | None] = ContextVar("raysume_turn", default=None)


@contextmanager
def turn_scope(turn: Turn) -> Generator[None, None, None]:
    """Makes `turn` the current one for the code inside the block."""
    token = current_turn.set(turn)
    try:
        yield
    finally:
        current_turn.reset(token)


def _running_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


class Durable:
    """A value that suspends the instance when awaited: its wait is saved, not replayed.

    Durable values are plain data until they are awaited: they can be built by helper
    functions, kept in variables across waits, pickled, and nested in groups.
    """

    __slots__ = ()

    durable_kind: ClassVar[str] = "durable"
    """How messages call it: "wait", "group", "sleep", "step", "subflow"."""

    def __await__(self) -> Generator[Durable, Any, Any]:
        turn = current_turn.get()
        if turn is None:
            raise UsageError(
                f"a {self.durable_kind} was awaited outside a workflow's turn: only code of a "
                "@workflow or @subflow can wait durably. Await it directly in such a function."
            )
        if turn.task is not None and _running_task() is not turn.task:
            raise UsageError(
                f"a {self.durable_kind} was handed to asyncio (gather, create_task, wait_for or "
                "shield), which cannot survive a restart. Use all_of(...) or any_of(...) for "
                "several at once, and .timeout(...) for a limit."
            )
        return (yield self)
