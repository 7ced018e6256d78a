"""What comes after an error: failed instances, retries by themselves or asked for, cancelling, undoing.

A failed instance keeps its last saved point, and the stimulus that failed it at the head
of its inbox: a retry puts its waits, timers and steps back to work and takes that turn
again. When it failed for good or was cancelled, the compensations of its completed steps
run first, as steps of a turn tree of their own (`undoing` says what the instance is then).
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import msgspec

from raysume.actors.kernel import following, hooks, program, routing, traces
from raysume.actors.kernel.branches import Branch, StepLeaf, UndoLeaf, path_to
from raysume.actors.kernel.commits import StepOrder
from raysume.actors.kernel.compensations import (
    Compensation,
    load_compensations,
    save_compensations,
    saved,
)
from raysume.actors.kernel.moments import duration_us, moment
from raysume.actors.kernel.places import told_in_full
from raysume.actors.kernel.records import CallMet, Cancel, Cause, ErrorRecord, StepDone, Stimulus
from raysume.actors.kernel.status import FINISHED, Event, Status, next_status
from raysume.actors.kernel.timers import RETRY_TIMER
from raysume.actors.kernel.trees import tree_of
from raysume.actors.kernel.turns import InstanceTurn
from raysume.compiler import loads
from raysume.errors import InvariantViolated, NotRetriable
from raysume.undoing import Undo

if TYPE_CHECKING:
    from raysume.actors.kernel.instances import Instance
    from raysume.actors.kernel.kernel import Kernel

UNDONE = "undone"
"""`Instance.undoing` of a failed instance whose steps were all undone."""


def fail(
    kernel: Kernel,
    instance: Instance,
    turn: InstanceTurn,
    stimulus: Stimulus,
    error: BaseException,
) -> None:
    """The instance is failed and keeps its last saved point and the stimulus that failed it.

    By its own policy it is retried later; when there is nothing more to try, its completed
    steps are undone.
    """
    instance.live = None
    cancel = next((one for one in instance.inbox if isinstance(one, Cancel)), None)
    if cancel is not None:
        routing.offer_again(kernel, instance.inbox)
        instance.inbox = [cancel]
        kernel.is_ready(instance)
    elif not isinstance(stimulus, Cancel):
        instance.inbox.insert(0, stimulus)
    instance.status = next_status(instance.status, Event.RAISED)
    instance.failures += 1
    instance.error = _error_of(instance, error)
    following.leave_index(kernel, instance)
    failed_undoing = instance.undoing is not None
    if not failed_undoing:
        _keep_compensations(kernel, instance, turn)
    retried_us = None
    if cancel is None and not isinstance(stimulus, Cancel) and not failed_undoing:
        retried_us = _retried_at(kernel, instance, error)
    kernel.log(
        instance.id,
        "error",
        "instance failed",
        error=f"{type(error).__qualname__}: {error}",
        failures=instance.failures,
        retry_at=None if retried_us is None else moment(retried_us).isoformat(),
    )
    pushed = hooks.take_last_words(kernel, instance)
    if retried_us is not None:
        kernel.timers.set(instance, RETRY_TIMER, retried_us)
    elif cancel is None and not failed_undoing and instance.compensations is not None:
        _undo_after_failure(kernel, instance, pushed)
        return
    else:
        kernel.commit.finished.append(instance.id)
    following.record(kernel, instance, None, pushed)


def retry(kernel: Kernel, instance: Instance, reason: str = "") -> None:
    """The failed instance goes on from its last saved point, with the same stimulus again.

    A step that failed for good runs once more.

    Raises:
        NotRetriable: it has not failed, or its steps were undone.
    """
    if instance.status is not Status.FAILED:
        raise not_failed(instance.id, instance.status)
    if instance.undoing == UNDONE:
        raise NotRetriable(
            f"instance {instance.id!r} failed and its completed steps were undone, so it cannot go "
            "on from where it stood. Cancel it, and start a new one.",
            instance_status=instance.status.value,
        )
    instance.timers.pop(RETRY_TIMER, None)
    instance.error = None
    head = instance.inbox[0] if instance.inbox else None
    if isinstance(head, StepDone) and not head.succeeded:
        instance.inbox.pop(0)
        _one_more_attempt(kernel, instance, head.step)
    instance.status = next_status(instance.status, Event.RETRIED)
    if not instance.inbox and not instance.steps:
        instance.status = following.status_at_leaves(instance)
    _work_again(kernel, instance)
    instance.cause = Cause("retry", reason or None)
    kernel.log(instance.id, "info", "instance retried", failures=instance.failures)
    kernel.touch(instance)
    if instance.inbox:
        kernel.is_ready(instance)


def not_failed(instance_id: str, status: Status) -> NotRetriable:
    """Why an instance of this status is not retried."""
    return NotRetriable(
        f"instance {instance_id!r} is {status.value}: only a failed instance can be retried.",
        instance_status=status.value,
    )


def cancel(kernel: Kernel, instance: Instance, reason: str) -> None:
    """The instance is cancelled, or unwinding; a finished one stays as it is.

    One whose compensation failed for good is given up: what is left is not undone.
    """
    if instance.status in FINISHED or instance.undoing in ("failed", "cancelled"):
        if instance.status is Status.FAILED:
            _give_up_undoing(kernel, instance)
        return
    if instance.status is Status.FAILED:
        instance.timers.pop(RETRY_TIMER, None)
        note_results(kernel, instance)
        queued, instance.inbox = instance.inbox, []  # what failed is given up
        routing.offer_again(kernel, queued)
    kernel.log(instance.id, "info", "cancel asked", reason=reason)
    kernel.stimulate(instance, Cancel(reason))


def keep_result(kernel: Kernel, instance: Instance, done: StepDone) -> None:
    """The result of a step that ended while its instance is failed waits for the retry."""
    asked = instance.steps.get(done.step)
    known = any(isinstance(one, StepDone) and one.step == done.step for one in instance.inbox)
    if asked is not None and asked.attempt == done.attempt and not known:
        instance.inbox.append(done)
        kernel.touch(instance)


# --- undoing ---------------------------------------------------------------------


def undo_after_cancel(kernel: Kernel, instance: Instance, turn: InstanceTurn) -> None:
    """The unwound instance is at its first compensation; after the last it is cancelled."""
    _open_undo(kernel, instance, turn)
    instance.undoing = "cancelled"


def finish_undoing(kernel: Kernel, instance: Instance, turn: InstanceTurn) -> None:
    """Every compensation has run: the instance is failed or cancelled."""
    following.follow(kernel, instance, turn)
    instance.state, instance.kept = instance.kept, None
    if instance.undoing == "failed":
        instance.status = next_status(instance.status, Event.RAISED)
        instance.undoing = UNDONE
    else:
        instance.status = next_status(instance.status, Event.UNWOUND)
        instance.undoing = None
    instance.live = None
    instance.inbox = []
    kernel.commit.finished.append(instance.id)


def _undo_after_failure(kernel: Kernel, instance: Instance, pushed: list[bytes]) -> None:
    turn = following.new_turn(kernel, instance)
    turn.outgoing = pushed
    load_compensations(instance, turn)
    kept = instance.state
    turn.asked = ()
    kernel.commit.steps_cancelled.extend((instance.id, step) for step in instance.steps)
    _open_undo(kernel, instance, turn)
    instance.turn = turn.number
    instance.kept = kept
    instance.undoing = "failed"
    following.record(kernel, instance, turn)


def _open_undo(kernel: Kernel, instance: Instance, turn: InstanceTurn) -> None:
    """The instance is at its first compensation and at nothing else."""
    branch = Branch(Undo())
    for _ in program.start(turn, branch):
        raise InvariantViolated("opening an undo cannot wait for anything")
    state = saved(branch, instance, kernel.workflow)
    following.leave_index(kernel, instance)
    instance.waits, instance.timers = {}, {}
    queued, instance.inbox = instance.inbox, []
    routing.offer_again(kernel, queued)
    following.follow(kernel, instance, turn)
    instance.steps = {id: step for id, step in instance.steps.items() if id in turn.steps}
    save_compensations(instance, turn, workflow=kernel.workflow)
    instance.state, instance.live = state, None
    instance.status = next_status(instance.status, Event.SUSPENDED_AT_STEP)


def _give_up_undoing(kernel: Kernel, instance: Instance) -> None:
    if instance.undoing not in ("failed", "cancelled"):
        return
    left: list[Compensation] = (
        loads(instance.compensations) if instance.compensations is not None else []
    )
    instance.cause = Cause("cancel", "undoing given up")
    kernel.log(
        instance.id,
        "warning",
        "undoing given up",
        left=[one.step.label for one in reversed(left)],
    )
    instance.state = instance.kept = instance.compensations = instance.undoing = None
    instance.steps, instance.timers, instance.inbox = {}, {}, []
    instance.status = next_status(instance.status, Event.UNWOUND)
    kernel.commit.finished.append(instance.id)
    kernel.touch(instance)


# --- inside ----------------------------------------------------------------------


def _error_of(instance: Instance, error: BaseException) -> ErrorRecord:
    message = str(error)
    if instance.undoing is not None and instance.error is not None:
        message = (
            f"{message} It was undone because of {instance.error.type}: {instance.error.message}"
        )
    return ErrorRecord(
        type=type(error).__qualname__,
        message=message,
        traceback=told_in_full(error),
    )


def _keep_compensations(kernel: Kernel, instance: Instance, turn: InstanceTurn) -> None:
    """Steps whose results the failed turn took are undone too."""
    try:
        save_compensations(instance, turn, workflow=kernel.workflow)
    except Exception as error:
        kernel.log(instance.id, "error", "compensations not saved", error=str(error))


def _retried_at(kernel: Kernel, instance: Instance, error: BaseException) -> int | None:
    """When the workflow's own policy retries the instance (microseconds); None: never."""
    policy = kernel.workflow.retry
    if policy is None or hooks.gives_up(kernel, instance.failures, error):
        return None
    return kernel.now_us + duration_us(policy.delay_after(instance.failures, random.random()))


def note_results(kernel: Kernel, instance: Instance) -> None:
    """Steps whose results no turn took yet are undone with the others."""
    done = [one for one in instance.inbox if isinstance(one, StepDone) and one.succeeded]
    if not done or instance.state is None:
        return
    turn = following.new_turn(kernel, instance)
    load_compensations(instance, turn)
    root = tree_of(instance.state)
    for one in done:
        path = path_to(root, one.step)
        leaf = None if path is None else path[-1].leaf
        if isinstance(leaf, StepLeaf):
            turn.completed_step(leaf.id, leaf.value, loads(one.payload))
    save_compensations(instance, turn, workflow=kernel.workflow)


def _work_again(kernel: Kernel, instance: Instance) -> None:
    """Waits look back for what came meanwhile; timers are set; unfinished steps run again."""
    taken = {one.wait for one in instance.inbox if isinstance(one, CallMet)}
    for wait in list(instance.waits.values()):
        if wait.id not in taken:
            again = msgspec.structs.replace(wait, looks_back=True)
            instance.waits[wait.id] = again
            instance.entries[wait.id] = kernel.index.add(instance, again)
            kernel.look_back.append((instance.id, wait.id))
    for timer_id, due_us in instance.timers.items():
        kernel.timers.set(instance, timer_id, due_us)
    ask_steps(kernel, instance)


def _one_more_attempt(kernel: Kernel, instance: Instance, step_id: str) -> None:
    """The step that failed for good is at a new attempt: what came of the others is recorded."""
    asked = instance.steps.get(step_id)
    if asked is None or instance.state is None:
        return
    root = tree_of(instance.state)
    path = path_to(root, step_id)
    leaf = None if path is None else path[-1].leaf
    if not isinstance(leaf, StepLeaf | UndoLeaf):
        return
    leaf.attempt += 1
    if instance.undoing is None:
        instance.state = hooks.saved(kernel, instance, root)
    else:
        instance.state = saved(root, instance, kernel.workflow)
    instance.steps[step_id] = msgspec.structs.replace(asked, attempt=leaf.attempt)


def ask_steps(kernel: Kernel, instance: Instance) -> None:
    """Every step of the instance that is not recorded, and may start now, is to be run."""
    recorded = {one.step for one in instance.inbox if isinstance(one, StepDone)}
    for step in instance.steps.values():
        if step.due_us is None and step.id not in recorded:
            kernel.commit.steps.append(
                StepOrder(
                    instance=instance.id,
                    step=step.id,
                    attempt=step.attempt,
                    trace=traces.of(instance),
                )
            )
