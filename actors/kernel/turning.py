"""Takes turns: runs an instance for a stimulus, and turns what came of it into a record."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from raysume.actors.kernel import (
    children,
    driving,
    exclusives,
    failing,
    first_calls,
    following,
    hooks,
    looking_back,
    plain_turns,
    program,
    routing,
    schedules,
    traces,
)
from raysume.actors.kernel.branches import Branch, StepLeaf, UndoLeaf, path_to
from raysume.actors.kernel.causes import cause_of
from raysume.actors.kernel.commits import StepEnded, TurnEnded, TurnTask
from raysume.actors.kernel.compensations import load_compensations, save_compensations, saved
from raysume.actors.kernel.mailboxes import key_met, key_of
from raysume.actors.kernel.places import raised_at
from raysume.actors.kernel.records import (
    Begin,
    CallMet,
    Cancel,
    ChildDone,
    StepDone,
    Stimulus,
    TimerDue,
)
from raysume.actors.kernel.status import Event, Status, next_status
from raysume.actors.kernel.timers import RETRY_TIMER
from raysume.actors.kernel.trees import tree_of
from raysume.actors.kernel.turns import CallbackFailed, InstanceTurn
from raysume.call import Call
from raysume.errors import InvariantViolated, UsageError
from raysume.workflows import Workflow

if TYPE_CHECKING:
    from raysume.actors.kernel.instances import Instance
    from raysume.actors.kernel.kernel import Kernel

_STOPS: tuple[type[BaseException], ...] = (Exception, asyncio.CancelledError, SystemExit)
"""What may come out of a turn: it is the end of that turn, never of the pool."""


def take(kernel: Kernel, instance: Instance, stimulus: Stimulus) -> None:
    """The instance has taken a turn for `stimulus`, or has one under way as a task."""
    if not _counts(kernel, instance, stimulus):
        kernel.touch(instance)
        return
    if instance.trace is not None:
        traces.enter(kernel, instance)
    begun = isinstance(stimulus, CallMet) and plain_turns.take(kernel, instance, stimulus)
    if begun is True:
        return
    guard = kernel.guard if kernel.runs_inline else None  # what runs as a task does so later
    if begun is not False:
        turn, steps = begun
    else:
        turn = following.new_turn(kernel, instance)
        if guard is not None and (refused := guard.begins(instance.id)) is not None:
            _came_to_nothing(kernel, instance, turn, stimulus, refused)
            return
        steps = hooks.with_hooks(kernel, instance, turn, _turn(kernel, instance, turn, stimulus))
    task = TurnTask(instance=instance.id, turn=turn, steps=steps)
    if kernel.runs_inline:
        try:
            task.pending = driving.run_inline(turn, steps)
        except _STOPS as error:
            _came_to_nothing(kernel, instance, turn, stimulus, error)
            return
        finally:
            if guard is not None:
                guard.ended()
        if task.pending is driving.FINISHED:
            _conclude(kernel, instance, turn, stimulus)
            return
    instance.busy = True
    instance.status = next_status(instance.status, Event.TURN_BEGAN)
    instance.inbox.insert(0, stimulus)
    kernel.touch(instance)
    kernel.commit.tasks.append(task)


def end_task(kernel: Kernel, ended: TurnEnded) -> None:
    """A turn that ran as a task is recorded, and the instance goes on with its inbox."""
    instance = _in_memory(kernel, ended.task.instance)
    if not instance.busy:
        return  # reported before
    stimulus = instance.inbox.pop(0)
    instance.busy = False
    if ended.error is not None:
        _came_to_nothing(kernel, instance, ended.task.turn, stimulus, ended.error)
    else:
        _conclude(kernel, instance, ended.task.turn, stimulus)
    if instance.inbox:
        kernel.is_ready(instance)


def end_step(kernel: Kernel, ended: StepEnded) -> None:
    """The step's outcome is the instance's next stimulus, or waits while the instance is failed."""
    instance = kernel.instances.get(ended.instance)
    if instance is None:
        return
    if instance.status is Status.FAILED:
        failing.keep_result(kernel, instance, ended.done)
        return
    asked = instance.steps.get(ended.done.step)
    if asked is not None and asked.attempt == ended.done.attempt:
        kernel.stimulate(instance, ended.done)


def ring(kernel: Kernel, upto_us: int) -> None:
    """Everything due at or before that moment has rung, in order: timers, retries, the schedule."""
    while True:
        if not kernel.schedule.ring(upto_us):
            rung = kernel.timers.ring(upto_us)
            if rung is None:
                return
            instance, timer_id = rung
            if timer_id == RETRY_TIMER:
                failing.retry(kernel, instance)
            else:
                kernel.stimulate(instance, TimerDue(timer_id))
        kernel.settle()


def _counts(kernel: Kernel, instance: Instance, stimulus: Stimulus) -> bool:
    """Whether the stimulus still means something: its wait or step may have ended while it queued.

    A call whose wait has ended was not received: another wait may meet it.
    """
    if isinstance(stimulus, CallMet):
        item = stimulus.call
        wait = instance.waits.get(stimulus.wait)
        if wait is not None:
            if item.call.headers is not None:
                traces.hear(instance, item.call.headers)
            key = key_of(wait) if len(wait.keys) < 2 else key_met(wait, item, kernel.methods)
            if key is not None:
                instance.mailbox.receive(wait, key, (item.pos, item.offset))
            if stimulus.exclusive:
                place = (item.pos, item.offset)
                instance.exclusive = exclusives.with_place(instance.exclusive, place)
            return True
        looking_back.again(kernel, instance, method=item.call.method)
        routing.offer_again(kernel, [stimulus])
        return False
    if isinstance(stimulus, StepDone):
        asked = instance.steps.get(stimulus.step)
        if asked is None or asked.attempt != stimulus.attempt:
            looking_back.again(kernel, instance)
            return False
    if isinstance(stimulus, ChildDone):
        child = instance.children.get(stimulus.leaf)
        return child is not None and not child.cancelled
    return True


def can_go_on(instance: Instance) -> bool:
    """Whether the next entry of the instance's inbox may be taken now.

    An instance that failed keeps its inbox; only being cancelled moves it on.
    """
    if instance.busy or not instance.inbox:
        return False
    return instance.is_active or (
        isinstance(instance.inbox[0], Cancel) and instance.status is Status.FAILED
    )


# --- the turn itself ---------------------------------------------------------------


def _root_of(instance: Instance) -> Branch:
    if instance.live is None:
        if instance.state is None:
            raise InvariantViolated(f"instance {instance.id} has no saved state to go on from")
        instance.live = tree_of(instance.state)
    return instance.live


def _turn(
    kernel: Kernel, instance: Instance, turn: InstanceTurn, stimulus: Stimulus
) -> Generator[Any, Any, None]:
    load_compensations(instance, turn)
    match stimulus:
        case Begin():
            yield from _begin(kernel, instance, turn, stimulus)
        case CallMet():
            call = Call.of(stimulus.call.call, kernel.methods(stimulus.call.call.method))
            yield from program.meet(turn, _root_of(instance), stimulus.wait, call)
        case TimerDue():
            yield from program.ring(turn, _root_of(instance), stimulus.timer)
        case StepDone():
            yield from program.finish_step(turn, _root_of(instance), stimulus)
        case ChildDone():
            yield from children.finish(turn, _root_of(instance), stimulus)
        case Cancel():
            if instance.state is None:  # it failed before its first saved point
                instance.live = Branch(None)
            yield from program.cancel(turn, _root_of(instance))


def _begin(
    kernel: Kernel, instance: Instance, turn: InstanceTurn, begin: Begin
) -> Generator[Any, Any, None]:
    workflow = kernel.workflow
    arguments = {} if begin.input is None else workflow.decode_arguments(begin.input)
    beginning, container = workflow.begin(arguments)
    branch = instance.live = Branch(beginning)
    branch.container = container
    slept = begin.due_us is not None and kernel.standing.sleep is not None
    turn.is_first = begin.call is not None or slept
    yield from program.start(turn, branch)
    turn.is_first = False
    outcome = branch.outcome
    if slept:
        yield from schedules.pass_first_sleep(turn, branch)
    if begin.call is None or (outcome is not None and outcome.kind != "result"):
        return
    item, ordinal = begin.call, begin.ordinal
    yield from first_calls.meet_first(kernel, instance, turn, branch, item, ordinal)


# --- afterwards --------------------------------------------------------------------


def _came_to_nothing(
    kernel: Kernel,
    instance: Instance,
    turn: InstanceTurn,
    stimulus: Stimulus,
    error: BaseException,
) -> None:
    """The turn is undone: a call whose callback raised is passed over, else the instance failed."""
    instance.cause = cause_of(instance, stimulus)
    if (
        not isinstance(error, CallbackFailed)
        or not isinstance(stimulus, CallMet)
        or instance.state is None
    ):
        failing.fail(kernel, instance, turn, stimulus, error)
        return
    instance.live = None
    at = None if error.__cause__ is None else raised_at(error.__cause__)
    kernel.log(instance.id, "error", "callback raised", error=error.message, at=at)
    instance.status = following.status_at_leaves(instance)
    queued = {one.wait for one in instance.inbox if isinstance(one, CallMet)}
    for wait in instance.waits.values():
        if wait.id not in instance.entries and wait.id not in queued:
            instance.entries[wait.id] = kernel.index.add(instance, wait)
    looking_back.again(kernel, instance)
    following.record(kernel, instance, None)


def _conclude(kernel: Kernel, instance: Instance, turn: InstanceTurn, stimulus: Stimulus) -> None:
    """What came of the turn is recorded; nothing that goes wrong here reaches another instance."""
    instance.cause = cause_of(instance, stimulus)
    instance.turn = turn.number
    root = instance.live
    if root is not None and root.outcome is not None and root.outcome.kind == "error":
        failing.fail(kernel, instance, turn, stimulus, root.outcome.value)
        return
    try:
        _take_over(kernel, instance, turn, root)
        kernel.schedule.begun(turn.first_sleep)
    except Exception as error:
        failing.fail(kernel, instance, turn, stimulus, error)
        return
    instance.failures = 0
    following.record(kernel, instance, turn)


def _take_over(kernel: Kernel, instance: Instance, turn: InstanceTurn, root: Branch | None) -> None:
    if root is None:
        raise InvariantViolated(f"the turn of instance {instance.id} left no tree")
    tags = {name: str(value) for name, value in turn.instance.tags.items()}
    outcome = root.outcome
    if outcome is None:
        if instance.undoing is None:
            state = turn.state or hooks.saved(kernel, instance, root)
        else:
            state = saved(root, instance, kernel.workflow)
        save_compensations(instance, turn, workflow=kernel.workflow)
        following.follow(kernel, instance, turn)
        instance.state = state
        instance.status = following.status_at_leaves(instance)
        looking_back.again(kernel, instance)
        if not kernel.keep_live:
            instance.live = None
    elif instance.undoing is not None:
        save_compensations(instance, turn, workflow=kernel.workflow)
        failing.finish_undoing(kernel, instance, turn)
    elif outcome.kind == "cancelled" and turn.compensations:
        remains = hooks.saved(kernel, instance, root)
        failing.undo_after_cancel(kernel, instance, turn)
        instance.kept = remains
    else:
        remains = turn.state or hooks.saved(kernel, instance, root)
        _end(kernel, instance, turn, outcome.kind == "result", outcome.value)
        instance.state = remains
        hooks.take_last_words(kernel, instance)
    instance.tags.update(tags)


def _end(
    kernel: Kernel, instance: Instance, turn: InstanceTurn, completed: bool, value: Any
) -> None:
    if completed:
        instance.result = _encoded_result(kernel.workflow, value)
    following.follow(kernel, instance, turn)
    following.leave_index(kernel, instance)
    instance.waits, instance.timers, instance.steps = {}, {}, {}
    queued, instance.inbox = instance.inbox, []
    routing.offer_again(kernel, queued)
    instance.state = instance.live = None
    instance.status = next_status(instance.status, Event.RETURNED if completed else Event.UNWOUND)
    if completed:
        instance.error = None
        kernel.commit.results.append((instance.id, value))
    kernel.commit.finished.append(instance.id)


def _encoded_result(workflow: Workflow[Any, Any], value: Any) -> bytes:
    try:
        return workflow.output_adapter.dump_json(value)
    except Exception as error:
        raise UsageError(
            f"workflow {workflow.name!r} returned a {type(value).__qualname__}, which has no JSON "
            f"form: {error}. Return data that pydantic can serialise, or nothing."
        ) from error


def step_of(kernel: Kernel, instance_id: str, step_id: str) -> Any:
    """The step as saved, with arguments of its own: whoever runs it cannot change the state."""
    instance = _in_memory(kernel, instance_id)
    if instance.state is None:
        return None
    path = path_to(tree_of(instance.state), step_id)
    leaf = None if path is None else path[-1].leaf
    return leaf.step if isinstance(leaf, StepLeaf | UndoLeaf) else None


def _in_memory(kernel: Kernel, instance_id: str) -> Instance:
    instance = kernel.instances.get(instance_id)
    if instance is None:
        raise InvariantViolated(f"instance {instance_id} is not in memory")
    return instance
