"""Takes turns: runs an instance for a stimulus, and turns what came of it into a record."""

from __future__ import annotations

import traceback
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from raysume.actors.kernel import driving, program, routing
from raysume.actors.kernel.branches import Branch, StepLeaf, WaitLeaf, leaves_of, path_to
from raysume.actors.kernel.commits import LookBackOrder, StepOrder, TurnEnded, TurnTask
from raysume.actors.kernel.moments import moment
from raysume.actors.kernel.records import (
    Begin,
    CallMet,
    Cancel,
    ErrorRecord,
    StepDone,
    StepRecord,
    Stimulus,
    TimerDue,
    TurnRecord,
    WaitRecord,
)
from raysume.actors.kernel.status import FINISHED, Event, Status, next_status
from raysume.actors.kernel.turns import CallbackFailed, InstanceTurn
from raysume.call import Call
from raysume.compiler import dumps, loads
from raysume.errors import InvariantViolated, UsageError
from raysume.instances import RunningInstance
from raysume.workflows import Workflow

if TYPE_CHECKING:
    from raysume.actors.kernel.index import Entry
    from raysume.actors.kernel.instances import Instance
    from raysume.actors.kernel.kernel import Kernel

__all__ = ["FINISHED", "end_task", "look_back", "looked_back", "record", "step_of", "take"]


def take(kernel: Kernel, instance: Instance, stimulus: Stimulus) -> None:
    """The instance has taken a turn for `stimulus`, or has one under way as a task."""
    if isinstance(stimulus, CallMet) and stimulus.wait not in instance.waits:
        kernel.touch(instance)  # the wait ended meanwhile; the call stays in the mailbox
        return
    if isinstance(stimulus, StepDone) and stimulus.step not in instance.steps:
        kernel.touch(instance)
        return
    handle = RunningInstance(
        id=instance.id,
        workflow=kernel.workflow.name,
        version=kernel.version,
        started_at=moment(instance.started_us),
    )
    turn = InstanceTurn(
        instance=handle,
        number=instance.turn + 1,
        now_us=kernel.now_us,
        hurries=kernel.hurries,
    )
    steps = _turn(kernel, instance, turn, stimulus)
    task = TurnTask(instance=instance.id, turn=turn, steps=steps)
    if kernel.runs_inline:
        try:
            task.pending = driving.run_inline(turn, steps)
        except CallbackFailed as error:
            _undo(kernel, instance, stimulus, error)
            return
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
    instance = kernel.state_of(ended.task.instance)
    stimulus = instance.inbox.pop(0)
    instance.busy = False
    if isinstance(ended.error, CallbackFailed):
        _undo(kernel, instance, stimulus, ended.error)
    elif ended.error is not None:
        raise InvariantViolated(
            f"the turn of instance {instance.id} ended with {ended.error!r} outside its code"
        ) from ended.error
    else:
        _conclude(kernel, instance, ended.task.turn, stimulus)
    if instance.inbox:
        kernel.is_ready(instance)


def record(kernel: Kernel, instance: Instance, turn: InstanceTurn | None) -> None:
    """The instance as it is now is in the commit."""
    instance.updated_us = max(instance.updated_us, kernel.now_us)
    outgoing = kernel.outgoing_of(instance.shard, turn.outgoing) if turn is not None else []
    kernel.commit.turns.setdefault(instance.shard, []).append(
        TurnRecord(
            instance=instance.record(),
            opened=turn.opened if turn is not None else [],
            ended=turn.ended if turn is not None else [],
            outgoing=outgoing,
        )
    )
    if turn is not None:
        kernel.recorded(instance)


# --- the turn itself ---------------------------------------------------------------


def _root_of(instance: Instance) -> Branch:
    if instance.live is None:
        if instance.state is None:
            raise InvariantViolated(f"instance {instance.id} has no saved state to go on from")
        root: Branch = loads(instance.state)
        instance.live = root
    return instance.live


def _turn(
    kernel: Kernel, instance: Instance, turn: InstanceTurn, stimulus: Stimulus
) -> Generator[Any, Any, None]:
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
        case Cancel():
            yield from program.cancel(turn, _root_of(instance))


def _begin(
    kernel: Kernel, instance: Instance, turn: InstanceTurn, begin: Begin
) -> Generator[Any, Any, None]:
    workflow = kernel.workflow
    arguments = {} if begin.input is None else workflow.decode_arguments(begin.input)
    branch = instance.live = Branch(workflow.definition(**arguments))
    turn.is_first = begin.call is not None
    yield from program.start(turn, branch)
    turn.is_first = False
    if begin.call is None or branch.outcome is not None:
        return
    waits = [leaf for leaf in leaves_of(branch) if isinstance(leaf, WaitLeaf)]
    standing = kernel.standing.waits
    if len(waits) != len(standing) or any(
        leaf.value.method.urn != stood.method for leaf, stood in zip(waits, standing, strict=True)
    ):
        raise FirstWaitChanged(
            f"the first wait of workflow {workflow.name!r} had another shape in this instance "
            "than at deployment. Keep the first wait independent of time, data and chance."
        )
    call = Call.of(begin.call.call, kernel.methods(begin.call.call.method))
    met = waits[begin.ordinal]
    opened = next(opened for opened in turn.waits if opened.leaf is met)
    instance.mailbox.receive(turn.wait_record(opened), (begin.call.pos, begin.call.offset))
    yield from program.meet(turn, branch, met.id, call)


class FirstWaitChanged(UsageError):
    """An instance's first wait differs from the one learnt at deployment."""

    code = "first-wait-changed"


# --- afterwards --------------------------------------------------------------------


def _undo(kernel: Kernel, instance: Instance, stimulus: Stimulus, error: CallbackFailed) -> None:
    """The instance is as before the turn, but for the call, which is not offered again."""
    instance.live = None
    kernel.log(instance.id, "error", "callback raised", error=error.message)
    if instance.state is None:
        _fail(kernel, instance, stimulus, error)
        return
    instance.status = next_status(instance.status, Event.SUSPENDED_AT_WAIT)
    for wait in instance.waits.values():
        if wait.id not in instance.entries:
            instance.entries[wait.id] = kernel.index.add(instance, wait)
    record(kernel, instance, None)


def _fail(kernel: Kernel, instance: Instance, stimulus: Stimulus, error: BaseException) -> None:
    """The instance is failed and keeps its last saved point and the stimulus that failed it."""
    instance.live = None
    instance.inbox.insert(0, stimulus)
    instance.status = next_status(instance.status, Event.RAISED)
    instance.error = ErrorRecord(
        type=type(error).__qualname__,
        message=str(error),
        traceback="".join(traceback.format_exception(error)),
    )
    _leave_index(kernel, instance)
    kernel.log(instance.id, "error", "instance failed", error=f"{instance.error.type}: {error}")
    kernel.commit.finished.append(instance.id)
    record(kernel, instance, None)


def _leave_index(kernel: Kernel, instance: Instance) -> None:
    for entry in instance.entries.values():
        kernel.index.remove(entry)
    instance.entries = {}


def _conclude(kernel: Kernel, instance: Instance, turn: InstanceTurn, stimulus: Stimulus) -> None:
    root = instance.live
    if root is None:
        raise InvariantViolated(f"the turn of instance {instance.id} left no tree")
    instance.turn = turn.number
    outcome = root.outcome
    if outcome is None:
        try:
            state = dumps(root, origin=kernel.workflow.name)
        except Exception as error:
            _fail(kernel, instance, stimulus, error)
            return
        instance.state = state
        _follow(kernel, instance, turn)
        for entry in instance.entries.values():
            if entry.wait.looks_back:
                kernel.look_back.append((instance.id, entry.wait.id))
        suspended_at_step = instance.steps and not instance.waits and not instance.timers
        instance.status = next_status(
            instance.status,
            Event.SUSPENDED_AT_STEP if suspended_at_step else Event.SUSPENDED_AT_WAIT,
        )
        if not kernel.keep_live:
            instance.live = None
    elif outcome.kind == "error":
        _fail(kernel, instance, stimulus, outcome.value)
        return
    else:
        _end(kernel, instance, turn, outcome.kind == "result", outcome.value, stimulus)
        if instance.status is Status.FAILED:
            return
    instance.tags.update({name: str(value) for name, value in turn.instance.tags.items()})
    record(kernel, instance, turn)


def _end(
    kernel: Kernel,
    instance: Instance,
    turn: InstanceTurn,
    completed: bool,
    value: Any,
    stimulus: Stimulus,
) -> None:
    if completed:
        try:
            instance.result = _encoded_result(kernel.workflow, value)
            kernel.commit.results.append((instance.id, value))
        except Exception as error:
            _fail(kernel, instance, stimulus, error)
            return
    _follow(kernel, instance, turn)
    _leave_index(kernel, instance)
    instance.waits, instance.timers, instance.steps = {}, {}, {}
    instance.inbox = []
    instance.state = None
    instance.live = None
    instance.status = next_status(instance.status, Event.RETURNED if completed else Event.UNWOUND)
    kernel.commit.finished.append(instance.id)


def _encoded_result(workflow: Workflow[Any, Any], value: Any) -> bytes:
    try:
        return workflow.output_adapter.dump_json(value)
    except Exception as error:
        raise UsageError(
            f"workflow {workflow.name!r} returned a {type(value).__qualname__}, which has no JSON "
            f"form: {error}. Return data that pydantic can serialise, or nothing."
        ) from error


def _follow(kernel: Kernel, instance: Instance, turn: InstanceTurn) -> None:
    """Waits, timers and steps of the instance are as the turn left them."""
    for ended in turn.ended:
        instance.waits.pop(ended.id, None)
        entry = instance.entries.pop(ended.id, None)
        if entry is not None:
            kernel.index.remove(entry)
    for timer_id in turn.timers_stopped:
        instance.timers.pop(timer_id, None)
    for step_id in turn.steps_ended:
        if instance.steps.pop(step_id, None) is not None:
            kernel.commit.steps_cancelled.append((instance.id, step_id))
    closed = {ended.id for ended in turn.ended}
    for timer in turn.timers:
        if timer.id not in closed:
            kernel.timers.set(instance, timer.id, timer.due_us)
    for step in turn.steps.values():
        _ask_step(kernel, instance, step)
    for opened in turn.waits:
        if opened.leaf.id not in closed:
            _add_wait(kernel, instance, turn.wait_record(opened))


def _ask_step(kernel: Kernel, instance: Instance, step: StepRecord) -> None:
    instance.steps[step.id] = step
    if step.due_us is None:
        kernel.commit.steps.append(
            StepOrder(instance=instance.id, step=step.id, attempt=step.attempt)
        )


def _add_wait(kernel: Kernel, instance: Instance, wait: WaitRecord) -> None:
    if wait.looks_back and _nothing_earlier(kernel, instance, wait):
        wait = _seen(wait)
    instance.waits[wait.id] = wait
    instance.entries[wait.id] = kernel.index.add(instance, wait)


def _nothing_earlier(kernel: Kernel, instance: Instance, wait: WaitRecord) -> bool:
    """Whether memory shows that no earlier call can meet the wait."""
    floor = instance.mailbox.floor(wait)
    if floor >= kernel.newest:
        return True
    return kernel.recent.covers(floor) and kernel.recent.find(wait, instance.mailbox) is None


def _seen(wait: WaitRecord) -> WaitRecord:
    return WaitRecord(
        id=wait.id,
        method=wait.method,
        shape=wait.shape,
        keys=wait.keys,
        predicate=wait.predicate,
        name=wait.name,
        looks_back=False,
        since_us=wait.since_us,
    )


# --- looking back ------------------------------------------------------------------


def look_back(kernel: Kernel, instance_id: str, wait_id: str) -> None:
    """The wait has met the oldest earlier call that fits, or the log is asked, or there is none."""
    instance = kernel.instances.get(instance_id)
    entry = None if instance is None else instance.entries.get(wait_id)
    if instance is None or entry is None or not entry.wait.looks_back:
        return
    if instance.busy or instance.inbox:
        return  # looked at again when the turn under way has ended
    floor = instance.mailbox.floor(entry.wait)
    if not kernel.recent.covers(floor):
        if (instance_id, wait_id) in kernel.looking:
            return
        kernel.looking.add((instance_id, wait_id))
        kernel.commit.look_backs.append(
            LookBackOrder(
                instance=instance_id,
                wait=wait_id,
                method=entry.wait.method,
                after=floor,
                since_us=entry.wait.since_us or 0,
                upto=kernel.newest,
            )
        )
        return
    found = kernel.recent.find(entry.wait, instance.mailbox)
    if found is not None:
        routing.meet(kernel, instance, entry, found)
    else:
        looked_back(instance, entry)


def looked_back(instance: Instance, entry: Entry) -> None:
    """Nothing earlier fits the wait: calls meet it directly from now on."""
    wait = _seen(entry.wait)
    instance.waits[wait.id] = wait
    entry.wait = wait


def step_of(kernel: Kernel, instance_id: str, step_id: str) -> Any:
    """The step as saved, with arguments of its own: whoever runs it cannot change the state."""
    instance = kernel.state_of(instance_id)
    if instance.state is None:
        return None
    path = path_to(loads(instance.state), step_id)
    leaf = None if path is None else path[-1].leaf
    return leaf.value if isinstance(leaf, StepLeaf) else None
