"""What a workflow sees of a step whose attempts have failed."""

from __future__ import annotations

from typing import Any

from raysume.errors import ProcessEnded, StepFailed
from raysume.steps import Step


def attempts_failed(step: Step[Any], attempt: int, error: BaseException) -> StepFailed:
    """What is raised at the step after its last attempt; its cause is the step's own error."""
    told = str(error).removesuffix(".")
    remedy = "" if isinstance(error, ProcessEnded) else ", or give the step a Retry"
    failure = StepFailed(
        f"step {step.label!r} failed at attempt {attempt}: {type(error).__name__}: {told}. "
        f"Catch StepFailed to handle it{remedy}.",
        step=step.label,
        attempts=attempt,
    )
    failure.__cause__ = error
    return failure
