"""Compensations: how the completed steps of an instance are undone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from raysume import limits
from raysume.compiler import dumps, loads
from raysume.steps import Retry, Step
from raysume.undoing import compensation_arguments

if TYPE_CHECKING:
    from raysume.actors.kernel.instances import Instance
    from raysume.actors.kernel.turns import InstanceTurn
    from raysume.workflows import Workflow


@dataclass(slots=True, eq=False)
class Compensation:
    """How one completed step is undone."""

    of: str
    """Id of the step to undo."""
    step: Step[Any]
    """The compensation, as a step of its own."""
    leaf: str | None = None
    """Id of the `undo()` that was at it last."""


def compensation_of(id: str, step: Step[Any], result: Any) -> Compensation:
    """How the step, which returned `result`, is undone: with its own retries and time limit."""
    assert step.compensate is not None
    args, kwargs = compensation_arguments(step.compensate, step.args, step.kwargs, result)
    retry = step.retry or Retry(max_attempts=limits.COMPENSATION_ATTEMPTS)
    name = f"undo {step.label}"
    undoing: Step[Any] = Step(
        step.compensate, args, kwargs, retry, step.time_limit, step.ray, None, name
    )
    return Compensation(id, undoing)


def load_compensations(instance: Instance, turn: InstanceTurn) -> None:
    """The turn knows how to undo what completed in earlier turns."""
    turn.asked = set(instance.steps)
    if instance.compensations is not None:
        turn.compensations = loads(instance.compensations)


def save_compensations(
    instance: Instance, turn: InstanceTurn, *, workflow: Workflow[Any, Any]
) -> None:
    """What the turn added or undid is part of the instance."""
    if turn.compensations_changed:
        left = turn.compensations
        instance.compensations = saved(left, instance, workflow) if left else None


def saved(value: Any, instance: Instance, workflow: Workflow[Any, Any]) -> bytes:
    """Something that holds compensations, as it is saved; what the workflow sees is saved by name."""
    return dumps(
        value, origin=workflow.name, provided=instance.provided, around=workflow.definition
    )
