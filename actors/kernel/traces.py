"""The trace in which an instance goes on: that of the call that it met, else the one it waits in.

Without spans (`Kernel.spans`) a context is passed on as it came. With them each turn of a sampled
trace is a span: its parent is what came, and what the turn asks for is below the turn. The id of
that span is known before the turn and made durable with it, so effects that are released again
after a crash stand in the same place of the trace.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from raysume.tracing import child_of, context_in, is_sampled, span_of_turn

if TYPE_CHECKING:
    from raysume.actors.kernel.instances import Instance
    from raysume.actors.kernel.kernel import Kernel


def hear(instance: Instance, headers: Mapping[str, str]) -> None:
    """The instance is in the trace of a call with these headers, if they name one."""
    context = context_in(headers)
    if context is not None:
        instance.trace = context


def enter(kernel: Kernel, instance: Instance) -> None:
    """The instance, which is in a trace, takes a turn there."""
    context = instance.turn_trace = instance.trace
    if kernel.spans and context is not None and is_sampled(context):
        span = span_of_turn(context, instance.id, instance.turn + 1, instance.failures)
        instance.turn_trace = child_of(context, span)


def leave(instance: Instance) -> None:
    """The turn, if it is over, is recorded with the context that its cause came in."""
    if instance.cause is None:
        return  # it has begun, and goes on as a task
    instance.cause = msgspec.structs.replace(instance.cause, trace=instance.trace)
    instance.trace, instance.turn_trace = instance.turn_trace, None


def of(instance: Instance) -> str | None:
    """The context of what the instance asks for now: in its turn, or later, where it waits."""
    return instance.trace if instance.turn_trace is None else instance.turn_trace
