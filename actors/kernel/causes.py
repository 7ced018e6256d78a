"""What a turn was taken for, in words that a timeline can show."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from raysume.actors.kernel.records import (
    Begin,
    CallMet,
    Cancel,
    Cause,
    ChildDone,
    StepDone,
    Stimulus,
    TimerDue,
)

if TYPE_CHECKING:
    from raysume.actors.kernel.instances import Instance


def cause_of(instance: Instance, stimulus: Stimulus) -> Cause:
    """Why the instance takes a turn, as it stands before that turn."""
    match stimulus:
        case Begin():
            if stimulus.call is not None:
                return Cause("started", stimulus.call.call.method, stimulus.call.call.id)
            return Cause("started", None if stimulus.due_us is None else "schedule")
        case CallMet():
            return Cause("call", stimulus.call.call.method, stimulus.call.call.id)
        case TimerDue():
            wait = instance.waits.get(stimulus.timer)
            if wait is not None:
                return Cause("timeout", wait.name or wait.method, stimulus.timer)
            step = instance.steps.get(stimulus.timer)
            return Cause("timer", None if step is None else step.name, stimulus.timer)
        case StepDone():
            step = instance.steps.get(stimulus.step)
            kind = "step" if stimulus.succeeded else "step failed"
            return Cause(kind, None if step is None else step.name, stimulus.step)
        case ChildDone():
            child = instance.children.get(stimulus.leaf)
            return Cause("workflow", None if child is None else child.workflow, stimulus.id)
        case Cancel():
            return Cause("cancel", stimulus.reason or None)
        case _:
            assert_never(stimulus)
