"""An instance after a turn: its waits, timers and steps as the turn left them, and its record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raysume.actors.kernel import children, looking_back, traces
from raysume.actors.kernel.commits import StepOrder
from raysume.actors.kernel.moments import moment
from raysume.actors.kernel.records import (
    LeafEnded,
    LeafOpened,
    Outgoing,
    StepRecord,
    TurnRecord,
    WaitRecord,
)
from raysume.actors.kernel.status import Event, Status, next_status
from raysume.actors.kernel.turns import InstanceTurn
from raysume.instances import RunningInstance

if TYPE_CHECKING:
    from raysume.actors.kernel.instances import Instance
    from raysume.actors.kernel.kernel import Kernel


def new_turn(kernel: Kernel, instance: Instance) -> InstanceTurn:
    """The next turn of the instance."""
    handle = RunningInstance(
        id=instance.id,
        workflow=kernel.workflow.name,
        version=kernel.version,
        started_at=moment(instance.started_us),
        now=moment(kernel.now_us),
    )
    if instance.live is None:
        instance.provided = {}
    return InstanceTurn(
        instance=handle,
        number=instance.turn + 1,
        failures=instance.failures,
        now_us=kernel.now_us,
        hurries=kernel.hurries,
        window_us=kernel.window_us,
        subscribed=kernel.subscribed,
        provided=instance.provided,
        trace=instance.turn_trace,
    )


def record(
    kernel: Kernel, instance: Instance, turn: InstanceTurn | None, calls: list[bytes] | None = None
) -> None:
    """The instance as it is now is in the commit, with the calls that the turn or `calls` has."""
    pushed = turn.outgoing if turn is not None else calls or []
    outgoing = kernel.outgoing_of(instance.shard, pushed) if pushed else []
    if turn is None:
        record_turn(kernel, instance, [], [], outgoing)
    else:
        record_turn(kernel, instance, turn.opened, turn.ended, outgoing)
        kernel.recorded(instance)


def record_turn(
    kernel: Kernel,
    instance: Instance,
    opened: list[LeafOpened],
    ended: list[LeafEnded],
    outgoing: list[Outgoing],
) -> None:
    """The instance as it is now is in the commit, with what happened."""
    instance.updated_us = max(instance.updated_us, kernel.now_us)
    if instance.turn_trace is not None:
        traces.leave(instance)
    made = TurnRecord(instance.record(), opened, ended, outgoing, instance.cause)
    instance.cause = None
    turns = kernel.commit.turns.get(instance.shard)
    if turns is None:
        kernel.commit.turns[instance.shard] = [made]
    else:
        turns.append(made)


def status_at_leaves(instance: Instance) -> Status:
    """The status of an instance that is suspended."""
    at_step = instance.steps and not instance.waits and not instance.timers
    return next_status(
        instance.status, Event.SUSPENDED_AT_STEP if at_step else Event.SUSPENDED_AT_WAIT
    )


def leave_index(kernel: Kernel, instance: Instance) -> None:
    """No call meets the instance's waits."""
    for entry in instance.entries.values():
        kernel.index.remove(entry)
    instance.entries = {}


def follow(kernel: Kernel, instance: Instance, turn: InstanceTurn) -> None:
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
    if turn.children or instance.children:
        children.follow(kernel, instance, turn)
    for step in turn.steps.values():
        _ask_step(kernel, instance, step)
    for opened in turn.waits:
        if opened.leaf.id not in closed:
            order = kernel.take_order()
            add_wait(kernel, instance, turn.wait_record(opened, order=order))


def _ask_step(kernel: Kernel, instance: Instance, step: StepRecord) -> None:
    instance.steps[step.id] = step
    if step.due_us is None:
        kernel.commit.steps.append(
            StepOrder(
                instance=instance.id, step=step.id, attempt=step.attempt, trace=traces.of(instance)
            )
        )


def add_wait(kernel: Kernel, instance: Instance, wait: WaitRecord) -> WaitRecord:
    """The instance has the wait, which calls meet from now on, and earlier ones if there are any.

    Returns:
        The wait as it has it.
    """
    if wait.before_start:
        wait = looking_back.clamp(kernel, wait)
    if wait.looks_back and looking_back.nothing_earlier(kernel, instance, wait):
        wait = looking_back.seen(wait)
    instance.waits[wait.id] = wait
    instance.entries[wait.id] = kernel.index.add(instance, wait)
    return wait
